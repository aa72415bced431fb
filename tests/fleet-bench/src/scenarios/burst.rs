//! Many machines of one subscription get an identity at once, and operations take no time: only ARM's buckets bind.
use anyhow::{Result, ensure};
use std::time::Duration;

use super::{PATIENCE, Stopwatch, operations_last, percentile};
use crate::bounds::{READS, WRITES};
use crate::options::Options;
use crate::report::{Report, Row, counted, float};
use crate::stage::{SECOND, Stage, aside, wish};

/// What may be added to a bound for everything that is not ARM.
const SLACK: f64 = 1.15;

/// Each number of machines lies in a subscription of its own, whose buckets are full.
pub async fn measure(stage: &Stage, options: &Options, report: &mut Report) -> Result<()> {
    operations_last(stage, Duration::ZERO).await?;
    for (place, &machines) in options.bursts.iter().enumerate() {
        once(stage, place, machines, options, report).await?;
    }
    Ok(())
}

async fn once(stage: &Stage, place: usize, count: usize, options: &Options, report: &mut Report) -> Result<()> {
    let machines = aside(&format!("burst{count}"), count, 1, 3_000 + place);
    stage.sow(&machines).await?;
    let (before, mark) = (stage.spent().await?, stage.azure.mark().await?);
    let wishes: Vec<_> = (0..count).map(|number| wish(&machines, number, &[SECOND])).collect();
    let mut watch = Stopwatch::default();
    let began = jiff::Timestamp::now();
    watch.applied = wishes.iter().map(|wish| (wish.machine.to_lowercase(), began)).collect();
    stage.kubernetes.apply_all(wishes).await?;
    let done = stage.until_all_are_ready(PATIENCE).await?;
    let cost = stage.cost(before, done - before.at).await?;
    let waits = watch.waits(stage, mark, &format!("burst{count}-")).await?;
    ensure!(waits.len() == count, "of {count} machines {} were sent a PATCH", waits.len());
    let last = percentile(&waits, 100);
    // Each PATCH rests on a read of its own.
    let bound = WRITES.time(float(count), options.share).max(READS.time(float(count), options.share));
    let [id, ready, refused] = IDS[place.min(IDS.len() - 1)];
    report.add(of_bound(id, count, last, bound));
    let figure = format!("{count} machines get one identity each: until all are Ready");
    report.add(Row::new(ready, figure, cost.wall.as_secs_f64(), "s"));
    let figure = format!("{count} machines get one identity each: 429s");
    report.add(Row::new(refused, figure, counted(cost.calls.throttled), "").exactly(0.0));
    Ok(())
}

const IDS: [[&str; 3]; 2] =
    [["burst-few", "burst-few-ready", "burst-few-429"], ["burst-many", "burst-many-ready", "burst-many-429"]];

/// Where the buckets do not bind at all there is nothing to be in proportion to: then it is a second and a half.
fn of_bound(id: &'static str, count: usize, last: Duration, bound: Duration) -> Row {
    let figure = format!("{count} machines get one identity each: last PATCH");
    let row = Row::new(id, figure, last.as_secs_f64(), "s");
    row.at_most(if bound.is_zero() { 1.5 } else { bound.as_secs_f64() * SLACK })
}
