//! References: in any order, followed, and never a withdrawal for want of an object.
use super::Ids;
use crate::harness::{Stage, assignment, names_of, sent};
use anyhow::{Context as _, Result};
use lanyard::api::user_assigned_identity::IdentityOrigin;
use lanyard::domain::reason::Reason;
use serde_json::json;

#[tokio::test]
async fn applied_in_any_order_all_ends_ready_and_deleted_in_any_order_all_ends_gone() -> Result<()> {
    for identity_first in [true, false] {
        let stage = Stage::shared().await?;
        let ids = Ids(&stage);
        let (vm, db) = (stage.vm("web").with_identity("legacy").create(), ids.unmade("shop-db"));
        let declare_identity = async || ids.declare("db", &db, json!({})).await;
        if identity_first {
            declare_identity().await?;
        }
        stage.declare(assignment("web").on(&vm).refers("db").present("other")).await?;
        if !identity_first {
            let said = stage.until_not_ready("web", Reason::IdentityNotReady).await?;
            assert!(said.starts_with("db: "), "{said}");
            stage.until("the rest to go on", async || Ok(vm.identities() == ["legacy", "other"])).await?;
            declare_identity().await?;
        }
        stage.until_ready("web").await?;
        assert_eq!(vm.identities(), ["legacy", "other", "shop-db"]);
        let users = async || {
            let status = ids.until_ready("db").await?;
            Ok(names_of(status.users.iter().map(|user| &user.resource_id)) == ["web"])
        };
        stage.until("the machine to be told of", users).await?;

        if identity_first {
            ids.delete("db").await?;
            stage.delete("web").await?;
        } else {
            stage.delete("web").await?;
            ids.delete("db").await?;
        }
        ids.until_gone("db").await?;
        stage.until_gone("web").await?;
        assert_eq!((vm.identities(), db.principal_id()), (vec!["legacy".to_owned()], None));
    }
    Ok(())
}

#[tokio::test]
async fn an_identity_goes_while_its_reference_stays_and_is_attached_again_when_it_comes_back() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (vm, db) = (stage.vm("web").create(), ids.unmade("shop-db"));
    ids.on_a_machine(&vm, &db, json!({})).await?;
    ids.delete("db").await?;
    ids.until_gone("db").await?;
    assert!(vm.identities().is_empty() && db.principal_id().is_none(), "taken off first, then deleted");
    stage.until_not_ready("web", Reason::IdentityNotReady).await?;

    ids.declare("db", &db, json!({})).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["shop-db"]);

    stage.edit("web", |it| it.refers_no_more("db")).await?;
    stage.until("an entry that is removed to be withdrawn", async || Ok(vm.identities().is_empty())).await?;
    assert!(db.principal_id().is_some());
    Ok(())
}

#[tokio::test]
async fn an_object_that_vanishes_or_is_made_anew_takes_nothing_off_a_machine() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (vm, db) = (stage.vm("web").create(), ids.unmade("shop-db"));
    ids.on_a_machine(&vm, &db, json!({"deletionPolicy": "Retain"})).await?;
    ids.delete("db").await?;
    ids.until_gone("db").await?;
    stage.until_not_ready("web", Reason::IdentityNotReady).await?;
    stage.look_through("web", &vm).await?;
    assert_eq!(vm.identities(), ["shop-db"], "what a reference stood for stays while its object cannot be seen");

    ids.declare("db", &db, json!({})).await?;
    stage.until_ready("web").await?;
    assert_eq!((vm.identities(), sent(&vm).len()), (vec!["shop-db".to_owned()], 1));
    Ok(())
}

#[tokio::test]
async fn an_object_is_renamed_and_no_machine_loses_its_identity() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (vm, db) = (stage.vm("web").create(), ids.unmade("shop-db"));
    ids.on_a_machine(&vm, &db, json!({})).await?;
    let principal = db.principal_id();

    // The first commit: the old object takes nothing along, and the assignment names both.
    ids.patch("db", json!({"spec": {"deletionPolicy": "Retain"}})).await?;
    ids.declare("db-new", &db, json!({})).await?;
    ids.until_not_ready("db-new", Reason::Conflict).await?;
    stage.edit("web", |it| it.refers("db-new")).await?;
    stage.until_not_ready("web", Reason::IdentityNotReady).await?;

    // The second one: the old name goes.
    stage.edit("web", |it| it.refers_no_more("db")).await?;
    ids.delete("db").await?;
    ids.until_gone("db").await?;
    stage.until_ready("web").await?;
    assert_eq!(ids.until_ready("db-new").await?.origin, Some(IdentityOrigin::Adopted));
    assert_eq!((vm.identities(), db.principal_id()), (vec!["shop-db".to_owned()], principal));
    assert_eq!(sent(&vm).len(), 1, "attached once, and never taken off");
    Ok(())
}

#[tokio::test]
async fn an_identity_that_a_stranger_made_again_is_theirs_and_dead_entries_are_repaired() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (vm, db) = (stage.vm("web").create(), ids.unmade("shop-db"));
    ids.on_a_machine(&vm, &db, json!({})).await?;
    let old = ids.until_ready("db").await?.principal_id.context("a principal")?;
    // What was created a moment ago may read as it was before: not until a minute later is another one believed.
    db.recreate();
    ids.look("db").await?;
    let new = db.principal_id();
    let seen = async || Ok(ids.status("db").await?.filter(|status| status.principal_id == new));
    let status = stage.until_some("the new principal to be told", seen).await?;
    assert_eq!((status.origin, status.previous_principal_id), (Some(IdentityOrigin::Adopted), Some(old.clone())));
    stage.until_event("PrincipalChanged", &old).await?;
    let healed = async || {
        let status = stage.status("web").await?.unwrap_or_default();
        Ok(status.user_assigned.iter().any(|told| told.principal_id == new))
    };
    stage.until("the dead entry to be repaired", healed).await?;

    stage.delete("web").await?;
    stage.until_gone("web").await?;
    ids.delete("db").await?;
    ids.until_gone("db").await?;
    assert_eq!(db.principal_id(), new, "not ours to delete");
    Ok(())
}
