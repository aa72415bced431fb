//! Keeps the requests below what ARM allows, bucket by bucket as ARM counts them.
use lanyard_domain::TargetId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What ARM counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    SubscriptionReads,
    SubscriptionWrites,
    ResourceGets,
    ResourceUpdates,
    OperationGets,
}

impl Bucket {
    /// A label for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionReads => "subscription-reads",
            Self::SubscriptionWrites => "subscription-writes",
            Self::ResourceGets => "resource-gets",
            Self::ResourceUpdates => "resource-updates",
            Self::OperationGets => "operation-gets",
        }
    }

    /// What ARM documents: so many at once, then so many a second.
    fn allowance(self) -> (f64, f64) {
        match self {
            Self::SubscriptionReads => (250.0, 25.0),
            Self::SubscriptionWrites => (200.0, 10.0),
            Self::ResourceGets => (36.0, 12.0 / 60.0),
            Self::ResourceUpdates => (12.0, 4.0 / 60.0),
            Self::OperationGets => (45.0, 15.0 / 60.0),
        }
    }

    /// How long a 429 without a usable Retry-After closes the bucket: until it holds one request again, and not
    /// less than five seconds, since a try that comes too early is refused anew.
    #[must_use]
    pub fn default_pause(self) -> Duration {
        const SHORTEST: f64 = 5.0;
        let (_, per_second) = self.allowance();
        Duration::from_secs_f64((1.0 / per_second).max(SHORTEST))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SubscriptionReads => "the subscription (reads)",
            Self::SubscriptionWrites => "the subscription (writes)",
            Self::ResourceGets => "the target (reads)",
            Self::ResourceUpdates => "the target (updates)",
            Self::OperationGets => "the operation",
        })
    }
}

/// One bucket of one subscription, resource or operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub bucket: Bucket,
    of: String,
}

impl Key {
    pub fn reads(target: &TargetId) -> Self {
        Self::subscription_reads(target.subscription())
    }

    pub fn subscription_reads(subscription: &str) -> Self {
        Self { bucket: Bucket::SubscriptionReads, of: subscription.to_ascii_lowercase() }
    }

    pub fn writes(target: &TargetId) -> Self {
        Self { bucket: Bucket::SubscriptionWrites, of: target.subscription().to_ascii_lowercase() }
    }

    pub fn gets(target: &TargetId) -> Self {
        Self { bucket: Bucket::ResourceGets, of: target.folded().into() }
    }

    pub fn updates(target: &TargetId) -> Self {
        Self { bucket: Bucket::ResourceUpdates, of: target.folded().into() }
    }

    pub fn operation(path: &str) -> Self {
        Self { bucket: Bucket::OperationGets, of: path.into() }
    }
}

/// A bucket is closed for longer than a caller waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub bucket: Bucket,
    pub remaining: Duration,
}

/// Share of each bucket that we spend. The rest is for whatever else runs as the same principal, and for the
/// error between our count and ARM's.
const SHARE: f64 = 0.8;

/// A caller that would wait longer is told so at once: a worker must not be held by one closed bucket.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// No bucket is believed to be closed for longer: an absurd Retry-After must not stop a target for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Full buckets are forgotten when there are more than this, so that targets of the past cost nothing.
const MANY: usize = 1024;

struct Level {
    tokens: f64,
    at: Instant,
    closed_until: Option<Instant>,
}

impl Level {
    fn full(bucket: Bucket, now: Instant) -> Self {
        Self { tokens: capacity(bucket), at: now, closed_until: None }
    }

    fn refill(&mut self, bucket: Bucket, now: Instant) {
        let (_, per_second) = bucket.allowance();
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * per_second * SHARE;
        self.tokens = (self.tokens + gained).min(capacity(bucket));
        self.at = now;
    }

    /// How long until one request fits.
    fn wait(&self, bucket: Bucket, now: Instant) -> Duration {
        let closed = self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let (_, per_second) = bucket.allowance();
        let lacking = (1.0 - self.tokens).max(0.0) / (per_second * SHARE);
        closed.max(Duration::from_secs_f64(lacking))
    }

    fn is_idle(&self, bucket: Bucket, now: Instant) -> bool {
        self.wait(bucket, now).is_zero() && self.tokens >= capacity(bucket)
    }
}

fn capacity(bucket: Bucket) -> f64 {
    bucket.allowance().0 * SHARE
}

#[derive(Default)]
struct Levels {
    levels: HashMap<Key, Level>,
    forget_at: usize,
}

impl Levels {
    fn level(&mut self, key: &Key, now: Instant) -> &mut Level {
        let level = self.levels.entry(key.clone()).or_insert_with(|| Level::full(key.bucket, now));
        level.refill(key.bucket, now);
        level
    }

    /// Takes one from each, or from none and says which makes it wait longest.
    fn take(&mut self, keys: &[Key], now: Instant) -> Option<Closed> {
        self.forget(now);
        let waits = keys.iter().map(|key| (self.level(key, now).wait(key.bucket, now), key.bucket));
        let (remaining, bucket) = waits.max_by_key(|(wait, _)| *wait)?;
        if remaining.is_zero() {
            for key in keys {
                self.level(key, now).tokens -= 1.0;
            }
            None
        } else {
            Some(Closed { bucket, remaining })
        }
    }

    fn forget(&mut self, now: Instant) {
        if self.levels.len() < self.forget_at.max(MANY) {
            return;
        }
        self.levels.retain(|key, level| {
            level.refill(key.bucket, now);
            !level.is_idle(key.bucket, now)
        });
        self.forget_at = 2 * self.levels.len();
    }
}

#[derive(Default)]
pub(super) struct Limiter {
    levels: Mutex<Levels>,
}

impl Limiter {
    /// Spends one request on every bucket, waiting a moment for them to fill.
    pub async fn spend(&self, keys: &[Key]) -> Result<(), Closed> {
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            let now = Instant::now();
            match self.with(|levels| levels.take(keys, now)) {
                None => return Ok(()),
                Some(closed) if now + closed.remaining > until => return Err(closed),
                // The timer counts in whole milliseconds, and may round down to before the bucket has filled.
                Some(closed) => tokio::time::sleep(closed.remaining + Duration::from_millis(1)).await,
            }
        }
    }

    /// Closes one bucket, as a 429 told, and says for how long.
    pub fn close(&self, key: &Key, pause: Duration) -> Duration {
        let now = Instant::now();
        let pause = pause.min(LONGEST_PAUSE);
        self.with(|levels| {
            let level = levels.level(key, now);
            level.tokens = level.tokens.min(1.0);
            level.closed_until = level.closed_until.max(Some(now + pause));
        });
        pause
    }

    fn with<T>(&self, act: impl FnOnce(&mut Levels) -> T) -> T {
        // The levels are whole after every step: a panic elsewhere while they were held leaves them usable.
        act(&mut self.levels.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
