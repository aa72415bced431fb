//! Credentials that are missing, wrong or refused, and an ARM that is not there; each on an Azure of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, Listener, Seeds, Settings, Subscription};
use lanyard::domain::reason::{Reason, Stall};

use crate::faults::{error, sane, statuses_tell_no_secret, tells_no_secret};
use crate::harness::{Own, Stage, asked, assignment};

/// What a controller is started with, and what its assignments are told.
struct Start {
    flags: Vec<String>,
    reason: Reason,
    words: &'static [&'static str],
}

#[tokio::test]
async fn each_thing_that_can_be_wrong_with_a_credential_is_told_by_name() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    for row in starts() {
        let flags: Vec<&str> = row.flags.iter().map(String::as_str).collect();
        let controller = own.start(&flags)?;
        told(&stage, &row).await?;
        controller.kill()?;
    }
    ensure!(asked(&vm).is_empty() && vm.identities() == ["legacy"]);

    let _right = own.start(&[])?;
    stage.until_ready("web").await?;
    ensure!(vm.identities() == ["legacy", "shop-db"]);
    statuses_tell_no_secret(&stage).await?;
    tells_no_secret(&stage)
}

fn starts() -> Vec<Start> {
    let start =
        |flags: &[&str], reason, words| Start { flags: flags.iter().map(ToString::to_string).collect(), reason, words };
    let no_tenant = "--azure-tenant-id=99999999-9999-4999-8999-999999999999";
    let no_client = "--azure-client-id=99999999-9999-4999-8999-999999999999";
    vec![
        start(
            &["--credential=workload-identity", "--azure-federated-token-file=/no/such/token"],
            Reason::CredentialUnavailable,
            &["check the credential's settings", "/no/such/token"],
        ),
        start(
            &["--azure-authority-host=https://127.0.0.1:1"],
            Reason::CredentialUnavailable,
            &["check the credential's settings and the way to its authority", "refused"],
        ),
        start(
            &["--azure-client-secret=wrong~secret"],
            Reason::CredentialRejected,
            &["check AZURE_CLIENT_SECRET", "AADSTS7000215"],
        ),
        start(&[no_tenant], Reason::WrongTenant, &["check AZURE_TENANT_ID"]),
        start(&[no_client], Reason::WrongTenant, &["check AZURE_CLIENT_ID"]),
        start(
            &["--azure-resource-manager-audience=https://vault.example.net"],
            Reason::CredentialRejected,
            &["InvalidAuthenticationTokenAudience", "wrong audience"],
        ),
    ]
}

async fn told(stage: &Stage<'_>, row: &Start) -> Result<()> {
    let what = format!("{} {:?}", row.reason.as_str(), row.words);
    let said = async || {
        let ready = stage.condition("web", "Ready").await?;
        Ok(ready.is_some_and(|ready| {
            let words = row.words.iter().all(|word| ready.message.contains(word));
            ready.status == "False" && ready.reason == row.reason.as_str() && words
        }))
    };
    stage.until(&what, said).await?;
    ensure!(stage.is_stalled("web").await? == (row.reason.stall() == Stall::AtOnce), "{what}");
    sane(stage, "web").await
}

/// Tokens that were issued so far.
fn issued(stage: &Stage<'_>) -> usize {
    let journal = stage.arm.journal();
    journal.iter().filter(|call| call.listener == Listener::Entra && call.method == "POST").count()
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_and_work_goes_on() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let served = async |name: &str| {
        let vm = stage.vm(name).create();
        stage.declare(assignment(name).on(&vm).present("shop-db")).await?;
        stage.until_ready(name).await?;
        ensure!(vm.identities() == ["shop-db"] && asked(&vm).iter().filter(|it| it.status == Some(200)).count() == 1);
        anyhow::Ok(())
    };
    served("first").await?;
    assert_eq!(issued(&stage), 1, "one token for everything");

    stage.arm.revoke_tokens();
    served("second").await?;
    assert_eq!(issued(&stage), 2);

    // 401 on a PATCH: nothing was changed by it, and its record is written anew.
    let vm = stage.vm("third").create();
    stage.arm.fault(Fault::new("PATCH", &vm.id(), error(401, "ExpiredAuthenticationToken", "Expired.")));
    served("third").await?;
    tells_no_secret(&stage)
}

#[tokio::test]
async fn a_token_that_expires_during_an_operation_costs_nothing() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    // After the question whether If-Match holds.
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}).skip(1));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let accepted = async || Ok(asked(&vm).iter().any(|patch| patch.status == Some(200)));
    stage.until("the change to be accepted", accepted).await?;

    stage.arm.expire_tokens();
    let refused = async || Ok(stage.arm.journal().iter().any(|call| call.status == Some(401)));
    stage.until("a poll to be refused", refused).await?;
    stage.arm.finish_operations();
    stage.until_ready("web").await?;
    assert_eq!(asked(&vm).len(), 1, "{:?}", asked(&vm));
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
    Ok(())
}

#[tokio::test]
async fn what_no_token_opens_stalls_alone_and_asks_for_few() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let (closed, well) = (stage.vm("closed").create(), stage.vm("well").create());
    stage.arm.fault(Fault::new("GET", &closed.id(), error(401, "InvalidAuthenticationToken", "Invalid.")).always());
    let elsewhere = Subscription { id: uuid::Uuid::new_v4().to_string(), tenant: uuid::Uuid::new_v4().to_string() };
    stage.arm.sow(Seeds { subscriptions: vec![elsewhere.clone()], ..Seeds::default() })?;
    let foreign = closed.id().replace(&stage.subscription, &elsewhere.id);

    let begun = Instant::now();
    stage.declare(assignment("closed").on(&closed).present(stage.identity("shop-db"))).await?;
    stage.declare(assignment("foreign").on_id(&foreign).present(stage.identity("shop-db"))).await?;
    stage.declare(assignment("well").on(&well).present("shop-db")).await?;
    stage.until_ready("well").await?;
    let message = stage.until_not_ready("closed", Reason::CredentialRejected).await?;
    assert!(message.contains("renew it"), "{message}");
    let message = stage.until_not_ready("foreign", Reason::WrongTenant).await?;
    assert!(message.contains("check AZURE_TENANT_ID"), "{message}");
    for name in ["closed", "foreign"] {
        assert!(stage.is_stalled(name).await?);
        sane(&stage, name).await?;
        stage.look(name).await?;
    }
    stage.edit("well", |it| it.present("shop-queue")).await?;
    stage.until_ready("well").await?;
    assert_eq!(well.identities(), ["shop-db", "shop-queue"]);
    let most = 2 + begun.elapsed().as_secs() / 10;
    assert!(u64::try_from(issued(&stage))? <= most, "{} tokens, {most} at most", issued(&stage));

    stage.arm.clear_faults();
    stage.look("closed").await?;
    stage.until_ready("closed").await?;
    tells_no_secret(&stage)
}

#[tokio::test]
async fn with_nobody_at_arms_address_it_waits_until_somebody_is() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    // Below the ports that systems give to clients, so that it is still free when ARM comes up there.
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = (29_000..32_000).find(free).context("a free port")?;
    let endpoint = format!("--azure-resource-manager-endpoint=http://127.0.0.1:{port}");
    let _controller = own.start(&[&endpoint, "--azure-resource-manager-audience=https://management.azure.com"])?;

    let message = stage.until_not_ready("web", Reason::ArmUnreachable).await?;
    assert!(message.contains("cannot be reached: check the network"), "{message}");
    assert!(!stage.is_stalled("web").await?);
    sane(&stage, "web").await?;

    let door = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let arm = stage.arm.arm_http_url().trim_start_matches("http://").to_owned();
    let forwarding = tokio::spawn(async move { forward(&door, &arm).await });
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    forwarding.abort();
    Ok(())
}

async fn forward(door: &tokio::net::TcpListener, to: &str) -> Result<()> {
    loop {
        let (mut from, _) = door.accept().await?;
        let mut to = tokio::net::TcpStream::connect(to).await?;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
    }
}
