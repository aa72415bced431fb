//! How long nobody leads of two replicas, when the leader is killed and when it is told to stop.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use arm_simulator::{Effect, Fault, Settings};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::control_plane::Options;
use crate::environment::Environment;
use crate::figures::{GROUP, SUBSCRIPTION, identity, is_ready, spread};
use crate::guardian::{Guarded, Guardian};

const PATIENCE: Duration = Duration::from_secs(90);
const GLANCE: Duration = Duration::from_millis(10);

/// Kills the leader so often, then tells it to stop so often; prints a line for each figure.
///
/// # Errors
/// When something does not start, or nobody takes over.
pub async fn measure(lanyard: &Path, times: usize) -> Result<()> {
    let environment = Environment::start(Options { controller_manager: false }, Settings::quick()).await?;
    let mut bench = Bench::start(environment, lanyard).await?;
    bench.series("killed (kill -9)", "KILL", times).await?;
    bench.series("told to stop (SIGTERM)", "TERM", times).await
}

struct Replica {
    name: String,
    process: Guarded,
}

struct Bench {
    environment: Environment,
    lanyard: PathBuf,
    leases: Api<Lease>,
    assignments: Api<DynamicObject>,
    resource: ApiResource,
    replicas: Vec<Replica>,
    started: usize,
    machines: usize,
}

/// From the signal on.
#[derive(Default)]
struct Waits {
    led: Vec<Duration>,
    fresh: Vec<Duration>,
    cut_off: Vec<Duration>,
}

impl Bench {
    async fn start(environment: Environment, lanyard: &Path) -> Result<Self> {
        environment.arm.subscription(SUBSCRIPTION);
        environment.arm.identity(SUBSCRIPTION, GROUP, "first").create();
        let client = environment.control_plane.client().await?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("lanyard.dev", "v1alpha1", "IdentityAssignment"));
        Ok(Self {
            leases: Api::namespaced(client.clone(), "default"),
            assignments: Api::default_namespaced_with(client, &resource),
            environment,
            lanyard: lanyard.into(),
            resource,
            replicas: Vec::new(),
            started: 0,
            machines: 0,
        })
    }

    async fn series(&mut self, what: &str, signal: &str, times: usize) -> Result<()> {
        let mut waits = Waits::default();
        for _ in 0..times {
            if let Err(error) = self.once(signal, &mut waits).await {
                return Err(error.context(self.logs()));
            }
        }
        println!("leader {what}, {times} times");
        println!("  until another leads                    {}", spread(waits.led));
        println!("  until a change made then is Ready      {}", spread(waits.fresh));
        println!("  until one cut off in the middle is     {}", spread(waits.cut_off));
        Ok(())
    }

    /// One change has its operation running when the leader goes, another one comes right after.
    async fn once(&mut self, signal: &str, waits: &mut Waits) -> Result<()> {
        let mut leader = self.leader_with_a_standby().await?;
        let cut_off = self.new_machine();
        // Twice: a leader that has not asked yet whether If-Match is honoured asks by a PATCH of its own.
        self.environment.arm.fault(Fault::new("PATCH", &cut_off, Effect::HoldOperation {}).times(2));
        self.declare(&cut_off).await?;
        until("the PATCH to be taken", async || Ok(self.is_taken(&cut_off))).await?;

        let begun = Instant::now();
        if signal == "KILL" {
            leader.process.kill()?;
        } else {
            leader.process.signal(signal)?;
        }
        self.environment.arm.finish_operations();
        let fresh = self.new_machine();
        self.declare(&fresh).await?;
        let other =
            async || Ok(!matches!(self.holder().await?.as_str(), "" | "nobody") && self.holder().await? != leader.name);
        let (led, fresh, cut_off) = tokio::try_join!(
            async { until("another to lead", other).await.map(|()| begun.elapsed()) },
            async { self.ready(&fresh).await.map(|()| begun.elapsed()) },
            async { self.ready(&cut_off).await.map(|()| begun.elapsed()) },
        )?;
        waits.led.push(led);
        waits.fresh.push(fresh);
        waits.cut_off.push(cut_off);
        Ok(())
    }

    /// Takes the leader out of the replicas, once another one stands by.
    async fn leader_with_a_standby(&mut self) -> Result<Replica> {
        while self.replicas.len() < 2 {
            self.add_replica().await?;
        }
        let holder = self.holder().await?;
        let Some(place) = self.replicas.iter().position(|replica| replica.name == holder) else {
            bail!("{holder} leads, which is none of ours");
        };
        Ok(self.replicas.remove(place))
    }

    async fn add_replica(&mut self) -> Result<()> {
        self.started += 1;
        let name = format!("replica-{}", self.started);
        let log = self.environment.control_plane.directory().join(format!("{name}.log"));
        let mut program = Guardian::of(&self.lanyard).args(["controller", "--http-listen", "127.0.0.1:0"]);
        for (variable, value) in self.environment.variables() {
            program = program.env(variable, value);
        }
        let process = program.env("POD_NAME", &name).spawn(&log, Some(self.environment.control_plane.scratch()))?;
        let placed = async || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            Ok(said.contains("another process leads") || said.contains("this process leads"))
        };
        until("the replica to lead or to stand by", placed).await?;
        self.replicas.push(Replica { name, process });
        Ok(())
    }

    /// The ends of all logs, for whoever asks why.
    fn logs(&self) -> String {
        let log = |number| self.environment.control_plane.directory().join(format!("replica-{number}.log"));
        let ends = (1..=self.started).rev().take(3).map(|number| {
            let text = fs::read_to_string(log(number)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("replica-{number}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        });
        ends.collect::<Vec<_>>().join("\n")
    }

    /// The name of the replica that leads; empty: nobody does.
    async fn holder(&self) -> Result<String> {
        let lease = self.leases.get_opt("lanyard").await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        Ok(holder.split('/').next().unwrap_or_default().to_owned())
    }

    fn new_machine(&mut self) -> String {
        self.machines += 1;
        self.environment.arm.vm(SUBSCRIPTION, GROUP, &format!("vm-{}-x", self.machines)).create().id()
    }

    fn is_taken(&self, machine: &str) -> bool {
        let journal = self.environment.arm.journal_of(SUBSCRIPTION);
        let taken = |call: &arm_simulator::Exchange| {
            call.is("PATCH", machine) && call.status == Some(200) && call.request_body.get("identity").is_some()
        };
        journal.iter().any(taken)
    }

    async fn declare(&self, machine: &str) -> Result<()> {
        let object = DynamicObject::new(name_of(machine), &self.resource).data(json!({"spec": {
            "target": {"resourceId": machine},
            "userAssigned": [{"resourceId": identity("first")}],
        }}));
        self.assignments.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    async fn ready(&self, machine: &str) -> Result<()> {
        let ready = async || Ok(is_ready(&self.assignments.get(name_of(machine)).await?.data, 1));
        until(&format!("{machine} to be ready"), ready).await
    }
}

fn name_of(machine: &str) -> &str {
    machine.rsplit('/').next().unwrap_or_default()
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !look().await? {
        if begun.elapsed() > PATIENCE {
            bail!("waited in vain: {what}");
        }
        sleep(GLANCE).await;
    }
    Ok(())
}
