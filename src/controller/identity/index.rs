//! What the watches have told of identities: objects by identity, records by identity, and who has which.
//!
//! Synchronous, as the index of assignments is. A list replaces what was known only once it is complete.
use crate::api::identity_record::IdentityRecord;
use crate::api::user_assigned_identity::{UserAssignedIdentity, wish};
use crate::controller::index::version;
use crate::controller::queue::TargetKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use lanyard_domain::IdentityId;
use lanyard_domain::identity::{Policy, Record, Wish};
use lanyard_domain::reference::Referred;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// An identity as queue and index know it: the same for every spelling of its id.
pub type IdentityKey = Arc<IdentityId>;

/// Namespace and name.
pub type Name = (String, String);

type Uid = String;

/// So many departures are remembered until the records have them.
const MOST_DEPARTED: usize = 4_096;

/// An object that can be acted on.
#[derive(Clone, Debug)]
pub struct Declared {
    pub object: UserAssignedIdentity,
    pub wish: Wish,
    /// Who wrote it, for the audit log.
    pub managers: Vec<String>,
}

impl Declared {
    pub fn metadata(&self) -> &ObjectMeta {
        &self.object.metadata
    }
}

/// Reads an object, if it says something that can be acted on.
pub fn understand(mut object: UserAssignedIdentity) -> Option<Declared> {
    let managers: BTreeSet<String> = object
        .metadata
        .managed_fields
        .take()
        .into_iter()
        .flatten()
        .filter(|entry| entry.subresource.is_none())
        .filter_map(|entry| entry.manager)
        .collect();
    match wish(&object) {
        Ok(wish) => Some(Declared { wish, object, managers: managers.into_iter().collect() }),
        Err(error) => {
            let object = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
            let error = crate::arm::chain(&error);
            tracing::error!(object, error, "this UserAssignedIdentity cannot be read; nothing is done about it");
            None
        }
    }
}

/// The watches' state.
#[derive(Debug, Default)]
pub struct IdentityIndex {
    inner: Mutex<Inner>,
    touched: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Uid, Arc<Declared>>,
    names: HashMap<Name, Uid>,
    by_id: BTreeMap<IdentityKey, BTreeSet<Uid>>,
    records: BTreeMap<IdentityKey, Arc<IdentityRecord>>,
    /// The records of objects by name.
    owners: HashMap<Name, IdentityKey>,
    incoming_objects: Option<Vec<Declared>>,
    incoming_records: Option<Vec<IdentityRecord>>,
    objects_listed: bool,
    records_listed: bool,
    /// Machines whose record or view says that they have it.
    users: HashMap<IdentityKey, BTreeSet<TargetKey>>,
    uses: HashMap<TargetKey, BTreeSet<IdentityKey>>,
    /// Machines that lists have shown with it, and that are none of ours.
    strangers: HashMap<IdentityKey, BTreeSet<TargetKey>>,
    strange: HashMap<TargetKey, BTreeSet<IdentityKey>>,
    /// Objects that went, and whether their last state said that the identity stays.
    departed: HashMap<Uid, bool>,
    touched: BTreeSet<IdentityKey>,
    /// An identity is named that was not before: who has it is to be counted.
    uncounted: bool,
}

/// What an event means: what is to be visited, and the objects of which referrers are to hear.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    pub identity: Option<IdentityKey>,
    pub leaving: bool,
    /// Of the object: namespaces take turns.
    pub namespace: Option<String>,
    pub names: BTreeSet<Name>,
}

impl Inner {
    fn put(&mut self, object: Declared) -> IdentityKey {
        let uid = object.object.uid().unwrap_or_default();
        self.take(&uid);
        let id = self.by_id.get_key_value(&object.wish.id).map(|(id, _)| id.clone());
        self.uncounted |= id.is_none();
        let id = id.unwrap_or_else(|| Arc::new(object.wish.id.clone()));
        self.names.insert(name_of(&object), uid.clone());
        self.by_id.entry(id.clone()).or_default().insert(uid.clone());
        self.objects.insert(uid, Arc::new(object));
        id
    }

    fn take(&mut self, uid: &str) -> Option<Arc<Declared>> {
        let object = self.objects.remove(uid)?;
        if self.names.get(&name_of(&object)).is_some_and(|known| known == uid) {
            self.names.remove(&name_of(&object));
        }
        if let Some(uids) = self.by_id.get_mut(&object.wish.id) {
            uids.remove(uid);
            if uids.is_empty() {
                self.by_id.remove(&object.wish.id);
            }
        }
        Some(object)
    }

    fn put_record(&mut self, id: IdentityKey, record: IdentityRecord) {
        self.uncounted |= !self.is_known(&id);
        self.take_record(&id);
        self.owners.insert(owner_of(&record), id.clone());
        self.records.insert(id, Arc::new(record));
    }

    fn take_record(&mut self, id: &IdentityKey) -> Option<Arc<IdentityRecord>> {
        let record = self.records.remove(id)?;
        if self.owners.get(&owner_of(&record)).is_some_and(|known| known == id) {
            self.owners.remove(&owner_of(&record));
        }
        Some(record)
    }

    fn record(&self, id: &IdentityId) -> Option<Record> {
        Record::try_from(&self.records.get(id)?.record).ok()
    }

    fn referred(&self, name: &Name) -> Referred {
        let object = self.names.get(name).and_then(|uid| self.objects.get(uid));
        let Some(object) = object else {
            // The controller's own word that the identity goes with the object that went.
            let record = self.owners.get(name).and_then(|id| self.record(id));
            return match record {
                Some(record) if record.deleting => Referred::Leaving(record.resource_id),
                Some(_) | None => Referred::Unseen,
            };
        };
        let id = object.wish.id.clone();
        match self.record(&id) {
            Some(record) if record.owner.uid == object.wish.key.uid => match record.origin {
                _ if record.deleting => Referred::Leaving(id),
                Some(_) => Referred::Ready(id),
                None => Referred::NotReady(id, "it is not ready yet: see its own conditions".into()),
            },
            Some(_) => {
                Referred::NotReady(id, "another UserAssignedIdentity has this identity: see its conditions".into())
            }
            None => Referred::NotReady(id, "it is not ready yet: see its own conditions".into()),
        }
    }

    /// What names stand for before and after a change of one identity; those that changed.
    fn heard_by(&mut self, id: &IdentityKey, change: impl FnOnce(&mut Self)) -> BTreeSet<Name> {
        let mut names = self.names_of(id);
        let before: BTreeMap<Name, Referred> = names.iter().map(|name| (name.clone(), self.referred(name))).collect();
        change(self);
        names.extend(self.names_of(id));
        let changed = |name: &Name| before.get(name) != Some(&self.referred(name));
        names.into_iter().filter(changed).collect()
    }

    fn names_of(&self, id: &IdentityKey) -> BTreeSet<Name> {
        let uids = self.by_id.get(id).into_iter().flatten();
        let objects = uids.filter_map(|uid| self.objects.get(uid)).map(|object| name_of(object));
        objects.chain(self.records.get(id).map(|record| owner_of(record))).collect()
    }

    /// The identity's key, if somebody names it.
    fn key(&self, id: &IdentityId) -> Option<IdentityKey> {
        let named = self.by_id.get_key_value(id).map(|(known, _)| known.clone());
        named.or_else(|| self.records.get_key_value(id).map(|(known, _)| known.clone()))
    }

    fn is_known(&self, id: &IdentityKey) -> bool {
        self.by_id.contains_key(id) || self.records.contains_key(id)
    }

    fn touch(&mut self, ids: impl IntoIterator<Item = IdentityKey>) -> bool {
        let before = self.touched.len();
        let known: Vec<IdentityKey> = ids.into_iter().filter(|id| self.is_known(id)).collect();
        self.touched.extend(known);
        self.touched.len() > before
    }
}

impl IdentityIndex {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_ready(&self) -> bool {
        let inner = self.inner();
        inner.objects_listed && inner.records_listed
    }

    /// What a reference by that name stands for.
    pub fn referred(&self, name: &Name) -> Referred {
        self.inner().referred(name)
    }

    /// All objects that name an identity, in the order in which they came.
    pub fn objects(&self, id: &IdentityKey) -> Vec<Arc<Declared>> {
        let inner = self.inner();
        let uids = inner.by_id.get(id).into_iter().flatten();
        let mut objects: Vec<Arc<Declared>> = uids.filter_map(|uid| inner.objects.get(uid)).cloned().collect();
        objects.sort_by_key(|object| first_come(object));
        objects
    }

    pub fn record(&self, id: &IdentityKey) -> Option<Arc<IdentityRecord>> {
        self.inner().records.get(id).cloned()
    }

    /// The object went, and its last state said that the identity stays.
    pub fn was_let_go(&self, uid: &str) -> bool {
        self.inner().departed.get(uid).copied().unwrap_or_default()
    }

    /// Every identity that somebody names, or that has a record; and whether somebody waits for it.
    pub fn all(&self) -> BTreeMap<IdentityKey, bool> {
        let inner = self.inner();
        let waits = |id: &IdentityKey| {
            let uids = inner.by_id.get(id).into_iter().flatten();
            uids.filter_map(|uid| inner.objects.get(uid)).any(|object| {
                let seen = object.object.status.as_ref().and_then(|status| status.observed_generation);
                object.wish.leaving || seen != object.metadata().generation
            })
        };
        inner.by_id.keys().chain(inner.records.keys()).map(|id| (id.clone(), waits(id))).collect()
    }

    pub fn begin_objects(&self) {
        self.inner().incoming_objects = Some(Vec::new());
    }

    pub fn list_object(&self, object: Declared) {
        self.inner().incoming_objects.get_or_insert_default().push(object);
    }

    /// The list is complete. What is to be visited: nothing of the first list, since whoever begins to work asks for all.
    pub fn end_objects(&self) -> Vec<News> {
        let mut inner = self.inner();
        let listed = inner.incoming_objects.take().unwrap_or_default();
        let first = !std::mem::replace(&mut inner.objects_listed, true);
        let here: BTreeSet<Uid> = listed.iter().filter_map(|object| object.object.uid()).collect();
        let gone: Vec<Uid> = inner.objects.keys().filter(|uid| !here.contains(*uid)).cloned().collect();
        let mut news: Vec<News> = gone.iter().filter_map(|uid| removed(&mut inner, uid)).collect();
        news.extend(listed.into_iter().filter_map(|object| applied(&mut inner, object)));
        if first { Vec::new() } else { news }
    }

    pub fn apply_object(&self, object: Declared) -> Option<News> {
        applied(&mut self.inner(), object)
    }

    pub fn delete_object(&self, last: &ObjectMeta, retains: bool) -> Option<News> {
        let uid = last.uid.as_deref()?;
        let mut inner = self.inner();
        let news = removed(&mut inner, uid);
        if retains {
            inner.departed.insert(uid.to_owned(), true);
        }
        news
    }

    pub fn begin_records(&self) {
        self.inner().incoming_records = Some(Vec::new());
    }

    pub fn list_record(&self, record: IdentityRecord) {
        self.inner().incoming_records.get_or_insert_default().push(record);
    }

    pub fn end_records(&self) -> Vec<News> {
        let mut inner = self.inner();
        let listed = inner.incoming_records.take().unwrap_or_default();
        let first = !std::mem::replace(&mut inner.records_listed, true);
        let here: BTreeSet<IdentityKey> = listed.iter().filter_map(about).collect();
        let gone: Vec<IdentityKey> = inner.records.keys().filter(|id| !here.contains(*id)).cloned().collect();
        let mut news: Vec<News> = gone.iter().filter_map(|id| record_removed(&mut inner, id)).collect();
        news.extend(listed.into_iter().filter_map(|record| record_applied(&mut inner, record)));
        if first { Vec::new() } else { news }
    }

    /// Keeps the newer of two versions, and tells whether it says anything new.
    pub fn apply_record(&self, record: IdentityRecord) -> Option<News> {
        record_applied(&mut self.inner(), record)
    }

    pub fn delete_record(&self, record: &IdentityRecord) -> Option<News> {
        let id = about(record)?;
        let mut inner = self.inner();
        let same = inner.records.get(&id).is_some_and(|known| known.metadata.uid == record.metadata.uid);
        if same { record_removed(&mut inner, &id) } else { None }
    }

    /// What a machine's record and view say that it has.
    ///
    /// Of identities that nobody names nothing is kept: a fleet has many.
    pub fn machine_has(&self, machine: &TargetKey, ids: &BTreeSet<IdentityId>) {
        let mut inner = self.inner();
        let new: BTreeSet<IdentityKey> = ids.iter().filter_map(|id| inner.key(id)).collect();
        if new.is_empty() && !inner.uses.contains_key(machine) {
            return;
        }
        let old = inner.uses.remove(machine).unwrap_or_default();
        let changed: Vec<IdentityKey> = old.symmetric_difference(&new).cloned().collect();
        for id in old.difference(&new) {
            forget(&mut inner.users, id, machine);
        }
        for id in &new {
            inner.users.entry(id.clone()).or_default().insert(machine.clone());
        }
        if !new.is_empty() {
            inner.uses.insert(machine.clone(), new);
        }
        if inner.touch(changed) {
            drop(inner);
            self.touched.notify_one();
        }
    }

    /// What a list shows of a machine that is none of ours.
    pub fn stranger_has<'a>(&self, machine: &TargetKey, ids: impl Iterator<Item = &'a IdentityId>) {
        let mut inner = self.inner();
        let new: BTreeSet<IdentityKey> = ids.filter_map(|id| inner.key(id)).collect();
        let old = inner.strange.remove(machine).unwrap_or_default();
        if old.is_empty() && new.is_empty() {
            return;
        }
        for id in old.difference(&new) {
            forget(&mut inner.strangers, id, machine);
        }
        for id in &new {
            inner.strangers.entry(id.clone()).or_default().insert(machine.clone());
        }
        let changed: Vec<IdentityKey> = old.symmetric_difference(&new).cloned().collect();
        if !new.is_empty() {
            inner.strange.insert(machine.clone(), new);
        }
        if inner.touch(changed) {
            drop(inner);
            self.touched.notify_one();
        }
    }

    /// Machines that have it by their own record or view.
    pub fn users(&self, id: &IdentityKey) -> BTreeSet<TargetKey> {
        self.inner().users.get(id).cloned().unwrap_or_default()
    }

    /// Others that a list has shown with it.
    pub fn strangers(&self, id: &IdentityKey) -> BTreeSet<TargetKey> {
        self.inner().strangers.get(id).cloned().unwrap_or_default()
    }

    /// Somebody wants it gone.
    pub fn is_going(&self, id: &IdentityKey) -> bool {
        let inner = self.inner();
        let deleting = inner.records.get(id).is_some_and(|record| record.record.deleting == Some(true));
        let uids = inner.by_id.get(id).into_iter().flatten();
        deleting || uids.filter_map(|uid| inner.objects.get(uid)).any(|object| object.wish.leaving)
    }

    /// Whether a list shows another principal than is known.
    pub fn is_another(&self, id: &IdentityId, principal: &str) -> Option<IdentityKey> {
        let inner = self.inner();
        let (key, record) = inner.records.get_key_value(id)?;
        let known = record.record.principal_id.as_deref()?;
        (!known.eq_ignore_ascii_case(principal)).then(|| key.clone())
    }

    /// Whether who has what is to be counted anew. Whoever is told so does it.
    pub fn is_to_count(&self) -> bool {
        std::mem::take(&mut self.inner().uncounted)
    }

    /// Identities whose users changed.
    pub async fn touched(&self) -> BTreeSet<IdentityKey> {
        loop {
            let touched = std::mem::take(&mut self.inner().touched);
            if !touched.is_empty() {
                return touched;
            }
            self.touched.notified().await;
        }
    }
}

fn forget(of: &mut HashMap<IdentityKey, BTreeSet<TargetKey>>, id: &IdentityKey, machine: &TargetKey) {
    if let Some(machines) = of.get_mut(id) {
        machines.remove(machine);
        if machines.is_empty() {
            of.remove(id);
        }
    }
}

fn applied(inner: &mut Inner, object: Declared) -> Option<News> {
    let uid = object.object.uid()?;
    let known = inner.objects.get(&uid);
    if known.is_some_and(|known| version(known.metadata()) > version(object.metadata())) {
        return None;
    }
    let same = known.is_some_and(|known| mark(known) == mark(&object));
    let (id, leaving) = (Arc::new(object.wish.id.clone()), object.wish.leaving);
    let namespace = Some(object.wish.key.namespace.clone());
    let mut key = id.clone();
    let names = inner.heard_by(&id, |inner| key = inner.put(object));
    (!same || !names.is_empty()).then_some(News { identity: (!same).then_some(key), leaving, namespace, names })
}

fn removed(inner: &mut Inner, uid: &str) -> Option<News> {
    let object = inner.objects.get(uid)?.clone();
    let id = Arc::new(object.wish.id.clone());
    if inner.departed.len() >= MOST_DEPARTED {
        inner.departed.clear();
    }
    if object.wish.released || object.wish.policy == Policy::Retain {
        inner.departed.insert(uid.to_owned(), true);
    }
    let names = inner.heard_by(&id, |inner| drop(inner.take(uid)));
    Some(News { identity: Some(id), leaving: true, namespace: Some(object.wish.key.namespace.clone()), names })
}

fn record_applied(inner: &mut Inner, record: IdentityRecord) -> Option<News> {
    let id = about(&record)?;
    let known = inner.records.get(&id).cloned();
    if known.as_ref().is_some_and(|known| version(&known.metadata) >= version(&record.metadata)) {
        return None;
    }
    let same = known.is_some_and(|known| known.record == record.record);
    let names = inner.heard_by(&id, |inner| inner.put_record(id.clone(), record));
    (!same).then_some(News { identity: Some(id), leaving: false, namespace: None, names })
}

fn record_removed(inner: &mut Inner, id: &IdentityKey) -> Option<News> {
    inner.records.get(id)?;
    let names = inner.heard_by(id, |inner| drop(inner.take_record(id)));
    Some(News { identity: Some(id.clone()), leaving: false, namespace: None, names })
}

fn about(record: &IdentityRecord) -> Option<IdentityKey> {
    record.record.resource_id.parse().ok().map(Arc::new)
}

fn name_of(object: &Declared) -> Name {
    (object.wish.key.namespace.clone(), object.wish.key.name.clone())
}

fn owner_of(record: &IdentityRecord) -> Name {
    (record.record.owner.namespace.clone(), record.record.owner.name.clone())
}

fn first_come(object: &Declared) -> (Option<jiff::Timestamp>, String, String) {
    let created = object.metadata().creation_timestamp.as_ref().map(|time| time.0);
    (created, object.wish.key.namespace.clone(), object.wish.key.name.clone())
}

/// What decides a visit: generation, deletion and our own annotations, which bump no generation.
fn mark(object: &Declared) -> (Option<i64>, bool, Vec<(&String, &String)>) {
    let meta = object.metadata();
    let ours = meta.annotations.iter().flatten().filter(|(key, _)| key.starts_with("lanyard.dev/")).collect();
    (meta.generation, meta.deletion_timestamp.is_some(), ours)
}
