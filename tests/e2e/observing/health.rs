//! A restart is asked for by what is stuck, and by nothing else; and what is missing is named.

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, Machine, SECRET, Settings};
use devenv::{crds, paths};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use lanyard::domain::reason::Reason;

use super::{doors, get, is_alive, lines, says, told, until_answers};
use crate::harness::{Own, assignment, sent};

#[tokio::test]
async fn a_visit_that_stands_still_asks_for_a_restart_and_holds_up_nobody() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    std::fs::write(own.fail_points()?, "BeforeIntent web\n")?;
    let _controller = own.start(&["--stuck-after=15s"])?;
    let stage = own.stage()?;
    let (open, _) = doors(&stage.log).await?;
    let (web, other) = (stage.vm("web").create(), stage.vm("other").create());
    stage.declare(assignment("web").on(&web).present("shop-db")).await?;
    let stands = async || Ok(lines(&stage.log).iter().any(|line| says(line, "stands still")));
    stage.until("the visit to stand still", stands).await?;
    is_alive(&open).await?;

    let text = until_answers(&format!("{open}/healthz"), 503, &["stuck: 1", "has not gone on for"]).await?;
    ensure!(!text.contains("/subscriptions/"), "anyone may read it: {text}");
    stage.until("it to be named in the log", async || Ok(told(&stage.log, "something is stuck") == 1)).await?;
    let all = lines(&stage.log);
    let line = all.iter().find(|line| says(line, "something is stuck")).context("a line")?;
    ensure!(line["what"].as_str().is_some_and(|what| what.contains(&web.id())), "{line}");
    // It is no reason to send nobody here, and others are served.
    ensure!(get(&format!("{open}/readyz")).await?.0 == 200);
    stage.declare(assignment("other").on(&other).present("shop-db")).await?;
    stage.until_ready("other").await
}

#[tokio::test]
async fn what_azure_takes_its_time_for_is_no_reason_for_a_restart() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&["--stuck-after=15s", "--concurrency=16"])?;
    let stage = own.stage()?;
    let (open, _) = doors(&stage.log).await?;
    let warm = stage.vm("warm-up").create();
    stage.declare(assignment("warm-up").on(&warm).present("shop-db")).await?;
    stage.until_ready("warm-up").await?;

    // An operation that goes on, and more machines that get no answer than there are places for.
    let long = stage.vm("long").create();
    stage.arm.fault(Fault::new("PATCH", &long.id(), Effect::HoldOperation {}));
    stage.declare(assignment("long").on(&long).present("shop-db")).await?;
    stage.until("its operation to run", async || Ok(!sent(&long).is_empty())).await?;
    let deaf: Vec<Machine> = (0..12).map(|number| stage.vm(&format!("deaf-{number}")).create()).collect();
    stage.arm.fault(Fault::new("GET", "/deaf-", Effect::Hang {}).always());
    for vm in &deaf {
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
    }
    // The client gives up after a minute: four times what makes a visit stuck.
    let given_up = async || {
        is_alive(&open).await?;
        let unanswered = |line: &&serde_json::Value| says(line, "asked ARM") && line["status"].is_null();
        Ok(lines(&stage.log).iter().filter(unanswered).count() >= 2)
    };
    stage.until("requests to be given up", given_up).await?;
    ensure!(told(&stage.log, "something is stuck") == 0);
    ensure!(!long.is_idle(), "its operation still runs");

    stage.arm.clear_faults();
    stage.arm.finish_operations();
    stage.until_ready("long").await?;
    is_alive(&open).await
}

#[tokio::test]
async fn without_the_api_server_a_replica_is_not_ready_and_no_less_alive() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&["--stuck-after=15s"])?;
    let stage = own.stage()?;
    let (open, _) = doors(&stage.log).await?;
    let ready = format!("{open}/readyz");
    until_answers(&ready, 200, &["[+]api-server ok", "[+]crds ok", "[+]lists ok", "[+]credential ok"]).await?;

    // Connections break: the watches notice at once, and nobody answers.
    own.control_plane()?.stop_api_server()?;
    let text = until_answers(&ready, 503, &["[-]api-server failed: not reached for"]).await?;
    ensure!(text.contains("[+]crds ok") && text.ends_with("not ready\n"), "{text}");
    is_alive(&open).await?;
    own.control_plane()?.start_api_server().await?;
    until_answers(&ready, 200, &["[+]api-server ok"]).await?;
    ensure!(told(&stage.log, "the Kubernetes API server lacks something") == 1);
    ensure!(told(&stage.log, "something is stuck") == 0);
    Ok(())
}

#[tokio::test]
async fn a_definition_that_goes_is_named_and_waited_for() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let (open, _) = doors(&stage.log).await?;
    let ready = format!("{open}/readyz");
    until_answers(&ready, 200, &["[+]crds ok"]).await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(own.client.clone());
    definitions.delete("identityrecords.lanyard.dev", &DeleteParams::default()).await?;
    let text = until_answers(&ready, 503, &["[-]crds failed: identityrecords is not installed"]).await?;
    ensure!(text.contains("[+]api-server ok") && text.contains("[+]credential ok"), "{text}");
    is_alive(&open).await?;
    crds::apply(&own.client, &paths::repository().join("crds")).await?;
    until_answers(&ready, 200, &["[+]crds ok"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_replica_that_never_had_a_token_is_not_ready_and_one_that_had_one_is() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let secret = |secret: &str| own.arm.set(|settings| settings.clients[0].secret = Some(secret.to_owned()));
    secret("not~yet");
    // It stands by: the credential is tried all the same.
    let kubeconfig = own.control_plane()?.kubeconfig();
    let leader = own.start_replica("one", &kubeconfig, &[])?;
    let (one, _) = doors(&leader.log).await?;
    until_answers(&format!("{one}/readyz"), 503, &["[-]credential failed", "AZURE_CLIENT_SECRET", "leads"]).await?;
    let second = own.start_replica("two", &kubeconfig, &[])?;
    let (two, _) = doors(&second.log).await?;
    until_answers(&format!("{two}/readyz"), 503, &["[-]credential failed", "[+]crds ok", "stands by"]).await?;
    is_alive(&two).await?;

    secret(SECRET);
    for open in [&one, &two] {
        until_answers(&format!("{open}/readyz"), 200, &["[+]credential ok"]).await?;
    }
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    // The secret ends, and the token: whoever could take over has the same.
    secret("another");
    own.arm.revoke_tokens();
    stage.edit("web", |it| it.present("shop-queue")).await?;
    stage.until_not_ready("web", Reason::CredentialRejected).await?;
    let text = until_answers(&format!("{one}/readyz"), 200, &["[!]credential no new token for ARM"]).await?;
    ensure!(text.ends_with("ready\n") && !text.contains("AADSTS"), "{text}");
    is_alive(&one).await
}

#[tokio::test]
async fn without_a_token_every_object_says_so_and_the_log_says_it_once() -> Result<()> {
    const MACHINES: usize = 30;
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let secret = |secret: &str| own.arm.set(|settings| settings.clients[0].secret = Some(secret.to_owned()));
    secret("not~yet");
    let _controller = own.start(&[])?;
    let names: Vec<String> = (0..MACHINES).map(|number| format!("web-{number}")).collect();
    for name in &names {
        let vm = stage.vm(name).create();
        stage.declare(assignment(name).on(&vm).present("shop-db")).await?;
    }
    for name in &names {
        stage.until_not_ready(name, Reason::CredentialRejected).await?;
        stage.look(name).await?;
    }
    // Each was tried again, and is told by its condition alone.
    let ended = |line: &&serde_json::Value| says(line, "the visit ended early");
    let tried = async || Ok(lines(&stage.log).iter().filter(ended).count() >= 2 * MACHINES);
    stage.until("each to be tried again", tried).await?;
    let all = lines(&stage.log);
    let loud = |line: &&serde_json::Value| line["level"] == "WARN" || line["level"] == "ERROR";
    let about = |line: &&serde_json::Value| line.to_string().contains("AADSTS");
    let told_of: Vec<String> = all.iter().filter(about).filter(loud).map(ToString::to_string).collect();
    ensure!(told_of.len() == 1 && told_of[0].contains("no token for ARM"), "{told_of:#?}");
    ensure!(all.iter().filter(ended).filter(loud).count() == 0);

    secret(SECRET);
    for name in &names {
        stage.until_ready(name).await?;
    }
    ensure!(told(&stage.log, "there is a token for ARM again") == 1);
    Ok(())
}
