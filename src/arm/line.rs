//! Who writes next, of those that wait in one subscription: the most urgent, then whoever came first.
use lanyard_domain::pace::Urgency;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

type Rank = (Urgency, u64);

/// The line of each subscription in which somebody waits.
#[derive(Default)]
pub(super) struct Lines {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: HashMap<String, BTreeMap<Rank, Arc<Notify>>>,
    arrivals: u64,
}

impl Lines {
    /// Stands in line until the place is dropped.
    pub fn join(&self, subscription: &str, urgency: Urgency) -> Place<'_> {
        let subscription = subscription.to_ascii_lowercase();
        let call = Arc::new(Notify::new());
        let mut state = self.state();
        state.arrivals += 1;
        let rank = (urgency, state.arrivals);
        state.lines.entry(subscription.clone()).or_default().insert(rank, call.clone());
        drop(state);
        Place { lines: self, subscription, rank, call }
    }

    /// How many would go before somebody of this urgency who comes now.
    pub fn before(&self, subscription: &str, urgency: Urgency) -> usize {
        self.ahead(&subscription.to_ascii_lowercase(), (urgency, u64::MAX))
    }

    fn ahead(&self, subscription: &str, rank: Rank) -> usize {
        self.state().lines.get(subscription).map_or(0, |line| line.range(..rank).count())
    }

    fn is_first(&self, subscription: &str, rank: Rank) -> bool {
        let state = self.state();
        let first = state.lines.get(subscription).and_then(|line| line.keys().next());
        first == Some(&rank)
    }

    fn leave(&self, subscription: &str, rank: Rank) {
        let mut state = self.state();
        let Some(line) = state.lines.get_mut(subscription) else { return };
        line.remove(&rank);
        match line.values().next() {
            Some(first) => first.notify_one(),
            None => drop(state.lines.remove(subscription)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a line.
pub(super) struct Place<'a> {
    lines: &'a Lines,
    subscription: String,
    rank: Rank,
    call: Arc<Notify>,
}

impl Place<'_> {
    pub fn is_first(&self) -> bool {
        self.lines.is_first(&self.subscription, self.rank)
    }

    /// How many go before.
    pub fn ahead(&self) -> usize {
        self.lines.ahead(&self.subscription, self.rank)
    }

    /// Ends when those before have gone; perhaps somebody more urgent has come since.
    pub async fn comes_first(&self) {
        self.call.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.lines.leave(&self.subscription, self.rank);
    }
}
