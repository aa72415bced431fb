//! `lanyard controller`.
use super::azure::Azure;
use super::cluster::Cluster;
use crate::api::{IdentityAssignment, IdentityRecord, IdentityTarget, UserAssignedIdentity};
use crate::clock::Clock;
use crate::controller::{Brake, Choices, IDENTITIES_AT_ONCE, Kubernetes, Parts, Queue, Rate, gate, run};
use crate::lease::{Elector, Place};
use crate::telemetry::{CountsExchanges, LogFormat, Metrics, start_logging};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use kube::api::{Api, ListParams};
use kube::{Client, Config};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Longer than an API server takes to say what it lacks.
const FIRST_WORD: Duration = Duration::from_secs(20);

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
    /// How log lines are written, to standard error.
    #[arg(long, env = "LANYARD_LOG_FORMAT", value_enum, default_value = "json")]
    log_format: LogFormat,
    /// What is logged, such as info or lanyard=debug.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// Where the audit line of every write goes: a file, to be appended to, or - for standard output. Else among the log lines.
    #[arg(long, env = "LANYARD_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// Machines that may be worked on at once. Waiting for an operation does not count.
    #[arg(long, env = "LANYARD_CONCURRENCY", default_value_t = 64, value_name = "N")]
    concurrency: usize,
}

impl Controller {
    /// Runs the controller until it is told to stop.
    ///
    /// # Errors
    /// A start that is not possible, in one line; or a task that ended early.
    pub fn run(self) -> anyhow::Result<()> {
        start_logging(self.process.log_format, &self.process.log_level, &self.process.audit_log.clone().into())?;
        // One provider for all of TLS: with none chosen, rustls would have to guess.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.start())
    }

    async fn start(self) -> anyhow::Result<()> {
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let arm = self.azure.arm(CountsExchanges(metrics.clone()))?;
        let clock = Clock::start();
        let config = self.cluster.config().await?;
        let client = Client::try_from(config.clone())?;
        let instance =
            std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| "lanyard".into());
        let mut elector = self.replicas.elector(config, &instance, clock)?;
        tokio::select! {
            checked = check_cluster(&client, elector.as_mut()) => checked?,
            () = told_to_stop() => return Ok(()),
        }
        let listen = self.process.http_listen;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} (--http-listen)"))?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %listener.local_addr()?, "lanyard starts");
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
        run(Arc::new(parts), elector, listener).await
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
    let few = ListParams::default().limit(1);
    let assignments: Api<IdentityAssignment> = Api::all(client.clone());
    let targets: Api<IdentityTarget> = Api::all(client.clone());
    listable("identityassignments", assignments.list_metadata(&few)).await?;
    listable("identitytargets", targets.list_metadata(&few)).await?;
    let identities: Api<UserAssignedIdentity> = Api::all(client.clone());
    let records: Api<IdentityRecord> = Api::all(client.clone());
    listable("userassignedidentities", identities.list_metadata(&few)).await?;
    listable("identityrecords", records.list_metadata(&few)).await?;
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

async fn listable<T>(what: &str, list: impl Future<Output = Result<T, kube::Error>>) -> anyhow::Result<()> {
    match tokio::time::timeout(FIRST_WORD, list).await {
        Err(_) => anyhow::bail!("the Kubernetes API server did not answer within {} s", FIRST_WORD.as_secs()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            anyhow::bail!("the CRD of {what} is not installed: kubectl apply -f crds/")
        }
        Ok(Err(kube::Error::Api(status))) if status.code == 403 || status.code == 401 => {
            anyhow::bail!("no permission to list {what}: apply deploy/base, which has the roles ({})", status.message)
        }
        Ok(Err(error)) => Err(error).with_context(|| format!("the Kubernetes API server cannot be asked for {what}")),
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
