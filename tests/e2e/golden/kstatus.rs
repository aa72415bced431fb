//! What Flux and others make of objects, by the library that they use.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, Settings};
use devenv::parts::{Part, Parts};
use kube::api::PostParams;
use lanyard::api::UserAssignedIdentity;
use serde_json::{Value, json};

use super::{NAMESPACE, STATES, frozen};
use crate::harness::{GROUP, Own, Stage, assignment};

/// kstatus of each object.
pub fn kstatus(objects: &[Value]) -> Result<Vec<String>> {
    let mut judge = Command::new(Parts::from_environment().find(Part::Kstatus)?);
    let mut judge = judge.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let lines = objects.iter().fold(String::new(), |lines, object| format!("{lines}{object}\n"));
    judge.stdin.take().context("it does not listen")?.write_all(lines.as_bytes())?;
    let output = judge.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    let statuses = said.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    let statuses: Vec<String> = statuses.collect();
    ensure!(statuses.len() == objects.len(), "{said}");
    Ok(statuses)
}

#[test]
fn kstatus_of_every_state_is_what_a_person_would_say() -> Result<()> {
    let states = frozen(NAMESPACE)?;
    for (state, expected) in STATES {
        assert_eq!(kstatus(&states[state])?, expected, "{state}");
    }
    Ok(())
}

/// An assignment as the API server tells it.
async fn told(stage: &Stage<'_>, name: &str) -> Result<Option<Value>> {
    let uri = format!("/apis/lanyard.dev/v1alpha1/namespaces/{}/identityassignments/{name}", stage.namespace);
    match stage.client.request(axum::http::Request::get(uri).body(Vec::new())?).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

/// Whether it is `Current` now; if so, the machine has these identities by then.
async fn is_current(stage: &Stage<'_>, has: impl Fn() -> bool) -> Result<bool> {
    let object = told(stage, "web").await?.context("it is gone")?;
    let current = kstatus(std::slice::from_ref(&object))? == ["Current"];
    ensure!(!current || has(), "Current too early: {object:#}");
    Ok(current)
}

#[tokio::test]
async fn what_nobody_has_looked_at_is_in_progress() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let identities: kube::Api<UserAssignedIdentity> = kube::Api::namespaced(own.client.clone(), &own.namespace);
    let id = own.arm.identity(&own.subscription, GROUP, "cache").unmade().id().to_owned();
    let object = json!({"metadata": {"name": "cache"}, "spec": {"resourceId": id, "location": "westeurope"}});
    identities.create(&PostParams::default(), &serde_json::from_value(object)?).await?;

    let assignment = told(&stage, "web").await?.context("it is gone")?;
    let identity = serde_json::to_value(identities.get("cache").await?)?;
    assert_eq!(kstatus(&[assignment, identity])?, ["InProgress", "InProgress"]);
    Ok(())
}

#[tokio::test]
async fn an_object_is_current_only_once_the_machine_has_what_it_declares() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let has = || vm.identities() == ["legacy", "shop-db"];
    stage.until("it to be current", async || is_current(&stage, has).await).await?;
    stage.edit("web", |it| it.without("shop-db").present("shop-queue")).await?;
    let has = || vm.identities() == ["legacy", "shop-queue"];
    stage.until("it to be current again", async || is_current(&stage, has).await).await?;

    stage.delete("web").await?;
    let gone = async || {
        let Some(object) = told(&stage, "web").await? else { return Ok(true) };
        ensure!(kstatus(std::slice::from_ref(&object))? == ["Terminating"], "{object:#}");
        Ok(false)
    };
    stage.until("it to be gone", gone).await?;
    assert_eq!(vm.identities(), ["legacy"]);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_is_being_changed_for_the_first_time_is_in_progress() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until("its operation to run", async || Ok(!vm.is_idle())).await?;
    let target = serde_json::to_value(stage.target(&vm).await?.context("it has no record")?)?;
    assert_eq!(kstatus(std::slice::from_ref(&target))?, ["InProgress"], "{target:#}");
    stage.arm.finish_operations();
    stage.until_ready("web").await?;
    let target = serde_json::to_value(stage.target(&vm).await?.context("it has no record")?)?;
    assert_eq!(kstatus(std::slice::from_ref(&target))?, ["Current"], "{target:#}");
    Ok(())
}
