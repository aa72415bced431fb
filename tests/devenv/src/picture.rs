//! The dashboard as a picture: what Grafana would have shown of a run.
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::parts::{Part, Parts};
use crate::paths;

/// Draws the dashboard of a run, of which `scrapes` holds what /metrics answered, each in a file named by its time in
/// milliseconds: `<time>.prom`.
///
/// # Errors
/// Scrapes that cannot be read, and queries of the dashboard that Prometheus does not take.
pub fn draw(scrapes: &Path, out: &Path) -> Result<()> {
    let dashboard = paths::repository().join("deploy/components/dashboard/dashboard.json");
    let mut program = Command::new(Parts::from_environment().find(Part::Picture)?);
    program.arg("-dashboard").arg(dashboard).arg("-scrapes").arg(scrapes).arg("-out").arg(out);
    let output = program.output().context("the program that draws cannot be run")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(())
}
