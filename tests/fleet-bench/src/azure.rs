//! The simulated Azure, and what it tells of the requests that came.
use anyhow::{Context as _, Result};
use arm_simulator::{ArmSimulator, Count, Endpoints, Fault, Seeds, Settings, Sightings};
use devenv::control_plane::ControlPlane;
use devenv::guardian::{Guarded, Guardian};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::ops::Sub;
use std::path::Path;
use std::time::Duration;

use crate::options::Simulated;
use crate::wait::until;

/// Runs the simulated Azure until this process is ended.
///
/// # Errors
/// When it cannot start.
pub fn simulate(settings: &Path) -> Result<()> {
    let settings: Settings = serde_json::from_str(&fs::read_to_string(settings)?)?;
    let simulator = ArmSimulator::start(settings)?;
    // The endpoints lie in a file by now; a line says that it is whole.
    writeln!(std::io::stdout(), "{}", simulator.admin_url())?;
    loop {
        std::thread::park();
    }
}

/// Kept running for as long as this lives.
#[expect(dead_code, reason = "each is held, and ends when it is dropped")]
enum Kept {
    Apart(Guarded),
    Here(ArmSimulator),
}

pub struct Azure {
    pub endpoints: Endpoints,
    http: reqwest::Client,
    _kept: Kept,
}

/// One PATCH of a machine, as it came.
#[derive(Clone, Debug, Deserialize)]
pub struct Patch {
    pub at: Timestamp,
    pub path: String,
    #[serde(rename = "request_body")]
    body: Value,
}

impl Patch {
    /// A probe asks whether `If-Match` is honoured and changes nothing.
    pub fn is_probe(&self) -> bool {
        self.body.get("identity").is_none()
    }
}

impl Azure {
    pub async fn start(control_plane: &ControlPlane, simulated: Simulated) -> Result<Self> {
        let dir = control_plane.directory().join("azure");
        fs::create_dir_all(&dir)?;
        let settings = Settings { dir: Some(dir.clone()), journal_in_brief: true, ..Settings::default() };
        let (endpoints, kept) = match simulated {
            Simulated::Here => {
                let simulator = ArmSimulator::start(settings)?;
                (simulator.endpoints().clone(), Kept::Here(simulator))
            }
            Simulated::Apart => {
                let file = dir.join("settings.json");
                fs::write(&file, serde_json::to_string(&settings)?)?;
                let program = Guardian::of(std::env::current_exe()?).args(["simulate".into(), file.into_os_string()]);
                let process = program.spawn(&dir.join("simulator.log"), Some(control_plane.scratch()))?;
                (announced(&dir).await?, Kept::Apart(process))
            }
        };
        Ok(Self { endpoints, http: reqwest::Client::builder().build()?, _kept: kept })
    }

    async fn get<T: DeserializeOwned>(&self, page: &str) -> Result<T> {
        let answer = self.http.get(format!("{}{page}", self.endpoints.admin)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn post(&self, page: &str, body: &impl Serialize) -> Result<Value> {
        let answer = self.http.post(format!("{}{page}", self.endpoints.admin)).json(body).send().await?;
        let told: Value = answer.json().await?;
        anyhow::ensure!(told.get("error").is_none(), "the simulator refuses {page}: {told}");
        Ok(told)
    }

    pub async fn sow(&self, seeds: &Seeds) -> Result<()> {
        self.post("/seeds", seeds).await.map(|_| ())
    }

    pub async fn set(&self, settings: &Value) -> Result<()> {
        self.post("/settings", settings).await.map(|_| ())
    }

    pub async fn arm(&self, fault: &Fault) -> Result<()> {
        self.post("/faults", fault).await.map(|_| ())
    }

    /// Ends every operation that runs.
    pub async fn finish_operations(&self) -> Result<()> {
        self.post("/operations/finish", &json!({})).await.map(|_| ())
    }

    pub async fn watch_for_sightings(&self) -> Result<()> {
        self.post("/sightings", &json!({})).await.map(|_| ())
    }

    pub async fn sightings(&self) -> Result<Sightings> {
        self.get("/sightings").await
    }

    /// Of operations begun since: how many run, and how long the longest lasted.
    pub async fn operations_since(&self, since: Timestamp) -> Result<(u64, Duration)> {
        let told: Value = self.get(&format!("/operations?since={since}")).await?;
        let running = told["running"].as_u64().context("no number of operations")?;
        Ok((running, Duration::from_millis(told["longest_millis"].as_u64().unwrap_or_default())))
    }

    pub async fn calls(&self) -> Result<Calls> {
        let counts: Vec<Count> = self.get("/tally").await?;
        Ok(Calls::of(counts))
    }

    /// A mark for [`Self::patches_since`].
    pub async fn mark(&self) -> Result<u64> {
        let told: Value = self.get("/journal/latest").await?;
        told["seq"].as_u64().context("no number")
    }

    /// Every PATCH after a mark whose path holds the text, probes left out.
    pub async fn patches_since(&self, mark: u64, path: &str) -> Result<Vec<Patch>> {
        let page = format!("/journal?since={mark}&method=PATCH&path={path}");
        let mut patches: Vec<Patch> = self.get(&page).await?;
        patches.retain(|patch| !patch.is_probe());
        Ok(patches)
    }
}

async fn announced(dir: &Path) -> Result<Endpoints> {
    let log = dir.join("endpoints.json");
    until("the simulator starts", Duration::from_secs(60), Duration::from_millis(20), async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok(serde_json::from_str(&text).ok())
    })
    .await
}

/// Requests to ARM, by what was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    pub gets: u64,
    pub lists: u64,
    pub patches: u64,
    pub polls: u64,
    /// Groups, identities, subscriptions.
    pub others: u64,
    pub throttled: u64,
}

impl Calls {
    fn of(counts: Vec<Count>) -> Self {
        let mut calls = Self::default();
        for Count { sort, count } in counts {
            let field = match sort.what.as_str() {
                "token" | "imds" | "stranger" | "admin" => continue,
                "get machine" => &mut calls.gets,
                "patch machine" => &mut calls.patches,
                "poll" => &mut calls.polls,
                what if what.starts_with("list ") => &mut calls.lists,
                _ => &mut calls.others,
            };
            *field += count;
            if sort.status == Some(429) {
                calls.throttled += count;
            }
        }
        calls
    }

    pub const fn all(&self) -> u64 {
        self.gets + self.lists + self.patches + self.polls + self.others
    }

    /// What ARM's bucket for reads counts.
    pub const fn reads(&self) -> u64 {
        self.gets + self.lists + self.polls + self.others
    }
}

impl Sub for Calls {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            gets: self.gets - before.gets,
            lists: self.lists - before.lists,
            patches: self.patches - before.patches,
            polls: self.polls - before.polls,
            others: self.others - before.others,
            throttled: self.throttled - before.throttled,
        }
    }
}
