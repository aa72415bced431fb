//! The command line on a cluster: what it knows from there, and that it agrees with the controller that runs beside it.
use crate::harness::{Stage, assignment};
use anyhow::{Context as _, Result, ensure};
use devenv::world::World;
use kube::api::{Api, PostParams};
use lanyard::api::UserAssignedIdentity;
use serde_json::{Value, json};
use std::process::Output;

/// The program, told where everything is.
async fn run(world: &World, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"));
    Ok(command.envs(world.variables()).args(arguments).output().await?)
}

fn told(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

/// The assignment as a file of its own, declaring these identities present.
fn manifest(stage: &Stage<'_>, machine: &str, names: &[&str]) -> Result<tempfile::NamedTempFile> {
    let ids: Vec<Value> = names.iter().map(|name| json!({"resourceId": stage.identity_id(name)})).collect();
    let object = json!({
        "apiVersion": "lanyard.dev/v1alpha1",
        "kind": "IdentityAssignment",
        "metadata": {"name": "web", "namespace": stage.namespace},
        "spec": {"target": {"resourceId": machine}, "userAssigned": ids},
    });
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), object.to_string())?;
    Ok(file)
}

/// `action name` of every identity of the one machine.
fn actions(report: &Value) -> Vec<String> {
    let lines = report["machines"][0]["identities"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    lines.iter().map(|line| format!("{} {}", text(&line["action"]), text(&line["identity"]))).collect()
}

#[tokio::test]
async fn a_plan_on_the_cluster_knows_what_lanyard_attached_and_what_others_declare() -> Result<()> {
    let (stage, world) = (Stage::shared().await?, World::start().await?);
    stage.identity("legacy");
    let vm = stage.vm("web").with_identity(stage.identity_id("legacy")).create();
    stage.declare(assignment("web").on(&vm).present("shop-db").present("shop-queue")).await?;
    stage.declare(assignment("ops").on(&vm).present("shop-queue")).await?;
    stage.until_ready("web").await?;
    stage.until_ready("ops").await?;
    let patches = vm.patches().len();

    let same = manifest(&stage, &vm.id(), &["shop-db", "shop-queue"])?;
    let path = same.path().display().to_string();
    let output = run(&world, &["plan", "--from-cluster", "-o", "json", "-f", &path]).await?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    assert_eq!(actions(&told(&output)?), ["Leave legacy", "Keep shop-db", "Keep shop-queue"]);

    let fewer = manifest(&stage, &vm.id(), &[])?;
    let path = fewer.path().display().to_string();
    let output = run(&world, &["plan", "--from-cluster", "-o", "json", "-f", &path]).await?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    let planned = actions(&told(&output)?);
    assert_eq!(planned, ["Leave legacy", "Detach shop-db", "Keep shop-queue"]);
    let output = run(&world, &["plan", "-f", &path]).await?;
    ensure!(output.status.code() == Some(0), "without its record nothing is known to be ours: {output:?}");
    assert_eq!(vm.patches().len(), patches, "commands write nothing");

    // What was planned is what the controller does.
    stage.edit("web", |declared| declared.without("shop-db").without("shop-queue")).await?;
    stage.until_ready("web").await?;
    stage.until("shop-db goes", async || Ok(vm.identities() == ["legacy", "shop-queue"])).await
}

#[tokio::test]
async fn a_plan_on_the_cluster_finds_what_a_reference_names_there() -> Result<()> {
    let (stage, world) = (Stage::shared().await?, World::start().await?);
    stage.identity("shop-db");
    let vm = stage.vm("web").create();
    let spec = json!({"resourceId": stage.identity_id("shop-db")});
    let object = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec}))?;
    let identities: Api<UserAssignedIdentity> = Api::namespaced(stage.client.clone(), &stage.namespace);
    identities.create(&PostParams::default(), &object).await?;
    stage.declare(assignment("web").on(&vm).refers("db")).await?;
    stage.until_ready("web").await?;

    // The directory has the assignment alone.
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    for (refs, code, planned) in [(json!([{"name": "db"}]), 0, "Keep shop-db"), (json!([]), 2, "Detach shop-db")] {
        let spec = json!({"target": {"resourceId": vm.id()}, "userAssignedRefs": refs, "systemAssigned": "Unmanaged"});
        let declared = json!({"apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityAssignment",
            "metadata": {"name": "web", "namespace": stage.namespace}, "spec": spec});
        std::fs::write(file.path(), declared.to_string())?;
        let output = run(&world, &["plan", "--from-cluster", "-o", "json", "-f", &path]).await?;
        ensure!(output.status.code() == Some(code), "{output:?}");
        assert_eq!(actions(&told(&output)?), [planned]);
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_is_shown_by_its_assignment_with_whose_each_identity_is() -> Result<()> {
    let (stage, world) = (Stage::shared().await?, World::start().await?);
    stage.identity("legacy");
    let vm = stage.vm("web").with_identity(stage.identity_id("legacy")).create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    let name = format!("{}/web", stage.namespace);
    let output = run(&world, &["show", &name, "--from-cluster"]).await?;
    let text = String::from_utf8(output.stdout.clone())?;
    ensure!(output.status.code() == Some(0), "{output:?}");
    for told in [
        "declared; attached by Lanyard",
        "not Lanyard's, and declared by nobody",
        "attached shop-db (Succeeded",
        "Ready=True AsDeclared",
    ] {
        ensure!(text.contains(told), "{told} in\n{text}");
    }
    let target = lanyard::domain::target_name::target_name(&vm.id().parse()?);
    let output = run(&world, &["show", &target, "--from-cluster", "-o", "json"]).await?;
    let shown = told(&output)?;
    ensure!(shown["lastWrite"]["add"].as_array().is_some_and(|ids| ids.len() == 1), "{shown:#}");
    ensure!(shown["recordRead"] == true, "{shown:#}");
    Ok(())
}
