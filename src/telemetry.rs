//! Logs, traces and metrics.
mod logs;
pub mod traces;

pub use logs::{LogFormat, LogLevel, start_logging};

use crate::arm::{Bucket, Exchange, Observer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use lanyard_domain::order::Depths;
use lanyard_domain::patch::Patch;
use lanyard_domain::reason::Reason;
use lanyard_domain::record::Switch;
use lanyard_domain::sweep::Ended;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use strum::IntoEnumIterator as _;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;

/// How many assignments say what of themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// By the status of `Ready`.
    ready: BTreeMap<&'static str, usize>,
    /// By the reason of `Stalled`.
    stalled: BTreeMap<&'static str, usize>,
}

impl Default for Standing {
    /// Of every status there are none, rather than nothing said.
    fn default() -> Self {
        Self { ready: ["True", "False", "Unknown"].map(|status| (status, 0)).into(), stalled: BTreeMap::new() }
    }
}

/// What an assignment's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Says {
    /// The status of `Ready`.
    ready: &'static str,
    /// The reason of `Stalled`, where that is true.
    stalled: Option<&'static str>,
}

impl Says {
    pub fn of(conditions: &[Condition]) -> Self {
        let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
        let ready = match find("Ready").map(|ready| ready.status.as_str()) {
            Some("True") => "True",
            Some("False") => "False",
            Some(_) | None => "Unknown",
        };
        // Others may write a status, too: what they invent must not become a label.
        let known = |reason: &str| Reason::iter().map(Reason::as_str).find(|known| *known == reason).unwrap_or("other");
        let stalled = find("Stalled").filter(|stalled| stalled.status == "True");
        Self { ready, stalled: stalled.map(|stalled| known(&stalled.reason)) }
    }
}

impl Standing {
    /// One more assignment, which says this.
    pub fn count(&mut self, says: Says) {
        *self.ready.entry(says.ready).or_default() += 1;
        if let Some(reason) = says.stalled {
            *self.stalled.entry(reason).or_default() += 1;
        }
    }

    /// It says so no more.
    pub fn uncount(&mut self, says: Says) {
        let one_less = |count: &mut usize| *count = count.saturating_sub(1);
        self.ready.entry(says.ready).and_modify(one_less);
        if let Some(reason) = says.stalled {
            self.stalled.entry(reason).and_modify(one_less);
            self.stalled.retain(|_, count| *count > 0);
        }
    }
}

/// What is counted. Few labels, and none without bounds.
pub struct Metrics {
    registry: Registry,
    visits: Counters,
    visit_duration: Histogram,
    identity_visits: Counters,
    drift_repairs: Counter,
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
    patches: Counters,
    changes: Counters,
    assignments: Family<Labels, Gauge>,
    stalled: Family<Labels, Gauge>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("lanyard");
        let (visits, identity_visits, drift_repairs) = (Counters::default(), Counters::default(), Counter::default());
        // To an hour: the operation that a visit waits for is part of it.
        let visit_duration = Histogram::new(exponential_buckets(0.01, 3.0, 12));
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
        registry.register_with_unit(
            "visit_duration",
            "How long visits to targets took, operations that they waited for included",
            Unit::Seconds,
            visit_duration.clone(),
        );
        registry.register(
            "identity_visits",
            "Visits to identities that are objects, by how they ended",
            identity_visits.clone(),
        );
        registry.register(
            "drift_repairs",
            "PATCHes that left because a machine was not as it had been left, and nobody had asked for anything",
            drift_repairs.clone(),
        );
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
        let (patches, changes) = (Counters::default(), Counters::default());
        registry.register("patches", "PATCHes that left for a machine, by how they ended", patches.clone());
        registry.register("identity_changes", "Identities that PATCHes which succeeded changed", changes.clone());
        let (assignments, stalled) = (Family::default(), Family::default());
        registry.register("assignments", "Assignments, by the status of Ready", Family::clone(&assignments));
        registry.register("assignments_stalled", "Assignments that need a person, by reason", Family::clone(&stalled));
        tell_the_version(&mut registry);
        Self {
            registry,
            visits,
            visit_duration,
            identity_visits,
            drift_repairs,
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
            patches,
            changes,
            assignments,
            stalled,
        }
    }
}

fn tell_the_version(registry: &mut Registry) {
    let build = Family::<Labels, Gauge>::default();
    build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
    registry.register("build_info", "1, with the version of this process", build);
}

impl Metrics {
    /// A visit to a machine ended so.
    pub fn visited(&self, reason: &'static str, took: Duration) {
        self.visits.get_or_create(&vec![("end", reason.to_owned())]).inc();
        self.visit_duration.observe(took.as_secs_f64());
    }

    /// A visit to an identity ended so.
    pub fn visited_identity(&self, reason: &'static str) {
        self.identity_visits.get_or_create(&vec![("end", reason.to_owned())]).inc();
    }

    /// A PATCH leaves, and nobody had asked for anything.
    pub fn repairs_drift(&self) {
        self.drift_repairs.inc();
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

    /// A PATCH left for a machine; `outcome` is the audit stream's.
    pub fn patched(&self, outcome: &str, patch: &Patch) {
        self.patches.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
        if outcome != "Succeeded" {
            return;
        }
        let changed = |change: &'static str, count: usize| {
            self.changes.get_or_create(&vec![("change", change.to_owned())]).inc_by(count as u64);
        };
        changed("attached", patch.added().count());
        changed("detached", patch.removed().count());
        changed("system enabled", usize::from(patch.system == Some(Switch::On)));
        changed("system disabled", usize::from(patch.system == Some(Switch::Off)));
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        self.unverified.set(0);
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// None in practice: text is written to memory.
    pub fn scrape(
        &self,
        queue: &Depths,
        remaining: &[(Bucket, f64)],
        standing: &Standing,
    ) -> Result<String, std::fmt::Error> {
        for (status, number) in &standing.ready {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            self.assignments.get_or_create(&vec![("ready", (*status).to_owned())]).set(number);
        }
        // A reason that holds no more is not there any more.
        self.stalled.clear();
        for (reason, number) in &standing.stalled {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            self.stalled.get_or_create(&vec![("reason", (*reason).to_owned())]).set(number);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        let condition = serde_json::json!({"type": kind, "status": status, "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(condition).expect("a condition")
    }

    fn assignments(standing: &Standing, metrics: &Metrics) -> Vec<String> {
        let text = metrics.scrape(&Depths::default(), &[], standing).expect("text");
        text.lines().filter(|line| line.starts_with("lanyard_assignments")).map(str::to_owned).collect()
    }

    #[test]
    fn assignments_are_counted_by_what_they_say_and_no_label_is_anybody_s_to_invent() {
        let metrics = Metrics::default();
        let mut standing = Standing::default();
        standing.count(Says::of(&[condition("Ready", "True", "AsDeclared")]));
        standing.count(Says::of(&[condition("Ready", "False", "Conflict"), condition("Stalled", "True", "Conflict")]));
        standing.count(Says::of(&[condition("Ready", "False", "Odd"), condition("Stalled", "True", "Odd-3f2a")]));
        standing.count(Says::of(&[condition("Stalled", "False", "Conflict")]));
        let mut lines = assignments(&standing, &metrics);
        lines.sort();
        assert_eq!(
            lines,
            [
                "lanyard_assignments_stalled{reason=\"Conflict\"} 1",
                "lanyard_assignments_stalled{reason=\"other\"} 1",
                "lanyard_assignments{ready=\"False\"} 2",
                "lanyard_assignments{ready=\"True\"} 1",
                "lanyard_assignments{ready=\"Unknown\"} 1",
            ]
        );

        let mut lines = assignments(&Standing::default(), &metrics);
        lines.sort();
        let none = ["False", "True", "Unknown"].map(|status| format!("lanyard_assignments{{ready=\"{status}\"}} 0"));
        assert_eq!(lines, none, "what is over is not told any more");
    }
}
