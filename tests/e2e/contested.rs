//! Somebody who undoes what we do as soon as it is done: a few repairs at once, then few, and everything else goes on.

use anyhow::Result;
use arm_simulator::{Effect, Fault, ForeignAct, Machine};
use lanyard::api::assignment::SystemAssigned;
use lanyard::domain::contest::REPAIRED_AT_ONCE;
use lanyard::domain::reason::Reason;

use crate::faults::probed;
use crate::harness::{Stage, asked, assignment, sent};

/// The write, and its repairs at once.
const AT_ONCE: usize = REPAIRED_AT_ONCE as usize + 1;

/// From now on every PATCH of the machine is followed by this.
fn undone_by(stage: &Stage<'_>, machine: &Machine, act: ForeignAct) -> u64 {
    let effect = Effect::Foreign { resource: None, act, after: true };
    stage.arm.fault(Fault::new("PATCH", &machine.id(), effect).always())
}

/// A visit that nobody asked for: it stands for one at the drift interval.
async fn visited(stage: &Stage<'_>, name: &str, machine: &Machine, times: usize) -> Result<()> {
    for _ in 0..times {
        let before = stage.calls("GET", machine);
        stage.annotate(name, "lanyard.dev/of-a-test", &uuid::Uuid::new_v4().to_string()).await?;
        stage.until("the machine to be read", async || Ok(stage.calls("GET", machine) > before)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_stranger_keeps_undoing_is_told_and_repaired_seldom_and_the_rest_goes_on() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let stranger = undone_by(&stage, &vm, ForeignAct::RemoveIdentity(stage.identity_id("shop-db")));
    stage.declare(assignment("web").on(&vm).present("shop-db").present("shop-queue")).await?;

    let message = stage.until_not_ready("web", Reason::Contested).await?;
    assert!(message.contains("shop-db") && message.contains("takes it off again"), "what: {message}");
    assert!(message.contains(": 4 times since 20"), "how often, since when: {message}");
    assert!(stage.is_stalled("web").await?, "a person must act");
    stage.until_event("Contested", "shop-db").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-queue"], "only what is contested waits");
    assert_eq!(sent(&vm).len(), AT_ONCE, "{:?}", sent(&vm));

    // Others on the same machine, and visits for whatever reason, begin no new contest.
    stage.declare(assignment("ops").on(&vm).present("monitor")).await?;
    stage.until_ready("ops").await?;
    visited(&stage, "web", &vm, 6).await?;
    assert_eq!(vm.identities(), ["legacy", "monitor", "shop-queue"]);
    assert_eq!(sent(&vm).len(), AT_ONCE + 1, "{:?}", sent(&vm));

    // Who asks for a look has it repaired once.
    stage.look("web").await?;
    let told = async || {
        let ready = stage.condition("web", "Ready").await?;
        Ok(ready.is_some_and(|ready| ready.message.contains(": 5 times since 20")))
    };
    stage.until("one more to be told", told).await?;
    visited(&stage, "web", &vm, 3).await?;
    assert_eq!(sent(&vm).len(), AT_ONCE + 2, "{:?}", sent(&vm));
    let events = stage.events().await?;
    assert_eq!(events.iter().filter(|event| event.starts_with("Contested")).count(), 1, "{events:#?}");

    // The stranger stops, and somebody edits: the count begins anew.
    stage.arm.disarm(stranger);
    stage.edit("web", |it| it.present("shop-mail")).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["legacy", "monitor", "shop-db", "shop-mail", "shop-queue"]);
    Ok(())
}

#[tokio::test]
async fn when_the_stranger_stops_it_becomes_ready_by_itself() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").create();
    let stranger = undone_by(&stage, &vm, ForeignAct::DisableSystem);
    stage.declare(assignment("web").on(&vm).present("shop-db").system(SystemAssigned::Enabled)).await?;
    let message = stage.until_not_ready("web", Reason::Contested).await?;
    assert!(message.contains("the system-assigned identity is switched on"), "{message}");
    assert_eq!((vm.identities(), vm.system_principal()), (vec!["shop-db".into()], None));
    assert_eq!(sent(&vm).len(), AT_ONCE, "{:?}", sent(&vm));

    stage.arm.disarm(stranger);
    // Nobody asks: it is due within half a minute.
    stage.until_ready("web").await?;
    assert!(vm.system_principal().is_some());
    assert_eq!(sent(&vm).len(), AT_ONCE + 1, "{:?}", sent(&vm));
    Ok(())
}

#[tokio::test]
async fn what_is_declared_absent_and_put_back_again_and_again_is_contested_too() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").with_identity("other").create();
    undone_by(&stage, &vm, ForeignAct::AddIdentity(stage.identity_id("legacy")));
    stage.declare(assignment("web").on(&vm).absent("legacy")).await?;
    let message = stage.until_not_ready("web", Reason::Contested).await?;
    assert!(message.contains("legacy is taken off, and something else puts it back"), "{message}");
    visited(&stage, "web", &vm, 3).await?;
    assert_eq!(sent(&vm).len(), AT_ONCE, "{:?}", sent(&vm));

    // A deletion asks for nothing any more, contested or not.
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy", "other"]);
    Ok(())
}

#[tokio::test]
async fn old_reads_and_a_scale_sets_own_moves_are_no_stranger() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let set = stage.scale_set("batch").with_identity("legacy").create();
    let moves = |after| Effect::Foreign { resource: None, act: ForeignAct::BumpEtag, after };
    stage.arm.fault(Fault::new("PATCH", &set.id(), moves(true)).always());
    stage.declare(assignment("batch").on(&set).present("shop-db")).await?;
    stage.until_ready("batch").await?;

    for round in 0..=2 * REPAIRED_AT_ONCE {
        stage.arm.fault(Fault::new("GET", &set.id(), Effect::StaleRead {}).times(2));
        // Before the PATCH once in a while: 412, and another try.
        stage.arm.fault(Fault::new("PATCH", &set.id(), moves(false)).times(u64::from(round % 2)));
        visited(&stage, "batch", &set, 2).await?;
        set.bump_etag();
    }
    stage.look_through("batch", &set).await?;
    stage.until_ready("batch").await?;
    assert_eq!(set.identities(), ["legacy", "shop-db"]);
    let accepted = asked(&set).into_iter().filter(|patch| patch.status == Some(200)).count();
    assert_eq!(accepted, 1, "{:?}", sent(&set));
    let events = stage.events().await?;
    assert!(events.iter().all(|event| !event.starts_with("Contested")), "{events:#?}");
    Ok(())
}
