//! Workflows run scripts that are there, and name actions by commit.

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

    count(&format!("{run} scripts of the release workflow"));
    Ok(())
}

/// A tag can be moved by whoever controls the action, a commit cannot. Beside it stands the version, for people.
#[test]
fn actions_are_named_by_commit() -> Result<()> {
    let mut actions = 0;
    for file in std::fs::read_dir(repository().join(".github/workflows"))? {
        let text = std::fs::read_to_string(file?.path())?;
        let lines: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- uses: ")).collect();
        for line in &lines {
            let (action, version) = line.split_once(" # v").with_context(|| format!("{line}: no version is told"))?;
            let (_, commit) = action.split_once('@').with_context(|| format!("{line}: no commit"))?;
            ensure!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}: no commit");
            ensure!(version.starts_with(|c: char| c.is_ascii_digit()), "{line}: no version is told");
        }
        let workflow: Value = serde_saphyr::from_str(&text)?;
        let used = steps(&workflow).filter(|step| step["uses"].is_string()).count();
        ensure!(used == lines.len(), "an action is named in another way than the others");
        actions += used;
    }
    ensure!(actions > 10, "hardly an action is used");
    count(&format!("{actions} actions of the workflows"));
    Ok(())
}
