//! What holds of the order of visits, whatever comes in and whenever: held against a reference that looks at everything.
use lanyard_domain::Moment;
use lanyard_domain::order::{Bounds, Scheduler, Target, Turn};
use lanyard_domain::pace::Urgency;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const URGENCIES: [Urgency; 5] = [Urgency::Change, Urgency::Deletion, Urgency::Retry, Urgency::Waiting, Urgency::Drift];
const SLOTS: usize = 16;
/// Of 16 slots a subscription may have two busy, none of which is kept.
const MAY_BE_BUSY: usize = 2;

fn target(subscription: usize, number: usize) -> Target {
    let id = format!(
        "/subscriptions/00000000-0000-0000-0000-00000000000{subscription}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm{number}"
    );
    Arc::new(id.parse().expect("an id"))
}

#[derive(Clone, Debug)]
enum Act {
    Push { target: (usize, usize), urgency: Urgency, namespace: usize },
    Later { target: (usize, usize), urgency: Urgency, seconds: u64 },
    Defer { target: (usize, usize), seconds: u64 },
    Pop,
    Done { nth: usize, next: Option<(u64, Urgency)> },
    Park { nth: usize },
    Resume { nth: usize },
    Shut { subscription: usize, urgency: Urgency, seconds: u64 },
    Pass { seconds: u64 },
}

fn urgency() -> impl Strategy<Value = Urgency> {
    proptest::sample::select(&URGENCIES[..])
}

fn act() -> impl Strategy<Value = Act> {
    let target = || (0..3usize, 0..4usize);
    let next = proptest::option::of((0..40u64, urgency()));
    prop_oneof![
        6 => (target(), urgency(), 0..3usize)
            .prop_map(|(target, urgency, namespace)| Act::Push { target, urgency, namespace }),
        2 => (target(), urgency(), 0..40u64)
            .prop_map(|(target, urgency, seconds)| Act::Later { target, urgency, seconds }),
        2 => (target(), 0..80u64).prop_map(|(target, seconds)| Act::Defer { target, seconds }),
        8 => Just(Act::Pop),
        4 => (0..8usize, next).prop_map(|(nth, next)| Act::Done { nth, next }),
        2 => (0..8usize).prop_map(|nth| Act::Park { nth }),
        2 => (0..8usize).prop_map(|nth| Act::Resume { nth }),
        2 => (0..3usize, urgency(), 1..30u64)
            .prop_map(|(subscription, urgency, seconds)| Act::Shut { subscription, urgency, seconds }),
        2 => (1..20u64).prop_map(|seconds| Act::Pass { seconds }),
    ]
}

/// One target as the reference knows it.
#[derive(Clone, Debug, Default)]
struct Known {
    ready: Option<Urgency>,
    later: Option<(Moment, Urgency)>,
    /// Under way: whether it waits for an operation, and what came in.
    visit: Option<(bool, Option<Urgency>)>,
}

/// Says what may be visited by looking at every target.
#[derive(Default)]
struct Reference {
    now: Moment,
    known: BTreeMap<Target, Known>,
    shut: BTreeMap<(String, Urgency), Moment>,
}

impl Reference {
    fn get(&mut self, target: &Target) -> &mut Known {
        self.known.entry(target.clone()).or_default()
    }

    fn push(&mut self, target: &Target, urgency: Urgency) {
        let known = self.get(target);
        if let Some((_, again)) = &mut known.visit {
            *again = Some(again.map_or(urgency, |before| before.min(urgency)));
            return;
        }
        known.ready = Some(known.ready.map_or(urgency, |before| before.min(urgency)));
        let ready = known.ready;
        known.later = known.later.filter(|(_, later)| Some(*later) < ready);
    }

    fn later(&mut self, target: &Target, at: Moment, urgency: Urgency) {
        let known = self.get(target);
        let ready = known.ready.is_some_and(|ready| ready <= urgency);
        if !ready && known.visit.is_none() && known.later.is_none_or(|(before, _)| at < before) {
            known.later = Some((at, urgency));
        }
    }

    fn defer(&mut self, target: &Target, at: Moment) -> bool {
        let known = self.get(target);
        let looks = [known.ready, known.later.map(|(_, urgency)| urgency)];
        let Some(urgency) = looks.into_iter().flatten().min() else { return false };
        let nearer = known.ready.is_none() && known.later.is_some_and(|(before, _)| before >= at);
        if known.visit.is_some() || urgency < Urgency::Waiting || nearer {
            return false;
        }
        *known = Known { later: Some((at, urgency)), ..Known::default() };
        true
    }

    fn fall_due(&mut self) {
        let due: Vec<(Target, Urgency)> = self
            .known
            .iter()
            .filter_map(|(target, known)| Some((target.clone(), known.later.filter(|(at, _)| *at <= self.now)?.1)))
            .collect();
        for (target, urgency) in due {
            self.get(&target).later = None;
            self.push(&target, urgency);
        }
    }

    fn busy(&self, subscription: &str) -> usize {
        let here = self.known.iter().filter(|(target, _)| target.subscription() == subscription);
        here.filter(|(_, known)| known.visit.is_some_and(|(parked, _)| !parked)).count()
    }

    fn gate(&self, subscription: &str, urgency: Urgency) -> Duration {
        let until = self.shut.get(&(subscription.to_owned(), urgency));
        until.map_or(Duration::ZERO, |until| until.since(self.now))
    }

    /// The class that goes first among those that may go at all.
    fn first_class(&self) -> Option<Urgency> {
        let may_go = |target: &Target, urgency| {
            let subscription = target.subscription();
            self.gate(subscription, urgency).is_zero() && self.busy(subscription) < MAY_BE_BUSY
        };
        let ready = self.known.iter().filter_map(|(target, known)| Some((target, known.ready?)));
        ready.filter(|(target, urgency)| may_go(target, *urgency)).map(|(_, urgency)| urgency).min()
    }

    fn under_way(&self, nth: usize) -> Option<Target> {
        let all: Vec<_> = self.known.iter().filter(|(_, known)| known.visit.is_some()).collect();
        all.get(nth).map(|(target, _)| (*target).clone())
    }
}

struct World {
    scheduler: Scheduler,
    reference: Reference,
}

impl World {
    fn new() -> Self {
        Self { scheduler: Scheduler::new(Bounds::of(SLOTS)), reference: Reference::default() }
    }

    fn after(&self, seconds: u64) -> Moment {
        self.reference.now.after(Duration::from_secs(seconds))
    }

    fn act(&mut self, act: &Act) {
        let now = self.reference.now;
        match act {
            Act::Push { target: (subscription, number), urgency, namespace } => {
                let (target, namespace) = (target(*subscription, *number), format!("team-{namespace}"));
                self.scheduler.push(now, target.clone(), *urgency, Some(&namespace));
                self.reference.push(&target, *urgency);
            }
            Act::Later { target: (subscription, number), urgency, seconds } => {
                let (target, at) = (target(*subscription, *number), self.after(*seconds));
                self.scheduler.later(&target, at, *urgency);
                self.reference.later(&target, at, *urgency);
            }
            Act::Defer { target: (subscription, number), seconds } => {
                let (target, at) = (target(*subscription, *number), self.after(*seconds));
                assert_eq!(self.scheduler.defer(&target, at), self.reference.defer(&target, at));
            }
            Act::Pop => {
                self.pop();
            }
            Act::Done { nth, next } => self.done(*nth, *next),
            Act::Park { nth } => self.park(*nth, true),
            Act::Resume { nth } => self.park(*nth, false),
            Act::Shut { subscription, urgency, seconds } => {
                let key = (target(*subscription, 0).subscription().to_owned(), *urgency);
                let until = self.after(*seconds);
                // A gate that is shut opens when it said, not later.
                if self.reference.shut.get(&key).is_none_or(|until| *until <= now) {
                    self.reference.shut.insert(key, until);
                }
            }
            Act::Pass { seconds } => self.reference.now = self.after(*seconds),
        }
    }

    fn pop(&mut self) -> Option<Target> {
        self.reference.fall_due();
        let (now, expected) = (self.reference.now, self.reference.first_class());
        let turn = self.scheduler.pop(now, |subscription, urgency| self.reference.gate(subscription, urgency));
        match turn {
            Turn::Visit(target, urgency) => {
                assert_eq!(Some(urgency), expected, "the first class that may go");
                let known = self.reference.get(&target);
                assert!(known.visit.is_none(), "never two visits of {target} at once");
                assert_eq!(known.ready, Some(urgency), "what was asked for");
                *known = Known { visit: Some((false, None)), ..Known::default() };
                let busy = self.reference.busy(target.subscription());
                assert_eq!(self.scheduler.busy(target.subscription()), busy);
                Some(target)
            }
            Turn::Wait(until) => {
                assert_eq!(expected, None, "somebody may go");
                self.assert_wakes(until);
                None
            }
        }
    }

    /// Whoever sleeps until then misses nothing.
    fn assert_wakes(&self, until: Option<Moment>) {
        let later = self.reference.known.values().filter_map(|known| Some(known.later?.0));
        let shut = self.reference.known.iter().filter_map(|(target, known)| {
            let until = self.reference.shut.get(&(target.subscription().to_owned(), known.ready?))?;
            let may = self.reference.busy(target.subscription()) < MAY_BE_BUSY;
            (may && *until > self.reference.now).then_some(*until)
        });
        if let Some(first) = later.chain(shut).min() {
            assert!(until.is_some_and(|until| until <= first), "{until:?} is later than {first:?}");
        }
    }

    fn done(&mut self, nth: usize, next: Option<(u64, Urgency)>) {
        let Some(target) = self.reference.under_way(nth) else { return };
        let next = next.map(|(seconds, urgency)| (self.after(seconds), urgency));
        self.scheduler.done(self.reference.now, &target, next);
        let again = self.reference.get(&target).visit.take().and_then(|(_, again)| again);
        if let Some(urgency) = again {
            self.reference.push(&target, urgency);
        }
        if let Some((at, urgency)) = next {
            self.reference.later(&target, at, urgency);
        }
    }

    fn park(&mut self, nth: usize, parks: bool) {
        let Some(target) = self.reference.under_way(nth) else { return };
        if parks {
            self.scheduler.parked(&target);
        } else {
            self.scheduler.resumed(&target);
        }
        if let Some((parked, _)) = &mut self.reference.get(&target).visit {
            *parked = parks;
        }
    }

    /// Everything ends and every gate opens: whoever is owed a visit gets it.
    fn run_out(&mut self) -> BTreeSet<Target> {
        let mut visited = BTreeSet::new();
        self.reference.now = self.after(1_000);
        loop {
            while self.reference.under_way(0).is_some() {
                self.done(0, None);
            }
            match self.pop() {
                Some(target) => visited.insert(target),
                None => return visited,
            };
        }
    }
}

proptest! {
    /// Nobody is visited twice at once, nobody is lost, classes go strictly among those that may go, a gate that is shut
    /// and a subscription that is full hold up nobody else, and whoever sleeps until told wakes in time.
    #[test]
    fn the_order_of_visits_is_that_of_the_reference(acts in proptest::collection::vec(act(), 1..120)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        let reference = &world.reference;
        let owed = |known: &Known| {
            known.ready.is_some() || known.later.is_some() || known.visit.is_some_and(|(_, again)| again.is_some())
        };
        let owed: BTreeSet<Target> =
            reference.known.iter().filter(|(_, known)| owed(known)).map(|(target, _)| target.clone()).collect();
        prop_assert_eq!(world.run_out(), owed);
    }

    /// Of two that both wait, neither is served twice while the other is not once, but for the few turns that who comes
    /// anew has before its time: between namespaces of a subscription, and between subscriptions. Who comes in waits for
    /// so many turns of each other at most.
    #[test]
    fn flows_that_wait_take_turns(
        arrivals in proptest::collection::vec(proptest::option::weighted(0.6, 0..4usize), 1..200),
        backlog in proptest::collection::vec(0..40usize, 4),
        by_subscription in any::<bool>(),
    ) {
        let mut flows = Flows::new(by_subscription);
        for (flow, count) in backlog.iter().enumerate() {
            for _ in 0..*count {
                flows.push(flow);
            }
        }
        for arrival in &arrivals {
            match arrival {
                Some(flow) => flows.push(*flow),
                None => flows.serve(),
            }
        }
        while flows.waiting.iter().any(|count| *count > 0) {
            flows.serve();
        }
    }
}

/// Turns that a namespace has before it is new no more.
const AT_FIRST: i64 = 8;

/// Four flows, and what they were served since two of them both wait.
struct Flows {
    scheduler: Scheduler,
    by_subscription: bool,
    pushed: usize,
    waiting: [usize; 4],
    /// By pair: how much more the first was served than the second, since both wait.
    ahead: BTreeMap<(usize, usize), i64>,
    /// Turns of others since a flow that had nothing came in.
    patience: [Option<i64>; 4],
}

impl Flows {
    fn new(by_subscription: bool) -> Self {
        let scheduler = Scheduler::new(Bounds::of(SLOTS));
        Self { scheduler, by_subscription, pushed: 0, waiting: [0; 4], ahead: BTreeMap::new(), patience: [None; 4] }
    }

    fn push(&mut self, flow: usize) {
        self.pushed += 1;
        let target = target(if self.by_subscription { flow } else { 0 }, self.pushed * 10 + flow);
        let namespace = format!("team-{}", if self.by_subscription { 0 } else { flow });
        self.scheduler.push(Moment::default(), target, Urgency::Change, Some(&namespace));
        if self.waiting[flow] == 0 {
            self.patience[flow] = Some(0);
        }
        self.waiting[flow] += 1;
    }

    fn serve(&mut self) {
        let Turn::Visit(target, _) = self.scheduler.pop(Moment::default(), |_, _| Duration::ZERO) else {
            assert_eq!(self.waiting, [0; 4], "somebody waits");
            return;
        };
        self.scheduler.done(Moment::default(), &target, None);
        let flow = target.name().bytes().last().map(|digit| usize::from(digit - b'0')).expect("a digit");
        let both = |other: &usize| *other != flow && self.waiting[*other] > 0;
        for other in (0..4).filter(both) {
            let (pair, sign) = if flow < other { ((flow, other), 1) } else { ((other, flow), -1) };
            let ahead = self.ahead.entry(pair).or_default();
            *ahead += sign;
            assert!(ahead.abs() <= 1 + AT_FIRST, "{flow} was served again and again before {other}");
        }
        self.waiting[flow] -= 1;
        if self.waiting[flow] == 0 {
            self.ahead.retain(|(one, two), _| *one != flow && *two != flow);
        }
        self.patience[flow] = None;
        for turns in self.patience.iter_mut().flatten() {
            *turns += 1;
            assert!(*turns <= 3 * (1 + AT_FIRST), "a few turns of each of the others");
        }
    }
}
