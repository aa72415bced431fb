//! Deletion: what goes, what stays, and that it always ends.

use anyhow::Result;
use arm_simulator::{Barrier, Effect, Fault};
use lanyard::api::RELEASE;
use lanyard::api::assignment::{Mode, SystemAssigned};
use lanyard::domain::reason::Reason;

use crate::harness::{Stage, assignment, sent};

#[tokio::test]
async fn detach_takes_what_was_attached_and_leaves_the_system_identity_on() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let web = assignment("web").on(&vm).present("shop-db").present("legacy");
    stage.declare(web.system(SystemAssigned::Enabled)).await?;
    stage.until_ready("web").await?;
    let principal = vm.system_principal();

    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy"], "what was there before stays");
    assert_eq!(vm.system_principal(), principal);
    assert_eq!(sent(&vm)[1], r#"If-Match: "2"  SystemAssigned, UserAssigned - shop-db"#);
    let forgotten = async || Ok(stage.target(&vm).await?.is_none());
    stage.until("the IdentityTarget to go with the last claim", forgotten).await
}

#[tokio::test]
async fn retain_release_and_observe_let_go_without_a_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let machines = ["retain", "release", "observe"].map(|name| stage.vm(name).create());
    for machine in &machines {
        stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
        stage.until_ready(machine.name()).await?;
    }
    stage.edit("retain", crate::harness::Declared::retaining).await?;
    stage.edit("observe", |it| it.mode(Mode::Observe)).await?;
    stage.annotate("release", RELEASE, "true").await?;
    for machine in &machines {
        stage.delete(machine.name()).await?;
        stage.until_gone(machine.name()).await?;
        let forgotten = async || Ok(stage.target(machine).await?.is_none());
        stage.until("the IdentityTarget to go with the last claim", forgotten).await?;
        assert_eq!(machine.identities(), ["shop-db"]);
        assert_eq!(sent(machine).len(), 1, "attached, and nothing since");
    }
    Ok(())
}

#[tokio::test]
async fn undeclaring_leaves_what_was_there_before() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").with_system().create();
    let web = assignment("web").on(&vm).present("legacy").present("shop-db");
    stage.declare(web.system(SystemAssigned::Enabled)).await?;
    stage.until_ready("web").await?;

    stage.edit("web", |it| it.without("legacy").without("shop-db").system(SystemAssigned::Unmanaged)).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["legacy"]);
    assert!(vm.system_principal().is_some());
    Ok(())
}

#[tokio::test]
async fn a_finalizer_is_there_only_where_something_is_to_clean() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("borrows").on(&vm).present("legacy").system(SystemAssigned::Enabled)).await?;
    stage.declare(assignment("attaches").on(&vm).present("shop-db")).await?;
    stage.declare(assignment("retains").on(&vm).present("shop-queue").retaining()).await?;
    for name in ["borrows", "attaches", "retains"] {
        stage.until_ready(name).await?;
    }
    let finalizers = async |name: &str| -> Result<Vec<String>> {
        Ok(stage.assignment(name).await?.and_then(|it| it.metadata.finalizers).unwrap_or_default())
    };
    let on = async || Ok(!finalizers("attaches").await?.is_empty());
    stage.until("the finalizer of what attaches", on).await?;
    stage.look_through("attaches", &vm).await?;
    assert!(finalizers("borrows").await?.is_empty());
    assert!(finalizers("retains").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_owns_nothing_is_deleted_without_any_access_to_arm() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("legacy")).await?;
    stage.until_ready("web").await?;

    stage.arm.fault(Fault::new("GET", &vm.id(), Effect::LoseRequest {}).always());
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    let forgotten = async || Ok(stage.target(&vm).await?.is_none());
    stage.until("the IdentityTarget to go with the last claim", forgotten).await?;
    assert_eq!(vm.identities(), ["legacy"]);
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_cannot_be_done_now_says_why_and_release_ends_it() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.arm.restrict(&vm.id(), Barrier::ScopeLocked);

    stage.delete("web").await?;
    let message = stage.until_not_ready("web", Reason::ScopeLocked).await?;
    assert!(message.contains("lock"), "{message}");
    assert!(stage.is_stalled("web").await?);

    stage.annotate("web", RELEASE, "true").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["shop-db"], "it stays, and is nobody's here");
    Ok(())
}

#[tokio::test]
async fn a_finalizer_stripped_by_hand_loses_nothing() -> Result<()> {
    use kube::api::{Patch, PatchParams};
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    // Held back, so that the finalizer is stripped before the work is done.
    stage.arm.restrict(&vm.id(), Barrier::ScopeLocked);
    stage.delete("web").await?;
    stage.until_not_ready("web", Reason::ScopeLocked).await?;
    let bare = Patch::Merge(serde_json::json!({"metadata": {"finalizers": null}}));
    stage.assignments().patch("web", &PatchParams::default(), &bare).await?;
    stage.until_gone("web").await?;

    stage.arm.lift(&vm.id());
    stage.annotate_target(&vm, lanyard::api::RECONCILE_AT, "now").await?;
    stage.until("the work to be done all the same", async || Ok(vm.identities() == ["legacy"])).await?;
    let forgotten = async || Ok(stage.target(&vm).await?.is_none());
    stage.until("the IdentityTarget to go with the last claim", forgotten).await
}

/// With its finalizer stripped, an object is gone the moment it is deleted: that its owner let it go was said before.
#[tokio::test]
async fn let_go_stripped_and_deleted_in_one_breath_it_takes_nothing_along() -> Result<()> {
    use kube::api::{Patch, PatchParams};
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    let let_go = serde_json::json!({"metadata": {"finalizers": null, "annotations": {RELEASE: "true"}}});
    stage.assignments().patch("web", &PatchParams::default(), &Patch::Merge(let_go)).await?;
    stage.delete("web").await?;
    let forgotten = async || Ok(stage.target(&vm).await?.is_none());
    stage.until("the IdentityTarget to go with the last claim", forgotten).await?;
    assert_eq!((vm.identities(), sent(&vm).len()), (vec!["legacy".to_owned(), "shop-db".to_owned()], 1));
    Ok(())
}
