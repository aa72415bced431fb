//! The controller's processes: killed, paused, doubled and started anew while the story goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastrand::Rng;
use strum::IntoStaticStr;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use crate::harness::{Controller, Own};

/// The brake has tests of its own.
const FLAGS: [&str; 1] = ["--removal-burst=100000"];

/// Between two looks at whether the process runs.
const LOOK: Duration = Duration::from_millis(200);
/// What a process says that cannot start since the API server refuses it, or is not there.
const AT_THE_START: [&str; 3] =
    ["the Kubernetes API server cannot be asked", "the Kubernetes API server did not answer", "no permission to list"];

/// What becomes of the processes, one after another.
#[derive(Clone, Copy, Debug, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Turn {
    /// SIGKILL; the next one starts so much later.
    Kill { down: u64 },
    /// SIGTERM, likewise.
    Terminate { down: u64 },
    /// Two at once for a while.
    Double { millis: u64 },
    /// Two at once, then the first is killed.
    Succeed { millis: u64 },
    /// Stopped and continued.
    Freeze { millis: u64 },
}

fn turn(rng: &mut Rng) -> Turn {
    match rng.u8(..8) {
        0..4 => Turn::Kill { down: if rng.bool() { 0 } else { rng.u64(..2_000) } },
        4 => Turn::Terminate { down: rng.u64(..1_000) },
        5 => Turn::Double { millis: rng.u64(1_000..5_000) },
        6 => Turn::Succeed { millis: rng.u64(1_000..5_000) },
        _ => Turn::Freeze { millis: rng.u64(500..3_000) },
    }
}

/// When all is restless, processes and weather alike, and when all is left alone. A process waits 10 s for what another
/// one was about to write, and reads all machines when it starts: where none is left alone for long, nothing settles.
#[derive(Clone, Copy, Debug)]
pub struct Unrest {
    pub since: Instant,
    pub restless: Duration,
    pub calm: Duration,
}

impl Unrest {
    /// How long it is calm still.
    pub fn calm_for(&self) -> Duration {
        let cycle = self.restless + self.calm;
        let into = Duration::from_secs_f64(self.since.elapsed().as_secs_f64() % cycle.as_secs_f64());
        if into < self.restless { Duration::ZERO } else { cycle.saturating_sub(into) }
    }
}

/// Processes that all come to the cluster by the same way.
pub struct Crew<'a> {
    pub own: &'a Own,
    pub kubeconfig: &'a Path,
    pub unrest: Unrest,
}

impl Crew<'_> {
    /// Goes on until told that the story is over; then one process runs, and is given back, with what was done to them.
    pub async fn run(&self, seed: u64, over: &CancellationToken) -> Result<(Controller, Tally)> {
        let (mut rng, mut turns) = (Rng::with_seed(seed), Tally::default());
        let mut running = self.start()?;
        loop {
            let spell = self.unrest.calm_for() + Duration::from_millis(rng.u64(1_000..7_000));
            running = self.keep(running, spell, &mut turns, over).await?;
            if over.is_cancelled() {
                break;
            }
            let turn = turn(&mut rng);
            turns.count(turn.into());
            running = self.take(running, turn).await?;
        }
        ended_well(&running.log)?;
        Ok((running, turns))
    }

    /// As a kubelet does: one that ended by itself is started again.
    async fn keep(
        &self,
        mut running: Controller,
        spell: Duration,
        turns: &mut Tally,
        over: &CancellationToken,
    ) -> Result<Controller> {
        let begun = Instant::now();
        while begun.elapsed() < spell && !over.is_cancelled() {
            if !running.runs()? {
                turns.count("restart");
                running = self.start()?;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(running)
    }

    fn start(&self) -> Result<Controller> {
        self.own.start_by(self.kubeconfig, &FLAGS)
    }

    async fn take(&self, mut running: Controller, turn: Turn) -> Result<Controller> {
        let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
        match turn {
            Turn::Kill { down } => {
                running.kill()?;
                pause(down).await;
                self.start()
            }
            Turn::Terminate { down } => {
                if running.runs()? {
                    running.terminate().await?;
                }
                pause(down).await;
                self.start()
            }
            Turn::Double { millis } => {
                let second = self.start()?;
                pause(millis).await;
                second.kill()?;
                Ok(running)
            }
            Turn::Succeed { millis } => {
                let second = self.start()?;
                pause(millis).await;
                running.kill()?;
                Ok(second)
            }
            Turn::Freeze { millis } => {
                // One that has just ended hears nothing, and is started again.
                if running.signal("STOP").is_ok() {
                    pause(millis).await;
                    running.signal("CONT")?;
                }
                Ok(running)
            }
        }
    }
}

/// No process ended by itself but at its start, for want of an API server that answers; and none panicked.
fn ended_well(log: &Path) -> Result<()> {
    let log = std::fs::read_to_string(log)?;
    let wrong: Vec<&str> = log
        .lines()
        .filter(|line| !line.starts_with('{') && !line.is_empty())
        .filter(|line| !AT_THE_START.iter().any(|told| line.contains(told)))
        .collect();
    ensure!(wrong.is_empty(), "a process ended by itself: {wrong:#?}");
    Ok(())
}
