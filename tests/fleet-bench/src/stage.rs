//! One size's control plane, Azure and controller.
use anyhow::{Context as _, Result};
use arm_simulator::{Fleet, IdentitySeed, Seeds};
use devenv::control_plane::{ControlPlane, Options as ControlPlaneOptions};
use devenv::{crds, paths};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

use crate::azure::{Azure, Calls};
use crate::controller::Controller;
use crate::kubernetes::{Asked, Kubernetes, Wish, namespace};
use crate::options::{Options, subscriptions};
use crate::wait::until;

/// The identity that every machine has from the start, and is declared to have.
pub const FIRST: &str = "app-one";
/// The identity that machines get.
pub const SECOND: &str = "app-two";
/// The one that they get after it.
pub const THIRD: &str = "app-three";

/// The program is looked at so often while it works: rarely enough that looking costs it little.
const GLANCE: Duration = Duration::from_millis(100);

pub struct Stage {
    pub azure: Azure,
    pub kubernetes: Kubernetes,
    pub controller: Option<Controller>,
    program: PathBuf,
    flags: Vec<String>,
    /// Where answers of /metrics go.
    scrapes: Option<PathBuf>,
    starts: usize,
    /// Kilobytes: the most that any process of the program that was stopped had resident.
    peak: u64,
    control_plane: ControlPlane,
}

/// What has been used up so far.
#[derive(Clone, Copy)]
pub struct Spent {
    pub at: Instant,
    pub calls: Calls,
    pub asked: Asked,
    pub cpu: Duration,
}

/// What something cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub calls: Calls,
    pub writes: f64,
    pub kubernetes_reads: f64,
    pub cpu: Duration,
}

impl Stage {
    pub async fn start(options: &Options) -> Result<Self> {
        let control_plane = ControlPlane::start(ControlPlaneOptions { controller_manager: false }).await?;
        crds::apply(&control_plane.client().await?, &paths::repository().join("crds")).await?;
        let azure = Azure::start(&control_plane, options.simulated).await?;
        Ok(Self {
            kubernetes: Kubernetes::of(&control_plane).await?,
            azure,
            controller: None,
            program: options.lanyard.clone().context("no program to measure")?,
            flags: options.with.clone(),
            scrapes: options.scrapes.clone(),
            starts: 0,
            peak: 0,
            control_plane,
        })
    }

    /// Makes the machines, each with its first identity, and in each group the others for later.
    pub async fn sow(&self, fleet: &Fleet) -> Result<()> {
        let later = |number| [SECOND, THIRD].map(|name| fleet.identity(number, name));
        let mut ids: Vec<String> = (0..fleet.machines).flat_map(later).collect();
        ids.sort();
        ids.dedup();
        let identities = ids.into_iter().map(|id| IdentitySeed { id, ..IdentitySeed::default() }).collect();
        self.azure.sow(&Seeds { identities, fleets: vec![fleet.clone()], ..Seeds::default() }).await
    }

    pub async fn start_controller(&mut self) -> Result<()> {
        self.starts += 1;
        let (control_plane, azure) = (&self.control_plane, &self.azure);
        let mut controller = Controller::start(&self.program, &self.flags, control_plane, azure, self.starts).await?;
        if let Some(directory) = &self.scrapes {
            controller.scrape_into(directory)?;
        }
        self.controller = Some(controller);
        Ok(())
    }

    pub async fn stop_controller(&mut self) -> Result<()> {
        match self.controller.take() {
            Some(controller) => {
                self.peak = self.peak.max(controller.peak_memory()?);
                controller.stop().await
            }
            None => Ok(()),
        }
    }

    /// Kilobytes: the most that any process of the program had resident.
    pub fn peak_memory(&self) -> Result<u64> {
        Ok(self.peak.max(self.controller()?.peak_memory()?))
    }

    pub fn controller(&self) -> Result<&Controller> {
        self.controller.as_ref().context("the program does not run")
    }

    /// Before a controller is started: it has used nothing.
    pub async fn spent_before_start(&self) -> Result<Spent> {
        let (calls, asked) = (self.azure.calls().await?, self.kubernetes.asked().await?);
        Ok(Spent { at: Instant::now(), calls, asked, cpu: Duration::ZERO })
    }

    pub async fn spent(&self) -> Result<Spent> {
        Ok(Spent { cpu: self.controller()?.cpu()?, ..self.spent_before_start().await? })
    }

    /// What was used between then and now, over a time that was measured already.
    pub async fn cost(&self, before: Spent, wall: Duration) -> Result<Cost> {
        let after = self.spent().await?;
        Ok(Cost {
            wall,
            calls: after.calls - before.calls,
            writes: after.asked.writes - before.asked.writes,
            kubernetes_reads: after.asked.reads - before.asked.reads,
            cpu: after.cpu.saturating_sub(before.cpu),
        })
    }

    /// Waits until the program has nothing to do and all assignments are as they should be. Gives the moment at which
    /// it was idle first, since looking at all of them takes a while.
    pub async fn until_all_are_ready(&self, patience: Duration) -> Result<Instant> {
        let controller = self.controller()?;
        let ready = until("all assignments are ready", patience, GLANCE, async || {
            if !controller.is_idle().await? {
                return Ok(None);
            }
            let idle = Instant::now();
            Ok((self.kubernetes.not_ready().await? == 0).then_some(idle))
        });
        ready.await.with_context(|| controller.last_words())
    }

    /// Waits until reads have shown every machine, and the program has nothing left to do.
    pub async fn until_all_are_verified(&self, machines: usize, patience: Duration) -> Result<Instant> {
        let controller = self.controller()?;
        let verified = until("reads have shown all machines", patience, GLANCE / 4, async || {
            let seen = self.azure.sightings().await?;
            let all = seen.shown >= machines;
            Ok((all && controller.is_idle().await?).then(Instant::now))
        });
        verified.await.with_context(|| controller.last_words())
    }
}

/// The fleet whose size is measured.
pub fn fleet(machines: usize) -> Fleet {
    Fleet {
        name: "fleet".to_owned(),
        machines,
        subscriptions: subscriptions(machines),
        first_subscription: 0,
        groups: 4,
        scale_set_every: 10,
        identities: vec![FIRST.to_owned()],
    }
}

/// VMs beside it, in subscriptions of their own from that number on.
pub fn aside(name: &str, machines: usize, subscriptions: usize, first_subscription: usize) -> Fleet {
    let identities = vec![FIRST.to_owned()];
    Fleet { name: name.to_owned(), machines, subscriptions, first_subscription, identities, ..Fleet::default() }
}

/// What is declared for a machine of a fleet.
pub fn wish(fleet: &Fleet, number: usize, identities: &[&str]) -> Wish {
    Wish {
        name: format!("{}-{number}", fleet.name),
        namespace: namespace(number),
        machine: fleet.machine(number),
        identities: identities.iter().map(|name| fleet.identity(number, name)).collect(),
        drift_interval: None,
    }
}

/// The same for all of them.
pub fn wishes(fleet: &Fleet, identities: &[&str]) -> Vec<Wish> {
    (0..fleet.machines).map(|number| wish(fleet, number, identities)).collect()
}
