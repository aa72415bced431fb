//! Waits for room in the budget. What there is room for is the core's word; here are clock, lock and sleep.
use super::line::{Lines, Place};
use lanyard_domain::Moment;
use lanyard_domain::pace::Urgency;
use lanyard_domain::quota::{Bucket, Key, Left, Quota, Receipt, Share, Short};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// A caller that would wait longer is told so at once: a worker must not be held by one closed bucket.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long a write waits for its turn. It holds no worker meanwhile; but what was read before grows old, and after
/// that the visit is better begun anew.
const LONGEST_TURN: Duration = Duration::from_secs(10);

/// The timer counts in whole milliseconds, and may round down to before the bucket has filled.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Limiter {
    quota: Mutex<Quota>,
    lines: Lines,
    /// Reads that changes under way will need, by subscription.
    owed: Mutex<HashMap<Box<str>, usize>>,
    /// No more than half of what there can be is held back for them: of long operations most are needed later.
    most_owed: usize,
    /// More may leave than was known a moment ago.
    more: Notify,
    began: Instant,
}

impl Limiter {
    pub fn new(share: Share) -> Arc<Self> {
        let quota = Mutex::new(Quota::new(share));
        Arc::new(Self {
            quota,
            lines: Lines::default(),
            owed: Mutex::default(),
            most_owed: share.half_of(Bucket::SubscriptionReads),
            more: Notify::new(),
            began: Instant::now(),
        })
    }

    /// Spends one request on every bucket, waiting a moment for them to fill.
    pub async fn spend(self: &Arc<Self>, keys: &[Key], urgency: Urgency) -> Result<Taken, Short> {
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            let more = self.more.notified();
            match self.take(keys, urgency) {
                Ok(taken) => return Ok(taken),
                Err(short) if Instant::now() + short.wait > until => return Err(short),
                // Woken before by news, or else when there is room.
                Err(short) => drop(timeout(short.wait + TICK, more).await),
            }
        }
    }

    /// The same for a write: in order of urgency, then of arrival, among those of its subscription.
    ///
    /// A machine whose own bucket is empty does not stand in the line, where it would hold up the others.
    pub async fn spend_in_turn(
        self: &Arc<Self>,
        subscription: &str,
        keys: &[Key],
        urgency: Urgency,
    ) -> Result<Taken, Short> {
        let until = Instant::now() + LONGEST_TURN;
        let own: Vec<Key> = keys.iter().filter(|key| !key.bucket.is_shared()).cloned().collect();
        while let Some(short) = self.short(&own, urgency, 1) {
            if Instant::now() + short.wait > until {
                return Err(short);
            }
            tokio::time::sleep(short.wait + TICK).await;
        }
        let place = self.lines.join(subscription, urgency);
        match self.short(keys, urgency, place.ahead() + 1) {
            Some(short) if short.wait > LONGEST_TURN => Err(short),
            _ => self.turn(&place, keys, urgency, until).await,
        }
    }

    async fn turn(
        self: &Arc<Self>,
        place: &Place<'_>,
        keys: &[Key],
        urgency: Urgency,
        until: Instant,
    ) -> Result<Taken, Short> {
        loop {
            let more = self.more.notified();
            let first = place.is_first();
            let short = match self.short(keys, urgency, place.ahead() + 1) {
                None if first => match self.take(keys, urgency) {
                    Ok(taken) => return Ok(taken),
                    Err(short) => short,
                },
                None => Short { bucket: keys.first().map_or(Bucket::SubscriptionWrites, |key| key.bucket), wait: TICK },
                Some(short) => short,
            };
            let now = Instant::now();
            if now >= until || (first && now + short.wait > until) {
                return Err(short);
            }
            let pause = if first { short.wait + TICK } else { until.saturating_duration_since(now) };
            tokio::select! {
                () = place.comes_first() => {}
                () = more, if first => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads to be held back for changes under way in this subscription.
    pub fn owed(&self, subscription: &str) -> usize {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.get(subscription).copied().unwrap_or_default().min(self.most_owed)
    }

    pub fn owe(&self, subscription: &str, change: impl FnOnce(usize) -> usize) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = change(owed.get(subscription).copied().unwrap_or_default());
        if count == 0 {
            owed.remove(subscription);
        } else {
            owed.insert(subscription.into(), count);
        }
    }

    /// How long until a request of this urgency finds room; `beside` others go before it.
    pub fn short(&self, keys: &[Key], urgency: Urgency, nth: usize) -> Option<Short> {
        let now = self.now();
        self.with(|quota| quota.short(keys, urgency, nth, now))
    }

    /// How long until a visit that begins now would find room for its write.
    pub fn until_a_turn(&self, subscription: &str, keys: &[Key], urgency: Urgency) -> Duration {
        let nth = self.lines.before(subscription, urgency) + 1;
        self.short(keys, urgency, nth).map_or(Duration::ZERO, |short| short.wait.saturating_sub(LONGEST_TURN / 2))
    }

    fn take(self: &Arc<Self>, keys: &[Key], urgency: Urgency) -> Result<Taken, Short> {
        let now = self.now();
        let receipt = self.with(|quota| quota.take(keys, urgency, now))?;
        Ok(Taken { limiter: self.clone(), receipt: Some(receipt), left: false })
    }

    /// Closes one bucket, as a 429 told, and says for how long.
    pub fn close(&self, key: &Key, asked: Option<Duration>) -> Duration {
        let now = self.now();
        self.with(|quota| quota.close(key, asked, now))
    }

    pub fn lowest(&self) -> Vec<(Bucket, f64)> {
        let now = self.now();
        self.with(|quota| quota.lowest(now))
    }

    fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Quota) -> T) -> T {
        // The levels are whole after every step: a panic elsewhere while they were held leaves them usable.
        act(&mut self.quota.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to send one request. Dropped before it leaves, it is given back; dropped afterwards, it counts as lost.
pub(super) struct Taken {
    limiter: Arc<Limiter>,
    receipt: Option<Receipt>,
    left: bool,
}

impl Taken {
    /// From here on it may arrive.
    pub fn leaves(&mut self) {
        self.left = true;
    }

    /// It certainly did not arrive.
    pub fn never_left(mut self) {
        self.left = false;
    }

    /// It was answered.
    pub fn answered(mut self, told: &[(Bucket, Left)]) {
        let Some(receipt) = self.receipt.take() else { return };
        let now = self.limiter.now();
        if self.limiter.with(|quota| quota.answered(receipt, told, now)) {
            self.limiter.more.notify_waiters();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(receipt) = self.receipt.take() else { return };
        let now = self.limiter.now();
        if self.left {
            self.limiter.with(|quota| quota.lost(receipt, now));
        } else {
            self.limiter.with(|quota| quota.give_back(receipt, now));
            self.limiter.more.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
