//! Objects of one kind, as a list and the events after it tell of them.
use crate::controller::queue::TargetKey;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub type Uid = Arc<str>;

/// Objects by uid, found by the target that they are about.
#[derive(Debug)]
pub struct Objects<T> {
    pub by_uid: HashMap<Uid, (TargetKey, T)>,
    /// In the order of their uids; seldom more than one.
    pub by_target: HashMap<TargetKey, Vec<Uid>>,
    /// A list on its way.
    incoming: Option<HashMap<Uid, (TargetKey, T)>>,
    pub listed: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { by_uid: HashMap::new(), by_target: HashMap::new(), incoming: None, listed: false }
    }
}

impl<T> Objects<T> {
    pub fn of(&self, target: &TargetKey) -> impl Iterator<Item = &T> {
        let uids = self.by_target.get(target).into_iter().flatten();
        uids.filter_map(|uid| self.by_uid.get(uid)).map(|(_, object)| object)
    }

    pub fn put(&mut self, uid: Uid, target: TargetKey, object: T) {
        self.take(&uid);
        let uids = self.by_target.entry(target.clone()).or_default();
        if let Err(place) = uids.binary_search(&uid) {
            uids.reserve_exact(1);
            uids.insert(place, uid.clone());
        }
        self.by_uid.insert(uid, (target, object));
    }

    pub fn take(&mut self, uid: &str) -> Option<(TargetKey, T)> {
        let (target, object) = self.by_uid.remove(uid)?;
        if let Some(uids) = self.by_target.get_mut(&target) {
            uids.retain(|known| **known != *uid);
            if uids.is_empty() {
                self.by_target.remove(&target);
            }
        }
        Some((target, object))
    }

    pub fn begin_list(&mut self) {
        self.incoming = Some(HashMap::new());
    }

    pub fn list(&mut self, uid: Uid, target: TargetKey, object: T) {
        self.incoming.get_or_insert_default().insert(uid, (target, object));
    }

    /// Replaces what was known; returns every target of which something came or is another, and what went. Of the first
    /// list nothing is news: whoever begins to work asks for all.
    pub fn end_list(&mut self, same: impl Fn(&T, &T) -> bool) -> (BTreeSet<TargetKey>, HashMap<Uid, (TargetKey, T)>) {
        let listed = self.incoming.take().unwrap_or_default();
        let mut known = std::mem::take(&mut self.by_uid);
        self.by_target.clear();
        let mut touched = BTreeSet::new();
        for (uid, (target, object)) in listed {
            if !known.remove(&uid).is_some_and(|(was_of, was)| was_of == target && same(&was, &object)) {
                touched.insert(target.clone());
            }
            self.put(uid, target, object);
        }
        if !std::mem::replace(&mut self.listed, true) {
            touched.clear();
        }
        (touched, known)
    }
}
