use super::*;
use crate::patch::IdentityType;
use proptest::prelude::*;

const HOUR: u64 = 3600;

fn id(name: &str) -> IdentityId {
    IdentityId::told_by_arm(name)
}

fn patch(name: &str, edit: Edit) -> Patch {
    Patch { if_match: None, identity_type: IdentityType::User, edits: [(id(name), edit)].into(), system: None }
}

fn switch(system: Switch) -> Patch {
    Patch { if_match: None, identity_type: IdentityType::System, edits: BTreeMap::new(), system: Some(system) }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn wall(seconds: u64) -> Timestamp {
    Timestamp(seconds.to_string())
}

fn made(contest: &mut Contest, patch: &Patch, seconds: u64) {
    contest.made(patch, at(seconds), &wall(seconds));
}

fn held(contest: &Contest, seconds: u64) -> bool {
    !Contested::of(contest, at(seconds)).user.is_empty()
}

/// A stranger who undoes at once, and a controller that repairs as soon as it may: when it writes.
fn writes(patch: &Patch, until: u64) -> Vec<u64> {
    let mut contest = Contest::default();
    let mut all = Vec::new();
    let mut now = 0;
    while now < until {
        made(&mut contest, patch, now);
        all.push(now);
        now += contest.next_try(at(now)).map_or(1, |wait| wait.as_secs());
    }
    all
}

#[test]
fn three_undoings_are_repaired_at_once_and_the_rest_at_a_slowing_pace() {
    let first = writes(&patch("a", Edit::Attach), 2 * HOUR);
    let doubling = |from: u64| (0..7).scan(from, |at, n| Some(std::mem::replace(at, *at + 30 * (1 << n))));
    let expected: Vec<u64> = [0, 1, 2].into_iter().chain(doubling(3)).chain([3 + 127 * 30]).collect();
    assert_eq!(first, expected);
    let day = writes(&patch("a", Edit::Attach), 24 * HOUR);
    assert_eq!(day.len(), 33, "about one an hour: {day:?}");
}

#[test]
fn it_tells_how_often_and_since_when() {
    let mut contest = Contest::default();
    let matter = Matter::User(id("a"), Edit::Attach);
    for second in 0..5 {
        made(&mut contest, &patch("a", Edit::Attach), second);
    }
    let undone = contest.get(&matter).expect("contested");
    assert_eq!((undone.times, &undone.since), (4, &wall(1)), "since the first undoing was repaired");
    assert!(contest.is_news(&matter));
    made(&mut contest, &patch("a", Edit::Attach), 9);
    assert!(!contest.is_news(&matter), "told once");
}

#[test]
fn only_what_is_contested_waits() {
    let mut contest = Contest::default();
    for second in 0..9 {
        made(&mut contest, &patch("a", Edit::Attach), second);
    }
    made(&mut contest, &patch("b", Edit::Attach), 9);
    let waits = Contested::of(&contest, at(10));
    assert_eq!(waits.user, [(id("a"), Edit::Attach)].into());
    assert_eq!(waits.system, None);
}

#[test]
fn the_system_identity_is_a_matter_of_its_own() {
    let mut contest = Contest::default();
    for second in 0..4 {
        made(&mut contest, &switch(Switch::On), second);
    }
    assert_eq!(Contested::of(&contest, at(4)).system, Some(Switch::On));
    made(&mut contest, &switch(Switch::Off), 5);
    assert_eq!(Contested::of(&contest, at(6)), Contested::default(), "switched off at somebody's wish");
}

#[test]
fn people_who_change_their_minds_are_no_strangers() {
    let mut contest = Contest::default();
    for second in 0..40 {
        let edit = if second % 2 == 0 { Edit::Attach } else { Edit::Detach };
        made(&mut contest, &patch("a", edit), second);
    }
    assert!(!held(&contest, 40));
}

#[test]
fn a_long_quiet_time_ends_it_and_so_do_people() {
    let contested = || {
        let mut contest = Contest::default();
        (0..4).for_each(|second| made(&mut contest, &patch("a", Edit::Attach), second));
        contest
    };
    let mut contest = contested();
    let quiet = 3 + FORGOTTEN_AFTER.as_secs();
    assert!(contest.get(&Matter::User(id("a"), Edit::Attach)).is_some());
    made(&mut contest, &patch("a", Edit::Attach), quiet);
    assert!(contest.get(&Matter::User(id("a"), Edit::Attach)).is_none(), "the count begins anew");

    let mut contest = contested();
    contest.hurry(at(5));
    assert!(!held(&contest, 5), "tried at once");
    made(&mut contest, &patch("a", Edit::Attach), 6);
    assert_eq!(contest.next_try(at(6)), Some(FIRST_PAUSE * 2), "once: the pace is kept");

    let mut contest = contested();
    contest.forget(|matter| *matter == Matter::User(id("b"), Edit::Attach));
    assert!(held(&contest, 5), "that was about another identity");
    contest.forget(|matter| *matter == Matter::User(id("a"), Edit::Attach));
    assert_eq!(contest, Contest::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the pauses between undoing and visit: the writes of a day are bounded, and never closer than the pace.
    #[test]
    fn writes_are_bounded_whatever_a_stranger_does(delays in proptest::collection::vec(0u64..7200, 1..200)) {
        let mut contest = Contest::default();
        let repair = patch("a", Edit::Attach);
        let (mut now, mut all) = (0, Vec::new());
        for delay in delays {
            now += delay;
            if held(&contest, now) {
                now += contest.next_try(at(now)).map_or(0, |wait| wait.as_secs());
            }
            prop_assert!(!held(&contest, now), "what is due is due");
            made(&mut contest, &repair, now);
            all.push(now);
        }
        let longest = |from: u64| all.iter().filter(|at| (from..from + HOUR).contains(at)).count();
        // Three at once and the doubling pauses fill at most the first hour of each row.
        prop_assert!(all.iter().all(|from| longest(*from) <= 10), "{all:?}");
        let late = all.iter().skip(10).collect::<Vec<_>>();
        prop_assert!(late.windows(2).all(|pair| pair[1] - pair[0] >= LONGEST_PAUSE.as_secs()), "{all:?}");
    }

    /// Counts of one matter move no other's.
    #[test]
    fn matters_are_independent(steps in proptest::collection::vec((0u8..3, any::<bool>(), 0u64..900), 1..80)) {
        let (mut together, mut alone) = (Contest::default(), Contest::default());
        let mut now = 0;
        for (name, attach, pause) in steps {
            now += pause;
            let edit = if attach { Edit::Attach } else { Edit::Detach };
            made(&mut together, &patch(&name.to_string(), edit), now);
            if name == 0 {
                made(&mut alone, &patch("0", edit), now);
            }
        }
        for edit in [Edit::Attach, Edit::Detach] {
            let matter = Matter::User(id("0"), edit);
            prop_assert_eq!(together.get(&matter), alone.get(&matter));
        }
    }
}

#[test]
fn without_an_etag_a_read_that_never_showed_a_change_is_believed_after_a_while_only() {
    let with = |names: &[&str]| Live {
        user: names.iter().map(|name| (id(name), crate::live::Principal::default())).collect(),
        ..Live::default()
    };
    let mut contest = Contest::default();
    made(&mut contest, &patch("a", Edit::Attach), 100);
    assert!(contest.doubts(&with(&[]), at(119)), "it may be from before the write");
    assert!(!contest.doubts(&with(&["a", "b"]), at(101)));
    assert!(!contest.doubts(&with(&[]), at(120)), "no read lags so long");

    contest.saw(&with(&["a"]));
    assert!(!contest.doubts(&with(&[]), at(101)), "it was there, and somebody took it off");
    made(&mut contest, &patch("a", Edit::Attach), 102);
    assert!(contest.doubts(&with(&[]), at(103)), "of the repair no read has told yet");
    made(&mut contest, &patch("a", Edit::Detach), 104);
    assert!(contest.doubts(&with(&["a"]), at(105)) && !contest.doubts(&with(&[]), at(105)));

    let mut contest = Contest::default();
    contest.made(&switch(Switch::On), at(100), &wall(100));
    assert!(contest.doubts(&with(&[]), at(101)));
}
