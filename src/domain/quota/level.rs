//! How full one bucket is: our part of it, and the whole of it as far as ARM has told.
use super::bucket::{Bucket, Limit};
use super::{Left, Share, reserve};
use crate::Moment;
use crate::pace::Urgency;
use std::time::Duration;

/// A shared bucket of which no answer has told for so long may be in any state: somebody else may have drained it.
const QUIET: Duration = Duration::from_secs(10);

/// So many requests leave a second on a bucket that was quiet, until the first is answered: what can be refused, should
/// it be empty. One request would do, but one that hangs would then hold all others.
const FIRST: usize = 8;
const FIRST_PER: Duration = Duration::from_secs(1);

/// Below the error of adding up refills, far below what matters.
const NOTHING: f64 = 1e-6;

/// A request that has not been answered yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    nth: u64,
    left: Moment,
}

/// A request's mark in a bucket, by which its answer is understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// It was the nth to draw on the bucket.
    nth: u64,
    /// So many had not been answered when it left.
    beside: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Level {
    /// What is left of our share.
    ours: f64,
    /// What ARM's bucket holds at least, once all that left has arrived there, unless others have drawn on it since ARM
    /// told us last.
    arm: f64,
    at: Moment,
    closed_until: Option<Moment>,
    taken: u64,
    open: Vec<Open>,
    heard: Option<Moment>,
}

/// The part of a bucket that is ours, as the share makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    limit: Limit,
    ours: Limit,
}

impl Part {
    pub fn of(bucket: Bucket, share: Share) -> Self {
        let (limit, share) = (bucket.limit(), share.fraction());
        // One request must fit, or nothing ever would.
        let ours = Limit { capacity: (limit.capacity * share).max(1.0), per_second: limit.per_second * share };
        Self { limit, ours }
    }

    pub fn capacity(self) -> f64 {
        self.ours.capacity
    }

    /// What is never ours: it keeps others going, and takes up what they spend while we do not hear of it.
    fn floor(self) -> f64 {
        self.limit.capacity - self.ours.capacity
    }

    fn reserve(self, bucket: Bucket, urgency: Urgency) -> f64 {
        let kept = if bucket.is_shared() { reserve(urgency) * self.ours.capacity } else { 0.0 };
        kept.min(self.ours.capacity - 1.0)
    }
}

impl Level {
    pub fn full(part: Part, now: Moment) -> Self {
        let (ours, arm) = (part.ours.capacity, part.limit.capacity);
        Self { ours, arm, at: now, closed_until: None, taken: 0, open: Vec::new(), heard: None }
    }

    /// What flowed in since. Nothing flows into a bucket that is full, and ARM's may be as long as what left has not
    /// arrived: so nothing makes up for that before it is answered.
    pub fn refill(&mut self, part: Part, now: Moment) {
        let seconds = now.since(self.at).as_secs_f64();
        let under_way = count(self.open.len() as u64);
        let room = |capacity: f64| (capacity - under_way).max(1.0);
        self.ours = (self.ours + seconds * part.ours.per_second).min(room(part.ours.capacity));
        self.arm = (self.arm + seconds * part.limit.per_second).min(room(part.limit.capacity));
        self.at = self.at.max(now);
    }

    /// How long until the nth request of an urgency fits. Refilled before.
    pub fn wait(&self, bucket: Bucket, part: Part, (urgency, nth): (Urgency, usize), now: Moment) -> Duration {
        let wanted = count(nth as u64) + part.reserve(bucket, urgency);
        let ours = lacking(wanted - self.ours, part.ours.per_second);
        let arms = lacking(wanted + part.floor() - self.arm, part.limit.per_second);
        let closed = self.closed_until.map_or(Duration::ZERO, |until| until.since(now));
        ours.max(arms).max(closed).max(self.unheard(bucket, now))
    }

    /// Few leave before the first answer tells how things are.
    fn unheard(&self, bucket: Bucket, now: Moment) -> Duration {
        if !bucket.is_shared() || !self.is_quiet(now) {
            return Duration::ZERO;
        }
        let young = self.open.iter().filter(|open| now.since(open.left) < FIRST_PER);
        let mut ages: Vec<Duration> = young.map(|open| now.since(open.left)).collect();
        ages.sort_unstable();
        ages.get(FIRST - 1).map_or(Duration::ZERO, |age| FIRST_PER.saturating_sub(*age))
    }

    fn is_quiet(&self, now: Moment) -> bool {
        self.heard.is_none_or(|heard| now.since(heard) >= QUIET)
    }

    pub fn take(&mut self, now: Moment) -> Mark {
        self.ours -= 1.0;
        self.arm -= 1.0;
        self.taken += 1;
        let mark = Mark { nth: self.taken, beside: self.open.len() };
        self.open.push(Open { nth: mark.nth, left: now });
        mark
    }

    /// It never left.
    pub fn give_back(&mut self, mark: Mark) {
        self.ours += 1.0;
        self.arm += 1.0;
        self.close_mark(mark);
    }

    /// It may have arrived, and nobody will say.
    pub fn lost(&mut self, mark: Mark) {
        self.close_mark(mark);
    }

    /// An answer came. See [`super::Quota::answered`] for how far it is believed. True: more may leave.
    pub fn answered(&mut self, mark: Mark, left: Option<Left>, now: Moment) -> bool {
        self.close_mark(mark);
        let was_quiet = self.is_quiet(now);
        self.heard = Some(now);
        let Some(left) = left else { return was_quiet };
        let later = count(self.taken - mark.nth);
        let earlier = self.open.partition_point(|open| open.nth < mark.nth);
        let at_most = left.count() - later - count(earlier as u64);
        let at_least = left.count() - later - count(mark.beside as u64);
        let before = self.arm;
        self.arm = match left {
            Left::AtMost(_) => before.min(at_most),
            Left::Exactly(_) => before.clamp(at_least, at_most),
        };
        was_quiet || self.arm > before
    }

    fn close_mark(&mut self, mark: Mark) {
        self.open.retain(|open| open.nth != mark.nth);
    }

    /// ARM refused, and says until when. One request fits then, as far as anybody knows.
    pub fn close(&mut self, part: Part, pause: Duration, now: Moment) {
        let until = now.after(pause);
        if self.closed_until.is_none_or(|known| known < until) {
            self.closed_until = Some(until);
        }
        let then = 1.0 + part.floor() - pause.as_secs_f64() * part.limit.per_second;
        self.arm = self.arm.min(then);
        self.ours = self.ours.min(1.0);
    }

    /// As a bucket that nobody has drawn on.
    pub fn is_idle(&self, part: Part, now: Moment) -> bool {
        let full = self.ours + NOTHING >= part.ours.capacity && self.arm + NOTHING >= part.limit.capacity;
        full && self.open.is_empty() && self.closed_until.is_none_or(|until| until <= now)
    }

    /// What a person's change may spend at once.
    pub fn left(&self, part: Part, now: Moment) -> f64 {
        let closed = self.closed_until.is_some_and(|until| until > now);
        if closed { 0.0 } else { self.ours.min(self.arm - part.floor()).max(0.0) }
    }
}

fn lacking(tokens: f64, per_second: f64) -> Duration {
    if tokens <= NOTHING { Duration::ZERO } else { Duration::from_secs_f64(tokens / per_second) }
}

#[expect(clippy::cast_precision_loss, reason = "requests of one process on one bucket: far below 2^53")]
fn count(requests: u64) -> f64 {
    requests as f64
}
