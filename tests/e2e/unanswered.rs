//! Writes whose answer is lost, and what happens to their identities afterwards.

use anyhow::Result;
use arm_simulator::{Effect, Fault, ForeignAct, Machine, Settings};

use crate::harness::{Own, Stage, asked, assignment};

/// A stage of its own, so that late requests are let go by this test alone; the probe of If-Match is behind it.
async fn warm(own: &Own) -> Result<Stage<'_>> {
    let stage = own.stage()?;
    let warm_up = stage.vm("warm-up").create();
    stage.declare(assignment("warm-up").on(&warm_up).present("shop-db")).await?;
    stage.until_ready("warm-up").await?;
    Ok(stage)
}

fn statuses(machine: &Machine) -> Vec<Option<u16>> {
    asked(machine).iter().map(|patch| patch.status).collect()
}

async fn detaches_all_it_attached(stage: &Stage<'_>, machine: &Machine, left: &[&str]) -> Result<()> {
    assert_eq!(stage.attached(machine).await?, ["shop-db"], "{:?}", asked(machine));
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(machine.identities(), left);
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_and_then_a_412_leave_an_identity_that_is_known_as_ours() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    // The first attempt arrives while the second is on its way: the second is refused, and yet the id is there.
    let late = Effect::ArriveLate { after_millis: Some(700), hang_millis: 0 };
    stage.arm.fault(Fault::new("PATCH", &vm.id(), late));
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Slow { millis: 2500, after: false }).skip(1));

    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    assert!(statuses(&vm).contains(&Some(412)), "{:?}", asked(&vm));
    assert_eq!(vm.history().len(), 1, "one change took effect: {:?}", vm.history());
    detaches_all_it_attached(&stage, &vm, &["legacy"]).await
}

#[tokio::test]
async fn a_lost_request_and_then_a_412_are_planned_anew() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let stranger = Effect::Foreign { resource: None, act: ForeignAct::BumpEtag, after: false };
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::LoseRequest {}));
    stage.arm.fault(Fault::new("PATCH", &vm.id(), stranger).skip(1));

    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    assert_eq!(statuses(&vm), [None, Some(412), Some(200)]);
    detaches_all_it_attached(&stage, &vm, &["legacy"]).await
}

/// Sends a PATCH that is under way until somebody lets it go; every later one is lost.
async fn under_way(stage: &Stage<'_>, vm: &Machine) -> Result<()> {
    let late = Effect::ArriveLate { after_millis: None, hang_millis: 0 };
    stage.arm.fault(Fault::new("PATCH", &vm.id(), late));
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::LoseRequest {}).skip(1).always());
    stage.declare(assignment("web").on(vm).present("shop-db")).await?;
    stage.until("the PATCH to leave", async || Ok(!asked(vm).is_empty())).await
}

#[tokio::test]
async fn what_arrives_after_its_claim_was_withdrawn_is_taken_off() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    under_way(&stage, &vm).await?;
    stage.edit("web", |it| it.without("shop-db")).await?;
    stage.look_through("web", &vm).await?;
    let intent = stage.record(&vm).await?.intent.expect("it may still arrive");
    assert!(intent.add.iter().any(|id| id.ends_with("/shop-db")), "{intent:?}");

    stage.arm.clear_faults_of(&vm.id());
    assert_eq!(stage.arm.release(), 1);
    assert_eq!(vm.identities(), ["legacy", "shop-db"], "it arrived");
    stage.look("web").await?;
    stage.until("what nobody declares any more to go", async || Ok(vm.identities() == ["legacy"])).await?;
    stage
        .until("the record to own nothing", async || {
            let record = stage.record(&vm).await?;
            Ok(record.attached.is_empty() && record.intent.is_none())
        })
        .await
}

#[tokio::test]
async fn a_deletion_waits_for_what_may_still_arrive() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    under_way(&stage, &vm).await?;
    let held = async || {
        let object = stage.assignment("web").await?;
        Ok(object.is_some_and(|object| object.metadata.finalizers.is_some_and(|all| !all.is_empty())))
    };
    stage.until("the assignment to be held until that is known", held).await?;
    stage.delete("web").await?;
    stage.look_through("web", &vm).await?;
    assert!(stage.assignment("web").await?.is_some(), "what may still arrive would be nobody's");

    stage.arm.clear_faults_of(&vm.id());
    assert_eq!(stage.arm.release(), 1);
    stage.look("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy"]);
    Ok(())
}

#[tokio::test]
async fn after_the_death_of_its_client_a_patch_lands_and_is_judged() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    under_way(&stage, &vm).await?;
    first.kill()?;
    // Nobody runs: the claim goes, the finalizer with it, and only then the PATCH lands.
    stage.delete_without_finalizers("web").await?;
    stage.arm.clear_faults_of(&vm.id());
    assert_eq!(stage.arm.release(), 1);
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);

    let _second = own.start(&[])?;
    stage.until("what nobody declares any more to go", async || Ok(vm.identities() == ["legacy"])).await?;
    stage.until("the record to go", async || Ok(stage.target(&vm).await?.is_none())).await
}

#[tokio::test]
async fn a_machine_made_anew_with_the_same_etag_owes_us_nothing() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db").present("shop-queue")).await?;
    stage.until_ready("web").await?;
    let (old, etag) = (vm.unique_id(), vm.etag());
    vm.recreate_with_same_etag();
    vm.attach_as_stranger("shop-db");
    assert_ne!(vm.unique_id(), old);
    // The stranger's write moved the ETag; one more machine has it back.
    assert_ne!(vm.etag(), etag);

    stage.look("web").await?;
    stage
        .until("what is declared to be on the new machine", async || Ok(vm.identities() == ["shop-db", "shop-queue"]))
        .await?;
    stage
        .until("the record to be of the new machine", async || Ok(stage.attached(&vm).await? == ["shop-queue"]))
        .await?;
    stage.until_event("MachineReplaced", "web").await?;
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["shop-db"], "the new owner's stays");
    Ok(())
}

#[tokio::test]
async fn with_a_patch_under_way_a_namesake_with_the_same_etag_gets_no_claim_of_ours() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = warm(&own).await?;
    let vm = stage.vm("web").create();
    under_way(&stage, &vm).await?;
    stage.edit("web", |it| it.without("shop-db")).await?;
    // Known before the machine is another one: else it would be attached there, as it was declared.
    stage.look_through("web", &vm).await?;
    vm.recreate_with_same_etag();
    stage.look_through("web", &vm).await?;
    stage.until_event("MachineReplaced", "shop-db").await?;
    assert!(stage.record(&vm).await?.intent.is_none(), "it was for another machine");
    assert_eq!(asked(&vm).iter().filter(|patch| patch.status == Some(200)).count(), 0);
    Ok(())
}
