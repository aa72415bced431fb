//! What cannot be found out by looking: which identities we attached, and what we were about to do.
use crate::claims::{ClaimKey, DeletionPolicy, Mode};
use crate::ids::{IdentityId, TargetId};
use crate::live::{ETag, UniqueId};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The format that this version writes. One that is newer is read by nobody here.
pub const FORMAT_VERSION: u32 = 1;

/// So many replaced states are remembered: a read lags by seconds, in which we write a machine this often at most.
const SUPERSEDED: usize = 4;

/// An identity that we attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attached {
    pub principal_id: Option<String>,
    pub since: Timestamp,
}

/// An assignment's claim as last acted on.
///
/// It stands in for an object that cannot be read, and says how one that is gone wanted to leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedClaim {
    pub key: ClaimKey,
    /// The version of the spec that was acted on: an object that is older is a view of the past.
    pub generation: i64,
    pub deletion_policy: DeletionPolicy,
    pub mode: Mode,
    pub present: BTreeSet<IdentityId>,
    /// The identity that each of its references stood for, by the reference's name.
    pub refs: BTreeMap<String, IdentityId>,
    /// It declared the system-assigned identity `Enabled`.
    pub system_enabled: bool,
}

/// The state that a PATCH was planned from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Base {
    pub unique_id: Option<UniqueId>,
    pub etag: Option<ETag>,
}

/// An attempt of which nothing is known: it may still arrive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unanswered {
    pub base: Base,
    /// Its client request id.
    pub operation: String,
}

/// A change of the system-assigned identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Switch {
    On,
    Off,
}

/// What we are about to do, written before the PATCH leaves and settled after it.
///
/// While an earlier attempt may still arrive, `add` and `remove` are the union over all attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    pub attempt: u32,
    pub base: Base,
    pub add: BTreeSet<IdentityId>,
    pub remove: BTreeSet<IdentityId>,
    pub system: Option<Switch>,
    /// The process that wrote it: another one waits before it judges.
    pub writer: String,
    /// Earlier attempts under this intent without a known outcome, the oldest first.
    pub unanswered: Vec<Unanswered>,
    /// The client request id of the PATCH, by which ARM's activity log knows it.
    pub operation: String,
}

impl Intent {
    /// Without its latest attempt, which was refused: what is left may still arrive.
    #[must_use]
    pub fn without_latest(mut self) -> Option<Self> {
        let earlier = self.unanswered.pop()?;
        Some(Self { base: earlier.base, operation: earlier.operation, ..self })
    }

    /// The states that attempts of unknown outcome were planned from.
    pub fn bases(&self) -> impl Iterator<Item = &Base> {
        self.unanswered.iter().map(|earlier| &earlier.base).chain([&self.base])
    }

    /// Every user identity that some attempt would add or remove.
    pub fn ids(&self) -> impl Iterator<Item = &IdentityId> {
        self.add.union(&self.remove)
    }
}

/// How often the dead entry of one identity was taken off to be put on again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repair {
    /// The principal that it was to get: for another one it is counted anew.
    pub principal_id: String,
    pub rounds: u32,
    /// What people asked for meanwhile, as a fingerprint: when they ask anew, it is counted anew.
    pub asked: String,
    /// Off the machine by our hand, and not seen there again yet.
    pub awaited: bool,
}

/// The record of one target, kept in its `IdentityTarget`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub resource_id: TargetId,
    pub unique_id: Option<UniqueId>,
    pub attached: BTreeMap<IdentityId, Attached>,
    /// The system-assigned identity, if we switched it on.
    pub system: Option<Attached>,
    pub claims: Vec<RecordedClaim>,
    pub intent: Option<Intent>,
    /// Repairs of dead entries, of ids that are still declared.
    pub repairs: BTreeMap<IdentityId, Repair>,
    /// The states that our last settled writes replaced, the newest first, and a machine that another one replaced
    /// (then without an ETag): a read that still shows one of them is old.
    pub superseded: Vec<Base>,
}

/// Who put an identity on the machine, as far as the record knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    Attached,
    /// In doubt, not ours.
    Preexisting,
}

impl Record {
    /// A target that we know nothing of yet.
    #[must_use]
    pub fn empty(resource_id: TargetId) -> Self {
        Self {
            resource_id,
            unique_id: None,
            attached: BTreeMap::new(),
            system: None,
            claims: Vec::new(),
            intent: None,
            repairs: BTreeMap::new(),
            superseded: Vec::new(),
        }
    }

    #[must_use]
    pub fn origin(&self, id: &IdentityId) -> Origin {
        if self.attached.contains_key(id) { Origin::Attached } else { Origin::Preexisting }
    }

    #[must_use]
    pub fn system_origin(&self) -> Origin {
        if self.system.is_some() { Origin::Attached } else { Origin::Preexisting }
    }

    #[must_use]
    pub fn recorded_claim(&self, uid: &str) -> Option<&RecordedClaim> {
        self.claims.iter().find(|claim| claim.key.uid == uid)
    }

    /// Rounds of repair so far that were to give the entry this principal.
    #[must_use]
    pub fn rounds_of_repair(&self, id: &IdentityId, principal_id: &str) -> u32 {
        let same = self.repairs.get(id).filter(|repair| repair.principal_id == principal_id);
        same.map_or(0, |repair| repair.rounds)
    }

    /// Remembers a state that is no more, and forgets the oldest.
    pub fn supersede(&mut self, old: Base) {
        self.superseded.retain(|known| *known != old);
        self.superseded.insert(0, old);
        self.superseded.truncate(SUPERSEDED);
    }

    /// Nothing of ours is on the machine, and nothing of ours may still arrive there.
    #[must_use]
    pub fn owns_nothing(&self) -> bool {
        self.attached.is_empty() && self.intent.is_none()
    }
}
