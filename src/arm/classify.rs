//! From ARM's codes to what they mean for us.
use super::errors::{ArmError, Missing};
use super::told::{ErrorBody, Told, presentable};
use lanyard_domain::IdentityId;
use lanyard_domain::quota::Bucket;
use std::time::Duration;

/// An answer that is no success, as it came.
pub(super) struct Failure<'a> {
    pub asked: &'a str,
    /// None when an operation's end says it.
    pub status: Option<u16>,
    pub body: ErrorBody,
    pub correlation_id: Option<String>,
}

/// The bucket that a 429 closes, and for how long.
pub(super) struct Pause {
    pub bucket: Bucket,
    pub pause: Duration,
}

impl Failure<'_> {
    /// What the failure means. `pause` is asked for where ARM says that it was asked too often.
    pub fn classify(self, pause: impl FnOnce(&ErrorBody) -> Pause) -> ArmError {
        let told = Box::new(self.body.told(self.asked, self.status, self.correlation_id.clone()));
        match self.status {
            Some(429) => {
                let Pause { bucket, pause } = pause(&self.body);
                ArmError::Throttled { bucket, pause, told: Some(told) }
            }
            Some(408 | 500..) => ArmError::ServerFailed { told },
            _ if is(&self.body, &["RetryableError"]) => ArmError::ServerFailed { told },
            Some(401) => unauthenticated(told),
            Some(404) => not_found(&self.body, told),
            Some(412) => ArmError::PreconditionFailed { told },
            _ => by_code(&self.body, told),
        }
    }
}

fn is(body: &ErrorBody, codes: &[&str]) -> bool {
    codes.iter().any(|code| code.eq_ignore_ascii_case(&body.code))
}

fn unauthenticated(told: Box<Told>) -> ArmError {
    if told.code.eq_ignore_ascii_case("InvalidAuthenticationTokenTenant") {
        ArmError::WrongTenant(told)
    } else {
        ArmError::CredentialRejected(told)
    }
}

fn not_found(body: &ErrorBody, told: Box<Told>) -> ArmError {
    if is(body, &["SubscriptionNotFound"]) {
        return ArmError::SubscriptionNotFound { told };
    }
    // The same code about another resource says nothing about the target.
    if is(body, &["ResourceNotFound"]) && contains(&body.message, "microsoft.managedidentity/") {
        return ArmError::IdentityNotFound { ids: identities_in(&body.text), told };
    }
    let missing = [
        ("ResourceNotFound", Missing::Resource),
        ("ResourceGroupNotFound", Missing::Group),
        ("ParentResourceNotFound", Missing::Parent),
    ];
    match missing.into_iter().find(|(code, _)| body.in_arms_shape && is(body, &[code])) {
        Some((_, missing)) => ArmError::NotFound { missing, told },
        None => ArmError::NotShown { told },
    }
}

const BUSY: [&str; 4] =
    ["Conflict", "ConflictingConcurrentWriteNotAllowed", "AnotherOperationInProgress", "OperationPreempted"];

fn by_code(body: &ErrorBody, told: Box<Told>) -> ArmError {
    if is(body, &["LinkedAuthorizationFailed"]) {
        ArmError::AssignRefused { ids: linked_identities(&body.message), told }
    } else if is(body, &["FailedIdentityOperation"]) {
        identity_operation(body, told)
    } else if is(body, &["OperationNotAllowed"]) && contains(&body.text, "marked for deletion") {
        ArmError::BeingDeleted { group: false, told }
    } else if is(body, &["ResourceGroupBeingDeleted"]) {
        ArmError::BeingDeleted { group: true, told }
    } else if is(body, &BUSY) {
        ArmError::Busy { told }
    } else if is(body, &["ScopeLocked"]) {
        ArmError::Locked { scopes: locked_scopes(&body.message), told }
    } else if is(body, &["RequestDisallowedByPolicy"]) {
        let policy = body.policy.clone().or_else(|| policy_in(&body.message));
        ArmError::PolicyDenied { policy, told }
    } else if is(body, &["DenyAssignmentAuthorizationFailed"]) {
        ArmError::DenyAssignment { name: quoted_after(&body.message, "deny assignment with name"), told }
    } else if is(body, &["ReadOnlyDisabledSubscription"]) {
        ArmError::SubscriptionReadOnly { told }
    } else if is(body, &["MissingSubscriptionRegistration"]) {
        ArmError::ProviderNotRegistered { namespace: quoted_after(&body.message, "namespace"), told }
    } else {
        by_status(body, told)
    }
}

fn by_status(body: &ErrorBody, told: Box<Told>) -> ArmError {
    let forbidden = told.status == Some(403) || is(body, &["AuthorizationFailed"]);
    if forbidden {
        let action = quoted_after(&body.message, "perform action");
        if action.as_deref().is_some_and(|action| contains(action, "/assign/action")) {
            return ArmError::AssignRefused { ids: identities_in(&body.text), told };
        }
        ArmError::Forbidden { action, scope: quoted_after(&body.message, "over scope"), told }
    } else if told.status == Some(409) {
        ArmError::Busy { told }
    } else {
        ArmError::Rejected { ids: identities_in(&body.text), told }
    }
}

/// The identity service's own answer is nested in the message.
fn identity_operation(body: &ErrorBody, told: Box<Told>) -> ArmError {
    const PASSING: [&str; 6] = [
        "'internalservererror'",
        "'badgateway'",
        "'serviceunavailable'",
        "'gatewaytimeout'",
        "'requesttimeout'",
        "'toomanyrequests'",
    ];
    if contains(&body.text, "exceed limit") {
        ArmError::TooManyIdentities { told }
    } else if PASSING.iter().any(|status| contains(&body.text, status)) {
        ArmError::Busy { told }
    } else {
        ArmError::IdentityNotFound { ids: identities_in(&body.text), told }
    }
}

fn contains(text: &str, folded: &str) -> bool {
    text.to_ascii_lowercase().contains(folded)
}

/// What follows `marker`, compared without case. ASCII folding keeps the byte offsets.
fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let at = text.to_ascii_lowercase().find(&marker.to_ascii_lowercase())?;
    text.get(at + marker.len()..)
}

/// What stands in single quotes right after `marker`.
fn quoted_after(text: &str, marker: &str) -> Option<String> {
    let (quoted, _) = after(text, marker)?.trim_start().strip_prefix('\'')?.split_once('\'')?;
    Some(presentable(quoted))
}

/// The ids after "linked scope(s)", comma-separated; none when ARM names none, as across tenants.
fn linked_identities(message: &str) -> Vec<IdentityId> {
    let quoted = after(message, "linked scope(s)").or_else(|| after(message, "linked scope"));
    let quoted = quoted.and_then(|rest| rest.trim_start().strip_prefix('\'')).and_then(|rest| rest.split_once('\''));
    quoted.map(|(ids, _)| identities(ids.split(','))).unwrap_or_default()
}

/// Every identity id that stands in quotes, however deep the quoting.
fn identities_in(text: &str) -> Vec<IdentityId> {
    identities(text.split(['\'', '"', '\\', ',', ' ']))
}

fn identities<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<IdentityId> {
    const TYPE: &str = "/providers/microsoft.managedidentity/userassignedidentities/";
    let mut ids: Vec<IdentityId> = Vec::new();
    for part in parts.map(str::trim).filter(|part| part.starts_with('/') && contains(part, TYPE)) {
        let id = IdentityId::told_by_arm(part);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn locked_scopes(message: &str) -> Vec<String> {
    let scopes = after(message, "are locked:").or_else(|| after(message, "is locked:")).unwrap_or_default();
    scopes.split('\'').filter(|part| part.starts_with('/')).flat_map(|part| part.split(',')).map(presentable).collect()
}

/// The assignment's name in the JSON that ends the message.
fn policy_in(message: &str) -> Option<String> {
    let name = after(after(message, "\"policyAssignment\"")?, "\"name\"")?;
    let (name, _) = name.trim_start_matches([' ', ':']).strip_prefix('"')?.split_once('"')?;
    Some(presentable(name))
}

#[cfg(test)]
mod tests;
