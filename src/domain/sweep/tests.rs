use super::*;
use proptest::prelude::*;

const S: &str = "00000000-0000-0000-0000-000000000001";

fn vm(group: &str, name: &str) -> TargetId {
    let id = format!("/subscriptions/{S}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}");
    id.parse().expect("an id")
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// Machines at rest, each so often.
fn fleet(groups: &[(&str, usize, Duration)]) -> Demand {
    let mut demand = Demand::default();
    for (group, machines, every) in groups {
        (0..*machines).for_each(|n| demand.at_rest(&vm(group, &format!("m{n}")), *every));
    }
    demand
}

fn group(name: &str) -> Scope {
    Scope::group_of(&vm(name, "any"))
}

fn subscription() -> Scope {
    Scope::subscription_of(&vm("any", "any"))
}

#[test]
fn one_machine_is_read_by_itself() {
    assert_eq!(fleet(&[("a", 1, minutes(10))]).lists(|_| Known::Unasked), BTreeMap::new());
}

#[test]
fn a_group_of_machines_is_listed_and_many_groups_by_their_subscription() {
    let one = fleet(&[("a", 50, minutes(10))]).lists(|_| Known::Unasked);
    assert_eq!(one, [(group("a"), minutes(10))].into());
    let many = fleet(&[("a", 50, minutes(10)), ("b", 50, minutes(10)), ("c", 1, minutes(10))]);
    assert_eq!(many.lists(|_| Known::Unasked), [(subscription(), minutes(10))].into());
}

#[test]
fn a_subscription_full_of_others_machines_is_not_listed() {
    let known = |scope: &Scope| if scope.group.is_none() { Known::Pages(40) } else { Known::Unasked };
    let lists = fleet(&[("a", 50, minutes(10)), ("b", 50, minutes(10))]).lists(known);
    assert_eq!(lists, [(group("a"), minutes(10)), (group("b"), minutes(10))].into());
}

#[test]
fn what_may_not_be_listed_is_read_machine_by_machine() {
    assert_eq!(fleet(&[("a", 50, minutes(10))]).lists(|_| Known::Barred), BTreeMap::new());
}

#[test]
fn who_is_in_a_hurry_is_read_by_itself_while_the_rest_is_listed() {
    let mut demand = fleet(&[("a", 50, minutes(10))]);
    demand.at_rest(&vm("a", "hasty"), Duration::from_secs(120));
    let lists = demand.lists(|_| Known::Unasked);
    assert_eq!(lists, [(group("a"), Duration::from_secs(120))].into(), "one call every two minutes does for all");
    let known = |scope: &Scope| if scope.group.is_none() { Known::Barred } else { Known::Pages(8) };
    let mut demand = fleet(&[("a", 50, minutes(10))]);
    demand.at_rest(&vm("a", "hasty"), Duration::from_secs(120));
    assert_eq!(demand.lists(known), [(group("a"), minutes(10))].into(), "eight pages every two minutes would be dear");
}

#[test]
fn many_that_are_waited_for_in_a_group_are_looked_for_by_its_list() {
    let waiting = |machines: usize| {
        let mut demand = Demand::default();
        (0..machines).for_each(|n| demand.awaited(&vm("a", &format!("m{n}")), Duration::from_secs(30)));
        demand.lists(|_| Known::Unasked)
    };
    assert_eq!(waiting(2), BTreeMap::new());
    assert_eq!(waiting(1000), [(group("a"), Duration::from_secs(30))].into());
}

#[test]
fn sweeps_begin_at_once_and_are_spread_from_then_on() {
    let mut rounds = Rounds::default();
    rounds.choose([(group("a"), minutes(10))].into(), at(0));
    let scope = rounds.begin(at(0)).expect("due");
    assert_eq!((rounds.begin(at(0)), rounds.next_due()), (None, None), "one of a subscription at a time");
    rounds.end(&scope, Ended::Whole { pages: 1 }, at(1), 1.0);
    assert_eq!(rounds.next_due(), Some(at(301)), "the second after half of the interval, or anywhere up to all of it");
    assert_eq!(rounds.begin(at(301)), Some(scope.clone()));
    rounds.end(&scope, Ended::Whole { pages: 1 }, at(302), 0.0);
    assert_eq!(rounds.next_due(), Some(at(902)));
}

#[test]
fn a_list_that_breaks_off_is_tried_again_and_slower_each_time_up_to_its_pace() {
    let mut rounds = Rounds::default();
    rounds.choose([(group("a"), minutes(1))].into(), at(0));
    let waits: Vec<u64> = (0..6)
        .map(|_| {
            let now = rounds.next_due().expect("due");
            let scope = rounds.begin(now).expect("due");
            rounds.end(&scope, Ended::Broken, now, 0.0);
            rounds.next_due().expect("due").since(now).as_secs()
        })
        .collect();
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
}

#[test]
fn a_list_that_was_refused_is_not_chosen_for_an_hour() {
    let mut rounds = Rounds::default();
    rounds.choose([(group("a"), minutes(1))].into(), at(0));
    let scope = rounds.begin(at(0)).expect("due");
    rounds.end(&scope, Ended::Barred, at(0), 0.0);
    assert_eq!((rounds.known(&scope, at(3599)), rounds.known(&scope, at(3600))), (Known::Barred, Known::Unasked));
}

#[test]
fn the_list_of_one_subscription_delays_no_other() {
    let other = |n: u8| Scope { subscription: format!("{n}").into(), ..group("a") };
    let mut rounds = Rounds::default();
    rounds.choose((0..5).map(|n| (other(n), minutes(1))).collect(), at(0));
    let begun = std::iter::from_fn(|| rounds.begin(at(0))).count();
    assert_eq!(begun, 5, "each has one under way, none waits for another");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every call is counted: what the lists cost, and the machines that none of them covers.
    #[test]
    fn lists_never_cost_more_calls_than_reading_each_machine(
        groups in prop::collection::vec((1usize..400, 1u64..30), 1..8),
        pages in prop::collection::vec(0u32..12, 9),
    ) {
        let names: Vec<String> = (0..groups.len()).map(|n| format!("g{n}")).collect();
        let machines: Vec<(&str, usize, Duration)> =
            names.iter().zip(&groups).map(|(name, (count, every))| (name.as_str(), *count, minutes(*every))).collect();
        let known = |scope: &Scope| {
            let place = scope.group.as_ref().map_or(8, |group| group[1..].parse::<usize>().unwrap_or(0));
            match pages[place] { 0 => Known::Barred, pages => Known::Pages(pages) }
        };
        let lists = fleet(&machines).lists(known);
        let cost = |scope: &Scope, every: &Duration| match known(scope) {
            Known::Pages(pages) => f64::from(pages) / every.as_secs_f64(),
            Known::Unasked | Known::Barred => f64::INFINITY,
        };
        let mut rounds = Rounds::default();
        rounds.choose(lists.clone(), at(0));
        let alone = |(name, count, every): &(&str, usize, Duration)| {
            let covered = rounds.covering(&vm(name, "m"), *every).is_some();
            let each = f64::from(u32::try_from(*count).unwrap_or(u32::MAX)) / every.as_secs_f64();
            (each, if covered { 0.0 } else { each })
        };
        let rates: Vec<(f64, f64)> = machines.iter().map(alone).collect();
        let by_itself: f64 = rates.iter().map(|(each, _)| each).sum();
        let chosen: f64 = lists.iter().map(|(scope, every)| cost(scope, every)).sum::<f64>()
            + rates.iter().map(|(_, left)| left).sum::<f64>();
        prop_assert!(chosen <= by_itself * 1.000_001, "{chosen} calls a second against {by_itself}");
    }
}
