//! ARM's answers from a file, in place of ARM: for tests, and to look at a state again.
use super::identities::Seen;
use super::live::{Lookup, Missing, group_key};
use crate::arm::{Described, describe};
use crate::domain::identity::Known;
use crate::domain::{IdentityId, Live, Own, TargetId};
use serde_json::{Deserializer, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Why a file is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{file} cannot be read")]
    Unreadable { file: String, source: std::io::Error },
    #[error("{file} is no JSON")]
    NotJson { file: String, source: serde_json::Error },
    #[error("{file} holds what is no answer of ARM about a machine, a resource group or an identity: {why}")]
    Unknown { file: String, why: String },
}

/// What ARM answered: machines, resource groups and identities. What is not in it is not there.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub machines: BTreeMap<TargetId, Live>,
    groups: BTreeMap<String, Option<String>>,
    identities: BTreeMap<IdentityId, Own>,
    /// All of it, of those whose bodies tell all.
    pub objects: BTreeMap<IdentityId, Known>,
}

impl State {
    /// Reads the bodies of GETs and of LISTs, one after the other or in one JSON list.
    ///
    /// # Errors
    /// [`StateError`]
    pub fn read(path: &Path) -> Result<Self, StateError> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| StateError::Unreadable { file: file.clone(), source })?;
        let mut state = Self::default();
        for body in Deserializer::from_str(&text).into_iter::<Value>() {
            let body = body.map_err(|source| StateError::NotJson { file: file.clone(), source })?;
            state.take(&body).map_err(|why| StateError::Unknown { file: file.clone(), why })?;
        }
        Ok(state)
    }

    fn take(&mut self, body: &Value) -> Result<(), String> {
        let entries = body.as_array().or_else(|| body.get("value").and_then(Value::as_array));
        if let Some(entries) = entries {
            return entries.iter().try_for_each(|entry| self.take(entry));
        }
        match describe(body)? {
            Described::Machine(target, live) => {
                self.machines.insert(target, *live);
            }
            Described::Identity(id, principal, known) => {
                self.objects.extend(known.map(|known| (id.clone(), known)));
                self.identities.insert(id, principal.principal_id.map_or(Own::Untold, Own::There));
            }
            Described::Group { key, managed_by } => {
                self.groups.insert(key, managed_by);
            }
        }
        Ok(())
    }

    /// What is known of these machines.
    #[must_use]
    pub fn look<'a>(&self, targets: impl Iterator<Item = &'a TargetId>) -> Lookup {
        let found = |target: &TargetId| self.machines.get(target).cloned().ok_or(Missing::NotThere);
        let machines: BTreeMap<_, _> = targets.map(|target| (target.clone(), found(target))).collect();
        let groups = machines.keys().map(group_key).filter_map(|key| {
            let managed_by = self.groups.get(&key)?.clone();
            Some((key, managed_by))
        });
        let seen = self.objects.iter().map(|(id, known)| (id.clone(), Seen::There(known.clone())));
        Lookup { groups: groups.collect(), identities: self.identities.clone(), machines, objects: seen.collect() }
    }
}
