//! Why a visit to an identity ended early. The class alone decides when the next one comes.
use crate::api::identity_record::IdentityRecordError;
use crate::arm::{ArmError, Missing};
use crate::controller::kubernetes::KubeError;
use lanyard_domain::identity::Refusal;
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use std::time::Duration;

/// How often it is read again, where ARM may be showing an old state.
const STALE_LOOK: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{}", in_words(.0))]
    Arm(#[source] ArmError),
    #[error("the resource group of the identity does not exist; it is waited for")]
    NoGroup(#[source] ArmError),
    #[error("ARM does not tell in which region the resource group lies: write spec.location")]
    NoLocation,
    #[error("ARM shows another identity than the one that was just created; it is read again")]
    Stale,
    #[error("the IdentityRecord {name} cannot be worked with")]
    Record {
        name: String,
        #[source]
        source: IdentityRecordError,
    },
    #[error(
        "the IdentityRecord {name} cannot be read by this version; repair it, or delete it to forget who created the identity"
    )]
    Undecodable { name: String },
    #[error("the record changed meanwhile")]
    Changed,
    #[error("the record could not be written")]
    NotWritten(#[source] KubeError),
    #[error("whether the object that has the identity is gone could not be read")]
    OwnerUnseen(#[source] KubeError),
    #[error("the object that has the identity cannot be read")]
    OwnerIllegible,
    #[error("an internal check refused the deletion; this is a defect of Lanyard, please report it")]
    Audit(#[source] Refusal),
    #[error("many removals are due at once: this one waits for its turn (--removal-burst, --removal-rate)")]
    Paced,
    #[error("the controller runs with --removals=paused: nothing is deleted")]
    Paused,
    #[error("the lease has not been renewed for some seconds; nothing is sent until it is")]
    LeaseNotRenewed,
    #[error("it could not be brought to an end in one visit")]
    TooManyRounds,
    #[error("the controller stops; what is under way is recorded")]
    Stopping,
}

/// What is said of machines is not what helps here.
fn in_words(error: &ArmError) -> String {
    match error {
        ArmError::Forbidden { action, scope, told } => format!(
            "Lanyard may not {} on {}: {}",
            action.as_deref().unwrap_or("do this"),
            scope.as_deref().unwrap_or(&told.asked),
            told.rights.as_deref().unwrap_or("grant it Managed Identity Contributor on the resource group")
        ),
        other => other.to_string(),
    }
}

impl From<ArmError> for IdentityError {
    fn from(error: ArmError) -> Self {
        match error {
            ArmError::NotFound { missing: Missing::Group, .. } => Self::NoGroup(error),
            other => Self::Arm(other),
        }
    }
}

impl IdentityError {
    pub fn class(&self) -> Class {
        match self {
            Self::Arm(error) => error.class(),
            Self::NoGroup(_) => Class::Waiting,
            Self::Stale => Class::Throttled(STALE_LOOK),
            Self::Changed | Self::TooManyRounds => Class::Replan,
            Self::NoLocation | Self::Record { .. } | Self::Undecodable { .. } | Self::Paused => Class::Refused,
            Self::NotWritten(_)
            | Self::OwnerUnseen(_)
            | Self::OwnerIllegible
            | Self::LeaseNotRenewed
            | Self::Stopping => Class::Transient,
            Self::Paced => Class::Throttled(Duration::from_secs(10)),
            Self::Audit(_) => Class::Defect,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Arm(error) => error.reason(),
            Self::NoGroup(_) => Reason::ResourceGroupNotFound,
            Self::NoLocation => Reason::InvalidSpec,
            Self::Stale | Self::LeaseNotRenewed | Self::TooManyRounds | Self::Stopping => Reason::Applying,
            Self::Record { source: IdentityRecordError::Newer(_), .. } => Reason::RecordNewer,
            Self::Record { .. } | Self::Undecodable { .. } => Reason::RecordUnreadable,
            Self::Changed => Reason::RecordConflict,
            Self::NotWritten(_) | Self::OwnerUnseen(_) | Self::OwnerIllegible => Reason::KubernetesRefused,
            Self::Audit(_) => Reason::AuditRefused,
            Self::Paced => Reason::RemovalsPaced,
            Self::Paused => Reason::RemovalsPaused,
        }
    }
}
