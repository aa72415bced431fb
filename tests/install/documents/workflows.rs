//! Workflows run scripts that are there, and name actions by version.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use devenv::paths::repository;
use serde_json::Value;

use super::count;

/// All steps of a workflow.
fn steps(workflow: &Value) -> impl Iterator<Item = &Value> {
    let jobs = workflow["jobs"].as_object().into_iter().flat_map(|jobs| jobs.values());
    jobs.flat_map(|job| job["steps"].as_array().into_iter().flatten())
}

/// The scripts of `.ci` in a step, each with the word behind it.
fn scripts(run: &str) -> impl Iterator<Item = (&str, &str)> {
    run.split(".ci/").skip(1).map(|rest| {
        let mut words =
            rest.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == ' ')).next().unwrap_or_default().split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    })
}

#[test]
fn the_release_runs_scripts_that_are_there() -> Result<()> {
    let text = std::fs::read_to_string(repository().join(".github/workflows/release.yml"))?;
    let workflow: Value = serde_saphyr::from_str(&text)?;
    let package = std::fs::read_to_string(repository().join(".ci/package"))?;
    let parts = package.lines().find_map(|line| line.trim().strip_suffix(") \"$@\" ;;")).context("no parts")?;
    let parts: Vec<&str> = parts.split(" | ").collect();

    let mut run = 0;
    for (script, part) in steps(&workflow).filter_map(|step| step["run"].as_str()).flat_map(scripts) {
        let path = repository().join(".ci").join(script);
        let mode = path.metadata().with_context(|| format!("there is no .ci/{script}"))?.permissions().mode();
        ensure!(mode & 0o111 != 0, ".ci/{script} cannot be run");
        ensure!(script != "package" || parts.contains(&part), ".ci/package has no part {part}");
        run += 1;
    }
    ensure!(run > 8, "hardly a script is run");

    let actions: Vec<&str> = steps(&workflow).filter_map(|step| step["uses"].as_str()).collect();
    let floating: Vec<_> = actions
        .iter()
        .filter(|action| action.split_once("@v").is_none_or(|(_, version)| version.parse::<u32>().is_err()))
        .collect();
    ensure!(floating.is_empty() && actions.len() > 10, "without a version: {floating:?}");
    count(&format!("{run} scripts and {} actions of the release workflow", actions.len()));
    Ok(())
}
