//! Absence needs proof: what is not seen is not gone.

use anyhow::{Result, bail};
use arm_simulator::{Effect, Fault};
use lanyard::domain::reason::Reason;

use crate::harness::{Stage, assignment, sent};

#[tokio::test]
async fn a_wrong_cloud_loses_no_record() -> Result<()> {
    let stage = Stage::shared().await?;
    let machines = ["web", "queue", "batch"].map(|name| stage.vm(name).create());
    for machine in &machines {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
        stage.until_ready(machine.name()).await?;
    }
    let before = stage.record(&machines[0]).await?;

    stage.arm.forget_subscription(&stage.subscription);
    for machine in &machines {
        stage.look(machine.name()).await?;
        let told = async || {
            let stalled = stage.condition(machine.name(), "Stalled").await?;
            Ok(stalled.filter(|stalled| stalled.reason == Reason::SubscriptionNotFound.as_str()))
        };
        let stalled = stage.until_some("it to stall", told).await?;
        for word in ["cloud", "tenant", "subscription"] {
            assert!(stalled.message.contains(word), "{}", stalled.message);
        }
    }
    assert_eq!(stage.record(&machines[0]).await?, before);
    stage.delete("web").await?;
    stage.until_not_ready("web", Reason::SubscriptionNotFound).await?;
    assert_eq!(stage.attached(&machines[0]).await?, ["shop-db"], "a deletion is not done by that either");

    stage.arm.subscription(&stage.subscription);
    stage.look("web").await?;
    stage.until_gone("web").await?;
    assert!(machines[0].identities().is_empty());
    stage.look("queue").await?;
    stage.until_ready("queue").await?;
    assert_eq!(stage.attached(&machines[1]).await?, ["shop-db"]);
    assert_eq!(sent(&machines[1]).len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_404_that_is_gone_the_next_second_changes_nothing() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    let before = (stage.status("web").await?, stage.target(&vm).await?, stage.events().await?);

    stage.arm.fault(Fault::new("GET", &vm.id(), Effect::Hide {}));
    stage.look_through("web", &vm).await?;
    let missed = stage.arm.journal_of(&stage.subscription).iter().filter(|call| call.status == Some(404)).count();
    assert_eq!(missed, 1);
    stage.look_through("web", &vm).await?;

    assert_eq!((stage.status("web").await?, stage.target(&vm).await?, stage.events().await?), before);
    assert_eq!(sent(&vm).len(), 1, "attached, and nothing since");
    Ok(())
}

#[tokio::test]
async fn a_deletion_does_not_take_one_404_for_gone() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    stage.arm.fault(Fault::new("GET", &vm.id(), Effect::Hide {}));
    stage.delete("web").await?;
    let missed = stage.calls("GET", &vm);
    stage.until_not_ready("web", Reason::TargetNotFound).await?;
    assert!(stage.assignment("web").await?.is_some());
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);

    stage.look("web").await?;
    stage.until_gone("web").await?;
    assert!(vm.identities().is_empty(), "it was there, and is cleaned up");
    assert!(stage.calls("GET", &vm) > missed);
    Ok(())
}

#[tokio::test]
async fn a_machine_is_gone_when_arm_says_so_twice_a_minute_apart() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    vm.delete();
    stage.delete("web").await?;
    stage.until_not_ready("web", Reason::TargetNotFound).await?;
    assert_eq!(stage.attached(&vm).await?, ["shop-db"], "once is not enough");

    // Nobody asks: it looks again by itself.
    stage.until_gone("web").await?;
    let journal = stage.arm.journal_of(&stage.subscription);
    let missed: Vec<_> = journal.iter().filter(|call| call.status == Some(404)).map(|call| call.at).collect();
    let (Some(first), Some(last)) = (missed.first(), missed.last()) else { bail!("it was never missed") };
    assert!(last.duration_since(*first).as_secs() >= 59, "{missed:?}");
    let forgotten = async || Ok(stage.target(&vm).await?.is_none());
    stage.until("the IdentityTarget to go with the last claim", forgotten).await
}
