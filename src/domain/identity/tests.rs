use super::*;
use crate::claims::ClaimKey;
use crate::ids::{IdentityId, TargetId};
use rstest::rstest;
use std::collections::BTreeSet;

const SUB: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/ids/providers";

fn id() -> IdentityId {
    format!("{SUB}/Microsoft.ManagedIdentity/userAssignedIdentities/db1").parse().expect("an id")
}

fn machine() -> TargetId {
    format!("{SUB}/Microsoft.Compute/virtualMachines/web").parse().expect("an id")
}

fn key(namespace: &str) -> ClaimKey {
    ClaimKey { namespace: namespace.into(), name: "db".into(), uid: "u1".into() }
}

fn wish() -> Wish {
    Wish {
        key: key("shop"),
        id: id(),
        location: None,
        tags: tags(&[("team", "shop")]),
        adopt: Adopt::IfExists,
        policy: Policy::Delete,
        delete_adopted: None,
        outputs: None,
        leaving: false,
        released: false,
    }
}

fn tags(tags: &[(&str, &str)]) -> Tags {
    tags.iter().copied().collect()
}

fn known(principal: &str, tagged: &[(&str, &str)]) -> Known {
    Known { principal_id: principal.into(), location: "westeurope".into(), tags: tags(tagged), ..Known::default() }
}

fn there(principal: &str) -> Shown {
    Shown::There(known(principal, &[("team", "shop")]))
}

fn record(origin: Option<Origin>) -> Record {
    let principal_id = origin.map(|_| "p1".to_owned());
    Record { origin, principal_id, ..Record::new(id(), key("shop"), Policy::Delete) }
}

fn step(fate: Fate<'_>, record: &Record, shown: &Shown, used: bool) -> Step {
    let users: BTreeSet<TargetId> = used.then(machine).into_iter().collect();
    decide(&Case { fate, record, shown, users: &users, may_arrive: true })
}

fn named(step: &Step) -> &'static str {
    match step {
        Step::Create => "create",
        Step::Adopt(_) => "adopt",
        Step::Tag { .. } => "tag",
        Step::Settled(_) => "settled",
        Step::Exists => "exists",
        Step::Announce(_) => "announce",
        Step::Withdraw(_) => "withdraw",
        Step::InUse => "in use",
        Step::Delete => "delete",
        Step::Await => "await",
        Step::LetGo { stays: true } => "let go: stays",
        Step::LetGo { stays: false } => "let go",
    }
}

#[rstest]
#[case::made_when_absent(None, Shown::Missing, "create")]
#[case::adopted_when_there(None, there("p1"), "adopt")]
#[case::as_declared(Some(Origin::Created), there("p1"), "settled")]
#[case::made_again_when_somebody_deleted_it(Some(Origin::Created), Shown::Missing, "create")]
#[case::tagged(Some(Origin::Adopted), Shown::There(known("p1", &[("theirs", "1")])), "tag")]
fn what_stays(#[case] origin: Option<Origin>, #[case] shown: Shown, #[case] expected: &str) {
    assert_eq!(named(&step(Fate::Stays(&wish()), &record(origin), &shown, false)), expected);
}

#[test]
fn what_exists_is_not_taken_over_where_that_is_not_wanted() {
    let never = Wish { adopt: Adopt::Never, ..wish() };
    assert_eq!(step(Fate::Stays(&never), &record(None), &there("p1"), false), Step::Exists);
    assert_eq!(step(Fate::Stays(&never), &record(None), &Shown::Missing, false), Step::Create);
    assert_eq!(named(&step(Fate::Stays(&never), &record(Some(Origin::Created)), &there("p1"), false)), "settled");
}

#[rstest]
#[case::made_by_us(Some(Origin::Created), None, false, "delete")]
#[case::in_use(Some(Origin::Created), None, true, "in use")]
#[case::adopted(Some(Origin::Adopted), None, false, "let go: stays")]
#[case::adopted_and_said_again(Some(Origin::Adopted), Some("P1"), false, "delete")]
#[case::said_of_another(Some(Origin::Adopted), Some("p2"), false, "let go: stays")]
#[case::nobodys(None, Some("p1"), false, "let go: stays")]
fn what_leaves(#[case] origin: Option<Origin>, #[case] said: Option<&str>, #[case] used: bool, #[case] expected: &str) {
    let wish = Wish { leaving: true, delete_adopted: said.map(Into::into), ..wish() };
    let before = step(Fate::Leaves(&wish), &record(origin), &there("p1"), used);
    if let Step::Announce(announced) = &before {
        assert!(announced.deleting);
        assert_eq!(named(&step(Fate::Leaves(&wish), announced, &there("p1"), used)), expected);
    } else {
        assert_eq!(named(&before), expected);
    }
}

#[test]
fn retain_and_release_leave_it_and_a_finalizer_stripped_by_hand_does_not() {
    let record = Record { deleting: true, ..record(Some(Origin::Created)) };
    let retain = Wish { policy: Policy::Retain, leaving: true, ..wish() };
    let released = Wish { released: true, leaving: true, ..wish() };
    for wish in [&retain, &released] {
        assert_eq!(step(Fate::Leaves(wish), &record, &there("p1"), false), Step::LetGo { stays: true });
    }
    assert_eq!(step(Fate::Gone, &record, &there("p1"), false), Step::Delete);
    let retained = Record { policy: Policy::Retain, ..record };
    assert_eq!(step(Fate::Gone, &retained, &there("p1"), false), Step::LetGo { stays: true });
}

#[test]
fn a_put_that_was_lost_is_known_by_its_mark_and_by_nothing_else() {
    let sent = Record { creating: Some(Creating { mark: "m1".into() }), ..record(None) };
    let ours = judge(&sent, &Shown::There(known("p1", &[(MARK, "m1")])));
    assert_eq!((ours.record.origin, ours.notes), (Some(Origin::Created), vec![Note::Arrived]));
    for tagged in [&[][..], &[(MARK, "m2")][..]] {
        let theirs = judge(&sent, &Shown::There(known("p1", tagged)));
        assert_eq!((theirs.record.origin, theirs.record.creating), (None, None), "somebody else was first");
    }
    let adopted = Record { creating: sent.creating.clone(), ..record(Some(Origin::Adopted)) };
    let overwritten = judge(&adopted, &Shown::There(known("p1", &[(MARK, "m1")])));
    assert_eq!(overwritten.record.origin, Some(Origin::Adopted), "a read had not shown it, and it was there all along");
    assert_eq!(judge(&sent, &Shown::Missing).record, sent, "it may still arrive");
    let wish = Wish { leaving: true, ..wish() };
    assert_eq!(step(Fate::Leaves(&wish), &sent, &Shown::Missing, false), Step::Await);
}

#[test]
fn only_an_answer_of_201_makes_it_ours() {
    let sent = Record { creating: Some(Creating { mark: "m1".into() }), ..record(None) };
    let made = answered(&sent, AnswerToPut::Made, &known("p1", &[]), &wish());
    assert_eq!((made.origin, made.creating.is_none()), (Some(Origin::Created), true));
    assert_eq!(answered(&sent, AnswerToPut::WasThere, &known("p1", &[]), &wish()).origin, None);
}

#[test]
fn an_identity_made_again_by_somebody_is_theirs() {
    let judged = judge(&record(Some(Origin::Created)), &there("p2"));
    assert_eq!(judged.notes, [Note::Recreated { old: "p1".into(), new: "p2".into() }]);
    assert_eq!(judged.record.origin, None);
    let leaving = Wish { leaving: true, ..wish() };
    assert_eq!(step(Fate::Leaves(&leaving), &judged.record, &there("p2"), false), Step::LetGo { stays: true });
}

#[test]
fn tags_are_merged_and_only_those_we_added_go_again() {
    let wish = Wish { tags: tags(&[("Team", "shop"), ("env", "prod")]), ..wish() };
    let shown = Shown::There(known("p1", &[("team", "other"), ("theirs", "1"), ("old", "ours")]));
    let ours = Record { tags: ["old".to_owned()].into(), ..record(Some(Origin::Created)) };
    let Step::Tag { tags: after, announced, ours: recorded } = step(Fate::Stays(&wish), &ours, &shown, false) else {
        unreachable!("tags differ")
    };
    assert_eq!(after, tags(&[("team", "shop"), ("theirs", "1"), ("env", "prod")]));
    assert_eq!(after.iter().next(), Some(("env", "prod")));
    assert_eq!(announced, ["env".to_owned(), "old".to_owned()].into(), "announced before they are set");
    assert_eq!(recorded, ["env".to_owned()].into(), "one that was there keeps its owner, whatever its value");
}

#[test]
fn another_location_is_told_and_not_acted_on() {
    let told = |location: &str| {
        let wish = Wish { location: Some(location.into()), ..wish() };
        step(Fate::Stays(&wish), &record(Some(Origin::Created)), &there("p1"), false)
    };
    assert_eq!(told("West Europe"), Step::Settled(Told::default()));
    assert_eq!(told("northeurope"), Step::Settled(Told { location: Some("westeurope".into()) }));
}

#[test]
fn an_object_made_anew_takes_over_and_in_another_namespace_what_we_made_counts_as_adopted() {
    let going = Record { deleting: true, ..record(Some(Origin::Created)) };
    let same = going.clone().passed_to(key("shop"), Policy::Delete);
    assert_eq!((same.origin, same.deleting), (Some(Origin::Created), false));
    assert_eq!(going.passed_to(key("other"), Policy::Delete).origin, Some(Origin::Adopted));
}
