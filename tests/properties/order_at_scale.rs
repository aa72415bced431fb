//! The scheduler alone, in virtual time, with ARM's buckets as gates: a mass change of the whole fleet, and a person who
//! changes a machine of another namespace every second.
use lanyard_domain::Moment;
use lanyard_domain::order::{Bounds, Scheduler, Target, Turn};
use lanyard_domain::pace::Urgency;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Four fifths of what ARM grants a subscription: so many at once, then so many a second.
const READS: (f64, f64) = (200.0, 20.0);
const WRITES: (f64, f64) = (160.0, 8.0);
/// The read before the write, and one or two after it: half of the operations on VMs have ended by the first.
const READS_A_CHANGE: f64 = 2.5;
const SLOTS: usize = 64;
/// What a visit is busy with before its PATCH is accepted, and after its operation.
const BEFORE: Duration = Duration::from_millis(30);
const AFTER: Duration = Duration::from_millis(15);
/// Of VMs: half end within 4.7 s, 95% within 12.6 s.
const OPERATIONS: [u64; 8] = [3_600, 3_900, 4_300, 4_700, 4_700, 5_500, 7_800, 12_600];

fn target(subscription: usize, name: &str) -> Target {
    let id = format!(
        "/subscriptions/00000000-0000-0000-0000-{subscription:012}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/{name}"
    );
    Arc::new(id.parse().expect("an id"))
}

fn fleet(size: usize, subscriptions: usize) -> Vec<Target> {
    (0..size).map(|number| target(number % subscriptions, &format!("vm{number}"))).collect()
}

/// A token bucket whose tokens are spent when a visit begins, for all that the visit will ask.
struct Bucket {
    burst: f64,
    rate: f64,
    tokens: f64,
    at: Moment,
}

impl Bucket {
    fn new((burst, rate): (f64, f64)) -> Self {
        Self { burst, rate, tokens: burst, at: Moment::default() }
    }

    fn level(&self, now: Moment) -> f64 {
        (self.tokens + now.since(self.at).as_secs_f64() * self.rate).min(self.burst)
    }

    fn opens_in(&self, cost: f64, now: Moment) -> Duration {
        let lacks = cost - self.level(now);
        if lacks <= 1e-6 { Duration::ZERO } else { Duration::from_secs_f64(lacks / self.rate) }
    }

    fn spend(&mut self, cost: f64, now: Moment) {
        (self.tokens, self.at) = (self.level(now) - cost, now);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Accepted,
    OperationEnds,
    VisitEnds,
    PersonChanges,
    Wake,
}

/// When, in which order of those of one moment, and what happens to whom.
type Scheduled = (Moment, u64, Event, Option<Target>);

struct Run {
    now: Moment,
    scheduler: Scheduler,
    buckets: HashMap<String, (Bucket, Bucket)>,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    wakes_at: Option<Moment>,
    slots: usize,
    /// When a person asked for a machine that has not had its turn.
    asked: HashMap<Target, Moment>,
    latencies: Vec<Duration>,
    visits: HashMap<Target, u32>,
    last_write: Moment,
    persons: usize,
    calls: u64,
}

impl Run {
    fn new(fleet: &[Target]) -> Self {
        let mut run = Self {
            now: Moment::default(),
            scheduler: Scheduler::new(Bounds::of(SLOTS)),
            buckets: HashMap::new(),
            events: BinaryHeap::new(),
            scheduled: 0,
            wakes_at: None,
            slots: SLOTS,
            asked: HashMap::new(),
            latencies: Vec::new(),
            visits: HashMap::new(),
            last_write: Moment::default(),
            persons: 0,
            calls: 0,
        };
        for machine in fleet {
            let buckets = || (Bucket::new(READS), Bucket::new(WRITES));
            run.buckets.entry(machine.subscription().to_owned()).or_insert_with(buckets);
            run.scheduler.push(run.now, machine.clone(), Urgency::Change, Some("many"));
            run.calls += 1;
        }
        run
    }

    fn at(&mut self, pause: Duration, event: Event, target: Option<Target>) {
        self.scheduled += 1;
        self.events.push(Reverse((self.now.after(pause), self.scheduled, event, target)));
    }

    /// Runs until the mass change is through.
    fn until_done(mut self, fleet: usize, subscriptions: usize) -> Self {
        self.begin_visits();
        self.at(Duration::from_secs(1), Event::PersonChanges, None);
        while let Some(Reverse((at, _, event, target))) = self.events.pop() {
            self.now = at;
            self.calls += 1;
            match (event, target) {
                (Event::Accepted, Some(target)) => self.accepted(target),
                (Event::OperationEnds, Some(target)) => {
                    self.scheduler.resumed(&target);
                    self.at(AFTER, Event::VisitEnds, Some(target));
                }
                (Event::VisitEnds, Some(target)) => self.scheduler.done(self.now, &target, None),
                (Event::PersonChanges, _) if self.visits.len() < fleet + self.persons => {
                    self.person_changes(subscriptions);
                }
                (Event::Wake, _) => self.wakes_at = None,
                (_, _) => {}
            }
            self.begin_visits();
        }
        self
    }

    fn accepted(&mut self, target: Target) {
        self.scheduler.parked(&target);
        self.slots += 1;
        let millis = OPERATIONS[usize::try_from(self.scheduled).unwrap_or_default() % OPERATIONS.len()];
        self.at(Duration::from_millis(millis), Event::OperationEnds, Some(target));
    }

    fn person_changes(&mut self, subscriptions: usize) {
        let machine = target(self.persons % subscriptions, &format!("own{}", self.persons));
        self.persons += 1;
        self.asked.insert(machine.clone(), self.now);
        self.scheduler.push(self.now, machine, Urgency::Change, Some("few"));
        self.at(Duration::from_secs(1), Event::PersonChanges, None);
    }

    fn begin_visits(&mut self) {
        while self.slots > 0 {
            let (now, buckets) = (self.now, &self.buckets);
            let gate = |subscription: &str, _: Urgency| {
                let (reads, writes) = &buckets[subscription];
                reads.opens_in(READS_A_CHANGE, now).max(writes.opens_in(1.0, now))
            };
            self.calls += 1;
            match self.scheduler.pop(now, gate) {
                Turn::Visit(target, _) => self.begin(target),
                Turn::Wait(Some(at)) if self.wakes_at.is_none_or(|known| at < known) => {
                    self.wakes_at = Some(at);
                    return self.at(at.since(now), Event::Wake, None);
                }
                Turn::Wait(_) => return,
            }
        }
    }

    fn begin(&mut self, target: Target) {
        if let Some((reads, writes)) = self.buckets.get_mut(target.subscription()) {
            reads.spend(READS_A_CHANGE, self.now);
            writes.spend(1.0, self.now);
        }
        self.slots -= 1;
        *self.visits.entry(target.clone()).or_default() += 1;
        if let Some(asked) = self.asked.remove(&target) {
            self.latencies.push(self.now.since(asked));
        } else {
            self.last_write = self.now;
        }
        self.at(BEFORE, Event::Accepted, Some(target));
    }

    fn latency(&self, share: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let nth = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(nth).copied().unwrap_or_default()
    }
}

/// When the last write may leave at the earliest, if every subscription has as many changes.
#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn bound(fleet: usize, persons: usize, subscriptions: usize) -> f64 {
    let each = (fleet + persons) as f64 / subscriptions as f64;
    let reads = (each * READS_A_CHANGE - READS.0) / READS.1;
    let writes = (each - WRITES.0) / WRITES.1;
    reads.max(writes)
}

fn run(size: usize, subscriptions: usize) -> (Run, f64) {
    let run = Run::new(&fleet(size, subscriptions)).until_done(size, subscriptions);
    assert_eq!(run.visits.len(), size + run.persons, "nobody is lost");
    assert!(run.visits.values().all(|visits| *visits == 1), "and nobody is visited twice");
    assert!(run.asked.is_empty() && run.latencies.len() == run.persons);
    let ratio = run.last_write.0.as_secs_f64() / bound(size, run.persons, subscriptions);
    (run, ratio)
}

#[test]
fn a_mass_change_takes_what_the_buckets_allow_and_delays_no_one_elses_change() {
    let (run, ratio) = run(4_000, 10);
    assert!(ratio < 1.05, "{ratio} times the bound");
    let (median, slowest) = (run.latency(50), run.latency(100));
    assert!(median < Duration::from_millis(500) && slowest < Duration::from_secs(1), "{median:?}, {slowest:?}");
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn bytes_each(fleet: &[Target], put: impl Fn(&mut Scheduler, &Target)) -> u64 {
    let before = resident();
    let mut scheduler = Scheduler::new(Bounds::of(SLOTS));
    for target in fleet {
        put(&mut scheduler, target);
    }
    resident().saturating_sub(before) / fleet.len() as u64
}

/// Prints the table of docs/scaling.md.
#[test]
#[ignore = "a table of 100,000 targets, not a check"]
fn at_scale() {
    let all = fleet(100_000, 50);
    let idle = bytes_each(&all, |scheduler, target| {
        scheduler.later(target, Moment(Duration::from_millis(target.name().len() as u64)), Urgency::Drift);
    });
    let due = bytes_each(&all, |scheduler, target| {
        scheduler.push(Moment::default(), target.clone(), Urgency::Change, Some("many"));
    });
    println!("bytes a target in the scheduler: {idle} while it is due later, {due} while it is due");
    println!(
        "| targets | subscriptions | last write after | the buckets' bound | ratio | a person's change: p50 | p99 | slowest | scheduler calls a second |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (size, subscriptions) in [(1_000, 1), (10_000, 10), (10_000, 50), (100_000, 50)] {
        let begun = Instant::now();
        let (run, ratio) = run(size, subscriptions);
        let took = begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let pace = run.calls as f64 / took;
        let after = run.last_write.0.as_secs_f64();
        println!(
            "| {size} | {subscriptions} | {after:.1} s | {:.1} s | {ratio:.3} | {:?} | {:?} | {:?} | {pace:.0} |",
            bound(size, run.persons, subscriptions),
            run.latency(50),
            run.latency(99),
            run.latency(100),
        );
    }
}
