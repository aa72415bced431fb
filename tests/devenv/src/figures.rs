//! The figures of the main job, measured on the real control plane with the simulated Azure.
//!
//! What a person waits for (apply to PATCH, end of the operation to `Ready`), what a change costs (calls to ARM,
//! writes to Kubernetes), and what the process weighs when idle.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use arm_simulator::{Pace, Settings};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::control_plane::Options;
use crate::environment::Environment;
use crate::guardian::{Guarded, Guardian};

pub(crate) const SUBSCRIPTION: &str = "5a3b1e00-0000-4000-8000-00000000f16e";
pub(crate) const GROUP: &str = "figures";
/// Machines that get an identity one after the other.
const CHANGES: usize = 40;
/// As long as an update of a VM usually takes.
const OPERATION: Duration = Duration::from_secs(5);
const OPERATIONS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(5);

/// Measures this binary of `lanyard` and prints a line for each figure.
///
/// # Errors
/// When something does not start, or a machine does not get what it was promised.
pub async fn measure(lanyard: &Path) -> Result<()> {
    let environment = Environment::start(Options { controller_manager: false }, Settings::quick()).await?;
    let bench = Bench::start(environment, lanyard).await?;
    println!("binary                                  {:.1} MB", megabytes(fs::metadata(lanyard)?.len()));
    bench.assign("warm-up").await?;
    println!("memory, idle (resident)                 {:.1} MB", bench.resident()?);
    let mut waits = Vec::new();
    for number in 0..CHANGES {
        waits.push(bench.assign(&format!("vm-{number}")).await?);
    }
    println!("apply to PATCH leaving, {CHANGES} machines       {}", spread(waits));
    bench.cost_of_a_change().await?;
    let mut waits = Vec::new();
    for number in 0..OPERATIONS {
        waits.push(bench.operation_to_ready(&format!("slow-{number}")).await?);
    }
    println!("operation of 5 s ends to Ready=True     {}", spread(waits));
    println!("memory, {} machines (resident)         {:.1} MB", CHANGES + OPERATIONS + 2, bench.resident()?);
    Ok(())
}

struct Bench {
    environment: Environment,
    assignments: Api<DynamicObject>,
    resource: ApiResource,
    pid: u32,
    _lanyard: Guarded,
}

impl Bench {
    async fn start(environment: Environment, lanyard: &Path) -> Result<Self> {
        let log = environment.control_plane.directory().join("lanyard.log");
        let mut program = Guardian::of(lanyard).args(["controller", "--http-listen", "127.0.0.1:0"]);
        for (name, value) in environment.variables() {
            program = program.env(name, value);
        }
        let process = program.spawn(&log, Some(environment.control_plane.scratch()))?;
        until("the controller is ready", || {
            Ok(fs::read_to_string(&log).unwrap_or_default().contains("visits begin").then_some(()))
        })
        .await?;
        let pid = fs::read_to_string(log.with_extension("pid"))?.trim().parse().context("the process id")?;
        environment.arm.subscription(SUBSCRIPTION);
        environment.arm.identity(SUBSCRIPTION, GROUP, "first").create();
        environment.arm.identity(SUBSCRIPTION, GROUP, "second").create();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("lanyard.dev", "v1alpha1", "IdentityAssignment"));
        let assignments = Api::default_namespaced_with(environment.control_plane.client().await?, &resource);
        Ok(Self { environment, assignments, resource, pid, _lanyard: process })
    }

    /// Declares one identity for a new machine; returns the time from the apply to the PATCH, after Ready.
    async fn assign(&self, name: &str) -> Result<Duration> {
        let vm = self.environment.arm.vm(SUBSCRIPTION, GROUP, name).with_identity("legacy").create();
        let begun = SystemTime::now();
        self.create(name, &vm.id()).await?;
        let patched = until("the PATCH has left", || Ok(self.patched_at(&vm.id()))).await?;
        self.ready(name, 1).await?;
        Ok(patched.saturating_sub(since_epoch(begun)))
    }

    async fn create(&self, name: &str, machine: &str) -> Result<()> {
        let object = DynamicObject::new(name, &self.resource).data(json!({"spec": {
            "target": {"resourceId": machine},
            "userAssigned": [{"resourceId": identity("first")}],
        }}));
        self.assignments.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// When the first PATCH came that was no probe.
    fn patched_at(&self, machine: &str) -> Option<Duration> {
        let journal = self.environment.arm.journal_of(SUBSCRIPTION);
        let patch = journal.into_iter().find(|exchange| {
            exchange.is("PATCH", machine)
                && exchange.path.ends_with(machine)
                && exchange.request_body.get("identity").is_some()
        })?;
        Some(since_epoch(SystemTime::from(patch.at)))
    }

    /// Waits for `Ready=True` at this generation; returns when it was seen.
    async fn ready(&self, name: &str, generation: i64) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let object = self.assignments.get(name).await?;
            if is_ready(&object.data, generation) {
                return Ok(since_epoch(SystemTime::now()));
            }
            if begun.elapsed() > PATIENCE {
                bail!("{name} is not ready: {}", object.data);
            }
            sleep(GLANCE).await;
        }
    }

    /// A second identity on a machine that has one: what it costs at ARM and at Kubernetes.
    async fn cost_of_a_change(&self) -> Result<()> {
        self.assign("cost").await?;
        // The Event of the first change may be on its way: it is written after the status.
        let before = self.settled_writes().await?;
        let mark = self.environment.arm.journal_of(SUBSCRIPTION).len();
        let more =
            json!({"spec": {"userAssigned": [{"resourceId": identity("first")}, {"resourceId": identity("second")}]}});
        self.assignments.patch("cost", &PatchParams::default(), &Patch::Merge(more)).await?;
        self.ready("cost", 2).await?;
        let after = self.settled_writes().await?;
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        for exchange in self.environment.arm.journal_of(SUBSCRIPTION).into_iter().skip(mark) {
            let kind = if exchange.path.contains("/operations/") { "poll".to_owned() } else { exchange.method.clone() };
            *calls.entry(kind).or_default() += 1;
        }
        println!("ARM calls for one added identity        {calls:?}");
        println!(
            "Kubernetes writes for that change       {} (ours and the apply of the bench: {})",
            after - before - 1,
            after - before
        );
        Ok(())
    }

    /// Writes that the API server has taken, once their number stands still.
    async fn settled_writes(&self) -> Result<u64> {
        let mut last = self.writes().await?;
        loop {
            sleep(Duration::from_millis(400)).await;
            let now = self.writes().await?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }

    async fn writes(&self) -> Result<u64> {
        let output = self.environment.control_plane.kubectl(["get", "--raw", "/metrics"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = |line: &&str| {
            let verb = ["POST", "PUT", "PATCH", "APPLY", "DELETE"]
                .iter()
                .any(|verb| line.contains(&format!("verb=\"{verb}\"")));
            let kind = line.contains("group=\"lanyard.dev\"") || line.contains("resource=\"events\"");
            line.starts_with("apiserver_request_total{") && verb && kind
        };
        Ok(text.lines().filter(ours).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// From the end of an operation of five seconds to `Ready=True`.
    async fn operation_to_ready(&self, name: &str) -> Result<Duration> {
        let millis = u64::try_from(OPERATION.as_millis())?;
        self.environment.arm.set(|settings| settings.operations = Pace::Fixed { millis });
        let vm = self.environment.arm.vm(SUBSCRIPTION, GROUP, name).create();
        self.create(name, &vm.id()).await?;
        let patched = until("the PATCH has left", || Ok(self.patched_at(&vm.id()))).await?;
        let ready = self.ready(name, 1).await?;
        Ok(ready.saturating_sub(patched + OPERATION))
    }

    fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kilobytes / 1024.0)
    }
}

pub(crate) fn identity(name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

pub(crate) fn is_ready(object: &Value, generation: i64) -> bool {
    let status = &object["status"];
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let conditions = status["conditions"].as_array();
    status["observedGeneration"] == generation && conditions.is_some_and(|all| all.iter().any(ready))
}

pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("waited in vain: {what}");
        }
        sleep(GLANCE).await;
    }
}

pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

pub(crate) fn spread(mut waits: Vec<Duration>) -> String {
    waits.sort();
    let at = |share: usize| waits.get((waits.len().saturating_sub(1)) * share / 100).copied().unwrap_or_default();
    format!("median {:.0?}, p95 {:.0?}, worst {:.0?}", at(50), at(95), at(100))
}

#[expect(clippy::cast_precision_loss, reason = "a file's size in megabytes, for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}
