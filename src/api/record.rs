//! Between the record as it is stored and the record as the domain knows it.
use crate::api::target::{
    AttachedIdentity, AttachedSystem, ClaimMode, IntentBase, TargetClaim, TargetIntent, TargetRecord, TargetReference,
    TargetRepair, UnansweredAttempt,
};
use crate::domain::claims::{ClaimKey, Mode};
use crate::domain::record::{Attached, Base, FORMAT_VERSION, Intent, Record, RecordedClaim, Repair, Unanswered};
use crate::domain::{ETag, IdError, IdentityId, Timestamp, UniqueId};
use std::collections::{BTreeMap, BTreeSet};

/// Why a stored record cannot be worked with. Nothing may be written to such a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error(
        "the record has format {found}, this version knows formats up to {FORMAT_VERSION}: let a newer Lanyard take over"
    )]
    Newer { found: u32 },
    #[error("record.formatVersion is 0, which no version writes")]
    NoFormat,
    #[error("record.resourceId is no id of a machine")]
    Target(#[source] IdError),
    #[error("record.{field} names {id} twice")]
    Duplicate { field: &'static str, id: String },
}

impl TryFrom<&TargetRecord> for Record {
    type Error = RecordError;

    fn try_from(stored: &TargetRecord) -> Result<Self, RecordError> {
        check_format(stored.format_version)?;
        let mut attached = BTreeMap::new();
        for entry in &stored.attached {
            let what = Attached { principal_id: entry.principal_id.clone(), since: Timestamp(entry.since.clone()) };
            if attached.insert(identity(&entry.resource_id), what).is_some() {
                return Err(RecordError::Duplicate { field: "attached", id: entry.resource_id.clone() });
            }
        }
        Ok(Self {
            resource_id: stored.resource_id.parse().map_err(RecordError::Target)?,
            unique_id: stored.unique_id.clone().map(UniqueId),
            attached,
            system: stored.system_assigned.as_ref().map(|system| Attached {
                principal_id: system.principal_id.clone(),
                since: Timestamp(system.since.clone()),
            }),
            claims: claims(&stored.claims)?,
            intent: stored.intent.as_ref().map(intent),
            repairs: stored.repairs.iter().map(repair).collect(),
            superseded: stored.superseded.iter().map(base).collect(),
        })
    }
}

fn check_format(found: u32) -> Result<(), RecordError> {
    match found {
        0 => Err(RecordError::NoFormat),
        newer if newer > FORMAT_VERSION => Err(RecordError::Newer { found }),
        _ => Ok(()),
    }
}

/// ARM may have told us an id that we would not accept from people: it is counted all the same.
fn identity(id: &str) -> IdentityId {
    id.parse().unwrap_or_else(|_| IdentityId::told_by_arm(id))
}

fn identities(ids: &[String]) -> BTreeSet<IdentityId> {
    ids.iter().map(|id| identity(id)).collect()
}

fn claims(stored: &[TargetClaim]) -> Result<Vec<RecordedClaim>, RecordError> {
    let mut uids = BTreeSet::new();
    if let Some(twice) = stored.iter().find(|claim| !uids.insert(&claim.uid)) {
        return Err(RecordError::Duplicate { field: "claims", id: twice.uid.clone() });
    }
    Ok(stored.iter().map(recorded_claim).collect())
}

fn recorded_claim(claim: &TargetClaim) -> RecordedClaim {
    RecordedClaim {
        key: ClaimKey { namespace: claim.namespace.clone(), name: claim.name.clone(), uid: claim.uid.clone() },
        generation: claim.generation,
        deletion_policy: claim.deletion_policy.into(),
        mode: claim.mode.into(),
        present: identities(&claim.present),
        refs: claim.refs.iter().map(|known| (known.name.clone(), identity(&known.resource_id))).collect(),
        system_enabled: claim.system_enabled,
    }
}

fn unanswered(stored: &UnansweredAttempt) -> Unanswered {
    Unanswered { base: base(&stored.base), operation: stored.operation.clone() }
}

fn stored_unanswered(unanswered: &Unanswered) -> UnansweredAttempt {
    UnansweredAttempt { base: stored_base(&unanswered.base), operation: unanswered.operation.clone() }
}

fn intent(stored: &TargetIntent) -> Intent {
    Intent {
        attempt: stored.attempt,
        base: base(&stored.base),
        add: identities(&stored.add),
        remove: identities(&stored.remove),
        system: stored.system_assigned.map(Into::into),
        writer: stored.writer.clone(),
        unanswered: stored.unanswered.iter().map(unanswered).collect(),
        operation: stored.operation.clone(),
    }
}

impl From<&Record> for TargetRecord {
    fn from(record: &Record) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            resource_id: record.resource_id.to_string(),
            unique_id: record.unique_id.as_ref().map(|id| id.0.clone()),
            attached: record.attached.iter().map(stored_identity).collect(),
            system_assigned: record.system.as_ref().map(|system| AttachedSystem {
                principal_id: system.principal_id.clone(),
                since: system.since.0.clone(),
            }),
            claims: record.claims.iter().map(stored_claim).collect(),
            intent: record.intent.as_ref().map(stored_intent),
            repairs: record.repairs.iter().map(stored_repair).collect(),
            superseded: record.superseded.iter().map(stored_base).collect(),
        }
    }
}

fn stored_identity((id, attached): (&IdentityId, &Attached)) -> AttachedIdentity {
    AttachedIdentity {
        resource_id: id.to_string(),
        principal_id: attached.principal_id.clone(),
        since: attached.since.0.clone(),
    }
}

fn stored_claim(claim: &RecordedClaim) -> TargetClaim {
    TargetClaim {
        namespace: claim.key.namespace.clone(),
        name: claim.key.name.clone(),
        uid: claim.key.uid.clone(),
        generation: claim.generation,
        deletion_policy: claim.deletion_policy.into(),
        mode: claim.mode.into(),
        present: written(&claim.present),
        refs: claim.refs.iter().map(stored_reference).collect(),
        system_enabled: claim.system_enabled,
    }
}

fn stored_reference((name, id): (&String, &IdentityId)) -> TargetReference {
    TargetReference { name: name.clone(), resource_id: id.to_string() }
}

fn base(stored: &IntentBase) -> Base {
    Base { unique_id: stored.unique_id.clone().map(UniqueId), etag: stored.etag.clone().map(ETag) }
}

fn stored_base(base: &Base) -> IntentBase {
    IntentBase {
        unique_id: base.unique_id.as_ref().map(|id| id.0.clone()),
        etag: base.etag.as_ref().map(|etag| etag.0.clone()),
    }
}

fn stored_intent(intent: &Intent) -> TargetIntent {
    TargetIntent {
        attempt: intent.attempt,
        base: stored_base(&intent.base),
        add: written(&intent.add),
        remove: written(&intent.remove),
        system_assigned: intent.system.map(Into::into),
        writer: intent.writer.clone(),
        unanswered: intent.unanswered.iter().map(stored_unanswered).collect(),
        operation: intent.operation.clone(),
    }
}

fn repair(stored: &TargetRepair) -> (IdentityId, Repair) {
    let repair = Repair {
        principal_id: stored.principal_id.clone(),
        rounds: stored.rounds,
        asked: stored.asked.clone(),
        awaited: stored.awaited,
    };
    (identity(&stored.resource_id), repair)
}

fn stored_repair((id, repair): (&IdentityId, &Repair)) -> TargetRepair {
    TargetRepair {
        resource_id: id.to_string(),
        principal_id: repair.principal_id.clone(),
        rounds: repair.rounds,
        asked: repair.asked.clone(),
        awaited: repair.awaited,
    }
}

fn written(ids: &BTreeSet<IdentityId>) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

impl From<ClaimMode> for Mode {
    fn from(mode: ClaimMode) -> Self {
        match mode {
            ClaimMode::Enforce => Self::Enforce,
            ClaimMode::Observe => Self::Observe,
            ClaimMode::Suspended => Self::Suspended,
        }
    }
}

impl From<Mode> for ClaimMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Enforce => Self::Enforce,
            Mode::Observe => Self::Observe,
            Mode::Suspended => Self::Suspended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::IdentityTarget;
    use crate::domain::Switch;
    use crate::domain::claims::DeletionPolicy;
    use serde_json::{Value, json};

    const SUB: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

    fn id(name: &str) -> IdentityId {
        let id = format!("{SUB}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}");
        id.parse().expect("an id")
    }

    fn vm() -> String {
        format!("{SUB}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web")
    }

    fn attached(principal: &str) -> Attached {
        Attached { principal_id: Some(principal.into()), since: Timestamp("2026-01-01T00:00:00Z".into()) }
    }

    /// A record with something in every field.
    fn full() -> Record {
        Record {
            resource_id: vm().parse().expect("an id"),
            unique_id: Some(UniqueId("vm-1".into())),
            attached: BTreeMap::from([
                (id("shop-db"), attached("p1")),
                (IdentityId::told_by_arm("odd id"), attached("p2")),
            ]),
            system: Some(attached("p3")),
            claims: vec![RecordedClaim {
                key: ClaimKey { namespace: "shop".into(), name: "web".into(), uid: "u1".into() },
                generation: 7,
                deletion_policy: DeletionPolicy::Retain,
                mode: Mode::Suspended,
                present: BTreeSet::from([id("shop-db")]),
                refs: BTreeMap::from([("db".to_owned(), id("shop-db"))]),
                system_enabled: true,
            }],
            intent: Some(Intent {
                attempt: 2,
                base: Base { unique_id: Some(UniqueId("vm-1".into())), etag: Some(ETag("\"7\"".into())) },
                add: BTreeSet::from([id("queue")]),
                remove: BTreeSet::from([id("shop-db")]),
                system: Some(Switch::Off),
                writer: "pod-1".into(),
                unanswered: vec![Unanswered {
                    base: Base { unique_id: Some(UniqueId("vm-1".into())), etag: Some(ETag("\"6\"".into())) },
                    operation: "d2a7".into(),
                }],
                operation: "request-1".into(),
            }),
            repairs: BTreeMap::from([(
                id("shop-db"),
                Repair { principal_id: "p1".into(), rounds: 2, asked: "u1".into(), awaited: true },
            )]),
            superseded: vec![Base { unique_id: Some(UniqueId("vm-1".into())), etag: Some(ETag("\"6\"".into())) }],
        }
    }

    /// Through the stored form's JSON and back.
    fn stored_and_read(record: &Record) -> Record {
        let target = IdentityTarget::new("web", record.into());
        let json = serde_json::to_value(&target).expect("JSON");
        let read: IdentityTarget = serde_json::from_value(json).expect("a target");
        Record::try_from(&read.record).expect("a record")
    }

    #[test]
    fn a_record_is_read_as_it_was_stored() {
        assert_eq!(stored_and_read(&full()), full());
        let empty = Record::empty(vm().parse().expect("an id"));
        assert_eq!(stored_and_read(&empty), empty);
    }

    fn target(record: &Value) -> IdentityTarget {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "record": record})).expect("a target")
    }

    #[test]
    fn a_newer_format_is_known_by_its_version_whatever_else_it_holds() {
        let target = target(&json!({"formatVersion": 2, "resourceId": vm(), "attached": {"by": "map"}, "claims": 7}));
        assert_eq!(target.record.resource_id, vm());
        assert_eq!(Record::try_from(&target.record), Err(RecordError::Newer { found: 2 }));
    }

    #[test]
    fn an_error_names_the_field() {
        let error = |record| Record::try_from(&target(&record).record).expect_err("no record").to_string();
        assert_eq!(error(json!({"formatVersion": 1, "resourceId": "web"})), "record.resourceId is no id of a machine");
        assert!(error(json!({"formatVersion": 0, "resourceId": vm()})).contains("formatVersion"));
        let twice = json!([{"resourceId": "a", "since": ""}, {"resourceId": "A", "since": ""}]);
        let error = error(json!({"formatVersion": 1, "resourceId": vm(), "attached": twice}));
        assert_eq!(error, "record.attached names A twice");
    }

    #[test]
    fn a_status_that_cannot_be_read_is_none() {
        let record = json!({"formatVersion": 1, "resourceId": vm()});
        let object = json!({"metadata": {"name": "web"}, "record": record, "status": {"conditions": 7}});
        let target: IdentityTarget = serde_json::from_value(object).expect("a target");
        assert_eq!(target.status, None);
    }
}
