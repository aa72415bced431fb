use super::*;
use crate::domain::identity::{MARK, Origin};
use crate::manifests::read;
use rstest::rstest;

const SUB: &str = "/subscriptions/5a3b1e00-0000-4000-8000-000000000001/resourceGroups/ids/providers";

fn id() -> IdentityId {
    format!("{SUB}/Microsoft.ManagedIdentity/userAssignedIdentities/shop-db").parse().expect("an id")
}

fn named(name: &str) -> Name {
    ("shop".into(), name.into())
}

/// Objects as they are written, each with the fields of its spec after the id.
fn written(objects: &[(&str, &str)]) -> Objects {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = Objects::default();
    for (name, spec) in objects {
        let text = format!(
            "apiVersion: lanyard.dev/v1alpha1\nkind: UserAssignedIdentity\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  resourceId: {}\n{spec}",
            id()
        );
        let path = dir.path().join(format!("{name}.yaml"));
        std::fs::write(&path, text).expect("a file");
        let read = read(&[path], "default");
        all.write(&read.manifests[0]).expect("an identity");
    }
    all
}

fn shown(tags: &[(&str, &str)]) -> Seen {
    Seen::There(Known { principal_id: "p1".into(), tags: tags.iter().copied().collect(), ..Known::default() })
}

fn lookup(seen: Seen) -> Lookup {
    Lookup { objects: [(id(), seen)].into(), ..Lookup::default() }
}

fn outcome(objects: &Objects, seen: Seen) -> IdentityOutcome {
    objects.assess(&id(), &lookup(seen)).expect("an identity").outcome
}

#[rstest]
#[case::made("", Seen::Missing, IdentityOutcome::Create)]
#[case::made_when_its_group_is_there("", Seen::NoGroup, IdentityOutcome::Create)]
#[case::taken_over("", shown(&[("theirs", "1")]), IdentityOutcome::Adopt)]
#[case::tagged("  tags: {team: shop}\n", shown(&[("theirs", "1")]), IdentityOutcome::Tag)]
#[case::tagged_already("  tags: {team: shop}\n", shown(&[("TEAM", "shop")]), IdentityOutcome::Adopt)]
#[case::not_to_be_taken_over("  adopt: Never\n", shown(&[]), IdentityOutcome::Exists)]
#[case::unread("", Seen::Unread("403".into()), IdentityOutcome::Unread)]
fn what_becomes_of_an_identity(#[case] spec: &str, #[case] seen: Seen, #[case] expected: IdentityOutcome) {
    assert_eq!(outcome(&written(&[("db", spec)]), seen), expected);
}

#[test]
fn a_tag_that_lanyard_set_goes_when_it_is_declared_no_more_and_others_stay() {
    let mut objects = written(&[("db", "  tags: {team: shop}\n")]);
    let owner = objects.by_name[&named("db")].wish.key.clone();
    let tags = ["old".to_owned()].into();
    let record = Record::new(id(), owner, Policy::Delete);
    objects.keep_record(Record { origin: Some(Origin::Created), principal_id: Some("p1".into()), tags, ..record });
    let seen = shown(&[("old", "x"), ("theirs", "1"), (MARK, "m")]);
    let identity = objects.assess(&id(), &lookup(seen)).expect("an identity");
    let change = identity.tags.expect("tags differ");
    assert_eq!((change.set, change.remove), ([("team".into(), "shop".into())].into(), vec!["old".to_owned()]));
}

#[test]
fn a_reference_is_ready_with_what_will_be_there_and_waits_for_what_may_not_be_taken_over() {
    let objects = written(&[("db", "")]);
    assert_eq!(objects.referred(&named("db"), &lookup(Seen::Missing)), Referred::Ready(id()));
    assert_eq!(objects.referred(&named("none"), &Lookup::default()), Referred::Unseen);
    let never = written(&[("db", "  adopt: Never\n")]);
    assert!(matches!(never.referred(&named("db"), &lookup(shown(&[]))), Referred::NotReady(..)));
    let unread = objects.referred(&named("db"), &lookup(Seen::Unread("?".into())));
    assert!(matches!(unread, Referred::NotReady(..)), "nothing is known of it: {unread:?}");
}

#[test]
fn of_two_objects_that_name_one_identity_the_first_has_it() {
    let objects = written(&[("b", ""), ("a", "")]);
    let conflicts = objects.conflicts();
    assert!(
        conflicts.len() == 1 && conflicts[0].message.contains("shop/b names shop-db, which shop/a"),
        "{conflicts:?}"
    );
    assert_eq!(objects.referred(&named("a"), &Lookup::default()), Referred::Ready(id()));
    assert!(matches!(objects.referred(&named("b"), &Lookup::default()), Referred::NotReady(..)));
}

#[test]
fn what_lanyard_made_goes_with_its_object_but_not_from_under_a_machine() {
    let mut objects = written(&[("db", "")]);
    let object = objects.by_name.get_mut(&named("db")).expect("an object");
    object.wish.leaving = true;
    let owner = object.wish.key.clone();
    let record = Record::new(id(), owner, Policy::Delete);
    objects.keep_record(Record { origin: Some(Origin::Created), principal_id: Some("p1".into()), ..record });
    assert_eq!(outcome(&objects, shown(&[])), IdentityOutcome::Delete);
    let web: TargetId = format!("{SUB}/Microsoft.Compute/virtualMachines/web").parse().expect("an id");
    let live = crate::domain::Live {
        user: [(id(), crate::domain::Principal::default())].into(),
        ..crate::domain::Live::default()
    };
    let used = Lookup { machines: [(web, Ok(live))].into(), ..lookup(shown(&[])) };
    assert_eq!(objects.assess(&id(), &used).expect("an identity").outcome, IdentityOutcome::InUse);
}
