//! The reference can tell what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lanyard::api::assignment::{Ensure, SystemAssigned};

use super::log::{By, Change, Entry, Life, Log, Span, Switched};
use super::reference::{Judged, Ours, judge};
use super::story::{Kind, Name, Spec, Stance, Who};

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000 + second)
}

fn span(second: i64) -> Span {
    Span { began: at(second), done: at(second) }
}

fn who() -> Who {
    Who { namespace: 0, name: "web".into() }
}

fn spec(users: &[(Name, Ensure)]) -> Spec {
    let users: BTreeMap<Name, Ensure> = users.iter().copied().collect();
    let (system, stance) = (SystemAssigned::Unmanaged, Stance::Enforce);
    Spec { users, system, stance, retain: false, manage: false, spelling: 0 }
}

fn said(second: i64, spec: Spec) -> Entry {
    Entry::Said { who: who(), spec, at: span(second) }
}

fn settled(second: i64, attached: &[&str]) -> Entry {
    let attached: BTreeSet<String> = attached.iter().map(|id| (*id).to_owned()).collect();
    Entry::Settled { at: at(second), attached }
}

fn change(second: i64, by: By, added: &[&str], removed: &[&str]) -> Change {
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    Change { at: at(second), by, added: owned(added), removed: owned(removed), system: Vec::new() }
}

fn stranger() -> By {
    By::Foreign("stranger".into())
}

fn life(users: &[&str], history: Vec<Change>) -> Vec<Life> {
    vec![Life { users: users.iter().map(|id| (*id).to_owned()).collect(), system: false, history }]
}

fn log(entries: Vec<Entry>) -> Log {
    Log { kind: Kind::Vm, starts: true, entries }
}

fn judged<'a>(log: &'a Log, lives: &'a [Life]) -> Judged<'a> {
    judge(log, lives, true, at(1_000))
}

#[test]
fn a_removal_of_what_was_there_before_is_a_drop_unless_declared() {
    let removed = life(&[], vec![change(5, By::Request(1), &[], &["blob"])]);
    let undeclared = log(vec![said(0, spec(&[("blob", Ensure::Present)])), settled(2, &[]), said(4, spec(&[]))]);
    let violations = judged(&undeclared, &removed).violations;
    assert!(violations.iter().any(|it| it.contains("DROP")), "{violations:?}");

    let absent = log(vec![said(4, spec(&[("blob", Ensure::Absent)]))]);
    assert!(judged(&absent, &removed).violations.is_empty());
    let observed = Spec { stance: Stance::Observe, ..spec(&[("blob", Ensure::Absent)]) };
    let violations = judged(&log(vec![said(4, observed)]), &removed).violations;
    assert_eq!(violations.len(), 2, "a drop, and a write for an observer: {violations:?}");
}

#[test]
fn what_we_attached_and_nobody_declares_is_a_leak() {
    let attached = life(&["blob"], vec![change(1, By::Request(1), &["blob"], &[])]);
    let undeclared = log(vec![said(0, spec(&[("blob", Ensure::Present)])), settled(2, &["blob"]), said(4, spec(&[]))]);
    let wrong = judged(&undeclared, &attached).wrong_on_machine();
    assert!(wrong.len() == 1 && wrong[0].contains("LEAK"), "{wrong:?}");
}

#[test]
fn what_was_let_go_is_not_ours_any_more() {
    let retained = Spec { retain: true, ..spec(&[("blob", Ensure::Present)]) };
    let left = Entry::Left { who: who(), release: false, stripped: false, at: span(4) };
    let log = log(vec![said(0, retained), settled(2, &["blob"]), left]);
    let added = change(1, By::Request(1), &["blob"], &[]);
    let stays = life(&["blob"], vec![added.clone()]);
    assert!(judged(&log, &stays).wrong_on_machine().is_empty());
    assert_eq!(judged(&log, &stays).users["blob"].ours, Ours::NO);
    let goes = life(&[], vec![added, change(5, By::Request(2), &[], &["blob"])]);
    assert!(judged(&log, &goes).violations[0].contains("DROP"));
}

#[test]
fn a_release_that_nobody_need_have_seen_may_count_and_may_not() {
    let whose = |stripped| {
        let left = Entry::Left { who: who(), release: true, stripped, at: span(4) };
        let log = log(vec![said(0, spec(&[("blob", Ensure::Present)])), settled(2, &["blob"]), left]);
        let lives = life(&["blob"], vec![change(1, By::Request(1), &["blob"], &[])]);
        judged(&log, &lives).users["blob"].ours
    };
    assert_eq!(whose(false), Ours::NO);
    assert_eq!(whose(true), Ours::EITHER);
}

#[test]
fn an_adoption_that_is_late_may_take_what_was_declared_meanwhile() {
    let whose = |honoured| {
        let adopted = Entry::Adopted { alone: false, honoured, at: span(4) };
        let declared = said(6, spec(&[("blob", Ensure::Present)]));
        let log = log(vec![said(0, spec(&[])), settled(2, &[]), adopted, declared]);
        judged(&log, &life(&["blob"], Vec::new())).users["blob"].ours
    };
    assert_eq!(whose(true), Ours::NO);
    assert_eq!(whose(false), Ours::EITHER);
}

#[test]
fn who_puts_back_what_we_took_off_owns_it_once_that_was_settled() {
    let ours = spec(&[("blob", Ensure::Present)]);
    let entries = vec![said(0, ours), settled(2, &["blob"]), said(4, spec(&[])), settled(6, &[])];
    let early = [change(1, By::Request(1), &["blob"], &[]), change(5, By::Request(2), &[], &["blob"])];
    let at_once = [early[0].clone(), change(5, By::Request(2), &[], &["blob"]), change(5, stranger(), &["blob"], &[])];
    let whose = |entries: Vec<Entry>, history: &[Change]| {
        let (log, lives) = (log(entries), life(&["blob"], history.to_vec()));
        judged(&log, &lives).users["blob"].ours
    };
    assert_eq!(whose(entries[..3].to_vec(), &at_once), Ours::EITHER);
    let later = [early[0].clone(), early[1].clone(), change(8, stranger(), &["blob"], &[])];
    assert_eq!(whose(entries, &later), Ours::NO);
}

#[test]
fn a_machine_made_anew_owes_us_nothing() {
    let mut lives = life(&["blob"], vec![change(1, By::Request(1), &["blob"], &[])]);
    lives.extend(life(&["blob"], Vec::new()));
    let (gone, made) = (Entry::Gone { at: at(4) }, Entry::Made { at: at(4) });
    let log = log(vec![said(0, spec(&[("blob", Ensure::Present)])), settled(2, &["blob"]), gone, made]);
    assert_eq!(judged(&log, &lives).users["blob"].ours, Ours::NO);
}

#[test]
fn the_system_identity_goes_only_where_that_is_declared() {
    let off = Switched::Destroyed("p".into());
    let history = vec![Change { system: vec![off], ..change(5, By::Request(1), &[], &[]) }];
    let lives = life(&[], history);
    let entry = |system| said(0, Spec { system, ..spec(&[]) });
    let enabled = log(vec![entry(SystemAssigned::Enabled)]);
    assert!(judged(&enabled, &lives).violations[0].contains("DROP"));
    let disabled = log(vec![entry(SystemAssigned::Disabled)]);
    assert!(judged(&disabled, &lives).violations.is_empty());
}
