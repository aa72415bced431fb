//! What this process remembers of an identity between visits. Losing it costs time, never an identity.
use super::index::IdentityKey;
use crate::controller::memory::{Failures, Said, Versions};
use crate::controller::queue::TargetKey;
use lanyard_domain::Moment;
use lanyard_domain::identity::Known;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub failures: Failures,
    /// What was last read, and when.
    pub seen: Option<(Known, Moment)>,
    /// A PUT of ours was answered: reads may lag behind it.
    pub put: Option<Moment>,
    /// A PUT of ours was not answered: it may still arrive.
    pub unanswered: Option<Moment>,
    /// Since when ARM has not been finding what we made.
    pub missing: Option<Moment>,
    /// When the machines that keep it from being deleted were last asked to be looked at.
    pub nudged: Option<Moment>,
    /// Since when machines have been keeping it from being deleted.
    pub in_use: Option<Moment>,
    /// Machines that were shown with it and that ARM does not find: since when.
    pub gone: BTreeMap<TargetKey, Option<Moment>>,
    /// Of the objects that name it, the versions that we made ourselves.
    pub versions: Versions,
    /// What people asked for when it was last looked at.
    pub asked: Vec<(String, Option<i64>, Option<String>)>,
    said: Said,
}

impl Memory {
    /// True the first time this is said.
    pub fn is_news(&mut self, about: &str, note: &str) -> bool {
        self.said.is_news(about, note)
    }

    pub fn all_is_well(&mut self) {
        self.failures = Failures::default();
        self.said = Said::default();
    }
}

/// Of all identities.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<IdentityKey, Memory>>);

impl Memories {
    pub fn recall(&self, identity: &IdentityKey) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(identity).unwrap_or_default()
    }

    pub fn remember(&self, identity: &IdentityKey, memory: Memory) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(identity.clone(), memory);
    }
}
