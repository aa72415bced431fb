//! The fixed list of reasons: what conditions, Events and metrics are labelled with. `docs/reasons.md` explains each.
use strum::{EnumIter, IntoStaticStr};

/// Why an assignment or target is in the state it is in. People alert on these names: they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, EnumIter)]
pub enum Reason {
    // How it should be.
    AsDeclared,
    // On the way.
    Applying,
    OperationRunning,
    AnotherWriter,
    TargetChanged,
    ChangesPending,
    Suspended,
    DefaultIdentityChanged,
    // Waiting for something to appear or pass.
    TargetNotFound,
    TargetUnidentified,
    TargetBeingDeleted,
    TargetBusy,
    RemovalsPaced,
    RemovalsPaused,
    Throttled,
    IdentityNotReady,
    ResourceGroupNotFound,
    IdentityInUse,
    // Said by claims.
    Conflict,
    Contested,
    ManagedByAKS,
    SystemIdentityUnsupported,
    DefaultIdentityChange,
    EndpointUnguarded,
    EndpointTooOld,
    InvalidSpec,
    IdentityExists,
    OutputsRefused,
    LocationDiffers,
    NameTooLongForMachines,
    // Seen on the machine.
    IdentityDangling,
    // Said by ARM about rights, locks and rules.
    AuthorizationFailed,
    AssignRefused,
    IdentityNotFound,
    ScopeLocked,
    PolicyDenied,
    DenyAssignment,
    SubscriptionReadOnly,
    ProviderNotRegistered,
    SubscriptionNotFound,
    CredentialUnavailable,
    CredentialRejected,
    WrongTenant,
    RequestRejected,
    // The way to ARM.
    ArmUnreachable,
    ArmFailed,
    AnswerUnreadable,
    OperationFailed,
    ForeignHost,
    // Our own house.
    AuditRefused,
    RecordConflict,
    RecordNewer,
    RecordUnreadable,
    NameCollision,
    KubernetesRefused,
}

/// When a reason turns from a delay into a standstill that a person must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// Time mends it.
    Never,
    /// A fresh grant or identity takes minutes to arrive: only then.
    AfterGrace,
    AtOnce,
}

impl Reason {
    /// The name in `CamelCase`, as conditions and Events carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    #[must_use]
    pub fn stall(self) -> Stall {
        match self {
            Self::AsDeclared
            | Self::Applying
            | Self::OperationRunning
            | Self::AnotherWriter
            | Self::TargetChanged
            | Self::ChangesPending
            | Self::Suspended
            | Self::DefaultIdentityChanged
            | Self::TargetNotFound
            | Self::TargetUnidentified
            | Self::TargetBeingDeleted
            | Self::TargetBusy
            | Self::RemovalsPaced
            | Self::RemovalsPaused
            | Self::Throttled
            | Self::IdentityNotReady
            | Self::ResourceGroupNotFound
            | Self::LocationDiffers
            | Self::NameTooLongForMachines
            | Self::CredentialUnavailable
            | Self::ArmUnreachable
            | Self::ArmFailed
            | Self::AnswerUnreadable
            | Self::OperationFailed
            | Self::RecordConflict
            | Self::KubernetesRefused => Stall::Never,
            Self::AuthorizationFailed | Self::AssignRefused | Self::IdentityNotFound | Self::IdentityInUse => {
                Stall::AfterGrace
            }
            Self::Conflict
            | Self::Contested
            | Self::ManagedByAKS
            | Self::SystemIdentityUnsupported
            | Self::DefaultIdentityChange
            | Self::EndpointUnguarded
            | Self::EndpointTooOld
            | Self::InvalidSpec
            | Self::IdentityExists
            | Self::OutputsRefused
            | Self::IdentityDangling
            | Self::ScopeLocked
            | Self::PolicyDenied
            | Self::DenyAssignment
            | Self::SubscriptionReadOnly
            | Self::ProviderNotRegistered
            | Self::SubscriptionNotFound
            | Self::CredentialRejected
            | Self::WrongTenant
            | Self::RequestRejected
            | Self::ForeignHost
            | Self::AuditRefused
            | Self::RecordNewer
            | Self::RecordUnreadable
            | Self::NameCollision => Stall::AtOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use strum::IntoEnumIterator;

    const PAGE: &str = include_str!("../../docs/reasons.md");

    fn in_words(stall: Stall) -> &'static str {
        match stall {
            Stall::Never => "never",
            Stall::AfterGrace => "after 10 minutes",
            Stall::AtOnce => "at once",
        }
    }

    /// Each row: the reason, and the column beside it.
    fn rows(page: &str) -> Vec<(&str, &str)> {
        page.lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                Some((cells.next()?.trim_end_matches('`'), cells.next()?))
            })
            .collect()
    }

    #[test]
    fn the_page_of_reasons_explains_each_once_and_says_when_it_stalls() {
        let (_, page) = PAGE.split_once("\n## In conditions\n").expect("the page's list");
        let rows = rows(page);
        let explained: BTreeMap<&str, &str> = rows.iter().copied().collect();
        let known: BTreeMap<&str, &str> =
            Reason::iter().map(|reason| (reason.as_str(), in_words(reason.stall()))).collect();
        assert_eq!(explained, known);
        assert_eq!(rows.len(), known.len(), "a reason is explained twice");
    }
}
