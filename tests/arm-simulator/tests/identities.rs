//! User-assigned identities as resources: made, overwritten, tagged and deleted as ARM does it.
#![allow(clippy::expect_used, reason = "a test says what it expected")]
mod support;

use arm_simulator::{Barrier, Settings};
use serde_json::{Value, json};
use support::{Arm, SUB};

fn path(name: &str) -> String {
    format!(
        "/subscriptions/{SUB}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

async fn with_group() -> Arm {
    let arm = Arm::quick().await;
    arm.sim.vm(SUB, "shop", "web").create();
    arm
}

#[tokio::test]
async fn a_put_makes_with_201_and_overwrites_the_tags_with_200() {
    let arm = with_group().await;
    let made = arm.put(&path("db1"), &json!({"location": "westeurope", "tags": {"a": "1"}})).await;
    assert_eq!((made.status, &made.body["tags"]), (201, &json!({"a": "1"})));
    assert!(made.body["id"].as_str().expect("an id").contains("/resourcegroups/"), "as ARM spells it");
    let again = arm.put(&path("DB1"), &json!({"location": "West Europe", "tags": {"b": "2"}})).await;
    assert_eq!((again.status, &again.body["tags"]), (200, &json!({"b": "2"})));
    assert_eq!(again.body["properties"], made.body["properties"], "the same principal");
    let elsewhere = arm.put(&path("db1"), &json!({"location": "northeurope"})).await;
    assert_eq!((elsewhere.status, elsewhere.code()), (409, "InvalidResourceLocation"));
}

#[tokio::test]
async fn a_patch_replaces_the_tags_and_makes_nothing() {
    let arm = with_group().await;
    let missing = arm.patch(&path("db1"), &json!({"tags": {}})).await;
    assert_eq!((missing.status, missing.code()), (404, "ResourceNotFound"));
    arm.put(&path("db1"), &json!({"location": "westeurope", "tags": {"a": "1"}})).await;
    let tagged = arm.patch(&path("db1"), &json!({"tags": {"b": "2"}})).await;
    assert_eq!((tagged.status, &tagged.body["tags"]), (200, &json!({"b": "2"})));
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("t{n}"), json!("v"))).collect();
    assert_eq!(arm.patch(&path("db1"), &json!({ "tags": many })).await.status, 400);
}

#[tokio::test]
async fn a_delete_leaves_references_and_what_is_made_anew_is_another() {
    let arm = with_group().await;
    let first = arm.put(&path("db1"), &json!({"location": "westeurope"})).await;
    let vm = arm.sim.vm(SUB, "shop", "app").with_identity(path("db1")).create();
    assert_eq!(arm.delete(&path("db1")).await.status, 200);
    assert_eq!(arm.delete(&path("db1")).await.status, 204);
    assert_eq!(vm.identities(), ["db1"], "a dead entry stays");
    let second = arm.put(&path("db1"), &json!({"location": "westeurope"})).await;
    assert_ne!(first.body["properties"]["principalId"], second.body["properties"]["principalId"]);
}

#[tokio::test]
async fn barriers_and_missing_groups_hold_for_identities_too() {
    let arm = with_group().await;
    let nowhere = path("db1").replace("/shop/", "/nowhere/");
    assert_eq!(arm.put(&nowhere, &json!({"location": "westeurope"})).await.code(), "ResourceGroupNotFound");
    arm.sim.restrict(&path("db1"), Barrier::NoWriteRole);
    let refused = arm.put(&path("db1"), &json!({"location": "westeurope"})).await;
    assert_eq!((refused.status, refused.code()), (403, "AuthorizationFailed"));
}

#[tokio::test]
async fn a_fresh_identity_is_found_by_machines_a_while_later() {
    let arm = Arm::start(Settings { identity_arrives_after_millis: 400, ..Settings::quick() }).await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    arm.put(&path("db1"), &json!({"location": "westeurope"})).await;
    let assign = json!({"identity": {"type": "UserAssigned", "userAssignedIdentities": {path("db1"): {}}}});
    let early = arm.patch(&vm.id(), &assign).await;
    assert_eq!((early.status, early.code()), (400, "FailedIdentityOperation"));
    while arm.patch(&vm.id(), &assign).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
