//! Principals that changed: told once in an Event, and in status until a person has seen to it.

use anyhow::{Context as _, Result};
use arm_simulator::{Machine, Settings};
use lanyard::api::ACKNOWLEDGE;
use lanyard::api::assignment::{SystemAssigned, UserAssignedStatus};
use lanyard::api::status::SystemAssignedStatus;

use crate::harness::{Own, Stage, assignment};

async fn system(stage: &Stage<'_>, name: &str) -> Result<SystemAssignedStatus> {
    stage.status(name).await?.and_then(|status| status.system_assigned).context("no system identity in the status")
}

async fn user(stage: &Stage<'_>, name: &str, identity: &str) -> Result<UserAssignedStatus> {
    let users = stage.status(name).await?.context("no status")?.user_assigned;
    users.into_iter().find(|user| user.resource_id.ends_with(identity)).context("not in the status")
}

/// The identity is deleted and made again, and somebody puts the new one in place of the old.
fn replace_as_stranger(stage: &Stage<'_>, vm: &Machine, name: &str) -> (Option<String>, Option<String>) {
    let identity = stage.identity(name);
    let old = identity.principal_id();
    identity.recreate();
    vm.detach_as_stranger(name);
    vm.attach_as_stranger(name);
    (old, identity.principal_id())
}

#[tokio::test]
async fn a_system_identity_switched_off_and_on_by_somebody_is_another_principal() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_system().create();
    stage.declare(assignment("web").on(&vm).system(SystemAssigned::Enabled)).await?;
    stage.until_ready("web").await?;
    let old = vm.system_principal();
    let told = system(&stage, "web").await?;
    assert_eq!((told.principal_id, told.previous_principal_id, told.message), (old.clone(), None, None));

    vm.disable_system_as_stranger();
    vm.enable_system_as_stranger();
    stage.look("web").await?;
    let changed = async || Ok(system(&stage, "web").await?.previous_principal_id == old);
    stage.until("the old principal to be told of", changed).await?;
    let told = system(&stage, "web").await?;
    assert_eq!(told.principal_id, vm.system_principal());
    assert!(told.message.is_some_and(|message| message.contains("are void")), "what that means");
    stage.until_event("PrincipalChanged", &old.context("it had one")?).await?;
    stage.until_ready("web").await
}

#[tokio::test]
async fn an_identity_made_anew_is_noticed_though_it_was_there_before_us_and_across_a_restart() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("shop-db").with_identity("nobodys").create();
    let controller = own.start(&[])?;
    stage.declare(assignment("web").on(&vm).present("shop-db").present("shop-queue")).await?;
    stage.until_ready("web").await?;
    controller.kill()?;

    let (old, new) = replace_as_stranger(&stage, &vm, "shop-db");
    let (old_ours, _) = replace_as_stranger(&stage, &vm, "shop-queue");
    replace_as_stranger(&stage, &vm, "nobodys");
    let controller = own.start(&[])?;
    let changed = async || Ok(user(&stage, "web", "shop-db").await?.previous_principal_id == old);
    stage.until("the old principal to be told of", changed).await?;
    let told = user(&stage, "web", "shop-db").await?;
    assert_eq!(told.principal_id, new);
    assert!(told.message.is_some_and(|message| message.contains("are void")));
    assert_eq!(user(&stage, "web", "shop-queue").await?.previous_principal_id, old_ours, "one of ours likewise");
    stage.until_event("PrincipalChanged", "shop-db").await?;
    stage.until_event("PrincipalChanged", "shop-queue").await?;
    stage.until_ready("web").await?;

    // Neither a visit nor another process says it again, and it stays told.
    stage.look_through("web", &vm).await?;
    controller.kill()?;
    let _controller = own.start(&[])?;
    stage.look_through("web", &vm).await?;
    assert_eq!(user(&stage, "web", "shop-db").await?.previous_principal_id, old);
    let events = stage.events().await?;
    let told = events.iter().filter(|event| event.starts_with("PrincipalChanged")).collect::<Vec<_>>();
    assert_eq!(told.len(), 2, "once each, and nothing of what is nobody's here: {told:#?}");

    stage.annotate_target(&vm, ACKNOWLEDGE, "principals").await?;
    let known = async || Ok(user(&stage, "web", "shop-db").await?.previous_principal_id.is_none());
    stage.until("it to be told no more", known).await?;
    let annotations = stage.target(&vm).await?.and_then(|target| target.metadata.annotations).unwrap_or_default();
    assert!(!annotations.contains_key(ACKNOWLEDGE), "it was for that moment");
    Ok(())
}

#[tokio::test]
async fn a_principal_that_reads_blank_for_a_while_has_not_changed() -> Result<()> {
    let own = Own::new(Settings { vmss_blanks_all_while_updating: true, ..Settings::quick() }).await?;
    let stage = own.stage()?;
    let _controller = own.start(&[])?;
    let set = stage.scale_set("batch").with_identity("legacy").create();
    stage.declare(assignment("batch").on(&set).present("legacy").present("shop-db")).await?;
    stage.until_ready("batch").await?;
    stage.edit("batch", |it| it.present("shop-queue")).await?;
    stage.until_ready("batch").await?;
    let told = user(&stage, "batch", "legacy").await?;
    assert!(told.principal_id.is_some() && told.previous_principal_id.is_none(), "{told:?}");
    let events = stage.events().await?;
    assert!(events.iter().all(|event| !event.starts_with("PrincipalChanged")), "{events:#?}");
    Ok(())
}
