use super::*;
use crate::arm::scripted::VM;
use lanyard_domain::TargetId;

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000001";

fn target(name: &str) -> TargetId {
    VM.replace("/web", &format!("/{name}")).parse().expect("an id")
}

fn limiter() -> Arc<Limiter> {
    Limiter::new(Share::default())
}

fn patch(name: &str) -> Vec<Key> {
    Key::update(&target(name))
}

/// Answered at once, nothing told.
async fn write(limiter: &Arc<Limiter>, name: &str, urgency: Urgency) -> Result<(), Short> {
    let mut taken = limiter.spend_in_turn(SUBSCRIPTION, &patch(name), urgency).await?;
    taken.leaves();
    taken.answered(&[]);
    Ok(())
}

/// Spends what the subscription has of writes.
async fn drain(limiter: &Arc<Limiter>) {
    for n in 0..160 {
        write(limiter, &format!("drain{n}"), Urgency::Change).await.expect("full at first");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bucket_closed_for_long_fails_at_once_with_what_remains() {
    let limiter = limiter();
    limiter.close(&patch("web")[2], Some(Duration::from_secs(30)));
    let begun = Instant::now();
    let short = limiter.spend(&patch("web"), Urgency::Change).await.err().expect("closed");
    assert_eq!((short.bucket, short.wait), (Bucket::ResourceUpdates, Duration::from_secs(30)));
    let short = write(&limiter, "web", Urgency::Change).await.expect_err("closed");
    assert_eq!((short.bucket, begun.elapsed()), (Bucket::ResourceUpdates, Duration::ZERO));
    write(&limiter, "other", Urgency::Change).await.expect("open");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_closed_for_a_moment_is_waited_for() {
    let limiter = limiter();
    let begun = Instant::now();
    limiter.close(&patch("web")[2], Some(Duration::from_millis(1500)));
    drop(limiter.spend(&patch("web"), Urgency::Change).await.expect("open after a moment"));
    assert!(begun.elapsed() >= Duration::from_millis(1500) && begun.elapsed() < Duration::from_millis(1600));
}

#[tokio::test(start_paused = true)]
async fn writes_go_in_the_order_of_urgency_and_arrival() {
    let limiter = limiter();
    drain(&limiter).await;
    let order: Mutex<Vec<&str>> = Mutex::default();
    let one = async |name: &'static str, urgency, comes: u64| {
        tokio::time::sleep(Duration::from_micros(comes)).await;
        write(&limiter, name, urgency).await.expect("in time");
        order.lock().expect("no panic").push(name);
    };
    let (change, retry) = (Urgency::Change, Urgency::Deletion);
    tokio::join!(
        one("late-deletion", retry, 40),
        one("first-change", change, 10),
        one("deletion", retry, 0),
        one("second-change", change, 20),
        one("third-change", change, 30),
    );
    let order = order.lock().expect("no panic");
    assert_eq!(*order, ["first-change", "second-change", "third-change", "deletion", "late-deletion"]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_would_come_too_late_is_said_so_at_once() {
    let limiter = limiter();
    drain(&limiter).await;
    let begun = Instant::now();
    let many = (0..100).map(|n| {
        let limiter = limiter.clone();
        async move { write(&limiter, &format!("vm{n}"), Urgency::Change).await.map_err(|short| (short, Instant::now())) }
    });
    let ends = futures::future::join_all(many).await;
    let (got, refused): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    assert!((79..=81).contains(&got.len()), "8 a second, for 10 s: {}", got.len());
    assert!(begun.elapsed() <= LONGEST_TURN + Duration::from_millis(200), "{:?}", begun.elapsed());
    for end in refused {
        let (short, when) = end.expect_err("refused");
        assert_eq!((short.bucket, when), (Bucket::SubscriptionWrites, begun));
        assert!(short.wait > LONGEST_TURN && short.wait < Duration::from_secs(13), "{short:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_delays_no_other_subscription_and_no_machine_holds_up_its_line() {
    let limiter = limiter();
    limiter.close(&patch("web")[2], Some(Duration::from_secs(5)));
    let begun = Instant::now();
    let waiting = write(&limiter, "web", Urgency::Change);
    let other = async {
        write(&limiter, "other", Urgency::Drift).await.expect("open");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    };
    tokio::join!(async { waiting.await.expect("after 5 s") }, other);
    assert_eq!(begun.elapsed().as_secs(), 5);
    drain_and_ask_elsewhere(&limiter).await;
}

async fn drain_and_ask_elsewhere(limiter: &Arc<Limiter>) {
    limiter.close(&Key::writes(SUBSCRIPTION)[0], Some(Duration::from_secs(3600)));
    let begun = Instant::now();
    let elsewhere: TargetId = VM.replace(SUBSCRIPTION, &SUBSCRIPTION.replace('1', "2")).parse().expect("an id");
    let keys = Key::update(&elsewhere);
    drop(limiter.spend_in_turn(elsewhere.subscription(), &keys, Urgency::Drift).await.expect("open"));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let short = write(limiter, "third", Urgency::Change).await.expect_err("closed for an hour");
    assert_eq!((short.wait, begun.elapsed()), (Duration::from_secs(3600), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_given_back_to_whoever_waits() {
    let (limiter, keys) = (limiter(), patch("web"));
    let narrow = &keys[2..];
    let mut held = Vec::new();
    while let Ok(taken) = limiter.take(narrow, Urgency::Change) {
        held.push(taken);
    }
    assert_eq!(held.len(), 9);
    let short = limiter.spend_in_turn(SUBSCRIPTION, &keys, Urgency::Change).await.err().expect("nine of nine");
    assert_eq!(short.bucket, Bucket::ResourceUpdates);
    drop(held);
    let begun = Instant::now();
    drop(limiter.spend_in_turn(SUBSCRIPTION, &keys, Urgency::Change).await.expect("given back"));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_lets_the_next_one_go() {
    let limiter = limiter();
    drain(&limiter).await;
    let first = timeout(Duration::from_millis(1), write(&limiter, "gone", Urgency::Change));
    let (first, second) = tokio::join!(first, write(&limiter, "next", Urgency::Change));
    assert!(first.is_err(), "given up");
    second.expect("its turn");
}

#[tokio::test(start_paused = true)]
async fn reads_that_changes_under_way_will_need_are_held_back_up_to_half_of_what_there_is() {
    let limiter = Limiter::new(Share::default());
    let waits = |limiter: &Limiter| limiter.owed("s");
    limiter.owe("s", |count| count + 2);
    assert_eq!((waits(&limiter), limiter.owed("another")), (2, 0));
    limiter.owe("s", |count| count + 1_000);
    assert_eq!(waits(&limiter), 100);
    limiter.owe("s", |_| 0);
    assert_eq!(waits(&limiter), 0);
}
