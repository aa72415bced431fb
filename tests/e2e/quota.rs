//! ARM's quota, as the simulator counts it by the documentation: it is kept to, whoever else spends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use arm_simulator::{ArmSimulator, Effect, Exchange, Fault, Machine, Settings};
use futures::future::try_join_all;
use lanyard::domain::reason::Reason;
use serde_json::json;

use crate::harness::{Own, Stage, asked, assignment};

const MACHINES: usize = 60;

/// Somebody else who runs as the same principal: half of what flows in of reads, by bursts, and some writes.
async fn stranger(arm: &ArmSimulator, subscription: &str, done: &AtomicBool) {
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    while !done.load(Ordering::SeqCst) {
        beat.tick().await;
        arm.others_ask("GET", subscription, 12);
        arm.others_ask("PATCH", subscription, 3);
    }
}

fn throttled(journal: &[Exchange]) -> Vec<String> {
    let refused = journal.iter().filter(|call| call.status == Some(429));
    refused.map(|call| format!("{} {} {:?}", call.method, call.path, call.response_headers)).collect()
}

#[tokio::test]
async fn a_mass_change_beside_a_stranger_on_the_same_quota_is_not_throttled() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let machines: Vec<Machine> = (0..MACHINES).map(|n| stage.vm(&format!("vm{n}")).create()).collect();
    for machine in &machines {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
    }
    // More than the stranger's part is gone before the first of ours leaves, and nobody tells us.
    ensure!(own.arm.others_ask("GET", &own.subscription, 150) == 150);
    let done = AtomicBool::new(false);
    let work = async {
        let _controller = own.start(&[])?;
        for machine in &machines {
            stage.until_ready(machine.name()).await?;
        }
        done.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (end, ()) = tokio::join!(work, stranger(&own.arm, &own.subscription, &done));
    end?;
    for machine in &machines {
        ensure!(machine.identities() == ["shop-db"] && asked(machine).len() == 1, "{}", machine.name());
    }
    let journal = own.arm.journal_of(&own.subscription);
    let refused = throttled(&journal);
    ensure!(refused.len() * 1000 <= journal.len(), "{} of {}: {refused:#?}", refused.len(), journal.len());
    Ok(())
}

fn too_many(seconds: u32) -> Effect {
    Effect::Answer {
        status: 429,
        headers: vec![("Retry-After".into(), seconds.to_string())],
        body: json!({"error": {"code": "SubscriptionRequestsThrottled", "message": "Too many requests."}}),
    }
}

#[tokio::test]
async fn a_subscription_that_answers_429_for_an_hour_delays_no_other() -> Result<()> {
    let (sick, well) = (Stage::shared().await?, Stage::shared().await?);
    sick.arm.fault(Fault::new("GET", &sick.subscription, too_many(3600)).always());
    let many: Vec<Machine> = (0..40).map(|n| sick.vm(&format!("vm{n}")).create()).collect();
    let declared = many.iter().map(|vm| sick.declare(assignment(vm.name()).on(vm).present("shop-db")));
    try_join_all(declared).await?;
    let message = sick.until_not_ready("vm0", Reason::Throttled).await?;
    ensure!(message.contains("the subscription (reads) may be asked again in"), "{message}");

    let vm = well.vm("web").create();
    well.declare(assignment("web").on(&vm).present("shop-db")).await?;
    well.until_ready("web").await?;
    for vm in &many {
        sick.until_not_ready(vm.name(), Reason::Throttled).await?;
    }
    // Nothing was known of the subscription: eight may leave before the first is answered.
    let refused = throttled(&sick.arm.journal_of(&sick.subscription));
    ensure!((1..=8).contains(&refused.len()), "{refused:#?}");
    sick.arm.clear_faults_of(&sick.subscription);
    Ok(())
}

#[tokio::test]
async fn a_write_is_not_announced_before_it_may_leave() -> Result<()> {
    let stage = Stage::shared().await?;
    let (first, second) = (stage.vm("first").create(), stage.vm("second").create());
    // Whether If-Match is honoured is known from here on: asking would be a write, too.
    stage.declare(assignment("before").on(&stage.vm("before").create()).present("shop-db")).await?;
    stage.until_ready("before").await?;
    // Longer than anybody waits without a word.
    stage.arm.fault(Fault::new("PATCH", &first.id(), too_many(45)));
    stage.declare(assignment("first").on(&first).present("shop-db")).await?;
    stage.until_not_ready("first", Reason::Throttled).await?;

    stage.declare(assignment("second").on(&second).present("shop-db")).await?;
    let message = stage.until_not_ready("second", Reason::Throttled).await?;
    ensure!(message.contains("the subscription (writes) may be asked again in"), "{message}");
    let target = stage.target(&second).await?;
    // An intent that is written and taken back would be two generations.
    let written = target.as_ref().and_then(|target| target.metadata.generation).unwrap_or_default();
    ensure!(written <= 1 && second.patches().is_empty(), "written {written} times: {target:#?}");

    stage.until_ready("second").await?;
    stage.until_ready("first").await?;
    ensure!(asked(&second).len() == 1);
    Ok(())
}
