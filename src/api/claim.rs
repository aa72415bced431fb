//! From an assignment to the claim that it makes.
use crate::api::assignment::Ensure as EntryEnsure;
use crate::api::duration::{self, DurationError};
use crate::api::target::ClaimMode;
use crate::api::{ALLOW_DEFAULT_IDENTITY_CHANGE, IdentityAssignment, IdentityAssignmentSpec, RELEASE};
use crate::domain::claims::{
    Claim, ClaimKey, DefaultIdentityChange, DeletionPolicy, Ensure, Holding, Leaving, Mode, Stance,
};
use crate::domain::{IdError, IdentityId, TargetId};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Why an assignment that the API server admitted says nothing that can be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("the object does not fit its kind: {0}")]
    Unparsable(String),
    #[error("metadata.{0} is missing")]
    NoMetadata(&'static str),
    #[error("spec.target.resourceId is no id of a machine")]
    Target(#[source] IdError),
    #[error("spec.userAssigned[{index}].resourceId is no id of an identity")]
    Identity { index: usize, source: IdError },
    #[error("spec.userAssigned names {0} twice: keep one of the entries")]
    Duplicate(IdentityId),
    #[error("spec.driftInterval cannot be read")]
    DriftInterval(#[source] DurationError),
}

/// The machine that an assignment is about, and what it says of it.
///
/// # Errors
/// The first field that cannot be read. Admission refuses such objects; older ones may still be stored.
pub fn claim(object: &IdentityAssignment) -> Result<(TargetId, Claim), SpecError> {
    let spec = &object.spec;
    let target = spec.target.resource_id.parse().map_err(SpecError::Target)?;
    let mode = Mode::from(ClaimMode::of(spec.mode, spec.suspend));
    // An owner who lets it go says so before it goes: from then on the record has it, should its finalizer be stripped.
    let deletion_policy = if released(&object.metadata) { DeletionPolicy::Retain } else { spec.deletion_policy.into() };
    let leaving = is_leaving(&object.metadata).then(|| Leaving::of(deletion_policy, mode, released(&object.metadata)));
    let claim = Claim {
        key: key(&object.metadata)?,
        generation: object.metadata.generation.unwrap_or_default(),
        user: identities(spec)?,
        // What they stand for is known where their objects are.
        refs: BTreeMap::new(),
        repair: repairs(spec),
        system: spec.system_assigned.into(),
        mode,
        stance: stance(mode),
        deletion_policy,
        default_identity_change: default_identity_change(object),
        leaving,
    };
    Ok((target, claim))
}

/// How often the machine is to be compared with what is declared.
///
/// # Errors
/// No duration, or one out of bounds.
pub fn drift_interval(spec: &IdentityAssignmentSpec) -> Result<Duration, SpecError> {
    duration::drift_interval(&spec.drift_interval).map_err(SpecError::DriftInterval)
}

/// Which object this is.
///
/// # Errors
/// A part of the metadata that the API server always sets is missing.
pub fn key(metadata: &ObjectMeta) -> Result<ClaimKey, SpecError> {
    let part = |value: &Option<String>, name| value.clone().ok_or(SpecError::NoMetadata(name));
    Ok(ClaimKey {
        namespace: part(&metadata.namespace, "namespace")?,
        name: part(&metadata.name, "name")?,
        uid: part(&metadata.uid, "uid")?,
    })
}

/// The object is being deleted.
#[must_use]
pub fn is_leaving(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

/// A person said that the object may go as things are.
#[must_use]
pub fn released(metadata: &ObjectMeta) -> bool {
    says_true(metadata, RELEASE)
}

fn says_true(metadata: &ObjectMeta, annotation: &str) -> bool {
    let annotation = metadata.annotations.as_ref().and_then(|annotations| annotations.get(annotation));
    annotation.is_some_and(|value| value == "true")
}

/// `Block` waits for the changed field, or for a person's word on this very object.
fn default_identity_change(object: &IdentityAssignment) -> DefaultIdentityChange {
    if says_true(&object.metadata, ALLOW_DEFAULT_IDENTITY_CHANGE) {
        return DefaultIdentityChange::Warn;
    }
    object.spec.default_identity_change.into()
}

fn identities(spec: &IdentityAssignmentSpec) -> Result<BTreeMap<IdentityId, Ensure>, SpecError> {
    let mut user = BTreeMap::new();
    for (index, entry) in spec.user_assigned.iter().enumerate() {
        let id: IdentityId = entry.resource_id.parse().map_err(|source| SpecError::Identity { index, source })?;
        if user.insert(id.clone(), entry.ensure.into()).is_some() {
            return Err(SpecError::Duplicate(id));
        }
    }
    Ok(user)
}

/// Of entries that parse: [`identities`] refuses the others. One that is to be `Absent` needs none, whatever it says: the
/// API server refuses such an entry, but may hold one from before it did.
fn repairs(spec: &IdentityAssignmentSpec) -> BTreeSet<IdentityId> {
    let asking = spec.user_assigned.iter().filter(|entry| entry.repair && entry.ensure == EntryEnsure::Present);
    asking.filter_map(|entry| entry.resource_id.parse().ok()).collect()
}

fn stance(mode: Mode) -> Stance {
    match mode {
        Mode::Enforce => Stance::Enforce,
        Mode::Observe => Stance::Hold(Holding::Observe),
        Mode::Suspended => Stance::Hold(Holding::Suspended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claims::SystemWish;
    use rstest::rstest;
    use serde_json::{Value, json};

    const SUB: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

    fn id(name: &str) -> String {
        format!("{SUB}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
    }

    /// An assignment of one present identity, with some fields of its spec changed.
    fn assignment(changed: &Value) -> IdentityAssignment {
        let mut spec = json!({
            "target": {"resourceId": format!("{SUB}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web")},
            "userAssigned": [{"resourceId": id("shop-db")}],
        });
        for (field, value) in changed.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        let object = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u1"}, "spec": spec});
        serde_json::from_value(object).expect("an assignment")
    }

    fn deleted(changed: &Value, release: &str) -> IdentityAssignment {
        let mut object = assignment(changed);
        object.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        object.metadata.annotations = Some(BTreeMap::from([(RELEASE.into(), release.into())]));
        object
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        let object = assignment(&json!({}));
        let (target, claim) = claim(&object).expect("a claim");
        assert_eq!((target.name(), claim.key.to_string().as_str()), ("web", "shop/web"));
        assert_eq!(claim.user.values().collect::<Vec<_>>(), [&Ensure::Present]);
        assert_eq!((claim.system, claim.mode, claim.stance), (SystemWish::Unmanaged, Mode::Enforce, Stance::Enforce));
        assert_eq!(claim.deletion_policy, DeletionPolicy::Detach);
        assert_eq!(claim.default_identity_change, DefaultIdentityChange::Warn);
        assert!(claim.repair.is_empty());
        assert_eq!(claim.leaving, None);
        assert_eq!(drift_interval(&object.spec), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn a_repair_is_asked_for_by_entry_and_only_where_it_is_to_be_present() {
        let entry = |name: &str, ensure: &str| json!({"resourceId": id(name), "ensure": ensure, "repair": true});
        let user = json!([entry("shop-db", "Present"), entry("legacy", "Absent"), {"resourceId": id("queue")}]);
        let (_, claim) = claim(&assignment(&json!({ "userAssigned": user }))).expect("a claim");
        assert_eq!(claim.repair.iter().map(IdentityId::name).collect::<Vec<_>>(), ["shop-db"]);
    }

    #[rstest]
    #[case::enforce(json!({}), Stance::Enforce)]
    #[case::observe(json!({"mode": "Observe"}), Stance::Hold(Holding::Observe))]
    #[case::suspended(json!({"suspend": true}), Stance::Hold(Holding::Suspended))]
    #[case::both(json!({"mode": "Observe", "suspend": true}), Stance::Hold(Holding::Observe))]
    fn mode_and_suspend_make_the_stance(#[case] spec: Value, #[case] stance: Stance) {
        assert_eq!(claim(&assignment(&spec)).expect("a claim").1.stance, stance);
    }

    #[rstest]
    #[case::detach(json!({}), "", Leaving::Detach)]
    #[case::suspended(json!({"suspend": true}), "", Leaving::Detach)]
    #[case::retain(json!({"deletionPolicy": "Retain"}), "", Leaving::Release)]
    #[case::observe(json!({"mode": "Observe"}), "", Leaving::Release)]
    #[case::released(json!({}), "true", Leaving::Release)]
    #[case::not_quite_released(json!({}), "yes", Leaving::Detach)]
    fn a_deletion_leaves_by_policy_mode_and_annotation(
        #[case] spec: Value,
        #[case] release: &str,
        #[case] how: Leaving,
    ) {
        assert_eq!(claim(&deleted(&spec, release)).expect("a claim").1.leaving, Some(how));
    }

    #[rstest]
    #[case::said("true", DefaultIdentityChange::Warn)]
    #[case::not_quite("yes", DefaultIdentityChange::Block)]
    fn an_annotation_lifts_a_block(#[case] value: &str, #[case] change: DefaultIdentityChange) {
        let mut object = assignment(&json!({"defaultIdentityChange": "Block"}));
        let annotations = BTreeMap::from([(ALLOW_DEFAULT_IDENTITY_CHANGE.to_owned(), value.to_owned())]);
        object.metadata.annotations = Some(annotations);
        assert_eq!(claim(&object).expect("a claim").1.default_identity_change, change);
    }

    #[rstest]
    #[case::target(json!({"target": {"resourceId": "web"}}), "spec.target.resourceId is no id of a machine")]
    #[case::identity(
        json!({"userAssigned": [{"resourceId": id("shop-db")}, {"resourceId": "x"}]}),
        "spec.userAssigned[1].resourceId is no id of an identity"
    )]
    fn an_error_names_the_field(#[case] spec: Value, #[case] message: &str) {
        assert_eq!(claim(&assignment(&spec)).expect_err("no claim").to_string(), message);
    }

    #[test]
    fn an_id_named_twice_in_any_case_is_refused() {
        let twice = json!({"userAssigned": [{"resourceId": id("shop-db")}, {"resourceId": format!("azure://{}", id("SHOP-DB"))}]});
        assert!(matches!(claim(&assignment(&twice)), Err(SpecError::Duplicate(_))));
    }
}
