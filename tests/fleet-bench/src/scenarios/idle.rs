//! An hour in which nothing changes, compressed: the drift interval is 30 s in place of 10 minutes.
//!
//! What comes with every interval is divided by the compression; what comes with time alone (a lease to renew, a
//! connection to keep) is measured at the default interval, in which no drift check falls, and is not.
use anyhow::Result;
use arm_simulator::Fleet;
use std::time::Duration;
use tokio::time::sleep;

use super::PATIENCE;
use crate::kubernetes::Wish;
use crate::options::Options;
use crate::report::{Report, Row, counted, float};
use crate::stage::{Cost, FIRST, SECOND, Stage, wishes};

/// The shortest that may be declared.
const SHORT: Duration = Duration::from_secs(30);
/// The default, which the figures are about.
const USUAL: Duration = Duration::from_secs(600);

/// Leaves only the fleet, and the program running.
pub async fn measure(stage: &mut Stage, fleet: &Fleet, options: &Options, report: &mut Report) -> Result<()> {
    stage.stop_controller().await?;
    stage.kubernetes.keep_only("fleet-").await?;
    restarted(stage, fleet).await?;
    let still = over(stage, SHORT).await?;

    stage.stop_controller().await?;
    let often = |wish| Wish { drift_interval: Some("30s"), ..wish };
    stage.kubernetes.apply_all(declared(stage, fleet).await?.into_iter().map(often).collect()).await?;
    restarted(stage, fleet).await?;
    let checked = over(stage, SHORT * options.idle_intervals.max(1)).await?;
    tell(&still, &checked, fleet, report);
    Ok(())
}

/// What the machines have by now is what is declared.
async fn declared(stage: &Stage, fleet: &Fleet) -> Result<Vec<Wish>> {
    let second = stage.azure.patches_since(0, "/fleet-").await?.is_empty();
    Ok(wishes(fleet, if second { &[FIRST] } else { &[FIRST, SECOND] }))
}

async fn restarted(stage: &mut Stage, fleet: &Fleet) -> Result<()> {
    stage.azure.watch_for_sightings().await?;
    stage.start_controller().await?;
    stage.until_all_are_verified(fleet.machines, PATIENCE).await?;
    stage.until_all_are_ready(PATIENCE).await.map(|_| ())
}

async fn over(stage: &Stage, time: Duration) -> Result<Cost> {
    let before = stage.spent().await?;
    sleep(time).await;
    stage.cost(before, before.at.elapsed()).await
}

fn tell(still: &Cost, checked: &Cost, fleet: &Fleet, report: &mut Report) {
    let compression = USUAL.as_secs_f64() / SHORT.as_secs_f64();
    let a_second = |cost: &Cost, value: f64| value / cost.wall.as_secs_f64();
    let an_hour = |value: f64| a_second(checked, value) * 3_600.0 / compression;
    let reads = an_hour(counted(checked.calls.reads())) / float(fleet.machines);
    report.add(Row::new("idle-reads", "an idle hour: reads of ARM", reads, "a target").at_most(0.2));
    report.add(Row::new("idle-writes", "an idle hour: Kubernetes writes", an_hour(checked.writes), "").exactly(0.0));
    let kubernetes = an_hour(checked.kubernetes_reads);
    report.add(Row::new("idle-kubernetes", "an idle hour: Kubernetes GETs and LISTs", kubernetes, "").exactly(0.0));
    let (base, busy) = (a_second(still, still.cpu.as_secs_f64()), a_second(checked, checked.cpu.as_secs_f64()));
    let share = 100.0 * (base + (busy - base).max(0.0) / compression);
    report.add(Row::new("idle-cpu", "an idle hour: CPU, of one core", share, "%").at_most(1.0));
}
