//! Builders of machines and identities, and the identity's handle.
use std::sync::Arc;

use super::Machine;
use crate::id::ResourceId;
use crate::settings::DeadEntries;
use crate::simulator::Shared;
use crate::state::foreign::ForeignAct;
use crate::state::machine::Orchestration;
use crate::state::seed::{IdentitySeed, MachineSeed};

/// A machine to be.
#[derive(Debug)]
#[must_use]
pub struct MachineBuilder {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ResourceId,
    pub(super) seed: MachineSeed,
}

impl MachineBuilder {
    pub fn with_system(mut self) -> Self {
        self.seed.system = true;
        self
    }

    /// A full id, or the bare name of an identity in the machine's own group. It is made if absent.
    pub fn with_identity(mut self, id: impl AsRef<str>) -> Self {
        self.seed.identities.push(id.as_ref().to_owned());
        self
    }

    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.seed.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn tags<K: Into<String>, V: Into<String>>(mut self, tags: impl IntoIterator<Item = (K, V)>) -> Self {
        let tags = tags.into_iter().map(|(key, value)| (key.into(), value.into()));
        self.seed.tags.extend(tags);
        self
    }

    pub fn flexible(mut self) -> Self {
        self.seed.orchestration = Orchestration::Flexible;
        self
    }

    pub fn etag(mut self, etag: u64) -> Self {
        self.seed.etag = Some(etag);
        self
    }

    /// What its `properties` hold beside what the simulator knows; no object holds nothing.
    pub fn properties(mut self, properties: &serde_json::Value) -> Self {
        self.seed.properties = properties.as_object().cloned().unwrap_or_default();
        self
    }

    pub fn location(mut self, location: &str) -> Self {
        self.seed.location = Some(location.to_owned());
        self
    }

    /// The group's `managedBy`, as AKS sets it.
    pub fn group_managed_by(self, managed_by: &str) -> Self {
        let mut world = self.shared.world();
        let group = world.ensure_group(&self.id.subscription, &self.id.group, "westeurope");
        group.managed_by = Some(managed_by.to_owned());
        drop(world);
        self
    }

    /// Makes it, or replaces the one of that name.
    pub fn create(self) -> Machine {
        // The builder writes the ids itself; only an identity's id given by a test can be wrong.
        if let Err(why) = self.shared.world().sow_machine(self.seed) {
            tracing::error!(%why, "machine not made");
        }
        Machine { shared: self.shared, id: self.id }
    }
}

/// An identity to be.
#[derive(Debug)]
#[must_use]
pub struct IdentityBuilder {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ResourceId,
}

impl IdentityBuilder {
    /// A handle to it, whether it is there or not.
    #[must_use]
    pub fn unmade(self) -> Identity {
        let written = self.id.to_string();
        Identity { shared: self.shared, id: self.id, written }
    }

    /// Makes it, if it is not there.
    pub fn create(self) -> Identity {
        let written = self.id.to_string();
        let seed = IdentitySeed { id: written.clone(), ..IdentitySeed::default() };
        if let Err(why) = self.shared.world().sow_identity(&seed) {
            tracing::error!(%why, "identity not made");
        }
        Identity { shared: self.shared, id: self.id, written }
    }
}

/// A user-assigned identity, there or not.
#[derive(Clone, Debug)]
pub struct Identity {
    shared: Arc<Shared>,
    id: ResourceId,
    written: String,
}

impl Identity {
    #[must_use]
    pub fn id(&self) -> &str {
        &self.written
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.id.name
    }

    #[must_use]
    pub fn principal_id(&self) -> Option<String> {
        let world = self.shared.world();
        let identity = world.identities.get(&self.id.key());
        identity.map(|identity| identity.principal.principal_id.clone())
    }

    #[must_use]
    pub fn tags(&self) -> std::collections::BTreeMap<String, String> {
        let world = self.shared.world();
        let identity = world.identities.get(&self.id.key());
        identity.map(|identity| identity.tags.clone().into_iter().collect()).unwrap_or_default()
    }

    #[must_use]
    pub fn location(&self) -> Option<String> {
        self.shared.world().identities.get(&self.id.key()).map(|identity| identity.location.clone())
    }

    /// Somebody else does this to it. True: it was there, or is now.
    #[allow(clippy::must_use_candidate, reason = "a test that made the identity knows that it is there")]
    pub fn by_a_stranger(&self, act: &ForeignAct) -> bool {
        self.shared.world().foreign(&self.id.key(), act, "a stranger")
    }

    /// References to it stay. True: it was there.
    #[allow(clippy::must_use_candidate, reason = "a test that made the identity knows that it is there")]
    pub fn delete(&self) -> bool {
        self.shared.world().identities.remove(&self.id.key()).is_some()
    }

    /// How machines show it once it is dead; else as the settings say.
    pub fn when_dead(&self, shown: DeadEntries) {
        self.shared.world().dead_entries.insert(self.id.key(), shown);
    }

    /// Made again after it was deleted.
    pub fn create_again(&self) {
        let (shared, id) = (self.shared.clone(), self.id.clone());
        IdentityBuilder { shared, id }.create();
    }

    /// Deleted and made again: another principal under the old name.
    pub fn recreate(&self) {
        self.delete();
        self.create_again();
    }
}

impl AsRef<str> for Identity {
    fn as_ref(&self) -> &str {
        &self.written
    }
}
