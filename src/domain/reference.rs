//! References: identities that an assignment names by their objects in its namespace, and what they amount to.
//!
//! ```text
//!   the object says ──▶ Referred ──▶ Ensure for its id
//!     ready                            Present
//!     there, not ready                 Kept: what is on the machine stays, nothing is asked for
//!     not seen                         Kept, for the id that the record says it stood for
//!     goes, and its identity with it   nothing: the reference is no wish any more
//! ```
//!
//! An object that is not seen proves nothing. That its identity goes is the controller's own word, in that identity's
//! record, so that no list and no label can say it.
use crate::claims::{Claim, Ensure};
use crate::ids::IdentityId;
use crate::record::{Record, RecordedClaim};
use std::collections::BTreeMap;

/// What is known of the object that a reference names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Referred {
    /// The identity exists, and is the object's.
    Ready(IdentityId),
    /// The object names this identity, which is not there yet, or not the object's to give: why, in words.
    NotReady(IdentityId, String),
    /// There is no such object, as far as was seen.
    Unseen,
    /// The object goes, and its identity with it.
    Leaving(IdentityId),
}

/// One entry of `userAssignedRefs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    pub ensure: Ensure,
    pub repair: bool,
    pub referred: Referred,
}

impl Reference {
    /// The identity that the object names, whatever its state.
    fn named(&self) -> Option<&IdentityId> {
        match &self.referred {
            Referred::Ready(id) | Referred::NotReady(id, _) | Referred::Leaving(id) => Some(id),
            Referred::Unseen => None,
        }
    }

    /// What it asks for now.
    fn wish(&self) -> Option<(&IdentityId, Ensure)> {
        match (self.ensure, &self.referred) {
            (Ensure::Absent, _) => self.named().map(|id| (id, Ensure::Absent)),
            (Ensure::Present, Referred::Ready(id)) => Some((id, Ensure::Present)),
            (Ensure::Present | Ensure::Kept, Referred::NotReady(id, _)) | (Ensure::Kept, Referred::Ready(id)) => {
                Some((id, Ensure::Kept))
            }
            (Ensure::Present | Ensure::Kept, Referred::Unseen | Referred::Leaving(_)) => None,
        }
    }

    /// Why it is not what it asks for, if it has to wait.
    #[must_use]
    pub fn waits(&self) -> Option<String> {
        match (&self.referred, self.ensure) {
            (Referred::Ready(_), _)
            | (_, Ensure::Kept)
            | (Referred::NotReady(..) | Referred::Leaving(_), Ensure::Absent) => None,
            (Referred::NotReady(_, why), Ensure::Present) => Some(why.clone()),
            (Referred::Unseen, Ensure::Present | Ensure::Absent) => {
                Some("there is no such UserAssignedIdentity in this namespace yet".into())
            }
            (Referred::Leaving(_), Ensure::Present) => {
                Some("it is being deleted, and its identity with it: remove the reference, or create it again".into())
            }
        }
    }
}

impl Claim {
    /// The claim with its references told of. An identity that is named twice is one wish; where the two contradict each
    /// other it is kept as it is.
    #[must_use]
    pub fn referring(mut self, refs: BTreeMap<String, Reference>) -> Self {
        for reference in refs.values() {
            let Some((id, ensure)) = reference.wish() else { continue };
            let known = self.user.get(id).copied();
            self.user.insert(id.clone(), both(known, ensure));
            if reference.repair && ensure == Ensure::Present {
                self.repair.insert(id.clone());
            }
        }
        self.refs = refs;
        self
    }

    /// References of which not even the identity is known, or that are no wish any more.
    #[must_use]
    pub fn unresolved(&self) -> usize {
        let unresolved = |reference: &&Reference| reference.waits().is_some() && reference.wish().is_none();
        self.refs.values().filter(unresolved).count()
    }

    /// References that contradict another entry of the same assignment.
    pub fn contradicted(&self) -> impl Iterator<Item = (&String, &IdentityId)> {
        self.refs.iter().filter_map(|(name, reference)| {
            let (id, ensure) = reference.wish()?;
            let kept = self.user.get(id) == Some(&Ensure::Kept);
            (kept && ensure != Ensure::Kept).then_some((name, id))
        })
    }
}

fn both(known: Option<Ensure>, new: Ensure) -> Ensure {
    match (known, new) {
        (None, new) => new,
        (Some(Ensure::Present), Ensure::Present | Ensure::Kept) | (Some(Ensure::Kept), Ensure::Present) => {
            Ensure::Present
        }
        (Some(Ensure::Absent), Ensure::Absent) => Ensure::Absent,
        (Some(Ensure::Present), Ensure::Absent)
        | (Some(Ensure::Absent), Ensure::Present | Ensure::Kept)
        | (Some(Ensure::Kept), Ensure::Absent | Ensure::Kept) => Ensure::Kept,
    }
}

/// The claim, with what its references stood for kept as long as they say nothing new: one whose object was not seen is
/// no withdrawn one, and one whose object names another identity by now lets go of the old when the new one is there.
#[must_use]
pub fn keeping(mut claim: Claim, record: &Record) -> Claim {
    let Some(recorded) = record.recorded_claim(&claim.key.uid) else { return claim };
    let stood_for = claim.refs.iter().filter(|(_, reference)| match reference.referred {
        Referred::Unseen | Referred::NotReady(..) => reference.ensure == Ensure::Present,
        Referred::Ready(_) | Referred::Leaving(_) => false,
    });
    let kept: Vec<IdentityId> = stood_for.filter_map(|(name, _)| recorded.refs.get(name)).cloned().collect();
    for id in kept {
        claim.user.entry(id).or_insert(Ensure::Kept);
    }
    claim
}

/// What the record is to remember of a claim's references: the identity that each stands for.
#[must_use]
pub fn recorded(claim: &Claim, before: Option<&RecordedClaim>) -> BTreeMap<String, IdentityId> {
    let present = claim.refs.iter().filter(|(_, reference)| reference.ensure == Ensure::Present);
    let stands_for = present.filter_map(|(name, reference)| {
        let before = before.and_then(|known| known.refs.get(name));
        let id = match &reference.referred {
            Referred::Ready(id) => Some(id),
            // Until the new one is there it stands for the old one.
            Referred::NotReady(id, _) => before.or(Some(id)),
            Referred::Unseen => before,
            Referred::Leaving(_) => None,
        };
        Some((name.clone(), id?.clone()))
    });
    stands_for.collect()
}

#[cfg(test)]
mod tests;
