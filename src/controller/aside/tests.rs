use super::*;
use lanyard_domain::reason::Stall;
use lanyard_domain::verdict::GRACE;
use lanyard_domain::{ETag, IdentityType};
use rstest::rstest;

fn id(name: &str) -> IdentityId {
    let group = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/ids";
    let text = format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}");
    text.parse().expect("an identity's id")
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn refused(known: Known, reason: Reason) -> Refused {
    Refused { known, edit: Edit::Attach, reason, message: "no".into(), class: Class::Refused }
}

fn patch<'a>(names: impl IntoIterator<Item = &'a str>) -> Patch {
    let edits = names.into_iter().map(|name| (id(name), Edit::Attach)).collect();
    Patch { if_match: Some(ETag("1".into())), identity_type: IdentityType::User, edits, system: None }
}

#[test]
fn a_refusal_is_tried_again_after_30_s_growing_to_3_minutes() {
    let (mut asides, mut now, mut waits) = (Asides::default(), at(100), Vec::new());
    for _ in 0..6 {
        asides.put(&id("a"), refused(Known::ByName, Reason::AssignRefused), now, 0.0);
        let wait = asides.next_try(now).expect("a next try");
        assert!(asides.not_now(now).contains(&id("a")));
        now = now.after(wait);
        assert!(!asides.not_now(now).contains(&id("a")), "due after {wait:?}");
        assert!(asides.trials(now).again.together.contains(&id("a")));
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [30, 60, 120, 180, 180, 180]);
}

/// A fresh grant or identity takes minutes to arrive.
#[rstest]
#[case::not_found(Reason::IdentityNotFound)]
#[case::no_role(Reason::AssignRefused)]
fn for_ten_minutes_it_is_no_failure(#[case] reason: Reason) {
    let mut asides = Asides::default();
    assert_eq!(reason.stall(), Stall::AfterGrace);
    for seconds in [100, 130, 400, 690] {
        asides.put(&id("a"), refused(Known::ByName, reason), at(seconds), 0.0);
    }
    let lasting = |now| asides.troubles(now)[&id("a")].lasting;
    assert!(lasting(at(699)) < GRACE);
    assert!(lasting(at(700)) >= GRACE, "from when it was first seen, however often since");
}

#[test]
fn an_identity_that_was_made_has_ten_minutes_of_its_own_for_its_grant() {
    let mut asides = Asides::default();
    asides.put(&id("a"), refused(Known::Missing, Reason::IdentityNotFound), at(0), 0.0);
    asides.put(&id("a"), refused(Known::ByName, Reason::AssignRefused), at(900), 0.0);
    assert!(asides.troubles(at(1000))[&id("a")].lasting < GRACE);
    asides.put(&id("a"), refused(Known::Missing, Reason::IdentityNotFound), at(1100), 0.0);
    assert!(asides.troubles(at(1100))[&id("a")].lasting >= GRACE, "it was missing ten minutes ago, too");
}

#[test]
fn what_falls_due_together_is_tried_in_one_request() {
    let mut asides = Asides::default();
    asides.put(&id("a"), refused(Known::ByName, Reason::AssignRefused), at(0), 0.0);
    asides.put(&id("b"), refused(Known::ByName, Reason::AssignRefused), at(9), 0.0);
    asides.put(&id("c"), refused(Known::Alone, Reason::RequestRejected), at(9), 0.0);
    asides.put(&id("late"), refused(Known::ByName, Reason::AssignRefused), at(20), 0.0);
    let again = asides.trials(at(30)).again;
    assert_eq!((again.together, again.alone), ([id("a"), id("b")].into(), [id("c")].into()));
    assert_eq!(asides.not_now(at(30)), [id("late")].into());
}

#[test]
fn each_is_asked_about_once_before_it_is_tried() {
    let mut asides = Asides::default();
    asides.put(&id("a"), refused(Known::Missing, Reason::IdentityNotFound), at(0), 0.0);
    let removal = Refused { edit: Edit::Detach, ..refused(Known::ByName, Reason::AssignRefused) };
    asides.put(&id("gone"), removal, at(0), 0.0);
    assert_eq!(asides.ask_about(at(29)), []);
    assert_eq!(asides.ask_about(at(30)), [(id("a"), Known::Missing)], "a removal needs no such read");
    assert_eq!(asides.ask_about(at(31)), []);
    asides.put(&id("a"), refused(Known::Missing, Reason::IdentityNotFound), at(31), 0.0);
    assert_eq!(asides.ask_about(at(91)), [(id("a"), Known::Missing)]);
    asides.appeared(&id("a"));
    assert_eq!(asides.not_now(at(91)), BTreeSet::new());
    assert!(!asides.trials(at(91)).again.has(&id("a")), "it goes with whatever else is new");
}

/// Twenty that are refused for an hour, each due at a time of its own.
#[test]
fn however_many_wait_their_tries_leave_half_of_the_bucket_to_others() {
    let names: Vec<String> = (0..20u64).map(|number| format!("{number:02}")).collect();
    let mut asides = Asides::default();
    for (second, name) in (0u64..).zip(&names) {
        asides.put(&id(name), refused(Known::Alone, Reason::RequestRejected), at(second * 7), 0.3);
    }
    let mut tries = 0;
    for second in 0..3600 {
        let trials = asides.trials(at(second));
        let Some(first) = trials.again.alone.first().filter(|_| trials.affordable).cloned() else { continue };
        let name = first.name().trim_start_matches("id-").to_owned();
        asides.count(&patch([name.as_str()]), at(second));
        asides.put(&first, refused(Known::Alone, Reason::RequestRejected), at(second), 0.3);
        tries += 1;
    }
    assert!((100..=6 + 120).contains(&tries), "{tries} in an hour");
}

#[test]
fn nothing_comes_back_at_once_without_the_means_to_write() {
    let mut asides = Asides::default();
    for name in ["a", "b"] {
        asides.put(&id(name), refused(Known::Alone, Reason::RequestRejected), at(0), 0.0);
    }
    for _ in 0..6 {
        asides.count(&patch(["a"]), at(30));
    }
    assert_eq!(asides.not_now(at(30)).len(), 2, "due, and not affordable");
    assert_eq!(asides.next_try(at(30)), Some(Duration::from_secs(30)));
    assert!(asides.next_try(at(4000)).is_some_and(|wait| !wait.is_zero()), "held up by something else");
}

/// A plan that holds these back.
fn holding<'a>(holds: impl IntoIterator<Item = (&'a str, Hold)>) -> Plan {
    let step = |(name, why)| (id(name), Step::Held { edit: Edit::Attach, why });
    Plan { steps: holds.into_iter().map(step).collect(), ..Plan::nothing() }
}

#[test]
fn a_suspect_that_waits_for_a_persons_word_keeps_no_search_open() {
    let mut asides = Asides::default();
    assert_eq!(asides.halving.refused(&patch(["a", "b"]).edits, false), None);
    let message = "somebody is at fault".to_owned();
    asides.suspect(Suspicion { reason: Reason::AssignRefused, message, since: at(5) });
    asides.accepted(&patch(["a"]));
    asides.keep_up_with(Some(&holding([("b", Hold::Suspected)])));
    assert!(asides.halving.is_under_way() && asides.any_for(|reason| reason == Reason::AssignRefused));
    asides.keep_up_with(Some(&holding([("b", Hold::DefaultIdentity)])));
    assert!(!asides.halving.is_under_way() && asides.troubles(at(6)).is_empty());
    assert!(!asides.any_for(|_| true), "no token is renewed for it");
}

#[test]
fn those_searched_among_are_told_so_until_the_search_ends() {
    let mut asides = Asides::default();
    let all = patch(["a", "b"]);
    assert_eq!(asides.halving.refused(&all.edits, false), None);
    let message = "somebody is at fault".to_owned();
    asides.suspect(Suspicion { reason: Reason::AssignRefused, message, since: at(5) });
    assert_eq!(asides.troubles(at(6)).len(), 2);
    asides.keep_up_with(Some(&holding([("a", Hold::Suspected), ("b", Hold::SetAside)])));
    assert_eq!(asides.troubles(at(6)).len(), 2, "both are still due");
    asides.accepted(&all);
    asides.keep_up_with(Some(&Plan::nothing()));
    assert!(asides.troubles(at(6)).is_empty() && asides.next_try(at(6)).is_none());
}

#[test]
fn a_persons_change_ends_every_wait() {
    let mut asides = Asides::default();
    asides.put(&id("a"), refused(Known::ByName, Reason::AssignRefused), at(0), 0.0);
    asides.hurry(at(1));
    assert!(asides.not_now(at(1)).is_empty());
}
