//! The budget: what we may ask of ARM, bucket by bucket as ARM counts, and who may spend it.
//!
//! ```text
//!            take                      answered: what is left, as the headers tell
//!   caller ────────▶ Receipt ─▶ ARM ─▶ close: a 429, and until when
//!                        │             lost: no answer, it may have arrived
//!                        └───────────▶ give_back: it never left
//! ```
//!
//! Each bucket is two levels. One is our share, as documented times the share: it bounds what we spend, whatever ARM
//! has left. The other is ARM's bucket as far as we know it: full at first, refilled as documented, less what we sent,
//! and corrected by what ARM tells. A request leaves if our share has one, and ARM's bucket has one beyond the part
//! that is not ours. So others get their part even where they begin to spend more: the less ARM has left, the slower
//! we ask, well before it refuses.
mod bucket;
mod level;

pub use bucket::{Bucket, Key, Limit};

use crate::Moment;
use crate::pace::Urgency;
use level::{Level, Mark, Part};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use strum::VariantArray;

/// The share of each bucket that is ours, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u8);

/// Four fifths. The rest is for whatever else runs as the same principal, and for the error between our count and ARM's.
impl Default for Share {
    fn default() -> Self {
        Self(80)
    }
}

impl Share {
    fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Half of what is ours of a bucket at once, in requests.
    #[must_use]
    pub fn half_of(self, bucket: Bucket) -> usize {
        let half = bucket.limit().capacity * self.fraction() / 2.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most half of the largest bucket"
        )]
        let whole = half as usize;
        whole
    }
}

/// A share that is none.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no share: write a whole number of percent from 1 to 100")]
pub struct BadShare(String);

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let percent = text.trim().strip_suffix('%').unwrap_or(text.trim()).parse();
        percent.ok().filter(|percent| (1..=100).contains(percent)).map(Self).ok_or_else(|| BadShare(text.into()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the less urgent leave untouched of our share of a subscription's bucket, for those who are more urgent.
///
/// Only what is there at once counts for a person who waits, so that each class has a part to itself that no number of
/// less urgent callers can use up. The steps are as wide as what they keep room for: 5% (8 writes, 10 reads) for a
/// handful of people's changes beside deletions, which come in large numbers when a namespace goes; 20% below
/// deletions, for a whole team's; 40% for waiting targets, which may be thousands that never appear and are asked
/// about every half minute; 50% for drift, which is looked for by lists in the main and has a whole interval's time.
/// Below its reserve a class waits for refills; ours flow in at 20 reads a second, so that the deepest one fills up
/// within 5 s once those above have enough.
#[must_use]
pub const fn reserve(urgency: Urgency) -> f64 {
    match urgency {
        Urgency::Change => 0.0,
        Urgency::Deletion => 0.05,
        Urgency::Retry => 0.2,
        Urgency::Waiting => 0.4,
        Urgency::Drift => 0.5,
    }
}

/// What ARM says is left in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Of this very bucket.
    Exactly(u32),
    /// Of a wider one that draws on it too: more cannot be left of this one, whatever it holds.
    AtMost(u32),
}

impl Left {
    fn count(self) -> f64 {
        match self {
            Self::Exactly(left) | Self::AtMost(left) => f64::from(left),
        }
    }
}

/// A bucket has too little left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    pub bucket: Bucket,
    /// How long until it has enough, if nobody draws on it meanwhile.
    pub wait: Duration,
}

/// One request's, for as long as it is under way: it ends by being answered, lost or given back.
#[derive(Debug)]
#[must_use = "a request that never ends counts as under way for ever"]
pub struct Receipt {
    marks: Vec<(Key, Mark)>,
}

impl Receipt {
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.marks.iter().map(|(key, _)| key)
    }
}

/// No bucket is believed to be closed for longer: an absurd Retry-After must not stop a target for days.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// How long a 429 without a usable Retry-After closes a bucket: until it holds one request again, and not less than
/// this, since a try that comes too early is refused anew.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// Buckets that are as if nobody had drawn on them are forgotten when there are more than this and twice what was left
/// the last time: that costs little for each request, and memory goes with what is in use.
const MANY: usize = 1024;

/// All buckets.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    share: Share,
    levels: HashMap<Key, Level>,
    forget_at: usize,
}

impl Quota {
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, ..Self::default() }
    }

    /// Spends one request on each bucket, or on none.
    ///
    /// # Errors
    /// The bucket that makes it wait longest.
    pub fn take(&mut self, keys: &[Key], urgency: Urgency, now: Moment) -> Result<Receipt, Short> {
        self.forget(now);
        match self.short(keys, urgency, 1, now) {
            Some(short) => Err(short),
            None => {
                Ok(Receipt { marks: keys.iter().map(|key| (key.clone(), self.level(key, now).take(now))).collect() })
            }
        }
    }

    /// What keeps the nth request of this urgency from leaving now. Those before it draw on what is shared alone: they
    /// are about other machines.
    pub fn short(&mut self, keys: &[Key], urgency: Urgency, nth: usize, now: Moment) -> Option<Short> {
        let share = self.share;
        let waits = keys.iter().map(|key| {
            let nth = if key.bucket.is_shared() { nth } else { 1 };
            let wait = self.level(key, now).wait(key.bucket, Part::of(key.bucket, share), (urgency, nth), now);
            Short { bucket: key.bucket, wait }
        });
        waits.max_by_key(|short| short.wait).filter(|short| !short.wait.is_zero())
    }

    /// An answer came, and told what is left in some of the buckets; a success, or any refusal but a 429's bucket.
    ///
    /// ARM counted at a moment between the request and its answer. What it tells is less
    /// - all of ours that left after this one, which it had not seen yet, as far as anybody knows;
    /// - those that left before and are not answered yet: it may have seen them or not.
    ///
    /// If we believed in more than that, others have spent it: believed at once. If we believed in less, it is put up
    /// only to what is left even if ARM had seen none of those that were under way beside this one: under load that is
    /// hardly anything, and when it is quiet again all of it. So what is believed is never more than ARM's bucket will
    /// hold when all that is under way has arrived, but for what others spend from then on.
    ///
    /// True: more may leave than was known before.
    pub fn answered(&mut self, receipt: Receipt, told: &[(Bucket, Left)], now: Moment) -> bool {
        let mut more = false;
        for (key, mark) in receipt.marks {
            let left = told.iter().find(|(bucket, _)| *bucket == key.bucket).map(|(_, left)| *left);
            more |= self.level(&key, now).answered(mark, left, now);
        }
        more
    }

    /// No answer came, and it may have arrived.
    pub fn lost(&mut self, receipt: Receipt, now: Moment) {
        for (key, mark) in receipt.marks {
            self.level(&key, now).lost(mark);
        }
    }

    /// It never left.
    pub fn give_back(&mut self, receipt: Receipt, now: Moment) {
        for (key, mark) in receipt.marks {
            self.level(&key, now).give_back(mark);
        }
    }

    /// A 429 closes one bucket, and no other, and for how long: what ARM asked for, in bounds.
    pub fn close(&mut self, key: &Key, asked: Option<Duration>, now: Moment) -> Duration {
        let part = Part::of(key.bucket, self.share);
        let one_more = Duration::from_secs_f64(1.0 / key.bucket.limit().per_second);
        let asked = asked.filter(|pause| !pause.is_zero());
        let pause = asked.unwrap_or(one_more.max(SHORTEST_PAUSE)).min(LONGEST_PAUSE);
        self.level(key, now).close(part, pause, now);
        pause
    }

    /// What is left for a person's change, by kind of bucket: in the emptiest of each kind.
    #[must_use]
    pub fn lowest(&self, now: Moment) -> Vec<(Bucket, f64)> {
        let lowest = |bucket: Bucket| {
            let part = Part::of(bucket, self.share);
            let of_kind = self.levels.iter().filter(|(key, _)| key.bucket == bucket);
            let left = of_kind.map(|(_, level)| {
                let mut level = level.clone();
                level.refill(part, now);
                level.left(part, now)
            });
            (bucket, left.fold(part.capacity(), f64::min))
        };
        Bucket::VARIANTS.iter().copied().map(lowest).collect()
    }

    /// How many buckets are kept in mind.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    fn level(&mut self, key: &Key, now: Moment) -> &mut Level {
        let part = Part::of(key.bucket, self.share);
        let level = self.levels.entry(key.clone()).or_insert_with(|| Level::full(part, now));
        level.refill(part, now);
        level
    }

    fn forget(&mut self, now: Moment) {
        if self.levels.len() < self.forget_at.max(MANY) {
            return;
        }
        let share = self.share;
        self.levels.retain(|key, level| {
            let part = Part::of(key.bucket, share);
            level.refill(part, now);
            !level.is_idle(part, now)
        });
        self.forget_at = 2 * self.levels.len();
    }
}

#[cfg(test)]
mod tests;
