//! A stage for a test: a cluster, a cloud, a running controller; and hands and eyes for them.
//!
//! ```text
//!   Stage::shared() ── one control plane, one Azure, one controller for all tests of the process;
//!                      each test has a namespace and a subscription of its own
//!   Own::new(..)    ── an Azure and a controller of the test's own, on a control plane that it has
//!                      to itself for a while: to kill, stop, or give flags and settings
//! ```

mod act;
mod api_proxy;
mod assignment;
mod own;
mod partition;
mod process;
mod read;
mod tell;
mod wait;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use arm_simulator::{ArmSimulator, Identity, MachineBuilder};
use devenv::world::World;
use std::sync::{Mutex, PoisonError};

pub use api_proxy::{ApiProxy, Asked, Trouble};
pub use assignment::{Declared, assignment};

pub use own::Own;
pub use partition::Partition;
pub use process::{Controller, tail};
pub use read::{asked, is_list, names_of, sent};
pub use wait::until_some;

/// The resource group of every machine and identity, unless a test says otherwise.
pub const GROUP: &str = "shop";

/// The controller that ordinary tests share.
static CONTROLLER: Mutex<Option<Controller>> = Mutex::new(None);

/// A test's own namespace and subscription, watched over by a controller.
pub struct Stage<'a> {
    pub namespace: String,
    pub subscription: String,
    pub client: kube::Client,
    pub arm: &'a ArmSimulator,
    /// Where the controller writes its log.
    pub log: PathBuf,
}

impl Stage<'static> {
    /// A part of what ordinary tests share.
    pub async fn shared() -> Result<Self> {
        let world = World::start().await?;
        let log = shared_controller(&world)?;
        let arm = world.arm();
        Ok(Self { namespace: world.namespace, subscription: world.subscription, client: world.client, arm, log })
    }
}

fn shared_controller(world: &World) -> Result<PathBuf> {
    let mut running = CONTROLLER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(controller) = &*running {
        return Ok(controller.log.clone());
    }
    // The brake has tests of its own; here the removals of all tests add up.
    let flags = ["--removal-burst=100000"];
    let controller = Controller::start("lanyard", &world.variables(), &flags, world.control_plane().scratch())?;
    Ok(running.insert(controller).log.clone())
}

impl Stage<'_> {
    pub fn vm(&self, name: &str) -> MachineBuilder {
        self.arm.vm(&self.subscription, GROUP, name)
    }

    pub fn scale_set(&self, name: &str) -> MachineBuilder {
        self.arm.scale_set(&self.subscription, GROUP, name)
    }

    /// An identity beside the machines.
    pub fn identity(&self, name: &str) -> Identity {
        self.arm.identity(&self.subscription, GROUP, name).create()
    }

    /// The ARM id of an identity beside the machines, there or not.
    pub fn identity_id(&self, name: &str) -> String {
        let provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities";
        format!("/subscriptions/{}/resourceGroups/{GROUP}/{provider}/{name}", self.subscription)
    }

    /// Waits until there is something to see; else tells all that is known, and fails.
    pub async fn until_some<T>(&self, what: &str, look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        match until_some(look).await? {
            Some(seen) => Ok(seen),
            None => Err(anyhow::anyhow!("waited in vain for this: {what}\n{}", tell::everything(self).await)),
        }
    }

    /// Waits until it is so; else tells all that is known, and fails.
    pub async fn until(&self, what: &str, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        self.until_some(what, async || Ok(look().await?.then_some(()))).await.context("until")
    }
}
