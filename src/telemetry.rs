//! Logs, traces and metrics.
mod logs;
pub mod traces;

pub use logs::{LogFormat, LogLevel, start_logging};

use crate::arm::{Bucket, Exchange, Observer};
use crate::controller::VisitError;
use lanyard_domain::order::Depths;
use lanyard_domain::sweep::Ended;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;

/// What is counted. Few labels, and none without bounds.
pub struct Metrics {
    registry: Registry,
    visits: Counters,
    requests: Counters,
    latency: Family<Labels, Histogram>,
    throttled: Counters,
    remaining: Family<Labels, Gauge<f64, AtomicU64>>,
    watch_failures: Counters,
    sweeps: Counters,
    glances: Counters,
    removals_held: Counter,
    contested: Counter,
    due: Gauge,
    under_way: Gauge,
    depth: Family<Labels, Gauge>,
    oldest: Family<Labels, Gauge<f64, AtomicU64>>,
    leader: Gauge,
    unverified: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lanyard");
        let visits = Counters::default();
        let requests = Counters::default();
        let latency: Family<Labels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 12)));
        let (throttled, remaining) = (Counters::default(), Family::<Labels, Gauge<f64, AtomicU64>>::default());
        let watch_failures = Counters::default();
        let (sweeps, glances) = (Counters::default(), Counters::default());
        let (removals_held, contested) = (Counter::default(), Counter::default());
        let (due, under_way, leader) = (Gauge::default(), Gauge::default(), Gauge::default());
        let unverified = Gauge::default();
        registry.register("visits", "Visits to targets, by how they ended", visits.clone());
        registry.register("arm_requests", "Requests to ARM, by method, bucket and status", requests.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("arm_request_duration", "How long ARM took to answer", seconds, latency.clone());
        registry.register("arm_throttled", "Answers of 429, by the bucket that they closed", throttled.clone());
        registry.register(
            "arm_remaining",
            "Requests left to us at once, in the emptiest bucket of each kind",
            remaining.clone(),
        );
        registry.register("watch_failures", "Times that a watch broke off and was resumed", watch_failures.clone());
        registry.register("sweeps", "Lists of machines that were asked for, by how they ended", sweeps.clone());
        registry.register("sweep_entries", "Machines of ours that lists showed, by what came of it", glances.clone());
        registry.register(
            "removals_held",
            "Removals that waited for the brake, counted at every visit",
            removals_held.clone(),
        );
        registry.register(
            "contested",
            "Changes left undone for a while because somebody keeps undoing them, counted at every visit",
            contested.clone(),
        );
        registry.register("targets_due", "Targets that wait for a visit", due.clone());
        let (depth, oldest) = (Family::default(), Family::default());
        registry.register("queue_depth", "Targets that wait for a visit, by who waits for it", Family::clone(&depth));
        registry.register_with_unit(
            "queue_oldest",
            "How long the first of them has been waiting",
            Unit::Seconds,
            Family::clone(&oldest),
        );
        registry.register("targets_under_way", "Targets that are being visited", under_way.clone());
        registry.register(
            "targets_unverified",
            "Targets at rest that were not seen since this process began to lead",
            unverified.clone(),
        );
        registry.register("leader", "1 while this process leads", leader.clone());
        Self {
            registry,
            visits,
            requests,
            latency,
            throttled,
            remaining,
            watch_failures,
            sweeps,
            glances,
            removals_held,
            contested,
            due,
            under_way,
            depth,
            oldest,
            leader,
            unverified,
        }
    }
}

impl Metrics {
    pub fn visited(&self, end: &Result<(), VisitError>) {
        let reason = end.as_ref().map_or_else(|error| error.reason().as_str(), |()| "AsPlanned");
        self.visits.get_or_create(&vec![("end", reason.to_owned())]).inc();
    }

    pub fn watch_failed(&self, what: &str) {
        self.watch_failures.get_or_create(&vec![("resource", what.to_owned())]).inc();
    }

    pub fn swept(&self, ended: Ended) {
        let how = match ended {
            Ended::Whole { .. } => "whole",
            Ended::Broken => "broken off",
            Ended::Barred => "refused",
        };
        self.sweeps.get_or_create(&vec![("end", how.to_owned())]).inc();
    }

    pub fn glanced(&self, what: &'static str) {
        self.glances.get_or_create(&vec![("result", what.to_owned())]).inc();
    }

    pub fn contested(&self, count: usize) {
        self.contested.inc_by(count as u64);
    }

    pub fn removals_held(&self, count: usize) {
        self.removals_held.inc_by(count as u64);
    }

    pub fn unverified(&self, targets: usize) {
        self.unverified.set(i64::try_from(targets).unwrap_or(i64::MAX));
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        self.unverified.set(0);
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// None in practice: text is written to memory.
    pub fn scrape(&self, queue: &Depths, remaining: &[(Bucket, f64)]) -> Result<String, std::fmt::Error> {
        for (bucket, left) in remaining {
            self.remaining.get_or_create(&vec![("bucket", bucket.as_str().to_owned())]).set(*left);
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.due.set(count(queue.due.values().map(|class| class.due).sum()));
        self.under_way.set(count(queue.under_way));
        for (urgency, class) in &queue.due {
            let labels = vec![("class", format!("{urgency:?}"))];
            self.depth.get_or_create(&labels).set(count(class.due));
            self.oldest.get_or_create(&labels).set(class.oldest.as_secs_f64());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts every exchange with ARM.
#[derive(Clone, Debug)]
pub struct CountsExchanges(pub std::sync::Arc<Metrics>);

impl Observer for CountsExchanges {
    fn exchanged(&self, exchange: &Exchange) {
        let method = ("method", exchange.method.to_owned());
        let status = exchange.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let labels = vec![method.clone(), ("bucket", exchange.bucket.as_str().to_owned()), ("status", status)];
        self.0.requests.get_or_create(&labels).inc();
        self.0.latency.get_or_create(&vec![method]).observe(exchange.duration.as_secs_f64());
    }

    fn throttled(&self, bucket: Bucket) {
        self.0.throttled.get_or_create(&vec![("bucket", bucket.as_str().to_owned())]).inc();
    }
}
