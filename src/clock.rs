//! The two clocks: one to measure with, one to show to people.
use crate::fail_point;
use jiff::Timestamp as Wall;
use lanyard_domain::Moment;
use std::time::Duration;
use tokio::time::Instant;

/// The monotonic clock, from where the process began: all graces and expiries are measured by it.
///
/// On Linux it stands still while the machine sleeps, and goes on while the process is stopped.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Moment {
        Moment(self.0.elapsed())
    }

    /// To sleep until then.
    pub fn instant(self, moment: Moment) -> Instant {
        self.0 + moment.0
    }

    /// When that is, by this clock.
    pub fn moment(self, instant: Instant) -> Moment {
        Moment(instant.saturating_duration_since(self.0))
    }

    /// The time of day, for people.
    #[expect(clippy::unused_self, reason = "whoever has no clock is told the time by nobody")]
    pub fn wall(self) -> Wall {
        wall()
    }
}

/// As logs and traces tell it.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The time of day, for whom others' times of day are to be compared with it.
pub fn wall() -> Wall {
    #[expect(clippy::disallowed_methods, reason = "the one reading of the wall clock; everything else is handed it")]
    let now = Wall::now();
    now.saturating_add(fail_point::wall_is_ahead()).unwrap_or(now)
}
