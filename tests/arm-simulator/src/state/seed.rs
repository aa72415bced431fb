//! What is there at the start, as data; adding more later is the same.
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fleet::Fleet;
use super::identity_block::{Entry, IdentityBlock, Principal};
use super::machine::{Machine, Orchestration, Tags};
use super::restrictions::Restriction;
use super::{Group, Subscription, UserIdentity, World};
use crate::faults::Fault;
use crate::id::{Kind, ResourceId, group_key};

/// Everything that can be declared in one file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seeds {
    pub subscriptions: Vec<Subscription>,
    pub groups: Vec<Group>,
    pub identities: Vec<IdentitySeed>,
    pub machines: Vec<MachineSeed>,
    pub fleets: Vec<Fleet>,
    pub restrictions: Vec<Restriction>,
    pub faults: Vec<Fault>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentitySeed {
    pub id: String,
    pub location: Option<String>,
    pub tags: Tags,
    /// As they were before, where somebody kept them.
    pub principal: Option<Principal>,
}

/// A machine as it is when a test begins. Its subscription, group and identities are made with it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineSeed {
    pub id: String,
    pub location: Option<String>,
    pub tags: Tags,
    pub system: bool,
    /// Its object id, as it was before.
    pub system_principal: Option<String>,
    /// Full ids, or bare names of identities in the machine's own group.
    pub identities: Vec<String>,
    pub orchestration: Orchestration,
    pub etag: Option<u64>,
    pub unique_id: Option<String>,
    pub properties: Map<String, Value>,
}

const LOCATION: &str = "westeurope";

impl World {
    pub fn sow(&mut self, seeds: Seeds) -> anyhow::Result<()> {
        for subscription in seeds.subscriptions {
            self.declare_subscription(&subscription.id, &subscription.tenant);
        }
        for group in seeds.groups {
            self.sow_group(group);
        }
        for identity in seeds.identities {
            self.sow_identity(&identity)?;
        }
        for machine in seeds.machines {
            self.sow_machine(machine)?;
        }
        for fleet in &seeds.fleets {
            self.sow_fleet(fleet)?;
        }
        self.restrictions.extend(seeds.restrictions);
        for fault in seeds.faults {
            self.faults.arm(fault);
        }
        Ok(())
    }

    /// What would make all of it once more, at rest: operations that run have ended, and nothing is past.
    pub fn harvest(&self) -> Seeds {
        Seeds {
            subscriptions: self.subscriptions.values().cloned().collect(),
            groups: self.groups.values().cloned().collect(),
            identities: self.identities.values().map(IdentitySeed::of).collect(),
            machines: self.machines.values().map(MachineSeed::of).collect(),
            ..Seeds::default()
        }
    }

    pub fn sow_group(&mut self, group: Group) {
        self.ensure_group(&group.subscription, &group.name, LOCATION);
        self.groups.insert(group_key(&group.subscription, &group.name), group);
    }

    /// Gives the id; an identity that is there already stays as it is.
    pub fn sow_identity(&mut self, seed: &IdentitySeed) -> anyhow::Result<ResourceId> {
        let id = parsed(&seed.id)?;
        if id.kind != Kind::UserAssignedIdentity {
            bail!("{} is no user-assigned identity", seed.id);
        }
        let location = seed.location.as_deref().unwrap_or(LOCATION);
        self.ensure_group(&id.subscription, &id.group, location);
        self.identities.entry(id.key()).or_insert_with(|| {
            let made = UserIdentity::new(id.clone(), location, seed.tags.clone());
            UserIdentity { principal: seed.principal.clone().unwrap_or_else(|| made.principal.clone()), ..made }
        });
        Ok(id)
    }

    /// Gives the id. A machine of that name is replaced.
    pub fn sow_machine(&mut self, seed: MachineSeed) -> anyhow::Result<ResourceId> {
        let id = parsed(&seed.id)?;
        if id.kind == Kind::UserAssignedIdentity {
            bail!("{} is no machine", seed.id);
        }
        let location = seed.location.as_deref().unwrap_or(LOCATION);
        self.ensure_group(&id.subscription, &id.group, location);
        let mut users = Vec::new();
        for named in &seed.identities {
            let written = full_id(&id, named);
            let seed = IdentitySeed { id: written.clone(), ..IdentitySeed::default() };
            let key = self.sow_identity(&seed)?.key();
            let principal = self.identities.get(&key).map(|identity| identity.principal.clone());
            users.push(Entry { written, principal });
        }
        let mut machine = Machine::new(id.clone(), location);
        machine.orchestration = seed.orchestration;
        let principal = || seed.system_principal.unwrap_or_else(|| Uuid::new_v4().to_string());
        machine.model.identity = IdentityBlock { system: seed.system.then(principal), users };
        machine.model.tags = seed.tags;
        machine.model.properties = seed.properties;
        machine.model.etag = seed.etag.unwrap_or(1);
        machine.unique_id = seed.unique_id.unwrap_or(machine.unique_id);
        self.machines.insert(id.key(), machine);
        Ok(id)
    }
}

impl IdentitySeed {
    fn of(identity: &UserIdentity) -> Self {
        Self {
            id: identity.id.to_string(),
            location: Some(identity.location.clone()),
            tags: identity.tags.clone(),
            principal: Some(identity.principal.clone()),
        }
    }
}

impl MachineSeed {
    fn of(machine: &Machine) -> Self {
        let model = &machine.model;
        Self {
            id: machine.id.to_string(),
            location: Some(machine.location.clone()),
            tags: model.tags.clone(),
            system: model.identity.system.is_some(),
            system_principal: model.identity.system.clone(),
            identities: model.identity.users.iter().map(|entry| entry.written.clone()).collect(),
            orchestration: machine.orchestration,
            etag: Some(model.etag),
            unique_id: Some(machine.unique_id.clone()),
            properties: model.properties.clone(),
        }
    }
}

fn parsed(id: &str) -> anyhow::Result<ResourceId> {
    ResourceId::parse(id).with_context(|| format!("{id} is no resource id that the simulator keeps"))
}

/// A bare name means an identity beside the machine.
pub fn full_id(machine: &ResourceId, named: &str) -> String {
    if named.starts_with('/') {
        return named.to_owned();
    }
    let kind = Kind::UserAssignedIdentity;
    ResourceId::new(&machine.subscription, &machine.group, kind, named).to_string()
}
