//! `lanyard controller`.
use super::azure::Azure;
use super::cluster::Cluster;
use crate::api::duration;
use crate::clock::Clock;
use crate::controller::{Brake, Choices, IDENTITIES_AT_ONCE, Kubernetes, Parts, Queue, Rate, Stories, gate, run};
use crate::health::Health;
use crate::health::cluster::{FIRST_WORD, look};
use crate::lease::{Elector, Place};
use crate::server::Admin;
use crate::telemetry::{CountsExchanges, LogFormat, LogLevel, Metrics, start_logging, traces};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::{Client, Config};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Short of the time that an attempt to renew the lease has.
const CONNECT_FOR_LEASE: Duration = Duration::from_secs(3);

/// Options of the controller.
#[derive(Debug, Args)]
pub struct Controller {
    #[command(flatten)]
    azure: Azure,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    replicas: Replicas,
    #[command(flatten)]
    safety: Safety,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    observing: Observing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Removing {
    Paced,
    Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Toggle {
    On,
    Off,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Replicas")]
struct Replicas {
    /// Whether replicas elect one that works; off: this process works, whoever else does.
    #[arg(long, env = "LANYARD_LEADER_ELECTION", value_enum, default_value = "on")]
    leader_election: Toggle,
    /// The Lease that says who leads. Replicas that share machines must share it.
    #[arg(long, env = "LANYARD_LEASE_NAME", default_value = "lanyard", value_name = "NAME")]
    lease_name: String,
    /// Its namespace: by default `POD_NAMESPACE`, else that of the service account or kubeconfig, else default.
    #[arg(long, env = "LANYARD_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
struct Safety {
    /// Removals that may happen at once, over all machines.
    #[arg(long, env = "LANYARD_REMOVAL_BURST", default_value_t = 100, value_name = "N")]
    removal_burst: u32,
    /// Removals after that: a number and s, m or h.
    #[arg(long, env = "LANYARD_REMOVAL_RATE", default_value = "60/m", value_name = "N/UNIT")]
    removal_rate: Rate,
    /// Whether anything may be removed at all. Additions are never held.
    #[arg(long, env = "LANYARD_REMOVALS", value_enum, default_value = "paced")]
    removals: Removing,
    /// Ask the endpoint, before the first write, whether it honours If-Match; off trusts the documentation.
    #[arg(long, env = "LANYARD_PRECONDITION_PROBE", value_enum, default_value = "on")]
    precondition_probe: Toggle,
    /// On an endpoint that ignores If-Match, write even what could drop an identity that somebody adds in the same moment.
    #[arg(long, env = "LANYARD_ALLOW_UNGUARDED")]
    allow_unguarded: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
struct Process {
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "LANYARD_HTTP_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDR")]
    http_listen: SocketAddr,
    /// Where /loglevel is served, to this machine alone, or off: by default 127.0.0.1:8081, if nobody else has it.
    #[arg(long, env = "LANYARD_ADMIN_LISTEN", value_name = "ADDR")]
    admin_listen: Option<Admin>,
    /// A visit or task that has not gone on for so long, beyond the answers that it waits for, is stuck: /healthz then fails.
    #[arg(long, env = "LANYARD_STUCK_AFTER", default_value = "5m", value_name = "TIME", value_parser = stuck_after)]
    stuck_after: Duration,
    /// Machines that may be worked on at once. Waiting for an operation does not count.
    #[arg(long, env = "LANYARD_CONCURRENCY", default_value_t = 64, value_name = "N")]
    concurrency: usize,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs and traces")]
struct Observing {
    /// How log lines are written, to standard error.
    #[arg(long, env = "LANYARD_LOG_FORMAT", value_enum, default_value = "json")]
    log_format: LogFormat,
    /// What is logged, such as info or lanyard=debug.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// Where the audit line of every write goes: a file, to be appended to, or - for standard output. Else among the log lines.
    #[arg(long, env = "LANYARD_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// A collector of OpenTelemetry traces, by OTLP over HTTP: http://<host>:4318. Without one there are no traces.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

impl Controller {
    /// Runs the controller until it is told to stop.
    ///
    /// # Errors
    /// A start that is not possible, in one line; or a task that ended early.
    pub fn run(self) -> anyhow::Result<()> {
        // One provider for all of TLS: with none chosen, rustls would have to guess.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let instance =
            std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "lanyard".into());
        let (level, traces) = runtime.block_on(async { self.observing.start(&instance) })?;
        let ended = runtime.block_on(self.start(instance, level, traces.is_some()));
        if let Some(traces) = traces {
            traces.stop();
        }
        ended
    }

    async fn start(self, instance: String, level: LogLevel, traces: bool) -> anyhow::Result<()> {
        let listen = self.process.http_listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--http-listen)"))?;
        let admin = Admin::listen(self.process.admin_listen).await?;
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let arm = self.azure.arm(CountsExchanges(metrics.clone()))?;
        let clock = Clock::start();
        let config = self.cluster.config().await?;
        let client = Client::try_from(config.clone())?;
        let mut elector = self.replicas.elector(config, &instance, clock)?;
        tokio::select! {
            checked = check_cluster(&client, elector.as_mut()) => checked?,
            () = told_to_stop() => return Ok(()),
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %listener.local_addr()?, "lanyard starts");
        if let Some(admin) = &admin {
            tracing::info!(admin = %admin.local_addr()?, "what is logged can be changed there, by /loglevel");
        }
        let health = Arc::new(Health::new(self.process.stuck_after));
        health.keep_looking().context("no thread could be begun")?;
        let parts = Parts {
            kubernetes: Kubernetes::new(client, instance.clone()),
            index: Arc::default(),
            queue: Arc::new(Queue::new(self.process.concurrency.max(1), clock)),
            identity_queue: Arc::new(Queue::new(IDENTITIES_AT_ONCE, clock)),
            gate: gate(arm.clone()),
            arm,
            brake: Arc::new(Brake::new(
                self.safety.removal_burst,
                self.safety.removal_rate,
                self.safety.removals == Removing::Paused,
            )),
            metrics,
            health,
            stories: Arc::new(Stories::new(traces)),
            identity_stories: Arc::new(Stories::new(traces)),
            choices: Choices {
                probe: self.safety.precondition_probe == Toggle::On,
                allow_unguarded: self.safety.allow_unguarded,
            },
            preconditions: Arc::default(),
            instance,
            concurrency: self.process.concurrency.max(1),
            stop: stop.clone(),
            clock,
        };
        tokio::spawn(async move {
            told_to_stop().await;
            tracing::info!("told to stop: no new work is begun");
            stop.cancel();
        });
        run(Arc::new(parts), elector, listener, admin.map(|admin| (admin, level))).await
    }
}

/// The waits that nothing announces are shorter than this.
const SOONEST_STUCK: Duration = Duration::from_secs(15);

fn stuck_after(text: &str) -> Result<Duration, String> {
    let time = duration::any(text).map_err(|error| error.to_string())?;
    if time < SOONEST_STUCK { Err("write 15s or more".into()) } else { Ok(time) }
}

impl Observing {
    /// Logging, and traces where a collector is named.
    fn start(&self, instance: &str) -> anyhow::Result<(LogLevel, Option<traces::Exporter>)> {
        let endpoint = traces::Endpoint::of(self.otlp_endpoint.as_deref(), |name| std::env::var(name).ok())?;
        let traces = endpoint.map(|endpoint| traces::Exporter::new(&endpoint, instance)).transpose()?;
        let audit = self.audit_log.clone().into();
        let level = start_logging(self.log_format, &self.log_level, &audit, traces.as_ref())?;
        if let Some(traces) = &traces {
            tracing::info!(endpoint = traces.endpoint, "traces are exported");
        }
        Ok((level, traces))
    }
}

impl Replicas {
    /// By a client of its own, with connections of its own: an answer that is late is of no use here.
    fn elector(&self, mut config: Config, instance: &str, clock: Clock) -> anyhow::Result<Option<Elector>> {
        if self.leader_election == Toggle::Off {
            return Ok(None);
        }
        let here = std::env::var("POD_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
        let namespace = self.lease_namespace.clone().or(here).unwrap_or_else(|| config.default_namespace.clone());
        let place = Place { namespace, name: self.lease_name.clone() };
        config.connect_timeout = Some(CONNECT_FOR_LEASE);
        let me = format!("{instance}/{}", uuid::Uuid::new_v4());
        Ok(Some(Elector::new(Client::try_from(config)?, place, me, clock)))
    }
}

/// All kinds can be listed, and the lease be read: else the process says in one line what is missing.
async fn check_cluster(client: &Client, elector: Option<&mut Elector>) -> anyhow::Result<()> {
    look(client).await?;
    match elector {
        Some(elector) => lease_readable(elector).await,
        None => Ok(()),
    }
}

async fn lease_readable(elector: &mut Elector) -> anyhow::Result<()> {
    let place = elector.place().clone();
    match tokio::time::timeout(FIRST_WORD, elector.first_look()).await {
        Err(_) => anyhow::bail!("the Kubernetes API server did not answer within {} s", FIRST_WORD.as_secs()),
        Ok(Ok(())) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 || status.code == 401 => anyhow::bail!(
            "no permission to read the Lease {place}: apply deploy/base, which has the role, name another with \
             --lease-namespace, or run one replica with --leader-election=off ({})",
            status.message
        ),
        Ok(Err(error)) => Err(error).with_context(|| format!("the Lease {place} cannot be read")),
    }
}

/// SIGTERM or an interrupt.
async fn told_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use clap::CommandFactory as _;
    use std::collections::BTreeSet;

    #[test]
    fn every_option_stands_under_a_heading_and_has_a_variable() {
        let cli = Cli::command();
        let controller = cli.find_subcommand("controller").expect("a command");
        let mut headings = BTreeSet::new();
        for option in controller.get_arguments() {
            let name = option.get_id().as_str();
            headings.insert(option.get_help_heading().unwrap_or(name));
            assert!(option.get_help().is_some(), "{name} says nothing of itself");
            // KUBECONFIG is a list of files, and is read by the client.
            assert!(option.get_env().is_some() || name == "kubeconfig", "{name} has no variable");
        }
        let all = ["Azure", "Kubernetes", "Logs and traces", "Process", "Replicas", "Safety"];
        assert_eq!(headings.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn what_is_stuck_is_not_told_too_soon() {
        assert_eq!(super::stuck_after("5m"), Ok(super::Duration::from_secs(300)));
        assert!(super::stuck_after("14s").is_err() && super::stuck_after("soon").is_err());
    }
}
