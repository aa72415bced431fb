//! What assignments say about one target.
use crate::ids::IdentityId;
pub use crate::reference::{Reference, Referred};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which assignment a claim comes from. Ordered by namespace and name, as people read them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a claim wants of one user-assigned identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ensure {
    Present,
    Absent,
    /// Stays as it is: what a reference stands for that does not say yet, or cannot be read. It protects, and asks for
    /// nothing.
    Kept,
}

/// What a claim wants of the system-assigned identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemWish {
    Enabled,
    Disabled,
    /// Not ours to touch.
    #[default]
    Unmanaged,
}

/// What the object's `mode` and `suspend` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    #[default]
    Enforce,
    Observe,
    /// `suspend: true`: as `Observe`, but a deletion acts as its policy says.
    Suspended,
}

/// Whether a claim may ask for writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stance {
    Enforce,
    /// Protects what it declares present and asks for nothing.
    Hold(Holding),
}

/// Why a claim only protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holding {
    Observe,
    Suspended,
    /// The object cannot be read, or its absence is not proven: its last recorded claim stands.
    Unread,
    /// The machine is managed by AKS and this claim does not accept that.
    ManagedByAks,
}

/// What happens to attached identities when an assignment is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeletionPolicy {
    #[default]
    Detach,
    Retain,
}

/// How a deleted assignment leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaving {
    /// What is attached and claimed by nobody else is taken off.
    Detach,
    /// Nothing is written; what nobody else claims leaves the record.
    Release,
}

impl Leaving {
    /// `Retain`, an object in `Observe` and the release annotation all end a claim without a write.
    #[must_use]
    pub fn of(policy: DeletionPolicy, mode: Mode, released: bool) -> Self {
        match (policy, mode, released) {
            (_, _, true) | (DeletionPolicy::Retain, _, _) | (_, Mode::Observe, _) => Self::Release,
            (DeletionPolicy::Detach, Mode::Enforce | Mode::Suspended, false) => Self::Detach,
        }
    }
}

/// What to do about a change of the identity that IMDS gives to callers that name none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DefaultIdentityChange {
    #[default]
    Warn,
    Block,
}

/// What one assignment says about one target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub key: ClaimKey,
    /// The version of the object's spec: grows with every change of it.
    pub generation: i64,
    pub user: BTreeMap<IdentityId, Ensure>,
    /// The identities that it names by their objects, by name. What they amount to is in `user`.
    pub refs: BTreeMap<String, Reference>,
    /// The ids whose dead entries are to be taken off and put on again, whoever put them there.
    pub repair: BTreeSet<IdentityId>,
    pub system: SystemWish,
    pub mode: Mode,
    pub stance: Stance,
    pub deletion_policy: DeletionPolicy,
    pub default_identity_change: DefaultIdentityChange,
    /// Set once the object is being deleted: such a claim wants nothing any more.
    pub leaving: Option<Leaving>,
}

impl Claim {
    /// The ids that this claim declares present, or keeps from being taken off.
    pub fn present(&self) -> impl Iterator<Item = &IdentityId> {
        self.user.iter().filter(|(_, ensure)| **ensure != Ensure::Absent).map(|(id, _)| id)
    }

    /// The ids that this claim wants to be there.
    pub fn wanted(&self) -> impl Iterator<Item = &IdentityId> {
        self.user.iter().filter(|(_, ensure)| **ensure == Ensure::Present).map(|(id, _)| id)
    }

    #[must_use]
    pub fn enforces(&self) -> bool {
        self.leaving.is_none() && self.stance == Stance::Enforce
    }

    /// The same claim as if its object were switched to `Enforce`: what `Observe` shows a plan of.
    #[must_use]
    pub fn enforced(&self) -> Self {
        Self { stance: Stance::Enforce, mode: Mode::Enforce, ..self.clone() }
    }
}

/// All claims on one target, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Claims(Vec<Claim>);

impl Claims {
    #[must_use]
    pub fn new(mut claims: Vec<Claim>) -> Self {
        claims.sort_by(|a, b| a.key.cmp(&b.key));
        Self(claims)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.0.iter()
    }

    /// The claims whose objects stay.
    pub fn staying(&self) -> impl Iterator<Item = &Claim> {
        self.0.iter().filter(|claim| claim.leaving.is_none())
    }

    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Claim> {
        self.0.iter().find(|claim| claim.key.uid == uid)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids that some staying claim declares present, whatever its stance.
    #[must_use]
    pub fn present(&self) -> BTreeSet<&IdentityId> {
        self.staying().flat_map(Claim::present).collect()
    }

    /// Whether a claim in force declares this id present and asks for the repair of its entry.
    #[must_use]
    pub fn asks_for_repair(&self, id: &IdentityId) -> bool {
        let asks = |claim: &Claim| claim.repair.contains(id) && claim.user.get(id) == Some(&Ensure::Present);
        self.iter().any(|claim| claim.enforces() && asks(claim))
    }

    /// These claims with one of them replaced.
    #[must_use]
    pub fn with(&self, claim: Claim) -> Self {
        let mut claims: Vec<Claim> = self.0.iter().filter(|other| other.key.uid != claim.key.uid).cloned().collect();
        claims.push(claim);
        Self::new(claims)
    }
}
