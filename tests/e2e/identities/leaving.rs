//! What keeps an identity from being deleted, and what does not.
use super::Ids;
use crate::harness::{Own, Stage, assignment};
use anyhow::Result;
use arm_simulator::Settings;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use lanyard::api::RELEASE;
use lanyard::domain::reason::Reason;
use serde_json::json;

#[tokio::test]
async fn machines_that_have_it_keep_an_identity_from_being_deleted_and_are_named() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let db = ids.unmade("shop-db");
    ids.declare("db", &db, json!({})).await?;
    ids.until_ready("db").await?;
    let (ours, theirs) = (stage.vm("ours").create(), stage.vm("theirs").create());
    theirs.attach_as_stranger(&db);
    stage.declare(assignment("ours").on(&ours).present(db.id())).await?;
    stage.until_ready("ours").await?;
    ids.delete("db").await?;
    let said = ids.until_not_ready("db", Reason::IdentityInUse).await?;
    assert!(said.contains(&*ours.id()), "{said}");
    stage.delete("ours").await?;
    // Nobody declares anything about this one: a list tells of it.
    let named = async || Ok(ids.until_not_ready("db", Reason::IdentityInUse).await?.contains(&*theirs.id()));
    stage.until("a machine that is none of ours to be named", named).await?;
    assert!(db.principal_id().is_some());

    theirs.detach_as_stranger(&db);
    ids.look("db").await?;
    ids.until_gone("db").await?;
    assert_eq!(db.principal_id(), None);
    Ok(())
}

#[tokio::test]
async fn a_release_lets_go_of_what_is_in_use() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let db = ids.unmade("shop-db");
    ids.declare("db", &db, json!({})).await?;
    ids.until_ready("db").await?;
    stage.vm("theirs").create().attach_as_stranger(&db);
    ids.delete("db").await?;
    ids.until_not_ready("db", Reason::IdentityInUse).await?;
    ids.annotate("db", RELEASE, "true").await?;
    ids.until_gone("db").await?;
    assert!(db.principal_id().is_some() && ids.record(&db).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn nothing_that_a_namespaces_users_write_has_an_identity_deleted_that_was_there_before() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let legacy = stage.identity("legacy");
    ids.declare("legacy", &legacy, json!({})).await?;
    ids.until_ready("legacy").await?;
    // All that they could write: the status of their object, its finalizers, labels and annotations.
    let forged = json!({"status": {"origin": "Created", "principalId": legacy.principal_id()}});
    ids.objects().patch_status("legacy", &PatchParams::default(), &Patch::Merge(forged)).await?;
    let finalizers = json!({"metadata": {
        "finalizers": ["lanyard.dev/user-assigned-identity"],
        "labels": {"lanyard.dev/origin": "Created"},
        "annotations": {"lanyard.dev/adopt": "declared", "lanyard.dev/origin": "Created"},
    }});
    ids.patch("legacy", finalizers).await?;
    ids.delete("legacy").await?;
    ids.until_gone("legacy").await?;
    assert!(legacy.principal_id().is_some());
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_is_deleted_with_all_that_is_in_it_ends_gone() -> Result<()> {
    let own = Own::with_controller_manager(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let ids = Ids(&stage);
    let (vm, db) = (stage.vm("web").create(), ids.unmade("shop-db"));
    ids.declare("db", &db, json!({"writeOutputsTo": {"configMap": "db"}})).await?;
    stage.declare(assignment("web").on(&vm).refers("db")).await?;
    stage.until_ready("web").await?;
    ids.until_ready("db").await?;
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
    let gone = async || Ok(namespaces.get_opt(&stage.namespace).await?.is_none());
    stage.until("the namespace to be gone", gone).await?;
    assert!(vm.identities().is_empty());
    assert_eq!(db.principal_id(), None);
    Ok(())
}
