//! Created, adopted, tagged, and told of in outputs; whoever else makes it.
use super::{Ids, tags, without_mark};
use crate::harness::{Stage, tail};
use anyhow::{Context as _, Result};
use arm_simulator::{Effect, Fault, ForeignAct};
use kube::api::{Patch, PatchParams, PostParams};
use lanyard::api::DELETE_ADOPTED;
use lanyard::api::user_assigned_identity::IdentityOrigin;
use lanyard::domain::reason::Reason;
use serde_json::json;

#[tokio::test]
async fn an_identity_is_created_tagged_told_of_and_deleted_with_its_object() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let db = ids.unmade("shop-db");
    ids.declare("db", &db, json!({"tags": {"team": "shop"}})).await?;
    let status = ids.until_ready("db").await?;
    assert_eq!((status.origin, status.principal_id.clone()), (Some(IdentityOrigin::Created), db.principal_id()));
    assert!(status.client_id.is_some() && status.tenant_id.is_some());
    assert_eq!(db.location().as_deref(), Some("westeurope"), "its group's");
    assert_eq!(without_mark(&db), tags(&[("team", "shop")]));
    stage.until_event("IdentityCreated", "shop-db").await?;

    db.by_a_stranger(&ForeignAct::TagIdentity(tags(&[("theirs", "1"), ("team", "other")]).into_iter().collect()));
    ids.patch("db", json!({"spec": {"tags": {"env": "prod"}}})).await?;
    let merged = tags(&[("theirs", "1"), ("team", "shop"), ("env", "prod")]);
    stage.until("tags to be merged", async || Ok(without_mark(&db) == merged)).await?;
    ids.patch("db", json!({"spec": {"tags": {"team": null, "env": null}}})).await?;
    stage.until("our tags to be gone", async || Ok(without_mark(&db) == tags(&[("theirs", "1")]))).await?;

    ids.until_ready("db").await?;
    let before = ids.writes(&db).len();
    ids.look("db").await?;
    ids.until_ready("db").await?;
    assert_eq!(ids.writes(&db).len(), before, "as declared is as declared");

    ids.delete("db").await?;
    ids.until_gone("db").await?;
    assert_eq!(db.principal_id(), None);
    assert_eq!(ids.record(&db).await?, None);
    let audit = tail(&stage.log, "identity written", 1000);
    for action in ["create", "tag", "delete"] {
        let line = format!(r#""action":"{action}","object":"{}/db""#, stage.namespace);
        assert!(audit.contains(&line), "{action} is in the audit stream");
    }
    Ok(())
}

#[tokio::test]
async fn what_exists_is_adopted_and_stays_unless_its_deletion_is_said_again() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (first, second) = (stage.identity("first"), stage.identity("second"));
    for identity in [&first, &second] {
        ids.declare(identity.name(), identity, json!({"location": "northeurope"})).await?;
        let status = ids.until_ready(identity.name()).await?;
        assert_eq!((status.origin, status.principal_id), (Some(IdentityOrigin::Adopted), identity.principal_id()));
        let (.., told) = ids.condition(identity.name(), "LocationDiffers").await?.context("told")?;
        assert!(told.contains("westeurope"), "{told}");
        assert_eq!(ids.writes(identity), Vec::<String>::new());
    }
    ids.annotate("first", DELETE_ADOPTED, "another-principal").await?;
    ids.annotate("second", DELETE_ADOPTED, &second.principal_id().context("there")?).await?;
    let held = async || {
        let object = ids.objects().get("second").await?;
        Ok(object.metadata.finalizers.is_some_and(|all| !all.is_empty()))
    };
    stage.until("a finalizer for the deletion that was said again", held).await?;
    for identity in [&first, &second] {
        ids.delete(identity.name()).await?;
        ids.until_gone(identity.name()).await?;
    }
    assert!(first.principal_id().is_some(), "adopted, and its deletion not said again");
    assert_eq!(second.principal_id(), None);
    Ok(())
}

#[tokio::test]
async fn what_exists_is_left_alone_where_it_is_never_to_be_adopted_and_two_objects_conflict() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (legacy, db) = (stage.identity("legacy"), ids.unmade("shop-db"));
    ids.declare("legacy", &legacy, json!({"adopt": "Never", "tags": {"a": "b"}})).await?;
    let said = ids.until_not_ready("legacy", Reason::IdentityExists).await?;
    assert!(said.contains("adopt"), "{said}");
    assert!(ids.writes(&legacy).is_empty() && legacy.tags().is_empty());
    ids.delete("legacy").await?;
    ids.until_gone("legacy").await?;
    assert!(legacy.principal_id().is_some());

    ids.declare("db", &db, json!({"adopt": "Never"})).await?;
    ids.until_ready("db").await?;
    ids.declare("db-too", &db, json!({})).await?;
    let said = ids.until_not_ready("db-too", Reason::Conflict).await?;
    assert!(said.contains(&format!("{}/db ", stage.namespace)), "{said}");
    // The second one goes, and takes nothing along.
    ids.delete("db-too").await?;
    ids.until_gone("db-too").await?;
    assert!(db.principal_id().is_some());
    ids.until_ready("db").await?;

    // The first one goes, and retains; the next one adopts.
    ids.patch("db", json!({"spec": {"deletionPolicy": "Retain"}})).await?;
    ids.declare("db-next", &db, json!({})).await?;
    ids.until_not_ready("db-next", Reason::Conflict).await?;
    ids.delete("db").await?;
    assert_eq!(ids.until_ready("db-next").await?.origin, Some(IdentityOrigin::Adopted));
    Ok(())
}

#[tokio::test]
async fn the_group_is_waited_for_and_a_long_name_is_told() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let name = "a-name-of-more-than-24-characters";
    let db = stage.arm.identity(&stage.subscription, "later", name).unmade();
    ids.declare("db", &db, json!({})).await?;
    ids.until_not_ready("db", Reason::ResourceGroupNotFound).await?;
    stage.arm.identity(&stage.subscription, "later", "another").create();
    ids.look("db").await?;
    ids.until_ready("db").await?;
    let (.., told) = ids.condition("db", "NameTooLongForMachines").await?.context("told")?;
    assert!(told.contains("24"), "{told}");
    Ok(())
}

#[tokio::test]
async fn outputs_are_kept_up_to_date_and_a_foreign_config_map_is_never_touched() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let db = ids.unmade("shop-db");
    let foreign = json!({"metadata": {"name": "foreign"}, "data": {"clientId": "theirs"}});
    ids.config_maps().create(&PostParams::default(), &serde_json::from_value(foreign)?).await?;
    ids.declare("db", &db, json!({"writeOutputsTo": {"configMap": "db"}})).await?;
    let status = ids.until_ready("db").await?;
    let outputs = ids.until_outputs("db").await?;
    assert_eq!(outputs["resourceId"], db.id());
    assert_eq!(
        (outputs.get("clientId"), outputs.get("principalId")),
        (status.client_id.as_ref(), status.principal_id.as_ref())
    );
    assert_eq!(outputs.get("tenantId"), status.tenant_id.as_ref());

    let spoiled = Patch::Merge(json!({"data": {"clientId": "spoiled", "more": "1"}}));
    ids.config_maps().patch("db", &PatchParams::default(), &spoiled).await?;
    ids.look("db").await?;
    let mended = async || Ok(ids.config_maps().get("db").await?.data.as_ref() == Some(&outputs));
    stage.until("the outputs to be mended", mended).await?;
    let owners = ids.config_maps().get("db").await?.metadata.owner_references.unwrap_or_default();
    assert_eq!(
        owners.iter().map(|owner| (owner.kind.as_str(), owner.name.as_str())).collect::<Vec<_>>(),
        [("UserAssignedIdentity", "db")]
    );

    ids.patch("db", json!({"spec": {"writeOutputsTo": {"configMap": "foreign"}}})).await?;
    let said = ids.until_not_ready("db", Reason::OutputsRefused).await?;
    assert!(said.contains("foreign"), "{said}");
    assert_eq!(ids.until_outputs("foreign").await?, tags(&[("clientId", "theirs")]));
    assert!(ids.config_maps().get_opt("db").await?.is_none(), "the old one went with its name");

    ids.patch("db", json!({"spec": {"writeOutputsTo": {"configMap": "moved"}}})).await?;
    ids.until_ready("db").await?;
    assert_eq!(ids.until_outputs("moved").await?, outputs);
    Ok(())
}

#[tokio::test]
async fn who_is_faster_between_our_read_and_our_put_keeps_the_identity() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let db = ids.unmade("shop-db");
    let act = ForeignAct::MakeIdentity(tags(&[("theirs", "1")]).into_iter().collect());
    stage.arm.fault(Fault::new("PUT", db.id(), Effect::Foreign { resource: None, act, after: false }));
    ids.declare("db", &db, json!({})).await?;
    assert_eq!(ids.until_ready("db").await?.origin, Some(IdentityOrigin::Adopted));
    stage.until_event("IdentityWasThere", "shop-db").await?;
    ids.delete("db").await?;
    ids.until_gone("db").await?;
    assert!(db.principal_id().is_some());
    Ok(())
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_known_again_and_a_404_of_one_moment_overwrites_nothing() -> Result<()> {
    let stage = Stage::shared().await?;
    let ids = Ids(&stage);
    let (db, legacy) = (ids.unmade("shop-db"), stage.identity("legacy"));
    stage.arm.fault(Fault::new("PUT", db.id(), Effect::LoseReply {}));
    ids.declare("db", &db, json!({})).await?;
    assert_eq!(ids.until_ready("db").await?.origin, Some(IdentityOrigin::Created));
    assert_eq!(ids.writes(&db), ["PUT"]);

    legacy.by_a_stranger(&ForeignAct::TagIdentity(tags(&[("theirs", "1")]).into_iter().collect()));
    stage.arm.fault(Fault::new("GET", legacy.id(), Effect::Hide {}));
    ids.declare("legacy", &legacy, json!({})).await?;
    assert_eq!(ids.until_ready("legacy").await?.origin, Some(IdentityOrigin::Adopted));
    assert!(ids.writes(&legacy).is_empty());
    assert_eq!(legacy.tags(), tags(&[("theirs", "1")]));
    Ok(())
}
