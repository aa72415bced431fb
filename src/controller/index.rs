//! What the watches have told: assignments by target, and the targets' records.
//!
//! Synchronous, so that no lock is held across an await. A list replaces what was known only once it is complete:
//! a slow, broken or refused list never looks like a withdrawal.
mod folded;
mod kept;
mod objects;

use super::identity::IdentityIndex;
use super::queue::{TargetKey, Urgency};
use crate::api::IdentityTarget;
use crate::api::assignment::{Ensure, UserAssignedRef};
use crate::api::claim::released;
use crate::api::raw::{self, Readable, Unread};
use crate::telemetry::Standing;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
pub use kept::version;
use kept::{Entry, Kept, KeptTarget, Pool, decides};
use kube::ResourceExt;
use kube::api::DynamicObject;
use lanyard_domain::reference::Reference;
use lanyard_domain::{IdentityId, TargetId};
use objects::{Objects, Uid};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// So many are remembered until the records have it.
const MOST_LET_GO: usize = 4_096;

/// Everything known about the assignments of one target.
#[derive(Clone, Debug, Default)]
pub struct OfTarget {
    /// The watch has finished its list.
    pub listed: bool,
    pub read: Vec<Arc<Readable>>,
    pub unread: Vec<Arc<Unread>>,
}

/// The watches' state.
#[derive(Debug, Default)]
pub struct Index {
    inner: Mutex<Inner>,
    listed: Notify,
    /// Identities as objects, and who has them.
    pub identities: IdentityIndex,
}

#[derive(Debug, Default)]
struct Inner {
    assignments: Objects<Entry>,
    standing: Standing,
    targets: Objects<KeptTarget>,
    /// Ids of machines and of identities, each kept once.
    keys: Pool<TargetId>,
    ids: Pool<IdentityId>,
    /// Targets whose record this process is writing: what the watch tells of them meanwhile is no news.
    writing: BTreeSet<TargetKey>,
    /// Assignments that went after their owners had let go of what they declared.
    let_go: BTreeSet<Uid>,
    /// Assignments by the identities that they refer to: namespace, name, uid.
    referring: BTreeSet<(String, String, Uid)>,
    /// The attempt that a target's record announces, and when this process first saw it.
    intents: HashMap<TargetKey, (String, Instant)>,
}

impl Inner {
    /// The object is gone; this was its last state, as far as it was seen.
    fn note_departure(&mut self, uid: &str, was_released: bool) {
        if !was_released {
            return;
        }
        // The records of those that went first have it by now.
        if self.let_go.len() >= MOST_LET_GO {
            self.let_go.clear();
        }
        self.let_go.insert(uid.into());
    }

    /// With ids that are kept once.
    fn shared(&mut self, target: TargetKey, mut entry: Entry) -> (TargetKey, Entry) {
        entry.share(&mut self.ids);
        (self.keys.share(target), entry)
    }

    fn put_assignment(&mut self, uid: Uid, target: TargetKey, entry: Entry) {
        self.take_assignment(&uid);
        self.referring.extend(references(&uid, &entry));
        self.standing.count(entry.says());
        self.assignments.put(uid, target, entry);
    }

    /// Takes out what is known of an assignment, and what it refers to.
    fn take_assignment(&mut self, uid: &str) -> Option<TargetKey> {
        let (target, entry) = self.assignments.take(uid)?;
        self.standing.uncount(entry.says());
        for reference in references(&Uid::from(uid), &entry) {
            self.referring.remove(&reference);
        }
        Some(target)
    }

    fn note_intent(&mut self, target: &TargetKey, object: &IdentityTarget) {
        let Some(intent) = &object.record.intent else {
            self.intents.remove(target);
            return;
        };
        if self.intents.get(target).is_none_or(|(known, _)| *known != intent.operation) {
            self.intents.insert(target.clone(), (intent.operation.clone(), Instant::now()));
        }
    }
}

/// What one event of the assignments' watch means for the queue.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody changed what this target is to have.
    Wishes(TargetKey),
    /// An assignment goes.
    Deletion(TargetKey),
    /// Nothing that decides anything: a status of ours, a label.
    Nothing,
    /// The object names no target that we could visit.
    Illegible(String),
}

impl Index {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every watch has finished a list.
    pub fn is_ready(&self) -> bool {
        let inner = self.inner();
        inner.assignments.listed && inner.targets.listed && self.identities.is_ready()
    }

    /// A watch has finished a list of its own.
    pub fn has_listed(&self) {
        self.listed.notify_one();
    }

    /// Ends when a list is in that was not.
    pub async fn became_ready(&self) {
        self.listed.notified().await;
    }

    /// All assignments of one target.
    pub fn of(&self, target: &TargetKey) -> OfTarget {
        let inner = self.inner();
        let mut all = OfTarget { listed: inner.assignments.listed, ..OfTarget::default() };
        for entry in inner.assignments.of(target) {
            match entry {
                Entry::Read(kept) => match kept.open() {
                    Some(read) => all.read.push(Arc::new(self.referring(read))),
                    None => all.listed = false,
                },
                Entry::Unread(unread) => all.unread.push(unread.clone()),
            }
        }
        all
    }

    /// The assignment with what its references stand for at this moment.
    fn referring(&self, read: Readable) -> Readable {
        let refs = &read.object.spec.user_assigned_refs;
        if refs.is_empty() {
            return read;
        }
        let namespace = &read.claim.key.namespace;
        let reference = |entry: &UserAssignedRef| Reference {
            ensure: entry.ensure.into(),
            repair: entry.repair && entry.ensure == Ensure::Present,
            referred: self.identities.referred(&(namespace.clone(), entry.name.clone())),
        };
        let refs = refs.iter().map(|entry| (entry.name.clone(), reference(entry))).collect();
        let claim = read.claim.clone().referring(refs);
        Readable { claim, ..read }
    }

    /// The targets of assignments that refer to one of these objects.
    pub fn referring_to(&self, names: &BTreeSet<(String, String)>) -> BTreeSet<TargetKey> {
        let inner = self.inner();
        let mut targets = BTreeSet::new();
        for (namespace, name) in names {
            let from = (namespace.clone(), name.clone(), Uid::default());
            let these = inner.referring.range(from..).take_while(|(ns, n, _)| ns == namespace && n == name);
            let of = |(_, _, uid): &(String, String, Uid)| {
                inner.assignments.by_uid.get(uid).map(|(target, _)| target.clone())
            };
            targets.extend(these.filter_map(of));
        }
        targets
    }

    /// Machines whose record or view says that they have this identity, counted now.
    pub fn machines_with(&self, id: &IdentityId) -> BTreeSet<TargetKey> {
        let inner = self.inner();
        let with = inner.targets.by_uid.values().filter(|(_, kept)| kept.has(id));
        with.map(|(target, _)| target.clone()).collect()
    }

    /// Tells of every machine what it has.
    pub fn count_users(&self) {
        let inner = self.inner();
        for (target, kept) in inner.targets.by_uid.values() {
            self.identities.machine_has(target, &kept.uses());
        }
    }

    /// The identities that anybody declares to be on a machine.
    pub fn declared_identities(&self) -> HashSet<IdentityId> {
        let inner = self.inner();
        let mut declared = HashSet::new();
        for (_, entry) in inner.assignments.by_uid.values() {
            match entry {
                Entry::Read(kept) if kept.has_refs() => {
                    let read = kept.open().map(|read| self.referring(read));
                    declared.extend(read.iter().flat_map(|read| read.claim.present().cloned()));
                }
                Entry::Read(kept) => declared.extend(kept.present.iter().map(|id| id.as_ref().clone())),
                Entry::Unread(_) => {}
            }
        }
        declared
    }

    /// How the assignments fare, as far as their conditions tell.
    pub fn standing(&self) -> Standing {
        self.inner().standing.clone()
    }

    /// Forgets ids that nothing names any more.
    pub fn prune(&self) {
        let mut inner = self.inner();
        inner.keys.prune();
        inner.ids.prune();
    }

    /// This assignment, which is gone, was let go of before.
    pub fn was_let_go(&self, uid: &str) -> bool {
        self.inner().let_go.contains(uid)
    }

    /// The target's `IdentityTarget` objects: one, unless somebody made another by hand.
    pub fn target_objects(&self, target: &TargetKey) -> Vec<Arc<IdentityTarget>> {
        self.inner().targets.of(target).filter_map(KeptTarget::open).map(Arc::new).collect()
    }

    pub fn begin_assignments(&self) {
        self.inner().assignments.begin_list();
    }

    pub fn list_assignment(&self, object: DynamicObject) {
        let name = name_of(&object);
        if let Some((uid, target, entry)) = understand(object) {
            let mut inner = self.inner();
            let (target, entry) = inner.shared(target, entry);
            inner.assignments.list(uid, target, entry);
        } else {
            tracing::error!(
                object = name,
                "this IdentityAssignment names no target that can be read; nothing is done about it"
            );
        }
    }

    pub fn end_assignments(&self) -> BTreeSet<TargetKey> {
        let mut inner = self.inner();
        let (mut touched, gone) = inner.assignments.end_list(|was, is| was.mark() == is.mark());
        let referring = inner.assignments.by_uid.iter().flat_map(|(uid, (_, entry))| references(uid, entry)).collect();
        inner.referring = referring;
        let mut standing = Standing::default();
        inner.assignments.by_uid.values().for_each(|(_, entry)| standing.count(entry.says()));
        inner.standing = standing;
        for (uid, (target, entry)) in gone {
            inner.note_departure(&uid, entry.released());
            touched.insert(target);
        }
        drop(inner);
        self.listed.notify_one();
        touched
    }

    pub fn apply_assignment(&self, object: DynamicObject) -> Change {
        let (name, goes) = (name_of(&object), object.metadata.deletion_timestamp.is_some());
        let Some((uid, target, entry)) = understand(object) else { return Change::Illegible(name) };
        let mut inner = self.inner();
        let (target, entry) = inner.shared(target, entry);
        let known = inner.assignments.by_uid.get(&uid).map(|(_, entry)| entry);
        if known.is_some_and(|known| known.version() > entry.version()) {
            return Change::Nothing;
        }
        let known = known.map(Entry::mark);
        let change = match known {
            Some(known) if known == entry.mark() => Change::Nothing,
            Some(_) | None if goes => Change::Deletion(target.clone()),
            Some(_) | None => Change::Wishes(target.clone()),
        };
        inner.put_assignment(uid, target, entry);
        change
    }

    pub fn delete_assignment(&self, object: &DynamicObject) -> Change {
        let Some(uid) = object.uid() else { return Change::Nothing };
        let mut inner = self.inner();
        inner.note_departure(&uid, released(&object.metadata));
        inner.take_assignment(&uid).map_or(Change::Nothing, Change::Deletion)
    }

    pub fn begin_targets(&self) {
        self.inner().targets.begin_list();
    }

    pub fn list_target(&self, object: &IdentityTarget) {
        if let Some((uid, target)) = about(object) {
            let mut inner = self.inner();
            let target = inner.keys.share(target);
            inner.note_intent(&target, object);
            let kept = KeptTarget::of(object, &mut inner.ids);
            inner.targets.list(uid, target, kept);
        }
    }

    pub fn end_targets(&self) -> BTreeSet<TargetKey> {
        let (mut touched, gone) = self.inner().targets.end_list(|was, is| was.decides == is.decides);
        touched.extend(gone.into_values().map(|(target, _)| target));
        self.count_users();
        for target in &touched {
            let uses = self.inner().targets.of(target).flat_map(KeptTarget::uses).collect();
            self.identities.machine_has(target, &uses);
        }
        self.listed.notify_one();
        touched
    }

    /// This version of a target's object is known, or a newer one is: most of what the watch tells are our own writes.
    pub fn has_seen(&self, metadata: &ObjectMeta) -> bool {
        let inner = self.inner();
        let known = metadata.uid.as_ref().and_then(|uid| inner.targets.by_uid.get(uid.as_str()));
        known.is_some_and(|(_, known)| known.version >= version(metadata))
    }

    /// Keeps the newer of two versions: a watch may tell of our own last-but-one write after the answer to the last.
    /// Returns the target if this version was not known yet.
    pub fn apply_target(&self, object: &IdentityTarget) -> Option<TargetKey> {
        let (uid, target) = about(object)?;
        let mut inner = self.inner();
        let target = inner.keys.share(target);
        let known = inner.targets.by_uid.get(&uid).map(|(_, known)| (known.version, known.decides));
        if known.is_some_and(|(known, _)| known >= version(&object.metadata)) {
            return None;
        }
        let kept = KeptTarget::of(object, &mut inner.ids);
        // What another process tells in its view is no news: two that both work would wake each other without end.
        let is_news = known.is_none_or(|(_, known)| known != kept.decides);
        inner.note_intent(&target, object);
        self.identities.machine_has(&target, &kept.uses());
        inner.targets.put(uid, target.clone(), kept);
        (is_news && !inner.writing.contains(&target)).then_some(target)
    }

    /// Every target that somebody declares something about, or that has a record, and how urgent it is for a process
    /// that begins to work: people wait for what nobody has acted on yet, and for what was cut off. With the namespace
    /// that waits.
    pub fn all(&self) -> BTreeMap<TargetKey, (Urgency, Option<String>)> {
        let inner = self.inner();
        let targets: BTreeSet<_> = inner.assignments.by_target.keys().chain(inner.targets.by_target.keys()).collect();
        let urgency = |target: &TargetKey| {
            let who_waits = |entry: &Entry| Some((entry.waits_for()?, entry.namespace().map(str::to_owned)));
            let waits_for = inner.assignments.of(target).filter_map(who_waits).min();
            let nobody = if inner.intents.contains_key(target) { Urgency::Retry } else { Urgency::Drift };
            waits_for.unwrap_or((nobody, None))
        };
        targets.into_iter().map(|target| (target.clone(), urgency(target))).collect()
    }

    /// The attempt that the target's record announces, and how long this process has known of it.
    pub fn intent(&self, target: &TargetKey) -> Option<(String, Duration)> {
        let inner = self.inner();
        let (operation, seen) = inner.intents.get(target)?;
        let announced = inner.targets.of(target).any(|kept| kept.operation.as_deref() == Some(operation.as_str()));
        announced.then(|| (operation.clone(), seen.elapsed()))
    }

    /// Somebody has changed what we have just written, and the watch was faster than the answer to our write.
    pub fn has_newer(&self, written: &IdentityTarget) -> bool {
        let inner = self.inner();
        let known = written.metadata.uid.as_ref().and_then(|uid| inner.targets.by_uid.get(uid.as_str()));
        known.is_some_and(|(_, known)| known.version > version(&written.metadata) && known.decides != decides(written))
    }

    /// Says that this process is about to write the target's record, or has done so.
    pub fn set_writing(&self, target: &TargetKey, writing: bool) {
        let mut inner = self.inner();
        if writing {
            inner.writing.insert(target.clone());
        } else {
            inner.writing.remove(target);
        }
    }

    pub fn delete_target(&self, object: &IdentityTarget) -> Option<TargetKey> {
        let mut inner = self.inner();
        let (target, _) = object.uid().and_then(|uid| inner.targets.take(&uid))?;
        inner.intents.remove(&target);
        self.identities.machine_has(&target, &BTreeSet::new());
        Some(target)
    }
}

fn name_of(object: &DynamicObject) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn understand(object: DynamicObject) -> Option<(Uid, TargetKey, Entry)> {
    let uid = Uid::from(object.uid()?);
    let (target, entry) = match raw::read(&raw::json(object).ok()?).ok()? {
        Ok(readable) => (readable.target.clone(), Entry::Read(Box::new(Kept::of(readable)))),
        Err(unread) => (unread.target.clone()?, Entry::Unread(Arc::from(unread))),
    };
    Some((uid, Arc::new(target), entry))
}

/// What an assignment refers to.
fn references(uid: &Uid, entry: &Entry) -> Vec<(String, String, Uid)> {
    entry.refs().into_iter().map(|(namespace, name)| (namespace, name, uid.clone())).collect()
}

fn about(object: &IdentityTarget) -> Option<(Uid, TargetKey)> {
    Some((object.uid()?.into(), Arc::new(object.record.resource_id.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(version: u32, operation: Option<&str>) -> IdentityTarget {
        let id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web";
        let intent =
            operation.map(|operation| json!({"attempt": 1, "base": {}, "writer": "one", "operation": operation}));
        let object = json!({
            "apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityTarget",
            "metadata": {"name": "web", "uid": "u", "resourceVersion": version.to_string()},
            "record": {"formatVersion": 1, "resourceId": id, "intent": intent},
        });
        serde_json::from_value(object).expect("an IdentityTarget")
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_is_known_from_when_it_was_first_seen() {
        let index = Index::default();
        let key = index.apply_target(&target(1, Some("first"))).expect("news");
        tokio::time::advance(Duration::from_secs(7)).await;
        index.apply_target(&target(2, Some("first")));
        assert_eq!(index.intent(&key), Some(("first".into(), Duration::from_secs(7))));
        index.apply_target(&target(3, Some("second")));
        assert_eq!(index.intent(&key), Some(("second".into(), Duration::ZERO)), "each attempt has its own time");
        index.apply_target(&target(4, None));
        assert_eq!(index.intent(&key), None);

        index.apply_target(&target(5, Some("third")));
        index.delete_target(&target(5, None));
        assert_eq!(index.intent(&key), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_changed_while_our_write_was_under_way_is_told_apart_from_it() {
        let index = Index::default();
        let ours = target(2, Some("first"));
        index.apply_target(&ours);
        assert!(!index.has_newer(&ours), "our own");
        let mut viewed = target(3, Some("first"));
        viewed.status = Some(crate::api::IdentityTargetStatus::default());
        index.apply_target(&viewed);
        assert!(!index.has_newer(&ours), "a view decides nothing");
        let mut deleted = target(4, Some("first"));
        deleted.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        index.apply_target(&deleted);
        assert!(index.has_newer(&ours));
    }

    #[test]
    fn what_assignments_say_is_counted_whatever_comes_and_goes() {
        let assignment = |uid: &str, version: u32, ready: &str| -> DynamicObject {
            let condition = json!({"type": "Ready", "status": ready, "reason": "AsDeclared", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let stalled = json!({"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let conditions = if ready == "False" { vec![condition, stalled] } else { vec![condition] };
            let object = json!({
                "apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityAssignment",
                "metadata": {"name": uid, "namespace": "shop", "uid": uid, "resourceVersion": version.to_string()},
                "spec": {"target": {"resourceId": "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web"}},
                "status": {"conditions": conditions},
            });
            serde_json::from_value(object).expect("an IdentityAssignment")
        };
        let index = Index::default();
        let expected = |all: &[DynamicObject]| {
            let other = Index::default();
            for object in all {
                other.apply_assignment(object.clone());
            }
            other.standing()
        };
        index.apply_assignment(assignment("a", 1, "False"));
        index.apply_assignment(assignment("b", 1, "True"));
        assert_ne!(index.standing(), Standing::default());
        index.apply_assignment(assignment("a", 2, "True"));
        index.apply_assignment(assignment("a", 1, "False"));
        assert_eq!(index.standing(), expected(&[assignment("a", 2, "True"), assignment("b", 1, "True")]));
        index.begin_assignments();
        index.list_assignment(assignment("a", 3, "False"));
        index.end_assignments();
        assert_eq!(index.standing(), expected(&[assignment("a", 3, "False")]));
        index.delete_assignment(&assignment("a", 3, "False"));
        assert_eq!(index.standing(), Standing::default());
    }

    #[tokio::test]
    async fn the_first_list_is_no_news_and_of_another_what_changed_is() {
        let index = Index::default();
        let list = |objects: &[IdentityTarget]| {
            index.begin_targets();
            for object in objects {
                index.list_target(object);
            }
            index.end_targets().len()
        };
        assert_eq!(list(&[target(1, None)]), 0);
        assert_eq!(list(&[target(2, None)]), 0, "nothing that decides anything is another");
        assert_eq!(list(&[target(3, Some("first"))]), 1);
        assert_eq!(list(&[]), 1, "it went");
    }
}
