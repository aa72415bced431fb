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

    /// Of those begun since: how many run, and how long the longest of the others lasted.
    pub fn begun_since(&self, since: Timestamp) -> (usize, Duration) {
        let mut told = (0, Duration::ZERO);
        for operation in self.all.values().filter(|operation| operation.started >= since) {
            match operation.ended {
                None => told.0 += 1,
                Some(ended) => {
                    let lasted = Duration::try_from(ended.duration_since(operation.started)).unwrap_or_default();
                    told.1 = told.1.max(lasted);
                }
            }
        }
        told
    }

    pub fn running(&self) -> Vec<String> {
        let running = self.all.values().filter(|operation| operation.ended.is_none());
        running.map(|operation| operation.id.clone()).collect()
    }
}

/// How long the operation of a write takes; None: until told.
///
/// A recorded duration is drawn by the seed, the machine and the `ETag` that the write gave it: whatever else is written
/// and in whatever order, the same write takes the same time in every run.
pub fn duration(pace: Pace, kind: Kind, machine: &str, etag: u64) -> Option<Duration> {
    match pace {
        Pace::Fixed { millis } => Some(Duration::from_millis(millis)),
        Pace::Manual => None,
        Pace::Recorded { scale, seed } => Some(observed(kind, drawn(seed, machine, etag)).mul_f64(scale.max(0.0))),
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

/// A number in [0, 1) that looks like chance and depends on nothing else.
fn drawn(seed: u64, machine: &str, etag: u64) -> f64 {
    let mut mixed = seed ^ etag.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for byte in machine.bytes() {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let high = u32::try_from((mixed ^ (mixed >> 31)) >> 40).unwrap_or_default();
    f64::from(high) / f64::from(1_u32 << 24)
}

/// The query of an operation's URL: signed, and as long as ARM's can be.
pub fn signed_query(api_version: &str, bytes: usize) -> String {
    let (ticks, signature) = (Timestamp::now().as_microsecond(), Uuid::new_v4().simple().to_string());
    let mut query = format!("p={}&api-version={api_version}&t={ticks}&s=", Uuid::new_v4());
    while query.len() < bytes {
        query.push_str(&signature);
    }
    query.push_str("&h=");
    query.push_str(&signature);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(kind: Kind, scale: f64, seed: u64) -> Vec<f64> {
        let pace = Pace::Recorded { scale, seed };
        let all = (0..20_000).filter_map(|n| duration(pace, kind, &format!("vm-{}", n / 4), n % 4));
        let mut all: Vec<f64> = all.map(|duration| duration.as_secs_f64()).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn recorded_durations_have_the_recorded_quantiles() {
        for (kind, half, most, max) in
            [(Kind::VirtualMachine, 4.7, 12.6, 124.0), (Kind::VirtualMachineScaleSet, 7.5, 77.0, 296.0)]
        {
            let drawn = seconds(kind, 1.0, 7);
            assert!((drawn[10_000] / half - 1.0).abs() < 0.05, "{kind:?}: {}", drawn[10_000]);
            assert!((drawn[19_000] / most - 1.0).abs() < 0.15, "{kind:?}: {}", drawn[19_000]);
            assert!((max * 0.95..=max).contains(&drawn[19_999]), "{kind:?}: {}", drawn[19_999]);
        }
    }

    #[test]
    fn a_seed_draws_the_same_durations_in_every_run_and_a_scale_shortens_them() {
        let kind = Kind::VirtualMachine;
        let draw = |seed, scale| duration(Pace::Recorded { scale, seed }, kind, "web", 2);
        assert_eq!(draw(1, 1.0), draw(1, 1.0));
        assert_ne!(draw(1, 1.0), draw(2, 1.0));
        let (long, short) = (draw(1, 1.0).expect("a time"), draw(1, 0.1).expect("a time"));
        assert!((long.as_secs_f64() / short.as_secs_f64() - 10.0).abs() < 1e-3);
    }
}
