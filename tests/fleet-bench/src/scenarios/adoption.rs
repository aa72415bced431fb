//! First adoption: everything is as declared already, and nothing is recorded.
use anyhow::Result;
use arm_simulator::Fleet;

use super::PATIENCE;
use crate::options::{Options, Scenario};
use crate::report::{Report, Row, counted, float};
use crate::stage::Stage;

/// Leaves the program running, with all recorded.
pub async fn measure(stage: &mut Stage, fleet: &Fleet, options: &Options, report: &mut Report) -> Result<()> {
    let before = stage.spent_before_start().await?;
    stage.start_controller().await?;
    let begun = stage.controller()?.begun;
    let done = stage.until_all_are_ready(PATIENCE).await?;
    let cost = stage.cost(before, done - begun).await?;
    if !options.wants(Scenario::Adoption) {
        return Ok(());
    }
    let targets = float(fleet.machines);
    let gets = counted(cost.calls.gets) / targets;
    report.add(Row::new("adoption-gets", "adoption: GETs of a machine, each", gets, "a target").at_most(1.0));
    report.add(Row::new("adoption-lists", "adoption: LIST pages", counted(cost.calls.lists), ""));
    report.add(Row::new("adoption-patches", "adoption: PATCHes", counted(cost.calls.patches), "").exactly(0.0));
    report.add(Row::new("adoption-writes", "adoption: Kubernetes writes", cost.writes / targets, "a target"));
    report.add(Row::new("adoption-wall", "adoption: until all are Ready", cost.wall.as_secs_f64(), "s"));
    report.add(Row::new("adoption-cpu", "adoption: CPU", cost.cpu.as_secs_f64(), "s"));
    Ok(())
}
