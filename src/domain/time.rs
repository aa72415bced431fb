//! Time as an argument: moments to measure with, timestamps to show to people.
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A reading of this process's monotonic clock, as the time since the process began.
///
/// Every grace and expiry is measured between two of these; wall-clock time decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(pause))
    }
}

/// A point in time in RFC 3339, for people: nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub String);
