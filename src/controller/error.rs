//! Why a visit ended early. The class alone decides when the next one comes; the reason labels Event, condition and metric.
use super::kubernetes::KubeError;
use crate::api::record::RecordError;
use crate::arm::ArmError;
use lanyard_domain::audit::Refusal;
use lanyard_domain::evidence::{NotFresh, NotListed};
use lanyard_domain::judge::Waiting;
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use std::time::Duration;

/// How often a machine is read again of which ARM may be showing an old state.
///
/// It is believed after a minute at most (`STALE_FOR`): doubling pauses would look once before that and once long
/// after, and a failure that comes next would find them doubled already.
const STALE_LOOK: Duration = Duration::from_secs(2);

/// What kept the record from being read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordTrouble {
    #[error("the IdentityTarget {name} was written by a newer version of Lanyard; this one writes nothing here")]
    Newer { name: String },
    #[error(
        "the record in the IdentityTarget {name} cannot be read; restore it from a backup, or delete it to forget what is attached"
    )]
    Unreadable {
        name: String,
        #[source]
        source: RecordError,
    },
    #[error("the IdentityTarget {name} is about {other}, not about this machine; rename or delete it")]
    NameCollision { name: String, other: String },
    #[error(
        "the IdentityTarget {name} cannot be read by this version; repair it, or delete it to forget what is attached"
    )]
    Undecodable {
        name: String,
        #[source]
        source: KubeError,
    },
    #[error("the record changed while we planned")]
    Changed,
    #[error("an assignment changed while its status was written")]
    AssignmentChanged,
    #[error("the record could not be written")]
    NotWritten(#[source] KubeError),
}

/// Why a visit ended early.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    #[error(transparent)]
    NotListed(#[from] NotListed),
    #[error("{}", waiting_in_words(.0))]
    Waiting(Waiting),
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
    #[error(transparent)]
    Record(#[from] RecordTrouble),
    #[error(transparent)]
    Arm(#[from] ArmError),
    #[error(
        "whether this endpoint honours If-Match could not be found out (--precondition-probe=off trusts the documentation)"
    )]
    Probe(#[source] ArmError),
    #[error("an internal check refused a request; this is a defect of Lanyard, please report it")]
    Audit(#[from] Refusal),
    #[error("somebody else wrote to the machine between our read and our write, {races} times in a row")]
    Outrun { races: u32 },
    #[error("the plan could not be carried out in one visit")]
    TooManyRounds,
    #[error("the lease has not been renewed for some seconds; nothing is sent until it is")]
    LeaseNotRenewed,
    #[error("the controller stops; what is under way is recorded")]
    Stopping,
}

fn waiting_in_words(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Unidentified => {
            "ARM does not tell the machine's unique id yet; nothing is written until it does".into()
        }
        Waiting::Running => "an operation runs on the machine; it is waited for".into(),
        Waiting::Deleting => "the machine is being deleted".into(),
        Waiting::AnotherWriter { writer, .. } => {
            format!("another process ({writer}) was about to write; it is given 10 s, then what became of it is judged")
        }
        Waiting::StaleRead => "ARM does not show the last change yet; it is read again".into(),
    }
}

impl RecordTrouble {
    fn class(&self) -> Class {
        match self {
            Self::Newer { .. } | Self::Unreadable { .. } | Self::Undecodable { .. } | Self::NameCollision { .. } => {
                Class::Refused
            }
            Self::Changed | Self::AssignmentChanged => Class::Replan,
            Self::NotWritten(_) => Class::Transient,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Newer { .. } => Reason::RecordNewer,
            Self::Unreadable { .. } | Self::Undecodable { .. } => Reason::RecordUnreadable,
            Self::NameCollision { .. } => Reason::NameCollision,
            Self::Changed | Self::AssignmentChanged => Reason::RecordConflict,
            Self::NotWritten(_) => Reason::KubernetesRefused,
        }
    }
}

impl VisitError {
    pub fn class(&self) -> Class {
        match self {
            Self::NotListed(_)
            | Self::NotFresh(NotFresh::TooEarly)
            | Self::TooManyRounds
            | Self::LeaseNotRenewed
            | Self::Stopping
            | Self::Waiting(Waiting::Unidentified | Waiting::Running) => Class::Transient,
            Self::NotFresh(NotFresh::Superseded) | Self::Waiting(Waiting::StaleRead) => Class::Throttled(STALE_LOOK),
            Self::Waiting(Waiting::AnotherWriter { left, .. }) => Class::Throttled(*left + Duration::from_millis(100)),
            Self::Waiting(Waiting::Deleting) => Class::Waiting,
            Self::Record(trouble) => trouble.class(),
            Self::Arm(error) | Self::Probe(error) => error.class(),
            Self::Outrun { .. } => Class::Replan,
            Self::Audit(_) => Class::Defect,
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::NotListed(_) | Self::LeaseNotRenewed | Self::Stopping => Reason::Applying,
            Self::NotFresh(_) | Self::Outrun { .. } | Self::TooManyRounds | Self::Waiting(Waiting::StaleRead) => {
                Reason::TargetChanged
            }
            Self::Waiting(Waiting::Unidentified) => Reason::TargetUnidentified,
            Self::Waiting(Waiting::Running) => Reason::OperationRunning,
            Self::Waiting(Waiting::Deleting) => Reason::TargetBeingDeleted,
            Self::Waiting(Waiting::AnotherWriter { .. }) => Reason::AnotherWriter,
            Self::Record(trouble) => trouble.reason(),
            Self::Arm(error) | Self::Probe(error) => error.reason(),
            Self::Audit(_) => Reason::AuditRefused,
        }
    }

    /// Whether the record may be written at the end of this visit: not where it could not even be read.
    pub fn leaves_record_alone(&self) -> bool {
        match self {
            Self::Record(
                RecordTrouble::Newer { .. }
                | RecordTrouble::Unreadable { .. }
                | RecordTrouble::Undecodable { .. }
                | RecordTrouble::NameCollision { .. }
                | RecordTrouble::Changed,
            )
            | Self::NotListed(_)
            | Self::Stopping => true,
            Self::Record(RecordTrouble::NotWritten(_) | RecordTrouble::AssignmentChanged)
            | Self::Waiting(_)
            | Self::NotFresh(_)
            | Self::Arm(_)
            | Self::Probe(_)
            | Self::Audit(_)
            | Self::Outrun { .. }
            | Self::LeaseNotRenewed
            | Self::TooManyRounds => false,
        }
    }
}
