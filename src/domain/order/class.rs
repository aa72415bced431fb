//! What is due in one class of urgency: by subscription, and there by namespace.
use super::Scheduled;
use super::fair::{Content, Fair, Name};
use super::recent::Recent;
use crate::Moment;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Class<K> {
    subscriptions: Fair<OfSubscription<K>>,
    /// Subscriptions that nothing may be asked of until then.
    shut: BTreeSet<(Moment, Name)>,
    recent: Recent,
    count: usize,
}

#[derive(Debug)]
struct OfSubscription<K> {
    namespaces: Fair<OfNamespace<K>>,
    count: usize,
    shut: Option<Moment>,
    /// As many visits of it are busy as may be.
    full: bool,
}

/// First come, first served.
type OfNamespace<K> = BTreeMap<u64, K>;

impl<K> Default for Class<K> {
    fn default() -> Self {
        Self { subscriptions: Fair::default(), shut: BTreeSet::new(), recent: Recent::default(), count: 0 }
    }
}

impl<K> Default for OfSubscription<K> {
    fn default() -> Self {
        Self { namespaces: Fair::default(), count: 0, shut: None, full: false }
    }
}

impl<K> Content for OfNamespace<K> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K> Content for OfSubscription<K> {
    fn is_empty(&self) -> bool {
        self.count == 0 && self.shut.is_none()
    }
}

impl<K: Scheduled> OfSubscription<K> {
    fn waits(&self) -> bool {
        self.count > 0 && !self.full && self.shut.is_none()
    }

    fn add(&mut self, namespace: &str, arrival: u64, target: K, recent: &Recent) -> Name {
        let (namespace, queue) = self.namespaces.enter(namespace);
        queue.insert(arrival, target);
        self.namespaces.set_waiting(&namespace, true);
        self.hurry_if_new(&namespace, recent);
        self.count += 1;
        namespace
    }

    fn hurry_if_new(&mut self, namespace: &Name, recent: &Recent) {
        if let Some(rank) = recent.rank(namespace) {
            self.namespaces.hurry(namespace, rank);
        }
    }

    fn remove(&mut self, namespace: &Name, arrival: u64) -> bool {
        let Some(queue) = self.namespaces.get_mut(namespace) else { return false };
        let removed = queue.remove(&arrival).is_some();
        let waits = !queue.is_empty();
        self.namespaces.set_waiting(namespace, waits);
        self.count -= usize::from(removed);
        removed
    }

    fn take(&mut self, recent: &mut Recent) -> Option<K> {
        let namespace = self.namespaces.first()?.clone();
        let queue = self.namespaces.get_mut(&namespace)?;
        let (_, target) = queue.pop_first()?;
        let waits = !queue.is_empty();
        self.namespaces.serve(&namespace);
        self.namespaces.set_waiting(&namespace, waits);
        recent.has_turn(&namespace);
        self.hurry_if_new(&namespace, recent);
        self.count -= 1;
        Some(target)
    }

    fn oldest(&self) -> Option<(u64, &K)> {
        let firsts = self.namespaces.contents().filter_map(BTreeMap::first_key_value);
        firsts.map(|(arrival, target)| (*arrival, target)).min_by_key(|(arrival, _)| *arrival)
    }
}

impl<K: Scheduled> Class<K> {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Adds a target; returns the namespace's name as all share it.
    pub fn add(&mut self, namespace: &str, arrival: u64, target: K, full: bool) -> Name {
        let (subscription, of) = self.subscriptions.enter(target.clone().subscription());
        let namespace = of.add(namespace, arrival, target, &self.recent);
        self.recent.waits(&namespace);
        of.full = full;
        self.count += 1;
        self.settle(&subscription);
        namespace
    }

    pub fn remove(&mut self, target: &K, namespace: &Name, arrival: u64) {
        let (subscription, of) = self.subscriptions.enter(target.subscription());
        if of.remove(namespace, arrival) {
            self.count -= 1;
            self.recent.waits_no_more(namespace);
        }
        self.settle(&subscription);
    }

    /// The subscription whose turn it is.
    pub fn first(&self) -> Option<&Name> {
        self.subscriptions.first()
    }

    /// The next target of that subscription, whose turn it is.
    pub fn take(&mut self, subscription: &Name) -> Option<K> {
        let target = self.subscriptions.get_mut(subscription)?.take(&mut self.recent);
        self.count -= usize::from(target.is_some());
        self.subscriptions.serve(subscription);
        self.settle(subscription);
        target
    }

    /// Passes a subscription over until then.
    pub fn shut(&mut self, subscription: &Name, until: Moment) {
        let Some(of) = self.subscriptions.get_mut(subscription) else { return };
        of.shut = Some(until);
        self.shut.insert((until, subscription.clone()));
        self.settle(subscription);
    }

    /// Those whose time has come wait for their turn again.
    pub fn reopen(&mut self, now: Moment) {
        while self.shut.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, subscription)) = self.shut.pop_first() else { return };
            if let Some(of) = self.subscriptions.get_mut(&subscription) {
                of.shut = None;
            }
            self.settle(&subscription);
        }
    }

    /// When the first of those that are passed over is asked again.
    pub fn opens(&self) -> Option<Moment> {
        self.shut.first().map(|(until, _)| *until)
    }

    pub fn set_full(&mut self, subscription: &Name, full: bool) {
        if let Some(of) = self.subscriptions.get_mut(subscription) {
            of.full = full;
            self.settle(subscription);
        }
    }

    /// Who has been waiting for longest.
    pub fn oldest(&self) -> Option<&K> {
        let oldest = self.subscriptions.contents().filter_map(OfSubscription::oldest);
        oldest.min_by_key(|(arrival, _)| *arrival).map(|(_, target)| target)
    }

    /// A subscription in which somebody new waits is hurried with them.
    fn settle(&mut self, subscription: &Name) {
        let of = self.subscriptions.get_mut(subscription);
        let (waits, hurried) = of.map_or((false, None), |of| (of.waits(), of.namespaces.hurried()));
        self.subscriptions.set_waiting(subscription, waits);
        if let Some(rank) = hurried {
            self.subscriptions.hurry(subscription, rank);
        }
    }
}
