//! Logs and metrics.
use crate::arm::{Exchange, Observer};
use crate::controller::VisitError;
use anyhow::Context as _;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Starts logging to standard error. `filter` is in the form of `RUST_LOG`.
///
/// # Errors
/// A filter that cannot be parsed, or logging that was started already.
pub fn start_logging(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    // The audit stream goes on, however quiet the rest is, unless it is named.
    let audited = if filter.contains("audit") { filter.to_owned() } else { format!("{filter},audit=info") };
    let filter = EnvFilter::try_new(audited).with_context(|| {
        format!("'{filter}' is no log filter (--log-level, RUST_LOG): write info, or lanyard=debug")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;

/// What is counted. Few labels, and none without bounds.
pub struct Metrics {
    registry: Registry,
    visits: Counters,
    requests: Counters,
    latency: Family<Labels, Histogram>,
    watch_failures: Counters,
    removals_held: Counter,
    due: Gauge,
    under_way: Gauge,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        let watch_failures = Counters::default();
        let removals_held = Counter::default();
        let (due, under_way, leader) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("visits", "Visits to targets, by how they ended", visits.clone());
        registry.register("arm_requests", "Requests to ARM, by method, bucket and status", requests.clone());
        let seconds = Unit::Seconds;
        registry.register_with_unit("arm_request_duration", "How long ARM took to answer", seconds, latency.clone());
        registry.register("watch_failures", "Times that a watch broke off and was resumed", watch_failures.clone());
        registry.register(
            "removals_held",
            "Removals that waited for the brake, counted at every visit",
            removals_held.clone(),
        );
        registry.register("targets_due", "Targets that wait for a visit", due.clone());
        registry.register("targets_under_way", "Targets that are being visited", under_way.clone());
        registry.register("leader", "1 while this process leads", leader.clone());
        Self { registry, visits, requests, latency, watch_failures, removals_held, due, under_way, leader }
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

    pub fn removals_held(&self, count: usize) {
        self.removals_held.inc_by(count as u64);
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// None in practice: text is written to memory.
    pub fn scrape(&self, (due, under_way): (usize, usize)) -> Result<String, fmt::Error> {
        self.due.set(i64::try_from(due).unwrap_or(i64::MAX));
        self.under_way.set(i64::try_from(under_way).unwrap_or(i64::MAX));
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
}
