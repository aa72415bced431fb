//! The state that is explored: ARM, the API server, the requests under way and the processes.
use crate::arm::{Arm, Owner, Request};
use crate::config::{Budget, Config, Spec};
use lanyard_domain::claims::DefaultIdentityChange;
use lanyard_domain::evidence::Census;
use lanyard_domain::judge::{Memory, Outcome, Sent};
use lanyard_domain::{
    Claim, ClaimKey, DeletionPolicy, Ensure, IdentityId, Intent, Leaving, Mode, Moment, Record, Stance, SystemWish,
};
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

/// An assignment as the API server keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub spec: usize,
    pub leaving: bool,
}

/// A PATCH that is about to leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sending {
    pub request: Request,
    pub sent: Sent,
    /// It removes what an existing object declared present when the claims were read.
    pub strips: bool,
}

/// Where a process stands: what it does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    /// Writes the record.
    Decided {
        record: Arc<Record>,
        sending: Option<Box<Sending>>,
        named: BTreeSet<String>,
        left: BTreeSet<usize>,
        given_up: BTreeSet<String>,
    },
    /// Sends the PATCH.
    Recorded {
        written: Moment,
        sending: Box<Sending>,
    },
    /// Waits for the answer.
    Waiting {
        operation: String,
    },
    /// Follows the operation.
    Following {
        operation: String,
    },
    /// Takes finalizers off.
    Finalizing {
        left: BTreeSet<usize>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub incarnation: u8,
    pub memory: Memory,
    pub phase: Phase,
    /// The record is still the one that was read.
    pub version_holds: bool,
    /// What a process that writes no intent keeps to itself.
    pub unrecorded: Option<Arc<Record>>,
}

impl Process {
    pub fn new(incarnation: u8) -> Self {
        Self { incarnation, memory: Memory::default(), phase: Phase::Idle, version_holds: false, unrecorded: None }
    }
}

impl Process {
    /// It knows, or is about to learn, what became of this id in the unsettled intent.
    fn can_tell(&self, intent: &Intent, id: &IdentityId) -> bool {
        let at = match &self.phase {
            Phase::Recorded { sending, .. } => sending.request.operation == intent.operation,
            Phase::Waiting { operation } => *operation == intent.operation,
            Phase::Following { operation } if *operation == intent.operation => return true,
            Phase::Idle | Phase::Decided { .. } | Phase::Following { .. } | Phase::Finalizing { .. } => false,
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
    /// A write arrived after the record had given it up.
    Late,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub arm: Arm,
    pub flight: Vec<Request>,
    pub record: Arc<Record>,
    pub objects: Vec<Option<Object>>,
    pub processes: Vec<Process>,
    pub left: Budget,
    /// Assignments that are gone for good.
    pub gone: BTreeSet<usize>,
    /// Ids that an Event named as staying behind.
    pub named: BTreeSet<String>,
    /// Ids of unanswered writes that were given up on: none of them may arrive any more.
    pub given_up: BTreeSet<String>,
    /// Writes since something last happened to us: bounded, or it does not settle.
    pub puts: u8,
    pub sends: u8,
    pub broke: Option<Broke>,
}

impl World {
    pub fn new(config: &Config) -> Self {
        let target = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m";
        let exists = |exists: bool| exists.then_some(Object { spec: 0, leaving: false });
        Self {
            arm: Arm::new(config.system, config.foreign),
            flight: Vec::new(),
            record: Arc::new(Record::empty(target.parse().expect("a machine's id"))),
            objects: config.assignments.iter().map(|assignment| exists(assignment.exists)).collect(),
            processes: (0..config.processes).map(|_| Process::new(0)).collect(),
            left: config.budget,
            gone: BTreeSet::new(),
            named: BTreeSet::new(),
            given_up: BTreeSet::new(),
            puts: 0,
            sends: 0,
            broke: None,
        }
    }

    /// A stranger's addition is foreign but at the moments that the guarantees except.
    pub fn owner_if_added(&self, name: &str) -> Owner {
        let id = id(name);
        let alone = self.processes.len() == 1;
        let unresolved = self.record.intent.as_ref().is_some_and(|intent| {
            intent.ids().any(|named| *named == id) && !(alone && self.processes.iter().any(|p| p.can_tell(intent, &id)))
        });
        if unresolved || self.unseen_removal(&id) { Owner::Either } else { Owner::Foreign }
    }

    /// The record has it as attached, and no removal of ours explains that it is not there.
    fn unseen_removal(&self, id: &IdentityId) -> bool {
        let removed = |process: &Process| {
            let ours = |sent: &&Sent| self.record.intent.as_ref().is_some_and(|i| i.operation == sent.operation);
            let sent = process.memory.sent.as_ref().filter(ours);
            sent.is_some_and(|sent| sent.outcome == Outcome::Succeeded && sent.removed.contains(id))
        };
        self.record.attached.contains_key(id) && !self.processes.iter().any(removed)
    }

    /// With the answer, or the process, goes what was known of the unsettled intent: a stranger's addition, even one
    /// between the read that it was planned from and its writing, can no longer be told apart.
    pub fn forget_outcome(&mut self) {
        for id in self.record.intent.iter().flat_map(lanyard_domain::Intent::ids) {
            if let Some(owner @ Owner::Foreign) = self.arm.now.user.get_mut(id.folded()) {
                *owner = Owner::Either;
            }
        }
    }

    /// The assignments that exist and stay, with what they say.
    pub fn staying<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a Spec> {
        let with_specs = self.objects.iter().zip(config.assignments);
        with_specs.filter_map(|(object, assignment)| {
            object.as_ref().filter(|o| !o.leaving).and_then(|o| assignment.specs.get(o.spec))
        })
    }

    /// What a complete list of the assignments tells.
    pub fn census(&self, config: &Config) -> Census {
        let known = self.objects.iter().zip(config.assignments).enumerate();
        let read = known.filter_map(|(n, (object, assignment))| {
            let object = object.as_ref()?;
            Some(claim(n, assignment.specs.get(object.spec)?, assignment.policy, object.leaving))
        });
        let gone = self.objects.iter().enumerate().filter(|(_, object)| object.is_none()).map(|(n, _)| n.to_string());
        Census { listed: true, read: read.collect(), unread: Vec::new(), gone: gone.collect(), ..Census::default() }
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
            memory.stale_since.iter_mut().for_each(older);
            memory.last_write_ended.iter_mut().for_each(older);
            if let Phase::Recorded { written, .. } = &mut process.phase {
                older(written);
            }
        }
    }
}

fn claim(n: usize, spec: &Spec, deletion_policy: DeletionPolicy, leaving: bool) -> Claim {
    let present = spec.present.iter().map(|name| (id(name), Ensure::Present));
    let absent = spec.absent.iter().map(|name| (id(name), Ensure::Absent));
    Claim {
        generation: 1,
        key: ClaimKey { namespace: "n".into(), name: n.to_string(), uid: n.to_string() },
        user: present.chain(absent).collect(),
        repair: BTreeSet::new(),
        system: spec.system,
        mode: Mode::Enforce,
        stance: Stance::Enforce,
        deletion_policy,
        default_identity_change: DefaultIdentityChange::Warn,
        leaving: leaving.then(|| Leaving::of(deletion_policy, Mode::Enforce, false)),
    }
}

/// What the assignments together want: true is wanted there, false is wanted gone; what is disputed is left out.
pub fn wanted<'a>(
    specs: impl Iterator<Item = &'a Spec>,
) -> (BTreeSet<&'static str>, BTreeSet<&'static str>, Option<bool>) {
    let (mut present, mut absent) = (BTreeSet::new(), BTreeSet::new());
    let (mut on, mut off) = (false, false);
    for spec in specs {
        present.extend(spec.present);
        absent.extend(spec.absent);
        on |= spec.system == SystemWish::Enabled;
        off |= spec.system == SystemWish::Disabled;
    }
    let disputed: BTreeSet<&'static str> = present.intersection(&absent).copied().collect();
    present.retain(|id| !disputed.contains(id));
    absent.retain(|id| !disputed.contains(id));
    (present, absent, (on != off).then_some(on))
}
