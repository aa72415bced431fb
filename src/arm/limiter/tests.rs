use super::*;

fn target(name: &str) -> TargetId {
    format!("/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}")
        .parse()
        .expect("an id")
}

fn patch(name: &str) -> [Key; 2] {
    [Key::writes(&target(name)), Key::updates(&target(name))]
}

/// How many may be sent at this moment.
fn burst(levels: &mut Levels, keys: &[Key], now: Instant) -> usize {
    std::iter::from_fn(|| levels.take(keys, now).is_none().then_some(())).take(1000).count()
}

#[test]
fn four_fifths_of_a_bucket_are_spent_and_refilled_at_arms_pace() {
    let (mut levels, begin) = (Levels::default(), Instant::now());
    assert_eq!(burst(&mut levels, &patch("web"), begin), 9, "of 12");
    assert_eq!(
        burst(&mut levels, &patch("web"), begin + Duration::from_secs(60)),
        3,
        "of 4 a minute, and what was left"
    );
    assert_eq!(burst(&mut levels, &patch("web"), begin + Duration::from_secs(3600)), 9, "never more than full");
}

#[test]
fn one_targets_bucket_delays_nothing_else() {
    let (mut levels, now) = (Levels::default(), Instant::now());
    burst(&mut levels, &patch("web"), now);
    assert!(burst(&mut levels, &patch("other"), now) > 0);
    assert!(burst(&mut levels, &[Key::reads(&target("web")), Key::gets(&target("web"))], now) > 0);
}

#[test]
fn a_subscriptions_bucket_is_shared_by_its_targets_and_a_refusal_costs_nothing() {
    let (mut levels, now) = (Levels::default(), Instant::now());
    let sent: usize = (0..100).map(|n| burst(&mut levels, &patch(&format!("vm{n}")), now)).sum();
    assert_eq!(sent, 160, "of 200");
    assert_eq!(burst(&mut levels, &[Key::updates(&target("vm99"))], now), 9, "the last target's own is still full");
}

#[tokio::test]
async fn a_bucket_closed_for_long_fails_at_once_with_what_remains() {
    let limiter = Limiter::default();
    limiter.close(&patch("web")[1], Duration::from_secs(30));
    let closed = limiter.spend(&patch("web")).await.expect_err("closed");
    assert_eq!(closed.bucket, Bucket::ResourceUpdates);
    assert!(closed.remaining > Duration::from_secs(28) && closed.remaining <= Duration::from_secs(30), "{closed:?}");
    limiter.spend(&patch("other")).await.expect("open");
}

#[tokio::test]
async fn a_bucket_closed_for_a_moment_is_waited_for() {
    let limiter = Limiter::default();
    let begin = Instant::now();
    limiter.close(&patch("web")[1], Duration::from_millis(50));
    limiter.spend(&patch("web")).await.expect("open after a moment");
    assert!(begin.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_shorter_pause_does_not_open_a_bucket_and_none_is_absurd() {
    let limiter = Limiter::default();
    let key = &patch("web")[1];
    assert_eq!(limiter.close(key, Duration::from_secs(86_400 * 365)), LONGEST_PAUSE);
    limiter.close(key, Duration::from_secs(1));
    let closed = limiter.with(|levels| levels.take(&patch("web"), Instant::now())).expect("closed");
    assert!(closed.remaining > Duration::from_secs(3000));
}

#[test]
fn full_buckets_are_forgotten() {
    let (mut levels, begin) = (Levels::default(), Instant::now());
    for n in 0..3 * MANY {
        let now = begin + Duration::from_secs(60 * n as u64);
        assert!(levels.take(&patch(&format!("vm{n}")), now).is_none());
    }
    assert!(levels.levels.len() <= 2 * MANY, "{}", levels.levels.len());
}
