//! One line for every PATCH that left, in a stream of its own (`target=audit`): who asked, what changed, what ARM called it.
use super::apply::Applied;
use super::error::VisitError;
use super::record::Recorded;
use super::visit::Visit;
use crate::arm::chain;
use lanyard_domain::IdentityId;
use std::time::Duration;

/// Told after the operation has ended, or once nothing more will be known of it.
pub fn written(visit: &Visit, recorded: &Recorded, body: &str, took: Duration, result: &Result<Applied, VisitError>) {
    let claims = visit.claims.as_ref();
    let assignments = claims.map(|all| all.iter().map(|claim| claim.key.to_string()).collect::<Vec<_>>().join(","));
    let before =
        visit.live.as_ref().map(|live| live.user.keys().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let system_before = visit.live.as_ref().is_some_and(|live| live.system.is_some());
    let correlation_id = match (&visit.last_write, result) {
        (Some(write), Ok(Applied::Ended | Applied::Failed)) => write.correlation_id.clone(),
        (_, Err(VisitError::Arm(error))) => error.correlation_id().map(Into::into),
        (_, Ok(Applied::Ended | Applied::NotSent | Applied::Refused | Applied::Failed) | Err(_)) => None,
    };
    let outcome = match result {
        Ok(Applied::Ended) => visit.last_write.as_ref().map_or("Unknown", |write| write.outcome.as_str()).to_owned(),
        Ok(Applied::NotSent) => "NotSent".into(),
        Ok(Applied::Refused) => "Refused".into(),
        Ok(Applied::Failed) => "Failed".into(),
        Err(error) => chain(error),
    };
    tracing::info!(
        target: "audit",
        machine = %visit.target,
        assignments = assignments.unwrap_or_default(),
        before = before.unwrap_or_default(),
        system_before,
        after = after(visit, recorded, &outcome),
        patch = body,
        if_match = recorded.patch().if_match.as_ref().map(ToString::to_string),
        client_request_id = recorded.request_id(),
        correlation_id,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        outcome,
        "identities patched",
    );
}

/// The user identities that a write which succeeded leaves; of any other, the next read tells.
fn after(visit: &Visit, recorded: &Recorded, outcome: &str) -> Option<String> {
    let live = visit.live.as_ref().filter(|_| outcome == "Succeeded")?;
    let removed = recorded.patch().removed_set();
    let stays = live.user.keys().filter(|id| !removed.contains(*id));
    let ids: Vec<&str> = stays.chain(recorded.patch().added()).map(IdentityId::as_str).collect();
    Some(ids.join(","))
}
