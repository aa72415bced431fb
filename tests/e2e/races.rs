//! Somebody else writes at any point between any two of our calls: nothing of theirs is lost, and we get there.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Actor, Effect, Fault, ForeignAct, Machine, MachineBuilder, SystemChange};
use futures::future::{try_join, try_join_all};
use lanyard::domain::reason::Reason;

use crate::faults::{probed, sane};
use crate::harness::{Stage, asked, assignment, sent};

/// Where in our conversation the stranger comes in.
#[derive(Clone, Copy, Debug)]
enum Point {
    BeforeTheRead,
    BetweenReadAndWrite,
    RightBeforeTheWrite,
    BetweenWriteAndPoll,
    DuringTheOperation,
    BetweenPollAndReadBack,
    AfterTheReadBack,
}

const POINTS: [Point; 7] = [
    Point::BeforeTheRead,
    Point::BetweenReadAndWrite,
    Point::RightBeforeTheWrite,
    Point::BetweenWriteAndPoll,
    Point::DuringTheOperation,
    Point::BetweenPollAndReadBack,
    Point::AfterTheReadBack,
];

impl Point {
    /// The act meets one of our requests. Before the first write a machine is read once, afterwards it is read back.
    fn fault(self, stage: &Stage<'_>, machine: &Machine, act: &ForeignAct) -> Fault {
        let id = machine.id();
        let foreign = |after| Effect::Foreign { resource: Some(id.clone()), act: act.clone(), after };
        let polls = format!("/subscriptions/{}/providers/Microsoft.Compute/locations", stage.subscription);
        match self {
            Self::BeforeTheRead => Fault::new("GET", &id, foreign(false)),
            Self::BetweenReadAndWrite => Fault::new("GET", &id, foreign(true)),
            Self::RightBeforeTheWrite => Fault::new("PATCH", &id, foreign(false)),
            Self::BetweenWriteAndPoll => Fault::new("PATCH", &id, foreign(true)),
            Self::DuringTheOperation => Fault::new("GET", &polls, foreign(false)),
            Self::BetweenPollAndReadBack => Fault::new("GET", &polls, foreign(true)),
            Self::AfterTheReadBack => Fault::new("GET", &id, foreign(true)).skip(1),
        }
    }
}

/// What the stranger does; `theirs` and `legacy` are the stranger's.
#[derive(Clone, Copy, Debug)]
enum Act {
    Adds,
    Removes,
    EnablesSystem,
    WritesTheWholeBlock,
}

const ACTS: [Act; 4] = [Act::Adds, Act::Removes, Act::EnablesSystem, Act::WritesTheWholeBlock];

impl Act {
    fn on(self, stage: &Stage<'_>) -> ForeignAct {
        let id = |name: &str| stage.identity(name).id().to_owned();
        match self {
            Self::Adds => ForeignAct::AddIdentity(id("theirs")),
            Self::Removes => ForeignAct::RemoveIdentity(id("legacy")),
            Self::EnablesSystem => ForeignAct::EnableSystem,
            Self::WritesTheWholeBlock => {
                ForeignAct::Replace { identities: vec![id("theirs"), id("legacy")], system: true }
            }
        }
    }

    /// What is the stranger's afterwards, and whether the system identity is on.
    fn leaves(self) -> (&'static [&'static str], bool) {
        match self {
            Self::Adds => (&["legacy", "theirs"], false),
            Self::Removes => (&[], false),
            Self::EnablesSystem => (&["legacy"], true),
            Self::WritesTheWholeBlock => (&["legacy", "theirs"], true),
        }
    }
}

#[tokio::test]
async fn a_stranger_at_any_point_of_an_addition_on_a_vm_loses_nothing() -> Result<()> {
    everywhere(|stage| stage.vm("web"), adds).await
}

#[tokio::test]
async fn a_stranger_at_any_point_of_an_addition_on_a_scale_set_loses_nothing() -> Result<()> {
    everywhere(|stage| stage.scale_set("web"), adds).await
}

/// The write that takes off the last identity of ours names nothing: its `type` alone would take along what came since.
#[tokio::test]
async fn a_stranger_at_any_point_of_a_removal_on_a_vm_loses_nothing() -> Result<()> {
    everywhere(|stage| stage.vm("web"), removes_the_last).await
}

#[tokio::test]
async fn a_stranger_at_any_point_of_a_removal_on_a_scale_set_loses_nothing() -> Result<()> {
    everywhere(|stage| stage.scale_set("web"), removes_the_last).await
}

async fn everywhere(
    machine: impl for<'a> Fn(&'a Stage<'static>) -> MachineBuilder,
    story: impl AsyncFn(&Stage<'static>, MachineBuilder, Point, Act) -> Result<()>,
) -> Result<()> {
    probed(&Stage::shared().await?).await?;
    let all = POINTS.into_iter().flat_map(|point| ACTS.map(|act| (point, act)));
    try_join_all(all.map(async |(point, act)| {
        let stage = Stage::shared().await?;
        story(&stage, machine(&stage), point, act).await.with_context(|| format!("{act:?} {point:?}"))
    }))
    .await?;
    Ok(())
}

async fn adds(stage: &Stage<'static>, machine: MachineBuilder, point: Point, act: Act) -> Result<()> {
    let machine = machine.with_identity("legacy").create();
    stage.arm.fault(point.fault(stage, &machine, &act.on(stage)));
    stage.declare(assignment("web").on(&machine).present("shop-db").present("shop-queue")).await?;
    until_met(stage, &machine).await?;
    let (theirs, system) = act.leaves();
    let expected: BTreeSet<String> = theirs.iter().chain(&["shop-db", "shop-queue"]).map(ToString::to_string).collect();
    ends(stage, &machine, &expected, system).await
}

async fn removes_the_last(stage: &Stage<'static>, machine: MachineBuilder, point: Point, act: Act) -> Result<()> {
    let machine = machine.create();
    stage.declare(assignment("web").on(&machine).present("shop-db")).await?;
    stage.until_ready("web").await?;
    // Nothing that the stranger could remove is there but ours.
    let (act, theirs, system) = match act {
        Act::Removes => (ForeignAct::RemoveIdentity(stage.identity("shop-db").id().to_owned()), &[][..], false),
        act @ Act::EnablesSystem => (act.on(stage), &[][..], true),
        act @ Act::Adds => (act.on(stage), &["theirs"][..], false),
        act @ Act::WritesTheWholeBlock => (act.on(stage), act.leaves().0, true),
    };
    stage.arm.fault(point.fault(stage, &machine, &act));
    stage.edit("web", |it| it.without("shop-db")).await?;
    until_met(stage, &machine).await?;
    ends(stage, &machine, &theirs.iter().map(ToString::to_string).collect(), system).await
}

/// The stranger came. Some points are reached by a further look alone, or never by a write that is not needed any more.
async fn until_met(stage: &Stage<'_>, machine: &Machine) -> Result<()> {
    stage.until_ready("web").await?;
    stage.look_through("web", machine).await?;
    stage.until_ready("web").await?;
    stage.arm.clear_faults_of(&stage.subscription);
    stage.look_through("web", machine).await
}

async fn ends(stage: &Stage<'_>, machine: &Machine, expected: &BTreeSet<String>, system: bool) -> Result<()> {
    let there = async || Ok(BTreeSet::from_iter(machine.identities()) == *expected);
    stage.until(&format!("{expected:?} to be there"), there).await?;
    stage.until_ready("web").await?;
    ensure!(machine.system_principal().is_some() == system, "the system identity is not as the stranger left it");
    takes_nothing_foreign(stage, machine)?;
    reads_before_it_writes(stage, machine)?;
    sane(stage, "web").await
}

/// None of our writes took off what a stranger had put there, nor a system identity.
fn takes_nothing_foreign(stage: &Stage<'_>, machine: &Machine) -> Result<()> {
    let ours = [stage.identity_id("shop-db"), stage.identity_id("shop-queue")].map(|id| id.to_lowercase());
    for change in machine.history().iter().filter(|change| matches!(change.by, Actor::Request(_))) {
        ensure!(change.removed.iter().all(|id| ours.contains(id)), "we removed a stranger's: {change:?}");
        let destroyed = change.system.iter().any(|system| matches!(system, SystemChange::Destroyed(_)));
        ensure!(!destroyed, "we destroyed a system identity: {change:?}");
    }
    Ok(())
}

/// Between any two writes the machine is read, and each is under the `ETag` that was read last.
pub fn reads_before_it_writes(stage: &Stage<'_>, machine: &Machine) -> Result<()> {
    let id = machine.id().to_lowercase();
    let mut read = None;
    for call in stage.arm.journal_of(&stage.subscription).iter().filter(|call| call.path.to_lowercase() == id) {
        let late = call.faults.iter().any(|fault| fault == "arrived_late");
        if call.method == "GET" && call.status == Some(200) {
            read = call.response_headers.get("etag").cloned();
        } else if call.method == "PATCH" && call.request_body.get("identity").is_some() && !late {
            ensure!(read.is_some(), "request {} was not preceded by a read", call.seq);
            ensure!(call.if_match == read, "request {} is under {:?}, not {read:?}", call.seq, call.if_match);
            read = None;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_writer_that_always_wins_meets_a_backoff_and_its_pause_is_used() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    try_join(
        outrun(&stage, stage.vm("web").with_identity("legacy").create()),
        outrun(&stage, stage.scale_set("set").with_identity("legacy").create()),
    )
    .await?;
    Ok(())
}

async fn outrun(stage: &Stage<'_>, machine: Machine) -> Result<()> {
    let wins = Effect::Foreign { resource: None, act: ForeignAct::BumpEtag, after: false };
    stage.arm.fault(Fault::new("PATCH", &machine.id(), wins).always());
    stage.declare(assignment(machine.name()).on(&machine).present("shop-db")).await?;
    let message = stage.until_not_ready(machine.name(), Reason::TargetChanged).await?;
    ensure!(message.contains("somebody else wrote"), "{message}");
    ensure!(!stage.is_stalled(machine.name()).await?);
    let lost = async || Ok(asked(&machine).len() >= 9);
    stage.until("some more races to be lost", lost).await?;

    let journal = stage.arm.journal_of(&stage.subscription);
    let writes: Vec<_> =
        journal.iter().filter(|call| call.is("PATCH", machine.name()) && call.path.ends_with(machine.name())).collect();
    let within = |seconds: u64| {
        let soon = |call: &&&arm_simulator::Exchange| {
            call.at.duration_since(writes[0].at).unsigned_abs() < Duration::from_secs(seconds)
        };
        writes.iter().filter(soon).count()
    };
    ensure!(writes.len() >= 9, "{:?}", sent(&machine));
    // Six at once; then after 1, 2 and 4 seconds, less a quarter at most.
    ensure!(within(4) <= 8, "{} in 4 s: {:?}", within(4), sent(&machine));
    reads_before_it_writes(stage, &machine)?;

    stage.arm.clear_faults_of(&machine.id());
    stage.until_ready(machine.name()).await?;
    ensure!(machine.identities() == ["legacy", "shop-db"]);
    Ok(())
}

/// Instance operations, upgrades and autoscale move a scale set's `ETag` without touching its model.
#[tokio::test]
async fn a_scale_set_whose_etag_moves_by_itself_gets_its_identities() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let set = stage.scale_set("web").with_identity("legacy").create();
    // Two of three of our looks are followed by a move.
    for skip in [0, 1, 3, 4] {
        let moves = Effect::Foreign { resource: None, act: ForeignAct::BumpEtag, after: true };
        stage.arm.fault(Fault::new("GET", &set.id(), moves).skip(skip));
    }
    stage.declare(assignment("web").on(&set).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.edit("web", |it| it.present("shop-queue").without("shop-db")).await?;
    stage.until_ready("web").await?;
    assert_eq!(set.identities(), ["legacy", "shop-queue"]);
    assert!(asked(&set).iter().any(|patch| patch.status == Some(412)), "no race was lost: {:?}", sent(&set));
    let events = stage.events().await?;
    assert!(events.iter().all(|event| !event.contains("else")), "its own moves are nobody's doing: {events:?}");
    takes_nothing_foreign(&stage, &set)
}

#[tokio::test]
async fn nothing_is_written_while_somebody_elses_operation_runs() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    try_join(
        waits(&stage, stage.vm("web").with_identity("legacy").create()),
        waits(&stage, stage.scale_set("set").with_identity("legacy").create()),
    )
    .await?;
    Ok(())
}

async fn waits(stage: &Stage<'_>, machine: Machine) -> Result<()> {
    ensure!(machine.begin_operation_as_stranger());
    stage.declare(assignment(machine.name()).on(&machine).present("shop-db")).await?;
    stage.until_not_ready(machine.name(), Reason::OperationRunning).await?;
    ensure!(!stage.is_stalled(machine.name()).await?);
    stage.look_through(machine.name(), &machine).await?;
    ensure!(asked(&machine).is_empty(), "it wrote: {:?}", sent(&machine));
    ensure!(machine.finish_operation());
    stage.until_ready(machine.name()).await?;
    ensure!(asked(&machine).len() == 1, "{:?}", sent(&machine));

    // And between two writes of ours: the first is preempted, and a stranger's operation still runs.
    let begins = Effect::Foreign { resource: None, act: ForeignAct::BeginOperation, after: true };
    stage.arm.fault(Fault::new("PATCH", &machine.id(), begins));
    stage.edit(machine.name(), |it| it.present("shop-queue")).await?;
    let preempted = async || Ok(asked(&machine).len() == 2);
    stage.until("our write to be preempted", preempted).await?;
    stage.edit(machine.name(), |it| it.present("shop-blob")).await?;
    stage.until_not_ready(machine.name(), Reason::OperationRunning).await?;
    ensure!(asked(&machine).len() == 2, "it wrote: {:?}", sent(&machine));
    ensure!(machine.finish_operation());
    stage.until_ready(machine.name()).await?;
    ensure!(machine.identities() == ["legacy", "shop-blob", "shop-db", "shop-queue"], "{:?}", machine.identities());
    reads_before_it_writes(stage, &machine)
}
