//! One supervisor owns every task: when one ends, the process ends.
use super::context::Context;
use super::queue::{TargetKey, Urgency};
use super::reconcile::reconcile;
use super::watch;
use crate::server;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Inside Kubernetes' 30 s of grace. What is cut off was recorded: the next process settles it.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// A target whose visit panicked is left alone for a while.
const AFTER_A_PANIC: Duration = Duration::from_secs(5 * 60);

/// Runs until it is told to stop, or until a task ends that should not have.
pub async fn run(context: Arc<Context>, listener: TcpListener) -> anyhow::Result<()> {
    let mut tasks: JoinSet<(&'static str, anyhow::Result<()>)> = JoinSet::new();
    let stop = context.stop.clone();
    tasks.spawn(named("http server", server::serve(listener, context.clone())));
    tasks.spawn(named("assignments watch", watch::assignments(context.clone())));
    tasks.spawn(named("targets watch", watch::targets(context.clone())));
    tasks.spawn(named("visits", visits(context.clone())));
    let ended = tokio::select! {
        // Asked first: a task that ended because all were told to stop has not ended early.
        biased;
        () = stop.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    stop.cancel();
    if tokio::time::timeout(SHUTDOWN, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!("not everything ended in time; what was under way is recorded");
    }
    match ended {
        None => Ok(()),
        Some(Ok((task, Ok(())))) => anyhow::bail!("the task '{task}' ended early"),
        Some(Ok((task, Err(error)))) => Err(error.context(format!("the task '{task}' failed"))),
        Some(Err(error)) => Err(anyhow::Error::new(error).context("a task panicked")),
    }
}

async fn named(
    name: &'static str,
    task: impl Future<Output = anyhow::Result<()>>,
) -> (&'static str, anyhow::Result<()>) {
    (name, task.await)
}

async fn visit(context: Arc<Context>, target: TargetKey, slot: Option<OwnedSemaphorePermit>) {
    let next = reconcile(&context, target.clone(), slot).await;
    context.queue.done(&target, next);
}

/// A slot first, then the most urgent target of that moment: who comes late and is urgent overtakes.
async fn next_visit(context: &Context) -> (TargetKey, Option<OwnedSemaphorePermit>) {
    let slot = context.slots.clone().acquire_owned().await.ok();
    (context.queue.next().await, slot)
}

/// Visits targets as they fall due. Before both lists are in, nobody is visited: absence needs proof.
async fn visits(context: Arc<Context>) -> anyhow::Result<()> {
    let mut under_way: JoinSet<()> = JoinSet::new();
    while !context.index.is_ready() {
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = context.index.became_ready() => {}
        }
    }
    tracing::info!("the lists of assignments and targets are in; visits begin");
    let mut targets = HashMap::new();
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            (target, slot) = next_visit(&context) => {
                let visit = visit(context.clone(), target.clone(), slot);
                targets.insert(under_way.spawn(visit).id(), target);
            }
            Some(ended) = under_way.join_next_with_id() => {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                if let (Some(target), Err(error)) = (targets.remove(&id), ended) {
                    // A defect, but this target's alone: the others go on.
                    tracing::error!(machine = %target, %error, "a visit panicked");
                    context.queue.done(&target, Some((Instant::now() + AFTER_A_PANIC, Urgency::Retry)));
                }
            }
        }
    }
    while under_way.join_next().await.is_some() {}
    Ok(())
}
