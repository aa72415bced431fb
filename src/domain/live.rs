//! A target's identities as ARM told them.
use crate::ids::IdentityId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Opaque: never parsed, never made by us.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(pub String);

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `vmId` or `uniqueId`: tells a machine from its namesakes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UniqueId(pub String);

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The service principal behind an identity, as far as ARM tells it.
///
/// Blank while an operation runs, and for good when the identity was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Principal {
    pub principal_id: Option<String>,
    pub client_id: Option<String>,
}

/// A system-assigned identity that is switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SystemIdentity {
    pub principal_id: Option<String>,
    pub tenant_id: Option<String>,
}

/// Whether an operation runs on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Provisioning {
    /// None does, and the last one succeeded.
    #[default]
    Succeeded,
    /// None does, and the last one failed or was cancelled: entries may be blank for that.
    Failed,
    /// `Creating`, `Updating` and the like.
    Running,
    /// `Deleting`: as good as gone.
    Deleting,
}

/// How a scale set arranges its instances; VMs are `Single`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orchestration {
    #[default]
    Single,
    Uniform,
    /// Takes user-assigned identities only.
    Flexible,
}

/// One answer of ARM about one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Live {
    pub unique_id: Option<UniqueId>,
    pub etag: Option<ETag>,
    pub system: Option<SystemIdentity>,
    /// Every id on the machine, in whatever form: what is not counted here could be dropped.
    pub user: BTreeMap<IdentityId, Principal>,
    pub provisioning: Provisioning,
    pub orchestration: Orchestration,
    pub location: Option<String>,
    /// A tag of AKS is on the machine.
    pub tagged_by_aks: bool,
    /// The endpoint shows identities as a list, as before api-version 2018-06-01: a write would replace all of it.
    pub lists_ids: bool,
    /// A scale set that upgrades by itself to an image that moves on: a change of its model may start a rollout.
    pub may_roll_out: bool,
}

impl Live {
    #[must_use]
    pub fn has(&self, id: &IdentityId) -> bool {
        self.user.contains_key(id)
    }

    #[must_use]
    pub fn is_updating(&self) -> bool {
        match self.provisioning {
            Provisioning::Running | Provisioning::Deleting => true,
            Provisioning::Succeeded | Provisioning::Failed => false,
        }
    }
}

/// Which identity IMDS gives to a caller that names none: the system identity, else the only user identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultIdentity {
    System,
    User(IdentityId),
    /// None or several user identities: such a caller gets an error.
    Nobody,
}

impl DefaultIdentity {
    #[must_use]
    pub fn of<'a>(system: bool, mut user: impl Iterator<Item = &'a IdentityId>) -> Self {
        match (system, user.next(), user.next()) {
            (true, _, _) => Self::System,
            (false, Some(only), None) => Self::User(only.clone()),
            (false, _, _) => Self::Nobody,
        }
    }

    /// The same, with identities that are away for a moment only.
    #[must_use]
    pub fn with<'a>(
        system: bool,
        user: impl Iterator<Item = &'a IdentityId>,
        under_repair: &'a BTreeSet<IdentityId>,
    ) -> Self {
        let all: BTreeSet<&IdentityId> = user.chain(under_repair).collect();
        Self::of(system, all.into_iter())
    }
}

impl fmt::Display for DefaultIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("the system-assigned identity"),
            Self::User(id) => write!(f, "{}", id.name()),
            Self::Nobody => f.write_str("none"),
        }
    }
}
