//! Accepted writes that still run.
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::Kind;
use crate::settings::Pace;

/// How an operation ends; ordered by a fault, `Succeeded` otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "PascalCase")]
pub enum Outcome {
    #[default]
    Succeeded,
    Failed {
        code: String,
        message: String,
        /// Whether the machine goes back to how it was.
        #[serde(default)]
        reverts: bool,
    },
    Canceled {
        #[serde(default)]
        reverts: bool,
    },
}

impl Outcome {
    #[must_use]
    pub fn preempted() -> Self {
        Self::Failed {
            code: "OperationPreempted".to_owned(),
            message: "Operation execution has been preempted by a more recent operation.".to_owned(),
            reverts: false,
        }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed { .. } => "Failed",
            Self::Canceled { .. } => "Canceled",
        }
    }

    #[must_use]
    pub const fn reverts(&self) -> bool {
        match self {
            Self::Succeeded => false,
            Self::Failed { reverts, .. } | Self::Canceled { reverts } => *reverts,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Write,
    Delete,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub subscription: String,
    /// Key of the machine.
    pub machine: String,
    pub work: Work,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub outcome: Outcome,
    /// The query of its URL: anything else is another URL.
    pub query: String,
    /// Ordered by a fault: polls answer 404.
    pub lost: bool,
}

/// Finished operations that can still be polled; the oldest are forgotten.
const REMEMBERED: usize = 50_000;

#[derive(Debug, Default)]
pub struct Operations {
    all: HashMap<String, Operation>,
    order: std::collections::VecDeque<String>,
    due: BTreeSet<(Instant, String)>,
    drawn: u64,
}

impl Operations {
    /// `ends`: None waits for `finish`.
    pub fn start(&mut self, operation: Operation, ends: Option<Instant>) {
        if let Some(ends) = ends {
            self.due.insert((ends, operation.id.clone()));
        }
        self.order.push_back(operation.id.clone());
        self.all.insert(operation.id.clone(), operation);
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.all.remove(&oldest);
            }
        }
    }

    pub fn get(&self, id: &str) -> Option<&Operation> {
        self.all.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Operation> {
        self.all.get_mut(id)
    }

    /// The operations that ought to have ended by now.
    pub fn pop_due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.due.pop_first().map(|(_, id)| id));
        }
        due
    }

    pub fn running(&self) -> Vec<String> {
        let running = self.all.values().filter(|operation| operation.ended.is_none());
        running.map(|operation| operation.id.clone()).collect()
    }

    /// How long the next one takes; None: until told.
    pub fn duration(&mut self, pace: Pace, kind: Kind) -> Option<Duration> {
        match pace {
            Pace::Fixed { millis } => Some(Duration::from_millis(millis)),
            Pace::Manual => None,
            Pace::Recorded => {
                self.drawn += 1;
                Some(observed(kind, fraction(self.drawn)))
            }
        }
    }
}

/// The quantiles that were observed, straight lines between them.
fn observed(kind: Kind, fraction: f64) -> Duration {
    let [low, half, most, max] = if kind.is_scale_set() { [1.5, 7.5, 77.0, 296.0] } else { [1.0, 4.7, 12.6, 124.0] };
    let seconds = match fraction {
        f if f < 0.5 => low + (half - low) * f / 0.5,
        f if f < 0.95 => half + (most - half) * (f - 0.5) / 0.45,
        f => most + (max - most) * (f - 0.95) / 0.05,
    };
    Duration::from_secs_f64(seconds)
}

/// Spreads 1, 2, 3… over [0, 1) evenly and the same in every run: multiples of the golden ratio.
fn fraction(n: u64) -> f64 {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    f64::from(u32::try_from(mixed).unwrap_or_default()) / f64::from(1_u32 << 24)
}

/// The query of an operation's URL: signed, and as long as ARM's can be.
pub fn signed_query(api_version: &str, bytes: usize) -> String {
    let ticks = Timestamp::now().as_microsecond();
    let mut query = format!("p={}&api-version={api_version}&t={ticks}&s=", Uuid::new_v4());
    while query.len() < bytes {
        query.push_str(&Uuid::new_v4().simple().to_string());
    }
    query.push_str("&h=");
    query.push_str(&Uuid::new_v4().simple().to_string());
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_durations_have_the_recorded_quantiles() {
        let mut operations = Operations::default();
        let mut drawn: Vec<f64> = (0..1_000)
            .filter_map(|_| operations.duration(Pace::Recorded, Kind::VirtualMachine))
            .map(|duration| duration.as_secs_f64())
            .collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[500] - 4.7).abs() < 0.2, "{}", drawn[500]);
        assert!((drawn[950] - 12.6).abs() < 2.5, "{}", drawn[950]);
        assert!(drawn[999] <= 124.0);
    }
}
