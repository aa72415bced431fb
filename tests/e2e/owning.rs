//! Whose an identity is: drift, forgetting, adoption, a machine under another's name.

use anyhow::Result;
use arm_simulator::{Effect, Fault, ForeignAct};
use kube::api::DeleteParams;
use lanyard::api::ADOPT;
use lanyard::api::status::Origin;
use lanyard::domain::target_name::target_name;

use crate::harness::{Stage, asked, assignment, sent};

#[tokio::test]
async fn drift_is_repaired_and_what_we_put_back_is_ours() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db").present("legacy")).await?;
    stage.until_ready("web").await?;
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);

    vm.detach_as_stranger("shop-db");
    vm.detach_as_stranger("legacy");
    stage.look("web").await?;
    stage.until("both to be back", async || Ok(vm.identities() == ["legacy", "shop-db"])).await?;
    stage
        .until("the record to say whose they are", async || Ok(stage.attached(&vm).await? == ["legacy", "shop-db"]))
        .await?;
    stage.until_event("IdentityVanished", "shop-db").await?;
    assert_eq!(sent(&vm).len(), 2);
    Ok(())
}

#[tokio::test]
async fn what_somebody_put_back_is_theirs() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.edit("web", |it| it.without("shop-db")).await?;
    stage.until_ready("web").await?;
    assert!(vm.identities().is_empty());

    vm.attach_as_stranger("shop-db");
    stage.look_through("web", &vm).await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    assert_eq!(sent(&vm).len(), 2, "nothing since it was taken off");
    Ok(())
}

#[tokio::test]
async fn deleting_an_identity_target_forgets_what_was_attached() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    let old = stage.target(&vm).await?.expect("it has one").metadata.uid;

    stage.targets().delete(&target_name(&vm.id().parse()?), &DeleteParams::default()).await?;
    let anew = async || {
        let status = stage.status("web").await?.unwrap_or_default();
        let preexisting = status.user_assigned.iter().all(|user| user.origin == Some(Origin::Preexisting));
        Ok(preexisting && stage.target(&vm).await?.is_some_and(|target| target.metadata.uid != old))
    };
    stage.until("a new IdentityTarget, to which all is preexisting", anew).await?;

    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["shop-db"]);
    assert_eq!(sent(&vm).len(), 1);
    Ok(())
}

#[tokio::test]
async fn adoption_makes_what_is_present_and_declared_ours() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("shop-db").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    assert!(stage.attached(&vm).await?.is_empty());

    stage.annotate_target(&vm, ADOPT, "declared").await?;
    let adopted = async || Ok(stage.attached(&vm).await? == ["shop-db"]);
    stage.until("what is declared to be adopted", adopted).await?;
    let annotations = stage.target(&vm).await?.and_then(|target| target.metadata.annotations).unwrap_or_default();
    assert!(!annotations.contains_key(ADOPT), "it was for that moment");

    stage.delete("web").await?;
    let gone = async || Ok(vm.identities() == ["legacy"]);
    stage.until("what was adopted to go with its assignment", gone).await?;
    stage.until_gone("web").await
}

#[tokio::test]
async fn nothing_is_written_to_a_new_machine_for_what_was_on_the_old() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").etag(7).create();
    let db = stage.identity("shop-db");
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    // Between our read and our PATCH it is made anew, and its new owner attaches the same identity.
    let foreign = |act| Fault::new("PATCH", &vm.id(), Effect::Foreign { resource: None, act, after: false });
    stage.arm.fault(foreign(ForeignAct::Recreate { same_etag: false }));
    stage.arm.fault(foreign(ForeignAct::AddIdentity(db.id().to_owned())));
    let old = vm.unique_id();
    stage.edit("web", |it| it.without("shop-db").present("shop-queue")).await?;
    stage.until_ready("web").await?;

    assert_ne!(vm.unique_id(), old);
    assert_eq!(vm.identities(), ["shop-db", "shop-queue"], "theirs stays");
    let after: Vec<_> = asked(&vm).split_off(1).iter().map(|it| (it.to_string(), it.status)).collect();
    assert_eq!(
        after,
        [
            (r#"If-Match: "8"  UserAssigned - shop-db + shop-queue"#.to_owned(), Some(412)),
            (r#"If-Match: "2"  UserAssigned + shop-queue"#.to_owned(), Some(200)),
        ]
    );
    assert_eq!(stage.attached(&vm).await?, ["shop-queue"]);
    stage.until_event("MachineReplaced", "web").await?;
    Ok(())
}
