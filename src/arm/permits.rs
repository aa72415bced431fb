//! How many requests are under way at once: of all, and of one subscription.
use crate::places::{Place, Places};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Of one subscription: where it stops answering, its requests hang for a minute each, and must not take every place.
const OF_ONE: usize = 16;

pub(super) struct Permits {
    all: Semaphore,
    by_subscription: Places,
}

/// The right to have one request under way.
pub(super) struct Permit<'a> {
    _own: Place,
    _shared: Option<SemaphorePermit<'a>>,
}

impl Permits {
    pub fn new(of_all: usize) -> Self {
        Self { all: Semaphore::new(of_all), by_subscription: Places::new(OF_ONE) }
    }

    /// Waits for a place among those of the subscription, then among all.
    pub async fn acquire(&self, subscription: &str) -> Permit<'_> {
        let own = self.by_subscription.acquire(subscription).await;
        // None only if a semaphore were closed, which none ever is.
        Permit { _own: own, _shared: self.all.acquire().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_subscription_that_hang_leave_places_to_others() {
        let permits = Permits::new(64);
        let mut hanging = Vec::new();
        for _ in 0..OF_ONE {
            hanging.push(permits.acquire("sick").await);
        }
        assert!(timeout(Duration::from_secs(60), permits.acquire("sick")).await.is_err());
        assert!(timeout(Duration::from_secs(1), permits.acquire("well")).await.is_ok());
        hanging.pop();
        assert!(timeout(Duration::from_secs(1), permits.acquire("sick")).await.is_ok());
    }
}
