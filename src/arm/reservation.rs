//! The right to write, taken before the write is announced.
//!
//! An intent is good for ten seconds: announced first and then kept waiting, it would be written for nothing, and taken
//! back by a second write. So a PATCH has its place in the budget before its intent is recorded.
use super::client::Arm;
use super::errors::ArmError;
use super::limiter::Taken;
use lanyard_domain::TargetId;
use lanyard_domain::pace::Urgency;
use lanyard_domain::quota::{Key, Short};
use std::fmt;
use std::time::Duration;

/// The right to send one PATCH to one machine. Dropped without being used, it is given back.
#[must_use = "a reservation that is dropped is given back"]
pub struct Reservation {
    pub(super) target: TargetId,
    pub(super) taken: Taken,
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
        Ok(Reservation { target: target.clone(), taken: taken.map_err(throttled)? })
    }

    /// How long until a visit in this subscription is worth beginning: zero, if it may read now.
    ///
    /// Where those that come to write wait in a long line already, a further one would read for nothing: its turn
    /// would not come in time.
    #[must_use]
    pub fn room(&self, subscription: &str, urgency: Urgency) -> Duration {
        let limiter = &self.inner.limiter;
        let read = limiter.short(&Key::reads(subscription), urgency, 1).map_or(Duration::ZERO, |short| short.wait);
        match urgency {
            Urgency::Change | Urgency::Deletion | Urgency::Retry => {
                read.max(limiter.until_a_turn(subscription, &Key::writes(subscription), urgency))
            }
            Urgency::Waiting | Urgency::Drift => read,
        }
    }
}

pub(super) fn throttled(short: Short) -> ArmError {
    ArmError::Throttled { bucket: short.bucket, pause: short.wait, told: None }
}
