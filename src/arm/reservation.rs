//! The right to write, taken before the write is announced.
//!
//! An intent is good for ten seconds: announced first and then kept waiting, it would be written for nothing, and taken
//! back by a second write. So a PATCH has its place in the budget before its intent is recorded.
use super::client::Arm;
use super::errors::ArmError;
use super::limiter::{Limiter, Taken};
use lanyard_domain::TargetId;
use lanyard_domain::pace::Urgency;
use lanyard_domain::quota::{Key, Short};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who would wait longer than this for a write begins all the same.
const WORTH_BEGINNING: Duration = Duration::from_secs(30);

/// The right to send one PATCH to one machine. Dropped without being used, it is given back.
#[must_use = "a reservation that is dropped is given back"]
pub struct Reservation {
    pub(super) target: TargetId,
    pub(super) taken: Taken,
    pub(super) owed: Owed,
}

/// The read that an accepted change will still need at least: the one that shows its end. While this lives no visit
/// begins on them; otherwise a mass change would begin as much as it could, and everybody's next change would wait for
/// all of it to end.
#[must_use = "what is dropped is owed no more"]
pub struct Owed {
    limiter: Arc<Limiter>,
    subscription: Box<str>,
}

/// A read of the machine that shows the end of its operation and what that left.
const READS_OWED: usize = 1;

impl Owed {
    fn by(limiter: &Arc<Limiter>, subscription: &str) -> Self {
        limiter.owe(subscription, |count| count + READS_OWED);
        Self { limiter: limiter.clone(), subscription: subscription.into() }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.limiter.owe(&self.subscription, |count| count.saturating_sub(READS_OWED));
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owed")
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.target.as_str()).finish()
    }
}

impl Arm {
    /// Waits until a PATCH of this machine may leave: in order of urgency, then of arrival, for ten seconds at most.
    ///
    /// # Errors
    ///
    /// [`ArmError::Throttled`], at once where it would take longer, with how long.
    pub async fn reserve_write(&self, target: &TargetId) -> Result<Reservation, ArmError> {
        let keys = Key::update(target);
        let taken = self.inner.limiter.spend_in_turn(target.subscription(), &keys, self.urgency).await;
        let taken = taken.map_err(throttled)?;
        let owed = Owed::by(&self.inner.limiter, target.subscription());
        Ok(Reservation { target: target.clone(), taken, owed })
    }

    /// Requests in this subscription are better saved: others wait for them.
    #[must_use]
    pub fn is_scarce(&self, subscription: &str) -> bool {
        let limiter = &self.inner.limiter;
        let is_short = |keys: &[Key], of: usize| limiter.short(keys, Urgency::Change, of).is_some();
        // Who is to write next cannot, or there is no more to read than what changes under way will need.
        is_short(&Key::writes(subscription), 1) || is_short(&Key::reads(subscription), limiter.owed(subscription))
    }

    /// How long until a visit in this subscription is worth beginning: zero, if it may read now, and what was begun has
    /// what it needs.
    ///
    /// Where those that come to write wait in a long line already, a further one would read for nothing: its turn
    /// would not come in time.
    #[must_use]
    pub fn room(&self, subscription: &str, urgency: Urgency) -> Duration {
        let limiter = &self.inner.limiter;
        let reads = |beside: usize| {
            let short = limiter.short(&Key::reads(subscription), urgency, beside + 1);
            short.map_or(Duration::ZERO, |short| short.wait)
        };
        match urgency {
            Urgency::Change | Urgency::Deletion | Urgency::Retry => {
                let write = limiter.until_a_turn(subscription, &Key::writes(subscription), urgency);
                // Of those that would wait for long, who has nothing to write need not; who has says until when.
                let write = if write > WORTH_BEGINNING { Duration::ZERO } else { write };
                write.max(reads(limiter.owed(subscription)))
            }
            // They leave half of it anyway.
            Urgency::Waiting | Urgency::Drift => reads(0),
        }
    }
}

pub(super) fn throttled(short: Short) -> ArmError {
    ArmError::Throttled { bucket: short.bucket, pause: short.wait, told: None }
}
