//! Which target is visited next: one entry a target, one visit at a time, a person's change first.
use lanyard_domain::TargetId;
pub use lanyard_domain::pace::Urgency;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A target as the queue knows it: the same for every spelling of its id.
pub type TargetKey = Arc<TargetId>;

/// Targets that are due, and those that will be.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Due now, in the order of urgency and arrival.
    ready: BTreeMap<(Urgency, u64), TargetKey>,
    later: BTreeSet<(Instant, Urgency, TargetKey)>,
    places: HashMap<TargetKey, Place>,
    /// Under way, with the urgency of what came in meanwhile.
    under_way: HashMap<TargetKey, Option<Urgency>>,
    arrivals: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready(Urgency, u64),
    Later(Instant, Urgency),
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Visit this target as soon as its turn comes. While it is being visited: once more afterwards.
    pub fn push(&self, target: TargetKey, urgency: Urgency) {
        self.state().push(target, urgency);
        self.changed.notify_one();
    }

    /// Visit it then, unless it is due before.
    pub fn later(&self, target: TargetKey, at: Instant, urgency: Urgency) {
        self.state().later(target, at, urgency);
        self.changed.notify_one();
    }

    /// Puts off a visit that is not due yet.
    pub fn defer(&self, target: &TargetKey, at: Instant) {
        self.state().defer(target, at);
    }

    /// It is being visited, or due.
    pub fn is_busy_with(&self, target: &TargetKey) -> bool {
        let state = self.state();
        state.under_way.contains_key(target) || matches!(state.places.get(target), Some(Place::Ready(..)))
    }

    /// The next target that is due. The caller calls [`Queue::done`] when its visit has ended.
    pub async fn next(&self) -> TargetKey {
        loop {
            let (next, wake_at) = {
                let mut state = self.state();
                (state.pop(Instant::now()), state.later.first().map(|(at, _, _)| *at))
            };
            match (next, wake_at) {
                (Some(next), _) => return next,
                (None, Some(at)) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(at) => {}
                },
                (None, None) => self.changed.notified().await,
            }
        }
    }

    /// The visit has ended; the next one is due then, if ever.
    pub fn done(&self, target: &TargetKey, next: Option<(Instant, Urgency)>) {
        self.state().done(target, next);
        self.changed.notify_one();
    }

    /// Forgets what was due and what was under way: a term begins. Whoever calls this pushes afterwards what the index
    /// then holds, so that what came in meanwhile is not missed.
    pub fn forget(&self) {
        *self.state() = State::default();
    }

    /// How many targets are due now, and how many are being visited.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.ready.len(), state.under_way.len())
    }
}

impl State {
    fn push(&mut self, target: TargetKey, urgency: Urgency) {
        if let Some(again) = self.under_way.get_mut(&target) {
            *again = Some(again.map_or(urgency, |known| known.min(urgency)));
            return;
        }
        match self.places.get(&target).copied() {
            Some(Place::Ready(known, _)) if known <= urgency => return,
            Some(place) => self.leave(&target, place),
            None => {}
        }
        self.make_ready(target, urgency);
    }

    fn later(&mut self, target: TargetKey, at: Instant, urgency: Urgency) {
        if !self.under_way.contains_key(&target) && !self.places.contains_key(&target) {
            self.places.insert(target.clone(), Place::Later(at, urgency));
            self.later.insert((at, urgency, target));
        }
    }

    fn defer(&mut self, target: &TargetKey, at: Instant) {
        if let Some(Place::Later(known, urgency)) = self.places.get(target).copied()
            && known < at
        {
            self.leave(target, Place::Later(known, urgency));
            self.places.insert(target.clone(), Place::Later(at, urgency));
            self.later.insert((at, urgency, target.clone()));
        }
    }

    fn make_ready(&mut self, target: TargetKey, urgency: Urgency) {
        self.arrivals += 1;
        self.places.insert(target.clone(), Place::Ready(urgency, self.arrivals));
        self.ready.insert((urgency, self.arrivals), target);
    }

    fn leave(&mut self, target: &TargetKey, place: Place) {
        match place {
            Place::Ready(urgency, arrival) => {
                self.ready.remove(&(urgency, arrival));
            }
            Place::Later(at, urgency) => {
                self.later.remove(&(at, urgency, target.clone()));
            }
        }
        self.places.remove(target);
    }

    fn pop(&mut self, now: Instant) -> Option<TargetKey> {
        while let Some((at, urgency, target)) = self.later.first().cloned().filter(|(at, _, _)| *at <= now) {
            self.leave(&target, Place::Later(at, urgency));
            self.make_ready(target, urgency);
        }
        let (_, target) = self.ready.pop_first()?;
        self.places.remove(&target);
        self.under_way.insert(target.clone(), None);
        Some(target)
    }

    fn done(&mut self, target: &TargetKey, next: Option<(Instant, Urgency)>) {
        match (self.under_way.remove(target).flatten(), next) {
            (Some(urgency), _) => self.make_ready(target.clone(), urgency),
            (None, Some((at, urgency))) => {
                self.places.insert(target.clone(), Place::Later(at, urgency));
                self.later.insert((at, urgency, target.clone()));
            }
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn target(name: &str) -> TargetKey {
        let id = format!(
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}"
        );
        Arc::new(id.parse().expect("an id"))
    }

    #[tokio::test]
    async fn a_persons_change_overtakes_drift() {
        let queue = Queue::default();
        queue.push(target("a"), Urgency::Drift);
        queue.push(target("b"), Urgency::Change);
        assert_eq!(queue.next().await, target("b"));
        assert_eq!(queue.next().await, target("a"));
    }

    #[tokio::test]
    async fn however_it_is_spelled_a_target_is_one_entry() {
        let queue = Queue::default();
        queue.push(target("web"), Urgency::Drift);
        queue.push(target("WEB"), Urgency::Change);
        assert_eq!(queue.depth(), (1, 0));
    }

    #[tokio::test]
    async fn a_target_under_way_is_visited_once_more_and_never_twice_at_once() {
        let queue = Queue::default();
        queue.push(target("a"), Urgency::Change);
        let first = queue.next().await;
        queue.push(target("a"), Urgency::Change);
        queue.push(target("a"), Urgency::Drift);
        assert_eq!(queue.depth(), (0, 1));
        queue.done(&first, None);
        assert_eq!(queue.next().await, target("a"));
        assert_eq!(queue.depth(), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_later_comes_later_unless_somebody_asks() {
        let queue = Queue::default();
        let begun = Instant::now();
        queue.push(target("a"), Urgency::Change);
        let a = queue.next().await;
        queue.done(&a, Some((begun + Duration::from_secs(600), Urgency::Drift)));
        queue.push(target("b"), Urgency::Change);
        assert_eq!(queue.next().await, target("b"));
        assert_eq!(queue.next().await, target("a"));
        assert_eq!(begun.elapsed().as_secs(), 600);
    }
}
