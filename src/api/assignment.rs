//! `IdentityAssignment`: which identities somebody wants on one machine.
#![allow(clippy::doc_markdown, reason = "kubectl explain shows these sentences as plain text")]

use crate::api::rules;
use crate::api::status::{
    Origin, PlannedWrite, SystemAssignedStatus, Unmanaged, UserState, conditions_schema, list_map_by,
};
use crate::domain::claims;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `spec.driftInterval` is when nobody says.
pub const DEFAULT_DRIFT_INTERVAL: &str = "10m";

/// What the machine must have. Whatever is not named here is left as it is.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lanyard.dev",
    version = "v1alpha1",
    kind = "IdentityAssignment",
    namespaced,
    status = "IdentityAssignmentStatus",
    derive = "PartialEq",
    shortname = "ida",
    category = "lanyard",
    doc = "Declares which managed identities one Azure VM or VM scale set must have. Identities that no assignment names and that Lanyard did not attach are never touched."
)]
#[serde(rename_all = "camelCase")]
pub struct IdentityAssignmentSpec {
    /// The machine. Several assignments may name the same one: what they declare is a union, and where they contradict each other nothing is done and both say so.
    pub target: Target,

    /// The machine's system-assigned identity: Enabled switches it on; Disabled switches it off, which destroys its principal for good, with every role granted to it; Unmanaged leaves it as it is. Deleting the assignment or returning to Unmanaged never switches it off. Default: Unmanaged.
    #[serde(default)]
    pub system_assigned: SystemAssigned,

    /// User-assigned identities to see to, at most 150. Identities that are not named here are left alone. Several field managers may share the list: each entry is known by its resourceId.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::LIST_LIMIT), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["resourceId"], "x-kubernetes-validations" = rules::user_assigned()))]
    pub user_assigned: Vec<UserAssigned>,

    /// Identities to see to that are objects of this namespace (UserAssignedIdentity), by name, at most 150. They are waited for, in whatever order things are created, and followed. Several field managers may share the list: each entry is known by its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = rules::LIST_LIMIT), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"], "x-kubernetes-validations" = rules::refs()))]
    pub user_assigned_refs: Vec<UserAssignedRef>,

    /// Enforce makes it so; Observe writes nothing, shows in status.plan what Enforce would do, and still protects what is declared Present from being detached for other assignments. Default: Enforce.
    #[serde(default)]
    pub mode: Mode,

    /// Holds all writes for this assignment for a while, as mode: Observe does, and sets the condition Suspended. A deletion acts as deletionPolicy says nevertheless. Default: false.
    #[serde(default)]
    pub suspend: bool,

    /// How often the machine is compared with what is declared when nothing else asks for it: hours, minutes and seconds as in 45s, 10m or 1h30m, from 30s to 24h. What ARM's quota allows comes first. Default: 10m.
    #[serde(default = "default_drift_interval")]
    #[schemars(length(max = 16), extend("x-kubernetes-validations" = rules::drift_interval()))]
    pub drift_interval: String,

    /// What happens when this assignment is deleted: Detach takes off the user-assigned identities that Lanyard attached and that no other assignment declares; Retain leaves them on the machine, as unmanaged from then on. A system-assigned identity stays on in either case. Default: Detach.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// A program on the machine that asks for a token without naming an identity gets the system-assigned one if there is one, else the only user-assigned one, else an error. Warn makes a change that alters this answer and says so; Block holds such a change back. It never holds a deletion. Default: Warn.
    #[serde(default)]
    pub default_identity_change: DefaultIdentityChange,

    /// AKS rewrites the identities of the machines that it manages when it scales or upgrades them. Refuse does nothing to such a machine and says so; Manage accepts it and repairs what AKS undoes. Default: Refuse.
    #[serde(default)]
    pub aks_node_pool: AksNodePool,
}

fn default_drift_interval() -> String {
    DEFAULT_DRIFT_INTERVAL.into()
}

/// The machine that is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// ARM resource id of the VM or VM scale set: /subscriptions/<GUID>/resourceGroups/<group>/providers/Microsoft.Compute/virtualMachines/<name> or .../virtualMachineScaleSets/<name>. A node's provider id (azure:///subscriptions/...) will do too. Compared without case, and cannot be changed: create another assignment for another machine. The machine need not exist yet.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::target_id()))]
    pub resource_id: String,
}

/// One user-assigned identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::repair()))]
pub struct UserAssigned {
    /// ARM resource id of the identity: /subscriptions/<GUID>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>. Compared without case.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::identity_id()))]
    pub resource_id: String,

    /// Present attaches the identity and keeps it there; Absent takes it off, whoever put it there. Removing the entry takes it off only if Lanyard attached it and no other assignment declares it. Default: Present.
    #[serde(default)]
    pub ensure: Ensure,

    /// An identity that was deleted and created again leaves a dead entry on the machine until it is removed and attached again. Lanyard does so for entries that it attached; true has it done whoever put the entry there, and makes it Lanyard's from then on. Goes with ensure: Present alone. Default: false.
    #[serde(default)]
    pub repair: bool,
}

/// One user-assigned identity, by its object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::repair()))]
pub struct UserAssignedRef {
    /// Name of a UserAssignedIdentity in the namespace of this assignment. It need not exist yet. While it cannot be seen, what this entry attached stays on the machine; it is taken off when the entry is removed, or when the object is deleted and its identity with it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Present attaches the identity once it exists, and keeps it there; Absent takes it off, whoever put it there. Default: Present.
    #[serde(default)]
    pub ensure: Ensure,

    /// As in userAssigned: true has a dead entry taken off and attached again whoever put it there. Goes with ensure: Present alone. Default: false.
    #[serde(default)]
    pub repair: bool,
}

/// Defines an enum of the API with the domain's enum that it stands for.
macro_rules! mirrors {
    ($(#[$doc:meta])* $name:ident => $domain:path { $($variant:ident $(#[$default:meta])?),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$default])? $variant,)+
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value {
                    $(<$domain>::$variant => Self::$variant,)+
                }
            }
        }
    };
}

mirrors! {
    /// What is wanted of the system-assigned identity.
    SystemAssigned => claims::SystemWish { Enabled, Disabled, Unmanaged #[default] }
}

/// What is wanted of a user-assigned identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ensure {
    #[default]
    Present,
    Absent,
}

impl From<Ensure> for claims::Ensure {
    fn from(value: Ensure) -> Self {
        match value {
            Ensure::Present => Self::Present,
            Ensure::Absent => Self::Absent,
        }
    }
}

mirrors! {
    /// What a deletion leaves behind.
    DeletionPolicy => claims::DeletionPolicy { Detach #[default], Retain }
}

mirrors! {
    /// What to do about a change of the default identity.
    DefaultIdentityChange => claims::DefaultIdentityChange { Warn #[default], Block }
}

/// Whether an assignment may ask for writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    #[default]
    Enforce,
    Observe,
}

/// Whether machines that AKS manages are written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AksNodePool {
    #[default]
    Refuse,
    Manage,
}

/// What is on the machine of what this assignment declares, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityAssignmentStatus {
    /// The metadata.generation that this status is about. Lower than the object's own: the last change has not been looked at yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready (the machine is as declared), Reconciling (work is under way or waits for something that time may mend), Stalled (a person must act) and others. docs/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// The machine as it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,

    /// The machine's system-assigned identity, whatever is declared about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_assigned: Option<SystemAssignedStatus>,

    /// Every user-assigned identity that this assignment names, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map_by_resource_id)]
    pub user_assigned: Vec<UserAssignedStatus>,

    /// Identities on the machine that no assignment declares and that Lanyard did not attach. They are never touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<Unmanaged>,

    /// This assignment's part of what is about to be written or, in Observe, of what Enforce would write. Missing when there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlannedWrite>,

    /// What the columns of kubectl get show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<AssignmentSummary>,
}

fn list_map_by_resource_id(schema: &mut schemars::Schema) {
    list_map_by(schema, "resourceId");
}

/// Where to read on, and what the machine is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Name of the machine's IdentityTarget, where everything that is known of the machine stands.
    pub name: String,

    /// VirtualMachine or VirtualMachineScaleSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,

    /// Azure region. Missing until the machine was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// One declared user-assigned identity as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAssignedStatus {
    /// ARM resource id of the identity, as it is declared.
    pub resource_id: String,

    /// Present (on the machine), Absent (not on it), Attaching, Detaching (under way), Conflict (another assignment declares the opposite: left as it is), Held (due, but kept waiting: see message), Dangling (on the machine, but the identity behind it was deleted, or deleted and created again: see message), Refused (ARM refused it: see message; tried again), Unmanaged (on the machine and nobody's here) or Unknown (the machine was not read yet).
    pub state: UserState,

    /// Attached: Lanyard put it there. Preexisting: somebody else did, or it is in doubt. Missing when it is not on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// Client id of the identity, which programs name when they ask for a token. Missing while an operation runs, or when the identity behind the id was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,

    /// Object id of the identity's service principal, which roles are granted to. Missing like clientId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// Object id of the service principal that was last seen before the present one, or before it went missing. Where principalId tells another one, role assignments of the previous one are void. Goes with the annotation lanyard.dev/acknowledge: principals on the IdentityTarget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_principal_id: Option<String>,

    /// What to know or do about this identity. Missing when it is as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Short texts for columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssignmentSummary {
    /// The machine's own name.
    pub machine: String,

    /// User-assigned identities that are as declared, of those that are declared here, as in 2/3.
    pub user: String,
}
