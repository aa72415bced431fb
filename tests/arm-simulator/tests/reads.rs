//! Reads: what is there, what is not, in pages and in older clothes.
mod support;

use arm_simulator::Settings;
use serde_json::json;
use support::{API, Arm, SUB, got};

#[tokio::test]
async fn older_api_versions_have_no_etag_and_ignore_if_match() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").with_identity("a").create();
    let url = |version: &str| format!("{}{}?api-version={version}", arm.sim.arm_url(), vm.id());
    let old = arm.get_url(&url("2022-03-01")).await;
    assert_eq!((old.header("etag"), old.body.get("etag")), (None, None));
    let oldest = arm.get_url(&url("2017-12-01")).await;
    assert_eq!(oldest.body["identity"]["identityIds"].as_array().map(Vec::len), Some(1));
    let patch = arm.http.patch(url("2022-03-01")).bearer_auth(&arm.token).header("if-match", "\"99\"");
    let patched = got(patch.json(&json!({"tags": {"a": "b"}})).send().await.expect("an answer")).await;
    assert_eq!(patched.status, 200);
    let bare = format!("{}{}", arm.sim.arm_url(), vm.id());
    assert_eq!(arm.get_url(&bare).await.code(), "MissingApiVersionParameter");
}

#[tokio::test]
async fn what_is_not_there_is_told_apart() {
    let arm = Arm::quick().await;
    arm.sim.vm(SUB, "shop", "web").create();
    let path = |sub: &str, group: &str| {
        format!("/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/none")
    };
    assert_eq!(arm.get(&path(SUB, "shop")).await.code(), "ResourceNotFound");
    assert_eq!(arm.get(&path(SUB, "nowhere")).await.code(), "ResourceGroupNotFound");
    assert_eq!(arm.get(&path("unknown", "shop")).await.code(), "SubscriptionNotFound");
}

#[tokio::test]
async fn a_group_takes_its_machines_along_and_a_wrong_cloud_hides_them() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").with_identity("a").create();
    let other = arm.sim.vm(SUB, "shop2", "web").create();
    arm.sim.delete_group(SUB, "SHOP");
    assert_eq!(arm.get(&vm.id()).await.code(), "ResourceGroupNotFound");
    assert_eq!(arm.get(&other.id()).await.status, 200);
    arm.sim.forget_subscription(SUB);
    assert_eq!(arm.get(&other.id()).await.code(), "SubscriptionNotFound");
    assert!(other.exists());
}

#[tokio::test]
async fn aks_shows_in_the_group_and_the_tags() {
    let arm = Arm::quick().await;
    let cluster =
        format!("/subscriptions/{SUB}/resourcegroups/shop/providers/Microsoft.ContainerService/managedClusters/c");
    let set = arm.sim.scale_set(SUB, "MC_shop", "pool");
    let set = set.group_managed_by(&cluster).tags([("aks-managed-poolName", "pool")]).create();
    let group = arm.get(&format!("/subscriptions/{SUB}/resourceGroups/mc_SHOP")).await;
    assert_eq!(group.body["managedBy"], cluster);
    assert_eq!(arm.get(&set.id()).await.body["tags"]["aks-managed-poolName"], "pool");
}

#[tokio::test]
async fn lists_come_in_pages_and_belong_to_their_scope() {
    let arm = Arm::start(Settings { page_size: 2, ..Settings::quick() }).await;
    for n in 0..5 {
        arm.sim.vm(SUB, "shop", &format!("web-{n}")).create();
    }
    arm.sim.vm(SUB, "shop2", "other").create();
    arm.sim.scale_set(SUB, "shop", "set").create();
    for (scope, expected) in [("/resourceGroups/shop", 5), ("", 6)] {
        let path = format!("/subscriptions/{SUB}{scope}/providers/Microsoft.Compute/virtualMachines");
        let mut page = arm.get(&path).await;
        let mut names = Vec::new();
        loop {
            names.extend(page.body["value"].as_array().expect("a page").iter().map(|one| one["name"].clone()));
            let Some(next) = page.body["nextLink"].as_str() else {
                break;
            };
            page = arm.get_url(next).await;
        }
        assert_eq!(names.len(), expected, "{names:?}");
    }
}

#[tokio::test]
async fn an_operation_s_url_works_verbatim_only() {
    let arm = Arm::quick().await;
    let vm = arm.sim.vm(SUB, "shop", "web").create();
    let accepted = arm.patch(&vm.id(), &json!({"tags": {"a": "b"}})).await;
    let bare = accepted.operation().split('?').next().expect("a path");
    assert_eq!(arm.get_url(&format!("{bare}?api-version={API}")).await.status, 404);
    assert_eq!(arm.get_url(accepted.operation()).await.status, 200);
}
