//! The queue: 10,000 machines of 50 subscriptions and 100 namespaces, put on it and taken from it.
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lanyard_domain::Moment;
use lanyard_domain::order::{Bounds, Scheduler, Target, Turn};
use lanyard_domain::pace::Urgency;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    divan::main();
}

const MACHINES: usize = 10_000;

fn fleet() -> Vec<(Target, String)> {
    let target = |number: usize| {
        let subscription = number % 50;
        let id = format!(
            "/subscriptions/00000000-0000-0000-0000-{subscription:012}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/vm{number}"
        );
        id.parse().map(Arc::new).ok()
    };
    (0..MACHINES).filter_map(|number| Some((target(number)?, format!("team-{}", number % 100)))).collect()
}

#[divan::bench]
fn push_pop_done(bencher: Bencher) {
    let fleet = fleet();
    bencher.counter(ItemsCount::new(MACHINES)).bench(|| {
        let mut scheduler = Scheduler::new(Bounds::of(64));
        let now = Moment(Duration::from_secs(1));
        for (target, namespace) in &fleet {
            scheduler.push(now, target.clone(), Urgency::Change, Some(namespace));
        }
        while let Turn::Visit(target, _) = scheduler.pop(now, |_, _| Duration::ZERO) {
            scheduler.done(now, black_box(&target), Some((now.after(Duration::from_secs(600)), Urgency::Drift)));
        }
        scheduler
    });
}

/// As a page of a list does for each machine that it shows at rest.
#[divan::bench]
fn defer(bencher: Bencher) {
    let fleet = fleet();
    let mut scheduler = Scheduler::new(Bounds::of(64));
    for (target, _) in &fleet {
        scheduler.later(target, Moment(Duration::from_secs(600)), Urgency::Drift);
    }
    let mut at = Duration::from_secs(600);
    bencher.counter(ItemsCount::new(MACHINES)).bench_local(|| {
        at += Duration::from_secs(1);
        for (target, _) in &fleet {
            black_box(scheduler.defer(target, Moment(at)));
        }
    });
}
