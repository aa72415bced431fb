//! One visit to one target: what it has learned so far.
use super::memory::{Asked, TargetMemory};
use super::queue::{TargetKey, Urgency};
use super::seen::Before;
use crate::api::raw::{Readable, Unread};
use crate::api::target::LastWrite;
use crate::api::{IdentityTarget, RECONCILE_AT};
use crate::arm::Owed;
use crate::places::Place;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use lanyard_domain::judge::Note;
use lanyard_domain::plan::DefaultChange;
use lanyard_domain::principals::Principals;
use lanyard_domain::{Claims, Complete, Fresh, Identities, Live, Moment, Patch, Plan, Record};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A PATCH that ended well.
#[derive(Clone, Debug)]
pub struct Done {
    pub patch: Patch,
    /// The principal of a system-assigned identity that was switched off.
    pub lost_principal: Option<String>,
    pub default_change: Option<DefaultChange>,
}

/// What a visit has learned and done.
pub struct Visit {
    pub target: TargetKey,
    /// Who waits for it.
    urgency: Urgency,
    /// A write of this visit was accepted and is not read back yet.
    pub follows: Option<Owed>,
    pub began: Moment,
    pub read: Vec<Arc<Readable>>,
    pub unread: Vec<Arc<Unread>>,
    /// The `IdentityTarget` as last read or written.
    pub stored: Option<Arc<IdentityTarget>>,
    /// Where Events about it go, even after it is gone.
    pub target_ref: Option<ObjectReference>,
    /// Assignments that this visit has given the finalizer.
    pub finalized: BTreeSet<String>,
    /// The record as judged so far. Written at the end, if it differs.
    pub record: Record,
    pub claims: Option<Complete<Claims>>,
    pub live: Option<Fresh<Live>>,
    /// The machine as our last write left it, read already.
    pub read_back: Option<Fresh<Live>>,
    /// What identities on it said of themselves, asked after it was read.
    pub identities: Identities,
    pub plan: Option<Plan>,
    pub notes: Vec<Note>,
    /// What was told before the record forgot what it is about: not to be told again at the end.
    pub told_first: BTreeSet<String>,
    /// The machine as it was known when the visit began.
    pub before: Option<Before>,
    /// Principals as last seen, and the changes since the visit began.
    pub principals: Principals,
    pub changed_principals: Vec<Note>,
    pub done: Vec<Done>,
    pub last_write: Option<LastWrite>,
    pub memory: TargetMemory,
    /// Annotations on the `IdentityTarget` that were acted on: they go with the next write.
    pub obeyed: BTreeSet<&'static str>,
    /// 404 said twice, a minute apart: the target is gone.
    pub gone: bool,
    /// ARM says that the machine is being deleted: assignments that are deleted need not wait for that.
    pub going: bool,
    /// Writes to this machine are not guarded by If-Match; none: that is not known yet.
    pub unguarded: Option<bool>,
    /// The right to be busy; given back while an operation is waited for.
    pub slot: Option<OwnedSemaphorePermit>,
    /// The place of a visit that goes on after an operation, among those of its subscription.
    pub place: Option<Place>,
}

impl Visit {
    pub fn new(target: TargetKey, urgency: Urgency, began: Moment, memory: TargetMemory) -> Self {
        Self {
            record: Record::empty(target.as_ref().clone()),
            target,
            urgency,
            follows: None,
            began,
            read: Vec::new(),
            unread: Vec::new(),
            stored: None,
            target_ref: None,
            finalized: BTreeSet::new(),
            claims: None,
            live: None,
            read_back: None,
            identities: Identities::default(),
            plan: None,
            notes: Vec::new(),
            told_first: BTreeSet::new(),
            before: None,
            principals: Principals::default(),
            changed_principals: Vec::new(),
            done: Vec::new(),
            last_write: None,
            memory,
            obeyed: BTreeSet::new(),
            gone: false,
            going: false,
            unguarded: None,
            slot: None,
            place: None,
        }
    }

    /// What it asks of ARM is so urgent. Whatever began it: what was changed is followed to its end like a person's change.
    pub fn urgency(&self) -> Urgency {
        if self.follows.is_some() { Urgency::Change } else { self.urgency }
    }

    /// Keeps the `IdentityTarget` as it was just read or written.
    pub fn keep(&mut self, stored: Arc<IdentityTarget>) {
        self.target_ref = Some(stored.object_ref(&()));
        self.stored = Some(stored);
    }

    /// What people ask for at this moment: a change of it ends every wait.
    pub fn wishes(&self) -> Vec<Asked> {
        let objects = self.read.iter().map(|read| &read.object.metadata);
        let target = self.stored.iter().map(|stored| &stored.metadata);
        let asked = |metadata: &ObjectMeta, generation| {
            let at = metadata.annotations.as_ref().and_then(|all| all.get(RECONCILE_AT));
            (metadata.uid.clone().unwrap_or_default(), generation, at.cloned())
        };
        // The target is ours to write: only what a person asks of it counts.
        let targets = target.map(|metadata| asked(metadata, None)).filter(|(_, _, at)| at.is_some());
        let mut all: Vec<Asked> = objects.map(|metadata| asked(metadata, metadata.generation)).chain(targets).collect();
        // It is remembered until the next visit.
        all.shrink_to_fit();
        all
    }

    /// The `IdentityTarget` is being deleted: a person wants its record forgotten.
    pub fn is_being_forgotten(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.metadata.deletion_timestamp.is_some())
    }

    pub fn has_annotation(&self, key: &str, value: &str) -> bool {
        let annotations = self.stored.as_ref().and_then(|stored| stored.metadata.annotations.as_ref());
        annotations.is_some_and(|all| all.get(key).is_some_and(|found| found == value))
    }
}
