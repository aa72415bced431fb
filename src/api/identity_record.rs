//! `IdentityRecord`: what the controller remembers of one user-assigned identity that objects name.
//!
//! Cluster-scoped, since the deletion of an identity rests on it: nothing that a namespace's users may write decides it.
#![allow(clippy::doc_markdown, reason = "kubectl explain shows these sentences as plain text")]

use crate::api::root::cluster_scoped;
use crate::api::user_assigned_identity::{IdentityDeletionPolicy, IdentityOrigin};
use crate::domain::identity::{Creating, Record};
use crate::domain::{ClaimKey, IdError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use schemars::JsonSchema;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// The kind's name.
pub const KIND: &str = "IdentityRecord";

/// The kind's plural, as in URLs.
pub const PLURAL: &str = "identityrecords";

/// The format that this version writes.
pub const FORMAT_VERSION: u32 = 1;

/// The record of one user-assigned identity: which object has it, and whether Lanyard created it. Made, kept and removed by the controller. It cannot be found out anew by looking at Azure: keep it in backups, and never edit it. Deleting it makes Lanyard forget that it created the identity, which is then never deleted.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityRecord {
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,

    /// What cannot be found out by looking at Azure. Written by the controller alone.
    pub record: StoredRecord,
}

/// What cannot be found out by looking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredRecord {
    /// Format of this record. A controller that meets a newer format than its own does nothing to the identity, and says so.
    #[schemars(range(min = 1), extend("format" = "int64"))]
    pub format_version: u32,

    /// ARM resource id of the identity.
    pub resource_id: String,

    /// The UserAssignedIdentity that has the identity. Others that name it are told of a conflict.
    pub owner: RecordOwner,

    /// The object's deletionPolicy as last read, for the case that it goes unseen.
    #[schemars(default)]
    pub deletion_policy: Option<IdentityDeletionPolicy>,

    /// Created: Lanyard made the identity. Adopted: it was there before, or that is in doubt. Missing until that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<IdentityOrigin>,

    /// Object id of the service principal that origin is about: another one under the name is another identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// Names of the tags that Lanyard added, in lower case: they go again when they are declared no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,

    /// A creation that was about to be asked for. Recorded before the request leaves: found after a crash, it tells what may have been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creating: Option<StoredCreating>,

    /// True: the object goes and the identity with it, so that references to it are no wish any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleting: Option<bool>,

    /// Name of the ConfigMap that the outputs were written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
}

/// A UserAssignedIdentity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordOwner {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object, which tells it from one that is made anew under its name.
    pub uid: String,
}

/// A creation under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredCreating {
    /// Value of the tag lanyard-creation by which the identity is known as the one that was asked for.
    pub mark: String,
}

impl IdentityRecord {
    /// A record as it is first created.
    #[must_use]
    pub fn new(name: &str, record: StoredRecord) -> Self {
        Self { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, record }
    }
}

cluster_scoped!(IdentityRecord);

impl Serialize for IdentityRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct(KIND, 4)?;
        object.serialize_field("apiVersion", &Self::api_version(&()))?;
        object.serialize_field("kind", KIND)?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("record", &self.record)?;
        object.end()
    }
}

/// Why a stored record cannot be worked with. Nothing may be done to such an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRecordError {
    #[error(
        "the record has format {0}, this version knows formats up to {FORMAT_VERSION}: let a newer Lanyard take over"
    )]
    Newer(u32),
    #[error("record.formatVersion is 0, which no version writes")]
    NoFormat,
    #[error("record.resourceId is no id of an identity")]
    Id(#[source] IdError),
}

impl TryFrom<&StoredRecord> for Record {
    type Error = IdentityRecordError;

    fn try_from(stored: &StoredRecord) -> Result<Self, IdentityRecordError> {
        match stored.format_version {
            0 => return Err(IdentityRecordError::NoFormat),
            newer if newer > FORMAT_VERSION => return Err(IdentityRecordError::Newer(newer)),
            _ => {}
        }
        let owner = &stored.owner;
        Ok(Self {
            resource_id: stored.resource_id.parse().map_err(IdentityRecordError::Id)?,
            owner: ClaimKey { namespace: owner.namespace.clone(), name: owner.name.clone(), uid: owner.uid.clone() },
            // What is not said is not deleted.
            policy: stored.deletion_policy.unwrap_or(IdentityDeletionPolicy::Retain).into(),
            origin: stored.origin.map(Into::into),
            principal_id: stored.principal_id.clone(),
            tags: stored.tags.iter().map(|name| name.to_lowercase()).collect(),
            creating: stored.creating.as_ref().map(|creating| Creating { mark: creating.mark.clone() }),
            deleting: stored.deleting.unwrap_or_default(),
            outputs: stored.config_map.clone(),
        })
    }
}

impl From<&Record> for StoredRecord {
    fn from(record: &Record) -> Self {
        let ClaimKey { namespace, name, uid } = record.owner.clone();
        Self {
            format_version: FORMAT_VERSION,
            resource_id: record.resource_id.to_string(),
            owner: RecordOwner { namespace, name, uid },
            deletion_policy: Some(record.policy.into()),
            origin: record.origin.map(Into::into),
            principal_id: record.principal_id.clone(),
            tags: record.tags.iter().cloned().collect(),
            creating: record.creating.as_ref().map(|creating| StoredCreating { mark: creating.mark.clone() }),
            deleting: record.deleting.then_some(true),
            config_map: record.outputs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::{Origin, Policy};
    use serde_json::json;

    fn full() -> Record {
        let id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/db1";
        let owner = ClaimKey { namespace: "shop".into(), name: "db".into(), uid: "u1".into() };
        Record {
            origin: Some(Origin::Created),
            principal_id: Some("p1".into()),
            tags: ["team".to_owned()].into(),
            creating: Some(Creating { mark: "m1".into() }),
            deleting: true,
            outputs: Some("db".into()),
            ..Record::new(id.parse().expect("an id"), owner, Policy::Delete)
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_stored() {
        let object = IdentityRecord::new("db1", StoredRecord::from(&full()));
        let json = serde_json::to_value(&object).expect("JSON");
        let read: IdentityRecord = serde_json::from_value(json).expect("a record");
        assert_eq!(Record::try_from(&read.record), Ok(full()));
    }

    #[test]
    fn what_is_newer_or_says_nothing_deletes_nothing() {
        let stored = StoredRecord { format_version: 2, ..StoredRecord::from(&full()) };
        assert_eq!(Record::try_from(&stored), Err(IdentityRecordError::Newer(2)));
        let mut json = serde_json::to_value(StoredRecord::from(&full())).expect("JSON");
        json.as_object_mut().expect("an object").remove("deletionPolicy");
        let stored: StoredRecord = serde_json::from_value(json).expect("a record");
        assert_eq!(Record::try_from(&stored).map(|record| record.policy), Ok(Policy::Retain));
        assert!(serde_json::from_value::<IdentityRecord>(json!({"metadata": {"name": "x"}})).is_err());
    }
}
