//! The failures that a controller treats differently, each with what a person should do.
use super::token::TokenError;
use super::told::Told;
use lanyard_domain::IdentityId;
use lanyard_domain::pace::Class;
use lanyard_domain::quota::Bucket;
use lanyard_domain::reason::Reason;
use std::fmt;
use std::time::Duration;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What exactly is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Resource,
    Group,
    Parent,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "no such resource",
            Self::Group => "no such resource group",
            Self::Parent => "no such parent resource",
        })
    }
}

/// Whom a failed change may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The target, the way to it, or the moment: whatever was named, it would have failed.
    Target,
    /// One of the identities in it.
    Identity,
    /// An operation failed for a reason that is not known to be either's.
    Unclear,
}

/// Why an exchange with ARM did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    // Said about the target.
    /// In ARM's own error shape: twice, apart, it proves that the target is gone.
    #[error("{} is not there ({missing}); it is waited for", told.asked)]
    NotFound {
        missing: Missing,
        #[source]
        told: Box<Told>,
    },
    #[error("this endpoint shows no subscription for {}: check cloud, tenant and subscription", told.asked)]
    SubscriptionNotFound {
        #[source]
        told: Box<Told>,
    },
    /// A 404 that does not say that the target is gone.
    #[error("ARM answered 404 for {} without saying what is missing: check cloud, tenant and subscription", told.asked)]
    NotShown {
        #[source]
        told: Box<Told>,
    },
    #[error("{} is being deleted; it is waited for", told.asked)]
    BeingDeleted {
        group: bool,
        #[source]
        told: Box<Told>,
    },
    #[error("{} changed since it was read; it is read and planned anew", told.asked)]
    PreconditionFailed {
        #[source]
        told: Box<Told>,
    },
    #[error("{} is busy with another change; it is tried again soon", told.asked)]
    Busy {
        #[source]
        told: Box<Told>,
    },
    /// `told` is none when our own limiter held the request back.
    #[error("{bucket} may be asked again in {} s", pause.as_secs_f64().ceil())]
    Throttled {
        bucket: Bucket,
        pause: Duration,
        #[source]
        told: Option<Box<Told>>,
    },

    // A person must act.
    #[error("Lanyard may not {} on {}: {}", action.as_deref().unwrap_or("do this"),
        scope.as_deref().unwrap_or(&told.asked),
        told.rights.as_deref().unwrap_or("grant it Virtual Machine Contributor there"))]
    Forbidden {
        action: Option<String>,
        scope: Option<String>,
        #[source]
        told: Box<Told>,
    },
    #[error(
        "Lanyard may not assign {}: {}",
        named(ids),
        told.rights.as_deref().unwrap_or(
            "grant it Managed Identity Operator there, or on their resource group; if they were deleted, undeclare them"
        )
    )]
    AssignRefused {
        ids: Vec<IdentityId>,
        #[source]
        told: Box<Told>,
    },
    #[error("{} cannot be assigned since ARM does not find it: create it, or undeclare it", named(ids))]
    IdentityNotFound {
        ids: Vec<IdentityId>,
        #[source]
        told: Box<Told>,
    },
    #[error("more than 150 identities in one change of {}: declare fewer at once", told.asked)]
    TooManyIdentities {
        #[source]
        told: Box<Told>,
    },
    #[error("a lock on {} forbids the change: remove it, or ask its owner to",
        if scopes.is_empty() { told.asked.clone() } else { scopes.join(", ") })]
    Locked {
        scopes: Vec<String>,
        #[source]
        told: Box<Told>,
    },
    #[error("the policy {} forbids the change of {}: ask its owner for an exemption",
        policy.as_deref().unwrap_or("that ARM's message names"), told.asked)]
    PolicyDenied {
        policy: Option<String>,
        #[source]
        told: Box<Told>,
    },
    #[error("the deny assignment {} forbids the change of {}: its owner must exclude Lanyard's principal",
        name.as_deref().unwrap_or("that ARM's message names"), told.asked)]
    DenyAssignment {
        name: Option<String>,
        #[source]
        told: Box<Told>,
    },
    #[error("the subscription of {} is disabled and read-only: enable it", told.asked)]
    SubscriptionReadOnly {
        #[source]
        told: Box<Told>,
    },
    #[error("the subscription of {} is not registered for {}: register it", told.asked,
        namespace.as_deref().unwrap_or("the resource provider"))]
    ProviderNotRegistered {
        namespace: Option<String>,
        #[source]
        told: Box<Told>,
    },
    #[error("ARM rejects the request about {}: correct what its message names", told.asked)]
    Rejected {
        ids: Vec<IdentityId>,
        #[source]
        told: Box<Told>,
    },

    // Said about the credential.
    #[error("there is no token for ARM: check the credential's settings and the way to its authority")]
    CredentialUnavailable(#[source] TokenError),
    #[error("the credential is not accepted: renew it, and check the application and its federated credentials")]
    CredentialRejected(#[source] Source),
    #[error("the credential belongs to another tenant than the subscription: check AZURE_TENANT_ID")]
    WrongTenant(#[source] Source),
    /// The token was refused and has been replaced; the PATCH was not repeated.
    #[error("ARM no longer accepted the token; a new one is there")]
    TokenReplaced {
        #[source]
        told: Box<Told>,
    },

    // Said about the way to ARM.
    /// Nothing was sent: no connection came about.
    #[error("ARM cannot be reached: check the network, DNS and the certificates that Lanyard trusts")]
    Unreachable(#[source] Source),
    /// Too much was in the way for too long: nothing was sent.
    #[error("the request was held back for {} s, and not sent", after.as_secs())]
    NotSent { after: Duration },
    /// The request may have arrived.
    #[error("ARM did not answer about {asked}: what became of the request is unknown")]
    Unanswered {
        asked: String,
        #[source]
        source: Source,
    },
    #[error("ARM failed to serve {}; it is tried again", told.asked)]
    ServerFailed {
        #[source]
        told: Box<Told>,
    },
    #[error("ARM's answer about {asked} cannot be read: {why}")]
    AnswerUnreadable { asked: String, why: String },
    #[error("ARM's answer points to {host}, which is not the configured endpoint; nothing is sent there")]
    ForeignHost { host: String },
    #[error("the operation on {asked} ended as {status}")]
    OperationFailed {
        asked: String,
        status: String,
        #[source]
        cause: Box<ArmError>,
    },
}

/// Up to three ids, and how many more.
fn named(ids: &[IdentityId]) -> String {
    const SHOWN: usize = 3;
    let text = ids.iter().take(SHOWN).map(IdentityId::as_str).collect::<Vec<_>>().join(", ");
    match ids.len() {
        0 => "an identity that ARM does not name".into(),
        n if n > SHOWN => text + &format!(" and {} more", n - SHOWN),
        _ => text,
    }
}

impl ArmError {
    /// How soon to try again.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotFound { .. } | Self::BeingDeleted { .. } => Class::Waiting,
            Self::PreconditionFailed { .. } | Self::TokenReplaced { .. } => Class::Replan,
            Self::Throttled { pause, .. } => Class::Throttled(*pause),
            Self::Busy { .. }
            | Self::CredentialUnavailable(_)
            | Self::Unreachable(_)
            | Self::NotSent { .. }
            | Self::Unanswered { .. }
            | Self::ServerFailed { .. }
            | Self::AnswerUnreadable { .. } => Class::Transient,
            Self::SubscriptionNotFound { .. }
            | Self::NotShown { .. }
            | Self::Forbidden { .. }
            | Self::AssignRefused { .. }
            | Self::IdentityNotFound { .. }
            | Self::TooManyIdentities { .. }
            | Self::Locked { .. }
            | Self::PolicyDenied { .. }
            | Self::DenyAssignment { .. }
            | Self::SubscriptionReadOnly { .. }
            | Self::ProviderNotRegistered { .. }
            | Self::CredentialRejected(_)
            | Self::WrongTenant(_)
            | Self::ForeignHost { .. } => Class::Refused,
            Self::Rejected { .. } => Class::Defect,
            // A failed operation is no defect of ours unless it says so: it may go better the next time.
            Self::OperationFailed { cause, .. } => match cause.class() {
                Class::Defect if !cause.told().is_some_and(Told::faults_the_request) => Class::Transient,
                class => class,
            },
        }
    }

    /// What conditions, Events and metrics are labelled with.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } => Reason::TargetNotFound,
            Self::SubscriptionNotFound { .. } | Self::NotShown { .. } => Reason::SubscriptionNotFound,
            Self::BeingDeleted { .. } => Reason::TargetBeingDeleted,
            Self::PreconditionFailed { .. } => Reason::TargetChanged,
            Self::Busy { .. } => Reason::TargetBusy,
            Self::Throttled { .. } | Self::NotSent { .. } => Reason::Throttled,
            Self::Forbidden { .. } => Reason::AuthorizationFailed,
            Self::AssignRefused { .. } => Reason::AssignRefused,
            Self::IdentityNotFound { .. } => Reason::IdentityNotFound,
            Self::TooManyIdentities { .. } | Self::Rejected { .. } => Reason::RequestRejected,
            Self::Locked { .. } => Reason::ScopeLocked,
            Self::PolicyDenied { .. } => Reason::PolicyDenied,
            Self::DenyAssignment { .. } => Reason::DenyAssignment,
            Self::SubscriptionReadOnly { .. } => Reason::SubscriptionReadOnly,
            Self::ProviderNotRegistered { .. } => Reason::ProviderNotRegistered,
            Self::CredentialUnavailable(_) => Reason::CredentialUnavailable,
            Self::CredentialRejected(_) | Self::TokenReplaced { .. } => Reason::CredentialRejected,
            Self::WrongTenant(_) => Reason::WrongTenant,
            Self::Unreachable(_) | Self::Unanswered { .. } => Reason::ArmUnreachable,
            Self::ServerFailed { .. } => Reason::ArmFailed,
            Self::AnswerUnreadable { .. } => Reason::AnswerUnreadable,
            Self::ForeignHost { .. } => Reason::ForeignHost,
            Self::OperationFailed { cause, .. } => match cause.reason() {
                Reason::RequestRejected => Reason::OperationFailed,
                specific => specific,
            },
        }
    }

    /// Of a PATCH: it certainly did not happen.
    ///
    /// True for a definite 4xx and for what never left this process. False wherever ARM may have taken it: a broken
    /// connection, a timeout, a 5xx, a redirect, an answer that cannot be read, an operation that failed.
    #[must_use]
    pub fn refused(&self) -> bool {
        match self {
            Self::Throttled { told: None, .. }
            | Self::CredentialUnavailable(_)
            | Self::CredentialRejected(_)
            | Self::WrongTenant(_)
            | Self::TokenReplaced { .. }
            | Self::Unreachable(_)
            | Self::NotSent { .. } => true,
            Self::Unanswered { .. }
            | Self::ServerFailed { .. }
            | Self::AnswerUnreadable { .. }
            | Self::ForeignHost { .. }
            | Self::OperationFailed { .. } => false,
            Self::NotFound { told, .. }
            | Self::SubscriptionNotFound { told }
            | Self::NotShown { told }
            | Self::BeingDeleted { told, .. }
            | Self::PreconditionFailed { told }
            | Self::Busy { told }
            | Self::Throttled { told: Some(told), .. }
            | Self::Forbidden { told, .. }
            | Self::AssignRefused { told, .. }
            | Self::IdentityNotFound { told, .. }
            | Self::TooManyIdentities { told }
            | Self::Locked { told, .. }
            | Self::PolicyDenied { told, .. }
            | Self::DenyAssignment { told, .. }
            | Self::SubscriptionReadOnly { told }
            | Self::ProviderNotRegistered { told, .. }
            | Self::Rejected { told, .. } => told.status.is_some_and(is_refusal),
        }
    }

    /// The identities that ARM named, when it named any.
    #[must_use]
    pub fn named_identities(&self) -> &[IdentityId] {
        if let Self::AssignRefused { ids, .. } | Self::IdentityNotFound { ids, .. } | Self::Rejected { ids, .. } = self
        {
            ids
        } else if let Self::OperationFailed { cause, .. } = self {
            cause.named_identities()
        } else {
            &[]
        }
    }

    /// Of a PATCH that named several identities: whether one of them may be at fault, where the error names none.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::AssignRefused { .. } | Self::IdentityNotFound { .. } | Self::TooManyIdentities { .. } => {
                Blame::Identity
            }
            Self::Rejected { told, .. } => match told.status {
                Some(400) => Blame::Identity,
                Some(_) => Blame::Target,
                None if told.faults_the_request() => Blame::Identity,
                None => Blame::Unclear,
            },
            // Whoever cancelled it had nothing against the identities.
            Self::OperationFailed { status, .. } if status.to_ascii_lowercase().starts_with("cancel") => Blame::Target,
            Self::OperationFailed { cause, .. } => cause.blame(),
            Self::NotFound { .. }
            | Self::SubscriptionNotFound { .. }
            | Self::NotShown { .. }
            | Self::BeingDeleted { .. }
            | Self::PreconditionFailed { .. }
            | Self::Busy { .. }
            | Self::Throttled { .. }
            | Self::Forbidden { .. }
            | Self::Locked { .. }
            | Self::PolicyDenied { .. }
            | Self::DenyAssignment { .. }
            | Self::SubscriptionReadOnly { .. }
            | Self::ProviderNotRegistered { .. }
            | Self::CredentialUnavailable(_)
            | Self::CredentialRejected(_)
            | Self::WrongTenant(_)
            | Self::TokenReplaced { .. }
            | Self::Unreachable(_)
            | Self::NotSent { .. }
            | Self::Unanswered { .. }
            | Self::ServerFailed { .. }
            | Self::AnswerUnreadable { .. }
            | Self::ForeignHost { .. } => Blame::Target,
        }
    }

    /// Of a PATCH: it may have reached ARM, and drew on ARM's buckets.
    #[must_use]
    pub fn left(&self) -> bool {
        self.told().is_some() || !self.refused()
    }

    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.told()?.correlation_id.as_deref()
    }

    /// What ARM said, where it said something.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        match self {
            Self::NotFound { told, .. }
            | Self::SubscriptionNotFound { told }
            | Self::NotShown { told }
            | Self::BeingDeleted { told, .. }
            | Self::PreconditionFailed { told }
            | Self::Busy { told }
            | Self::Forbidden { told, .. }
            | Self::AssignRefused { told, .. }
            | Self::IdentityNotFound { told, .. }
            | Self::TooManyIdentities { told }
            | Self::Locked { told, .. }
            | Self::PolicyDenied { told, .. }
            | Self::DenyAssignment { told, .. }
            | Self::SubscriptionReadOnly { told }
            | Self::ProviderNotRegistered { told, .. }
            | Self::Rejected { told, .. }
            | Self::TokenReplaced { told }
            | Self::ServerFailed { told } => Some(told),
            Self::Throttled { told, .. } => told.as_deref(),
            Self::CredentialRejected(source) | Self::WrongTenant(source) => source.downcast_ref(),
            Self::OperationFailed { cause, .. } => cause.told(),
            Self::CredentialUnavailable(_)
            | Self::Unreachable(_)
            | Self::NotSent { .. }
            | Self::Unanswered { .. }
            | Self::AnswerUnreadable { .. }
            | Self::ForeignHost { .. } => None,
        }
    }

    /// Nothing was asked, for want of a token.
    #[must_use]
    pub fn wants_token(&self) -> bool {
        match self {
            Self::CredentialUnavailable(_) => true,
            Self::CredentialRejected(source) | Self::WrongTenant(source) => source.is::<TokenError>(),
            _ => false,
        }
    }

    pub(super) fn unreadable(asked: &str, why: impl Into<String>) -> Self {
        Self::AnswerUnreadable { asked: asked.into(), why: why.into() }
    }
}

/// A status by which ARM says that it did nothing. 408 says only that somebody stopped waiting.
fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && status != 408
}
