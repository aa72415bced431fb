//! Objects as the index keeps them: what decides lies at hand, the rest is folded small. Of tens of thousands that are
//! kept, a few are looked at together.
use super::folded::Folded;
use crate::api::assignment::{Ensure, UserAssignedRef};
use crate::api::claim::{claim, released};
use crate::api::raw::{Readable, Unread};
use crate::api::{IdentityAssignment, IdentityTarget};
use crate::controller::queue::Urgency;
use crate::telemetry::Says;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::IdentityId;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// One copy of what many refer to.
#[derive(Debug)]
pub struct Pool<T>(HashSet<Arc<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Pool<T> {
    pub fn share(&mut self, one: Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.get(&one) {
            return known.clone();
        }
        self.0.insert(one.clone());
        one
    }

    /// Lets go of what nobody else holds.
    pub fn prune(&mut self) {
        self.0.retain(|one| Arc::strong_count(one) > 1);
    }
}

/// The whole object once more, by `kubectl apply` as it does by default.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An assignment.
#[derive(Debug)]
pub enum Entry {
    Read(Box<Kept>),
    Unread(Arc<Unread>),
}

/// One that can be acted on.
#[derive(Debug)]
pub struct Kept {
    object: Folded,
    namespace: Box<str>,
    version: u128,
    mark: Mark,
    waits_for: Option<Urgency>,
    released: bool,
    says: Says,
    /// What it declares to be on its machine, by id.
    pub present: Box<[Arc<IdentityId>]>,
    /// What it refers to, by name.
    refs: Box<[Box<str>]>,
}

/// What decides a visit: generation, deletion and our own annotations, which bump no generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    generation: Option<i64>,
    deleted: bool,
    ours: Box<[(String, String)]>,
}

impl Mark {
    fn of(metadata: &ObjectMeta) -> Self {
        let ours = metadata.annotations.iter().flatten().filter(|(key, _)| key.starts_with("lanyard.dev/"));
        Self {
            generation: metadata.generation,
            deleted: metadata.deletion_timestamp.is_some(),
            ours: ours.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }
}

impl Entry {
    pub fn mark(&self) -> Mark {
        match self {
            Self::Read(kept) => kept.mark.clone(),
            Self::Unread(unread) => Mark::of(&unread.metadata),
        }
    }

    pub fn version(&self) -> u128 {
        match self {
            Self::Read(kept) => kept.version,
            Self::Unread(unread) => version(&unread.metadata),
        }
    }

    /// What its conditions come to.
    pub fn says(&self) -> Says {
        match self {
            Self::Read(kept) => kept.says,
            Self::Unread(_) => Says::of(&[]),
        }
    }

    /// Its owner has let go of what it declares.
    pub fn released(&self) -> bool {
        match self {
            Self::Read(kept) => kept.released,
            Self::Unread(unread) => released(&unread.metadata),
        }
    }

    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Read(kept) => Some(&kept.namespace),
            Self::Unread(unread) => unread.metadata.namespace.as_deref(),
        }
    }

    /// What its owner waits for, if nobody has acted on it yet.
    pub fn waits_for(&self) -> Option<Urgency> {
        match self {
            Self::Read(kept) => kept.waits_for,
            Self::Unread(_) => None,
        }
    }

    /// Namespace and name of what it refers to.
    pub fn refs(&self) -> Vec<(String, String)> {
        match self {
            Self::Read(kept) => kept.refs.iter().map(|name| (kept.namespace.to_string(), name.to_string())).collect(),
            Self::Unread(_) => Vec::new(),
        }
    }

    pub fn share(&mut self, pool: &mut Pool<IdentityId>) {
        if let Self::Read(kept) = self {
            for id in &mut kept.present {
                *id = pool.share(id.clone());
            }
        }
    }
}

impl Kept {
    pub fn of(mut readable: Readable) -> Self {
        // The heaviest parts of an object, of no use here; the managers' names are taken already.
        readable.object.metadata.managed_fields = None;
        if let Some(annotations) = &mut readable.object.metadata.annotations {
            annotations.remove(LAST_APPLIED);
        }
        let metadata = &readable.object.metadata;
        let present = readable.claim.user.iter().filter(|(_, ensure)| **ensure == Ensure::Present.into());
        Self {
            namespace: readable.claim.key.namespace.as_str().into(),
            version: version(metadata),
            mark: Mark::of(metadata),
            waits_for: waits_for(&readable.object),
            released: released(metadata),
            says: Says::of(readable.object.status.as_ref().map_or(&[], |status| &status.conditions)),
            present: present.map(|(id, _)| Arc::new(id.clone())).collect(),
            refs: readable.object.spec.user_assigned_refs.iter().map(name).collect(),
            object: Folded::of(&(&readable.object, &readable.managers)),
        }
    }

    /// None would be a defect: then the claims of its machine are not complete.
    pub fn open(&self) -> Option<Readable> {
        let (object, managers): (IdentityAssignment, Vec<String>) = self.object.open()?;
        let (target, claim) = claim(&object).ok()?;
        Some(Readable { object, target, claim, managers })
    }

    pub fn has_refs(&self) -> bool {
        !self.refs.is_empty()
    }
}

fn name(entry: &UserAssignedRef) -> Box<str> {
    entry.name.as_str().into()
}

fn waits_for(object: &IdentityAssignment) -> Option<Urgency> {
    let acted_on = object.status.as_ref().and_then(|status| status.observed_generation);
    if acted_on != object.metadata.generation {
        return Some(Urgency::Change);
    }
    object.metadata.deletion_timestamp.is_some().then_some(Urgency::Deletion)
}

/// A target's object.
#[derive(Debug)]
pub struct KeptTarget {
    object: Folded,
    pub version: u128,
    /// Stands for what a visit rests on.
    pub decides: [u8; 16],
    /// The attempt that the record announces.
    pub operation: Option<Box<str>>,
    uses: Box<[Arc<IdentityId>]>,
}

impl KeptTarget {
    pub fn of(object: &IdentityTarget, pool: &mut Pool<IdentityId>) -> Self {
        Self {
            version: version(&object.metadata),
            decides: decides(object),
            operation: object.record.intent.as_ref().map(|intent| intent.operation.as_str().into()),
            uses: uses(object).into_iter().map(|id| pool.share(Arc::new(id))).collect(),
            object: Folded::of(object),
        }
    }

    pub fn open(&self) -> Option<IdentityTarget> {
        self.object.open()
    }

    /// Identities that are on the machine as last seen, that we attached, or are about to attach.
    pub fn uses(&self) -> BTreeSet<IdentityId> {
        self.uses.iter().map(|id| id.as_ref().clone()).collect()
    }

    pub fn has(&self, id: &IdentityId) -> bool {
        self.uses.iter().any(|one| **one == *id)
    }
}

fn uses(object: &IdentityTarget) -> BTreeSet<IdentityId> {
    let record = &object.record;
    let attached = record.attached.iter().map(|attached| &attached.resource_id);
    let coming = record.intent.iter().flat_map(|intent| &intent.add);
    let seen = object.status.iter().flat_map(|status| &status.identities);
    let seen = seen.filter(|identity| identity.origin.is_some()).map(|identity| &identity.resource_id);
    attached.chain(coming).chain(seen).map(|id| IdentityId::told_by_arm(id)).collect()
}

/// A digest of what a visit rests on of a target's object: all but the view and who wrote it.
pub fn decides(object: &IdentityTarget) -> [u8; 16] {
    let metadata = &object.metadata;
    let deleted = metadata.deletion_timestamp.is_some();
    let decisive = (&object.record, &metadata.annotations, &metadata.finalizers, deleted);
    let digest = Sha256::digest(serde_json::to_vec(&decisive).unwrap_or_default());
    std::array::from_fn(|n| digest[n])
}

/// Resource versions are compared as numbers, which Kubernetes promises from 1.35 on and kept all along.
pub fn version(metadata: &ObjectMeta) -> u128 {
    metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::raw;
    use serde_json::{Value, json};

    const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers";

    fn machine() -> String {
        format!("{GROUP}/Microsoft.Compute/virtualMachines/web")
    }

    fn identity(name: &str) -> String {
        format!("{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
    }

    fn assignment(more: &Value) -> Readable {
        let mut object = json!({
            "apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityAssignment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
                "annotations": {"lanyard.dev/release": "true", "theirs": "1", LAST_APPLIED: "{}"}, "finalizers": ["lanyard.dev/identities"],
                "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
            },
            "spec": {
                "target": {"resourceId": machine()}, "systemAssigned": "Enabled",
                "userAssigned": [{"resourceId": identity("shop-db")}, {"resourceId": identity("old"), "ensure": "Absent"}],
                "userAssignedRefs": [{"name": "queue", "repair": true}],
            },
            "status": {"observedGeneration": 2, "summary": {"machine": "web", "user": "1/2"}},
        });
        for (path, value) in more.as_object().into_iter().flatten() {
            object["metadata"][path] = value.clone();
        }
        raw::read(&object).expect("it has a name").expect("it can be acted on")
    }

    #[test]
    fn an_assignment_opens_as_it_was_but_for_what_is_heavy_and_of_no_use() {
        let mut whole = assignment(&json!({}));
        let kept = Kept::of(whole.clone());
        whole.object.metadata.managed_fields = None;
        whole.object.metadata.annotations.iter_mut().for_each(|all| assert!(all.remove(LAST_APPLIED).is_some()));
        assert_eq!(whole.managers, ["kubectl"]);
        assert_eq!(kept.open(), Some(whole));
        let present: Vec<&str> = kept.present.iter().map(|id| id.name()).collect();
        assert_eq!((present, kept.has_refs()), (vec!["shop-db"], true));
    }

    #[test]
    fn what_lies_at_hand_of_an_assignment_is_what_it_says() {
        let entry = |more: Value| Entry::Read(Box::new(Kept::of(assignment(&more))));
        let plain = entry(json!({}));
        assert_eq!((plain.version(), plain.namespace(), plain.released()), (7, Some("shop"), true));
        assert_eq!(plain.waits_for(), Some(Urgency::Change), "its status is about an older generation");
        assert_eq!(plain.refs(), [("shop".to_owned(), "queue".to_owned())]);
        assert_eq!(entry(json!({"generation": 2})).waits_for(), None);
        let deleted = json!({"generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(entry(deleted.clone()).waits_for(), Some(Urgency::Deletion));
        for another in [json!({"generation": 4}), json!({"annotations": {"lanyard.dev/release": "no"}}), deleted] {
            assert_ne!(entry(another.clone()).mark(), plain.mark(), "{another}");
        }
        let annotations = json!({"annotations": {"lanyard.dev/release": "true", "theirs": "2"}, "labels": {"a": "b"}});
        assert_eq!(entry(annotations).mark(), plain.mark(), "others' decide nothing");
    }

    fn target(format: u32) -> IdentityTarget {
        let object = json!({
            "apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityTarget",
            "metadata": {"name": "web", "uid": "u", "resourceVersion": "9", "finalizers": ["lanyard.dev/record"]},
            "record": {
                "formatVersion": format, "resourceId": machine(), "uniqueId": "m1",
                "attached": [{"resourceId": identity("shop-db"), "principalId": "p1", "since": "2026-01-01T00:00:00Z"}],
                "intent": {"attempt": 1, "base": {"uniqueId": "m1", "etag": "\"4\""}, "add": [identity("queue")],
                           "writer": "one", "operation": "first"},
            },
            "status": {"kind": "VirtualMachine", "unmanaged": {"count": 1}},
        });
        serde_json::from_value(object).expect("an IdentityTarget")
    }

    #[test]
    fn a_target_opens_as_it_was_and_one_of_a_newer_format_stays_one() {
        let mut pool = Pool::default();
        for format in [1, 2] {
            let whole = target(format);
            let kept = KeptTarget::of(&whole, &mut pool);
            assert_eq!(whole.record.format_version, format);
            assert_eq!(kept.open(), Some(whole));
        }
        let kept = KeptTarget::of(&target(1), &mut pool);
        assert_eq!((kept.version, kept.operation.as_deref()), (9, Some("first")));
        for name in ["shop-db", "queue"] {
            assert!(kept.has(&identity(name).parse().expect("an id")), "{name}");
        }
    }

    #[test]
    fn a_view_decides_nothing_and_record_annotations_finalizers_and_deletion_do() {
        let was = target(1);
        let changed = |change: fn(&mut IdentityTarget)| {
            let mut object = was.clone();
            change(&mut object);
            decides(&object) != decides(&was)
        };
        assert!(!changed(|it| it.status = None));
        assert!(!changed(|it| it.metadata.resource_version = Some("10".into())));
        assert!(changed(|it| it.record.intent = None));
        assert!(changed(|it| it.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into())));
        assert!(changed(|it| it.metadata.finalizers = None));
        let deletion = |it: &mut IdentityTarget| {
            it.metadata.deletion_timestamp =
                Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        };
        assert!(changed(deletion));
    }

    #[test]
    fn a_pool_gives_one_copy_and_lets_go_of_what_nobody_holds() {
        let mut pool = Pool::default();
        let one = pool.share(Arc::new("a".to_owned()));
        let other = pool.share(Arc::new("a".to_owned()));
        assert!(Arc::ptr_eq(&one, &other));
        pool.prune();
        assert!(Arc::ptr_eq(&one, &pool.share(Arc::new("a".to_owned()))));
        drop((one, other));
        pool.prune();
        assert!(pool.0.is_empty());
    }
}
