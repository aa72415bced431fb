//! Log lines and the audit stream: where they go, and what is logged, changed while the process runs.
use super::traces;
use anyhow::Context as _;
use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Where the audit stream goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditLog {
    /// Among the other lines, told apart by their target.
    #[default]
    WithTheRest,
    Stdout,
    /// Appended to, and made if it is not there.
    File(PathBuf),
}

impl From<Option<PathBuf>> for AuditLog {
    fn from(path: Option<PathBuf>) -> Self {
        match path {
            None => Self::WithTheRest,
            Some(path) if path.as_os_str() == "-" => Self::Stdout,
            Some(path) => Self::File(path),
        }
    }
}

/// The target of the audit stream.
const AUDIT: &str = "audit";

/// What is logged, and the means to change it.
#[derive(Clone, Debug)]
pub struct LogLevel {
    filter: reload::Handle<EnvFilter, Registry>,
    /// As the process was started with.
    first: Arc<str>,
    now: Arc<Mutex<Now>>,
}

#[derive(Debug)]
struct Now {
    filter: String,
    /// Counts the changes: who set one takes it back only if nobody has set another since.
    change: u64,
}

/// A change of what is logged; whoever made it may take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change(u64);

impl LogLevel {
    /// The filter in force, in the form of `RUST_LOG`.
    pub fn filter(&self) -> String {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).filter.clone()
    }

    /// Logs by another filter from now on, and says so first, while that can still be seen.
    ///
    /// # Errors
    /// A filter that cannot be parsed. Then nothing changes.
    pub fn set(&self, filter: &str, lasts: Duration) -> anyhow::Result<Change> {
        let parsed = parsed(filter)?;
        tracing::warn!(before = self.filter(), now = filter, seconds = lasts.as_secs(), "what is logged is changed");
        self.put(filter, parsed)
    }

    fn put(&self, filter: &str, parsed: EnvFilter) -> anyhow::Result<Change> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(parsed).context("the log filter could not be changed")?;
        filter.clone_into(&mut now.filter);
        now.change += 1;
        Ok(Change(now.change))
    }

    /// Back to the filter of the start.
    ///
    /// # Errors
    /// None in practice: it was good at the start.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.put(&self.first, parsed(&self.first)?)?;
        tracing::warn!(now = &*self.first, "what is logged is as at the start again");
        Ok(())
    }

    /// The same, unless somebody has made another change since.
    ///
    /// # Errors
    /// None in practice.
    pub fn take_back(&self, change: Change) -> anyhow::Result<()> {
        let is_last = self.now.lock().unwrap_or_else(PoisonError::into_inner).change == change.0;
        if is_last { self.reset() } else { Ok(()) }
    }
}

/// The audit stream goes on, however quiet the rest is, unless it is named.
fn parsed(filter: &str) -> anyhow::Result<EnvFilter> {
    let audited = if filter.contains(AUDIT) { filter.to_owned() } else { format!("{filter},{AUDIT}=info") };
    EnvFilter::try_new(audited).with_context(|| format!("'{filter}' is no log filter: write info, or lanyard=debug"))
}

/// Starts logging to standard error, and tracing where an exporter is given. `filter` is in the form of `RUST_LOG`.
///
/// # Errors
/// A filter that cannot be parsed, an audit log that cannot be written, or logging that was started already.
pub fn start_logging(
    format: LogFormat,
    filter: &str,
    audit: &AuditLog,
    traces: Option<&traces::Exporter>,
) -> anyhow::Result<LogLevel> {
    let apart = *audit != AuditLog::WithTheRest;
    let (reloadable, handle) =
        reload::Layer::new(parsed(filter).context("--log-level and RUST_LOG say what is logged")?);
    let rest = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let rest = match format {
        LogFormat::Json => rest.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Text => rest.boxed(),
    };
    // Spans of traces are no part of log lines: without an exporter nobody wants them, and none is ever made.
    let lines = filter_fn(move |line| line.target() != traces::TARGET && !(apart && line.target() == AUDIT));
    let layers = tracing_subscriber::registry()
        .with(rest.with_filter(lines.and(reloadable)))
        .with(audit_layer(audit)?)
        .with(traces.map(traces::Exporter::layer));
    layers.try_init().map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))?;
    let now = Now { filter: filter.to_owned(), change: 0 };
    Ok(LogLevel { filter: handle, first: filter.into(), now: Arc::new(Mutex::new(now)) })
}

/// Every audit line as JSON, whatever the filter and format of the rest.
fn audit_layer<S>(audit: &AuditLog) -> anyhow::Result<Option<impl Layer<S> + use<S>>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    let layer = match audit {
        AuditLog::WithTheRest => return Ok(None),
        AuditLog::Stdout => lines.with_writer(std::io::stdout).boxed(),
        AuditLog::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.with_context(|| format!("{} cannot be written (--audit-log)", path.display()))?;
            lines.with_writer(Mutex::new(file)).boxed()
        }
    };
    Ok(Some(layer.with_filter(filter_fn(|line| line.target() == AUDIT))))
}
