//! Every interleaving of what may happen, and what must hold in each.
use crate::arm::{Answer, End, Owner};
use crate::config::Config;
use crate::process::{Sight, finalize, gather, put, send};
use crate::world::{Broke, Object, Phase, Process, World, wanted};
use lanyard_domain::evidence::STALE_FOR;
use lanyard_domain::judge::{ANOTHER_WRITER, OPEN_FOR, Outcome};
use stateright::{Model, Property};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Gather(usize, Sight),
    Put(usize),
    Send(usize),
    Finalize(usize),
    /// A request arrives at ARM.
    Arrive(String),
    /// A request that nobody waits for never arrives.
    Vanish(String),
    OperationEnds(End),
    TenSecondsPass,
    AMinutePasses,
    FiveMinutesPass,
    // What follows draws on the budget.
    Declare(usize, usize),
    Delete(usize),
    /// The object is gone at once, its finalizer stripped by hand.
    Strip(usize),
    Crash(usize),
    /// The answer, or the operation's end, is not heard of.
    LoseAnswer(usize),
    Stranger(&'static str),
    /// The `ETag` moves, and nothing else.
    Touch,
    Recreate {
        same_etag: bool,
    },
}

pub struct Lanyard(pub Config);

impl Lanyard {
    fn reads_lag(&self) -> bool {
        self.0.budget.stale > 0
    }

    /// What goes on by itself: when none of it changes anything any more, the run has settled.
    fn own_actions(world: &World, actions: &mut Vec<Action>) {
        for (p, process) in world.processes.iter().enumerate() {
            match &process.phase {
                Phase::Idle => actions.push(Action::Gather(p, Sight::Clear)),
                Phase::Decided { .. } => actions.push(Action::Put(p)),
                Phase::Recorded { .. } => actions.push(Action::Send(p)),
                Phase::Finalizing { .. } => actions.push(Action::Finalize(p)),
                Phase::Waiting { .. } | Phase::Following { .. } => {}
            }
        }
        for request in &world.flight {
            actions.push(Action::Arrive(request.operation.clone()));
            let awaited = world.processes.iter().any(|p| waits_for(p, &request.operation));
            if !awaited {
                actions.push(Action::Vanish(request.operation.clone()));
            }
        }
        if world.arm.running.is_some() {
            actions.push(Action::OperationEnds(End::Succeeded));
        }
        actions.extend([Action::TenSecondsPass, Action::AMinutePasses, Action::FiveMinutesPass]);
    }

    fn budgeted(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        if left.total == 0 {
            return;
        }
        for (p, process) in world.processes.iter().enumerate() {
            let idle = process.phase == Phase::Idle;
            if left.stale > 0 && idle && world.arm.behind.is_some() {
                actions.push(Action::Gather(p, Sight::Behind));
            }
            if left.incomplete > 0 && idle {
                actions.push(Action::Gather(p, Sight::Unlisted));
            }
            if left.crash > 0 && *process != Process::new(process.incarnation) {
                actions.push(Action::Crash(p));
            }
            let listens = matches!(process.phase, Phase::Waiting { .. } | Phase::Following { .. });
            if left.lost_answer > 0 && listens {
                actions.push(Action::LoseAnswer(p));
            }
        }
        if left.failure > 0 && world.arm.running.is_some() {
            actions.extend([End::Kept, End::Undone, End::GivenBack].map(Action::OperationEnds));
        }
        if left.foreign > 0 && world.arm.running.is_none() {
            actions.extend(self.0.strange.iter().map(|name| Action::Stranger(name)));
            actions.push(Action::Touch);
        }
        if left.recreate > 0 {
            actions.push(Action::Recreate { same_etag: false });
            if self.0.gap || nothing_planned(world) {
                actions.push(Action::Recreate { same_etag: true });
            }
        }
        if left.change > 0 {
            self.changes(world, actions);
        }
    }

    fn changes(&self, world: &World, actions: &mut Vec<Action>) {
        for (n, (object, assignment)) in world.objects.iter().zip(self.0.assignments).enumerate() {
            match object {
                None if world.gone.contains(&n) => {}
                None => actions.push(Action::Declare(n, 0)),
                Some(Object { leaving: true, .. }) => actions.push(Action::Strip(n)),
                Some(Object { spec, .. }) => {
                    let others = (0..assignment.specs.len()).filter(|other| other != spec);
                    actions.extend(others.map(|spec| Action::Declare(n, spec)));
                    actions.extend([Action::Delete(n), Action::Strip(n)]);
                }
            }
        }
    }

    fn apply(&self, world: &mut World, action: Action) -> Option<()> {
        let config = &self.0;
        match action {
            Action::Gather(p, sight) => {
                match sight {
                    Sight::Clear => {}
                    Sight::Behind => spend(world, |left| &mut left.stale),
                    Sight::Unlisted => spend(world, |left| &mut left.incomplete),
                }
                gather(world, config, p, sight)
            }
            Action::Put(p) => put(world, config, p),
            Action::Send(p) => send(world, config, p),
            Action::Finalize(p) => finalize(world, p),
            Action::Arrive(operation) => self.arrive(world, &operation),
            Action::Vanish(operation) => {
                world.flight.retain(|request| request.operation != operation);
                Some(())
            }
            Action::OperationEnds(how) => {
                if how != End::Succeeded {
                    spend(world, |left| &mut left.failure);
                }
                end(world, how)
            }
            Action::TenSecondsPass => ten_seconds_pass(world),
            Action::AMinutePasses => a_minute_passes(world),
            Action::FiveMinutesPass => five_minutes_pass(world),
            Action::Declare(n, spec) => {
                spend(world, |left| &mut left.change);
                *world.objects.get_mut(n)? = Some(Object { spec, leaving: false });
                Some(())
            }
            Action::Delete(n) => {
                spend(world, |left| &mut left.change);
                world.objects.get_mut(n)?.as_mut()?.leaving = true;
                Some(())
            }
            Action::Strip(n) => {
                spend(world, |left| &mut left.change);
                *world.objects.get_mut(n)? = None;
                world.gone.insert(n);
                Some(())
            }
            Action::Crash(p) => {
                spend(world, |left| &mut left.crash);
                let process = world.processes.get_mut(p)?;
                *process = Process::new(process.incarnation + 1);
                world.forget_outcome();
                Some(())
            }
            Action::LoseAnswer(p) => {
                spend(world, |left| &mut left.lost_answer);
                lose_answer(world, p)
            }
            Action::Stranger(name) => {
                spend(world, |left| &mut left.foreign);
                self.stranger(world, name);
                Some(())
            }
            Action::Touch => {
                spend(world, |left| &mut left.foreign);
                world.arm.edit(self.reads_lag(), |_| ());
                Some(())
            }
            Action::Recreate { same_etag } => {
                spend(world, |left| &mut left.recreate);
                world.arm.recreate(same_etag, self.reads_lag(), config.recreated_with);
                for p in 0..world.processes.len() {
                    if matches!(world.processes[p].phase, Phase::Following { .. }) {
                        lose_answer(world, p);
                    }
                }
                Some(())
            }
        }
    }

    fn stranger(&self, world: &mut World, name: &'static str) {
        let owner = world.owner_if_added(name);
        world.arm.edit(self.reads_lag(), |shown| {
            if name == "system" {
                shown.system = !shown.system;
            } else if shown.user.remove(name).is_none() {
                shown.user.insert(name.into(), owner);
            }
        });
    }

    fn arrive(&self, world: &mut World, operation: &str) -> Option<()> {
        let at = world.flight.iter().position(|request| request.operation == operation)?;
        let request = world.flight.remove(at);
        let before = world.arm.now.user.clone();
        let answer = world.arm.receive(&request, self.reads_lag());
        world.broke = match answer {
            Answer::Accepted | Answer::Refused => world.broke,
            Answer::Dropped => Some(Broke::NeverDrop),
            Answer::Malformed => Some(Broke::Body),
        };
        let accepted = answer == Answer::Accepted;
        if accepted {
            let mut added = world.arm.now.user.keys().filter(|id| !before.contains_key(*id));
            if added.any(|id| world.given_up.contains(id)) {
                world.broke = Some(Broke::Late);
            }
        }
        for process in world.processes.iter_mut().filter(|process| waits_for(process, operation)) {
            if accepted {
                process.phase = Phase::Following { operation: operation.into() };
            } else {
                process.phase = Phase::Idle;
                learn(process, Outcome::Refused);
            }
        }
        Some(())
    }

    /// Nothing is left to do, whatever time passes.
    fn is_settled(&self, world: &World) -> bool {
        let quiet = world.flight.is_empty() && world.arm.running.is_none();
        let idle = || world.processes.iter().all(|process| process.phase == Phase::Idle);
        if !(quiet && idle()) {
            return false;
        }
        let mut actions = Vec::new();
        Self::own_actions(world, &mut actions);
        actions.into_iter().all(|action| self.next_state(world, action).is_none())
    }

    fn wishes_hold(&self, world: &World) -> bool {
        let (present, absent, system) = wanted(world.staying(&self.0));
        let there = |id: &&&str| world.arm.now.user.contains_key(**id);
        present.iter().all(|id| there(&id))
            && !absent.iter().any(|id| there(&id))
            && system.is_none_or(|on| on == world.arm.now.system)
            && world.objects.iter().flatten().all(|object| !object.leaving)
            && world.record.intent.is_none()
    }

    fn leaks(&self, world: &World) -> bool {
        world.arm.now.user.iter().any(|(id, owner)| {
            let claimed = world.staying(&self.0).any(|spec| spec.present.contains(&id.as_str()));
            *owner == Owner::Us && !claimed && !world.named.contains(id)
        })
    }
}

fn nothing_planned(world: &World) -> bool {
    let plans = |process: &Process| match &process.phase {
        Phase::Decided { sending, .. } => sending.is_some(),
        Phase::Recorded { .. } => true,
        Phase::Idle | Phase::Waiting { .. } | Phase::Following { .. } | Phase::Finalizing { .. } => false,
    };
    world.flight.is_empty() && !world.processes.iter().any(plans)
}

fn waits_for(process: &Process, operation: &str) -> bool {
    matches!(&process.phase, Phase::Waiting { operation: awaited } if awaited == operation)
}

fn learn(process: &mut Process, outcome: Outcome) {
    if let Some(sent) = &mut process.memory.sent {
        sent.outcome = outcome;
    }
}

fn lose_answer(world: &mut World, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    if matches!(process.phase, Phase::Following { .. }) {
        learn(process, Outcome::Accepted);
        process.phase = Phase::Idle;
    } else {
        process.phase = Phase::Idle;
        world.forget_outcome();
    }
    Some(())
}

fn end(world: &mut World, how: End) -> Option<()> {
    let ended = world.arm.end(how)?;
    for process in &mut world.processes {
        if matches!(&process.phase, Phase::Following { operation } if *operation == ended) {
            process.phase = Phase::Idle;
            learn(process, if how == End::Succeeded { Outcome::Succeeded } else { Outcome::Failed });
        }
    }
    Some(())
}

/// Nobody is held up for ever just before sending.
fn pass_over_who_pauses(world: &mut World) -> Option<()> {
    if world.processes.iter().any(|process| matches!(process.phase, Phase::Recorded { .. })) {
        world.left.pause = world.left.pause.checked_sub(1)?;
    }
    Some(())
}

/// Only where somebody waits for it.
fn ten_seconds_pass(world: &mut World) -> Option<()> {
    let waits = |process: &Process| {
        let young = |other: &lanyard_domain::judge::OtherWriter| crate::world::NOW.since(other.seen) < ANOTHER_WRITER;
        process.phase == Phase::Idle && process.memory.other_writer.as_ref().is_some_and(young)
    };
    world.record.intent.as_ref()?;
    if !world.processes.iter().any(waits) {
        return None;
    }
    pass_over_who_pauses(world)?;
    world.age(ANOTHER_WRITER);
    Some(())
}

/// Only where somebody waits for it; no read lags so long.
fn a_minute_passes(world: &mut World) -> Option<()> {
    let waits = |process: &Process| {
        let young = |since: lanyard_domain::Moment| crate::world::NOW.since(since) < STALE_FOR;
        process.phase == Phase::Idle && process.memory.stale_since.is_some_and(young)
    };
    if !world.processes.iter().any(waits) {
        return None;
    }
    pass_over_who_pauses(world)?;
    world.arm.behind = None;
    world.age(STALE_FOR);
    Some(())
}

/// Only where somebody waits for it; no request lives that long.
fn five_minutes_pass(world: &mut World) -> Option<()> {
    world.record.intent.as_ref()?;
    let waits = |process: &Process| {
        let open = process.memory.open.as_ref();
        process.phase == Phase::Idle && open.is_some_and(|open| crate::world::NOW.since(open.since) < OPEN_FOR)
    };
    let talking = |process: &Process| matches!(process.phase, Phase::Waiting { .. } | Phase::Following { .. });
    if world.arm.running.is_some() || world.processes.iter().any(talking) || !world.processes.iter().any(waits) {
        return None;
    }
    pass_over_who_pauses(world)?;
    world.flight.clear();
    world.arm.behind = None;
    world.age(OPEN_FOR + Duration::from_secs(1));
    Some(())
}

fn spend(world: &mut World, which: fn(&mut crate::config::Budget) -> &mut u8) {
    *which(&mut world.left) -= 1;
    world.happened();
}

impl Model for Lanyard {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broke.is_none() {
            Self::own_actions(world, actions);
            self.budgeted(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.apply(&mut next, action)?;
        // A look at what has not changed is no step: whether the record read is still the last one matters to who writes.
        for (before, after) in world.processes.iter().zip(&mut next.processes) {
            if before.phase == Phase::Idle && after.phase == Phase::Idle {
                after.version_holds = before.version_holds;
            }
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never drops", |_, world: &World| world.broke != Some(Broke::NeverDrop)),
            Property::always("absence needs proof", |_, world: &World| world.broke != Some(Broke::AbsenceNeedsProof)),
            Property::always("the audit agrees with the plan", |_, world: &World| world.broke != Some(Broke::Audit)),
            Property::always("every body is covered by the facts", |_, world: &World| world.broke != Some(Broke::Body)),
            Property::always("what was given up on never arrives", |_, world: &World| world.broke != Some(Broke::Late)),
            Property::always("settles", |model: &Lanyard, world: &World| {
                let processes = u8::try_from(model.0.processes).unwrap_or(u8::MAX);
                world.sends <= 3 * processes && world.puts <= 12 * processes
            }),
            Property::always("no leak, every wish holds", |model: &Lanyard, world: &World| {
                !model.is_settled(world) || (model.wishes_hold(world) && !model.leaks(world))
            }),
            Property::sometimes("a run settles", |model: &Lanyard, world: &World| model.is_settled(world)),
        ]
    }
}
