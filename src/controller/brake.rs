//! The removal brake: many removals at once draw on a budget of their own, whatever asked for them.
use lanyard_domain::plan::Removals;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many per second, minute or hour: `60/m`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    count: u32,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Rate {
    fn per_second(self) -> f64 {
        let seconds = match self.per {
            Per::Second => 1.0,
            Per::Minute => 60.0,
            Per::Hour => 3600.0,
        };
        f64::from(self.count) / seconds
    }
}

/// A rate that is none.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no rate: write a number above 0 and s, m or h, such as 60/m")]
pub struct BadRate(String);

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        let bad = || BadRate(text.into());
        let (count, per) = text.split_once('/').ok_or_else(bad)?;
        let per = match per {
            "s" => Per::Second,
            "m" => Per::Minute,
            "h" => Per::Hour,
            _ => return Err(bad()),
        };
        let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => 's',
            Per::Minute => 'm',
            Per::Hour => 'h',
        };
        write!(f, "{}/{per}", self.count)
    }
}

/// The budget of removals, shared by all targets.
#[derive(Debug)]
pub struct Brake {
    paused: bool,
    burst: u32,
    rate: Rate,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: f64,
    filled: Instant,
    /// Until when the rate is spoken for.
    booked: Instant,
}

impl Brake {
    pub fn new(burst: u32, rate: Rate, paused: bool) -> Self {
        let now = Instant::now();
        Self { paused, burst, rate, level: Mutex::new(Level { tokens: f64::from(burst), filled: now, booked: now }) }
    }

    /// What a plan may remove now.
    pub fn allowance(&self) -> Removals {
        if self.paused { Removals::Paused } else { Removals::Left(self.filled(|level| whole(level.tokens))) }
    }

    /// Spends `removals`, all or nothing.
    #[must_use]
    pub fn spend(&self, removals: usize) -> bool {
        let wanted = u32::try_from(removals).map_or(f64::INFINITY, f64::from);
        self.filled(|level| {
            let granted = wanted <= level.tokens;
            if granted {
                level.tokens -= wanted;
            }
            granted
        })
    }

    /// Gives back what was spent on removals that certainly did not happen.
    pub fn refund(&self, removals: usize) {
        let removals = u32::try_from(removals).map_or(0.0, f64::from);
        self.filled(|level| level.tokens = (level.tokens + removals).min(f64::from(self.burst)));
    }

    /// When this many removals have their turn, behind those that booked before: so that many targets come back
    /// one after the other, and not all at the next token.
    pub fn book(&self, removals: usize) -> Duration {
        let removals = u32::try_from(removals).map_or(f64::INFINITY, f64::from).min(LONGEST_BOOKING);
        let takes = Duration::from_secs_f64(removals / self.rate.per_second());
        self.filled(|level| {
            level.booked = level.booked.max(level.filled) + takes;
            level.booked.duration_since(level.filled)
        })
    }

    fn filled<T>(&self, then: impl FnOnce(&mut Level) -> T) -> T {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(level.filled).as_secs_f64() * self.rate.per_second();
        level.tokens = (level.tokens + gained).min(f64::from(self.burst));
        level.filled = now;
        then(&mut level)
    }
}

/// A target books no more than this at once; what is left it books when it comes back.
const LONGEST_BOOKING: f64 = 150.0;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a level lies between 0 and the burst, a u32"
)]
fn whole(level: f64) -> usize {
    level.floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        let brake = Brake::new(3, rate("60/m"), false);
        assert!(brake.spend(2));
        assert_eq!(brake.allowance(), Removals::Left(1));
        assert!(!brake.spend(2), "all or nothing");
        assert!(brake.spend(1));
        assert_eq!(
            (brake.book(1), brake.book(2)),
            (Duration::from_secs(1), Duration::from_secs(3)),
            "one after the other"
        );
        brake.refund(1);
        assert!(brake.spend(1), "what did not happen is not counted");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(brake.allowance(), Removals::Left(2));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(brake.allowance(), Removals::Left(3), "never more than the burst");
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for bad in ["", "60", "0/m", "-1/m", "60/d", "m/60"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!(rate("60/m").to_string(), "60/m");
    }
}
