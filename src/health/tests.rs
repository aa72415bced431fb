use super::*;
use tokio::sync::Semaphore;

const SOON: Duration = Duration::from_millis(100);

fn health() -> Arc<Health> {
    Arc::new(Health::new(SOON))
}

fn machine(name: &'static str) -> Arc<dyn Display + Send + Sync> {
    Arc::new(name)
}

/// Waits for the clock of the pulses, which no test can stop.
async fn a_while() {
    tokio::time::sleep(SOON * 3).await;
}

#[tokio::test]
async fn a_visit_that_waits_for_nothing_is_stuck_and_is_forgotten_with_its_end() {
    let health = health();
    let visit = tokio::spawn(health.visit(machine("web"), std::future::pending::<()>()));
    while health.lost().is_empty() {
        tokio::time::sleep(SOON).await;
    }
    let lost = health.lost();
    assert_eq!(lost[0].what, "the visit to web");
    assert!(lost[0].how.starts_with("has not gone on for"), "{lost:?}");
    visit.abort();
    assert!(visit.await.is_err());
    assert_eq!(health.lost(), []);
}

#[tokio::test]
async fn what_said_how_long_it_may_wait_is_not_stuck_before() {
    let health = health();
    let visit = health.visit(machine("web"), async {
        may_take(Duration::from_secs(3600));
        may_take(Duration::from_secs(1));
        std::future::pending::<()>().await;
    });
    let _visit = tokio::spawn(visit);
    let _listener = tokio::spawn(health.listening("watch", std::future::pending::<()>()));
    a_while().await;
    assert_eq!(health.lost(), []);
}

#[tokio::test]
async fn who_stands_in_line_is_not_stuck_while_somebody_gets_on() {
    let health = health();
    let places = Arc::new(Semaphore::new(0));
    let waits = || {
        let places = places.clone();
        async move { in_line(places.acquire()).await.is_ok() }
    };
    let (one, two) = (health.visit(machine("one"), waits()), health.visit(machine("two"), waits()));
    let (one, two) = (tokio::spawn(one), tokio::spawn(two));
    let gets_on = tokio::spawn(health.visit(machine("three"), async {
        loop {
            tokio::time::sleep(SOON / 10).await;
        }
    }));
    a_while().await;
    assert_eq!(health.lost(), []);

    gets_on.abort();
    assert!(gets_on.await.is_err());
    while health.lost().is_empty() {
        tokio::time::sleep(SOON).await;
    }
    assert_eq!(health.lost()[0].what, "all 2 visits");
    places.add_permits(2);
    assert!(one.await.is_ok_and(|it| it) && two.await.is_ok_and(|it| it));
    assert_eq!(health.lost(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_does_not_end_is_found_whoever_it_is() {
    let health = health();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holds = tokio::spawn(health.listening("watch", async move { held.recv().is_err() }));
    while health.lost().is_empty() {
        tokio::time::sleep(SOON).await;
    }
    let lost = health.lost();
    assert!(lost[0].what == "the task watch" && lost[0].how.starts_with("has held a thread for"), "{lost:?}");
    drop(release);
    assert!(holds.await.is_ok_and(|it| it));
}

#[test]
fn what_the_cluster_lacks_lasts_from_its_first_sight() {
    let health = Health::new(SOON);
    assert!(health.saw_cluster(Ok(())));
    assert!(!health.saw_cluster(Err(ClusterTrouble::NoAnswer)));
    let since = health.cluster().as_ref().map(|(since, _)| *since);
    assert!(!health.saw_cluster(Err(ClusterTrouble::NotInstalled { what: "identitytargets" })));
    assert_eq!(health.cluster().as_ref().map(|(since, _)| *since), since);
    assert!(health.saw_cluster(Ok(())));
    assert!(health.cluster().is_none());
}
