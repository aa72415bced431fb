//! The writes of a controller, end to end over HTTPS.
mod support;

use arm_simulator::{
    Actor, AllNull, Barrier, DeadEntries, Effect, Fault, Outcome, Pace, SecondWrite, Settings, SystemChange,
};
use reqwest::Method;
use serde_json::{Value, json};
use support::{Arm, SUB, got};

fn adding(kind: &str, id: &str) -> Value {
    json!({"identity": {"type": kind, "userAssignedIdentities": {id: {}}}})
}

#[tokio::test]
async fn a_patch_is_accepted_at_once_and_done_later() {
    let arm = Arm::quick().await;
    arm.sim.set(|settings| settings.operations = Pace::Manual);
    let vm = arm.sim.vm(SUB, "shop", "web").with_identity("legacy").create();
    let id = arm.sim.identity(SUB, "shop", "shop-db").create();

    let accepted = arm.patch_if("\"1\"", &vm.id(), &adding("UserAssigned", id.id())).await;
    assert_eq!(accepted.status, 200);
    assert_eq!(accepted.body["properties"]["provisioningState"], "Updating");
    assert_eq!(accepted.header("etag"), Some("\"2\""));
    assert_eq!(accepted.body["etag"], "\"2\"");
    assert_eq!(accepted.body["identity"]["userAssignedIdentities"][id.id()], json!({}));
    assert!(accepted.operation().len() > 3_000);
    assert_eq!(accepted.header("location"), None);
    let running = arm.get_url(accepted.operation()).await;
    assert_eq!(running.body["status"], "InProgress");
    assert_eq!(running.body.get("endTime"), None);

    arm.sim.finish_operations();
    assert_eq!(arm.follow(accepted.operation()).await["status"], "Succeeded");
    let read = arm.get(&vm.id()).await;
    assert_eq!(read.header("etag"), Some("\"2\""), "the end moves no ETag");
    let entry = &read.body["identity"]["userAssignedIdentities"][id.id()];
    assert_eq!(entry["principalId"].as_str(), id.principal_id().as_deref());
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    let patches: Vec<String> = vm.patches().iter().map(ToString::to_string).collect();
    assert_eq!(patches, ["If-Match: \"1\"  UserAssigned + shop-db"]);
    assert!(
        matches!(vm.history()[..], [ref change] if change.added.len() == 1 && matches!(change.by, Actor::Request(_)))
    );
}

#[tokio::test]
async fn type_alone_drops_what_it_does_not_name() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").with_system().with_identity("a").create();
    let principal = vm.system_principal().expect("a system identity");

    arm.patch(&vm.id(), &json!({"identity": {"type": "SystemAssigned"}})).await;
    assert!(vm.wait_until_idle().await);
    assert_eq!(vm.identities(), Vec::<String>::new());
    assert_eq!(vm.system_principal().as_ref(), Some(&principal));

    let gone = arm.patch(&vm.id(), &json!({"identity": {"type": "None"}})).await;
    assert_eq!(gone.body.get("identity"), None);
    assert!(vm.wait_until_idle().await);
    arm.patch(&vm.id(), &json!({"identity": {"type": "SystemAssigned"}})).await;
    assert_ne!(vm.system_principal(), Some(principal.clone()), "a principal never returns");
    assert!(vm.history().iter().any(|change| change.system == [SystemChange::Destroyed(principal.clone())]));
}

#[tokio::test]
async fn an_etag_that_does_not_match_is_refused_even_for_nothing() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").etag(3).create();
    let refused = arm.patch_if("\"2\"", &vm.id(), &json!({})).await;
    assert_eq!((refused.status, refused.code()), (412, "PreconditionFailed"));
    assert_eq!(
        refused.body["error"]["message"],
        "Etag provided in if-match header \"2\" does not match etag \"3\" of resource."
    );
    let probe = arm.patch_if("\"3\"", &vm.id(), &json!({})).await;
    assert_eq!((probe.status, probe.header("etag")), (200, Some("\"3\"")));
    assert_eq!(probe.header("azure-asyncoperation"), None);

    arm.sim.set(|settings| settings.honour_if_match = false);
    assert_eq!(arm.patch_if("\"2\"", &vm.id(), &json!({})).await.status, 200);
}

#[tokio::test]
async fn one_write_at_a_time() {
    let arm = Arm::quick().await;
    arm.sim.set(|settings| settings.operations = Pace::Manual);
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let system = json!({"identity": {"type": "SystemAssigned"}});
    let first = arm.patch(&vm.id(), &system).await;
    let second = arm.patch(&vm.id(), &system).await;
    assert_eq!((second.status, second.code()), (409, "Conflict"));

    arm.sim.set(|settings| settings.second_write = SecondWrite::Preempt);
    assert_eq!(arm.patch(&vm.id(), &system).await.status, 200);
    let preempted = arm.get_url(first.operation()).await;
    assert_eq!((preempted.status, &preempted.body["error"]["code"]), (200, &json!("OperationPreempted")));
}

#[tokio::test]
async fn what_cannot_be_assigned_fails_the_whole_request() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let absent = format!(
        "/subscriptions/{SUB}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/none"
    );
    let refused = arm.patch(&vm.id(), &adding("UserAssigned", &absent)).await;
    assert_eq!((refused.status, refused.code()), (400, "FailedIdentityOperation"));
    let message = refused.body["error"]["message"].as_str().expect("a message");
    assert!(message.contains(&format!("Resource '{}' was not found.", absent.to_lowercase())), "{message}");

    let barred = arm.sim.identity(SUB, "shop", "barred").create();
    arm.sim.restrict(barred.id(), Barrier::NoAssignRole);
    let refused = arm.patch(&vm.id(), &adding("UserAssigned", barred.id())).await;
    assert_eq!((refused.status, refused.code()), (403, "LinkedAuthorizationFailed"));

    let many: serde_json::Map<String, Value> = (0..151).map(|n| (format!("{absent}-{n}"), json!({}))).collect();
    let refused =
        arm.patch(&vm.id(), &json!({"identity": {"type": "UserAssigned", "userAssignedIdentities": many}})).await;
    assert!(refused.body["error"]["message"].as_str().is_some_and(|text| text.contains("exceed limit '150'")));
    assert_eq!(vm.etag(), "\"1\"", "nothing of it happened");
}

#[tokio::test]
async fn nonsense_is_refused_in_arm_s_words() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").with_identity("a").create();
    let broken = arm.request(Method::PATCH, &vm.id()).body("{\"identity\":").send().await.expect("an answer");
    assert_eq!(got(broken).await.code(), "InvalidRequestContent");
    let a = &vm.identity_ids()[0];
    let echo = json!({"identity": {"type": "UserAssigned", "userAssignedIdentities": {a: {"clientId": "x"}}}});
    assert_eq!(arm.patch(&vm.id(), &echo).await.code(), "InvalidIdentityValues");
    let bare = arm.sim.vm(SUB, "shop", "bare").create();
    let empty = json!({"identity": {"type": "UserAssigned"}});
    assert_eq!(arm.patch(&bare.id(), &empty).await.code(), "MissingIdentityIds");
    arm.sim.set(|settings| settings.all_null = AllNull::Refuse);
    let nulls = json!({"identity": {"type": "UserAssigned", "userAssignedIdentities": {a: null}}});
    assert_eq!(arm.patch(&vm.id(), &nulls).await.code(), "MissingIdentityIds");
}

#[tokio::test]
async fn a_flexible_scale_set_refuses_a_system_identity() {
    let arm = Arm::quick().await;
    let set = arm.sim.scale_set(SUB, "shop", "flex").flexible().create();
    let refused = arm.patch(&set.id(), &json!({"identity": {"type": "SystemAssigned"}})).await;
    assert_eq!(refused.status, 400);
    let uniform = arm.sim.scale_set(SUB, "shop", "uniform").create();
    arm.sim.set(|settings| settings.write_retry_after_secs = Some(10));
    let accepted = arm.patch(&uniform.id(), &json!({"identity": {"type": "SystemAssigned"}})).await;
    assert_eq!((accepted.status, accepted.header("retry-after")), (200, Some("10")));
}

#[tokio::test]
async fn a_machine_is_made_and_deleted_by_operations() {
    let arm = Arm::start(Settings { operations: Pace::Manual, ..Settings::quick() }).await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let body = json!({"location": "westeurope", "identity": {"type": "SystemAssigned"}});
    let path = vm.id().replace("/web", "/new");
    let made = arm.put(&path, &body).await;
    assert_eq!((made.status, &made.body["properties"]["provisioningState"]), (201, &json!("Creating")));
    arm.sim.finish_operations();
    let first = arm.get(&path).await.body["properties"]["vmId"].clone();

    let deleting = arm.delete(&path).await;
    assert_eq!(deleting.status, 202);
    let late = arm.patch(&path, &json!({"tags": {"a": "b"}})).await;
    assert_eq!((late.status, late.code()), (409, "OperationNotAllowed"));
    arm.sim.finish_operations();
    assert_eq!(arm.get(&path).await.code(), "ResourceNotFound");
    assert_eq!(arm.delete(&path).await.status, 204);

    let again = arm.put(&path, &body).await;
    assert_ne!(again.body["properties"]["vmId"], first, "no machine made anew keeps its id");
    assert_eq!(again.header("etag"), Some("\"1\""));
}

#[tokio::test]
async fn identities_are_written_at_once_and_answer_in_lower_case() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let path = format!(
        "/subscriptions/{SUB}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db"
    );
    let body = json!({"location": "westeurope"});
    assert_eq!(arm.put(&path, &body).await.status, 201);
    assert_eq!(arm.put(&path, &body).await.status, 200);
    let read = arm.get(&path).await;
    assert!(read.body["id"].as_str().is_some_and(|id| id.contains("/resourcegroups/")));
    arm.patch(&vm.id(), &adding("UserAssigned", &path.to_uppercase().replace("/SUBSCRIPTIONS", "/subscriptions")))
        .await;
    assert!(vm.wait_until_idle().await);
    assert_eq!(arm.delete(&path).await.status, 200);
    assert_eq!(arm.delete(&path).await.status, 204);
    let shown = arm.get(&vm.id()).await.body["identity"]["userAssignedIdentities"].clone();
    let shown = shown.as_object().expect("the reference stays");
    assert_eq!(shown.values().collect::<Vec<_>>(), [&json!({})], "and reads blank");
    assert!(shown.keys().all(|key| key.ends_with("/SHOP-DB")), "as it was sent");
}

#[tokio::test]
async fn what_a_person_must_mend_has_its_own_code() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let scope = format!("/subscriptions/{SUB}/resourceGroups/shop");
    let barriers = [
        (Barrier::ScopeLocked, 409, "ScopeLocked"),
        (Barrier::RequestDisallowedByPolicy { policy: "p".into() }, 403, "RequestDisallowedByPolicy"),
        (Barrier::DenyAssignment { name: "d".into() }, 403, "DenyAssignmentAuthorizationFailed"),
        (Barrier::ReadOnlyDisabledSubscription, 409, "ReadOnlyDisabledSubscription"),
        (Barrier::MissingSubscriptionRegistration, 409, "MissingSubscriptionRegistration"),
        (Barrier::NoWriteRole, 403, "AuthorizationFailed"),
        (Barrier::ResourceGroupBeingDeleted, 409, "ResourceGroupBeingDeleted"),
    ];
    for (barrier, status, code) in barriers {
        arm.sim.restrict(&scope, barrier);
        let refused = arm.patch(&vm.id(), &json!({"tags": {}})).await;
        assert_eq!((refused.status, refused.code()), (status, code));
        assert_eq!(arm.get(&vm.id()).await.status, 200, "reading goes on");
        arm.sim.lift(&scope);
    }
    assert_eq!(arm.patch(&vm.id(), &json!({"tags": {}})).await.status, 200);
}

/// What a machine shows of one identity.
async fn shown(arm: &Arm, machine: &str, id: &str) -> Value {
    arm.get(machine).await.body["identity"]["userAssignedIdentities"][id].clone()
}

#[tokio::test]
async fn a_dead_entry_stays_until_it_is_taken_off_and_put_on_again() {
    let arm = Arm::quick().await;
    for dead in [DeadEntries::Blank, DeadEntries::Old] {
        let id = arm.sim.identity(SUB, "shop", "shop-db").create();
        let vm = arm.sim.vm(SUB, "shop", "web").with_identity(&id).create();
        id.when_dead(dead);
        let alive = shown(&arm, &vm.id(), id.id()).await;
        let wanted = if dead == DeadEntries::Blank { json!({}) } else { alive.clone() };

        id.delete();
        assert_eq!(shown(&arm, &vm.id(), id.id()).await, wanted);
        id.create_again();
        assert_eq!(shown(&arm, &vm.id(), id.id()).await, wanted);
        arm.patch(&vm.id(), &adding("UserAssigned", id.id())).await;
        assert!(vm.wait_until_idle().await);
        assert_eq!(shown(&arm, &vm.id(), id.id()).await, wanted, "putting it on where it is does not help");

        arm.patch(&vm.id(), &json!({"identity": {"type": "None"}})).await;
        assert!(vm.wait_until_idle().await);
        arm.patch(&vm.id(), &adding("UserAssigned", id.id())).await;
        assert!(vm.wait_until_idle().await);
        let healed = shown(&arm, &vm.id(), id.id()).await;
        assert_eq!(healed["principalId"].as_str(), id.principal_id().as_deref());
        assert_ne!(healed, alive);
        id.when_dead(DeadEntries::AlwaysBlank);
        assert_eq!(shown(&arm, &vm.id(), id.id()).await, json!({}));
    }
}

#[tokio::test]
async fn a_failed_operation_leaves_what_it_added_blank_until_one_succeeds() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let (db, queue) =
        (arm.sim.identity(SUB, "shop", "shop-db").create(), arm.sim.identity(SUB, "shop", "queue").create());
    let failed = Outcome::Failed { code: "InternalOperationError".into(), message: String::new(), reverts: false };
    arm.sim.fault(Fault::new("PATCH", &vm.id(), Effect::EndOperation(failed)));
    arm.patch(&vm.id(), &adding("UserAssigned", db.id())).await;
    assert!(vm.wait_until_idle().await);
    assert_eq!(arm.get(&vm.id()).await.body["properties"]["provisioningState"], "Failed");
    assert_eq!(shown(&arm, &vm.id(), db.id()).await, json!({}));

    arm.patch(&vm.id(), &adding("UserAssigned", queue.id())).await;
    assert!(vm.wait_until_idle().await);
    assert_eq!(shown(&arm, &vm.id(), db.id()).await["principalId"].as_str(), db.principal_id().as_deref());
}
