//! What guards against the controller itself: the removal brake, and the probe of If-Match.

use anyhow::{Context as _, Result};
use arm_simulator::Settings;
use lanyard::api::assignment::SystemAssigned;
use lanyard::domain::reason::Reason;

use crate::harness::{Own, assignment, sent, tail};

#[tokio::test]
async fn removals_beyond_the_budget_wait_and_additions_do_not() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&["--removal-burst=1", "--removal-rate=1/h"])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("one").present("two")).await?;
    stage.until_ready("web").await?;

    stage.edit("web", |it| it.without("one").without("two").present("three")).await?;
    let message = stage.until_not_ready("web", Reason::RemovalsPaced).await?;
    assert!(message.contains("--removal-burst"), "{message}");
    stage.until_event("RemovalsPaced", "--removal-rate").await?;
    assert_eq!(vm.identities().len(), 3, "one went, one waits: {:?}", vm.identities());
    assert!(vm.identities().contains(&"three".to_owned()));
    stage.look_through("web", &vm).await?;
    assert_eq!(vm.identities().len(), 3);
    first.kill()?;

    let second = own.start(&["--removals=paused"])?;
    stage.edit("web", |it| it.present("four")).await?;
    let message = stage.until_not_ready("web", Reason::RemovalsPaused).await?;
    assert!(message.contains("--removals=paused"), "{message}");
    assert_eq!(vm.identities().len(), 4, "{:?}", vm.identities());
    second.kill()?;

    let _third = own.start(&[])?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["four", "legacy", "three"]);
    Ok(())
}

#[tokio::test]
async fn what_nobody_declares_any_more_says_that_removals_are_paused() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    first.kill()?;
    stage.delete_without_finalizers("web").await?;

    let _second = own.start(&["--removals=paused"])?;
    let told = async || {
        let status = stage.target(&vm).await?.and_then(|target| target.status).unwrap_or_default();
        Ok(status.conditions.into_iter().any(|it| it.type_ == "Ready" && it.reason == Reason::RemovalsPaused.as_str()))
    };
    stage.until("the machine to say that removals are paused", told).await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    Ok(())
}

#[tokio::test]
async fn the_endpoint_is_asked_once_a_kind_whether_it_honours_if_match() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let machines = [stage.vm("one").create(), stage.scale_set("set").create(), stage.vm("two").create()];
    for machine in &machines {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
        stage.until_ready(machine.name()).await?;
    }

    let probes = machines.each_ref().map(|machine| machine.patches().len() - sent(machine).len());
    assert_eq!(probes, [1, 1, 0]);
    let probe = &machines[0].patches()[0];
    assert_eq!((probe.body.to_string(), probe.status), ("{}".to_owned(), Some(412)));
    assert_eq!(machines.each_ref().map(|machine| sent(machine).len()), [1, 1, 1]);
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_ignores_if_match_gets_no_write_that_could_drop_an_identity() -> Result<()> {
    let own = Own::new(Settings { honour_if_match: false, ..Settings::quick() }).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let adds = stage.vm("adds").with_identity("legacy").create();
    stage.declare(assignment("adds").on(&adds).present("shop-db")).await?;
    stage.until_ready("adds").await?;
    assert!(!tail(&stage.log, "ignores If-Match", 1).is_empty(), "it warns");
    // Nothing is held, and yet people are told.
    let unguarded = async |name: &str| Ok::<_, anyhow::Error>(stage.condition(name, "Unguarded").await?);
    let told = unguarded("adds").await?.context("no condition")?;
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "EndpointUnguarded"));
    stage.until_event("EndpointUnguarded", "does not honour If-Match").await?;
    let target = stage.target(&adds).await?.and_then(|target| target.status).context("no view of the target")?;
    assert!(target.conditions.iter().any(|it| it.type_ == "Unguarded"), "{:?}", target.conditions);

    let shrinks = stage.vm("shrinks").with_system().create();
    let principal = shrinks.system_principal();
    stage.declare(assignment("shrinks").on(&shrinks).system(SystemAssigned::Disabled)).await?;
    let message = stage.until_not_ready("shrinks", Reason::EndpointUnguarded).await?;
    assert!(message.contains("--allow-unguarded"), "{message}");
    assert!(stage.is_stalled("shrinks").await?);
    assert_eq!(shrinks.system_principal(), principal);
    first.kill()?;

    let _second = own.start(&["--allow-unguarded"])?;
    stage.until_ready("shrinks").await?;
    assert_eq!(shrinks.system_principal(), None);
    assert_eq!(adds.identities(), ["legacy", "shop-db"]);
    stage.look_through("adds", &adds).await?;
    assert!(unguarded("adds").await?.is_some(), "a new process does not take it back unasked");
    Ok(())
}
