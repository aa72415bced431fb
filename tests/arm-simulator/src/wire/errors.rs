//! ARM's refusals, in the shapes that were recorded or documented.
use serde_json::{Value, json};

use super::Answer;
use crate::id::{Kind, ResourceId};

/// A refusal: status, code, sentence, and what goes with it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    pub details: Option<Box<Value>>,
    pub headers: Vec<(&'static str, String)>,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: None, headers: Vec::new() }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    pub fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(details) = &self.details {
            error["details"] = Value::clone(details);
        }
        json!({"error": error})
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let answer = Self::json(refusal.status, &refusal.body());
        refusal.headers.into_iter().fold(answer, |answer, (name, value)| answer.header(name, value))
    }
}

pub fn not_found(id: &ResourceId) -> Refusal {
    Refusal::new(
        404,
        "ResourceNotFound",
        format!(
            "The Resource '{}/{}' under resource group '{}' was not found. For more details please \
             go to https://aka.ms/ARMResourceNotFoundFix",
            id.kind.type_name(),
            id.name,
            id.group
        ),
    )
    .header("x-ms-failure-cause", "gateway")
}

pub fn group_not_found(group: &str) -> Refusal {
    Refusal::new(404, "ResourceGroupNotFound", format!("Resource group '{group}' could not be found."))
        .header("x-ms-failure-cause", "gateway")
}

pub fn subscription_not_found(subscription: &str) -> Refusal {
    Refusal::new(404, "SubscriptionNotFound", format!("The subscription '{subscription}' could not be found."))
        .header("x-ms-failure-cause", "gateway")
}

pub fn precondition_failed(given: &str, current: &str) -> Refusal {
    Refusal::new(
        412,
        "PreconditionFailed",
        format!("Etag provided in if-match header {given} does not match etag {current} of resource."),
    )
}

pub fn marked_for_deletion(kind: Kind, name: &str) -> Refusal {
    let noun = if kind.is_scale_set() { "VM Scale Set" } else { "VM" };
    Refusal::new(
        409,
        "OperationNotAllowed",
        format!(
            "Operation 'Update {noun}' is not allowed on {noun} '{name}' since the {noun} is marked for \
             deletion. You can only retry the Delete operation (or wait for an ongoing one to complete)."
        ),
    )
}

pub fn invalid_content(why: &str) -> Refusal {
    Refusal::new(
        400,
        "InvalidRequestContent",
        format!("The request content was invalid and could not be deserialized: '{why}'."),
    )
}

/// What the identity provider said travels as JSON inside the message.
pub fn failed_identity_operation(resource: &str, inner: &str) -> Refusal {
    let nested = json!({"error": {"code": "BadRequest", "message": inner}});
    Refusal::new(
        400,
        "FailedIdentityOperation",
        format!(
            "Identity operation for resource '{resource}' failed with error 'Failed to perform resource \
             identity operation. Status: 'BadRequest'. Response: '{nested}'.'."
        ),
    )
}

pub fn linked_authorization_failed(client: &str, id: &ResourceId, linked: &[String]) -> Refusal {
    Refusal::new(
        403,
        "LinkedAuthorizationFailed",
        format!(
            "The client '{client}' with object id '{client}' has permission to perform action \
             '{}/write' on scope '{id}'; however, it does not have permission to perform action \
             'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) \
             '{}' or the linked scope(s) are invalid.",
            id.kind.type_name(),
            linked.join(",")
        ),
    )
}

pub fn linked_elsewhere(client: &str, id: &ResourceId) -> Refusal {
    Refusal::new(
        403,
        "LinkedAuthorizationFailed",
        format!(
            "The client '{client}' has permission to perform action '{}/write' on scope '{id}', however the linked \
             subscription belongs to another tenant, which does not admit this client.",
            id.kind.type_name(),
        ),
    )
}

pub fn unauthorized(code: &'static str, message: &str, authority: &str) -> Refusal {
    let challenge =
        format!("Bearer authorization_uri=\"{authority}\", error=\"invalid_token\", error_description=\"{message}\"");
    Refusal::new(401, code, message).header("WWW-Authenticate", challenge)
}

/// `verb` is read, write or delete; `wait` in seconds, which ARM does not always tell.
pub fn subscription_throttled(verb: &str, subscription: &str, principal: &str, wait: Option<u64>) -> Refusal {
    let refusal = Refusal::new(
        429,
        "SubscriptionRequestsThrottled",
        format!(
            "Number of '{verb}' requests for subscription '{subscription}' actor '{principal}' exceeded. Please try \
             again after '{}' seconds after additional tokens are available. Refer to \
             https://aka.ms/arm-throttling for additional information.",
            wait.unwrap_or_default()
        ),
    );
    match wait {
        Some(wait) => refusal.header("Retry-After", wait.to_string()),
        None => refusal,
    }
}
