use super::*;
use crate::arm::scripted::{Counting, Server, error, reply, vm};
use crate::arm::{Arm, Settings};
use rstest::rstest;
use std::sync::Arc;

#[rstest]
#[case::the_known_one("2017-12-01 2020-06-01 2024-07-01 2025-04-01", Some("2024-07-01"))]
#[case::the_first_after_it("2020-06-01 2024-11-01 2025-04-01", Some("2024-11-01"))]
#[case::the_newest_before_it("2015-06-15 2017-12-01 2020-06-01", Some("2020-06-01"))]
#[case::only_the_list_form("2015-06-15 2017-12-01", Some("2017-12-01"))]
#[case::none("", None)]
fn the_nearest_to_the_known_one_is_taken(#[case] versions: &str, #[case] expected: Option<&str>) {
    let versions: BTreeSet<String> = versions.split_whitespace().map(str::to_owned).collect();
    assert_eq!(best(&versions).map(String::as_str), expected);
}

fn provider(types: &[(&str, &str)]) -> String {
    let types: Vec<Value> = types
        .iter()
        .map(|(name, versions)| {
            serde_json::json!({"resourceType": name, "apiVersions": versions.split(' ').collect::<Vec<_>>()})
        })
        .collect();
    serde_json::json!({"namespace": "Microsoft.Compute", "resourceTypes": types}).to_string()
}

#[rstest]
#[case::both(&[("VirtualMachines", "2020-06-01 2019-07-01"), ("virtualMachineScaleSets", "2019-07-01 2018-06-01")], "2019-07-01")]
#[case::no_previews(&[("virtualMachines", "2020-06-01 2021-01-01-preview latest")], "2020-06-01")]
#[case::others_do_not_count(&[("disks", "2023-01-01"), ("virtualMachineScaleSets", "2020-06-01")], "2020-06-01")]
fn what_a_provider_supports_is_read(#[case] types: &[(&str, &str)], #[case] expected: &str) {
    let found = supported(provider(types).as_bytes()).expect("read");
    assert_eq!(found.into_iter().collect::<Vec<_>>().join(" "), expected);
}

#[rstest]
#[case("[]")]
#[case("{}")]
#[case(r#"{"resourceTypes":[{"resourceType":"disks","apiVersions":["2020-06-01"]}]}"#)]
#[case(r#"{"resourceTypes":[{"resourceType":"virtualMachines","apiVersions":"2020-06-01"}]}"#)]
fn a_provider_that_says_nothing_is_an_error(#[case] body: &str) {
    supported(body.as_bytes()).expect_err("nothing to choose from");
}

fn of_stack(server: &Server) -> Arm {
    let mut settings = Settings::new(&server.origin, None).expect("loopback");
    settings.versions = Versions::of_stack();
    Arm::new(settings, Arc::new(Counting::default()), ()).expect("a client")
}

#[tokio::test]
async fn an_endpoint_is_asked_once_for_what_it_supports() {
    let supports = reply(200, &[], &provider(&[("virtualMachines", "2017-12-01 2020-06-01")]));
    let gone = error(404, "ResourceNotFound");
    let server = Server::start([error(503, "Later"), supports, gone.clone(), gone]).await;
    let arm = of_stack(&server);
    for _ in 0..3 {
        arm.machine(&vm()).await.expect_err("not there");
    }
    let asked: Vec<String> =
        server.requests().iter().map(|request| request.lines().next().unwrap_or_default().to_owned()).collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[1].contains("/providers/Microsoft.Compute?api-version=2016-06-01 "), "{asked:?}");
    assert!(asked[2..].iter().all(|line| line.ends_with("/web?api-version=2020-06-01 HTTP/1.1")), "{asked:?}");
}

fn machine(identity: &str) -> crate::arm::scripted::Reply {
    let id = crate::arm::scripted::VM;
    reply(200, &[], &format!(r#"{{"id":"{id}","etag":"\"1\"","properties":{{"vmId":"v"}}{identity}}}"#))
}

#[tokio::test]
async fn a_machine_without_identities_is_taken_for_what_others_showed_last() {
    const LIST: &str = r#","identity":{"type":"UserAssigned","identityIds":["/a"]}"#;
    const MAP: &str = r#","identity":{"type":"UserAssigned","userAssignedIdentities":{"/a":{}}}"#;
    let server = Server::start(["", LIST, "", MAP, ""].map(machine)).await;
    let arm = server.arm().0;
    let mut lists = Vec::new();
    for _ in 0..5 {
        lists.push(arm.machine(&vm()).await.expect("readable").lists_ids);
    }
    assert_eq!(lists, [false, true, true, false, false]);
}

#[tokio::test]
async fn an_endpoint_with_old_api_versions_alone_lists_even_what_it_does_not_show() {
    let supports = reply(200, &[], &provider(&[("virtualMachines", "2017-12-01")]));
    let server = Server::start([supports, machine("")]).await;
    assert!(of_stack(&server).machine(&vm()).await.expect("readable").lists_ids);
}
