//! What cannot be found out by looking at an identity: who made it, and for whom.
use crate::claims::ClaimKey;
use crate::ids::IdentityId;
use std::collections::BTreeSet;

/// What happens to the identity when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    #[default]
    Delete,
    Retain,
}

/// How the identity came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A PUT of ours made it.
    Created,
    /// It was there before, or that is in doubt.
    Adopted,
}

/// A PUT that was announced, and of which the end is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Creating {
    /// The value of the mark that it puts among the tags.
    pub mark: String,
}

/// The record of one identity, kept in its `IdentityRecord`, which only the controller writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub resource_id: IdentityId,
    /// The object that has it. There is one; others that name the identity are told who was first.
    pub owner: ClaimKey,
    /// As last read of that object: for the case that it goes unseen.
    pub policy: Policy,
    pub origin: Option<Origin>,
    /// The principal that `origin` is about: another one under the name is another identity.
    pub principal_id: Option<String>,
    /// Names of the tags that we added, in lower case.
    pub tags: BTreeSet<String>,
    pub creating: Option<Creating>,
    /// The object goes, and the identity with it: references to it are no wish any more.
    pub deleting: bool,
    /// The `ConfigMap` with the outputs.
    pub outputs: Option<String>,
}

impl Record {
    #[must_use]
    pub fn new(resource_id: IdentityId, owner: ClaimKey, policy: Policy) -> Self {
        Self {
            resource_id,
            owner,
            policy,
            origin: None,
            principal_id: None,
            tags: BTreeSet::new(),
            creating: None,
            deleting: false,
            outputs: None,
        }
    }

    /// The next object takes the place of one that is proven gone. What that one let go of is nobody's to delete: as if
    /// it had been there before.
    #[must_use]
    pub fn succeeded_by(self, owner: ClaimKey, policy: Policy) -> Self {
        let left = match self.policy {
            Policy::Retain => Self { origin: None, principal_id: None, creating: None, tags: BTreeSet::new(), ..self },
            Policy::Delete => self,
        };
        left.passed_to(owner, policy)
    }

    /// The object that has it went, and another one that names the identity takes its place. What we made stays ours to
    /// remove only within the namespace that had it made.
    #[must_use]
    pub fn passed_to(mut self, owner: ClaimKey, policy: Policy) -> Self {
        if self.owner.namespace != owner.namespace {
            self.origin = self.origin.map(|_| Origin::Adopted);
            // Should it still arrive, it was another namespace's.
            self.creating = None;
        }
        self.outputs = self.outputs.filter(|_| self.owner.namespace == owner.namespace);
        Self { owner, policy, deleting: false, ..self }
    }
}
