//! Objects as the index keeps them: what decides lies at hand, the rest is folded small. Of tens of thousands that are
//! kept, a few are looked at together.
use crate::api::assignment::{Ensure, UserAssignedRef};
use crate::api::claim::{claim, released};
use crate::api::raw::{Readable, Unread};
use crate::api::{IdentityAssignment, IdentityTarget};
use crate::controller::queue::Urgency;
use crate::telemetry::Says;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::IdentityId;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

/// A value as compressed JSON: names of fields and long ids come again and again in an object.
#[derive(Debug)]
struct Folded(Box<[u8]>);

impl Folded {
    fn of(value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).unwrap_or_default();
        Self(lz4_flex::compress_prepend_size(&json).into())
    }

    fn open<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&lz4_flex::decompress_size_prepended(&self.0).ok()?).ok()
    }
}

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
    /// What its conditions come to, for whoever counts them.
    pub says: Says,
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
        // The heaviest part of an object; their managers' names are taken already.
        readable.object.metadata.managed_fields = None;
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
