//! What every visit needs: the clients, the watches' state, the budgets, and what is remembered.
use super::brake::Brake;
use super::fleet::Fleet;
use super::identities::Answers;
use super::identity::{IdentityKey, Memories};
use super::index::Index;
use super::kubernetes::Kubernetes;
use super::line::Line;
use super::memory::TargetMemory;
use super::queue::{Gate, Queue, TargetKey};
use super::repeats::Repeats;
use super::rights::Rights;
use super::story::Stories;
use crate::arm::{Arm, PATCH_LEAVES_WITHIN, Precondition};
use crate::clock::Clock;
use crate::health::Health;
use crate::lease::Lead;
use crate::places::Places;
use crate::telemetry::Metrics;
use lanyard_domain::judge::OtherWriter;
use lanyard_domain::plan::Guard;
use lanyard_domain::{MachineKind, Moment, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The choices that the operator made on the command line.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Ask the endpoint whether it honours If-Match before the first write.
    pub probe: bool,
    /// Let writes that shrink `type` leave without a guard.
    pub allow_unguarded: bool,
}

/// Probes that may be on their way together.
const PROBES_AT_ONCE: usize = 4;

/// How long a resource group's `managedBy` is believed. It is set when the group is made.
const GROUP_GOOD_FOR: Duration = Duration::from_secs(60 * 60);

/// A resource group, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Group {
    pub managed_by: Option<String>,
}

/// Whether the endpoint honours If-Match, by kind, as far as it was asked.
type Preconditions = Arc<Mutex<HashMap<MachineKind, Precondition>>>;

/// Everything a visit needs. One a term: what is remembered of targets in one is never used in the next.
pub struct Context {
    pub arm: Arm,
    pub kubernetes: Kubernetes,
    pub index: Arc<Index>,
    pub queue: Arc<Queue>,
    /// Identities that are objects, as they fall due.
    pub identity_queue: Arc<Queue<IdentityKey>>,
    /// What is remembered of each.
    pub identity_memories: Memories,
    /// When the budget of a subscription lets a visit begin.
    pub gate: Gate,
    pub brake: Arc<Brake>,
    /// Machines that lists look after.
    pub fleet: Fleet,
    pub metrics: Arc<Metrics>,
    /// Whether work gets on.
    pub health: Arc<Health>,
    /// Traces, where they are exported.
    pub stories: Arc<Stories<TargetKey>>,
    pub identity_stories: Arc<Stories<IdentityKey>>,
    pub choices: Choices,
    /// The right to write.
    pub lead: Lead,
    /// This term, as intents name it: new each time, so that nobody takes over its memory.
    pub writer: String,
    /// How many visits may be busy at once before their write. One that waits for an operation gives its slot back.
    pub slots: Arc<Semaphore>,
    /// How many may be busy after it: hundreds that go on together must not keep a person's change from its turn.
    pub slots_after: Arc<Semaphore>,
    /// Those that wait for such a slot.
    pub line_after: Line,
    /// How many visits of one subscription may be busy that go on after an operation, beside those that began.
    pub resumed: Places,
    /// The term ends, or the process: no new work is begun.
    pub stop: CancellationToken,
    clock: Clock,
    memories: Mutex<HashMap<TargetKey, Box<TargetMemory>>>,
    preconditions: Preconditions,
    pub probes: Semaphore,
    /// What identities said of themselves.
    pub identities: Answers,
    /// What ARM told of our own rights, where it refused something.
    pub rights: Rights,
    groups: Mutex<HashMap<String, (Option<String>, Moment)>>,
    /// Visits that ended early of late, for the log.
    pub repeats: Repeats,
}

/// What lasts as long as the process: clients, budgets and the watches' state, warm from the start, whoever leads.
pub struct Parts {
    pub arm: Arm,
    pub kubernetes: Kubernetes,
    pub index: Arc<Index>,
    pub queue: Arc<Queue>,
    pub identity_queue: Arc<Queue<IdentityKey>>,
    /// When the budget of a subscription lets a visit begin.
    pub gate: Gate,
    pub brake: Arc<Brake>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub stories: Arc<Stories<TargetKey>>,
    pub identity_stories: Arc<Stories<IdentityKey>>,
    pub choices: Choices,
    pub preconditions: Preconditions,
    /// The pod, as people know it.
    pub instance: String,
    pub concurrency: usize,
    /// The process was told to stop.
    pub stop: CancellationToken,
    pub clock: Clock,
}

impl Context {
    /// A term's, with a memory of its own.
    pub fn new(parts: &Parts, lead: Lead) -> Self {
        Self {
            arm: parts.arm.clone(),
            kubernetes: parts.kubernetes.under(lead.clone()),
            index: parts.index.clone(),
            queue: parts.queue.clone(),
            identity_queue: parts.identity_queue.clone(),
            identity_memories: Memories::default(),
            gate: parts.gate.clone(),
            brake: parts.brake.clone(),
            fleet: Fleet::default(),
            metrics: parts.metrics.clone(),
            health: parts.health.clone(),
            stories: parts.stories.clone(),
            identity_stories: parts.identity_stories.clone(),
            choices: parts.choices.clone(),
            lead,
            writer: format!("{}/{}", parts.instance, uuid::Uuid::new_v4()),
            slots: Arc::new(Semaphore::new(parts.concurrency.div_ceil(2))),
            slots_after: Arc::new(Semaphore::new(parts.concurrency.div_ceil(2))),
            line_after: Line::new(parts.concurrency),
            resumed: Places::new((parts.concurrency / 8).max(2)),
            stop: parts.stop.child_token(),
            clock: parts.clock,
            memories: Mutex::default(),
            preconditions: parts.preconditions.clone(),
            probes: Semaphore::new(PROBES_AT_ONCE),
            identities: Answers::default(),
            rights: Rights::default(),
            groups: Mutex::default(),
            repeats: Repeats::default(),
        }
    }

    /// The monotonic clock: all graces and expiries are measured by it.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// To sleep until then.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.clock.instant(moment)
    }

    /// The time of day, for people.
    pub fn wall(&self) -> Timestamp {
        Timestamp(self.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// A PATCH that is begun now leaves while the lease is held, even if nobody renews it.
    pub fn may_patch(&self) -> bool {
        self.lead.is_held_for(PATCH_LEAVES_WITHIN)
    }

    /// Hands out a target's memory for the length of a visit.
    pub fn recall(&self, target: &TargetKey) -> TargetMemory {
        let known = self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
        let mut memory = known.map(|known| *known).unwrap_or_default();
        if let Some((operation, known_for)) = self.index.intent(target) {
            // Seen while this process stood by, perhaps: its writer has had its time already.
            let seen = Moment(self.now().0.saturating_sub(known_for));
            memory.protocol.other_writer = Some(OtherWriter { operation, seen });
        }
        memory
    }

    /// What is remembered of a target, for a look that changes nothing of it.
    pub fn peek(&self, target: &TargetKey) -> Option<TargetMemory> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).get(target).map(|known| known.as_ref().clone())
    }

    pub fn remember(&self, target: &TargetKey, memory: TargetMemory) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).insert(target.clone(), Box::new(memory));
    }

    /// Whether the endpoint honours If-Match for this kind, if it was asked.
    pub fn precondition(&self, kind: MachineKind) -> Option<Precondition> {
        self.preconditions.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).copied()
    }

    pub fn learn_precondition(&self, kind: MachineKind, answer: Precondition) {
        self.preconditions.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, answer);
    }

    /// Whether writes to this kind are known to be without a guard; none: nobody has asked yet.
    pub fn unguarded(&self, kind: MachineKind) -> Option<bool> {
        match self.precondition(kind) {
            Some(answer) => Some(answer == Precondition::Ignored),
            None => (!self.choices.probe).then_some(false),
        }
    }

    /// How writes to this kind are guarded, as far as is known: until the probe has spoken, as documented.
    pub fn guard(&self, kind: MachineKind) -> Guard {
        match self.precondition(kind) {
            Some(Precondition::Ignored) => self.weak(),
            Some(Precondition::Honoured) | None => Guard::IfMatch,
        }
    }

    pub fn weak(&self) -> Guard {
        Guard::Weak { allow_shrink: self.choices.allow_unguarded }
    }

    /// What is remembered of a group's `managedBy`, if it is young enough.
    pub fn known_group(&self, group: &str) -> Option<Group> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let (managed_by, read) = groups.get(group)?;
        (self.now().since(*read) < GROUP_GOOD_FOR).then(|| Group { managed_by: managed_by.clone() })
    }

    pub fn learn_group(&self, group: String, managed_by: Option<String>) {
        let read = self.now();
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group, (managed_by, read));
    }
}
