//! One change: while nothing else happens, and beside an operation that takes long.
use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, Fleet};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

use super::{PATIENCE, Stopwatch, adopted, millis, operations_last, percentile};
use crate::kubernetes::{SOMEBODY, Wish};
use crate::options::{Options, Scenario};
use crate::report::{Report, Row, counted, float};
use crate::stage::{FIRST, SECOND, Stage, THIRD, aside, wish};
use crate::wait::until;

/// Between two changes: each is alone with the program for its PATCH.
const PAUSE: Duration = Duration::from_millis(120);
/// So many subscriptions that no bucket has a say.
const SUBSCRIPTIONS: usize = 20;
/// Changes beside the slow operation.
const BESIDE: usize = 11;

/// Gives the usual wait of a first change from apply to PATCH.
pub async fn measure(stage: &Stage, options: &Options, report: &mut Report) -> Result<Duration> {
    let machines = aside("change", options.changes, SUBSCRIPTIONS, 1_000);
    adopted(stage, &machines, SOMEBODY).await?;
    operations_last(stage, options.usual).await?;
    // What was never attached to before gets a finalizer, once.
    let first = change_all(stage, &machines, &[FIRST, SECOND]).await?;
    let usual = percentile(&first.waits, 50);
    if !options.wants(Scenario::Change) {
        return Ok(usual);
    }
    report.add(Row::new("change-first-writes", "the first change of one: Kubernetes writes", first.writes, ""));
    let changes = change_all(stage, &machines, &[FIRST, SECOND, THIRD]).await?;
    let median = millis(percentile(&changes.waits, 50));
    report.add(Row::new("change-p50", "one change: apply to PATCH, p50", median, "ms").at_most(25.0));
    let slowest = millis(percentile(&changes.waits, 99));
    report.add(Row::new("change-p99", "one change: apply to PATCH, p99", slowest, "ms").at_most(150.0));
    report.add(Row::new("change-cpu", "one change: CPU, all in", changes.cpu, "ms").at_most(5.0));
    report.add(Row::new("change-writes", "one change: Kubernetes writes", changes.writes, "").at_most(4.0));
    report.add(Row::new("change-reads", "one change: reads of ARM", changes.reads, ""));
    Ok(usual)
}

/// What changes of one machine after another took.
struct Changes {
    /// From apply to PATCH, the shortest first.
    waits: Vec<Duration>,
    /// Of one: milliseconds, writes to Kubernetes without its apply, reads of ARM.
    cpu: f64,
    writes: f64,
    reads: f64,
}

async fn change_all(stage: &Stage, machines: &Fleet, identities: &[&str]) -> Result<Changes> {
    let before = stage.spent().await?;
    let mark = stage.azure.mark().await?;
    let wishes = (0..machines.machines).map(|number| second(wish(machines, number, identities)));
    let watch = one_after_another(stage, wishes).await?;
    let done = stage.until_all_are_ready(PATIENCE).await?;
    let cost = stage.cost(before, done - before.at).await?;
    let waits = watch.waits(stage, mark, "change-").await?;
    ensure!(waits.len() == machines.machines, "of {} changes {} were sent", machines.machines, waits.len());
    let count = float(machines.machines);
    Ok(Changes {
        waits,
        cpu: millis(cost.cpu) / count,
        writes: (cost.writes - count) / count,
        reads: counted(cost.calls.reads()) / count,
    })
}

fn second(wish: Wish) -> Wish {
    Wish { namespace: SOMEBODY.to_owned(), ..wish }
}

async fn one_after_another(stage: &Stage, wishes: impl IntoIterator<Item = Wish>) -> Result<Stopwatch> {
    let mut watch = Stopwatch::default();
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for wish in wishes {
        ticks.tick().await;
        watch.apply(stage, &wish).await?;
    }
    Ok(watch)
}

/// While an operation runs on one machine, others of its subscription are changed.
pub async fn beside_a_slow_one(stage: &Stage, usual: Duration, options: &Options, report: &mut Report) -> Result<()> {
    let machines = aside("slow", BESIDE + 1, 1, 2_000);
    adopted(stage, &machines, SOMEBODY).await?;
    operations_last(stage, Duration::ZERO).await?;
    let slow = second(wish(&machines, 0, &[FIRST, SECOND]));
    stage.azure.arm(&Fault::new("PATCH", &slow.machine, Effect::HoldOperation {})).await?;
    let mark = stage.azure.mark().await?;
    stage.kubernetes.apply(&slow).await?;
    let held = async || Ok((!stage.azure.patches_since(mark, "slow-").await?.is_empty()).then_some(()));
    until("the slow operation begins", PATIENCE, Duration::from_millis(20), held).await?;
    let begun = tokio::time::Instant::now();
    let others = (1..machines.machines).map(|number| second(wish(&machines, number, &[FIRST, SECOND])));
    let watch = one_after_another(stage, others).await?;
    tokio::time::sleep_until(begun + options.slow).await;
    let waits = watch.waits(stage, mark, "slow-").await?;
    stage.azure.finish_operations().await?;
    stage.until_all_are_ready(PATIENCE).await.context("after the slow operation")?;
    ensure!(waits.len() == BESIDE, "of {BESIDE} changes beside the slow one {} were sent", waits.len());
    let delay = percentile(&waits, 50).saturating_sub(usual);
    let figure = format!("an operation of {} s delays a change on another machine by", options.slow.as_secs());
    report.add(Row::new("slow-delay", figure, delay.as_secs_f64(), "s").at_most(0.1));
    Ok(())
}
