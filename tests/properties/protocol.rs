//! Cases of the ownership protocol, each once found broken.
use crate::kit::{NOW, claim, clear, complete, complete_with, id, ids, intent, judged_at, live, read, record};
use lanyard_domain::depart::{depart, has_left, recorded_claims};
use lanyard_domain::evidence::{Census, NotFresh, STALE_FOR};
use lanyard_domain::judge::{Judgement, Memory, Note, OPEN_FOR, Outcome, Sent, Unseen, Waiting};
use lanyard_domain::{
    Claim, Claims, Complete, DeletionPolicy, Intent, Leaving, Mode, Record, RecordedClaim, SystemWish, Unanswered,
};
use std::collections::BTreeSet;

fn sent(operation: &str, outcome: Outcome, added: &str, removed: &str) -> Memory {
    let ids_of = |names: &str| ids(names.split_whitespace());
    let sent =
        Sent { operation: operation.into(), outcome, added: ids_of(added), removed: ids_of(removed), system: None };
    Memory { sent: Some(sent), ..Memory::default() }
}

/// Reads have not been showing this attempt since `NOW`.
fn unseen(operation: &str) -> Unseen {
    Unseen { operation: operation.into(), since: NOW }
}

fn with(intent: Intent, record: Record) -> Record {
    Record { intent: Some(intent), ..record }
}

/// The second attempt, after a first one that may still arrive.
fn second(add: &str) -> Intent {
    let first = intent(add, "");
    let unanswered = vec![Unanswered { base: first.base.clone(), operation: first.operation.clone() }];
    Intent { attempt: 2, unanswered, operation: "op-2".into(), ..first }
}

#[test]
fn each_attempt_has_five_minutes_of_its_own_to_arrive() {
    let machine = live("m1", 1, "");
    let mut memory = Memory::default();
    let first = with(intent("a", ""), record("m1", ""));
    assert!(matches!(judged_at(NOW, &first, &machine, &mut memory), Judgement::Clear { .. }));

    let almost = NOW.after(OPEN_FOR / 10 * 9);
    let resent = with(second("a"), record("m1", ""));
    assert!(matches!(judged_at(almost, &resent, &machine, &mut memory), Judgement::Clear { .. }));
    let Judgement::Clear { record, .. } = judged_at(NOW.after(OPEN_FOR), &resent, &machine, &mut memory) else {
        unreachable!("nothing to wait for")
    };
    assert!(record.intent.is_some(), "the second attempt may still arrive");
}

#[test]
fn an_identity_that_may_still_arrive_is_named_when_it_is_let_go() {
    let record = with(intent("a", ""), record("m1", ""));
    let leaving = Claim { leaving: Some(Leaving::Release), ..claim("web", "+a") };
    let claims = complete(vec![leaving], &record);
    let (record, notes) = depart(&record, &claims);
    assert_eq!(notes, [Note::Released { by: "shop/web".into(), ids: ids(["a"]) }]);
    assert!(has_left(&record, &claims, "web"));
}

#[test]
fn what_became_of_an_attempt_outlives_a_record_that_could_not_be_written() {
    let unsettled = with(intent("", "a"), record("m1", "a"));
    let mut memory = sent("op-1", Outcome::Succeeded, "", "a");
    let put_back = live("m1", 3, "a");
    let (first, _) = clear(&unsettled, &put_back, &mut memory);
    let (again, notes) = clear(&unsettled, &put_back, &mut memory);
    assert_eq!(first, again);
    assert!(again.attached.is_empty(), "somebody put it back: not ours");
    assert_eq!(notes, [Note::PutBack { ids: ids(["a"]) }]);
}

#[test]
fn an_earlier_attempts_addition_is_not_ours_once_a_later_one_was_accepted() {
    let union = with(second("a b"), record("m1", ""));
    for outcome in [Outcome::Accepted, Outcome::Succeeded, Outcome::Failed] {
        let mut memory = sent("op-2", outcome, "b", "");
        let (settled, _) = clear(&union, &live("m1", 3, "a b"), &mut memory);
        assert_eq!(settled.attached.into_keys().collect::<Vec<_>>(), [id("b")], "{outcome:?}");
    }
}

#[test]
fn a_failed_operation_under_the_old_etag_may_be_a_stale_read() {
    let unsettled = with(intent("a", ""), record("m1", ""));
    let mut memory = sent("op-1", Outcome::Failed, "a", "");
    let old = live("m1", 1, "");
    assert_eq!(judged_at(NOW, &unsettled, &old, &mut memory), Judgement::Wait(Waiting::StaleRead));
    let later = judged_at(NOW.after(STALE_FOR), &unsettled, &old, &mut memory);
    assert!(matches!(later, Judgement::Clear { record, .. } if record.intent.is_none()), "believed in the end");
}

#[test]
fn an_etag_given_back_gives_earlier_attempts_their_chance_back() {
    let union = with(second("a"), record("m1", ""));
    let mut memory = Memory { unseen: Some(unseen("op-2")), ..sent("op-2", Outcome::Failed, "a", "") };
    let Judgement::Clear { record, .. } = judged_at(NOW.after(STALE_FOR), &union, &live("m1", 1, ""), &mut memory)
    else {
        unreachable!("nothing to wait for")
    };
    assert!(record.intent.is_some(), "the first attempt may still arrive");
}

#[test]
fn a_read_of_the_machine_that_was_replaced_is_no_evidence() {
    let mut memory = Memory::default();
    let (emptied, _) = clear(&record("m1", "a"), &live("m2", 1, ""), &mut memory);
    assert_eq!(read(&live("m1", 4, "a"), &emptied), Err(NotFresh::Superseded));
    assert!(read(&live("m2", 1, ""), &emptied).is_ok());
    assert!(read(&live("m3", 1, ""), &emptied).is_ok());
}

#[test]
fn what_was_ours_on_a_machine_that_was_replaced_is_named() {
    let unsettled = with(intent("a", ""), record("m1", "b"));
    let (emptied, notes) = clear(&unsettled, &live("m2", 1, "a"), &mut Memory::default());
    assert!(emptied.attached.is_empty());
    assert!(matches!(notes.as_slice(), [Note::MachineReplaced { ids: named, .. }] if *named == ids(["a", "b"])));
}

#[test]
fn a_read_from_before_the_base_forgets_nothing() {
    let unsettled =
        Record { intent: Some(Intent { base: crate::kit::base("m1", 2), ..intent("a", "") }), ..record("m1", "") };
    let mut memory = Memory::default();
    let lagging = live("m1", 1, "");
    for state in [&lagging, &live("m1", 2, "")] {
        let (kept, _) = clear(&unsettled, state, &mut memory);
        assert_eq!(kept.intent, unsettled.intent, "it may still arrive");
    }
    let (arrived, _) = clear(&unsettled, &live("m1", 3, "a"), &mut memory);
    assert_eq!(arrived.attached.into_keys().collect::<Vec<_>>(), [id("a")]);
}

/// What is legible of an object that cannot be read adds to its protection and takes nothing from it.
#[test]
fn an_object_that_cannot_be_read_protects_what_it_was_recorded_with() {
    let known = RecordedClaim {
        key: claim("web", "").key,
        generation: 1,
        deletion_policy: DeletionPolicy::Detach,
        mode: Mode::Enforce,
        present: ids(["a"]),
        refs: std::collections::BTreeMap::new(),
        system_enabled: false,
    };
    let recorded = Record { claims: vec![known], ..record("m1", "") };
    let legible = Claim { system: SystemWish::Enabled, ..claim("web", "-a +b") };
    let census = Census { listed: true, unread: vec![legible], ..Census::default() };
    let claims = complete_with(census, &recorded);
    assert_eq!(claims.present().into_iter().cloned().collect::<BTreeSet<_>>(), ids(["a", "b"]));
    assert!(claims.iter().all(|claim| claim.system == SystemWish::Enabled && !claim.enforces()));
}

/// A read from before the base makes the base look replaced, although it is the state of now.
#[test]
fn a_state_that_is_believed_in_the_end_is_not_doubted_at_every_visit() {
    let misled = Record { superseded: vec![crate::kit::base("m1", 3)], ..record("m1", "") };
    let now = live("m1", 3, "");
    assert_eq!(read(&now, &misled), Err(NotFresh::Superseded));
    let (judged, _) = clear(&misled, &now, &mut Memory::default());
    assert!(read(&now, &judged).is_ok());
}

#[test]
fn patience_with_one_attempt_is_not_spent_on_the_next() {
    let union = with(second("a"), record("m1", ""));
    let mut memory = Memory { unseen: Some(unseen("op-2")), ..sent("op-2", Outcome::Failed, "a", "") };
    let later = NOW.after(STALE_FOR);
    let given_back = live("m1", 1, "");
    assert!(matches!(judged_at(later, &union, &given_back, &mut memory), Judgement::Clear { .. }));

    let third = Intent { attempt: 3, operation: "op-3".into(), ..second("a") };
    memory.sent = sent("op-3", Outcome::Succeeded, "a", "").sent;
    let judged = judged_at(later, &with(third, record("m1", "")), &given_back, &mut memory);
    assert_eq!(judged, Judgement::Wait(Waiting::StaleRead));
}

#[test]
fn patience_with_an_attempt_without_an_answer_is_not_spent_on_one_that_was_accepted() {
    let lost = with(intent("a", ""), record("m1", ""));
    let mut memory = sent("op-1", Outcome::Unknown, "a", "");
    let moved = live("m1", 2, "");
    assert!(
        matches!(judged_at(NOW, &lost, &moved, &mut memory), Judgement::Clear { record, .. } if record.intent.is_some())
    );

    // Planned from what the read showed, and accepted: reads lag behind this one from now on.
    let accepted = NOW.after(STALE_FOR / 2);
    let again = with(Intent { base: crate::kit::base("m1", 2), ..second("a") }, record("m1", ""));
    memory.sent = sent("op-2", Outcome::Succeeded, "a", "").sent;
    for (now, waits) in [(accepted, true), (NOW.after(STALE_FOR), true), (accepted.after(STALE_FOR), false)] {
        let judged = judged_at(now, &again, &moved, &mut memory);
        assert_eq!(judged == Judgement::Wait(Waiting::StaleRead), waits, "at {now:?}");
    }
}

#[test]
fn where_no_etag_tells_what_is_there_after_five_minutes_had_arrived() {
    let plain = |names: &str| lanyard_domain::Live { etag: None, ..live("m1", 1, names) };
    let without = lanyard_domain::Base { etag: None, ..crate::kit::base("m1", 1) };
    let unsettled = with(Intent { base: without, ..intent("a b", "") }, record("m1", ""));
    let mut memory = Memory::default();
    let (open, _) = clear(&unsettled, &plain("a"), &mut memory);
    assert_eq!(open.intent, unsettled.intent, "it may still arrive");
    let Judgement::Clear { record, notes } = judged_at(NOW.after(OPEN_FOR), &unsettled, &plain("a"), &mut memory)
    else {
        unreachable!("nothing to wait for")
    };
    assert_eq!(record.attached.into_keys().collect::<Vec<_>>(), [id("a")], "ours, not nobody's");
    assert!(record.intent.is_none());
    assert_eq!(notes, [Note::Arrived { ids: ids(["a"]) }, Note::OpenExpired { ids: ids(["b"]) }]);
}

#[test]
fn after_a_lost_answer_and_a_strangers_write_the_rest_is_planned_from_what_is_there() {
    let both = with(intent("a b", ""), record("m1", ""));
    let mut memory = sent("op-1", Outcome::Unknown, "a b", "");
    let (moved, notes) = clear(&both, &live("m1", 2, "a"), &mut memory);
    assert_eq!(moved.attached.into_keys().collect::<Vec<_>>(), [id("a")], "what is there is ours");
    assert_eq!(notes, [Note::Arrived { ids: ids(["a"]) }]);
    let intent = moved.intent.expect("the rest may still arrive, should this read be old");
    assert_eq!((intent.add, intent.base), (ids(["b"]), crate::kit::base("m1", 1)));

    let Judgement::Clear { record, .. } = judged_at(NOW.after(STALE_FOR), &both, &live("m1", 2, "a"), &mut memory)
    else {
        unreachable!("nothing to wait for")
    };
    assert!(record.intent.is_none(), "no read lags for so long");
}

#[test]
fn a_refused_attempt_leaves_the_ones_before_it_as_they_were() {
    let first = intent("a", "");
    let later = Intent { base: crate::kit::base("m1", 2), ..second("a") };
    let union = with(later, record("m1", ""));
    let mut memory = sent("op-2", Outcome::Refused, "a", "");
    let (open, _) = clear(&union, &live("m1", 1, ""), &mut memory);
    let left = open.intent.expect("the first may still arrive");
    assert_eq!((left.base, left.operation), (first.base, first.operation));
    assert!(left.unanswered.is_empty());
}

#[test]
fn with_many_attempts_unanswered_no_more_is_sent_on_a_guess() {
    let attempt = |n: u32| Unanswered { base: crate::kit::base("m1", n), operation: format!("op-{n}") };
    let many = Intent { unanswered: (1..5).map(attempt).collect(), base: crate::kit::base("m1", 5), ..intent("a", "") };
    let judged = judged_at(NOW, &with(many, record("m1", "")), &live("m1", 6, ""), &mut Memory::default());
    assert_eq!(judged, Judgement::Wait(Waiting::StaleRead));
}

fn account(claims: Vec<Claim>, confirmed: &[&str], record: &Record) -> Complete<Claims> {
    let confirmed = confirmed.iter().map(ToString::to_string).collect();
    let census = Census { listed: true, read: claims, confirmed, ..Census::default() };
    Complete::account(census, record).expect("listed")
}

#[test]
fn an_object_older_than_the_one_acted_on_withdraws_nothing_and_asks_for_nothing() {
    let now = Claim { generation: 5, ..claim("web", "+a +b") };
    let before = record("m1", "a b");
    let record = Record { claims: recorded_claims(&before, &account(vec![now], &[], &before)), ..before };
    assert_eq!(record.claims[0].generation, 5);

    // From before `b` was declared, when `c` still was declared absent.
    let old = Claim { generation: 4, ..claim("web", "+a -c") };
    let seen = account(vec![old.clone()], &[], &record);
    let standing = seen.iter().next().expect("it stands as recorded");
    assert_eq!(standing.present().cloned().collect::<BTreeSet<_>>(), ids(["a", "b"]));
    assert!(!standing.enforces() && !standing.user.contains_key(&id("c")));
    assert_eq!(recorded_claims(&record, &seen), record.claims, "and is recorded so");

    let confirmed = account(vec![old.clone()], &["web"], &record);
    assert_eq!(confirmed.iter().next(), Some(&old), "a consistent read is believed: a backup was restored");
}
