//! The merge as a table: what is there, what is sent, what is there afterwards.
use rstest::rstest;
use serde_json::{Value, json};

use super::identity_block::{Edit, Entry, IdentityBlock, IdentityRequest, Invalid, Principal};
use crate::settings::AllNull;

/// `S a b`: a system identity and the user identities a and b.
fn block(text: &str) -> IdentityBlock {
    let mut block = IdentityBlock::default();
    for word in text.split_whitespace() {
        if word == "S" {
            block.system = Some("old".to_owned());
        } else {
            block.users.push(Entry {
                written: word.to_owned(),
                principal: Some(Principal { principal_id: format!("p-{word}"), client_id: format!("c-{word}") }),
            });
        }
    }
    block
}

/// The block in the same words; `S` for the old principal, `S'` for a new one, `a?` for a blank.
fn words(block: &IdentityBlock) -> String {
    let system = block.system.iter().map(|principal| if principal == "old" { "S".to_owned() } else { "S'".to_owned() });
    let users = block.users.iter().map(|entry| match entry.principal {
        Some(_) => entry.written.clone(),
        None => format!("{}?", entry.written),
    });
    system.chain(users).collect::<Vec<_>>().join(" ")
}

fn after(before: &str, sent: &Value, listed: bool, put: bool) -> Result<String, Invalid> {
    let request = IdentityRequest::parse(sent, listed, put)?;
    block(before).merged(&request, AllNull::Accept).map(|block| words(&block))
}

#[rstest]
#[case::an_id_that_is_not_named_stays("a", json!({"type": "UserAssigned", "userAssignedIdentities": {"b": {}}}), "a b?")]
#[case::null_removes_whatever_the_case("a b", json!({"type": "UserAssigned", "userAssignedIdentities": {"A": null}}), "b")]
#[case::null_and_braces_mix("a b", json!({"type": "UserAssigned", "userAssignedIdentities": {"a": null, "c": {}}}), "b c?")]
#[case::adding_what_is_there_changes_nothing("a", json!({"type": "UserAssigned", "userAssignedIdentities": {"A": {}}}), "a")]
#[case::removing_what_is_absent_changes_nothing("a", json!({"type": "UserAssigned", "userAssignedIdentities": {"z": null}}), "a")]
#[case::no_map_keeps("S a b", json!({"type": "SystemAssigned, UserAssigned"}), "S a b")]
#[case::system_alone_drops_every_user_identity("S a b", json!({"type": "SystemAssigned"}), "S")]
#[case::user_alone_destroys_the_system_identity("S a", json!({"type": "UserAssigned", "userAssignedIdentities": {"b": {}}}), "a b?")]
#[case::none_drops_everything("S a b", json!({"type": "None"}), "")]
#[case::enabling_makes_a_new_principal("a", json!({"type": "systemassigned,userassigned"}), "S' a")]
#[case::system_alone_may_come_with_nulls("S a", json!({"type": "SystemAssigned", "userAssignedIdentities": {"a": null}}), "S")]
#[case::the_existing_property_may_be_echoed("a", json!({"type": "UserAssigned", "userAssignedIdentities": {"a": {"principalId": "p-a", "clientId": "c-a"}}}), "a")]
fn a_patch_merges(#[case] before: &str, #[case] sent: Value, #[case] expected: &str) {
    assert_eq!(after(before, &sent, false, false), Ok(expected.to_owned()));
}

#[rstest]
#[case::the_list_form_replaces("S a b", json!({"type": "SystemAssigned, UserAssigned", "identityIds": ["c", "b"]}), "S c? b")]
#[case::without_a_list_nothing_moves("S a", json!({"type": "SystemAssigned, UserAssigned"}), "S a")]
fn the_old_form_replaces(#[case] before: &str, #[case] sent: Value, #[case] expected: &str) {
    assert_eq!(after(before, &sent, true, false), Ok(expected.to_owned()));
}

#[test]
fn a_put_replaces_the_map() {
    let sent = json!({"type": "UserAssigned", "userAssignedIdentities": {"b": {}, "c": {}}});
    assert_eq!(after("a b", &sent, false, true), Ok("b c?".to_owned()));
}

#[rstest]
#[case::another_object("a", json!({"type": "UserAssigned", "userAssignedIdentities": {"a": {"clientId": "x"}}}), Invalid::IdentityValues("a".into()))]
#[case::an_echo_of_what_is_absent("", json!({"type": "UserAssigned", "userAssignedIdentities": {"a": {"principalId": "p-a", "clientId": "c-a"}}}), Invalid::IdentityValues("a".into()))]
#[case::user_assigned_with_nothing("", json!({"type": "UserAssigned"}), Invalid::MissingIdentityIds)]
#[case::an_empty_map_on_nothing("S", json!({"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {}}), Invalid::MissingIdentityIds)]
#[case::ids_beside_system_alone("S", json!({"type": "SystemAssigned", "userAssignedIdentities": {"a": {}}}), Invalid::IdsWithoutUserAssigned("SystemAssigned"))]
fn is_refused(#[case] before: &str, #[case] sent: Value, #[case] expected: Invalid) {
    assert_eq!(after(before, &sent, false, false), Err(expected));
}

#[rstest]
#[case::no_type(json!({"userAssignedIdentities": {"a": {}}}))]
#[case::an_unknown_type(json!({"type": "Everything"}))]
#[case::no_object(json!("SystemAssigned"))]
#[case::a_map_that_is_a_list(json!({"type": "UserAssigned", "userAssignedIdentities": ["a"]}))]
fn nonsense_is_refused_as_content(#[case] sent: Value) {
    assert!(matches!(after("a", &sent, false, false), Err(Invalid::Content(_))));
}

#[test]
fn removing_the_last_one_by_null_is_answered_as_set() {
    let sent = json!({"type": "UserAssigned", "userAssignedIdentities": {"a": null}});
    let request = IdentityRequest::parse(&sent, false, false).expect("well-formed");
    assert_eq!(request.edits, Some(vec![("a".to_owned(), Edit::Detach)]));
    let accepted = block("a").merged(&request, AllNull::Accept).map(|block| words(&block));
    assert_eq!(accepted, Ok(String::new()));
    let refused = block("a").merged(&request, AllNull::Refuse);
    assert_eq!(refused, Err(Invalid::MissingIdentityIds));
}

#[test]
fn a_block_with_nothing_is_no_block() {
    assert_eq!(block("").rendered("t", false, |_| false), None);
    let shown = block("S a").rendered("t", false, |_| true).expect("has identities");
    assert_eq!(shown["userAssignedIdentities"], json!({"a": {}}));
    assert_eq!(shown["type"], "SystemAssigned, UserAssigned");
}
