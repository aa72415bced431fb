//! What is legible of an assignment that does not parse: enough to protect what it declares.
use crate::api::IdentityAssignment;
use crate::api::claim::{self, SpecError};
use crate::domain::claims::DefaultIdentityChange;
use crate::domain::claims::{Claim, ClaimKey, DeletionPolicy, Ensure, Holding, Mode, Stance, SystemWish};
use crate::domain::{IdentityId, TargetId};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An object that cannot be acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    pub metadata: ObjectMeta,
    /// The machine, if its id is legible.
    pub target: Option<TargetId>,
    /// Protects what is legible, and asks for nothing.
    pub claim: Claim,
    pub why: SpecError,
}

/// An object that does not even say which object it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object without {0} was read")]
pub struct Nameless(pub &'static str);

/// An assignment that can be acted on, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Readable {
    pub object: IdentityAssignment,
    pub target: TargetId,
    pub claim: Claim,
    /// Who wrote it: the field managers, for the audit log.
    pub managers: Vec<String>,
}

/// An object as JSON, without a copy of what is in it: each event of a watch comes through here.
///
/// # Errors
/// Metadata that cannot be written as JSON: there is none such.
pub fn json(object: DynamicObject) -> serde_json::Result<Value> {
    let mut all = object.data;
    if let Value::Object(fields) = &mut all {
        if let Some(types) = object.types {
            fields.insert("apiVersion".into(), types.api_version.into());
            fields.insert("kind".into(), types.kind.into());
        }
        fields.insert("metadata".into(), serde_json::to_value(object.metadata)?);
    }
    Ok(all)
}

/// Reads an object as the API server told it: in full, or as far as it is legible.
///
/// # Errors
/// [`Nameless`]: name, namespace or uid are missing, which no API server leaves out.
pub fn read(value: &Value) -> Result<Result<Readable, Box<Unread>>, Nameless> {
    let why = match IdentityAssignment::deserialize(value) {
        Ok(object) => match claim::claim(&object) {
            Ok((target, claim)) => {
                let managers = managers(&object.metadata);
                return Ok(Ok(Readable { object, target, claim, managers }));
            }
            Err(error) => error,
        },
        Err(error) => SpecError::Unparsable(error.to_string()),
    };
    legible(value, why).map(Box::new).map(Err)
}

/// Those of the object itself: its status is written by the controller.
fn managers(metadata: &ObjectMeta) -> Vec<String> {
    let entries = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let names: BTreeSet<String> = entries.filter_map(|entry| entry.manager.clone()).collect();
    names.into_iter().collect()
}

fn legible(value: &Value, why: SpecError) -> Result<Unread, Nameless> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    let needed = |path: &str, name| text(path).map(str::to_owned).ok_or(Nameless(name));
    let key = ClaimKey {
        namespace: needed("/metadata/namespace", "metadata.namespace")?,
        name: needed("/metadata/name", "metadata.name")?,
        uid: needed("/metadata/uid", "metadata.uid")?,
    };
    let on = text("/spec/systemAssigned") == Some("Enabled");
    Ok(Unread {
        metadata: metadata(value, &key),
        target: text("/spec/target/resourceId").and_then(|id| id.parse().ok()),
        claim: Claim {
            key,
            generation: value.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
            user: protected(value),
            refs: BTreeMap::new(),
            repair: BTreeSet::new(),
            system: if on { SystemWish::Enabled } else { SystemWish::Unmanaged },
            mode: Mode::Enforce,
            stance: Stance::Hold(Holding::Unread),
            deletion_policy: DeletionPolicy::Detach,
            default_identity_change: DefaultIdentityChange::Warn,
            leaving: None,
        },
        why,
    })
}

/// The metadata, or of one that does not parse the names alone.
fn metadata(value: &Value, key: &ClaimKey) -> ObjectMeta {
    let whole = value.get("metadata").cloned().and_then(|metadata| serde_json::from_value(metadata).ok());
    whole.unwrap_or_else(|| ObjectMeta {
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(key.uid.clone()),
        ..ObjectMeta::default()
    })
}

/// Every id that is named and not said to be `Absent`. One that is no ARM id is kept as it is: it may be on the machine.
fn protected(value: &Value) -> BTreeMap<IdentityId, Ensure> {
    let entries = value.pointer("/spec/userAssigned").and_then(Value::as_array).into_iter().flatten();
    entries
        .filter(|entry| entry.get("ensure").and_then(Value::as_str) != Some("Absent"))
        .filter_map(|entry| entry.get("resourceId").and_then(Value::as_str))
        .map(|id| (id.parse().unwrap_or_else(|_| IdentityId::told_by_arm(id)), Ensure::Present))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SUB: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

    fn id(name: &str) -> String {
        format!("{SUB}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
    }

    fn object(spec: &Value) -> Value {
        json!({
            "apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityAssignment",
            "metadata": {"namespace": "shop", "name": "web", "uid": "u1"}, "spec": spec,
        })
    }

    fn target() -> Value {
        json!({"resourceId": format!("{SUB}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web")})
    }

    fn unread(spec: &Value) -> Unread {
        *read(&object(spec)).expect("a name").expect_err("does not parse")
    }

    #[test]
    fn what_parses_is_read_in_full() {
        let spec = json!({"target": target(), "userAssigned": [{"resourceId": id("shop-db"), "ensure": "Absent"}]});
        let readable = read(&object(&spec)).expect("a name").expect("parses");
        assert_eq!(readable.claim.stance, Stance::Enforce);
        assert_eq!(readable.claim.user.values().collect::<Vec<_>>(), [&Ensure::Absent]);
    }

    #[test]
    fn what_does_not_parse_protects_what_is_legible_and_asks_for_nothing() {
        let unread = unread(&json!({
            "target": target(), "mode": "Sometimes", "systemAssigned": "Enabled",
            "userAssigned": [
                {"resourceId": format!("azure://{}", id("shop-db"))},
                {"resourceId": id("queue"), "ensure": "Maybe"},
                {"resourceId": id("legacy"), "ensure": "Absent"},
                {"resourceId": "odd"},
                {"resourceId": 7},
                "text",
            ],
        }));
        assert!(unread.why.to_string().contains("Sometimes"), "{}", unread.why);
        assert_eq!(unread.target.as_ref().map(TargetId::name), Some("web"));
        assert_eq!(unread.claim.stance, Stance::Hold(Holding::Unread));
        assert_eq!((unread.claim.system, unread.claim.leaving), (SystemWish::Enabled, None));
        let names: Vec<&str> = unread.claim.present().map(IdentityId::name).collect();
        assert_eq!(names, ["queue", "shop-db", "odd"]);
    }

    #[test]
    fn disabled_is_not_legible_as_a_wish() {
        let spec = json!({"target": target(), "mode": 1, "systemAssigned": "Disabled"});
        assert_eq!(unread(&spec).claim.system, SystemWish::Unmanaged);
    }

    #[test]
    fn a_spec_that_parses_but_names_no_machine_is_unread() {
        let unread = unread(&json!({"target": {"resourceId": "web"}, "userAssigned": [{"resourceId": id("shop-db")}]}));
        assert_eq!(unread.target, None);
        assert!(matches!(unread.why, SpecError::Target(_)), "{}", unread.why);
        assert_eq!(unread.claim.present().count(), 1);
    }

    #[test]
    fn metadata_survives_as_far_as_it_parses() {
        let mut value = object(&json!({"mode": 1}));
        value["metadata"]["annotations"] = json!({"lanyard.dev/release": "true"});
        let whole = read(&value).expect("a name").expect_err("no target");
        assert!(claim::released(&whole.metadata));
        value["metadata"]["annotations"] = json!("none");
        let names = read(&value).expect("a name").expect_err("no target");
        assert_eq!(names.metadata.uid.as_deref(), Some("u1"));
    }

    #[test]
    fn an_object_without_a_uid_is_nobody() {
        let value = json!({"metadata": {"namespace": "shop", "name": "web"}});
        assert_eq!(read(&value), Err(Nameless("metadata.uid")));
        assert_eq!(read(&Value::Null), Err(Nameless("metadata.namespace")));
    }
}
