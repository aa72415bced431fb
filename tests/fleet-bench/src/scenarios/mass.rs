//! All machines get one more identity, and in the middle of it somebody changes one.
use anyhow::{Context as _, Result, ensure};
use arm_simulator::Fleet;
use jiff::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, Stopwatch, adopted, percentile};
use crate::bounds::{READS, WRITES};
use crate::kubernetes::{SOMEBODY, Wish};
use crate::options::Options;
use crate::report::{Report, Row, float};
use crate::stage::{Cost, FIRST, SECOND, Stage, aside, wish, wishes};
use crate::wait::until;

/// Changes that somebody makes while it goes on, so many after one another.
const IN_BETWEEN: usize = 5;
const APART: Duration = Duration::from_millis(700);
const SEED: u64 = 5;

/// `pace` is what the API server takes: writes a second.
pub async fn measure(stage: &Stage, fleet: &Fleet, pace: f64, options: &Options, report: &mut Report) -> Result<()> {
    // In the first of the fleet's own subscriptions: the buckets are shared with the mass.
    let hasty = aside("hasty", IN_BETWEEN, 1, fleet.first_subscription);
    adopted(stage, &hasty, SOMEBODY).await?;
    stage.azure.set(&json!({"operations": {"recorded": {"scale": options.operations, "seed": SEED}}})).await?;
    let (before, mark, begun) = (stage.spent().await?, stage.azure.mark().await?, Timestamp::now());
    let mass = stage.kubernetes.apply_all(wishes(fleet, &[FIRST, SECOND]));
    let (applied, watch) = tokio::join!(mass, in_between(stage, &hasty));
    applied?;
    let watch = watch?;
    let done = until_done(stage, begun).await?;
    let cost = stage.cost(before, done - before.at).await?;
    let (_, longest) = stage.azure.operations_since(begun).await?;
    let waits = watch.waits(stage, mark, "hasty-").await?;
    ensure!(waits.len() == IN_BETWEEN, "of {IN_BETWEEN} changes in between {} were sent", waits.len());
    let worst = percentile(&waits, 100).as_secs_f64();
    report.add(Row::new("mass-hasty", "one change while all get one more: worst of five", worst, "s").at_most(2.0));
    let apply = watch.longest_apply.as_secs_f64();
    report.add(Row::new("mass-hasty-apply", "  of which the API server took to accept it, at most", apply, "s"));
    tell(&cost, &Bound::of(&cost, fleet, longest, pace, options), fleet, report);
    let (least, most) = patches_each(stage, mark, fleet).await?;
    report.add(Row::new("mass-patches-least", "all get one more: PATCHes a target, least", least, "").exactly(1.0));
    report.add(Row::new("mass-patches-most", "all get one more: PATCHes a target, most", most, "").exactly(1.0));
    Ok(())
}

async fn in_between(stage: &Stage, hasty: &Fleet) -> Result<Stopwatch> {
    let mut watch = Stopwatch::default();
    for number in 0..hasty.machines {
        sleep(APART).await;
        let wish = Wish { namespace: SOMEBODY.to_owned(), ..wish(hasty, number, &[FIRST, SECOND]) };
        watch.apply(stage, &wish).await?;
    }
    Ok(watch)
}

/// All are looked at only once nothing runs any more: looking at ten thousand is work for the API server.
async fn until_done(stage: &Stage, begun: Timestamp) -> Result<Instant> {
    let controller = stage.controller()?;
    let mut last_look = None;
    let done = until("all have one more identity", PATIENCE, Duration::from_millis(200), async || {
        let (running, _) = stage.azure.operations_since(begun).await?;
        let rested = last_look.is_none_or(|look: Instant| look.elapsed() > Duration::from_secs(1));
        if running > 0 || !controller.is_idle().await? || !rested {
            return Ok(None);
        }
        let idle = Instant::now();
        let ready = stage.kubernetes.not_ready().await? == 0;
        last_look = Some(Instant::now());
        Ok(ready.then_some(idle))
    });
    done.await.with_context(|| controller.last_words())
}

/// What holds it up at best.
struct Bound {
    buckets: Duration,
    operations: Duration,
    api_server: Duration,
}

impl Bound {
    fn of(cost: &Cost, fleet: &Fleet, operations: Duration, pace: f64, options: &Options) -> Self {
        // The fullest subscription decides. A change needs a read before it, and one that shows its end.
        let machines = float(fleet.machines.div_ceil(fleet.subscriptions.max(1)));
        let reads = 2.0 * machines;
        let buckets = WRITES.time(machines, options.share).max(READS.time(reads, options.share));
        Self { buckets, operations, api_server: Duration::from_secs_f64(cost.writes / pace.max(1.0)) }
    }

    fn arm(&self) -> Duration {
        self.buckets.max(self.operations)
    }
}

fn tell(cost: &Cost, bound: &Bound, fleet: &Fleet, report: &mut Report) {
    let targets = float(fleet.machines);
    let binds = bound.arm().max(bound.api_server);
    let slack = if bound.arm() >= bound.api_server { 1.15 } else { 1.5 };
    report.add(Row::new("mass-wall", "all get one more: until all are Ready", cost.wall.as_secs_f64(), "s"));
    report.add(Row::new("mass-buckets", "  bound: buckets", bound.buckets.as_secs_f64(), "s"));
    report.add(Row::new("mass-operations", "  bound: the longest operation", bound.operations.as_secs_f64(), "s"));
    report.add(Row::new("mass-server", "  bound: API server, measured", bound.api_server.as_secs_f64(), "s"));
    let times = cost.wall.as_secs_f64() / binds.as_secs_f64().max(0.001);
    report.add(Row::new("mass-bound", "all get one more: wall time, of the bound", times, "times").at_most(slack));
    // One apply each is not ours.
    let writes = cost.writes / targets - 1.0;
    report.add(Row::new("mass-writes", "all get one more: Kubernetes writes, applies apart", writes, "a target"));
    let cpu = cost.cpu.as_secs_f64() * 1_000.0 / targets;
    report.add(Row::new("mass-cpu", "all get one more: CPU", cpu, "ms a target"));
}

/// Of `PATCH`, the fewest and the most that a machine of the fleet got.
async fn patches_each(stage: &Stage, mark: u64, fleet: &Fleet) -> Result<(f64, f64)> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for patch in stage.azure.patches_since(mark, "/fleet-").await? {
        // Refused ones changed nothing, and are counted all the same.
        *count.entry(patch.path.to_lowercase()).or_default() += 1;
    }
    let each = (0..fleet.machines).map(|number| count.get(&fleet.machine(number).to_lowercase()).copied());
    let each: Vec<usize> = each.map(Option::unwrap_or_default).collect();
    let (least, most) = (each.iter().min(), each.iter().max());
    Ok((float(least.copied().unwrap_or_default()), float(most.copied().unwrap_or_default())))
}
