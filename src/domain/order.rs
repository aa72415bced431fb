//! Who is visited next.
//!
//! One entry a target, and never two visits of one at once. Classes of urgency go strictly before each other. Within a
//! class subscriptions take turns, and within a subscription the namespaces that ask: many changes of one delay a single
//! one of another by a turn, not by their number. A subscription whose budget is spent for now, or that has as many
//! visits busy as it may, is passed over; it holds up nobody else.
//!
//! ```text
//!   push ──────▶ due: class ▸ subscription ▸ namespace ▸ first come ── pop ──▶ under way ── done ──┐
//!                 ▲                                                                                │
//!                 └──────────────── later: due at a moment ◀───────────────────────────────────────┘
//! ```
mod class;
mod fair;
mod recent;

use crate::pace::Urgency;
use crate::{IdentityId, Moment, TargetId};
use class::Class;
use fair::Name;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A target as the scheduler knows it: the same for every spelling of its id.
pub type Target = Arc<TargetId>;

/// What can be visited: known by its id, and counted in a subscription.
pub trait Scheduled: Clone + Ord + std::hash::Hash + std::fmt::Debug {
    fn subscription(&self) -> &str;
}

impl Scheduled for Arc<TargetId> {
    fn subscription(&self) -> &str {
        self.as_ref().subscription()
    }
}

impl Scheduled for Arc<IdentityId> {
    fn subscription(&self) -> &str {
        self.as_ref().subscription()
    }
}

/// The flow of what no namespace asked for.
const NOBODY: &str = "";

/// How many visits of one subscription may be busy at once, so that one that hangs never holds all slots.
///
/// Those that wait for an operation are not busy.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    all: usize,
    /// Of these, places that only people's changes and deletions take.
    kept_for_people: usize,
}

impl Bounds {
    /// An eighth of all slots each, at least two: eight of the usual 64, two of them kept for people.
    #[must_use]
    pub fn of(slots: usize) -> Self {
        let all = (slots / 8).max(2);
        Self { all, kept_for_people: all / 4 }
    }

    fn is_full(self, busy: usize, urgency: Urgency) -> bool {
        match urgency {
            Urgency::Change | Urgency::Deletion => busy >= self.all,
            Urgency::Retry | Urgency::Waiting | Urgency::Drift => busy >= self.all - self.kept_for_people,
        }
    }
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<K = Target> {
    /// Visit this target. It is under way until [`Scheduler::done`].
    Visit(K, Urgency),
    /// Nothing may begin before then, unless something is pushed or done.
    Wait(Option<Moment>),
}

/// Targets that are due and those that will be.
#[derive(Debug)]
pub struct Scheduler<K = Target> {
    bounds: Bounds,
    entries: HashMap<K, Entry>,
    classes: BTreeMap<Urgency, Class<K>>,
    later: BTreeSet<(Moment, K)>,
    /// Visits that are busy, by subscription.
    busy: HashMap<Name, usize>,
    under_way: usize,
    arrivals: u64,
    nobody: Name,
}

#[derive(Debug)]
struct Entry {
    ready: Option<Ready>,
    later: Option<(Moment, Urgency)>,
    visit: Option<Box<Visit>>,
    /// Who asked for it last, for what is tried again.
    namespace: Name,
}

#[derive(Clone, Copy, Debug)]
struct Ready {
    urgency: Urgency,
    arrival: u64,
    since: Moment,
}

#[derive(Debug, Default)]
struct Visit {
    /// It waits for an operation.
    parked: bool,
    /// What came in meanwhile.
    again: Option<(Urgency, Name)>,
}

/// What waits, by class, and how many visits are under way, with those that wait for an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    pub due: BTreeMap<Urgency, Depth>,
    pub under_way: usize,
}

/// How much waits in one class, and for how long the first has been waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub due: usize,
    pub oldest: Duration,
}

impl<K: Scheduled> Scheduler<K> {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: HashMap::new(),
            classes: BTreeMap::new(),
            later: BTreeSet::new(),
            busy: HashMap::new(),
            under_way: 0,
            arrivals: 0,
            nobody: Name::from(NOBODY),
        }
    }

    /// Visit this target as soon as its turn comes, since this namespace asks for it. While it is being visited: once
    /// more afterwards.
    pub fn push(&mut self, now: Moment, target: K, urgency: Urgency, namespace: Option<&str>) {
        let namespace = namespace.unwrap_or(NOBODY);
        if let Some(visit) = self.entries.get_mut(&target).and_then(|entry| entry.visit.as_mut()) {
            if visit.again.as_ref().is_none_or(|(known, _)| urgency < *known) {
                visit.again = Some((urgency, namespace.into()));
            }
            return;
        }
        self.make_ready(now, target, urgency, namespace);
    }

    fn make_ready(&mut self, now: Moment, target: K, urgency: Urgency, namespace: &str) {
        let known = self.entries.get(&target).and_then(|entry| entry.ready);
        if known.is_some_and(|known| known.urgency <= urgency) {
            return;
        }
        self.leave(&target);
        // One copy of the id, however often it comes in.
        let target = self.entries.get_key_value(&target).map_or(target, |(known, _)| known.clone());
        self.arrivals += 1;
        let ready = Ready { urgency, arrival: self.arrivals, since: now };
        let busy = self.busy.get(target.subscription()).copied().unwrap_or_default();
        let full = self.bounds.is_full(busy, urgency);
        let class = self.classes.entry(urgency).or_default();
        let namespace = class.add(namespace, ready.arrival, target.clone(), full);
        let entry = self.entries.entry(target.clone()).or_insert_with(|| Entry::of(&namespace));
        entry.ready = Some(ready);
        entry.namespace = namespace;
        // What was due later comes now, unless it would then be more urgent.
        if entry.later.is_some_and(|(_, later)| later >= urgency) {
            self.forget_later(&target);
        }
    }

    /// Takes a target out of what is due.
    fn leave(&mut self, target: &K) {
        let Some(entry) = self.entries.get_mut(target) else { return };
        if let Some(ready) = entry.ready.take()
            && let Some(class) = self.classes.get_mut(&ready.urgency)
        {
            class.remove(target, &entry.namespace, ready.arrival);
        }
    }

    fn forget_later(&mut self, target: &K) {
        if let Some((at, _)) = self.entries.get_mut(target).and_then(|entry| entry.later.take()) {
            self.later.remove(&(at, target.clone()));
        }
    }

    fn set_later(&mut self, target: &K, at: Moment, urgency: Urgency) {
        self.forget_later(target);
        let target = self.entries.get_key_value(target).map_or(target, |(known, _)| known).clone();
        let entry = self.entries.entry(target.clone()).or_insert_with(|| Entry::of(&self.nobody));
        entry.later = Some((at, urgency));
        self.later.insert((at, target));
    }

    /// The target is due then, if it is not due sooner.
    pub fn later(&mut self, target: &K, at: Moment, urgency: Urgency) {
        let entry = self.entries.get(target);
        let sooner = entry.is_some_and(|entry| {
            let ready = entry.ready.is_some_and(|ready| ready.urgency <= urgency);
            ready || entry.visit.is_some() || entry.later.is_some_and(|(known, _)| known <= at)
        });
        if !sooner {
            self.set_later(target, at, urgency);
        }
    }

    /// Somebody has just looked: a target that is or will be due for no more than a look need not be visited before
    /// then. Never nearer, and nothing that is under way, a change, a deletion or a retry. True: it was put off.
    pub fn defer(&mut self, target: &K, at: Moment) -> bool {
        let Some(entry) = self.entries.get(target).filter(|entry| entry.visit.is_none()) else { return false };
        let urgencies =
            entry.ready.map(|ready| ready.urgency).into_iter().chain(entry.later.map(|(_, urgency)| urgency));
        let Some(urgency) = urgencies.min().filter(|urgency| is_a_look(*urgency)) else { return false };
        if entry.ready.is_none() && entry.later.is_some_and(|(known, _)| known >= at) {
            return false;
        }
        self.leave(target);
        self.set_later(target, at, urgency);
        true
    }

    /// It is under way, or due for more than a look.
    #[must_use]
    pub fn is_busy_with(&self, target: &K) -> bool {
        self.entries
            .get(target)
            .is_some_and(|entry| entry.visit.is_some() || entry.ready.is_some_and(|ready| !is_a_look(ready.urgency)))
    }

    /// Whose turn it is. `gate` says how long it is until a read of that class may leave in that subscription.
    pub fn pop(&mut self, now: Moment, gate: impl Fn(&str, Urgency) -> Duration) -> Turn<K> {
        self.fall_due(now);
        for (urgency, class) in &mut self.classes {
            class.reopen(now);
            while let Some(subscription) = class.first().cloned() {
                let pause = gate(&subscription, *urgency);
                if !pause.is_zero() {
                    class.shut(&subscription, now.after(pause));
                } else if let Some(target) = class.take(&subscription) {
                    let urgency = *urgency;
                    self.begin(&target, &subscription);
                    return Turn::Visit(target, urgency);
                }
            }
        }
        let opens = self.classes.values().filter_map(Class::opens);
        Turn::Wait(opens.chain(self.later.first().map(|(at, _)| *at)).min())
    }

    fn fall_due(&mut self, now: Moment) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, target)) = self.later.pop_first() else { return };
            let Some(entry) = self.entries.get_mut(&target) else { continue };
            let Some((_, urgency)) = entry.later.take() else { continue };
            let namespace = if urgency == Urgency::Drift { self.nobody.clone() } else { entry.namespace.clone() };
            self.make_ready(now, target, urgency, &namespace);
        }
    }

    fn begin(&mut self, target: &K, subscription: &Name) {
        if let Some(entry) = self.entries.get_mut(target) {
            entry.ready = None;
            entry.visit = Some(Box::default());
        }
        self.forget_later(target);
        self.under_way += 1;
        *self.busy.entry(subscription.clone()).or_default() += 1;
        self.mark_full(subscription);
    }

    fn one_less_busy(&mut self, subscription: &str) {
        let Some((name, busy)) = self.busy.get_key_value(subscription) else { return };
        let (name, left) = (name.clone(), busy.saturating_sub(1));
        if left == 0 {
            self.busy.remove(&name);
        } else {
            self.busy.insert(name.clone(), left);
        }
        self.mark_full(&name);
    }

    fn mark_full(&mut self, subscription: &Name) {
        let busy = self.busy.get(subscription).copied().unwrap_or_default();
        for (urgency, class) in &mut self.classes {
            class.set_full(subscription, self.bounds.is_full(busy, *urgency));
        }
    }

    /// The visit waits for an operation: it keeps its subscription from nothing meanwhile.
    pub fn parked(&mut self, target: &K) {
        let visit = self.entries.get_mut(target).and_then(|entry| entry.visit.as_mut());
        if visit.is_some_and(|visit| !std::mem::replace(&mut visit.parked, true)) {
            self.one_less_busy(target.subscription());
        }
    }

    /// The operation has ended, and the visit goes on: what was begun is not held up, whatever the bound.
    pub fn resumed(&mut self, target: &K) {
        let visit = self.entries.get_mut(target).and_then(|entry| entry.visit.as_mut());
        if visit.is_some_and(|visit| std::mem::take(&mut visit.parked)) {
            let subscription = Name::from(target.subscription());
            *self.busy.entry(subscription.clone()).or_default() += 1;
            self.mark_full(&subscription);
        }
    }

    /// The visit has ended; the next one is due then, if ever, or at once if something came in meanwhile.
    pub fn done(&mut self, now: Moment, target: &K, next: Option<(Moment, Urgency)>) {
        let Some(visit) = self.entries.get_mut(target).and_then(|entry| entry.visit.take()) else { return };
        self.under_way -= 1;
        if !visit.parked {
            self.one_less_busy(target.subscription());
        }
        if let Some((urgency, namespace)) = visit.again {
            self.make_ready(now, target.clone(), urgency, &namespace);
        }
        if let Some((at, urgency)) = next {
            self.later(target, at, urgency);
        }
        if self.entries.get(target).is_some_and(Entry::is_idle) {
            self.entries.remove(target);
        }
    }

    /// How much is due, and how much under way.
    #[must_use]
    pub fn depths(&self, now: Moment) -> Depths {
        let since = |target: &K| self.entries.get(target).and_then(|entry| entry.ready).map(|ready| ready.since);
        let depth = |class: &Class<K>| {
            let oldest = class.oldest().and_then(since).map_or(Duration::ZERO, |since| now.since(since));
            Depth { due: class.len(), oldest }
        };
        let due = self.classes.iter().map(|(urgency, class)| (*urgency, depth(class))).collect();
        Depths { due, under_way: self.under_way }
    }

    /// Visits of a subscription that are busy.
    #[must_use]
    pub fn busy(&self, subscription: &str) -> usize {
        self.busy.get(subscription).copied().unwrap_or_default()
    }
}

impl Entry {
    fn of(namespace: &Name) -> Self {
        Self { ready: None, later: None, visit: None, namespace: namespace.clone() }
    }

    fn is_idle(&self) -> bool {
        self.ready.is_none() && self.later.is_none() && self.visit.is_none()
    }
}

/// Nobody asked for it: it may have been seen in another way.
fn is_a_look(urgency: Urgency) -> bool {
    match urgency {
        Urgency::Waiting | Urgency::Drift => true,
        Urgency::Change | Urgency::Deletion | Urgency::Retry => false,
    }
}

#[cfg(test)]
mod tests;
