//! What `deploy/gitops-example` says of health, and its check of a pull request.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, anyhow, ensure};
use arm_simulator::{ArmSimulator, Settings};
use devenv::parts::{Part, Parts};
use mlua::{Lua, LuaSerdeExt as _};
use rstest::rstest;
use serde_json::{Value, json};

use crate::render::{deploy, kustomize, objects};

fn example(path: &str) -> std::path::PathBuf {
    deploy("gitops-example").join(path)
}

/// An object of generation 3 with these conditions, as `type=status reason`.
fn object(observed: Option<i64>, conditions: &[&str]) -> Value {
    let condition = |text: &&str| {
        let (kind, rest) = text.split_once('=').unwrap_or_default();
        let (status, reason) = rest.split_once(' ').unwrap_or_default();
        json!({"type": kind, "status": status, "reason": reason, "message": "said"})
    };
    let conditions: Vec<Value> = conditions.iter().map(condition).collect();
    let mut status = json!({"conditions": conditions});
    if let Some(observed) = observed {
        status["observedGeneration"] = json!(observed);
    }
    json!({"metadata": {"name": "web", "generation": 3}, "spec": {}, "status": status})
}

/// As Argo CD runs it: with the object as `obj`, and nothing else.
fn argo_health(object: &Value) -> Result<(String, String)> {
    let lua = Lua::new();
    let run = || -> mlua::Result<Value> {
        lua.globals().set("obj", lua.to_value(object)?)?;
        let script = fs::read_to_string(example("argocd/health.lua")).map_err(mlua::Error::external)?;
        lua.from_value(lua.load(script).eval()?)
    };
    let health = run().map_err(|error| anyhow!("{error}"))?;
    let text = |field: &str| health[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
    Ok((text("status")?, text("message")?))
}

#[rstest]
#[case::ready(Some(3), &["Ready=True AsDeclared"], "Healthy")]
#[case::ready_of_an_older_spec(Some(2), &["Ready=True AsDeclared"], "Progressing")]
#[case::under_way(Some(3), &["Ready=False Applying", "Reconciling=True Applying"], "Progressing")]
#[case::waits_for_the_machine(Some(3), &["Ready=False TargetNotFound", "Reconciling=True TargetNotFound"], "Progressing")]
#[case::needs_a_person(Some(3), &["Ready=False Conflict", "Stalled=True Conflict"], "Degraded")]
#[case::stalled_while_ready(Some(3), &["Ready=True AsDeclared", "Stalled=True Contested"], "Degraded")]
#[case::a_passing_trouble(Some(3), &["Ready=True AsDeclared", "Reconciling=True Throttled"], "Healthy")]
#[case::not_known(Some(3), &["Ready=Unknown ArmUnreachable"], "Progressing")]
#[case::suspended(Some(3), &["Ready=False Suspended", "Suspended=True Suspended"], "Suspended")]
#[case::observes(Some(3), &["Ready=False ChangesPending"], "Suspended")]
#[case::a_target_has_no_generation(None, &["Ready=True AsDeclared"], "Healthy")]
#[case::nothing_said(Some(3), &[], "Progressing")]
fn argo_cd_shows(#[case] observed: Option<i64>, #[case] conditions: &[&str], #[case] expected: &str) -> Result<()> {
    let (status, message) = argo_health(&object(observed, conditions))?;
    assert_eq!(status, expected, "{message}");
    Ok(())
}

#[test]
fn argo_cd_waits_for_what_nobody_has_looked_at_and_for_what_goes() -> Result<()> {
    assert_eq!(argo_health(&json!({"metadata": {"generation": 1}}))?.0, "Progressing");
    let mut going = object(Some(3), &["Ready=False IdentityInUse", "Stalled=True IdentityInUse"]);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let (status, message) = argo_health(&going)?;
    assert_eq!(status, "Progressing");
    ensure!(message.contains("IdentityInUse: said"), "{message}");
    Ok(())
}

#[test]
fn argo_cd_is_told_for_each_kind_with_conditions() -> Result<()> {
    let all = objects(&kustomize(&example("argocd"))?)?;
    let settings = all.iter().find(|it| it["kind"] == "ConfigMap").context("no settings")?;
    let script = fs::read_to_string(example("argocd/health.lua"))?;
    let kinds: Vec<_> = settings["data"].as_object().context("no data")?.keys().cloned().collect();
    let expected = ["IdentityAssignment", "IdentityTarget", "UserAssignedIdentity"];
    assert_eq!(kinds, expected.map(|kind| format!("resource.customizations.health.lanyard.dev_{kind}")));
    for kind in &kinds {
        assert_eq!(settings["data"][kind], script);
    }
    Ok(())
}

/// `current` and `failed` of one kind, as Flux judges an object by them.
fn flux_judges(kind: &str, object: &Value) -> Result<(bool, bool)> {
    let all = objects(&fs::read_to_string(example("flux/kustomizations.yaml"))?)?;
    let checks = all.iter().filter_map(|it| it["spec"]["healthCheckExprs"].as_array()).flatten();
    let check = checks.into_iter().find(|it| it["kind"] == kind).with_context(|| format!("no check of {kind}"))?;
    let judge = |field: &str| -> Result<bool> {
        let expression = check[field].as_str().with_context(|| format!("no {field}"))?;
        let program = cel::Program::compile(expression).map_err(|error| anyhow!("{error}"))?;
        let mut context = cel::Context::default();
        for name in ["metadata", "spec", "status"] {
            let value = object[name].clone();
            context.add_variable(name, value).map_err(|error| anyhow!("{error}"))?;
        }
        match program.execute(&context).map_err(|error| anyhow!("{error}"))? {
            cel::Value::Bool(answer) => Ok(answer),
            other => Err(anyhow!("no answer: {other:?}")),
        }
    };
    Ok((judge("current")?, judge("failed")?))
}

#[rstest]
#[case::ready(3, &["Ready=True AsDeclared"], true, false)]
#[case::ready_of_an_older_spec(2, &["Ready=True AsDeclared"], false, false)]
#[case::under_way(3, &["Ready=False Applying", "Reconciling=True Applying"], false, false)]
#[case::needs_a_person(3, &["Ready=False Conflict", "Stalled=True Conflict"], false, true)]
#[case::stalled_by_an_older_spec(2, &["Ready=False Conflict", "Stalled=True Conflict"], false, false)]
#[case::suspended(3, &["Ready=False Suspended", "Suspended=True Suspended"], true, false)]
#[case::observes(3, &["Ready=False ChangesPending"], true, false)]
fn flux_waits_and_fails(
    #[values("IdentityAssignment", "UserAssignedIdentity")] kind: &str,
    #[case] observed: i64,
    #[case] conditions: &[&str],
    #[case] current: bool,
    #[case] failed: bool,
) -> Result<()> {
    assert_eq!(flux_judges(kind, &object(Some(observed), conditions))?, (current, failed));
    Ok(())
}

/// The check of a pull request, in a copy of the example, against this Azure.
fn check(arm: &ArmSimulator, edit: impl Fn(&std::path::Path) -> Result<()>) -> Result<Output> {
    let copy = tempfile::tempdir()?;
    let copied = Command::new("cp").arg("-R").arg(deploy("gitops-example")).arg(copy.path()).status()?;
    ensure!(copied.success(), "it cannot be copied");
    let folder = copy.path().join("gitops-example");
    edit(&folder)?;
    let tools = copy.path().join("bin");
    fs::create_dir(&tools)?;
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lanyard"), tools.join("lanyard"))?;
    std::os::unix::fs::symlink(Parts::from_environment().find(Part::Kubectl)?, tools.join("kubectl"))?;
    let mut check = Command::new(folder.join("check"));
    check.env_clear().env("PATH", format!("{}:/usr/bin:/bin", tools.display())).env("HOME", copy.path());
    check.env("NO_PROXY", "127.0.0.1").env("SSL_CERT_FILE", arm.ca_pem_path());
    check.env("AZURE_RESOURCE_MANAGER_ENDPOINT", arm.arm_url()).env("AZURE_AUTHORITY_HOST", arm.authority_url());
    check.env("AZURE_TENANT_ID", arm.tenant_id()).env("AZURE_CLIENT_ID", arm.client_id());
    Ok(check.env("AZURE_CLIENT_SECRET", arm.client_secret()).output()?)
}

const PRODUCTION: &str = "5a3b1e00-0000-4000-8000-000000000001";
const STAGING: &str = "5a3b1e00-0000-4000-8000-000000000002";

#[test]
fn the_check_of_a_pull_request_tells_what_would_change_and_refuses_what_is_not_valid() -> Result<()> {
    let arm = ArmSimulator::start(Settings::quick())?;
    for subscription in [PRODUCTION, STAGING] {
        arm.subscription(subscription);
        arm.vm(subscription, "shop", "web").with_identity("legacy").create();
    }
    let output = check(&arm, |_| Ok(()))?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{said}");
    for words in ["## production", "## staging", "~ web", "legacy", "shop-cache"] {
        ensure!(said.contains(words), "{words} is not in: {said}");
    }
    ensure!(
        arm.journal().iter().all(|call| call.method == "GET" || call.path.contains("/oauth2/")),
        "something was written"
    );

    let spoil = |folder: &std::path::Path| {
        let file = folder.join("identities/base/web.yaml");
        Ok(fs::write(&file, fs::read_to_string(&file)?.replace("userAssignedRefs", "userAsignedRefs"))?)
    };
    let output = check(&arm, spoil)?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(1) && said.contains("did you mean userAssignedRefs?"), "{said}");
    Ok(())
}
