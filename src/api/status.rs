//! What the statuses of both kinds share.
#![allow(clippy::doc_markdown, reason = "kubectl explain shows these sentences as plain text")]

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What is known of one user-assigned identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UserState {
    /// On the machine, and no change of that is due.
    Present,
    /// Not on the machine, and no change of that is due.
    Absent,
    /// To be attached by the next write, or by the one under way.
    Attaching,
    /// To be taken off by the next write, or by the one under way.
    Detaching,
    /// Assignments contradict each other about it: left as it is.
    Conflict,
    /// A change is due, but kept waiting: removals are paced, or the default identity would change.
    Held,
    /// On the machine, but dead: the identity behind it was deleted, or deleted and created again.
    Dangling,
    /// ARM refused it, for want of a right or because it does not exist: tried again later.
    Refused,
    /// On the machine, declared by nobody and not attached by Lanyard: never touched.
    Unmanaged,
    /// The machine was not read yet, or does not exist.
    Unknown,
}

/// What is known of the system-assigned identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SystemState {
    /// On, and no change of that is due.
    On,
    /// Off, and no change of that is due.
    Off,
    /// To be switched on by the next write, or by the one under way.
    Enabling,
    /// To be switched off by the next write, or by the one under way.
    Disabling,
    /// Assignments contradict each other about it: left as it is.
    Conflict,
    /// A change is due, but kept waiting.
    Held,
    /// ARM refuses it on this machine.
    Refused,
    /// The machine was not read yet, or does not exist.
    Unknown,
}

/// Who put an identity on the machine, as far as the record knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    Attached,
    Preexisting,
}

impl From<crate::domain::record::Origin> for Origin {
    fn from(origin: crate::domain::record::Origin) -> Self {
        match origin {
            crate::domain::record::Origin::Attached => Self::Attached,
            crate::domain::record::Origin::Preexisting => Self::Preexisting,
        }
    }
}

/// A switch of the system-assigned identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SystemSwitch {
    Enable,
    Disable,
}

impl From<crate::domain::Switch> for SystemSwitch {
    fn from(switch: crate::domain::Switch) -> Self {
        match switch {
            crate::domain::Switch::On => Self::Enable,
            crate::domain::Switch::Off => Self::Disable,
        }
    }
}

impl From<SystemSwitch> for crate::domain::Switch {
    fn from(switch: SystemSwitch) -> Self {
        match switch {
            SystemSwitch::Enable => Self::On,
            SystemSwitch::Disable => Self::Off,
        }
    }
}

/// The machine's system-assigned identity as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemAssignedStatus {
    /// On, Off, Enabling, Disabling (under way), Conflict (assignments declare both Enabled and Disabled: left as it is), Held (due, but kept waiting: the condition says why), Refused (ARM refuses it here: the condition says why) or Unknown (the machine was not read yet).
    pub state: SystemState,

    /// Attached: Lanyard switched it on. Preexisting: somebody else did, or it is in doubt. Missing when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// Object id of the identity's service principal, which roles are granted to. Missing while it is off or an operation runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// Object id of the service principal that was last seen before the present one, or before it went missing. Where principalId tells another one, role assignments of the previous one are void. Goes with the annotation lanyard.dev/acknowledge: principals on the IdentityTarget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_principal_id: Option<String>,

    /// Entra tenant of the service principal. Missing like principalId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,

    /// What to know or do about it. Missing when it is as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What is on the machine and nobody's here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unmanaged {
    /// How many identities that are.
    #[schemars(extend("format" = "int64"))]
    pub count: u32,
}

/// A change that is due and not made yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// Ids of the user-assigned identities to attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,

    /// Ids of the user-assigned identities to take off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,

    /// Enable or Disable, where the system-assigned identity is to be switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_assigned: Option<SystemSwitch>,

    /// How the change alters what a program gets that names no identity, what is held back included. Missing when it does not, or when such a program got nothing before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_identity: Option<DefaultIdentityChanged>,
}

/// The identity that the metadata service gives to a program that names none, before and after a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefaultIdentityChanged {
    /// SystemAssigned, the ARM resource id of a user-assigned identity, or None: such a program gets an error.
    pub before: String,

    /// The same after the change: SystemAssigned, an ARM resource id, or None.
    pub after: String,
}

/// A write that is due and not made yet, to the letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWrite {
    #[serde(flatten)]
    pub change: PlannedChange,

    /// JSON body of the PATCH, exactly as it would be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
}

/// Makes a list a map by one key, so that entries are merged and not replaced.
pub(super) fn list_map_by(schema: &mut Schema, key: &str) {
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), vec![key].into());
}

/// The schema of `metav1.Condition`, with the limits that Kubernetes gives it.
pub(super) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316,
                    "description": "Which aspect, as in Ready.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "True, False or Unknown.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "description": "Why, as one word of a fixed list that docs/reasons.md explains.",
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Why, for people, and what to do about it.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that this condition is about.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time",
                    "description": "When the status last changed. A new reason or message alone does not move it.",
                },
            },
        },
    })
}
