//! What is wrong with a command line, a pipe, an environment: said in one line, and by the exit code.
use crate::program::{Cloud, program, run};
use anyhow::{Context as _, Result};
use std::io::Read as _;
use std::process::{Command, Stdio};

#[test]
fn what_is_no_command_is_exit_1_since_2_means_changes() -> Result<()> {
    for arguments in [&["plna"][..], &["plan", "--no-such-flag"], &["plan"], &["validate"], &[]] {
        let said = run(arguments)?;
        assert_eq!(said.code, Some(1), "{arguments:?}: {said:?}");
    }
    assert_eq!(run(&["plan", "--help"])?.code, Some(0));
    assert!(run(&["plan", "--help"])?.out.contains("2 there are changes"));
    Ok(())
}

#[test]
fn problems_of_manifests_end_a_plan_before_anything_is_printed() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.write("good.yaml", &cloud.assignment("good", "web", ""))?;
    cloud.write("bad.yaml", "a: [\n")?;
    let said = cloud.run(&["plan", "-f", "."])?;
    assert!(said.code == Some(1) && said.out.is_empty(), "{said:?}");
    assert!(said.err.contains("./bad.yaml:") && said.err.contains("1 problem; nothing was done"), "{said:?}");
    assert!(cloud.asked().is_empty(), "{:?}", cloud.asked());
    Ok(())
}

#[test]
fn a_pipe_that_closes_early_ends_quietly() -> Result<()> {
    // More than a pipe holds: the reader goes away while it is being written.
    let cloud = Cloud::start()?;
    cloud.write("many.yaml", &"apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAsignment\n---\n".repeat(5_000))?;
    let mut command = program();
    let mut child = command
        .current_dir(cloud.path())
        .args(["validate", "-f", "many.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut first = [0; 10];
    child.stdout.take().context("a pipe")?.read_exact(&mut first)?;
    let output = child.wait_with_output()?;
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    Ok(())
}

#[test]
fn without_a_token_there_is_one_line_and_no_plan() -> Result<()> {
    let cloud = Cloud::start()?;
    cloud.write("web.yaml", &cloud.assignment("web", "web", ""))?;
    let mut command = cloud.program();
    command.env("AZURE_CLIENT_SECRET", "not-the-secret").current_dir(cloud.path());
    let said: crate::program::Said = command.args(["plan", "-f", "web.yaml"]).output()?.into();
    assert!(said.code == Some(1) && said.out.is_empty() && said.err.lines().count() == 1, "{said:?}");
    assert!(!said.err.contains("not-the-secret"), "{said:?}");
    Ok(())
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let plugin = dir.path().join("kubectl-lanyard");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lanyard"), &plugin)?;
    let said: crate::program::Said = Command::new(&plugin).args(["plan", "--help"]).output()?.into();
    assert!(said.out.contains("Usage: kubectl lanyard plan"), "{said:?}");
    Ok(())
}

#[test]
fn completions_and_versions_are_printed() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = run(&["completion", shell])?;
        assert!(
            said.code == Some(0) && said.out.contains("preflight") | said.out.contains("import"),
            "{shell}: {said:?}"
        );
    }
    let version = run(&["version", "-o", "json"])?.json()?;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["api"], "lanyard.dev/v1alpha1");
    Ok(())
}
