//! Somebody who keeps undoing us: repaired at once the first times, then told and repaired at a slowing pace.
//!
//! An undoing is counted when its repair succeeds, not when a read shows it: ARM took the same change of the same
//! identity from us twice, under the `ETag` that the second was planned from, so that it had been undone in between.
//! A read that lags, or a scale set's own `ETag` moves, end in a 412 and count for nothing. Where no `ETag` guards, a
//! repair waits until a read has shown the change, or must be believed.
//!
//! This is memory of a process: a restart begins the count anew, and is polite again after a few more repairs.
use crate::ids::IdentityId;
use crate::judge::LAGS_FOR;
use crate::live::Live;
use crate::patch::{Edit, Patch};
use crate::record::Switch;
use crate::time::{Moment, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// So often an undoing is repaired at once: a person's mistake, a pipeline that runs once more.
pub const REPAIRED_AT_ONCE: u32 = 3;

/// The first pause before a repair, doubled each time.
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest: a contest costs one write an hour, of the four a minute that ARM allows.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What was left alone for so long is forgotten. Longer than the longest pause, the drift interval's default included.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(6 * 60 * 60);

/// What somebody undoes: one identity, changed in one direction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matter {
    User(IdentityId, Edit),
    System(Switch),
}

impl Matter {
    fn of(patch: &Patch) -> impl Iterator<Item = Self> {
        let user = patch.edits.iter().map(|(id, edit)| Self::User(id.clone(), *edit));
        user.chain(patch.system.map(Self::System))
    }

    fn is_so(&self, live: &Live) -> bool {
        match self {
            Self::User(id, Edit::Attach) => live.has(id),
            Self::User(id, Edit::Detach) => !live.has(id),
            Self::System(Switch::On) => live.system.is_some(),
            Self::System(Switch::Off) => live.system.is_none(),
        }
    }

    fn opposite(&self) -> Self {
        match self {
            Self::User(id, Edit::Attach) => Self::User(id.clone(), Edit::Detach),
            Self::User(id, Edit::Detach) => Self::User(id.clone(), Edit::Attach),
            Self::System(Switch::On) => Self::System(Switch::Off),
            Self::System(Switch::Off) => Self::System(Switch::On),
        }
    }
}

/// How often something was undone, since when, and until when it is left so if it is undone again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Undone {
    pub times: u32,
    /// When the first undoing was repaired, for people.
    pub since: Timestamp,
    until: Moment,
    made: Moment,
    /// A read since then has shown it as we made it.
    seen: bool,
    told: bool,
}

impl Undone {
    #[must_use]
    pub fn is_contested(&self) -> bool {
        self.times >= REPAIRED_AT_ONCE
    }

    /// `first`: as if it had been made for the first time now.
    fn once_more(&self, first: Self) -> Self {
        let times = self.times.saturating_add(1);
        let since = if self.times == 0 { first.since } else { self.since.clone() };
        Self { times, since, until: first.made.after(pause(times)), told: self.told, ..first }
    }
}

/// All changes of ours on one target that somebody may undo, each matter once. Every machine of a fleet has some: few, so
/// that a list is smaller than a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contest(Vec<(Matter, Undone)>);

/// What happened, for people: what, how often, since when, and what is done about it.
#[must_use]
pub fn in_words(matter: &Matter, undone: &Undone) -> String {
    let (what, theirs) = match matter {
        Matter::User(id, Edit::Attach) => (format!("{} is attached", id.name()), "takes it off"),
        Matter::User(id, Edit::Detach) => (format!("{} is taken off", id.name()), "puts it back"),
        Matter::System(Switch::On) => ("the system-assigned identity is switched on".into(), "switches it off"),
        Matter::System(Switch::Off) => ("the system-assigned identity is switched off".into(), "switches it on"),
    };
    // The repaired ones, and the one that waits.
    let times = undone.times.saturating_add(1);
    format!(
        "{what}, and something else {theirs} again: {times} times since {}. It is repaired at a slowing pace, at least \
         once an hour; the machine's activity log tells who it is",
        undone.since.0
    )
}

impl Contest {
    /// A write of ours succeeded, its operation too. A change made the other way round was wanted so: no contest.
    pub fn made(&mut self, patch: &Patch, now: Moment, timestamp: &Timestamp) {
        self.forget_old(now);
        for matter in Matter::of(patch) {
            let opposite = matter.opposite();
            self.0.retain(|(known, _)| *known != opposite);
            let first = Undone { times: 0, since: timestamp.clone(), until: now, made: now, seen: false, told: false };
            if let Some(known) = self.get_mut(&matter) {
                *known = known.once_more(first);
            } else {
                self.0.reserve_exact(1);
                self.0.push((matter, first));
            }
        }
    }

    fn get_mut(&mut self, matter: &Matter) -> Option<&mut Undone> {
        self.0.iter_mut().find(|(known, _)| known == matter).map(|(_, undone)| undone)
    }

    /// Without an `ETag` that guards, nothing tells a change that was undone from a read that lags behind it. A read that
    /// does not show what we made a moment ago, and none has shown yet, is not believed.
    #[must_use]
    pub fn doubts(&self, live: &Live, now: Moment) -> bool {
        let young = |undone: &Undone| !undone.seen && now.since(undone.made) < LAGS_FOR;
        self.0.iter().any(|(matter, undone)| young(undone) && !matter.is_so(live))
    }

    /// What a read shows as we made it has arrived for certain.
    pub fn saw(&mut self, live: &Live) {
        self.0.iter_mut().for_each(|(matter, undone)| undone.seen |= matter.is_so(live));
    }

    /// What is left as it is for now, should it be undone again.
    pub fn waiting(&self, now: Moment) -> impl Iterator<Item = (&Matter, &Undone)> {
        let waiting = self.0.iter().filter(move |(_, undone)| undone.until > now && !is_old(undone, now));
        waiting.map(|(matter, undone)| (matter, undone))
    }

    #[must_use]
    pub fn get(&self, matter: &Matter) -> Option<&Undone> {
        let known = self.0.iter().find(|(known, _)| known == matter);
        known.map(|(_, undone)| undone).filter(|undone| undone.is_contested())
    }

    /// When the first of what waits is due.
    #[must_use]
    pub fn next_try(&self, now: Moment) -> Option<Duration> {
        self.waiting(now).map(|(_, undone)| undone.until.since(now)).min()
    }

    /// A person wants to see it tried: once, at once.
    pub fn hurry(&mut self, now: Moment) {
        self.0.iter_mut().for_each(|(_, undone)| undone.until = undone.until.min(now));
    }

    /// People changed what they ask of these: nothing is held against anybody.
    pub fn forget(&mut self, asked: impl Fn(&Matter) -> bool) {
        self.0.retain(|(matter, _)| !asked(matter));
    }

    /// True once for each contest: people are told once, and read on in the status.
    pub fn is_news(&mut self, matter: &Matter) -> bool {
        let Some(undone) = self.get_mut(matter) else { return false };
        !std::mem::replace(&mut undone.told, true)
    }

    fn forget_old(&mut self, now: Moment) {
        self.0.retain(|(_, undone)| !is_old(undone, now));
    }
}

fn is_old(undone: &Undone, now: Moment) -> bool {
    now.since(undone.made) >= FORGOTTEN_AFTER
}

fn pause(times: u32) -> Duration {
    let Some(doublings) = times.checked_sub(REPAIRED_AT_ONCE) else { return Duration::ZERO };
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(doublings.min(16))).min(LONGEST_PAUSE)
}

/// What a plan leaves alone because of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contested {
    pub user: BTreeMap<IdentityId, Edit>,
    pub system: Option<Switch>,
}

impl Contested {
    #[must_use]
    pub fn of(contest: &Contest, now: Moment) -> Self {
        let mut all = Self::default();
        for (matter, _) in contest.waiting(now) {
            match matter {
                Matter::User(id, edit) => {
                    all.user.insert(id.clone(), *edit);
                }
                Matter::System(switch) => all.system = Some(*switch),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
