//! What is done at one size, step by step; each step leaves the stage as the next one needs it.
mod adoption;
mod burst;
mod change;
mod idle;
mod mass;
mod start;

use anyhow::Result;
use arm_simulator::Fleet;
use jiff::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use crate::kubernetes::Wish;
use crate::options::{Options, Scenario};
use crate::report::{Report, Row, counted};
use crate::stage::{FIRST, Stage, fleet, wishes};

/// Longer than any of it takes where the API server is slow: a run that hangs ends all the same.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// One size, on a stage of its own.
pub async fn measure(targets: usize, options: &Options, report: &mut Report) -> Result<()> {
    report.begin(targets);
    let mut stage = Stage::start(options).await?;
    let fleet = fleet(targets);
    stage.sow(&fleet).await?;
    stage.kubernetes.apply_all(wishes(&fleet, &[FIRST])).await?;

    adoption::measure(&mut stage, &fleet, options, report).await?;
    stage.stop_controller().await?;
    let pace = stage.kubernetes.writes_a_second(options.pace).await?;
    start::measure(&mut stage, &fleet, options, report).await?;
    let idle_change = change::measure(&stage, options, report).await?;
    if options.wants(Scenario::Slow) {
        change::beside_a_slow_one(&stage, idle_change, options, report).await?;
    }
    if options.wants(Scenario::Burst) {
        burst::measure(&stage, options, report).await?;
    }
    if options.wants(Scenario::Mass) {
        mass::measure(&stage, &fleet, pace, options, report).await?;
    }
    if options.wants(Scenario::Idle) {
        idle::measure(&mut stage, &fleet, options, report).await?;
    }
    all_in_all(&stage, report).await?;
    stage.stop_controller().await
}

/// Of everything that was done at this size.
async fn all_in_all(stage: &Stage, report: &mut Report) -> Result<()> {
    let calls = stage.azure.calls().await?;
    let share = 100.0 * counted(calls.throttled) / counted(calls.all()).max(1.0);
    report.add(Row::new("throttled", "429s, of all calls to ARM", share, "%").at_most(0.1));
    let most = stage.peak_memory()?;
    report.add(Row::new("memory", "peak resident memory", counted(most) / 1_000.0, "MB").at_most(150.0));
    Ok(())
}

/// Lets accepted writes take so long.
async fn operations_last(stage: &Stage, time: Duration) -> Result<()> {
    stage.azure.set(&json!({"operations": {"fixed": {"millis": u64::try_from(time.as_millis())?}}})).await
}

/// When each of these changes was applied, and when its PATCH came.
#[derive(Default)]
struct Stopwatch {
    applied: Vec<(String, Timestamp)>,
    /// What the longest of the applies took by itself.
    longest_apply: Duration,
}

impl Stopwatch {
    async fn apply(&mut self, stage: &Stage, wish: &Wish) -> Result<()> {
        self.applied.push((wish.machine.to_lowercase(), Timestamp::now()));
        let begun = Instant::now();
        stage.kubernetes.apply(wish).await?;
        self.longest_apply = self.longest_apply.max(begun.elapsed());
        Ok(())
    }

    /// How long each took from before its apply until its PATCH came, the shortest first. Those without are left out.
    async fn waits(&self, stage: &Stage, mark: u64, part: &str) -> Result<Vec<Duration>> {
        let mut first: HashMap<String, Timestamp> = HashMap::new();
        for patch in stage.azure.patches_since(mark, part).await? {
            first.entry(patch.path.to_lowercase()).or_insert(patch.at);
        }
        let wait = |(machine, applied): &(String, Timestamp)| {
            first.get(machine).map(|came| Duration::try_from(came.duration_since(*applied)).unwrap_or_default())
        };
        let mut waits: Vec<Duration> = self.applied.iter().filter_map(wait).collect();
        waits.sort();
        Ok(waits)
    }
}

/// The value below which so many per cent lie, of sorted ones.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Sows machines and declares what they already have, until the program has taken note.
async fn adopted(stage: &Stage, fleet: &Fleet, namespace: &str) -> Result<()> {
    stage.sow(fleet).await?;
    let mut wishes = wishes(fleet, &[FIRST]);
    for wish in &mut wishes {
        namespace.clone_into(&mut wish.namespace);
    }
    stage.kubernetes.apply_all(wishes).await?;
    stage.until_all_are_ready(PATIENCE).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&sorted, percent).as_millis()), [100, 198, 200]);
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
