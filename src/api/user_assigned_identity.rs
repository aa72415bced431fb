//! `UserAssignedIdentity`: a user-assigned identity that is to exist in Azure.
#![allow(clippy::doc_markdown, reason = "kubectl explain shows these sentences as plain text")]

use crate::api::status::{conditions_schema, list_map_by};
use crate::api::{DELETE_ADOPTED, claim, rules};
use crate::domain::identity::{self, Policy, Tags, Wish};
use crate::domain::{IdError, IdentityId};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The identity, and what is to become of it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "lanyard.dev",
    version = "v1alpha1",
    kind = "UserAssignedIdentity",
    plural = "userassignedidentities",
    namespaced,
    status = "UserAssignedIdentityStatus",
    derive = "PartialEq",
    shortname = "uai",
    category = "lanyard",
    doc = "A user-assigned managed identity that is to exist in Azure. It is created where it does not, or adopted where it does. What Lanyard created is deleted with this object, but never while a machine that is known has it."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::identity_spec()))]
pub struct UserAssignedIdentitySpec {
    /// ARM resource id of the identity: /subscriptions/<GUID>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>. Compared without case, and cannot be changed. Either this, or subscriptionId, resourceGroup and name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::identity_id()))]
    pub resource_id: Option<String>,

    /// GUID of the subscription that the identity lies in. Goes with resourceGroup and name, and cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36), extend("x-kubernetes-validations" = rules::subscription_id()))]
    pub subscription_id: Option<String>,

    /// Name of the resource group that the identity lies in. The group must exist, or is waited for. Goes with subscriptionId and name, and cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 90), extend("x-kubernetes-validations" = rules::resource_group()))]
    pub resource_group: Option<String>,

    /// Name of the identity: 3 to 128 letters, digits, hyphens and underscores, beginning with a letter or digit. Microsoft names 24 characters as the most with which the assignment to a VM or scale set works properly. Goes with subscriptionId and resourceGroup, and cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), extend("x-kubernetes-validations" = rules::identity_name()))]
    pub name: Option<String>,

    /// Azure region to create the identity in; that of its resource group unless given. An identity cannot be moved: where one exists in another region that is told, and nothing is done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub location: Option<String>,

    /// Tags to set on the identity, at most 49. Tags that are not named here are left alone; one that Lanyard added goes when it is named no more. Names are compared without case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 49, "x-kubernetes-validations" = rules::tags()))]
    pub tags: BTreeMap<String, String>,

    /// What to do where the identity exists already: IfExists takes it over and sets its tags; Never leaves it alone and says so. An adopted identity is not deleted with this object, unless that is said again by the annotation lanyard.dev/delete-adopted. Default: IfExists.
    #[serde(default)]
    pub adopt: Adopt,

    /// What happens to the identity in Azure when this object is deleted: Delete removes it if Lanyard created it and no machine that is known has it; Retain leaves it. Default: Delete.
    #[serde(default)]
    pub deletion_policy: IdentityDeletionPolicy,

    /// Where workloads find the identity's ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_outputs_to: Option<Outputs>,
}

/// Whether an identity that exists is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Adopt {
    #[default]
    IfExists,
    Never,
}

/// What a deletion of the object does in Azure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdentityDeletionPolicy {
    #[default]
    Delete,
    Retain,
}

impl From<IdentityDeletionPolicy> for Policy {
    fn from(policy: IdentityDeletionPolicy) -> Self {
        match policy {
            IdentityDeletionPolicy::Delete => Self::Delete,
            IdentityDeletionPolicy::Retain => Self::Retain,
        }
    }
}

impl From<Policy> for IdentityDeletionPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Delete => Self::Delete,
            Policy::Retain => Self::Retain,
        }
    }
}

/// Where the ids are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// Name of a ConfigMap of this namespace that gets clientId, principalId, tenantId and resourceId. It is made and owned by this object; one that exists and is not its own is never touched.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub config_map: String,
}

/// The identity as it was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserAssignedIdentityStatus {
    /// The metadata.generation that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready (the identity exists and is as declared), Reconciling, Stalled (a person must act) and others. docs/reasons.md explains every reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,

    /// ARM resource id of the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,

    /// Client id, which programs name when they ask for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,

    /// Object id of the identity's service principal, which roles are granted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,

    /// Object id of the service principal that bore the name before: role assignments of it are void.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_principal_id: Option<String>,

    /// Entra tenant of the service principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,

    /// Azure region that the identity is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,

    /// Created: Lanyard made it for this object. Adopted: it was there before, or that is in doubt. A view: what is deleted is decided by the IdentityRecord.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<IdentityOrigin>,

    /// Machines that have the identity, as far as is known: those with an IdentityTarget, and others that lists have shown. At most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = list_map_by_resource_id)]
    pub users: Vec<IdentityUser>,
}

fn list_map_by_resource_id(schema: &mut schemars::Schema) {
    list_map_by(schema, "resourceId");
}

/// How the identity came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdentityOrigin {
    Created,
    Adopted,
}

impl From<identity::Origin> for IdentityOrigin {
    fn from(origin: identity::Origin) -> Self {
        match origin {
            identity::Origin::Created => Self::Created,
            identity::Origin::Adopted => Self::Adopted,
        }
    }
}

impl From<IdentityOrigin> for identity::Origin {
    fn from(origin: IdentityOrigin) -> Self {
        match origin {
            IdentityOrigin::Created => Self::Created,
            IdentityOrigin::Adopted => Self::Adopted,
        }
    }
}

/// A machine that has the identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityUser {
    /// ARM resource id of the machine.
    pub resource_id: String,
}

/// Why an object says nothing that can be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentitySpecError {
    #[error("the spec names no identity: write resourceId, or subscriptionId, resourceGroup and name")]
    Nameless,
    #[error("the spec names no identity that ARM knows")]
    Id(#[source] IdError),
    #[error(transparent)]
    Metadata(claim::SpecError),
}

impl UserAssignedIdentitySpec {
    /// The identity that is meant.
    ///
    /// # Errors
    /// Neither form is whole, or the id is none.
    pub fn id(&self) -> Result<IdentityId, IdentitySpecError> {
        let written = match (&self.resource_id, &self.subscription_id, &self.resource_group, &self.name) {
            (Some(id), None, None, None) => id.clone(),
            (None, Some(subscription), Some(group), Some(name)) => format!(
                "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/\
                 userAssignedIdentities/{name}"
            ),
            _ => return Err(IdentitySpecError::Nameless),
        };
        written.parse().map_err(IdentitySpecError::Id)
    }
}

/// What an object wishes for.
///
/// # Errors
/// The first thing that cannot be read. Admission refuses such objects; older ones may still be stored.
pub fn wish(object: &UserAssignedIdentity) -> Result<Wish, IdentitySpecError> {
    let spec = &object.spec;
    let annotations = object.metadata.annotations.as_ref();
    Ok(Wish {
        key: claim::key(&object.metadata).map_err(IdentitySpecError::Metadata)?,
        id: spec.id()?,
        location: spec.location.clone(),
        tags: spec.tags.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(identity::MARK)).collect::<Tags>(),
        adopt: match spec.adopt {
            Adopt::IfExists => identity::Adopt::IfExists,
            Adopt::Never => identity::Adopt::Never,
        },
        policy: spec.deletion_policy.into(),
        delete_adopted: annotations.and_then(|all| all.get(DELETE_ADOPTED)).map(|said| said.trim().to_owned()),
        outputs: spec.write_outputs_to.as_ref().map(|outputs| outputs.config_map.clone()),
        leaving: claim::is_leaving(&object.metadata),
        released: claim::released(&object.metadata),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const SUB: &str = "00000000-0000-0000-0000-000000000001";

    fn object(spec: &Value) -> UserAssignedIdentity {
        let metadata = json!({"namespace": "shop", "name": "db", "uid": "u1"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("an object")
    }

    fn id() -> String {
        format!(
            "/subscriptions/{SUB}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/db1"
        )
    }

    #[rstest]
    #[case::whole(json!({"resourceId": id()}))]
    #[case::in_parts(json!({"subscriptionId": SUB, "resourceGroup": "IDS", "name": "db1"}))]
    fn both_forms_name_one_identity(#[case] spec: Value) {
        let wish = wish(&object(&spec)).expect("a wish");
        assert_eq!(wish.id, id().parse().expect("an id"));
        assert_eq!((wish.adopt, wish.policy, wish.leaving), (identity::Adopt::IfExists, Policy::Delete, false));
    }

    #[rstest]
    #[case::none(json!({}))]
    #[case::half(json!({"subscriptionId": SUB, "name": "db1"}))]
    #[case::both(json!({"resourceId": id(), "name": "db1"}))]
    fn a_spec_that_names_none_is_told(#[case] spec: Value) {
        assert_eq!(wish(&object(&spec)), Err(IdentitySpecError::Nameless));
    }

    #[test]
    fn the_mark_is_no_tag_of_anybodys() {
        let tags = json!({"Lanyard-Creation": "mine", "team": "shop"});
        let wish = wish(&object(&json!({"resourceId": id(), "tags": tags}))).expect("a wish");
        assert_eq!(wish.tags.iter().collect::<Vec<_>>(), [("team", "shop")]);
    }
}
