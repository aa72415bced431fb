//! The state that is explored: ARM, the API server, the requests under way and the processes.
use crate::api::{Object, Target, View};
use crate::arm::{Arm, Owner, Request};
use crate::config::{Budget, Config};
use lanyard_domain::judge::{Memory, Outcome, Sent};
use lanyard_domain::{Claims, Complete, IdentityId, Intent, Moment, Record, TargetId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The clock stands still; waiting makes everything that was noted older.
pub const NOW: Moment = Moment(Duration::from_secs(3600));

/// Ages beyond this are all alike.
const OLDEST: Moment = Moment(Duration::from_secs(3000));

pub fn id(name: &str) -> IdentityId {
    IdentityId::told_by_arm(name)
}

pub fn machine() -> TargetId {
    "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m"
        .parse()
        .expect("a machine's id")
}

/// A PATCH that is about to leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sending {
    pub request: Request,
    pub sent: Sent,
    /// It removes what an existing object declared present when the claims were read.
    pub strips: bool,
}

/// Where a process stands: what it does next. A process may stand there for as long as it likes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reads and decides.
    Idle,
    /// Writes the intent.
    Recording { intended: Arc<Record>, sending: Box<Sending> },
    /// Sends the PATCH.
    Recorded { written: Moment, sending: Box<Sending> },
    /// Waits for the answer.
    Waiting { operation: String },
    /// Follows the operation.
    Following { operation: String },
    /// Writes the record at the visit's end; nothing: takes off its finalizer.
    Settling { record: Option<Arc<Record>>, left: BTreeSet<usize> },
    /// Deletes the record's object.
    Removing { left: BTreeSet<usize> },
    /// Takes finalizers off.
    Finalizing { left: BTreeSet<usize> },
}

impl Phase {
    pub fn sending(&mut self) -> Option<&mut Sending> {
        match self {
            Self::Recording { sending, .. } | Self::Recorded { sending, .. } => Some(sending),
            Self::Idle
            | Self::Waiting { .. }
            | Self::Following { .. }
            | Self::Settling { .. }
            | Self::Removing { .. }
            | Self::Finalizing { .. } => None,
        }
    }
}

/// What a visit carries from step to step, and from round to round.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Visit {
    /// The `IdentityTarget` as read or written last.
    pub stored: Option<Target>,
    /// That is still the version that the API server has.
    pub version_holds: bool,
    /// The record as judged so far.
    pub record: Arc<Record>,
    /// The assignments that the claims came from.
    pub seen: Arc<Vec<Option<Object>>>,
    pub claims: Option<Arc<Complete<Claims>>>,
    /// 404 said twice, a minute apart.
    pub gone: bool,
    /// Ids that an Event names as staying behind, once the record says so.
    pub named: BTreeSet<String>,
    /// Ids of unanswered writes that are given up on.
    pub given_up: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub incarnation: u8,
    pub memory: Memory,
    /// Since when GETs have been showing what a write of ours replaced.
    pub superseded_since: Option<Moment>,
    /// The first of the 404s in a row.
    pub gone_since: Option<Moment>,
    /// Its watches tell nothing new.
    pub lag: Option<Box<View>>,
    pub visit: Option<Box<Visit>>,
    pub phase: Phase,
}

impl Process {
    pub fn new(incarnation: u8) -> Self {
        Self {
            incarnation,
            memory: Memory::default(),
            superseded_since: None,
            gone_since: None,
            lag: None,
            visit: None,
            phase: Phase::Idle,
        }
    }

    /// Between two visits.
    pub fn rests(&self) -> bool {
        self.phase == Phase::Idle && self.visit.is_none()
    }

    pub fn waits_for(&self, awaited: &str) -> bool {
        matches!(&self.phase, Phase::Waiting { operation } if operation == awaited)
    }

    pub fn learn(&mut self, outcome: Outcome) {
        if let Some(sent) = &mut self.memory.sent {
            sent.outcome = outcome;
        }
    }

    /// It knows, or is about to learn, what became of this id in the unsettled intent.
    fn can_tell(&self, intent: &Intent, id: &IdentityId) -> bool {
        if let Some(visit) = &self.visit
            && visit.version_holds
            && visit.record.intent.is_none()
        {
            // Refused, never sent, or judged: it is about to write so.
            return true;
        }
        let at = match &self.phase {
            Phase::Recorded { sending, .. } => sending.request.operation == intent.operation,
            Phase::Waiting { operation } => *operation == intent.operation,
            Phase::Following { operation } if *operation == intent.operation => return true,
            Phase::Idle
            | Phase::Recording { .. }
            | Phase::Following { .. }
            | Phase::Settling { .. }
            | Phase::Removing { .. }
            | Phase::Finalizing { .. } => false,
        };
        let Some(sent) = self.memory.sent.as_ref().filter(|sent| sent.operation == intent.operation) else {
            return at && intent.unanswered.is_empty();
        };
        match sent.outcome {
            Outcome::Succeeded => !sent.added.contains(id),
            Outcome::Accepted | Outcome::Failed => !sent.added.contains(id) && !sent.removed.contains(id),
            Outcome::Refused => intent.unanswered.is_empty(),
            Outcome::Unknown => at && intent.unanswered.is_empty(),
        }
    }
}

/// A promise that was broken on the way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broke {
    /// Something foreign was removed.
    NeverDrop,
    /// Something that an object declares present was removed.
    AbsenceNeedsProof,
    /// The second opinion said no to the planner.
    Audit,
    /// ARM got a body that the facts do not cover.
    Body,
    /// ARM accepted a write that somebody had done before.
    Twice,
    /// A write arrived after the record had given it up.
    Late,
    /// The record of a machine that is there, with a claim or an identity of ours on it, was removed unasked.
    RecordLost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub arm: Arm,
    pub flight: Vec<Request>,
    pub target: Option<Target>,
    /// A copy of the record from some time ago.
    pub backup: Option<Arc<Record>>,
    pub objects: Vec<Option<Object>>,
    pub processes: Vec<Process>,
    pub left: Budget,
    /// Assignments that are gone for good.
    pub gone: BTreeSet<usize>,
    /// Ids that an Event named as staying behind.
    pub named: BTreeSet<String>,
    /// Ids of unanswered writes that were given up on: none of them may arrive any more.
    pub given_up: BTreeSet<String>,
    /// What a stranger took away of ours, as long as the record does not know.
    pub taken_away: BTreeSet<String>,
    /// Writes since something last happened to us: bounded, or it does not settle.
    pub puts: u8,
    pub sends: u8,
    pub broke: Option<Broke>,
}

impl World {
    pub fn new(config: &Config) -> Self {
        let exists = |exists: bool| exists.then_some(Object { spec: 0, leaving: false, generation: 1 });
        Self {
            arm: Arm::new(config.system, config.foreign),
            flight: Vec::new(),
            target: None,
            backup: None,
            objects: config.assignments.iter().map(|assignment| exists(assignment.exists)).collect(),
            processes: (0..config.processes).map(|_| Process::new(0)).collect(),
            left: config.budget,
            gone: BTreeSet::new(),
            named: BTreeSet::new(),
            given_up: BTreeSet::new(),
            taken_away: BTreeSet::new(),
            puts: 0,
            sends: 0,
            broke: None,
        }
    }

    fn intent(&self) -> Option<&Intent> {
        self.record().and_then(|record| record.intent.as_ref())
    }

    /// Somebody still knows a request by this name.
    pub fn knows_operation(&self, name: &str) -> bool {
        let remembers = |process: &Process| {
            let Memory { sent, open, other_writer, .. } = &process.memory;
            let sent = sent.iter().map(|sent| &sent.operation);
            let open = open.iter().map(|open| &open.operation);
            sent.chain(open).chain(other_writer.iter().map(|other| &other.operation)).any(|known| known == name)
        };
        self.flight.iter().any(|request| request.operation == name)
            || self.intent().is_some_and(|intent| intent.operation == name)
            || self.processes.iter().any(remembers)
    }

    /// A stranger's addition is foreign but at the moments that the guarantees except.
    pub fn owner_if_added(&self, name: &str) -> Owner {
        let id = id(name);
        let alone = self.processes.len() == 1;
        let unresolved = self.intent().is_some_and(|intent| {
            intent.ids().any(|named| *named == id) && !(alone && self.processes.iter().any(|p| p.can_tell(intent, &id)))
        });
        if unresolved || self.taken_away.contains(name) { Owner::Either } else { Owner::Foreign }
    }

    /// With the answer, or the process, goes what was known of the unsettled intent: a stranger's addition, even one
    /// between the read that it was planned from and its writing, can no longer be told apart.
    pub fn forget_outcome(&mut self) {
        let ids: Vec<IdentityId> = self.intent().into_iter().flat_map(Intent::ids).cloned().collect();
        for id in ids {
            if let Some(owner @ Owner::Foreign) = self.arm.now.user.get_mut(id.folded()) {
                *owner = Owner::Either;
            }
        }
    }

    pub fn happened(&mut self) {
        self.left.total -= 1;
        self.puts = 0;
        self.sends = 0;
    }

    /// Lets time pass.
    pub fn age(&mut self, by: Duration) {
        let older = |moment: &mut Moment| *moment = Moment(moment.0.saturating_sub(by)).max(OLDEST);
        for process in &mut self.processes {
            let memory = &mut process.memory;
            memory.open.iter_mut().for_each(|open| older(&mut open.since));
            memory.other_writer.iter_mut().for_each(|other| older(&mut other.seen));
            memory.unseen.iter_mut().for_each(|unseen| older(&mut unseen.since));
            memory.last_write_ended.iter_mut().for_each(older);
            process.superseded_since.iter_mut().for_each(older);
            process.gone_since.iter_mut().for_each(older);
            if let Phase::Recorded { written, .. } = &mut process.phase {
                older(written);
            }
        }
    }
}
