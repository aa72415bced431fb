//! What every visit needs: the clients, the watches' state, the budgets, and what is remembered.
use super::brake::Brake;
use super::identities::Answers;
use super::index::Index;
use super::kubernetes::Kubernetes;
use super::memory::TargetMemory;
use super::queue::{Queue, TargetKey};
use crate::arm::{Arm, Precondition};
use crate::telemetry::Metrics;
use jiff::Timestamp as Wall;
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

/// Everything a visit needs.
pub struct Context {
    pub arm: Arm,
    pub kubernetes: Kubernetes,
    pub index: Arc<Index>,
    pub queue: Arc<Queue>,
    pub brake: Brake,
    pub metrics: Arc<Metrics>,
    pub choices: Choices,
    /// This process, as intents name it: new at every start, so that nobody takes over its memory.
    pub writer: String,
    /// How many visits may be busy at once. One that waits for an operation gives its slot back.
    pub slots: Arc<Semaphore>,
    pub stop: CancellationToken,
    started: Instant,
    memories: Mutex<HashMap<TargetKey, TargetMemory>>,
    preconditions: Mutex<HashMap<MachineKind, Precondition>>,
    pub probes: Semaphore,
    /// What identities said of themselves.
    pub identities: Answers,
    groups: Mutex<HashMap<String, (Option<String>, Moment)>>,
}

/// The parts that a context is made of.
pub struct Parts {
    pub arm: Arm,
    pub kubernetes: Kubernetes,
    pub brake: Brake,
    pub metrics: Arc<Metrics>,
    pub choices: Choices,
    pub writer: String,
    pub concurrency: usize,
    pub stop: CancellationToken,
}

impl Context {
    pub fn new(parts: Parts) -> Self {
        Self {
            arm: parts.arm,
            kubernetes: parts.kubernetes,
            index: Arc::default(),
            queue: Arc::default(),
            brake: parts.brake,
            metrics: parts.metrics,
            choices: parts.choices,
            writer: parts.writer,
            slots: Arc::new(Semaphore::new(parts.concurrency)),
            stop: parts.stop,
            started: Instant::now(),
            memories: Mutex::default(),
            preconditions: Mutex::default(),
            probes: Semaphore::new(PROBES_AT_ONCE),
            identities: Answers::default(),
            groups: Mutex::default(),
        }
    }

    /// The monotonic clock: all graces and expiries are measured by it.
    ///
    /// On Linux it stands still while the machine sleeps, and goes on while the process is stopped.
    pub fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    /// The time of day, for people.
    #[expect(clippy::unused_self, reason = "the one door to the wall clock")]
    pub fn wall(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one reading of the wall clock; everything else is handed it"
        )]
        let now = Wall::now();
        Timestamp(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// Hands out a target's memory for the length of a visit.
    pub fn recall(&self, target: &TargetKey) -> TargetMemory {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(target).unwrap_or_default()
    }

    pub fn remember(&self, target: &TargetKey, memory: TargetMemory) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).insert(target.clone(), memory);
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
