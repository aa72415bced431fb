use super::*;
use crate::TargetId;
use rstest::rstest;

fn target(name: &str) -> TargetId {
    format!("/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}")
        .parse()
        .expect("an id")
}

fn patch(name: &str) -> Vec<Key> {
    Key::update(&target(name))
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// Answered at once, and nothing told.
fn ask(quota: &mut Quota, keys: &[Key], urgency: Urgency, now: Moment) -> Result<(), Short> {
    let receipt = quota.take(keys, urgency, now)?;
    quota.answered(receipt, &[], now);
    Ok(())
}

/// How many may be sent at this moment.
fn burst(quota: &mut Quota, keys: &[Key], urgency: Urgency, now: Moment) -> usize {
    std::iter::from_fn(|| ask(quota, keys, urgency, now).ok()).take(2000).count()
}

const CHANGE: Urgency = Urgency::Change;

#[test]
fn four_fifths_of_a_bucket_are_spent_and_refilled_at_arms_pace() {
    let mut quota = Quota::default();
    assert_eq!(burst(&mut quota, &patch("web"), CHANGE, at(0)), 9, "of 12");
    assert_eq!(burst(&mut quota, &patch("web"), CHANGE, at(60)), 3, "of 4 a minute, and what was left");
    assert_eq!(burst(&mut quota, &patch("web"), CHANGE, at(3600)), 9, "never more than full");
}

#[rstest]
#[case("50", 100)]
#[case("100%", 200)]
#[case("1", 2)]
fn the_share_is_as_configured(#[case] share: &str, #[case] writes: usize) {
    let mut quota = Quota::new(share.parse().expect("a share"));
    assert_eq!(burst(&mut quota, &Key::writes("s"), CHANGE, at(0)), writes);
}

#[test]
fn who_stands_in_line_waits_for_those_before_in_what_is_shared_alone() {
    let mut quota = Quota::default();
    assert_eq!(quota.short(&patch("web"), CHANGE, 160, at(0)), None, "all find room, each at its own machine");
    let short = quota.short(&patch("web"), CHANGE, 176, at(0)).expect("sixteen too many");
    assert_eq!(short, Short { bucket: Bucket::SubscriptionWrites, wait: Duration::from_secs(2) });
}

#[rstest]
#[case("0")]
#[case("101")]
#[case("")]
#[case("much")]
#[case("-5")]
#[case("80.5")]
fn what_is_no_share_is_refused(#[case] share: &str) {
    assert!(share.parse::<Share>().expect_err("refused").to_string().contains("from 1 to 100"));
}

#[test]
fn one_targets_bucket_delays_nothing_else() {
    let mut quota = Quota::default();
    burst(&mut quota, &patch("web"), CHANGE, at(0));
    assert!(burst(&mut quota, &patch("other"), CHANGE, at(0)) > 0);
    assert!(burst(&mut quota, &Key::get(&target("web")), CHANGE, at(0)) > 0);
}

#[test]
fn a_subscriptions_bucket_is_shared_by_its_targets_and_a_refusal_costs_nothing() {
    let mut quota = Quota::default();
    let sent: usize = (0..100).map(|n| burst(&mut quota, &patch(&format!("vm{n}")), CHANGE, at(0))).sum();
    assert_eq!(sent, 160, "of 200");
    assert_eq!(burst(&mut quota, &patch("vm99")[2..], CHANGE, at(0)), 9, "the last target's own is still full");
}

#[rstest]
#[case::told(Some(30), 30)]
#[case::zero_is_nothing(Some(0), 15)]
#[case::nothing(None, 15)]
#[case::absurd(Some(86_400 * 365), 3600)]
fn retry_after_closes_one_bucket(#[case] asked: Option<u64>, #[case] closed: u64) {
    let mut quota = Quota::default();
    let keys = patch("web");
    let pause = quota.close(&keys[2], asked.map(Duration::from_secs), at(0));
    assert_eq!(pause, Duration::from_secs(closed));
    let short = quota.take(&keys, CHANGE, at(0)).expect_err("closed");
    assert_eq!(short, Short { bucket: Bucket::ResourceUpdates, wait: pause });
    quota.take(&keys, CHANGE, at(closed - 1)).expect_err("still closed");
    ask(&mut quota, &patch("other"), CHANGE, at(0)).expect("another target's is open");
    ask(&mut quota, &Key::get(&target("web")), CHANGE, at(0)).expect("its reads are open");
    ask(&mut quota, &keys, CHANGE, at(closed)).expect("open again");
    assert!(ask(&mut quota, &keys, CHANGE, at(closed)).is_err(), "one fits, as far as anybody knows");
}

#[test]
fn a_shorter_pause_does_not_open_a_bucket() {
    let mut quota = Quota::default();
    let keys = patch("web");
    quota.close(&keys[2], Some(Duration::from_secs(60)), at(0));
    quota.close(&keys[2], Some(Duration::from_secs(1)), at(0));
    quota.take(&keys, CHANGE, at(59)).expect_err("closed");
}

#[test]
fn what_others_spend_is_believed_at_once() {
    let mut quota = Quota::default();
    let reads = Key::reads("s");
    let receipt = quota.take(&reads, CHANGE, at(0)).expect("full");
    quota.answered(receipt, &[(Bucket::SubscriptionReads, Left::Exactly(60))], at(0));
    assert_eq!(burst(&mut quota, &reads, CHANGE, at(0)), 10, "of 60, less the 50 that are not ours");
}

#[test]
fn what_is_still_under_way_is_not_spent_twice() {
    let mut quota = Quota::default();
    let reads = Key::reads("s");
    burst(&mut quota, &reads, CHANGE, at(0));
    let mut under_way: Vec<Receipt> = (0..5).map(|_| quota.take(&reads, CHANGE, at(5)).expect("refilled")).collect();
    let first = under_way.remove(0);
    // The first is answered: when ARM counted, it had seen none of the other four.
    quota.answered(first, &[(Bucket::SubscriptionReads, Left::Exactly(60))], at(5));
    assert_eq!(burst(&mut quota, &reads, CHANGE, at(5)), 6);
}

#[test]
fn more_than_we_thought_is_believed_when_nothing_is_under_way() {
    let mut quota = Quota::default();
    let reads = Key::reads("s");
    let tell = |quota: &mut Quota, left| {
        let receipt = quota.take(&reads, CHANGE, at(0)).expect("some left");
        quota.answered(receipt, &[(Bucket::SubscriptionReads, left)], at(0));
    };
    tell(&mut quota, Left::Exactly(60));
    tell(&mut quota, Left::AtMost(240));
    assert_eq!(quota.lowest(at(0))[0], (Bucket::SubscriptionReads, 9.0), "a wider bucket raises nothing");
    tell(&mut quota, Left::Exactly(240));
    assert_eq!(burst(&mut quota, &reads, CHANGE, at(0)), 190, "but never beyond our share");
}

#[test]
fn what_never_left_is_given_back_and_what_was_lost_is_not() {
    let mut quota = Quota::default();
    let keys = patch("web");
    for _ in 0..50 {
        let receipt = quota.take(&keys, CHANGE, at(0)).expect("nothing is spent");
        quota.give_back(receipt, at(0));
    }
    for _ in 0..9 {
        let receipt = quota.take(&keys, CHANGE, at(0)).expect("nine fit");
        quota.lost(receipt, at(0));
    }
    assert_eq!(quota.take(&keys, CHANGE, at(0)).expect_err("spent").bucket, Bucket::ResourceUpdates);
}

#[test]
fn after_silence_few_leave_before_the_first_is_answered() {
    let mut quota = Quota::default();
    let reads = Key::reads("s");
    let mut under_way: Vec<Receipt> = std::iter::from_fn(|| quota.take(&reads, CHANGE, at(0)).ok()).collect();
    assert_eq!(under_way.len(), 8);
    assert!(quota.take(&reads, CHANGE, at(1)).is_ok(), "one that hangs holds nobody for longer");
    quota.answered(under_way.remove(0), &[], at(1));
    assert!(burst(&mut quota, &reads, CHANGE, at(1)) > 100);
}

#[test]
fn the_less_urgent_leave_a_reserve_in_what_is_shared_alone() {
    let mut quota = Quota::default();
    let reads = Key::reads("s");
    assert_eq!(burst(&mut quota, &reads, Urgency::Drift, at(0)), 100);
    assert_eq!(burst(&mut quota, &reads, Urgency::Waiting, at(0)), 20);
    assert_eq!(burst(&mut quota, &reads, Urgency::Retry, at(0)), 40);
    assert_eq!(burst(&mut quota, &reads, Urgency::Deletion, at(0)), 30);
    assert_eq!(burst(&mut quota, &reads, Urgency::Change, at(0)), 10);
    assert_eq!(burst(&mut quota, &patch("web")[2..], Urgency::Drift, at(0)), 9);
}

#[test]
fn full_buckets_are_forgotten() {
    let mut quota = Quota::default();
    for n in 0..3 * MANY {
        let now = at(60 * n as u64);
        ask(&mut quota, &patch(&format!("vm{n}")), CHANGE, now).expect("full");
    }
    assert!(quota.len() <= MANY, "{}", quota.len());
}

#[test]
fn what_is_closed_or_under_way_is_not_forgotten() {
    let mut quota = Quota::default();
    let closed = patch("closed");
    quota.close(&closed[2], Some(Duration::from_secs(3600)), at(0));
    let open = quota.take(&patch("open"), CHANGE, at(0)).expect("full");
    for n in 0..3 * MANY {
        ask(&mut quota, &patch(&format!("vm{n}")), CHANGE, at(n as u64)).expect("full");
    }
    quota.take(&closed, CHANGE, at(3500)).expect_err("closed");
    quota.lost(open, at(3500));
}

#[rstest]
#[case("Microsoft.Compute/UpdateVMResource", Some(Bucket::ResourceUpdates))]
#[case("HighCostGetVMScaleSetSubscriptionMaximum", Some(Bucket::ScaleSetLists))]
#[case("Microsoft.Compute/VmssQueuedVMOperations", None)]
#[case("Microsoft.Compute/LowCostGet3Min", None)]
fn policies_are_known_by_name(#[case] name: &str, #[case] bucket: Option<Bucket>) {
    assert_eq!(Bucket::of_policy(name), bucket);
}
