//! What people and backups do to an `IdentityTarget`, and what tenants may write: nothing of it costs an identity that
//! is not ours to remove.

use anyhow::{Context as _, Result};
use arm_simulator::{Effect, Fault, Machine, Settings};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use lanyard::api::status::Origin;
use lanyard::api::{ADOPT, IdentityTarget};
use lanyard::domain::reason::Reason;
use lanyard::domain::target_name::target_name;
use serde_json::{Value, json};

use crate::harness::{Own, Stage, asked, assignment, sent};

fn object(machine: &Machine) -> Result<String> {
    Ok(target_name(&machine.id().parse()?))
}

/// Takes the object away as somebody does who strips its finalizer.
async fn tear_out(stage: &Stage<'_>, machine: &Machine) -> Result<IdentityTarget> {
    let name = object(machine)?;
    let torn = stage.targets().get(&name).await?;
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    stage.targets().patch(&name, &PatchParams::default(), &bare).await?;
    if stage.targets().get_opt(&name).await?.is_some() {
        stage.targets().delete(&name, &DeleteParams::default()).await?;
    }
    Ok(torn)
}

/// As a backup tool writes it back: without what the server had put there.
async fn restore(stage: &Stage<'_>, saved: &IdentityTarget, with_status: bool) -> Result<()> {
    let mut object = saved.clone();
    let metadata = &mut object.metadata;
    (metadata.uid, metadata.resource_version, metadata.creation_timestamp) = (None, None, None);
    (metadata.managed_fields, metadata.generation) = (None, None);
    if !with_status {
        object.status = None;
    }
    stage.targets().create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn until_all_is_preexisting(stage: &Stage<'_>, name: &str) -> Result<()> {
    let preexisting = async || {
        let users = stage.status(name).await?.unwrap_or_default().user_assigned;
        Ok(!users.is_empty() && users.iter().all(|user| user.origin == Some(Origin::Preexisting)))
    };
    stage.until("all to be preexisting", preexisting).await
}

#[tokio::test]
async fn deleted_during_an_operation_it_stays_until_that_ended_and_then_all_is_preexisting() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}));
    stage.edit("web", |it| it.present("shop-queue")).await?;
    stage.until("the second change to be accepted", async || Ok(vm.identities().len() == 3)).await?;

    stage.targets().delete(&object(&vm)?, &DeleteParams::default()).await?;
    stage.look("web").await?;
    let old = stage.target(&vm).await?.context("its finalizer holds it while our operation runs")?;
    assert!(old.record.intent.is_some() && old.metadata.deletion_timestamp.is_some());

    stage.arm.finish_operations();
    let anew = async || Ok(stage.target(&vm).await?.is_some_and(|target| target.metadata.uid != old.metadata.uid));
    stage.until("a new object", anew).await?;
    until_all_is_preexisting(&stage, "web").await?;
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db", "shop-queue"]);
    assert_eq!(sent(&vm).len(), 2);
    Ok(())
}

#[tokio::test]
async fn torn_out_during_an_operation_nothing_is_written_twice_and_nothing_is_dropped() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}).skip(1));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until("the change to be accepted", async || Ok(vm.identities().len() == 2)).await?;

    tear_out(&stage, &vm).await?;
    stage.arm.finish_operations();
    stage.until_ready("web").await?;
    until_all_is_preexisting(&stage, "web").await?;
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"], "forgotten is not ours");
    assert_eq!(sent(&vm).len(), 1);
    Ok(())
}

#[tokio::test]
async fn restored_from_a_backup_with_status_or_without_it_knows_what_is_ours() -> Result<()> {
    for with_status in [true, false] {
        let own = Own::new(Settings::quick()).await?;
        let first = own.start(&[])?;
        let stage = own.stage()?;
        let vm = stage.vm("web").with_identity("legacy").create();
        stage.declare(assignment("web").on(&vm).present("shop-db").present("legacy")).await?;
        stage.until_ready("web").await?;
        first.kill()?;
        let saved = tear_out(&stage, &vm).await?;
        restore(&stage, &saved, with_status).await?;

        let _second = own.start(&[])?;
        stage.look_through("web", &vm).await?;
        stage.until_ready("web").await?;
        assert_eq!(stage.attached(&vm).await?, ["shop-db"]);
        let shown = async || Ok(stage.target(&vm).await?.is_some_and(|target| target.status.is_some()));
        stage.until("its view to be there again", shown).await?;
        assert_eq!(sent(&vm).len(), 1);
        stage.delete("web").await?;
        stage.until_gone("web").await?;
        assert_eq!(vm.identities(), ["legacy"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_backup_that_is_old_drops_nothing_that_came_since() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("one").present("two")).await?;
    stage.until_ready("web").await?;
    let saved = stage.target(&vm).await?.context("it has one")?;
    // Since the backup: one was undeclared and went, a stranger came, three was attached.
    stage.edit("web", |it| it.without("one").present("three")).await?;
    stage.until_ready("web").await?;
    vm.attach_as_stranger("theirs");
    first.kill()?;
    tear_out(&stage, &vm).await?;
    restore(&stage, &saved, true).await?;

    let _second = own.start(&[])?;
    stage.look_through("web", &vm).await?;
    stage.until_ready("web").await?;
    assert_eq!(stage.attached(&vm).await?, ["two"], "what it does not know is preexisting");
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["theirs", "three"]);
    Ok(())
}

/// The stored object as JSON, changed by hand and put back as it is.
async fn bend(stage: &Stage<'_>, machine: &Machine, change: Value) -> Result<()> {
    stage.targets().patch_metadata(&object(machine)?, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_newer_version_recorded_is_left_alone() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    bend(&stage, &vm, json!({"record": {"formatVersion": 99}})).await?;
    stage.edit("web", |it| it.without("shop-db").present("shop-queue")).await?;

    let message = stage.until_not_ready("web", Reason::RecordNewer).await?;
    assert!(message.contains("newer"), "{message}");
    assert_eq!(sent(&vm).len(), 1, "nothing is written there");
    assert_eq!(stage.record(&vm).await?.format_version, 99);

    bend(&stage, &vm, json!({"record": {"formatVersion": 1}})).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["shop-queue"]);
    Ok(())
}

#[tokio::test]
async fn an_object_in_the_place_of_ours_is_said_and_nothing_is_written() -> Result<()> {
    let stage = Stage::shared().await?;
    let (vm, other) = (stage.vm("web").with_identity("legacy").create(), stage.vm("other").create());
    // By the name that the machine's own would have, about another machine, claiming to have attached what is there.
    let mut squatter = IdentityTarget::new(
        &object(&vm)?,
        serde_json::from_value(json!({
            "formatVersion": 1,
            "resourceId": other.id(),
            "attached": [{"resourceId": stage.identity_id("legacy"), "since": "2026-01-01T00:00:00Z"}],
        }))?,
    );
    squatter.metadata.finalizers = None;
    let made = stage.targets().create(&PostParams::default(), &squatter).await?;
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;

    let message = stage.until_not_ready("web", Reason::NameCollision).await?;
    assert!(message.contains(&other.id()), "it does not say whose place it is: {message}");
    assert!(asked(&vm).is_empty() && vm.identities() == ["legacy"]);
    let left = stage.target(&vm).await?.context("not ours to remove")?;
    assert_eq!(left.record, made.record);

    stage.targets().delete(&object(&vm)?, &DeleteParams::default()).await.ok();
    stage.look("web").await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    Ok(())
}

#[tokio::test]
async fn nothing_that_a_tenant_may_write_makes_an_identity_ours() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").with_identity("theirs").create();
    stage.declare(assignment("web").on(&vm).present("shop-db").present("legacy")).await?;
    stage.until_ready("web").await?;

    // All that the role `edit` on assignments gives: labels, annotations, finalizers, the status of one's own object.
    let forged = json!({"metadata": {
        "labels": {"lanyard.dev/subscription": "x", "lanyard.dev/kind": "VirtualMachine"},
        "annotations": {ADOPT: "declared", "lanyard.dev/attached": stage.identity_id("legacy")},
        "finalizers": ["lanyard.dev/identities", "lanyard.dev/record"],
    }});
    stage.assignments().patch("web", &PatchParams::default(), &Patch::Merge(forged)).await?;
    let ours = |name: &str| {
        json!({
            "resourceId": stage.identity_id(name), "state": "Present", "origin": "Attached", "principalId": "forged",
        })
    };
    let status = json!({"status": {
        "observedGeneration": 99,
        "target": {"name": "another"},
        "userAssigned": [ours("legacy"), ours("theirs"), ours("shop-db")],
        "plan": {"remove": [stage.identity_id("theirs")]},
    }});
    stage.assignments().patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await?;
    stage.look_through("web", &vm).await?;
    assert_eq!(stage.attached(&vm).await?, ["shop-db"]);

    // The finalizer of the record is none of an assignment's: the API server keeps it until somebody takes it off.
    let bare = Patch::Merge(json!({"metadata": {"finalizers": ["lanyard.dev/identities"]}}));
    stage.assignments().patch("web", &PatchParams::default(), &bare).await?;
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    assert_eq!(vm.identities(), ["legacy", "theirs"]);
    Ok(())
}

#[tokio::test]
async fn a_status_of_which_somebody_else_wrote_a_part_is_written_all_the_same() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let observer = assignment("web").on(&vm).present("shop-db").mode(lanyard::api::assignment::Mode::Observe);
    stage.declare(observer).await?;
    stage.until_not_ready("web", Reason::ChangesPending).await?;
    // As a tool does that writes statuses back, under another manager's name.
    let part = json!({"status": {"plan": {"add": [stage.identity_id("theirs")], "defaultIdentity": {"before": "x"}}}});
    stage.assignments().patch_status("web", &PatchParams::default(), &Patch::Merge(part)).await?;

    vm.attach_as_stranger("shop-db");
    stage.look("web").await?;
    stage.until_ready("web").await?;
    let status = stage.status("web").await?.unwrap_or_default();
    assert!(status.plan.is_none(), "{:?}", status.plan);
    Ok(())
}

#[tokio::test]
async fn a_new_object_under_an_old_name_inherits_nothing() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let (kept, left) = (stage.vm("kept").create(), stage.vm("left").create());
    stage.declare(assignment("kept").on(&kept).present("shop-db").retaining()).await?;
    stage.declare(assignment("left").on(&left).present("shop-db")).await?;
    for name in ["kept", "left"] {
        stage.until_ready(name).await?;
    }
    first.kill()?;
    // Gone while nobody ran, and made anew under their names with the other's policy: the old claims end as recorded.
    for name in ["kept", "left"] {
        stage.delete_without_finalizers(name).await?;
    }
    stage.declare(assignment("kept").on(&kept).present("shop-queue")).await?;
    stage.declare(assignment("left").on(&left).present("shop-queue").retaining()).await?;

    let _second = own.start(&[])?;
    stage.until("what Detach left behind to go", async || Ok(left.identities() == ["shop-queue"])).await?;
    stage.until_ready("kept").await?;
    assert_eq!(kept.identities(), ["shop-db", "shop-queue"], "Retain was said when it was last acted on");
    stage.until_event("IdentitiesReleased", "shop-db").await?;
    stage.delete("kept").await?;
    stage.until_gone("kept").await?;
    assert_eq!(kept.identities(), ["shop-db"]);
    Ok(())
}
