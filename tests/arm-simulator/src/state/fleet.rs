//! Many machines at once: named by their number, spread over subscriptions and groups.
use serde::{Deserialize, Serialize};

use super::World;
use super::seed::MachineSeed;
use crate::id::{Kind, ResourceId};

/// So many machines, all alike, machine after machine in subscription after subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fleet {
    /// Of machines and identities; a fleet of another name is another one.
    pub name: String,
    pub machines: usize,
    pub subscriptions: usize,
    /// The number of the first of them.
    pub first_subscription: usize,
    /// Of each subscription.
    pub groups: usize,
    /// Every so-manieth machine is a scale set; 0: none is.
    pub scale_set_every: usize,
    /// Names of the identities that each machine has at the start; they lie in its group.
    pub identities: Vec<String>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            name: "fleet".to_owned(),
            machines: 0,
            subscriptions: 1,
            first_subscription: 0,
            groups: 1,
            scale_set_every: 0,
            identities: Vec::new(),
        }
    }
}

impl Fleet {
    /// The id of the subscription of that number.
    #[must_use]
    pub fn subscription(number: usize) -> String {
        format!("f1ee7000-0000-4000-8000-{number:012x}")
    }

    fn place(&self, number: usize) -> (String, String) {
        let subscriptions = self.subscriptions.max(1);
        let group = (number / subscriptions) % self.groups.max(1);
        (Self::subscription(self.first_subscription + number % subscriptions), format!("{}-{group}", self.name))
    }

    #[must_use]
    pub fn machine(&self, number: usize) -> String {
        let (subscription, group) = self.place(number);
        let scale_set = self.scale_set_every > 0 && number.is_multiple_of(self.scale_set_every);
        let kind = if scale_set { Kind::VirtualMachineScaleSet } else { Kind::VirtualMachine };
        ResourceId::new(&subscription, &group, kind, &format!("{}-{number}", self.name)).to_string()
    }

    /// An identity in the group of that machine.
    #[must_use]
    pub fn identity(&self, number: usize, name: &str) -> String {
        let (subscription, group) = self.place(number);
        ResourceId::new(&subscription, &group, Kind::UserAssignedIdentity, name).to_string()
    }
}

impl World {
    pub fn sow_fleet(&mut self, fleet: &Fleet) -> anyhow::Result<()> {
        for number in 0..fleet.machines {
            let (id, identities) = (fleet.machine(number), fleet.identities.clone());
            self.sow_machine(MachineSeed { id, identities, ..MachineSeed::default() })?;
        }
        Ok(())
    }
}
