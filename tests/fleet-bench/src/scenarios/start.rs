//! A start with everything recorded, and as declared.
use anyhow::Result;
use arm_simulator::Fleet;

use super::PATIENCE;
use crate::options::{Options, Scenario};
use crate::report::{Report, Row, counted, float};
use crate::stage::Stage;

/// Leaves the program running.
pub async fn measure(stage: &mut Stage, fleet: &Fleet, options: &Options, report: &mut Report) -> Result<()> {
    let before = stage.spent_before_start().await?;
    stage.azure.watch_for_sightings().await?;
    stage.start_controller().await?;
    let begun = stage.controller()?.begun;
    let done = stage.until_all_are_verified(fleet.machines, PATIENCE).await?;
    let cost = stage.cost(before, done - begun).await?;
    if !options.wants(Scenario::Start) {
        return Ok(());
    }
    let targets = float(fleet.machines);
    let gets = 100.0 * counted(cost.calls.gets) / targets;
    report.add(Row::new("start-lists", "start: LIST pages", counted(cost.calls.lists), ""));
    report.add(Row::new("start-gets", "start: GETs of a machine, of all targets", gets, "%").at_most(1.0));
    report.add(Row::new("start-reads", "start: all reads of ARM", counted(cost.calls.reads()), ""));
    report.add(Row::new("start-patches", "start: PATCHes", counted(cost.calls.patches), "").exactly(0.0));
    report.add(Row::new("start-writes", "start: Kubernetes writes", cost.writes, "").exactly(0.0));
    let wall = Row::new("start-wall", "start: until all are verified", cost.wall.as_secs_f64(), "s");
    report.add(wall.at_most(30.0));
    report.add(Row::new("start-cpu", "start: CPU", cost.cpu.as_secs_f64(), "s").at_most(15.0));
    Ok(())
}
