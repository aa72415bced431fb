//! Which identities a refusal is about that names none of them: found out by halves, on a budget of its own.
//!
//! ```text
//!   refused together ─▶ blamed ─▶ half of it is sent ─┬─ refused: that half is blamed, the rest is in doubt
//!                         ▲                           └─ accepted: the rest is blamed
//!                         └── in doubt, all at once, when that is much, or all that is left
//! ```
//!
//! One identity that is refused by itself is the one: it is set aside, and the search goes on without it.
use crate::ids::IdentityId;
use crate::patch::Edit;
use crate::time::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is due, id by id.
pub type Due = BTreeMap<IdentityId, Edit>;

/// Writes that only search, or only try again what was refused, draw on half of what ARM allows for updates of one
/// machine: 12 at once, then 4 a minute. The other half is for everything else.
const AT_ONCE: u32 = 6;
const ONE_IN: Duration = Duration::from_secs(30);

/// What is in doubt goes before the search for the culprit ends, once it is so many times larger than the group that
/// is searched: most of it is well, and should not wait. So three quarters of up to 150 identities are attached by the
/// sixth write, the last that may leave at once, wherever the one culprit is.
const MUCH: usize = 4;

/// The budget: a bucket of [`AT_ONCE`], refilled by one in [`ONE_IN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// When the bucket is full again.
    full_at: Moment,
}

impl Allowance {
    /// How long until one more write may leave.
    #[must_use]
    pub fn wait(self, now: Moment) -> Duration {
        self.full_at.since(now.after(ONE_IN * (AT_ONCE - 1)))
    }

    pub fn spend(&mut self, now: Moment) {
        self.full_at = self.full_at.max(now).after(ONE_IN);
    }
}

/// A search under way; nothing is blamed and nothing in doubt when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Halving {
    /// Each was refused as a whole: it holds at least one culprit.
    blamed: Vec<BTreeSet<IdentityId>>,
    /// Refused together with a group that is blamed now: nothing is known of these.
    doubtful: BTreeSet<IdentityId>,
    /// The system-assigned identity was switched in a refused request that named others too: it goes by itself, last.
    apart: bool,
}

/// What was refused before and is tried again now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// One request for all: ARM says which of them it refuses.
    pub together: BTreeSet<IdentityId>,
    /// Each by itself: of these ARM does not say so.
    pub alone: BTreeSet<IdentityId>,
}

impl Again {
    #[must_use]
    pub fn has(&self, id: &IdentityId) -> bool {
        self.together.contains(id) || self.alone.contains(id)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.together.is_empty() && self.alone.is_empty()
    }
}

/// What the next request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// All that is due and was never refused, the system identity's switch too: the ordinary case.
    Ordinary(BTreeSet<IdentityId>),
    /// A step of the search, or another try. Draws on the [`Allowance`].
    Trial(BTreeSet<IdentityId>),
}

impl Turn {
    #[must_use]
    pub fn ids(&self) -> &BTreeSet<IdentityId> {
        match self {
            Self::Ordinary(ids) | Self::Trial(ids) => ids,
        }
    }
}

impl Halving {
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.blamed.is_empty() || !self.doubtful.is_empty()
    }

    /// The system identity's switch waits until nothing else can go.
    #[must_use]
    pub fn keeps_system_apart(&self) -> bool {
        self.apart
    }

    /// What waits for the search to end.
    pub fn suspects(&self) -> impl Iterator<Item = &IdentityId> {
        self.blamed.iter().flatten().chain(&self.doubtful)
    }

    fn suspects_due(&self, due: &Due) -> BTreeSet<IdentityId> {
        self.suspects().filter(|id| due.contains_key(*id)).cloned().collect()
    }

    /// What goes next: what was never refused first, so that nobody waits for the search; then a step of it; then
    /// what is tried again. Without the means for a trial, only what is new.
    #[must_use]
    pub fn turn(&self, due: &Due, again: &Again, affordable: bool) -> Turn {
        let suspects = self.suspects_due(due);
        let new = due.keys().filter(|id| !suspects.contains(*id) && !again.has(id)).cloned().collect::<BTreeSet<_>>();
        if !new.is_empty() || !affordable {
            return Turn::Ordinary(new);
        }
        let step = self.step(due).or_else(|| retrial(due, again));
        step.map_or(Turn::Ordinary(new), Turn::Trial)
    }

    fn step(&self, due: &Due) -> Option<BTreeSet<IdentityId>> {
        let in_doubt: BTreeSet<IdentityId> = self.doubtful.iter().filter(|id| due.contains_key(*id)).cloned().collect();
        let blamed = self.blamed.iter().map(|group| within(group, due)).filter(|group| !group.is_empty());
        match blamed.min_by_key(BTreeMap::len) {
            Some(group) if in_doubt.len() < MUCH * group.len() => Some(half(&group)),
            Some(_) => Some(in_doubt),
            None => Some(in_doubt).filter(|all| !all.is_empty()),
        }
    }

    /// ARM took a request with these.
    pub fn accepted(&mut self, sent: &Due, system: bool) {
        self.apart &= !system;
        self.forget(|id| !sent.contains_key(id));
    }

    /// ARM refused a request with these, and named none. The culprit, if that is known now.
    pub fn refused(&mut self, sent: &Due, system: bool) -> Option<IdentityId> {
        if system {
            self.apart = !sent.is_empty();
            return None;
        }
        if sent.len() == 1 {
            let culprit = sent.keys().next().cloned();
            self.forget(|id| !sent.contains_key(id));
            return culprit;
        }
        let sent: BTreeSet<IdentityId> = sent.keys().cloned().collect();
        if let Some(group) = self.blamed.iter_mut().find(|group| sent.is_subset(group)) {
            self.doubtful.extend(group.difference(&sent).cloned());
            *group = sent;
        } else {
            self.forget(|id| !sent.contains(id));
            self.blamed.extend((!sent.is_empty()).then_some(sent));
        }
        None
    }

    /// ARM named these, or they are known to be at fault by other means: whom they were blamed with is in doubt.
    pub fn found(&mut self, culprits: &BTreeSet<IdentityId>) {
        for group in self.blamed.extract_if(.., |group| !group.is_disjoint(culprits)) {
            self.doubtful.extend(group);
        }
        self.forget(|id| !culprits.contains(id));
    }

    /// Goes on with those alone that are still asked for.
    pub fn forget(&mut self, wanted: impl Fn(&IdentityId) -> bool) {
        self.blamed.iter_mut().for_each(|group| group.retain(&wanted));
        self.blamed.retain(|group| !group.is_empty());
        self.doubtful.retain(&wanted);
    }
}

fn within(group: &BTreeSet<IdentityId>, due: &Due) -> Due {
    group.iter().filter_map(|id| Some((id.clone(), *due.get(id)?))).collect()
}

/// Additions from removals, where there are both: only one of them may be what ARM refuses. A single one is its own half.
fn half(group: &Due) -> BTreeSet<IdentityId> {
    let additions: BTreeSet<IdentityId> =
        group.iter().filter(|(_, edit)| **edit == Edit::Attach).map(|(id, _)| id.clone()).collect();
    if additions.is_empty() || additions.len() == group.len() {
        group.keys().take(group.len().div_ceil(2)).cloned().collect()
    } else {
        additions
    }
}

fn retrial(due: &Due, again: &Again) -> Option<BTreeSet<IdentityId>> {
    let together: BTreeSet<IdentityId> = again.together.iter().filter(|id| due.contains_key(*id)).cloned().collect();
    let alone = || again.alone.iter().find(|id| due.contains_key(*id)).map(|id| [id.clone()].into());
    Some(together).filter(|all| !all.is_empty()).or_else(alone)
}

#[cfg(test)]
mod tests;
