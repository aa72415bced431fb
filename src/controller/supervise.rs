//! One supervisor owns every task: when one ends, the process ends.
use super::context::Parts;
use super::terms::{WIND_DOWN, terms};
use super::{needs, watch};
use crate::health::Health;
use crate::lease::Elector;
use crate::server;
use crate::telemetry::LogLevel;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What is under way, and then the release of the lease.
const SHUTDOWN: Duration = WIND_DOWN.saturating_add(Duration::from_secs(4));

/// Runs until it is told to stop, or until a task ends that should not have.
pub async fn run(
    parts: Arc<Parts>,
    elector: Option<Elector>,
    listener: TcpListener,
    admin: Option<(TcpListener, LogLevel)>,
) -> anyhow::Result<()> {
    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    let (stop, health) = (parts.stop.clone(), parts.health.clone());
    let named = |name, task| named(&health, name, task);
    tasks.spawn(named("http server", server::serve(listener, parts.clone()).boxed()));
    if let Some((listener, level)) = admin {
        tasks.spawn(named("admin server", server::serve_admin(listener, level, stop.clone()).boxed()));
    }
    tasks.spawn(named("assignments watch", watch::assignments(parts.clone()).boxed()));
    tasks.spawn(named("targets watch", watch::targets(parts.clone()).boxed()));
    tasks.spawn(named("identities watch", watch::identities(parts.clone()).boxed()));
    tasks.spawn(named("identity records watch", watch::identity_records(parts.clone()).boxed()));
    tasks.spawn(named("cluster", needs::cluster(parts.clone()).boxed()));
    tasks.spawn(named("token", needs::token(parts.clone()).boxed()));
    tasks.spawn(named("terms", terms(parts, elector).boxed()));
    let ended = tokio::select! {
        // Asked first: a task that ended because all were told to stop has not ended early.
        biased;
        () = stop.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    stop.cancel();
    if tokio::time::timeout(SHUTDOWN, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("not every task ended in time");
    }
    match ended {
        None => Ok(()),
        Some(Ok((task, Ok(())))) => anyhow::bail!("the task '{task}' ended early"),
        Some(Ok((task, Err(error)))) => Err(error.context(format!("the task '{task}' failed"))),
        Some(Err(error)) => Err(anyhow::Error::new(error).context("a task panicked")),
    }
}

/// Watched over, in that it holds no thread.
fn named(
    health: &Arc<Health>,
    name: &'static str,
    task: BoxFuture<'static, anyhow::Result<()>>,
) -> impl Future<Output = (&'static str, anyhow::Result<()>)> + use<> {
    let watched = health.listening(name, task);
    async move { (name, watched.await) }
}
