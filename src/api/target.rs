//! `IdentityTarget`: the controller's record of one machine, and a view of it for people.
//!
//! Written by hand, since the derive knows `spec` and `status` alone and gives a status its subresource: here
//! record and view are one PUT, so that they cannot disagree.
#![allow(clippy::doc_markdown, reason = "kubectl explain shows these sentences as plain text")]

use crate::api::assignment::{DeletionPolicy, Mode};
use crate::api::root::cluster_scoped;
use crate::api::status::{
    Origin, PlannedChange, PlannedWrite, SystemAssignedStatus, SystemSwitch, Unmanaged, UserState, conditions_schema,
};
use crate::domain::record::FORMAT_VERSION;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;
use schemars::JsonSchema;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The kind's name.
pub const KIND: &str = "IdentityTarget";

/// The kind's plural, as in URLs.
pub const PLURAL: &str = "identitytargets";

/// One Azure VM or VM scale set: which identities are on it, whose they are, and what is about to change. Made, kept and removed by the controller; people read it. Its record cannot be found out anew by looking at Azure: keep it in backups, and never edit it. Deleting it makes Lanyard forget what it attached: all that is on the machine counts as preexisting then.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityTarget {
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,

    /// What cannot be found out by looking at Azure: which identities Lanyard attached, and what it was about to do. Written by the controller alone.
    #[serde(deserialize_with = "read_record")]
    pub record: TargetRecord,

    /// What was found on the machine at the last look, and what is due. Written with the record.
    #[serde(default, deserialize_with = "read_status")]
    pub status: Option<IdentityTargetStatus>,
}

impl IdentityTarget {
    /// A target as it is first created.
    #[must_use]
    pub fn new(name: &str, record: TargetRecord) -> Self {
        Self { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, record, status: None }
    }
}

cluster_scoped!(IdentityTarget);

impl Serialize for IdentityTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct(KIND, 4 + usize::from(self.status.is_some()))?;
        object.serialize_field("apiVersion", &Self::api_version(&()))?;
        object.serialize_field("kind", KIND)?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("record", &self.record)?;
        if let Some(status) = &self.status {
            object.serialize_field("status", status)?;
        }
        object.end()
    }
}

/// A record of a newer format is known by its version alone: nothing else of it is understood here, nor written.
fn read_record<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TargetRecord, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let version = value.get("formatVersion").and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok());
    match version {
        Some(newer) if newer > FORMAT_VERSION => Ok(TargetRecord {
            format_version: newer,
            resource_id: value.get("resourceId").and_then(Value::as_str).unwrap_or_default().into(),
            ..TargetRecord::default()
        }),
        Some(_) | None => serde_json::from_value(value).map_err(serde::de::Error::custom),
    }
}

/// The status is a view that every visit makes anew: one that cannot be read is none.
fn read_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IdentityTargetStatus>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// What cannot be found out by looking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRecord {
    /// Format of this record. A controller that meets a newer format than its own writes nothing to the machine, and says so.
    #[schemars(range(min = 1), extend("format" = "int64"))]
    pub format_version: u32,

    /// ARM resource id of the machine. Compared at every read: another machine under the same object name is reported as NameCollision.
    pub resource_id: String,

    /// The machine's vmId or uniqueId, which tells it from a namesake: with another one the record starts empty. Missing until the machine was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,

    /// User-assigned identities that Lanyard attached, and may take off once nobody declares them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedIdentity>,

    /// The system-assigned identity, if Lanyard switched it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_assigned: Option<AttachedSystem>,

    /// The assignments' claims as last acted on. They stand in for assignments that cannot be read, and say how one that is gone wanted to leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<TargetClaim>,

    /// A write that was about to be made. Recorded before the PATCH leaves, and settled after it: found after a crash, it tells what may have been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<TargetIntent>,

    /// Dead entries that were removed to be attached again, of identities that are still declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<TargetRepair>,

    /// States that the last settled writes replaced, the newest first: an answer of ARM that still shows one of them is old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<IntentBase>,
}

/// How often a dead entry was removed to be attached again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRepair {
    /// ARM resource id of the identity.
    pub resource_id: String,

    /// Object id of the service principal that the entry was to get. For another one it is counted anew.
    pub principal_id: String,

    /// How often so far: after three times only a person's change has it tried again.
    #[schemars(extend("format" = "int64"))]
    pub rounds: u32,

    /// Fingerprint of what was asked for when it was last done: generations and lanyard.dev/reconcile-at of those who declare it.
    pub asked: String,

    /// Whether it is off the machine by Lanyard's hand, and to be attached again.
    pub awaited: bool,
}

/// A user-assigned identity that Lanyard attached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedIdentity {
    /// ARM resource id of the identity.
    pub resource_id: String,

    /// Object id of its service principal when it was attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// When it was attached (RFC 3339). For people: nothing is decided by it.
    pub since: String,
}

/// The system-assigned identity that Lanyard switched on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachedSystem {
    /// Object id of its service principal when it was switched on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// When it was switched on (RFC 3339). For people: nothing is decided by it.
    pub since: String,
}

/// One assignment's claim as last acted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetClaim {
    /// Namespace of the assignment.
    pub namespace: String,

    /// Name of the assignment.
    pub name: String,

    /// UID of the assignment: one that was deleted and created again under its name is another.
    pub uid: String,

    /// Its metadata.generation when it was last acted on: an object of an older one is a view of the past. Default: 0.
    #[serde(default)]
    pub generation: i64,

    /// Its spec.deletionPolicy: Detach or Retain.
    pub deletion_policy: DeletionPolicy,

    /// Its spec.mode, or Suspended where spec.suspend is true: Enforce, Observe or Suspended.
    pub mode: ClaimMode,

    /// Ids of the user-assigned identities that it declared Present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub present: Vec<String>,

    /// Identities that its references stood for: what they attached stays while their objects cannot be seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<TargetReference>,

    /// Whether it declared the system-assigned identity Enabled.
    pub system_enabled: bool,
}

/// An entry of userAssignedRefs as last acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetReference {
    /// Name of the UserAssignedIdentity.
    pub name: String,

    /// ARM resource id of the identity that it stood for.
    pub resource_id: String,
}

/// What `mode` and `suspend` together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimMode {
    Enforce,
    Observe,
    Suspended,
}

impl ClaimMode {
    /// An object in `Observe` stays so when it is suspended too: its deletion never writes.
    #[must_use]
    pub fn of(mode: Mode, suspend: bool) -> Self {
        match (mode, suspend) {
            (Mode::Observe, _) => Self::Observe,
            (Mode::Enforce, true) => Self::Suspended,
            (Mode::Enforce, false) => Self::Enforce,
        }
    }
}

/// A write that was about to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetIntent {
    /// How often this write was tried, this time included. From 1.
    #[schemars(extend("format" = "int64"))]
    pub attempt: u32,

    /// The state of the machine that it was planned from.
    pub base: IntentBase,

    /// Ids of the user-assigned identities to attach. Where an earlier attempt may still arrive, this names what any attempt would attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,

    /// Ids of the user-assigned identities to take off, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,

    /// Enable or Disable, where the system-assigned identity is to be switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_assigned: Option<SystemSwitch>,

    /// The process that wrote this. Another one waits before it judges what became of the write.
    pub writer: String,

    /// Earlier attempts that have no known outcome, and may still arrive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<UnansweredAttempt>,

    /// Client request id of the PATCH, by which Azure's activity log knows it.
    pub operation: String,
}

/// An attempt whose answer was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnansweredAttempt {
    /// The state of the machine that it was planned from.
    pub base: IntentBase,

    /// Client request id of its PATCH.
    pub operation: String,
}

/// The state that a write was planned from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentBase {
    /// vmId or uniqueId of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,

    /// ETag that the PATCH carries as If-Match. Once the machine shows another one, that PATCH can never land.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// The machine as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityTargetStatus {
    /// Ready (the machine is as all assignments declare), Reconciling, Stalled and others. docs/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// VirtualMachine or VirtualMachineScaleSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,

    /// Azure region. Missing until the machine was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,

    /// The system-assigned identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_assigned: Option<SystemAssignedStatus>,

    /// Every user-assigned identity that is on the machine or declared, in the order of their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<TargetIdentity>,

    /// Identities on the machine that no assignment declares and that Lanyard did not attach. They are never touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<Unmanaged>,

    /// What a program on the machine gets that names no identity: SystemAssigned, the ARM resource id of a user-assigned identity, or None.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_identity: Option<String>,

    /// The write that is pending now. Missing when there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlannedWrite>,

    /// The last write that Lanyard made to the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_write: Option<LastWrite>,

    /// What the columns of kubectl get show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<TargetSummary>,
}

/// One user-assigned identity on the machine, or wanted there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetIdentity {
    /// ARM resource id of the identity.
    pub resource_id: String,

    /// Present (on the machine), Absent (not on it), Attaching, Detaching (under way), Conflict (assignments contradict each other: left as it is), Held (due, but kept waiting), Refused (ARM refused it; tried again), Unmanaged (on the machine and nobody's here: never touched) or Unknown (the machine was not read yet).
    pub state: UserState,

    /// Attached: Lanyard put it there. Preexisting: somebody else did, or it is in doubt. Missing when it is not on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,

    /// Object id of the identity's service principal. Missing while an operation runs, or when the identity behind the id was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// Object id of the service principal that was last seen before the present one, or before it went missing. Where principalId tells another one, role assignments of the previous one are void. Goes with the annotation lanyard.dev/acknowledge: principals on the IdentityTarget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_principal_id: Option<String>,

    /// Client id of the identity. Missing like principalId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,

    /// Assignments that name it, as namespace/name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claimed_by: Vec<String>,
}

/// A write that Lanyard made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastWrite {
    /// When the PATCH left (RFC 3339).
    pub time: String,

    #[serde(flatten)]
    pub change: PlannedChange,

    /// ARM's x-ms-correlation-request-id, to give to Azure support.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,

    /// The x-ms-client-request-id that Lanyard sent, by which Azure's activity log knows the write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,

    /// Succeeded, or the reason why not; docs/reasons.md explains each.
    pub outcome: String,
}

/// Short texts for columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetSummary {
    /// The machine's own name.
    pub machine: String,

    /// User-assigned identities that assignments declare and that are on the machine, of all that are on it, as in 2/5.
    pub user: String,
}
