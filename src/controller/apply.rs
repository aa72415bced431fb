//! Step 4, apply: one PATCH under If-Match, followed to its end.
use super::context::Context;
use super::error::VisitError;
use super::memory::{Aside, essence};
use super::record::Recorded;
use super::schedule::{jitter, next_try};
use super::visit::{Done, Visit};
use super::{audit_log, finalizers, report, seen};
use crate::api::status::PlannedChange;
use crate::api::target::LastWrite;
use crate::arm::{Accepted, ArmError, Operation, PATCH_LEAVES_WITHIN, Progress};
use lanyard_domain::intend::refused;
use lanyard_domain::judge::{Outcome, Sent};
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::plan::{DefaultChange, SystemStep, default_change};
use lanyard_domain::{IdentityId, Live, Orchestration, Patch, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// The first poll: some endpoints are done by then, and it costs little.
const POLL_FIRST: Duration = Duration::from_millis(500);
/// Then every second, while the operation is as young as most ever get (half of those of VMs end within 4.7 s).
const POLL_SOON: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(10);
const POLL_SLOWEST: Duration = Duration::from_secs(30);

/// `Reconciling` is written only for an operation that lasts longer.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// What a poll's Retry-After may ask for: neither a burst nor a sleep for the day.
const POLL_LONGEST: Duration = Duration::from_secs(5 * 60);

/// After that an operation is left to be judged by the machine itself: later changes of the target must be looked at.
const LONGEST_FOLLOWED: Duration = Duration::from_secs(15 * 60);

/// Polls that fail in a row before the operation is left to be judged by the machine itself.
const POLLS_THAT_MAY_FAIL: u32 = 8;

/// What is next after an apply.
#[derive(Debug)]
pub enum Applied {
    /// ARM took it and the operation ended: read back and settle.
    Ended,
    /// Refused in a way that another plan answers at once: read and plan anew.
    Anew,
}

/// Sends the PATCH and follows its operation.
pub async fn apply(context: &Context, visit: &mut Visit, recorded: Recorded) -> Result<Applied, VisitError> {
    // The client gives up a PATCH that has not left by then: together they stay within the intent's age.
    if !recorded.is_still_good(context.now().after(PATCH_LEAVES_WITHIN)) {
        context.brake.refund(recorded.patch().removals());
        // Not sent, so that nothing came of it; the next round records anew.
        visit.record = refused(&visit.record);
        return Ok(Applied::Anew);
    }
    let body = recorded.patch().body().to_string();
    let leaves = context.wall();
    remember_outcome(visit, &recorded, Outcome::Unknown);
    let sent = Instant::now();
    let target = visit.target.clone();
    let etag = recorded.patch().if_match.clone();
    let answer = context.arm.patch_identity(&target, &body, etag.as_ref(), recorded.request_id()).await;
    let answered = audit_log::Answered::of(&answer);
    let result = match answer {
        Ok(accepted) => taken(context, visit, &recorded, leaves, accepted).await,
        Err(error) => turned_down(context, visit, &recorded, error),
    };
    visit.memory.protocol.last_write_ended = Some(context.now());
    audit_log::written(visit, &recorded, &body, sent.elapsed(), answered, &result);
    result
}

fn remember_outcome(visit: &mut Visit, recorded: &Recorded, outcome: Outcome) {
    let sent = Sent { outcome, ..Sent::new(recorded.request_id(), recorded.patch()) };
    visit.memory.protocol.sent = Some(sent);
}

async fn taken(
    context: &Context,
    visit: &mut Visit,
    recorded: &Recorded,
    left: Timestamp,
    accepted: Accepted,
) -> Result<Applied, VisitError> {
    remember_outcome(visit, recorded, Outcome::Accepted);
    let correlation_id = accepted.correlation_id.clone();
    finalizers::add(context, visit).await;
    let end = match &accepted.operation {
        // Nothing to follow, and yet it runs: the machine itself has to tell.
        None if accepted.live.as_ref().is_some_and(Live::is_updating) => Ok(Progress::Lost),
        None => Ok(Progress::Succeeded),
        Some(operation) => follow(context, visit, operation).await,
    };
    let (outcome, result) = match end {
        Ok(Progress::Succeeded) => {
            succeeded(context, visit, recorded);
            ("Succeeded", Ok(Applied::Ended))
        }
        Ok(Progress::Failed(error)) => {
            remember_outcome(visit, recorded, Outcome::Failed);
            ("Failed", failed(context, visit, recorded.patch(), error))
        }
        // The machine itself has to tell.
        Ok(Progress::Lost | Progress::Running { .. }) => ("Unknown", Ok(Applied::Ended)),
        Err(error) => ("Unknown", Err(error)),
    };
    visit.last_write = Some(last_write(visit, recorded, left, correlation_id, outcome));
    result
}

fn succeeded(context: &Context, visit: &mut Visit, recorded: &Recorded) {
    remember_outcome(visit, recorded, Outcome::Succeeded);
    let patch = recorded.patch().clone();
    visit.memory.contest.made(&patch, context.now(), &context.wall());
    for id in patch.edits.keys() {
        visit.memory.aside.remove(id);
    }
    let lost_principal = match visit.plan.as_ref().map(|plan| &plan.system) {
        Some(SystemStep::Disable { principal_id, .. }) => principal_id.clone(),
        _ => None,
    };
    let default_change = visit.live.as_ref().and_then(|live| default_change(live, &patch));
    visit.done.push(Done { patch, lost_principal, default_change });
}

fn last_write(
    visit: &Visit,
    recorded: &Recorded,
    left: Timestamp,
    correlation_id: Option<String>,
    outcome: &str,
) -> LastWrite {
    let changes = visit.live.as_ref().and_then(|live| default_change(live, recorded.patch()));
    LastWrite {
        time: left.0,
        change: planned(recorded.patch(), changes.as_ref()),
        correlation_id,
        client_request_id: Some(recorded.request_id().into()),
        outcome: outcome.into(),
    }
}

/// A patch as status shows it, and how it alters the default identity.
pub fn planned(patch: &Patch, changes: Option<&DefaultChange>) -> PlannedChange {
    let ids = |ids: Vec<&IdentityId>| ids.into_iter().map(ToString::to_string).collect();
    PlannedChange {
        add: ids(patch.added().collect()),
        remove: ids(patch.removed().collect()),
        system_assigned: patch.system.map(Into::into),
        default_identity: changes.map(seen::of_change),
    }
}

/// Polls until the operation ends. The slot is given back meanwhile: a slow operation delays no other target.
async fn follow(context: &Context, visit: &mut Visit, operation: &Operation) -> Result<Progress, VisitError> {
    visit.slot = None;
    let begun = Instant::now();
    let mut wait = clamped(operation.first_pause().unwrap_or(POLL_FIRST));
    let mut failed = 0;
    let mut told = false;
    let end = loop {
        if !told && begun.elapsed() + wait > WORTH_TELLING {
            pause_or_stop(context, WORTH_TELLING.saturating_sub(begun.elapsed()).min(wait)).await?;
            wait = wait.saturating_sub(WORTH_TELLING.saturating_sub(begun.elapsed()));
            report::under_way(context, visit).await;
            told = true;
        }
        pause_or_stop(context, wait).await?;
        match context.arm.poll(operation).await {
            Ok(Progress::Running { retry_after }) => {
                failed = 0;
                wait = clamped(retry_after.unwrap_or_else(|| next_poll(begun.elapsed())));
                if begun.elapsed() > LONGEST_FOLLOWED {
                    break Progress::Lost;
                }
            }
            Ok(end) => break end,
            Err(error @ ArmError::ForeignHost { .. }) => return Err(error.into()),
            Err(error) if failed >= POLLS_THAT_MAY_FAIL => return Err(error.into()),
            Err(error) => {
                failed += 1;
                wait = match error.class() {
                    Class::Throttled(pause) => clamped(pause),
                    _ => next_poll(begun.elapsed()),
                };
            }
        }
    };
    visit.slot = context.slots.clone().acquire_owned().await.ok();
    Ok(end)
}

async fn pause_or_stop(context: &Context, wait: Duration) -> Result<(), VisitError> {
    tokio::select! {
        () = context.stop.cancelled() => Err(VisitError::Stopping),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

fn clamped(wait: Duration) -> Duration {
    wait.clamp(POLL_FIRST, POLL_LONGEST)
}

fn next_poll(elapsed: Duration) -> Duration {
    if elapsed < SOON { POLL_SOON } else { (elapsed / 4).min(POLL_SLOWEST) }
}

/// The operation ended badly: what it named waits by itself, the rest is judged and planned anew.
fn failed(context: &Context, visit: &mut Visit, patch: &Patch, error: ArmError) -> Result<Applied, VisitError> {
    if set_aside(context, visit, patch, &error) { Ok(Applied::Anew) } else { Err(error.into()) }
}

/// ARM did not take it, or did not say so.
fn turned_down(
    context: &Context,
    visit: &mut Visit,
    recorded: &Recorded,
    error: ArmError,
) -> Result<Applied, VisitError> {
    if !error.refused() {
        return Err(error.into());
    }
    remember_outcome(visit, recorded, Outcome::Refused);
    context.brake.refund(recorded.patch().removals());
    visit.record = refused(&visit.record);
    if matches!(error, ArmError::PreconditionFailed { .. } | ArmError::TokenReplaced { .. }) {
        return Ok(Applied::Anew);
    }
    if set_aside(context, visit, recorded.patch(), &error) || split(visit, recorded.patch(), &error) {
        return Ok(Applied::Anew);
    }
    Err(error.into())
}

/// Ids that ARM named wait by themselves. False when it named none of those that were sent.
fn set_aside(context: &Context, visit: &mut Visit, patch: &Patch, error: &ArmError) -> bool {
    let named: Vec<&IdentityId> = patch.edits.keys().filter(|id| error.named_identities().contains(id)).collect();
    let now = context.now();
    for id in &named {
        let aside = visit.memory.aside.entry((*id).clone()).or_insert_with(|| Aside {
            reason: error.reason(),
            message: String::new(),
            first_seen: now,
            failures: 0,
            until: now,
        });
        aside.failures = aside.failures.saturating_add(1);
        aside.reason = error.reason();
        // The same refusal under another correlation id is no reason to write a status.
        let message = in_short(error) + next_try(Class::Refused);
        if essence(&message) != essence(&aside.message) {
            aside.message = message;
        }
        aside.until = now.after(pause(Class::Refused, aside.failures, Duration::ZERO, jitter()));
    }
    !named.is_empty()
}

/// The advice, and by what name ARM knows the refusal: its own text would repeat it at length.
fn in_short(error: &ArmError) -> String {
    let code = error.told().map(|told| told.code.as_str()).filter(|code| !code.is_empty());
    let said = code.map(|code| format!(" (ARM said {code}"));
    let correlated = error.correlation_id().map(|id| format!(", correlation id {id}")).unwrap_or_default();
    said.map_or_else(|| error.to_string(), |said| format!("{error}{said}{correlated})"))
}

/// One endpoint was seen to refuse additions and removals mixed, on a Flexible scale set.
fn split(visit: &mut Visit, patch: &Patch, error: &ArmError) -> bool {
    let flexible = visit.live.as_ref().is_some_and(|live| live.orchestration == Orchestration::Flexible);
    let mixed = patch.added().next().is_some() && patch.removed().next().is_some();
    let once = flexible && mixed && !visit.memory.split && matches!(error, ArmError::Rejected { .. });
    visit.memory.split |= once;
    once
}
