use super::*;
use proptest::prelude::*;
use rstest::rstest;

fn id(number: usize) -> IdentityId {
    let group = "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/ids";
    let text = format!("{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{number:03}");
    text.parse().expect("an identity's id")
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn additions(numbers: impl IntoIterator<Item = usize>) -> Due {
    numbers.into_iter().map(|number| (id(number), Edit::Attach)).collect()
}

/// What a search did to one machine whose ARM refuses every request that names a culprit, and never says whom.
#[derive(Debug, Default)]
struct Search {
    /// How much was done after each request.
    done: Vec<usize>,
    set_aside: BTreeSet<IdentityId>,
    trials: Vec<Moment>,
}

/// Runs until nothing is left to be sent, waiting whenever no trial may leave.
fn search(mut due: Due, culprits: &BTreeSet<IdentityId>) -> Search {
    let (mut halving, mut allowance, mut now) = (Halving::default(), Allowance::default(), at(7));
    let (mut search, all) = (Search::default(), due.len());
    while !due.is_empty() {
        let turn = halving.turn(&due, &Again::default(), allowance.wait(now).is_zero());
        if turn.ids().is_empty() {
            now = now.after(allowance.wait(now));
            continue;
        }
        if halving.is_under_way() {
            allowance.spend(now);
            search.trials.push(now);
        }
        let sent: Due = due.iter().filter(|(id, _)| turn.ids().contains(*id)).map(|(id, e)| (id.clone(), *e)).collect();
        if sent.keys().any(|id| culprits.contains(id)) {
            let culprit = halving.refused(&sent, false);
            due.retain(|id, _| Some(id) != culprit.as_ref());
            search.set_aside.extend(culprit);
        } else {
            halving.accepted(&sent, false);
            due.retain(|id, _| !sent.contains_key(id));
        }
        search.done.push(all - due.len() - search.set_aside.len());
        assert!(search.done.len() < 10_000, "it does not end");
    }
    assert!(!halving.is_under_way(), "{halving:?}");
    search
}

/// Binary search for each culprit, a request for each by itself, and those in doubt, before its end and after it.
fn bound(all: usize, culprits: usize) -> usize {
    let steps = all.next_power_of_two().ilog2() as usize;
    1 + culprits * (steps + 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn exactly_the_culprits_are_set_aside(
        kinds in prop::collection::vec(any::<bool>(), 1..40),
        culprits in prop::collection::btree_set(0usize..40, 0..8),
    ) {
        let edit = |attach: bool| if attach { Edit::Attach } else { Edit::Detach };
        let due: Due = kinds.iter().enumerate().map(|(number, attach)| (id(number), edit(*attach))).collect();
        let culprits: BTreeSet<IdentityId> = culprits.into_iter().map(id).filter(|id| due.contains_key(id)).collect();
        let good = due.len() - culprits.len();
        let (all, search) = (due.len(), search(due, &culprits));
        prop_assert_eq!(&search.set_aside, &culprits);
        prop_assert_eq!(search.done.last().copied(), Some(good));
        prop_assert!(search.done.len() <= bound(all, culprits.len()), "{} requests", search.done.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// In every minute of the search no more leave than half of ARM's bucket holds and gains.
    #[test]
    fn a_search_keeps_to_half_of_the_bucket(culprits in prop::collection::btree_set(0usize..30, 1..12)) {
        let search = search(additions(0..30), &culprits.into_iter().map(id).collect());
        for (first, begun) in search.trials.iter().enumerate() {
            for (last, ended) in search.trials.iter().enumerate().skip(first) {
                let gained = ended.since(*begun).as_secs() / ONE_IN.as_secs();
                let allowed = u64::from(AT_ONCE) + gained;
                prop_assert!((last - first + 1) as u64 <= allowed, "{} to {}: {:?}", first, last, search.trials);
            }
        }
    }
}

#[rstest]
#[case::few(6)]
#[case::some(16)]
#[case::many(75)]
#[case::as_many_as_fit(150)]
fn wherever_the_one_culprit_is_three_quarters_are_attached_by_the_sixth_request(#[case] all: usize) {
    for culprit in 0..all {
        let search = search(additions(0..all), &[id(culprit)].into());
        let done = search.done[search.done.len().min(6) - 1];
        assert!(done * 4 >= (all - 1) * 3, "culprit {culprit} of {all}: {:?}", search.done);
        assert!(search.done.len() <= bound(all, 1), "{:?}", search.done);
    }
}

#[test]
fn additions_are_told_from_removals_first() {
    let due: Due = [(id(1), Edit::Detach), (id(2), Edit::Attach), (id(3), Edit::Detach), (id(4), Edit::Attach)].into();
    let mut halving = Halving::default();
    assert_eq!(halving.refused(&due, false), None);
    assert_eq!(halving.turn(&due, &Again::default(), true), Turn::Trial([id(2), id(4)].into()));
}

#[test]
fn what_is_new_waits_for_no_search() {
    let mut halving = Halving::default();
    halving.refused(&additions(0..4), false);
    let due = additions(0..6);
    for affordable in [true, false] {
        assert_eq!(
            halving.turn(&due, &Again::default(), affordable),
            Turn::Ordinary([id(4), id(5)].into()),
            "affordable: {affordable}"
        );
    }
    halving.accepted(&additions(4..6), false);
    assert_eq!(halving.turn(&additions(0..4), &Again::default(), false), Turn::Ordinary(BTreeSet::new()));
    assert_eq!(halving.turn(&additions(0..4), &Again::default(), true), Turn::Trial([id(0), id(1)].into()));
}

#[test]
fn one_that_arm_names_in_the_midst_of_it_clears_the_others() {
    let mut halving = Halving::default();
    halving.refused(&additions(0..8), false);
    halving.refused(&additions(0..4), false);
    halving.found(&[id(2)].into());
    let due = additions([0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(halving.turn(&due, &Again::default(), true), Turn::Trial(due.keys().cloned().collect()));
}

#[test]
fn what_is_tried_again_goes_last_and_by_its_kind() {
    let again = Again { together: [id(1), id(2)].into(), alone: [id(3), id(4)].into() };
    let halving = Halving::default();
    let turn = |numbers: &[usize], affordable| halving.turn(&additions(numbers.iter().copied()), &again, affordable);
    assert_eq!(turn(&[0, 1, 2, 3, 4], true), Turn::Ordinary([id(0)].into()));
    assert_eq!(turn(&[1, 2, 3, 4], true), Turn::Trial([id(1), id(2)].into()));
    assert_eq!(turn(&[3, 4], true), Turn::Trial([id(3)].into()));
    assert_eq!(turn(&[1, 2, 3, 4], false), Turn::Ordinary(BTreeSet::new()));
}

#[test]
fn the_system_identity_is_told_from_the_others_before_they_are_halved() {
    let mut halving = Halving::default();
    assert_eq!(halving.refused(&additions(0..2), true), None);
    assert!(halving.keeps_system_apart() && !halving.is_under_way());
    assert_eq!(halving.refused(&Due::new(), true), None);
    assert!(!halving.keeps_system_apart(), "by itself it is no one else's trouble");
}

#[test]
fn six_leave_at_once_then_two_a_minute() {
    let mut allowance = Allowance::default();
    for _ in 0..AT_ONCE {
        assert!(allowance.wait(at(100)).is_zero());
        allowance.spend(at(100));
    }
    assert_eq!(allowance.wait(at(100)), ONE_IN);
    assert_eq!(allowance.wait(at(120)), Duration::from_secs(10));
    assert!(allowance.wait(at(130)).is_zero());
    allowance.spend(at(130));
    assert_eq!(allowance.wait(at(130)), ONE_IN);
    assert!(allowance.wait(at(1000)).is_zero());
}
