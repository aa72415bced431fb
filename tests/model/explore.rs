//! Every interleaving of what may happen, and what must hold in each.
use crate::api::{Object, Target};
use crate::arm::{Answer, End, Owner};
use crate::config::Config;
use crate::process::{Sight, end_visit, finalize, gather, put, send};
use crate::settle::{Outlook, Outlooks};
use crate::time::{a_minute_passes, five_minutes_pass, ten_seconds_pass};
use crate::world::{Broke, Phase, Process, World};
use lanyard_domain::Record;
use lanyard_domain::judge::Outcome;
use stateright::{Model, Property};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Gather(usize, Sight),
    /// The next write of the record.
    Put(usize),
    Send(usize),
    Finalize(usize),
    /// A process's watches tell again, all that there is to tell.
    CatchUp(usize),
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
    /// The API server takes the write, and its answer is lost.
    LosePut(usize),
    /// A process's watches fall behind: it sees what is so now, and nothing newer.
    FallBehind(usize),
    Stranger(&'static str),
    /// The `ETag` moves, and nothing else.
    Touch,
    DeleteMachine,
    Recreate {
        same_etag: bool,
    },
    /// A person deletes the `IdentityTarget`, which waits for our finalizer.
    DeleteRecord,
    /// A person takes the finalizer off and deletes it.
    StripRecord,
    BackUp,
    /// The record as it was when it was backed up.
    Restore,
}

/// No leak, every wish holds, and nothing is left to do: whatever state a run is in, it comes to that.
pub const ENDS_WELL: &str = "every run comes to a good end";

pub struct Lanyard {
    pub config: Config,
    pub outlooks: Outlooks,
}

impl Lanyard {
    pub fn new(config: Config) -> Self {
        Self { config, outlooks: Outlooks::default() }
    }

    fn reads_lag(&self) -> bool {
        self.config.budget.stale > 0
    }

    fn budgeted(&self, world: &World, actions: &mut Vec<Action>) {
        if world.left.total == 0 {
            return;
        }
        for (p, process) in world.processes.iter().enumerate() {
            mishaps(world, p, process, actions);
        }
        let left = &world.left;
        if left.failure > 0 && world.arm.running.is_some() {
            actions.extend([End::Kept, End::Undone, End::GivenBack].map(Action::OperationEnds));
        }
        if left.foreign > 0 && world.arm.exists && world.arm.running.is_none() {
            actions.extend(self.config.strange.iter().map(|name| Action::Stranger(name)));
            actions.push(Action::Touch);
        }
        if left.recreate > 0 {
            self.namesakes(world, actions);
        }
        if left.change > 0 {
            self.changes(world, actions);
        }
        if left.meddle > 0 {
            meddling(world, actions);
        }
    }

    fn namesakes(&self, world: &World, actions: &mut Vec<Action>) {
        actions.push(Action::Recreate { same_etag: false });
        if self.config.gap || nothing_planned(world) {
            actions.push(Action::Recreate { same_etag: true });
        }
        if world.arm.exists {
            actions.push(Action::DeleteMachine);
        }
    }

    fn changes(&self, world: &World, actions: &mut Vec<Action>) {
        for (n, (object, assignment)) in world.objects.iter().zip(self.config.assignments).enumerate() {
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
        let config = &self.config;
        spend(world, &action);
        match action {
            Action::Gather(p, sight) => gather(world, config, p, sight),
            Action::Put(p) => put(world, config, p, true),
            Action::LosePut(p) => put(world, config, p, false),
            Action::Send(p) => send(world, config, p),
            Action::Finalize(p) => finalize(world, p),
            Action::CatchUp(p) => {
                world.processes.get_mut(p)?.lag.take()?;
                Some(())
            }
            Action::FallBehind(p) => {
                let view = world.view(p);
                world.processes.get_mut(p)?.lag = Some(Box::new(view));
                Some(())
            }
            Action::Arrive(operation) => self.arrive(world, &operation),
            Action::Vanish(operation) => {
                world.flight.retain(|request| request.operation != operation);
                Some(())
            }
            Action::OperationEnds(how) => end(world, config, how),
            Action::TenSecondsPass => ten_seconds_pass(world),
            Action::AMinutePasses => a_minute_passes(world),
            Action::FiveMinutesPass => five_minutes_pass(world),
            Action::Declare(n, spec) => {
                let object = world.objects.get_mut(n)?;
                let generation = object.as_ref().map_or(1, |object| object.generation + 1);
                *object = Some(Object { spec, leaving: false, generation });
                Some(())
            }
            Action::Delete(n) => {
                let object = world.objects.get_mut(n)?.as_mut()?;
                (object.leaving, object.generation) = (true, object.generation + 1);
                Some(())
            }
            Action::Strip(n) => {
                *world.objects.get_mut(n)? = None;
                world.gone.insert(n);
                Some(())
            }
            Action::Crash(p) => {
                let process = world.processes.get_mut(p)?;
                *process = Process::new(process.incarnation + 1);
                world.forget_outcome();
                Some(())
            }
            Action::LoseAnswer(p) => lose_answer(world, config, p),
            Action::Stranger(name) => {
                self.stranger(world, name);
                Some(())
            }
            Action::Touch => {
                world.arm.edit(self.reads_lag(), |_| ());
                Some(())
            }
            Action::DeleteMachine => {
                world.arm.delete();
                lose_operations(world, config)
            }
            Action::Recreate { same_etag } => {
                world.arm.recreate(same_etag, self.reads_lag(), config.recreated_with);
                lose_operations(world, config)
            }
            Action::DeleteRecord => delete_record(world),
            Action::StripRecord => {
                strip_record(world);
                Some(())
            }
            Action::BackUp => {
                world.backup = Some(world.target.as_ref()?.record.clone());
                Some(())
            }
            Action::Restore => restore(world),
        }
    }

    fn stranger(&self, world: &mut World, name: &'static str) {
        let owner = world.owner_if_added(name);
        let mut taken = None;
        world.arm.edit(self.reads_lag(), |shown| {
            if name == "system" {
                shown.system = !shown.system;
                return;
            }
            taken = shown.user.remove(name);
            if taken.is_none() {
                shown.user.insert(name.into(), owner);
            }
        });
        if matches!(taken, Some(Owner::Us | Owner::Either)) {
            world.taken_away.insert(name.into());
        }
    }

    fn arrive(&self, world: &mut World, operation: &str) -> Option<()> {
        let at = world.flight.iter().position(|request| request.operation == operation)?;
        let request = world.flight.remove(at);
        let before = world.arm.now.user.clone();
        let answer = world.arm.receive(&request, self.reads_lag());
        world.broke = match answer {
            Answer::Accepted | Answer::Refused | Answer::PreconditionFailed => world.broke,
            Answer::Dropped => Some(Broke::NeverDrop),
            Answer::Twice => Some(Broke::Twice),
            Answer::Malformed => Some(Broke::Body),
        };
        if answer == Answer::Accepted {
            let mut added = world.arm.now.user.keys().filter(|id| !before.contains_key(*id));
            if added.any(|id| world.given_up.contains(id)) {
                world.broke = Some(Broke::Late);
            }
        }
        if request.orphaned {
            // The record in the place of the one that announced it does not know.
            let removed = before.into_keys().filter(|id| !world.arm.now.user.contains_key(id));
            world.taken_away.extend(removed);
        }
        let awaited = world.processes.iter().position(|process| process.waits_for(operation));
        awaited.map_or(Some(()), |p| answered(world, &self.config, p, answer, operation))
    }
}

/// What keeps a process from going on as it would.
fn mishaps(world: &World, p: usize, process: &Process, actions: &mut Vec<Action>) {
    let left = &world.left;
    let (idle, rests) = (process.phase == Phase::Idle, process.rests());
    if left.stale > 0 && idle && world.arm.exists && world.arm.behind.is_some() {
        actions.push(Action::Gather(p, Sight::Behind));
    }
    if left.blink > 0 && idle && world.arm.exists {
        actions.push(Action::Gather(p, Sight::Blink));
    }
    if left.incomplete > 0 && rests {
        actions.push(Action::Gather(p, Sight::Unlisted));
    }
    if left.crash > 0 && *process != Process::new(process.incarnation) {
        actions.push(Action::Crash(p));
    }
    if left.lost_answer > 0 && matches!(process.phase, Phase::Waiting { .. } | Phase::Following { .. }) {
        actions.push(Action::LoseAnswer(p));
    }
    let holds = process.visit.as_ref().is_some_and(|visit| visit.version_holds);
    let writes = matches!(process.phase, Phase::Recording { .. } | Phase::Settling { .. } | Phase::Removing { .. });
    if left.lost_put > 0 && holds && writes {
        actions.push(Action::LosePut(p));
    }
    if left.lag > 0 && process.lag.is_none() {
        actions.push(Action::FallBehind(p));
    }
}

fn meddling(world: &World, actions: &mut Vec<Action>) {
    if let Some(target) = &world.target {
        if !target.deleting {
            actions.push(Action::DeleteRecord);
        }
        actions.push(Action::StripRecord);
        if world.backup.is_none() {
            actions.push(Action::BackUp);
        }
    }
    if world.backup.is_some() {
        actions.push(Action::Restore);
    }
}

fn delete_record(world: &mut World) -> Option<()> {
    let target = world.target.clone()?;
    let waits = target.finalizer.then_some(Target { deleting: true, ..target });
    if waits.is_none() {
        world.disown(None);
    }
    world.replace_target(waits);
    Some(())
}

fn strip_record(world: &mut World) {
    world.disown(None);
    world.replace_target(None);
}

fn restore(world: &mut World) -> Option<()> {
    let record: Arc<Record> = world.backup.clone()?;
    world.disown(Some(&record));
    world.replace_target(Some(Target { record, finalizer: true, deleting: false }));
    Some(())
}

/// What goes on by itself: when none of it changes anything any more, the run has settled.
pub fn own_actions(world: &World, actions: &mut Vec<Action>) {
    for (p, process) in world.processes.iter().enumerate() {
        match &process.phase {
            Phase::Idle => actions.push(Action::Gather(p, Sight::Clear)),
            Phase::Recording { .. } | Phase::Settling { .. } | Phase::Removing { .. } => actions.push(Action::Put(p)),
            Phase::Recorded { .. } => actions.push(Action::Send(p)),
            Phase::Finalizing { .. } => actions.push(Action::Finalize(p)),
            Phase::Waiting { .. } | Phase::Following { .. } => {}
        }
        if process.lag.is_some() {
            actions.push(Action::CatchUp(p));
        }
    }
    for request in &world.flight {
        actions.push(Action::Arrive(request.operation.clone()));
        if !world.processes.iter().any(|process| process.waits_for(&request.operation)) {
            actions.push(Action::Vanish(request.operation.clone()));
        }
    }
    if world.arm.running.is_some() {
        actions.push(Action::OperationEnds(End::Succeeded));
    }
    actions.extend([Action::TenSecondsPass, Action::AMinutePasses, Action::FiveMinutesPass]);
}

fn nothing_planned(world: &World) -> bool {
    let plans = |process: &Process| match &process.phase {
        Phase::Recording { .. } | Phase::Recorded { .. } => true,
        Phase::Idle
        | Phase::Waiting { .. }
        | Phase::Following { .. }
        | Phase::Settling { .. }
        | Phase::Removing { .. }
        | Phase::Finalizing { .. } => false,
    };
    world.flight.is_empty() && !world.processes.iter().any(plans)
}

fn answered(world: &mut World, config: &Config, p: usize, answer: Answer, operation: &str) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    match answer {
        Answer::Accepted | Answer::Dropped | Answer::Twice => {
            process.learn(Outcome::Accepted);
            process.phase = Phase::Following { operation: operation.into() };
            Some(())
        }
        Answer::Refused | Answer::PreconditionFailed | Answer::Malformed => {
            process.learn(Outcome::Refused);
            process.phase = Phase::Idle;
            let visit = process.visit.as_mut()?;
            visit.record = Arc::new(lanyard_domain::intend::refused(&visit.record));
            // A lost race is run again at once; whatever else is refused ends the visit.
            if answer == Answer::PreconditionFailed { Some(()) } else { end_visit(world, config, p) }
        }
    }
}

fn lose_answer(world: &mut World, config: &Config, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    let waited = matches!(process.phase, Phase::Waiting { .. });
    process.phase = Phase::Idle;
    if waited {
        world.forget_outcome();
    }
    end_visit(world, config, p)
}

/// With the machine goes what was to be told of its operations.
fn lose_operations(world: &mut World, config: &Config) -> Option<()> {
    for p in 0..world.processes.len() {
        if matches!(world.processes.get(p)?.phase, Phase::Following { .. }) {
            lose_answer(world, config, p)?;
        }
    }
    Some(())
}

fn end(world: &mut World, config: &Config, how: End) -> Option<()> {
    let ended = world.arm.end(how)?;
    let follows = |process: &Process| matches!(&process.phase, Phase::Following { operation } if *operation == ended);
    let Some(p) = world.processes.iter().position(follows) else { return Some(()) };
    let process = world.processes.get_mut(p)?;
    process.phase = Phase::Idle;
    if how == End::Succeeded {
        process.learn(Outcome::Succeeded);
        return Some(());
    }
    process.learn(Outcome::Failed);
    end_visit(world, config, p)
}

/// What an action costs, if it is one that draws on the budget.
fn spend(world: &mut World, action: &Action) {
    let left = &mut world.left;
    let which = match action {
        Action::Gather(_, Sight::Behind) => &mut left.stale,
        Action::Gather(_, Sight::Blink) => &mut left.blink,
        Action::Gather(_, Sight::Unlisted) => &mut left.incomplete,
        Action::OperationEnds(End::Kept | End::Undone | End::GivenBack) => &mut left.failure,
        Action::Declare(..) | Action::Delete(_) | Action::Strip(_) => &mut left.change,
        Action::Crash(_) => &mut left.crash,
        Action::LoseAnswer(_) => &mut left.lost_answer,
        Action::LosePut(_) => &mut left.lost_put,
        Action::FallBehind(_) => &mut left.lag,
        Action::Stranger(_) | Action::Touch => &mut left.foreign,
        Action::DeleteMachine | Action::Recreate { .. } => &mut left.recreate,
        Action::DeleteRecord | Action::StripRecord | Action::BackUp | Action::Restore => &mut left.meddle,
        Action::Gather(_, Sight::Clear)
        | Action::Put(_)
        | Action::Send(_)
        | Action::Finalize(_)
        | Action::CatchUp(_)
        | Action::Arrive(_)
        | Action::Vanish(_)
        | Action::OperationEnds(End::Succeeded)
        | Action::TenSecondsPass
        | Action::AMinutePasses
        | Action::FiveMinutesPass => return,
    };
    *which -= 1;
    world.happened();
}

impl Lanyard {
    /// The state after an action, or nothing if that changes nothing.
    pub fn after(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.apply(&mut next, action)?;
        (next != *world).then_some(next)
    }
}

impl Model for Lanyard {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.config)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.broke.is_none() {
            own_actions(world, actions);
            self.budgeted(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.after(world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never drops", |_, world: &World| world.broke != Some(Broke::NeverDrop)),
            Property::always("absence needs proof", |_, world: &World| world.broke != Some(Broke::AbsenceNeedsProof)),
            Property::always("the audit agrees with the plan", |_, world: &World| world.broke != Some(Broke::Audit)),
            Property::always("every body is covered by the facts", |_, world: &World| world.broke != Some(Broke::Body)),
            Property::always("nothing is written twice", |_, world: &World| world.broke != Some(Broke::Twice)),
            Property::always("what was given up on never arrives", |_, world: &World| world.broke != Some(Broke::Late)),
            Property::always("no record is lost", |_, world: &World| world.broke != Some(Broke::RecordLost)),
            Property::always("writes are bounded", |model: &Lanyard, world: &World| {
                let processes = u8::try_from(model.config.processes).unwrap_or(u8::MAX);
                world.sends <= 3 * processes && world.puts <= 12 * processes
            }),
            Property::always(ENDS_WELL, |model: &Lanyard, world: &World| model.outlook(world) == Outlook::Good),
            Property::sometimes("a run settles", |model: &Lanyard, world: &World| model.is_settled(world)),
        ]
    }
}
