//! Machines to play with, and a first manifest for one of them.

use arm_simulator::ArmSimulator;

/// The subscription of the samples.
pub const SUBSCRIPTION: &str = "5a3b1e00-0000-4000-8000-000000000001";
const GROUP: &str = "shop";

/// What was made.
#[derive(Debug)]
pub struct Sample {
    /// ARM ids of the machines, with a word about each.
    pub machines: Vec<(String, &'static str)>,
    /// An assignment for the first of them.
    pub manifest: String,
}

/// Makes two VMs, a scale set and two identities in the simulator.
#[must_use]
pub fn sow(arm: &ArmSimulator) -> Sample {
    let identity = |name| arm.identity(SUBSCRIPTION, GROUP, name).create();
    let (database, _queue) = (identity("shop-db"), identity("shop-queue"));
    let web = arm.vm(SUBSCRIPTION, GROUP, "web").with_identity("legacy").create();
    let batch = arm.vm(SUBSCRIPTION, GROUP, "batch").create();
    let workers = arm.scale_set(SUBSCRIPTION, GROUP, "workers").with_system().create();
    Sample {
        manifest: manifest(&web.id(), database.id()),
        machines: vec![
            (web.id(), "a VM that carries somebody else's identity, legacy"),
            (batch.id(), "a VM without identities"),
            (workers.id(), "a scale set with its system identity on"),
        ],
    }
}

fn manifest(machine: &str, identity: &str) -> String {
    format!(
        "apiVersion: lanyard.dev/v1alpha1\n\
         kind: IdentityAssignment\n\
         metadata: {{name: web, namespace: default}}\n\
         spec:\n\
         \x20 target:\n\
         \x20   resourceId: {machine}\n\
         \x20 systemAssigned: Enabled\n\
         \x20 userAssigned:\n\
         \x20 - resourceId: {identity}\n"
    )
}
