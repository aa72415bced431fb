//! Step 4, apply: one PATCH under If-Match, followed to its end.
use super::context::Context;
use super::error::VisitError;
use super::follow::follow;
use super::queue::Urgency;
use super::record::Recorded;
use super::visit::{Done, Visit};
use super::{audit_log, finalizers, refusal, rights, seen};
use crate::api::status::PlannedChange;
use crate::api::target::LastWrite;
use crate::arm::{Accepted, ArmError, PATCH_LEAVES_WITHIN, Progress, Reservation};
use crate::fail_point::{self, Point};
use crate::telemetry::traces::step;
use lanyard_domain::ended::Sign;
use lanyard_domain::intend::refused;
use lanyard_domain::judge::{Note, Outcome, Sent};
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::plan::{DefaultChange, Plan, SystemStep, default_change};
use lanyard_domain::{Fresh, IdentityId, Live, Patch, Timestamp};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// What is next after an apply.
#[derive(Debug)]
pub enum Applied {
    /// ARM took it and the operation ended: read back and settle.
    Ended,
    /// Never sent, since the intent had grown too old: read and plan anew.
    NotSent,
    /// Refused in a way that another plan answers at once: read and plan anew.
    Refused,
    /// Taken, and its operation failed in a way that another plan answers.
    Failed,
}

/// Sends the PATCH that was reserved, and follows its operation.
pub async fn apply(
    context: &Context,
    visit: &mut Visit,
    recorded: Recorded,
    reservation: Reservation,
) -> Result<Applied, VisitError> {
    // The client gives up a PATCH that has not left by then: together they stay within the intent's age.
    if !recorded.is_still_good(context.now().after(PATCH_LEAVES_WITHIN)) {
        context.brake.refund(recorded.patch().removals());
        // Not sent, so that nothing came of it; the next round records anew.
        visit.record = refused(&visit.record);
        return Ok(Applied::NotSent);
    }
    if !context.may_patch() {
        context.brake.refund(recorded.patch().removals());
        visit.record = refused(&visit.record);
        return Err(VisitError::LeaseNotRenewed);
    }
    let body = recorded.patch().body().to_string();
    let leaves = context.wall();
    remember_outcome(visit, &recorded, Outcome::Unknown);
    let sent = Instant::now();
    let target = visit.target.clone();
    let etag = recorded.patch().if_match.clone();
    let patched = context.arm.patch_identity(reservation, &body, etag.as_ref(), recorded.request_id());
    let answer = Box::pin(patched).await;
    count(context, visit, &recorded, answer.as_ref().err());
    fail_point::reached(Point::PatchAnswered, &target).await;
    let answered = audit_log::Answered::of(&answer);
    // Before it counts as a change that is followed to its end.
    let began_by_nobody = visit.urgency() == Urgency::Drift;
    let result = match answer {
        Ok(accepted) => taken(context, visit, &recorded, leaves, accepted).await,
        Err(error) => Box::pin(turned_down(context, visit, &recorded, error)).await,
    };
    visit.memory.protocol.last_write_ended = Some(context.now());
    let outcome = audit_log::written(visit, &recorded, &body, sent.elapsed(), answered, &result);
    context.metrics.patched(&outcome, recorded.patch());
    if began_by_nobody {
        context.metrics.repairs_drift();
    }
    result
}

/// Trials have a budget; a race that was lost tried nothing.
fn count(context: &Context, visit: &mut Visit, recorded: &Recorded, error: Option<&ArmError>) {
    let race = matches!(error, Some(ArmError::PreconditionFailed { .. }));
    if !race && error.is_none_or(ArmError::left) {
        visit.memory.asides.count(recorded.patch(), context.now());
    }
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
    visit.follows = Some(accepted.owed);
    visit.memory.races = 0;
    let correlation_id = accepted.correlation_id.clone();
    Box::pin(finalizers::add(context, visit)).await;
    let end = match &accepted.operation {
        // Nothing to follow, and yet it runs: the machine itself has to tell.
        None if accepted.live.as_ref().is_some_and(Live::is_updating) => Ok(Progress::Lost),
        None => {
            visit.read_back = accepted.live.filter(|live| shows_all(live, recorded.patch())).map(Fresh::answered);
            Ok(Progress::Succeeded)
        }
        Some(operation) => {
            let sign = Sign::of(recorded.patch(), accepted.live.as_ref());
            follow(context, visit, operation, sign).instrument(step!("follow")).await
        }
    };
    fail_point::reached(Point::OperationEnded, &visit.target).await;
    let (outcome, result) = match end {
        Ok(Progress::Succeeded) => {
            succeeded(context, visit, recorded);
            ("Succeeded", Ok(Applied::Ended))
        }
        Ok(Progress::Failed(error)) => ("Failed", Box::pin(failed(context, visit, recorded, error)).await),
        // The machine itself has to tell.
        Ok(Progress::Lost | Progress::Running { .. }) => ("Unknown", Ok(Applied::Ended)),
        Err(error) => ("Unknown", Err(error)),
    };
    visit.last_write = Some(last_write(visit, recorded, left, correlation_id, outcome));
    result
}

/// Nothing is left to be read: the answer names the machine and its state, and the principal of each id that was added.
fn shows_all(live: &Live, patch: &Patch) -> bool {
    let told = |id| live.user.get(id).is_some_and(|principal| principal.principal_id.is_some());
    live.unique_id.is_some() && live.etag.is_some() && patch.system.is_none() && patch.added().all(told)
}

fn succeeded(context: &Context, visit: &mut Visit, recorded: &Recorded) {
    remember_outcome(visit, recorded, Outcome::Succeeded);
    let patch = recorded.patch().clone();
    visit.memory.asides.accepted(&patch);
    visit.memory.contest.made(&patch, context.now(), &context.wall());
    let lost_principal = match visit.plan.as_ref().map(|plan| &plan.system) {
        Some(SystemStep::Disable { principal_id, .. }) => principal_id.clone(),
        _ => None,
    };
    let default_change = changes_default(visit, &patch);
    visit.notes.extend(repaired(visit));
    visit.done.push(Done { patch, lost_principal, default_change });
}

/// How it alters the identity of those who name none. An entry under repair counts as there.
fn changes_default(visit: &Visit, patch: &Patch) -> Option<DefaultChange> {
    default_change(visit.live.as_ref()?, patch, &visit.plan.as_ref()?.under_repair)
}

/// What was just taken off to be put on again.
fn repaired(visit: &Visit) -> Vec<Note> {
    let dead = visit.plan.iter().flat_map(Plan::repairs);
    let note = |id: &IdentityId| {
        let shown = visit.live.as_ref().and_then(|live| live.user.get(id)?.principal_id.clone());
        let old = shown.or_else(|| visit.record.attached.get(id)?.principal_id.clone());
        let new = visit.record.repairs.get(id)?.principal_id.clone();
        Some(Note::Repairing { id: id.clone(), old: old.filter(|old| *old != new), new })
    };
    dead.filter_map(note).collect()
}

fn last_write(
    visit: &Visit,
    recorded: &Recorded,
    left: Timestamp,
    correlation_id: Option<String>,
    outcome: &str,
) -> LastWrite {
    let changes = changes_default(visit, recorded.patch());
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

/// The operation ended badly: what it is about waits by itself, the rest is judged and planned anew.
async fn failed(
    context: &Context,
    visit: &mut Visit,
    recorded: &Recorded,
    mut error: ArmError,
) -> Result<Applied, VisitError> {
    remember_outcome(visit, recorded, Outcome::Failed);
    Box::pin(rights::explain(context, visit.urgency(), &mut error)).await;
    let narrowed = refusal::narrowed_down(context, visit, recorded.patch(), &error).await;
    if narrowed { Ok(Applied::Failed) } else { Err(error.into()) }
}

/// ARM did not take it, or did not say so.
async fn turned_down(
    context: &Context,
    visit: &mut Visit,
    recorded: &Recorded,
    mut error: ArmError,
) -> Result<Applied, VisitError> {
    if !error.refused() {
        return Err(error.into());
    }
    remember_outcome(visit, recorded, Outcome::Refused);
    context.brake.refund(recorded.patch().removals());
    visit.record = refused(&visit.record);
    Box::pin(rights::explain(context, visit.urgency(), &mut error)).await;
    match error {
        ArmError::PreconditionFailed { .. } => lost_race(visit),
        ArmError::TokenReplaced { .. } => Ok(Applied::Refused),
        error if refusal::narrowed_down(context, visit, recorded.patch(), &error).await => Ok(Applied::Refused),
        error => Err(error.into()),
    }
}

/// Somebody wrote between our read and our write: run again at once, so often, then at the pace of a backoff.
fn lost_race(visit: &mut Visit) -> Result<Applied, VisitError> {
    visit.memory.races = visit.memory.races.saturating_add(1);
    let races = visit.memory.races;
    let at_once = pause(Class::Replan, races, Duration::ZERO, 0.0).is_zero();
    if at_once { Ok(Applied::Refused) } else { Err(VisitError::Outrun { races }) }
}
