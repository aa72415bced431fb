//! The end of the process: by force in the middle of things, and when it is told to.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use arm_simulator::{CLIENT, Effect, Fault, Machine, SECRET, Settings, TENANT};
use devenv::control_plane::{ControlPlane, Options};

use crate::harness::{Own, Stage, asked, assignment, sent, tail};

async fn until_asked(stage: &Stage<'_>, machine: &Machine) -> Result<()> {
    stage.until("the PATCH to leave", async || Ok(asked(machine).len() == 1)).await
}

#[tokio::test]
async fn killed_with_writes_under_way_the_next_process_converges() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let warm_up = stage.vm("warm-up").create();
    stage.declare(assignment("warm-up").on(&warm_up).present("shop-db")).await?;
    stage.until_ready("warm-up").await?;

    // Accepted, with its operation running; and on its way, to arrive when nobody expects it.
    let (accepted, late) = (stage.vm("accepted").create(), stage.vm("late").with_identity("legacy").create());
    stage.arm.fault(Fault::new("PATCH", &accepted.id(), Effect::HoldOperation {}));
    stage.arm.fault(Fault::new("PATCH", &late.id(), Effect::ArriveLate { after_millis: None, hang_millis: 0 }));
    // The first process never learns what became of it.
    stage.arm.fault(Fault::new("GET", &late.id(), Effect::LoseRequest {}).skip(1).always());
    for vm in [&accepted, &late] {
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
        until_asked(&stage, vm).await?;
    }
    first.kill()?;
    stage.arm.clear_faults_of(&late.id());
    assert!(stage.record(&accepted).await?.intent.is_some(), "the intent was written before the PATCH left");
    assert!(stage.record(&late).await?.intent.is_some());
    accepted.attach_as_stranger("theirs");

    let _second = own.start(&[])?;
    stage.arm.finish_operations();
    stage.until_ready("accepted").await?;
    stage.until_ready("late").await?;
    assert_eq!(accepted.identities(), ["shop-db", "theirs"]);
    assert_eq!(sent(&accepted).len(), 1, "what had arrived is not sent again");
    assert_eq!(late.identities(), ["legacy", "shop-db"]);
    assert_eq!(stage.arm.release(), 1);
    let statuses: Vec<_> = asked(&late).iter().map(|patch| patch.status).collect();
    assert_eq!(statuses.last(), Some(&Some(200)));
    assert_eq!(late.history().len(), 1, "the late one met the guard: {:?}", late.history());
    for vm in [&accepted, &late] {
        stage.look_through(vm.name(), vm).await?;
        assert_eq!(stage.attached(vm).await?, ["shop-db"]);
        assert!(stage.record(vm).await?.intent.is_none(), "settled");
    }

    stage.delete("accepted").await?;
    stage.until_gone("accepted").await?;
    assert_eq!(accepted.identities(), ["theirs"], "ours goes, and nothing else");
    Ok(())
}

#[tokio::test]
async fn told_to_stop_it_leaves_what_is_under_way_safely_and_ends_in_time() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.arm.fault(Fault::new("PATCH", "/web", Effect::HoldOperation {}).skip(1));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    until_asked(&stage, &vm).await?;

    let (status, took) = first.terminate().await?;
    assert_eq!(status.code(), Some(0), "{}", tail(&stage.log, "", 20));
    assert!(took < Duration::from_secs(25), "it took {took:?}");
    assert!(!tail(&stage.log, "told to stop", 1).is_empty());

    stage.arm.finish_operations();
    let _second = own.start(&[])?;
    stage.until_ready("web").await?;
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
    assert_eq!(sent(&vm).len(), 1);
    Ok(())
}

/// Runs it to its end; what it said is checked for one line of an error.
fn refuses_to_start(environment: &[(&str, &str)], flags: &[&str]) -> Result<String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    program.arg("controller").arg("--http-listen=127.0.0.1:0").args(flags);
    let output = program.env_remove("KUBECONFIG").envs(environment.iter().copied()).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(errors.len(), 1, "{said}");
    Ok(errors.concat())
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why_in_one_line() -> Result<()> {
    let azure = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)];
    let none = refuses_to_start(&azure, &["--kubeconfig=no-such-file"])?;
    assert!(none.contains("no-such-file"), "{none}");
    let home = [&azure[..], &[("HOME", "no-such-directory")]].concat();
    let nowhere = refuses_to_start(&home, &[])?;
    assert!(nowhere.contains("--kubeconfig"), "{nowhere}");
    let plain = refuses_to_start(&azure, &["--azure-resource-manager-endpoint=http://example.com"])?;
    assert!(plain.contains("http"), "{plain}");

    let own = Own::new(Settings::quick()).await?;
    let nobody = own.control_plane()?.kubeconfig_as("nobody", &[])?;
    let refused = refuses_to_start(&azure, &[&format!("--kubeconfig={}", nobody.display())])?;
    assert!(refused.contains("no permission to list identityassignments"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_start_without_the_definitions_says_what_to_apply() -> Result<()> {
    let bare = ControlPlane::start(Options { controller_manager: false }).await?;
    let azure = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)];
    let refused = refuses_to_start(&azure, &[&format!("--kubeconfig={}", bare.kubeconfig().display())])?;
    assert!(refused.contains("kubectl apply -f crds/"), "{refused}");
    Ok(())
}
