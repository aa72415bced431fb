//! One term after another: targets are visited while this process leads.
//!
//! A term that ends leaves the process running, its watches warm, for the next. Had the process to end instead, an API
//! server that is away for a minute would cost every replica a restart, and Kubernetes delays each one longer.
use super::context::{Context, Parts};
use super::fleet::Member;
use super::queue::{TargetKey, Urgency};
use super::reconcile::reconcile;
use super::schedule::{every, first_look, visit_by};
use super::status::was_ready;
use super::sweep::{roll_calls, sweeps};
use super::{identity, repeats};
use crate::api::RECONCILE_AT;
use crate::health::may_take;
use crate::lease::{Elector, Lead};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Inside Kubernetes' 30 s of grace. What is cut off was recorded: the next term settles it.
pub const WIND_DOWN: Duration = Duration::from_secs(20);

/// A target whose visit panicked is left alone for a while.
const AFTER_A_PANIC: Duration = Duration::from_secs(5 * 60);

/// Leads and works, again and again, until the process is told to stop. Without an election there is one term.
///
/// Before both lists are in, this process is of no use as a leader: absence needs proof.
pub async fn terms(parts: Arc<Parts>, elector: Option<Elector>) -> anyhow::Result<()> {
    while !parts.index.is_ready() {
        tokio::select! {
            () = parts.stop.cancelled() => return Ok(()),
            () = parts.index.became_ready() => {}
        }
    }
    tracing::info!("the lists of assignments and targets are in");
    let health = parts.health.clone();
    health.looping("terms", lead_and_work(parts, elector)).await
}

async fn lead_and_work(parts: Arc<Parts>, elector: Option<Elector>) -> anyhow::Result<()> {
    let Some(mut elector) = elector else {
        term(&parts, &Lead::for_ever(), None).await;
        return Ok(());
    };
    while !parts.stop.is_cancelled() {
        let lead = tokio::select! {
            () = parts.stop.cancelled() => break,
            lead = elector.campaign() => lead,
        };
        term(&parts, &lead, Some(&mut elector)).await;
        lead.end();
    }
    // Nothing of this process writes any more: another may lead at once.
    elector.release().await;
    Ok(())
}

/// Works while it leads. When this returns, all that was begun in the term has ended or was cut off.
async fn term(parts: &Parts, lead: &Lead, elector: Option<&mut Elector>) {
    let context = Arc::new(Context::new(parts, lead.clone()));
    tracing::info!(writer = context.writer, "this process leads; visits begin");
    parts.metrics.leads(true);
    parts.health.leads(true);
    parts.stories.leads(true);
    parts.identity_stories.leads(true);
    parts.queue.forget();
    parts.identity_queue.forget();
    begin(&context);
    let stop = context.stop.clone();
    let visits = async {
        tokio::join!(
            visits(context.clone()),
            identity::visits(context.clone()),
            sweeps(context.clone()),
            roll_calls(context.clone()),
            repeats::tell(&context),
        )
    };
    tokio::pin!(visits);
    tokio::select! {
        // Told to stop: the lease is held until what is under way has ended.
        _ = &mut visits => {}
        () = told_long_ago(parts) => cut_off(),
        lost = hold(elector, lead) => {
            tracing::warn!(why = %lost, "this process leads no more; it writes nothing, and stands by");
            lead.end();
            parts.metrics.leads(false);
            parts.health.leads(false);
            stop.cancel();
            may_take(WIND_DOWN);
            if timeout(WIND_DOWN, visits).await.is_err() {
                cut_off();
            }
        }
    }
    parts.metrics.leads(false);
    parts.health.leads(false);
    parts.stories.leads(false);
    parts.identity_stories.leads(false);
}

/// People wait for what nobody has acted on yet, and for what went while nobody worked; the rest is looked at by lists
/// first, and by visits where none covers it.
fn begin(context: &Context) {
    let now = context.now();
    let at_rest = |target: &TargetKey, urgency| urgency == Urgency::Drift && seems_at_rest(context, target);
    let (at_rest, pressing): (Vec<_>, Vec<_>) =
        context.index.all().into_iter().partition(|(target, (urgency, _))| at_rest(target, *urgency));
    for (target, (urgency, namespace)) in pressing {
        if matches!(urgency, Urgency::Change | Urgency::Deletion) {
            context.stories.changed(&target, || "found when this process began to lead".into());
        }
        context.queue.push(target, urgency, namespace.as_deref());
    }
    let member = |target: &TargetKey| {
        let every = every(&context.index.of(target).read);
        Member::AtRest { every, seen: None, visit_by: visit_by(now) }
    };
    for (target, _) in &at_rest {
        context.fleet.put(target, member(target), now);
    }
    context.fleet.decide(now);
    for (target, (urgency, _)) in at_rest {
        match context.fleet.put(&target, member(&target), now) {
            Some(pace) => context.queue.later(&target, Instant::now() + first_look(pace), urgency),
            None => context.queue.push(target, urgency, None),
        }
    }
}

/// Everybody who declares something about it was told that it is so, and nobody else is in its record.
fn seems_at_rest(context: &Context, target: &TargetKey) -> bool {
    let (of_target, objects) = (context.index.of(target), context.index.target_objects(target));
    let [object] = objects.as_slice() else { return false };
    // Whether somebody has looked since a person asked for it is not known.
    let asked = |metadata: &ObjectMeta| metadata.annotations.as_ref().is_some_and(|all| all.contains_key(RECONCILE_AT));
    let asked = asked(&object.metadata) || of_target.read.iter().any(|read| asked(&read.object.metadata));
    if asked || object.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let read: BTreeSet<&str> = of_target.read.iter().map(|read| read.claim.key.uid.as_str()).collect();
    let recorded: BTreeSet<&str> = object.record.claims.iter().map(|claim| claim.uid.as_str()).collect();
    read == recorded && of_target.unread.is_empty() && of_target.read.iter().all(|read| was_ready(read))
}

fn cut_off() {
    tracing::warn!("not everything ended in time; what was under way is recorded");
}

async fn hold(elector: Option<&mut Elector>, lead: &Lead) -> impl std::fmt::Display {
    match elector {
        Some(elector) => elector.hold(lead).await,
        None => std::future::pending().await,
    }
}

async fn told_long_ago(parts: &Parts) {
    parts.stop.cancelled().await;
    may_take(WIND_DOWN);
    tokio::time::sleep(WIND_DOWN).await;
}

async fn visit(context: Arc<Context>, target: TargetKey, urgency: Urgency, slot: Option<OwnedSemaphorePermit>) {
    let next = reconcile(&context, target.clone(), urgency, slot).await;
    context.queue.done(&target, next);
}

/// A slot first, then the most urgent target of that moment: who comes late and is urgent overtakes. What was begun is
/// brought to its end before more is begun.
async fn next_visit(context: Arc<Context>) -> (TargetKey, Urgency, Option<OwnedSemaphorePermit>) {
    let slot = context.slots.clone().acquire_owned().await.ok();
    context.line_after.lets_begin().await;
    let (target, urgency) = context.queue.next(&context.gate).await;
    (target, urgency, slot)
}

/// Visits targets as they fall due, until the term ends.
async fn visits(context: Arc<Context>) {
    let mut under_way: JoinSet<()> = JoinSet::new();
    let mut targets = HashMap::new();
    // Kept while visits end: whoever lets go of its place in the line for a slot goes to its end.
    let mut next = Box::pin(next_visit(context.clone()));
    loop {
        tokio::select! {
            () = context.stop.cancelled() => break,
            (target, urgency, slot) = &mut next => {
                next.set(next_visit(context.clone()));
                let visit = visit(context.clone(), target.clone(), urgency, slot);
                let watched = context.health.visit(target.clone(), visit);
                targets.insert(under_way.spawn(watched).id(), target);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    /// Thousands may wait for an operation together.
    #[test]
    fn a_visit_weighs_little_while_it_waits_for_an_operation() {
        let bytes = size_of_future(visit);
        let of_which = std::mem::size_of::<crate::controller::visit::Visit>();
        assert!(bytes <= 8 * 1024, "{bytes} bytes, of which what it knows takes {of_which}");
    }
}
