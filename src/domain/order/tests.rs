use super::*;
use rstest::rstest;

const ONE: &str = "00000000-0000-0000-0000-000000000001";
const TWO: &str = "00000000-0000-0000-0000-000000000002";

fn target_in(subscription: &str, name: &str) -> Target {
    let id =
        format!("/subscriptions/{subscription}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}");
    Arc::new(id.parse().expect("an id"))
}

fn target(name: &str) -> Target {
    target_in(ONE, name)
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn scheduler() -> Scheduler {
    Scheduler::new(Bounds::of(64))
}

fn open(_: &str, _: Urgency) -> Duration {
    Duration::ZERO
}

impl Scheduler {
    /// Visits everything that is due, one after the other.
    fn run(&mut self, now: Moment) -> Vec<String> {
        let mut names = Vec::new();
        while let Turn::Visit(target, _) = self.pop(now, open) {
            names.push(target.name().to_owned());
            self.done(now, &target, None);
        }
        names
    }

    fn push_now(&mut self, name: &str, urgency: Urgency, namespace: &str) {
        self.push(at(0), target(name), urgency, Some(namespace));
    }

    fn begin_one(&mut self, now: Moment) -> Target {
        match self.pop(now, open) {
            Turn::Visit(target, _) => target,
            Turn::Wait(until) => unreachable!("nothing is due before {until:?}"),
        }
    }

    fn due(&self) -> usize {
        self.depths(at(0)).due.values().map(|depth| depth.due).sum()
    }
}

#[test]
fn a_persons_change_overtakes_drift() {
    let mut scheduler = scheduler();
    let classes = [Urgency::Drift, Urgency::Waiting, Urgency::Retry, Urgency::Deletion, Urgency::Change];
    for urgency in classes {
        scheduler.push_now(&format!("{urgency:?}"), urgency, "shop");
    }
    assert_eq!(scheduler.run(at(0)), ["Change", "Deletion", "Retry", "Waiting", "Drift"]);
}

#[test]
fn however_it_is_spelled_a_target_is_one_entry() {
    let mut scheduler = scheduler();
    scheduler.push_now("web", Urgency::Drift, "shop");
    scheduler.push_now("WEB", Urgency::Change, "shop");
    assert_eq!(scheduler.due(), 1);
    assert_eq!(scheduler.run(at(0)), ["web"]);
}

#[test]
fn a_target_under_way_is_visited_once_more_and_never_twice_at_once() {
    let mut scheduler = scheduler();
    scheduler.push_now("a", Urgency::Change, "shop");
    let a = scheduler.begin_one(at(0));
    scheduler.push_now("a", Urgency::Drift, "shop");
    scheduler.push_now("a", Urgency::Change, "shop");
    assert_eq!(scheduler.pop(at(0), open), Turn::Wait(None));
    scheduler.done(at(0), &a, Some((at(600), Urgency::Drift)));
    assert_eq!(scheduler.pop(at(0), open), Turn::Visit(a.clone(), Urgency::Change));
    scheduler.done(at(0), &a, None);
    assert_eq!((scheduler.under_way, scheduler.entries.len()), (0, 0), "once more, and not twice");
}

#[test]
fn one_change_overtakes_five_thousand_of_another_namespace() {
    let mut scheduler = scheduler();
    for number in 0..5_000 {
        scheduler.push_now(&format!("a{number}"), Urgency::Change, "many");
    }
    for _ in 0..1_000 {
        let target = scheduler.begin_one(at(0));
        scheduler.done(at(0), &target, None);
    }
    scheduler.push_now("one", Urgency::Change, "few");
    let order = scheduler.run(at(0));
    assert_eq!(order[..2], ["one", "a1000"]);
    assert_eq!(order.len(), 4_001);
}

#[test]
fn one_change_overtakes_a_crowd_of_namespaces() {
    let mut scheduler = scheduler();
    for number in 0..500 {
        scheduler.push_now(&format!("a{number}"), Urgency::Change, &format!("many-{}", number % 50));
    }
    for _ in 0..75 {
        let target = scheduler.begin_one(at(0));
        scheduler.done(at(0), &target, None);
    }
    scheduler.push_now("one", Urgency::Change, "few");
    scheduler.push_now("two", Urgency::Change, "few");
    let order = scheduler.run(at(0));
    assert_eq!(order[0], "one");
    assert!(order.iter().position(|name| name == "two") >= Some(25), "once, and then in turn");
}

#[test]
fn a_few_changes_one_after_another_pass_a_crowd_in_their_own_subscription_and_in_others() {
    let mut scheduler = scheduler();
    for number in 0..400 {
        let subscription = if number % 2 == 0 { ONE } else { TWO };
        let namespace = format!("many{}", number % 10);
        let target = target_in(subscription, &format!("a{number}"));
        scheduler.push(at(0), target, Urgency::Change, Some(&namespace));
    }
    let next = |scheduler: &mut Scheduler<_>| {
        let target = scheduler.begin_one(at(0));
        scheduler.done(at(0), &target, None);
        target
    };
    for _ in 0..100 {
        next(&mut scheduler);
    }
    let mut waited = Vec::new();
    for number in 0..11 {
        next(&mut scheduler);
        scheduler.push(at(0), target_in(ONE, &format!("b{number}")), Urgency::Change, Some("few"));
        let turns = (0..).take_while(|_| !next(&mut scheduler).name().starts_with('b'));
        waited.push(turns.count());
    }
    assert_eq!(waited[..8], [0; 8], "at once, though the subscription has had its turn: {waited:?}");
    assert!(waited[8..].iter().all(|turns| *turns >= 5), "then in turn: {waited:?}");
}

#[test]
fn who_comes_back_at_once_takes_turns_all_the_same() {
    let mut scheduler = scheduler();
    for number in 0..10 {
        scheduler.push_now(&format!("a{number}"), Urgency::Change, "many");
    }
    let mut busy_one = 0;
    for round in 0..20 {
        scheduler.push_now(&format!("b{round}"), Urgency::Change, "eager");
        let target = scheduler.begin_one(at(0));
        busy_one += usize::from(target.name().starts_with('b'));
        scheduler.done(at(0), &target, None);
    }
    assert_eq!(busy_one, 10, "it does not starve the one that waited");
}

#[test]
fn subscriptions_take_turns_whatever_they_hold() {
    let mut scheduler = scheduler();
    for number in 0..100 {
        scheduler.push(at(0), target_in(ONE, &format!("a{number}")), Urgency::Drift, None);
    }
    scheduler.push(at(0), target_in(TWO, "b0"), Urgency::Drift, None);
    scheduler.push(at(0), target_in(TWO, "b1"), Urgency::Drift, None);
    assert_eq!(scheduler.run(at(0))[..5], ["a0", "b0", "a1", "b1", "a2"]);
}

#[test]
fn a_shut_gate_holds_up_its_own_subscription_alone_and_is_asked_once() {
    let mut scheduler = scheduler();
    for name in ["a", "b", "c"] {
        scheduler.push(at(0), target_in(ONE, name), Urgency::Change, Some("shop"));
        scheduler.push(at(0), target_in(TWO, name), Urgency::Change, Some("shop"));
    }
    let asked = std::cell::Cell::new(0);
    let gate = |subscription: &str, _: Urgency| {
        asked.set(asked.get() + usize::from(subscription == ONE));
        Duration::from_secs(if subscription == ONE { 9 } else { 0 })
    };
    for name in ["a", "b", "c"] {
        assert_eq!(scheduler.pop(at(0), gate), Turn::Visit(target_in(TWO, name), Urgency::Change));
    }
    assert_eq!(scheduler.pop(at(1), gate), Turn::Wait(Some(at(9))));
    assert_eq!(asked.get(), 1, "remembered until it opens");
    assert_eq!(scheduler.pop(at(9), open), Turn::Visit(target_in(ONE, "a"), Urgency::Change));
}

#[test]
fn a_gate_that_is_shut_for_drift_lets_a_change_through() {
    let mut scheduler = scheduler();
    scheduler.push_now("looked-at", Urgency::Drift, "shop");
    let gate = |_: &str, urgency| Duration::from_secs(if urgency == Urgency::Drift { 60 } else { 0 });
    assert_eq!(scheduler.pop(at(0), gate), Turn::Wait(Some(at(60))));
    scheduler.push_now("changed", Urgency::Change, "shop");
    assert_eq!(scheduler.pop(at(0), gate), Turn::Visit(target("changed"), Urgency::Change));
}

#[test]
fn a_subscription_that_hangs_holds_its_own_places_alone() {
    let mut scheduler = scheduler();
    for number in 0..64 {
        scheduler.push(at(0), target_in(ONE, &format!("hangs{number}")), Urgency::Retry, None);
    }
    scheduler.push(at(0), target_in(TWO, "well"), Urgency::Drift, None);
    let mut under_way = Vec::new();
    while let Turn::Visit(target, _) = scheduler.pop(at(0), open) {
        under_way.push(target);
    }
    assert_eq!(under_way.iter().filter(|target| target.subscription() == ONE).count(), 6);
    assert_eq!(under_way.last(), Some(&target_in(TWO, "well")));
    scheduler.push(at(0), target_in(ONE, "changed"), Urgency::Change, Some("shop"));
    assert_eq!(scheduler.begin_one(at(0)), target_in(ONE, "changed"), "two places are kept for people");
}

#[test]
fn who_waits_for_an_operation_takes_no_place() {
    let mut scheduler = scheduler();
    for number in 0..40 {
        scheduler.push_now(&format!("vm{number}"), Urgency::Change, "shop");
    }
    let mut parked = Vec::new();
    while let Turn::Visit(target, _) = scheduler.pop(at(0), open) {
        scheduler.parked(&target);
        scheduler.parked(&target);
        parked.push(target);
    }
    assert_eq!((parked.len(), scheduler.under_way, scheduler.busy(ONE)), (40, 40, 0));
    for target in &parked {
        scheduler.resumed(target);
    }
    assert_eq!(scheduler.busy(ONE), 40, "what was begun goes on, whatever the bound");
    scheduler.push_now("next", Urgency::Change, "shop");
    assert_eq!(scheduler.pop(at(0), open), Turn::Wait(None));
    for (number, target) in parked.iter().enumerate() {
        if number % 2 == 0 {
            scheduler.parked(target);
        }
        scheduler.done(at(0), target, None);
    }
    assert_eq!((scheduler.under_way, scheduler.busy(ONE)), (0, 0));
    assert_eq!(scheduler.run(at(0)), ["next"]);
}

#[rstest]
#[case::a_look(Urgency::Drift, true)]
#[case::one_that_is_waited_for(Urgency::Waiting, true)]
#[case::a_retry(Urgency::Retry, false)]
#[case::a_deletion(Urgency::Deletion, false)]
#[case::a_change(Urgency::Change, false)]
fn only_what_nobody_asked_for_is_put_off(#[case] urgency: Urgency, #[case] expected: bool) {
    let mut due = scheduler();
    due.push_now("a", urgency, "shop");
    assert_eq!(due.defer(&target("a"), at(600)), expected);
    let seen = due.pop(at(599), open);
    assert_eq!(seen, if expected { Turn::Wait(Some(at(600))) } else { Turn::Visit(target("a"), urgency) });

    let mut later = scheduler();
    later.later(&target("a"), at(60), urgency);
    assert_eq!(later.defer(&target("a"), at(600)), expected);
    assert!(!later.defer(&target("a"), at(500)), "never nearer");
    let due_at = if expected { 600 } else { 60 };
    assert_eq!(later.pop(at(0), open), Turn::Wait(Some(at(due_at))));
    assert_eq!(later.pop(at(due_at), open), Turn::Visit(target("a"), urgency));
    assert!(!later.defer(&target("a"), at(900)), "under way");
}

#[test]
fn a_retry_that_is_due_soon_is_not_lost_in_the_crowd_of_drift() {
    let mut scheduler = scheduler();
    scheduler.later(&target("a"), at(5), Urgency::Retry);
    scheduler.push_now("a", Urgency::Drift, "shop");
    let no_drift = |_: &str, urgency| Duration::from_secs(if urgency == Urgency::Drift { 3_600 } else { 0 });
    assert_eq!(scheduler.pop(at(0), no_drift), Turn::Wait(Some(at(5))));
    assert_eq!(scheduler.pop(at(5), no_drift), Turn::Visit(target("a"), Urgency::Retry));
}

#[test]
fn what_is_tried_again_counts_for_who_asked_for_it() {
    let mut scheduler = scheduler();
    for number in 0..3 {
        scheduler.push_now(&format!("a{number}"), Urgency::Change, "many");
    }
    scheduler.push_now("b", Urgency::Change, "few");
    while let Turn::Visit(target, _) = scheduler.pop(at(0), open) {
        scheduler.done(at(0), &target, Some((at(1), Urgency::Retry)));
    }
    let order = scheduler.run(at(1));
    assert!(order.iter().position(|name| name == "b") <= Some(1), "{order:?}");
}

#[test]
fn depths_tell_how_long_the_first_of_a_class_has_been_waiting() {
    let mut scheduler = scheduler();
    scheduler.push(at(10), target("a"), Urgency::Drift, None);
    scheduler.push(at(20), target("b"), Urgency::Drift, None);
    scheduler.push(at(30), target("c"), Urgency::Change, Some("shop"));
    let depths = scheduler.depths(at(40)).due;
    let seen = |urgency| depths.get(&urgency).map(|depth| (depth.due, depth.oldest.as_secs()));
    assert_eq!((seen(Urgency::Drift), seen(Urgency::Change)), (Some((2, 30)), Some((1, 10))));
    scheduler.push(at(40), target("a"), Urgency::Change, Some("shop"));
    assert_eq!(scheduler.depths(at(40)).due[&Urgency::Drift], Depth { due: 1, oldest: Duration::from_secs(20) });
}
