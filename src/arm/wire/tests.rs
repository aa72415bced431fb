use super::*;
use crate::arm::scripted::{VM, vm};
use rstest::rstest;
use serde_json::json;

const A: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a";

fn read(parts: Value) -> Result<Live, Why> {
    let mut document = json!({"id": VM, "properties": {"vmId": "m-1"}});
    if let (Value::Object(document), Value::Object(parts)) = (&mut document, parts) {
        document.extend(parts);
    }
    machine(&vm(), document.to_string().as_bytes(), Some("\"h\""))
}

fn with(identity: &Value) -> Live {
    read(json!({ "identity": identity })).expect("readable")
}

#[rstest]
#[case("SystemAssigned, UserAssigned", true)]
#[case("SystemAssigned,UserAssigned", true)]
#[case("userassigned , SYSTEMASSIGNED", true)]
#[case("UserAssigned", false)]
#[case("None", false)]
fn a_type_is_read_in_every_spelling(#[case] written: &str, #[case] system: bool) {
    let live = with(&json!({"type": written, "principalId": "p", "userAssignedIdentities": {A: {}}}));
    assert_eq!(live.system.is_some(), system);
    assert!(live.has(&IdentityId::told_by_arm(A)), "what the map names is there, whatever the type says");
}

#[rstest]
#[case(json!({}))]
#[case(Value::Null)]
#[case(json!({"principalId": "", "clientId": ""}))]
#[case(json!({"principalId": null}))]
fn an_entry_without_a_principal_is_there(#[case] entry: Value) {
    let live = with(&json!({"type": "UserAssigned", "userAssignedIdentities": {A.to_uppercase(): entry}}));
    assert_eq!(live.user.get(&IdentityId::told_by_arm(A)), Some(&Principal::default()));
}

#[test]
fn the_old_list_is_read() {
    let live = with(&json!({"type": "UserAssigned", "identityIds": [A, "odd"]}));
    assert!(live.has(&IdentityId::told_by_arm(A)) && live.has(&IdentityId::told_by_arm("odd")));
}

#[rstest]
#[case::a_list(json!({"type": "UserAssigned", "identityIds": [A]}), true)]
#[case::an_empty_list(json!({"type": "SystemAssigned", "identityIds": []}), true)]
#[case::a_map(json!({"type": "UserAssigned", "userAssignedIdentities": {A: {}}}), false)]
#[case::a_map_and_a_list(json!({"type": "UserAssigned", "userAssignedIdentities": {A: {}}, "identityIds": [A]}), false)]
#[case::a_list_of_nothing(json!({"type": "SystemAssigned", "identityIds": null}), false)]
fn the_form_in_which_a_write_replaces_the_list_is_known(#[case] block: Value, #[case] lists: bool) {
    assert_eq!(with(&block).lists_ids, lists);
}

#[test]
fn no_identity_is_no_identity() {
    for parts in [json!({}), json!({"identity": null})] {
        let live = read(parts).expect("readable");
        assert!(live.system.is_none() && live.user.is_empty());
    }
}

#[rstest]
#[case::identity(json!({"identity": "UserAssigned"}))]
#[case::unknown_type(json!({"identity": {"type": "UserAssigned, Other"}}))]
#[case::map(json!({"identity": {"type": "UserAssigned", "userAssignedIdentities": [A]}}))]
#[case::list(json!({"identity": {"type": "UserAssigned", "identityIds": {A: {}}}}))]
#[case::list_of_numbers(json!({"identity": {"identityIds": [1]}}))]
#[case::properties(json!({"properties": 7}))]
#[case::id(json!({"id": null}))]
#[case::another_machine(json!({"id": format!("{VM}2")}))]
fn what_could_hide_an_identity_is_unreadable(#[case] parts: Value) {
    read(parts).expect_err("unreadable");
}

#[rstest]
#[case(Some("Succeeded"), Provisioning::Succeeded)]
#[case(Some("failed"), Provisioning::Failed)]
#[case(Some("Canceled"), Provisioning::Failed)]
#[case(None, Provisioning::Succeeded)]
#[case(Some("Creating"), Provisioning::Running)]
#[case(Some("Updating"), Provisioning::Running)]
#[case(Some("Migrating"), Provisioning::Running)]
#[case(Some("Deleting"), Provisioning::Deleting)]
fn states_are_told_apart(#[case] state: Option<&str>, #[case] expected: Provisioning) {
    let live = read(json!({"properties": {"provisioningState": state}})).expect("readable");
    assert_eq!((live.provisioning, live.unique_id), (expected, None));
}

#[test]
fn the_bodys_etag_comes_before_the_headers() {
    let etag = |parts| read(parts).expect("readable").etag;
    assert_eq!(etag(json!({"etag": "\"b\""})), Some(ETag("\"b\"".into())));
    assert_eq!(etag(json!({"etag": ""})), Some(ETag("\"h\"".into())));
}

#[rstest]
#[case(json!({"aks-managed-poolName": "x"}), true)]
#[case(json!({"AKS-Managed-x": "x"}), true)]
#[case(json!({"env": "aks-managed-"}), false)]
#[case(Value::Null, false)]
fn aks_is_known_by_its_tags(#[case] tags: Value, #[case] managed: bool) {
    assert_eq!(read(json!({ "tags": tags })).expect("readable").tagged_by_aks, managed);
}

#[rstest]
#[case(json!({"uniqueId": "u", "vmId": "v", "orchestrationMode": "Flexible"}), Orchestration::Flexible)]
#[case(json!({"uniqueId": "u", "orchestrationMode": "uniform"}), Orchestration::Uniform)]
#[case(json!({"uniqueId": "u"}), Orchestration::Uniform)]
fn a_scale_set_has_an_id_and_a_mode_of_its_own(#[case] properties: Value, #[case] mode: Orchestration) {
    let id = VM.replace("virtualMachines", "virtualMachineScaleSets");
    let body = json!({"id": id.to_uppercase(), "location": "westeurope", "properties": properties});
    let live = machine(&id.parse().expect("an id"), body.to_string().as_bytes(), None).expect("readable");
    assert_eq!(live.unique_id, Some(UniqueId("u".into())));
    assert_eq!((live.orchestration, live.location.as_deref()), (mode, Some("westeurope")));
}

#[test]
fn a_truncated_answer_is_unreadable_wherever_it_ends() {
    let whole = json!({"id": VM, "identity": {"type": "UserAssigned", "userAssignedIdentities": {A: {}}}}).to_string();
    for end in 0..whole.len() {
        machine(&vm(), &whole.as_bytes()[..end], None).expect_err("cut off");
    }
}
