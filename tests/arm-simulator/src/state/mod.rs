//! Everything the simulator knows, behind one lock; nothing here waits.
pub mod fleet;
pub mod foreign;
pub mod history;
pub mod identity_block;
#[cfg(test)]
mod identity_block_tests;
pub mod machine;
pub mod machines;
pub mod operations;
pub mod restrictions;
pub mod seed;
pub mod sightings;
pub mod truth;
pub mod writes;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::entra::Tokens;
use crate::faults::Faults;
use crate::id::{ResourceId, fold, group_key, lies_under};
use crate::journal::Journal;
use crate::settings::{DeadEntries, Settings, TENANT};
use crate::throttle::Throttle;
use crate::wire::Call;
use identity_block::{Entry, Principal};
use machine::{Machine, Tags};
use machines::Machines;
use operations::Operations;
use restrictions::Restriction;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscription {
    pub id: String,
    #[serde(default = "default_tenant")]
    pub tenant: String,
}

fn default_tenant() -> String {
    TENANT.to_owned()
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    pub subscription: String,
    pub name: String,
    #[serde(default)]
    pub location: String,
    #[serde(default)]
    pub managed_by: Option<String>,
    #[serde(default)]
    pub tags: Tags,
}

/// A user-assigned identity as a resource.
#[derive(Clone, Debug)]
pub struct UserIdentity {
    pub id: ResourceId,
    pub location: String,
    pub tags: Tags,
    pub principal: Principal,
    /// When it was made by a request: machines may not find it for a while.
    pub made: Option<Instant>,
}

impl UserIdentity {
    pub fn new(id: ResourceId, location: &str, tags: Tags) -> Self {
        Self {
            id,
            location: location.to_owned(),
            tags,
            made: None,
            principal: Principal { principal_id: Uuid::new_v4().to_string(), client_id: Uuid::new_v4().to_string() },
        }
    }

    /// As ARM shows it: with `resourcegroups` in lower case.
    pub fn rendered(&self, tenant: &str) -> Value {
        let id = self.id.to_string().replacen("/resourceGroups/", "/resourcegroups/", 1);
        json!({
            "location": self.location,
            "tags": self.tags,
            "id": id,
            "name": self.id.name,
            "type": self.id.kind.type_name(),
            "properties": {
                "tenantId": tenant,
                "principalId": self.principal.principal_id,
                "clientId": self.principal.client_id,
            },
        })
    }
}

#[derive(Debug)]
pub struct World {
    pub settings: Settings,
    pub subscriptions: BTreeMap<String, Subscription>,
    pub groups: BTreeMap<String, Group>,
    pub machines: Machines,
    /// The last state of machines that are gone: their history outlives them.
    pub buried: Vec<Machine>,
    /// Which watch for sightings this is: see [`Machine::sighted`].
    pub watch: u64,
    pub identities: BTreeMap<String, UserIdentity>,
    /// How entries of single identities look when they are dead, where the settings do not say.
    pub dead_entries: BTreeMap<String, DeadEntries>,
    pub operations: Operations,
    pub restrictions: Vec<Restriction>,
    pub throttle: Throttle,
    pub faults: Faults,
    pub journal: Journal,
    pub tokens: Tokens,
    /// Requests that will arrive when somebody says so.
    pub parked: Vec<(u64, Call)>,
}

impl World {
    pub fn new(settings: Settings) -> Self {
        Self {
            journal: Journal::new(settings.journal_limit),
            settings,
            subscriptions: BTreeMap::new(),
            groups: BTreeMap::new(),
            machines: Machines::default(),
            buried: Vec::new(),
            watch: 0,
            identities: BTreeMap::new(),
            dead_entries: BTreeMap::new(),
            operations: Operations::default(),
            restrictions: Vec::new(),
            throttle: Throttle::default(),
            faults: Faults::default(),
            tokens: Tokens::default(),
            parked: Vec::new(),
        }
    }

    pub fn declare_subscription(&mut self, id: &str, tenant: &str) {
        let declared = Subscription { id: id.to_owned(), tenant: tenant.to_owned() };
        self.subscriptions.insert(fold(id), declared);
    }

    /// The group, made if it is not there; so is its subscription.
    pub fn ensure_group(&mut self, subscription: &str, name: &str, location: &str) -> &mut Group {
        if !self.subscriptions.contains_key(&fold(subscription)) {
            self.declare_subscription(subscription, TENANT);
        }
        self.groups.entry(group_key(subscription, name)).or_insert_with(|| Group {
            subscription: subscription.to_owned(),
            name: name.to_owned(),
            location: location.to_owned(),
            ..Group::default()
        })
    }

    /// The group goes, and all that lies in it, at once. True: it was there.
    pub fn remove_group(&mut self, subscription: &str, name: &str) -> bool {
        let key = group_key(subscription, name);
        let inside = |other: &&String| lies_under(other, &key);
        let machines: Vec<String> = self.machines.keys().filter(inside).cloned().collect();
        for machine in machines {
            self.bury(&machine);
        }
        self.identities.retain(|other, _| !lies_under(other, &key));
        self.groups.remove(&key).is_some()
    }

    pub fn tenant_of(&self, subscription: &str) -> &str {
        self.subscriptions.get(&fold(subscription)).map_or(TENANT, |subscription| subscription.tenant.as_str())
    }

    /// Whether an entry's identity is gone, or another under the old name.
    pub fn is_dangling(&self, entry: &Entry) -> bool {
        let living = self.identities.get(&entry.key());
        living.is_none_or(|identity| entry.principal.as_ref().is_some_and(|own| *own != identity.principal))
    }

    /// Whether an entry reads `{}` though its principal was known once.
    pub fn reads_blank(&self, entry: &Entry) -> bool {
        match self.dead_entries.get(&entry.key()).copied().unwrap_or(self.settings.dead_entries) {
            DeadEntries::Blank => self.is_dangling(entry),
            DeadEntries::Old => false,
            DeadEntries::AlwaysBlank => true,
        }
    }

    /// Ends the operations whose time has come.
    pub fn settle(&mut self) {
        for id in self.operations.pop_due(Instant::now()) {
            self.end_operation(&id);
        }
    }
}
