//! The machines that need no visit of their own as long as lists show them as they should be.
use super::identities::GOOD_FOR;
use super::queue::TargetKey;
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::sweep::{Demand, Ended, Rounds, Scope};
use lanyard_domain::{IdentityId, Moment};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which lists are asked for is decided anew no more often than this, however the fleet changes.
const DECIDED_FOR: Duration = Duration::from_secs(20);

/// What is looked for of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// Drift. All is as declared, as far as is known. However often lists show it so, it is visited by then.
    AtRest { every: Duration, seen: Option<Moment>, visit_by: Moment },
    /// That it appears. Whatever lists lack, it is asked for by itself by then.
    Awaited { since: Moment, visit_by: Moment },
}

impl Member {
    /// How often it is to be looked at.
    fn every(self, now: Moment) -> Duration {
        match self {
            Self::AtRest { every, .. } => every,
            Self::Awaited { since, .. } => pause(Class::Waiting, 1, now.since(since), 0.0),
        }
    }
}

/// The fleet, and the calendar of its lists.
#[derive(Debug, Default)]
pub struct Fleet {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_subscription: HashMap<Box<str>, HashMap<TargetKey, Member>>,
    /// Declared to be on some machine.
    identities: HashSet<IdentityId>,
    rounds: Rounds,
    decided: Option<Moment>,
    changed: bool,
}

impl Inner {
    fn decide(&mut self, now: Moment) {
        let mut demand = Demand::default();
        for (target, member) in self.by_subscription.values().flatten() {
            match member {
                Member::AtRest { every, .. } => demand.at_rest(target, *every),
                Member::Awaited { .. } => demand.awaited(target, member.every(now)),
            }
        }
        for group in self.identities.iter().filter_map(Scope::group_of_identity) {
            demand.look_at(group, GOOD_FOR);
        }
        let lists = demand.lists(|scope| self.rounds.known(scope, now));
        self.rounds.choose(lists, now);
        (self.decided, self.changed) = (Some(now), false);
    }

    fn put(&mut self, target: &TargetKey, member: Member) {
        if !self.by_subscription.contains_key(target.subscription()) {
            self.by_subscription.insert(target.subscription().into(), HashMap::new());
        }
        let Some(members) = self.by_subscription.get_mut(target.subscription()) else { return };
        let same = |known: &Member| match (known, &member) {
            (Member::AtRest { every: known, .. }, Member::AtRest { every, .. }) => known == every,
            (Member::Awaited { .. }, Member::Awaited { .. }) => true,
            (Member::AtRest { .. }, Member::Awaited { .. }) | (Member::Awaited { .. }, Member::AtRest { .. }) => false,
        };
        let known = members.insert(target.clone(), member);
        self.changed |= !known.is_some_and(|known| same(&known));
    }
}

impl Fleet {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a machine up, or notes that it was seen. Returns the pace of the list that covers it now, if one does.
    pub fn put(&self, target: &TargetKey, member: Member, now: Moment) -> Option<Duration> {
        let mut inner = self.inner();
        inner.put(target, member);
        let every = member.every(now);
        match member {
            Member::AtRest { .. } => inner.rounds.covering(target, every),
            Member::Awaited { .. } => inner.rounds.covering_by_group(target, every),
        }
    }

    /// It is looked after by visits of its own.
    pub fn leave(&self, target: &TargetKey) {
        let mut inner = self.inner();
        let members = inner.by_subscription.get_mut(target.subscription());
        let left = members.is_some_and(|members| members.remove(target).is_some());
        inner.changed |= left;
    }

    pub fn get(&self, target: &TargetKey) -> Option<Member> {
        self.inner().by_subscription.get(target.subscription())?.get(target).copied()
    }

    /// The identities that are declared now.
    pub fn declare(&self, identities: HashSet<IdentityId>) {
        let mut inner = self.inner();
        inner.changed |= inner.identities != identities;
        inner.identities = identities;
    }

    pub fn declares(&self, id: &IdentityId) -> bool {
        self.inner().identities.contains(id)
    }

    /// The key under which a machine of a list is known here.
    pub fn key(&self, target: &lanyard_domain::TargetId) -> Option<TargetKey> {
        let inner = self.inner();
        let (key, _) = inner.by_subscription.get(target.subscription())?.get_key_value(target)?;
        Some(key.clone())
    }

    /// Those of a scope that are waited for.
    pub fn awaited(&self, scope: &Scope) -> Vec<TargetKey> {
        let inner = self.inner();
        let members = inner.by_subscription.get(&scope.subscription).into_iter().flatten();
        let awaited =
            members.filter(|(target, member)| matches!(member, Member::Awaited { .. }) && scope.holds(target));
        awaited.map(|(target, _)| target.clone()).collect()
    }

    /// How many were not seen yet as they should be, since this process began to lead.
    pub fn unverified(&self) -> usize {
        let inner = self.inner();
        let members = inner.by_subscription.values().flat_map(HashMap::values);
        members.filter(|member| matches!(member, Member::AtRest { seen: None, .. })).count()
    }

    /// Decides at once which lists are asked for.
    pub fn decide(&self, now: Moment) {
        self.inner().decide(now);
    }

    /// The next list to ask for.
    pub fn begin(&self, now: Moment) -> Option<Scope> {
        let mut inner = self.inner();
        if inner.changed && inner.decided.is_none_or(|decided| now.since(decided) >= DECIDED_FOR) {
            inner.decide(now);
        }
        inner.rounds.begin(now)
    }

    pub fn end(&self, scope: &Scope, ended: Ended, now: Moment, jitter: f64) {
        let mut inner = self.inner();
        // What the sweep taught of the list's length, or that it cannot be had, may speak for another.
        inner.changed |= inner.rounds.end(scope, ended, now, jitter);
    }

    /// When there may be something to begin.
    pub fn next_due(&self) -> Option<Moment> {
        let inner = self.inner();
        let decision = inner.decided.filter(|_| inner.changed).map(|decided| decided.after(DECIDED_FOR));
        inner.rounds.next_due().into_iter().chain(decision).min()
    }
}
