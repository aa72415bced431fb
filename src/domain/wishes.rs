//! What all claims together want of one identity.
use crate::claims::{Claim, ClaimKey, Claims, Ensure, SystemWish};
use crate::ids::IdentityId;
use std::collections::BTreeMap;

/// The union of all claims about one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To be there, says at least one enforcing claim, and nobody objects.
    Present(Vec<ClaimKey>),
    /// To be gone, likewise.
    Absent(Vec<ClaimKey>),
    /// Declared present by claims that ask for nothing: it stays as it is.
    Protected,
    /// Enforced absence against declared presence: nothing is done about it.
    Disputed {
        present: Vec<ClaimKey>,
        absent: Vec<ClaimKey>,
    },
    Unclaimed,
}

/// Who says what of one identity, in the order of the claims.
#[derive(Clone, Debug, Default)]
struct Voices {
    present: Vec<ClaimKey>,
    absent: Vec<ClaimKey>,
    protecting: Vec<ClaimKey>,
}

impl Voices {
    /// A claim that enforces nothing protects what it declares present; its absences bind nobody.
    fn add(&mut self, claim: &Claim, ensure: Ensure) {
        match (ensure, claim.enforces()) {
            (Ensure::Present, true) => self.present.push(claim.key.clone()),
            (Ensure::Absent, true) => self.absent.push(claim.key.clone()),
            (Ensure::Present, false) | (Ensure::Kept, _) => self.protecting.push(claim.key.clone()),
            (Ensure::Absent, false) => {}
        }
    }

    fn wish(self) -> Wish {
        match (self.present.is_empty(), self.absent.is_empty(), self.protecting.is_empty()) {
            (true, true, true) => Wish::Unclaimed,
            (true, true, false) => Wish::Protected,
            (false, true, _) => Wish::Present(self.present),
            (true, false, true) => Wish::Absent(self.absent),
            (_, false, _) => {
                let present = self.present.into_iter().chain(self.protecting).collect();
                Wish::Disputed { present, absent: self.absent }
            }
        }
    }
}

/// The wish for every user-assigned identity that some claim names, spelled as the first of them does.
pub(crate) fn user_wishes(claims: &Claims) -> BTreeMap<IdentityId, Wish> {
    let mut voices: BTreeMap<IdentityId, Voices> = BTreeMap::new();
    for claim in claims.staying() {
        for (id, ensure) in &claim.user {
            voices.entry(id.clone()).or_default().add(claim, *ensure);
        }
    }
    voices.into_iter().map(|(id, voices)| (id, voices.wish())).collect()
}

/// The wish for the system-assigned identity.
pub(crate) fn system_wish(claims: &Claims) -> Wish {
    let mut voices = Voices::default();
    for claim in claims.staying() {
        match claim.system {
            SystemWish::Enabled => voices.add(claim, Ensure::Present),
            SystemWish::Disabled => voices.add(claim, Ensure::Absent),
            SystemWish::Unmanaged => {}
        }
    }
    voices.wish()
}
