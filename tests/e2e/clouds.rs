//! Clouds of one's own: they describe themselves, know old api-versions only, and are signed in to with a certificate.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Client, ClientCertificate, Listener, Seeds, Settings, Stack, Subscription};
use lanyard::domain::reason::Reason;

use crate::faults::{statuses_tell_no_secret, tells_no_secret};
use crate::harness::{Controller, Own, assignment, sent};

/// An Azure Stack Hub, and an application that has these certificates there.
fn azure(stack: Stack, certificates: &[&ClientCertificate]) -> Settings {
    let certificates = certificates.iter().map(|one| one.certificate.clone()).collect();
    let client = Client { secret: None, certificates, ..Client::default() };
    Settings { stack: Some(stack), clients: vec![client], ..Settings::quick() }
}

/// Writes the controller's certificate file.
fn put(own: &Own, text: &str) -> Result<PathBuf> {
    let path = own.control_plane()?.scratch().path().join(&own.namespace).with_extension("pem");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Knows the endpoint and the certificate, and nothing else of the cloud.
fn start(own: &Own, certificate: &ClientCertificate, flags: &[&str]) -> Result<Controller> {
    let path = format!("--azure-client-certificate-path={}", put(own, &certificate.pem())?.display());
    let own_flags = ["--azure-authority-host=", "--credential=client-certificate", &path];
    own.start(&[&own_flags, flags].concat())
}

#[tokio::test]
async fn a_stack_is_found_by_its_endpoint_and_written_to_in_weak_mode() -> Result<()> {
    let certificate = ClientCertificate::until(0, "lanyard", 2100)?;
    let own = Own::new(azure(Stack::default(), &[&certificate])).await?;
    let _controller = start(&own, &certificate, &[])?;
    let stage = own.stage()?;
    let machines = [stage.vm("web").with_identity("legacy").create(), stage.scale_set("set").create()];
    for machine in &machines {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
        stage.until_ready(machine.name()).await?;
        let told = stage.condition(machine.name(), "Unguarded").await?.context("no condition")?;
        assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "EndpointUnguarded"));
        assert_eq!(sent(machine).len(), 1, "{:?}", sent(machine));
    }
    assert_eq!(machines[0].identities(), ["legacy", "shop-db"]);

    let journal = stage.arm.journal();
    let described: Vec<_> = journal.iter().filter(|call| call.path == "/metadata/endpoints").collect();
    ensure!(described.len() == 1 && !described[0].request_headers.contains_key("authorization"), "{described:?}");
    let versions = |path: &str| {
        let calls = journal.iter().filter(move |call| call.is("", path) || call.path.contains(path));
        calls.map(|call| call.query.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(versions("/virtualMachines/web"), ["api-version=2020-06-01".to_owned()].into());
    assert_eq!(versions("/providers/Microsoft.Compute/virtualMachineScaleSets/set").len(), 1);
    tells_no_secret(&stage)
}

#[tokio::test]
async fn a_stack_with_ad_fs_in_a_list_of_clouds_is_signed_in_to() -> Result<()> {
    let certificate = ClientCertificate::until(1, "lanyard", 2100)?;
    let stack = Stack { adfs: true, lists_clouds: true, ..Stack::default() };
    let mut settings = azure(stack, &[&certificate]);
    settings.clients[0].tenant_id = "adfs".into();
    let own = Own::new(settings).await?;
    let here = Subscription { id: own.subscription.clone(), tenant: "adfs".into() };
    own.arm.sow(Seeds { subscriptions: vec![here], ..Seeds::default() })?;
    let _controller = start(&own, &certificate, &["--azure-cloud=AzureStack"])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    let journal = stage.arm.journal();
    let tokens = journal.iter().filter(|call| call.listener == Listener::Entra).map(|call| call.path.as_str());
    assert_eq!(tokens.collect::<Vec<_>>(), ["/adfs/oauth2/token"]);
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_told_by_what_is_wrong_with_it_and_used_once_it_is_renewed() -> Result<()> {
    let [registered, expired] =
        [ClientCertificate::until(0, "lanyard", 2100)?, ClientCertificate::until(0, "old lanyard", 2021)?];
    let stranger = ClientCertificate::until(1, "stranger", 2100)?;
    let own = Own::new(azure(Stack::default(), &[&registered])).await?;
    let _controller = start(&own, &expired, &[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let message = stage.until_not_ready("web", Reason::CredentialUnavailable).await?;
    ensure!(message.contains("CN=old lanyard expired at 2021-12-31"), "{message}");

    put(&own, &stranger.pem())?;
    let message = stage.until_not_ready("web", Reason::CredentialRejected).await?;
    ensure!(message.contains("does not know this certificate") && message.contains("AADSTS700027"), "{message}");

    // Half written, as somebody may find it who looks at the wrong moment.
    put(&own, &registered.pem()[..900])?;
    let message = stage.until_not_ready("web", Reason::CredentialUnavailable).await?;
    ensure!(message.contains("cannot be used"), "{message}");

    put(&own, &registered.pem())?;
    stage.look("web").await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    statuses_tell_no_secret(&stage).await?;
    tells_no_secret(&stage)
}

#[tokio::test]
async fn a_certificate_that_a_trusted_authority_issued_is_taken_with_its_chain() -> Result<()> {
    let issued = ClientCertificate::issued(1, "lanyard")?;
    let mut settings = azure(Stack::default(), &[]);
    settings.clients[0].issuers = issued.issuer.clone().into_iter().collect();
    let own = Own::new(settings).await?;
    let first = start(&own, &issued, &[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_not_ready("web", Reason::CredentialRejected).await?;
    first.kill()?;
    let _second = start(&own, &issued, &["--azure-client-send-certificate-chain"])?;
    stage.until_ready("web").await?;
    Ok(())
}

#[tokio::test]
async fn an_endpoint_with_the_list_form_alone_is_read_and_never_written_to() -> Result<()> {
    let certificate = ClientCertificate::until(0, "lanyard", 2100)?;
    let stack = Stack { api_versions: vec!["2017-12-01".into()], ..Stack::default() };
    let own = Own::new(azure(stack, &[&certificate])).await?;
    let _controller = start(&own, &certificate, &["--allow-unguarded"])?;
    let stage = own.stage()?;
    let (bare, vm) = (stage.vm("bare").create(), stage.vm("web").with_system().with_identity("legacy").create());
    let there = stage.vm("there").with_identity("shop-db").create();
    stage.declare(assignment("bare").on(&bare).present("shop-db")).await?;
    stage.declare(assignment("web").on(&vm).present("shop-db").absent("legacy")).await?;
    stage.declare(assignment("there").on(&there).present("shop-db")).await?;

    for name in ["bare", "web"] {
        let message = stage.until_not_ready(name, Reason::EndpointTooOld).await?;
        ensure!(message.contains("replaces the whole list"), "{message}");
        ensure!(stage.is_stalled(name).await?);
    }
    stage.until_ready("there").await?;
    stage.look_through("web", &vm).await?;
    for machine in [&bare, &vm, &there] {
        ensure!(machine.patches().is_empty(), "not even a probe: {:?}", machine.patches());
    }
    assert_eq!(vm.identities(), ["legacy"]);
    Ok(())
}

#[tokio::test]
async fn a_description_that_leads_elsewhere_gets_nothing() -> Result<()> {
    let certificate = ClientCertificate::until(0, "lanyard", 2100)?;
    let plain = Stack { login_endpoint: Some("http://127.0.0.1:1/".into()), ..Stack::default() };
    let other = Stack { resource_manager: Some("https://evil.example".into()), ..Stack::default() };
    for (stack, why) in
        [(plain, "http://127.0.0.1:1' is not https"), (other, "another ARM endpoint, https://evil.example")]
    {
        let own = Own::new(azure(stack, &[&certificate])).await?;
        let _controller = start(&own, &certificate, &[])?;
        let stage = own.stage()?;
        let vm = stage.vm("web").create();
        stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
        let message = stage.until_not_ready("web", Reason::CredentialUnavailable).await?;
        ensure!(message.contains(why) && message.contains("AZURE_AUTHORITY_HOST"), "{message}");
        let journal = stage.arm.journal();
        ensure!(journal.iter().all(|call| call.path == "/metadata/endpoints"), "{journal:?}");
    }
    Ok(())
}
