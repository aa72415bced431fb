//! One line for every PATCH that left, in a stream of its own (`target=audit`): who asked, what changed, what ARM called it.
use super::apply::Applied;
use super::error::VisitError;
use super::record::Recorded;
use super::visit::Visit;
use crate::arm::{Accepted, ArmError, chain};
use crate::clock::milliseconds;
use lanyard_domain::record::Switch;
use lanyard_domain::{ETag, IdentityId};
use std::time::Duration;

/// What ARM's answer to the PATCH told, if there was one.
#[derive(Debug)]
pub struct Answered {
    etag: Option<ETag>,
    correlation_id: Option<String>,
    /// Without an operation to follow: refused, or not known.
    without: Option<(&'static str, String)>,
}

impl Answered {
    pub fn of(answer: &Result<Accepted, ArmError>) -> Self {
        match answer {
            Ok(accepted) => {
                Self { etag: accepted.etag.clone(), correlation_id: accepted.correlation_id.clone(), without: None }
            }
            Err(error) => Self {
                etag: None,
                correlation_id: error.correlation_id().map(Into::into),
                without: Some((if error.refused() { "Refused" } else { "Unknown" }, chain(error))),
            },
        }
    }

    /// `Succeeded`, `Failed`, `Refused` or `Unknown`, and what went wrong.
    fn outcome(self, visit: &Visit, result: &Result<Applied, VisitError>) -> (String, Option<String>) {
        if let Some((outcome, error)) = self.without {
            return (outcome.into(), Some(error));
        }
        let followed = visit.last_write.as_ref().map_or("Unknown", |write| write.outcome.as_str());
        (followed.into(), result.as_ref().err().map(|error| chain(error)))
    }
}

/// Told after the operation has ended, or once nothing more will be known of it. Returns the outcome.
pub fn written(
    visit: &Visit,
    recorded: &Recorded,
    body: &str,
    took: Duration,
    answered: Answered,
    result: &Result<Applied, VisitError>,
) -> String {
    let live = visit.live.as_deref();
    let names = |ids: Vec<&str>| ids.join(",");
    let (etag_after, correlation_id) =
        (answered.etag.as_ref().map(ToString::to_string), answered.correlation_id.clone());
    let (outcome, error) = answered.outcome(visit, result);
    let patch = recorded.patch();
    let system_before = live.is_some_and(|live| live.system.is_some());
    let succeeded = outcome == "Succeeded";
    tracing::info!(
        target: "audit",
        machine = %visit.target,
        assignments = assignments(visit),
        managers = managers(visit),
        before = live.map(|live| names(live.user.keys().map(IdentityId::as_str).collect())),
        system_before,
        after = after(visit, recorded).filter(|_| succeeded),
        system_after = succeeded.then(|| patch.system.map_or(system_before, |switch| switch == Switch::On)),
        patch = body,
        if_match = patch.if_match.as_ref().map(ToString::to_string),
        etag_after,
        client_request_id = recorded.request_id(),
        correlation_id,
        took_ms = milliseconds(took),
        outcome = outcome.as_str(),
        error,
        "identities patched",
    );
    outcome
}

/// Who declares something about the machine.
fn assignments(visit: &Visit) -> String {
    let keys = visit.claims.iter().flat_map(|all| all.iter()).map(|claim| claim.key.to_string());
    keys.collect::<Vec<_>>().join(",")
}

/// Whose hands wrote those: each assignment's field managers.
fn managers(visit: &Visit) -> String {
    let each = visit.read.iter().map(|read| format!("{}={}", read.claim.key, read.managers.join("+")));
    each.collect::<Vec<_>>().join(",")
}

/// The user identities that a write which succeeded leaves; of any other, the next read tells.
fn after(visit: &Visit, recorded: &Recorded) -> Option<String> {
    let live = visit.live.as_ref()?;
    let removed = recorded.patch().removed_set();
    let stays = live.user.keys().filter(|id| !removed.contains(*id));
    let ids: Vec<&str> = stays.chain(recorded.patch().added()).map(IdentityId::as_str).collect();
    Some(ids.join(","))
}
