use super::*;
use crate::claims::{ClaimKey, DefaultIdentityChange, DeletionPolicy, Mode, Stance, SystemWish};
use rstest::rstest;
use std::collections::BTreeSet;

fn id(name: &str) -> IdentityId {
    IdentityId::told_by_arm(name)
}

fn claim(user: &[(&str, Ensure)]) -> Claim {
    Claim {
        key: ClaimKey { namespace: "shop".into(), name: "web".into(), uid: "u1".into() },
        generation: 1,
        user: user.iter().map(|(name, ensure)| (id(name), *ensure)).collect(),
        refs: BTreeMap::new(),
        repair: BTreeSet::new(),
        system: SystemWish::Unmanaged,
        mode: Mode::Enforce,
        stance: Stance::Enforce,
        deletion_policy: DeletionPolicy::Detach,
        default_identity_change: DefaultIdentityChange::Warn,
        leaving: None,
    }
}

fn reference(ensure: Ensure, referred: Referred) -> BTreeMap<String, Reference> {
    [("db".to_owned(), Reference { ensure, repair: true, referred })].into()
}

fn record(stood_for: &str) -> Record {
    let machine = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web";
    let mut record = Record::empty(machine.parse().expect("a machine's id"));
    record.claims.push(RecordedClaim {
        key: claim(&[]).key,
        generation: 1,
        deletion_policy: DeletionPolicy::Detach,
        mode: Mode::Enforce,
        present: [id(stood_for)].into(),
        refs: [("db".to_owned(), id(stood_for))].into(),
        system_enabled: false,
    });
    record
}

#[rstest]
#[case::ready(Referred::Ready(id("a")), Some(Ensure::Present), false)]
#[case::not_ready(Referred::NotReady(id("a"), "soon".into()), Some(Ensure::Kept), true)]
#[case::leaving(Referred::Leaving(id("a")), None, true)]
fn what_a_reference_amounts_to(#[case] referred: Referred, #[case] ensure: Option<Ensure>, #[case] waits: bool) {
    let claim = claim(&[]).referring(reference(Ensure::Present, referred));
    assert_eq!(claim.user.get(&id("a")).copied(), ensure);
    assert_eq!(claim.refs["db"].waits().is_some(), waits);
    assert_eq!(claim.repair.contains(&id("a")), ensure == Some(Ensure::Present));
}

#[test]
fn one_that_is_not_seen_keeps_what_the_record_says_it_stood_for() {
    let unseen = || claim(&[]).referring(reference(Ensure::Present, Referred::Unseen));
    assert!(unseen().user.is_empty());
    let kept = keeping(unseen(), &record("a"));
    assert_eq!(kept.user.get(&id("a")), Some(&Ensure::Kept));
    assert_eq!(recorded(&kept, record("a").claims.first()), [("db".to_owned(), id("a"))].into());
    assert!(keeping(claim(&[]), &record("a")).user.is_empty(), "an entry that is gone from the spec is withdrawn");
}

#[test]
fn one_that_goes_with_its_identity_is_withdrawn_and_forgotten() {
    let leaving = claim(&[]).referring(reference(Ensure::Present, Referred::Leaving(id("a"))));
    let leaving = keeping(leaving, &record("a"));
    assert!(leaving.user.is_empty());
    assert!(recorded(&leaving, record("a").claims.first()).is_empty());
}

#[test]
fn another_identity_under_the_name_takes_the_place_of_the_old_one_once_it_is_ready() {
    let not_yet = claim(&[]).referring(reference(Ensure::Present, Referred::NotReady(id("b"), "soon".into())));
    let not_yet = keeping(not_yet, &record("a"));
    assert_eq!(not_yet.user, [(id("a"), Ensure::Kept), (id("b"), Ensure::Kept)].into());
    assert_eq!(recorded(&not_yet, record("a").claims.first())["db"], id("a"));
    let ready = keeping(claim(&[]).referring(reference(Ensure::Present, Referred::Ready(id("b")))), &record("a"));
    assert_eq!(ready.user, [(id("b"), Ensure::Present)].into());
    assert_eq!(recorded(&ready, record("a").claims.first())["db"], id("b"));
}

#[rstest]
#[case::same(Ensure::Present, Ensure::Present, Ensure::Present, 0)]
#[case::both_absent(Ensure::Absent, Ensure::Absent, Ensure::Absent, 0)]
#[case::contradicted(Ensure::Absent, Ensure::Present, Ensure::Kept, 1)]
#[case::contradicted_too(Ensure::Present, Ensure::Absent, Ensure::Kept, 1)]
fn an_entry_and_a_reference_to_one_identity_are_one_wish(
    #[case] entry: Ensure,
    #[case] referred: Ensure,
    #[case] together: Ensure,
    #[case] contradicted: usize,
) {
    let claim = claim(&[("a", entry)]).referring(reference(referred, Referred::Ready(id("A"))));
    assert_eq!(claim.user, [(id("a"), together)].into());
    assert_eq!(claim.contradicted().count(), contradicted);
}
