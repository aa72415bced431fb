//! Which target is visited next: the core's scheduler, woken when something is due, pushed, or done.
use crate::arm::Arm;
use crate::clock::Clock;
use lanyard_domain::order::{Bounds, Depths, Scheduled, Scheduler, Turn};
pub use lanyard_domain::pace::Urgency;
use lanyard_domain::{Moment, TargetId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A target as the queue knows it: the same for every spelling of its id.
pub type TargetKey = Arc<TargetId>;

/// How long it is until a read of that class may leave in that subscription: zero when one may leave now.
///
/// It is asked under the queue's lock, and must not call the queue.
pub type Gate = Arc<dyn Fn(&str, Urgency) -> Duration + Send + Sync>;

/// Who waits for longer than this is told so: the visit begins, finds the budget spent, and says until when.
const WORTH_TELLING: Duration = Duration::from_secs(30);

/// The longest between two looks at what is due.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The gate of ARM's budgets.
pub fn gate(arm: Arm) -> Gate {
    Arc::new(move |subscription, urgency| {
        let room = arm.room(subscription, urgency);
        let a_person_waits = matches!(urgency, Urgency::Change | Urgency::Deletion);
        if a_person_waits && room > WORTH_TELLING { Duration::ZERO } else { room }
    })
}

/// Targets that are due, and those that will be.
#[derive(Debug)]
pub struct Queue<K = TargetKey> {
    scheduler: Mutex<Scheduler<K>>,
    bounds: Bounds,
    changed: Notify,
    clock: Clock,
}

impl<K: Scheduled> Queue<K> {
    /// A queue whose visits share so many slots.
    pub fn new(slots: usize, clock: Clock) -> Self {
        let bounds = Bounds::of(slots);
        Self { scheduler: Mutex::new(Scheduler::new(bounds)), bounds, changed: Notify::new(), clock }
    }

    fn scheduler(&self) -> MutexGuard<'_, Scheduler<K>> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is scheduled, and wakes whoever waits for a turn.
    fn change<T>(&self, change: impl FnOnce(&mut Scheduler<K>, Moment) -> T) -> T {
        let changed = change(&mut self.scheduler(), self.clock.now());
        self.changed.notify_one();
        changed
    }

    /// Visit this target as soon as its turn comes, since this namespace asks for it. While it is being visited: once
    /// more afterwards.
    pub fn push(&self, target: K, urgency: Urgency, namespace: Option<&str>) {
        self.change(|scheduler, now| scheduler.push(now, target, urgency, namespace));
    }

    /// Visit it then, unless it is due before.
    pub fn later(&self, target: &K, at: Instant, urgency: Urgency) {
        let at = self.clock.moment(at);
        self.change(|scheduler, _| scheduler.later(target, at, urgency));
    }

    /// Puts off a visit that would be no more than a look.
    pub fn defer(&self, target: &K, at: Instant) {
        let at = self.clock.moment(at);
        // Nobody is woken: nothing falls due sooner by it.
        self.scheduler().defer(target, at);
    }

    /// It is being visited, or due for more than a look.
    pub fn is_busy_with(&self, target: &K) -> bool {
        self.scheduler().is_busy_with(target)
    }

    /// The next target that is due, and why. The caller calls [`Queue::done`] when its visit has ended.
    pub async fn next(&self, gate: &Gate) -> (K, Urgency) {
        loop {
            let turn = self.scheduler().pop(self.clock.now(), |subscription, urgency| gate(subscription, urgency));
            match turn {
                Turn::Visit(target, urgency) => return (target, urgency),
                Turn::Wait(at) => {
                    // Should a wake-up ever be lost, nothing waits for long.
                    let again = Instant::now() + LOOK_AGAIN;
                    let at = at.map_or(again, |at| self.clock.instant(at).min(again));
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// The visit waits for an operation: it is no longer busy.
    pub fn parked(&self, target: &K) {
        self.change(|scheduler, _| scheduler.parked(target));
    }

    /// It goes on.
    pub fn resumed(&self, target: &K) {
        self.change(|scheduler, _| scheduler.resumed(target));
    }

    /// The visit has ended; the next one is due then, if ever.
    pub fn done(&self, target: &K, next: Option<(Instant, Urgency)>) {
        let next = next.map(|(at, urgency)| (self.clock.moment(at), urgency));
        self.change(|scheduler, now| scheduler.done(now, target, next));
    }

    /// Forgets what was due and what was under way: a term begins. Whoever calls this pushes afterwards what the index
    /// then holds, so that what came in meanwhile is not missed.
    pub fn forget(&self) {
        *self.scheduler() = Scheduler::new(self.bounds);
    }

    /// How much is due by class, and how many targets are being visited.
    pub fn depths(&self) -> Depths {
        self.scheduler().depths(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always_open() -> Gate {
        Arc::new(|_, _| Duration::ZERO)
    }

    fn target(name: &str) -> TargetKey {
        let id = format!(
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}"
        );
        Arc::new(id.parse().expect("an id"))
    }

    fn queue() -> Queue {
        Queue::new(64, Clock::start())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_later_comes_later_unless_somebody_asks() {
        let (queue, begun) = (queue(), Instant::now());
        queue.push(target("a"), Urgency::Change, None);
        let (a, _) = queue.next(&always_open()).await;
        queue.done(&a, Some((begun + Duration::from_secs(600), Urgency::Drift)));
        queue.push(target("b"), Urgency::Change, None);
        assert_eq!(queue.next(&always_open()).await, (target("b"), Urgency::Change));
        assert_eq!(queue.next(&always_open()).await, (target("a"), Urgency::Drift));
        assert_eq!(begun.elapsed().as_secs(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_turn_wakes_when_a_gate_opens() {
        let (queue, begun) = (queue(), Instant::now());
        queue.push(target("a"), Urgency::Change, None);
        let opens = begun + Duration::from_secs(7);
        let gate: Gate = Arc::new(move |_, _| opens.saturating_duration_since(Instant::now()));
        assert_eq!(queue.next(&gate).await, (target("a"), Urgency::Change));
        assert_eq!(begun.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_turn_wakes_when_something_comes_in() {
        let queue = Arc::new(queue());
        let waits = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next(&always_open()).await }
        });
        tokio::task::yield_now().await;
        queue.push(target("a"), Urgency::Retry, None);
        assert_eq!(waits.await.expect("it ends"), (target("a"), Urgency::Retry));
    }
}
