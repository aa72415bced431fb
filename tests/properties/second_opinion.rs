//! The audit as an oracle of its own: what a defect of the planner could send is refused, class by class.
use crate::kit::NOTHING_SAID;
use crate::wild::{Case, Planned, case, config};
use lanyard_domain::IdentityId;
use lanyard_domain::audit::{Refusal, audit};
use lanyard_domain::plan::Hold;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A way in which a request may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    NoIfMatch,
    AnotherIfMatch,
    TypeWithoutUser,
    TypeWithoutSystem,
    TypeMissing,
    RemovesOneMore,
    RemovesAll,
    ReplacesTheList,
    NamesSomethingElse,
    MapIsNoMap,
    IsCutOff,
}

const ALL: [Wrong; 11] = [
    Wrong::NoIfMatch,
    Wrong::AnotherIfMatch,
    Wrong::TypeWithoutUser,
    Wrong::TypeWithoutSystem,
    Wrong::TypeMissing,
    Wrong::RemovesOneMore,
    Wrong::RemovesAll,
    Wrong::ReplacesTheList,
    Wrong::NamesSomethingElse,
    Wrong::MapIsNoMap,
    Wrong::IsCutOff,
];

/// A request that leaves, and one that must not.
struct Spoiled {
    body: String,
    if_match: Option<&'static str>,
}

fn right(case: &Case, planned: &Planned) -> Value {
    let unchanged = || json!({"identity": {"type": kind(case.live.system.is_some(), !case.live.user.is_empty())}});
    planned.plan.patch.as_ref().map_or_else(unchanged, lanyard_domain::Patch::body)
}

fn kind(system: bool, user: bool) -> &'static str {
    lanyard_domain::IdentityType::of(system, user).as_str()
}

fn spoil(case: &Case, planned: &Planned, wrong: Wrong, pick: usize) -> Option<Spoiled> {
    let mut body = right(case, planned);
    let told = body.pointer("/identity/type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut if_match = Some("1");
    match wrong {
        Wrong::NoIfMatch => if_match = None,
        Wrong::AnotherIfMatch => if_match = Some("2"),
        Wrong::TypeWithoutUser if told.contains("UserAssigned") => {
            body["identity"] = json!({"type": kind(told.contains("System"), false)});
        }
        Wrong::TypeWithoutSystem if told.contains("SystemAssigned") => {
            body["identity"]["type"] = json!(kind(false, told.contains("User")));
        }
        Wrong::TypeMissing => body["identity"] = json!({"userAssignedIdentities": {}}),
        Wrong::RemovesOneMore if told.contains("UserAssigned") => {
            let id = case.live.user.keys().nth(pick % case.live.user.len().max(1))?;
            body["identity"]["userAssignedIdentities"][id.as_str()] = Value::Null;
        }
        Wrong::RemovesAll => {
            let map: BTreeMap<&str, Value> = case.live.user.keys().map(|id| (id.as_str(), Value::Null)).collect();
            body["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": map});
        }
        Wrong::ReplacesTheList => body["identity"]["identityIds"] = json!([]),
        Wrong::NamesSomethingElse => body["tags"] = json!({}),
        Wrong::MapIsNoMap => body["identity"]["userAssignedIdentities"] = json!([]),
        Wrong::IsCutOff => {
            let text = body.to_string();
            return Some(Spoiled { body: text[..text.len() - 1].to_owned(), if_match });
        }
        Wrong::TypeWithoutUser | Wrong::TypeWithoutSystem | Wrong::RemovesOneMore => return None,
    }
    Some(Spoiled { body: body.to_string(), if_match })
}

/// What a spoiled request would do to the machine: nothing is known of one that is no identity change.
fn drops(case: &Case, body: &str) -> Option<bool> {
    let body: Value = serde_json::from_str(body).ok()?;
    let kind = body.pointer("/identity/type")?.as_str()?.to_owned();
    let mut after = case.block();
    after.system = kind.contains("SystemAssigned");
    if !kind.contains("UserAssigned") {
        after.user.clear();
    }
    for (id, edit) in body.pointer("/identity/userAssignedIdentities").and_then(Value::as_object).into_iter().flatten()
    {
        if edit.is_null() {
            after.user.remove(IdentityId::told_by_arm(id).folded());
        }
    }
    Some(!case.drops_nothing(&after))
}

fn opinion(case: &Case, planned: &Planned, spoiled: &Spoiled) -> Result<(), Refusal> {
    audit(&spoiled.body, spoiled.if_match, &planned.claims, &planned.record, &case.live, &NOTHING_SAID)
}

/// The refusal that a class is met with.
fn expected(wrong: Wrong, case: &Case, body: &str) -> Option<&'static str> {
    match wrong {
        Wrong::NoIfMatch | Wrong::AnotherIfMatch => Some("etag"),
        Wrong::TypeMissing
        | Wrong::ReplacesTheList
        | Wrong::NamesSomethingElse
        | Wrong::MapIsNoMap
        | Wrong::IsCutOff => Some("change"),
        Wrong::TypeWithoutUser | Wrong::TypeWithoutSystem | Wrong::RemovesOneMore | Wrong::RemovesAll => {
            (drops(case, body) == Some(true)).then_some("drop")
        }
    }
}

fn name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::WrongETag { .. } => "etag",
        Refusal::NotAnIdentityChange(_) => "change",
        Refusal::ReplacesTheList => "list",
        Refusal::DropsUserIdentity(_) | Refusal::DropsSystemIdentity => "drop",
    }
}

proptest! {
    #![proptest_config(config())]

    /// Refused exactly where it would drop something, or is no identity change at all.
    #[test]
    fn a_wrong_request_is_refused(case in case(), wrong in proptest::sample::select(ALL.to_vec()), pick in 0..8_usize) {
        let planned = case.planned();
        if let Some(spoiled) = spoil(&case, &planned, wrong, pick) {
            let found = opinion(&case, &planned, &spoiled);
            let refused = found.as_ref().err().map(name);
            prop_assert_eq!(refused, expected(wrong, &case, &spoiled.body), "{:?}: {}", wrong, spoiled.body);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Where identities are listed nothing is written, whatever is due; and the audit takes no request at all.
    #[test]
    fn where_identities_are_listed_nothing_leaves(case in case()) {
        let due = case.planned().plan.patch.is_some();
        let body = right(&case, &case.planned()).to_string();
        let mut listed = case;
        listed.live.lists_ids = true;
        let planned = listed.planned();
        prop_assert!(planned.plan.patch.is_none(), "{}", planned.plan);
        prop_assert!(!due || planned.plan.holds().any(|hold| hold == Hold::ListForm), "{}", planned.plan);
        let spoiled = Spoiled { body, if_match: Some("1") };
        let found = opinion(&listed, &planned, &spoiled);
        prop_assert_eq!(found, Err(Refusal::ReplacesTheList));
    }
}

/// Every class is met often enough for the property above to mean something.
#[test]
fn every_class_of_wrong_requests_is_refused() {
    let mut runner = TestRunner::deterministic();
    let mut tally: BTreeMap<Wrong, (u32, u32)> = BTreeMap::new();
    for n in 0..3_000_usize {
        let case = case().new_tree(&mut runner).expect("a case").current();
        let planned = case.planned();
        for wrong in ALL {
            let Some(spoiled) = spoil(&case, &planned, wrong, n) else { continue };
            let (tried, refused) = tally.entry(wrong).or_default();
            *tried += 1;
            *refused += u32::from(opinion(&case, &planned, &spoiled).is_err());
        }
    }
    for wrong in ALL {
        let (tried, refused) = tally.get(&wrong).copied().unwrap_or_default();
        println!("{wrong:?}: {refused} of {tried} refused");
        assert!(refused * 4 > tried && tried > 300, "{wrong:?}: {refused} of {tried}");
    }
}
