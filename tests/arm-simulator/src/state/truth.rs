//! What really is, for assertions from another process.
use serde_json::{Value, json};

use super::World;
use super::machine::Machine;

impl World {
    /// Machines whose key holds the text: as they are, and as they were when they went.
    pub fn truth(&self, part: &str) -> Value {
        let part = crate::id::fold(part);
        let machines = self.machines.values().filter(|machine| machine.id.key().contains(&part));
        let gone = self.buried.iter().filter(|machine| machine.id.key().contains(&part));
        let identities = self.identities.keys().filter(|key| key.contains(&part));
        json!({
            "machines": machines.map(told).collect::<Vec<_>>(),
            "gone": gone.map(told).collect::<Vec<_>>(),
            "identities": identities.collect::<Vec<_>>(),
        })
    }
}

fn told(machine: &Machine) -> Value {
    json!({
        "id": machine.id.to_string(),
        "uniqueId": machine.unique_id,
        "etag": machine.model.etag_text(),
        "type": machine.model.identity.type_name(),
        "systemPrincipal": machine.model.identity.system,
        "identities": machine.model.identity.user_keys(),
        "tags": machine.model.tags,
        "provisioningState": machine.model.provisioning,
        "operation": machine.operation,
        "history": machine.history,
    })
}
