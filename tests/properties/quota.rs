//! The budget against a bucket of ARM's that it does not know: whatever is under way, and whoever else spends.
use crate::arm_bucket::ArmBucket;
use lanyard_domain::Moment;
use lanyard_domain::pace::Urgency;
use lanyard_domain::quota::{Bucket, Key, Left, Quota, Receipt};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const CAPACITY: u64 = 250;
const PER_SECOND: u64 = 25;

fn at(millis: u64) -> Moment {
    Moment(Duration::from_millis(millis))
}

fn reads() -> Vec<Key> {
    Key::reads("00000000-0000-0000-0000-000000000001")
}

/// One moment of a run.
#[derive(Clone, Debug)]
struct Step {
    /// Milliseconds since the one before.
    after: u64,
    /// How many of ours want to leave.
    wanted: usize,
    /// How long they are on their way to ARM, and their answers on the way back.
    there: u64,
    back: u64,
    /// The answer is lost, and it may have arrived.
    lost: bool,
    /// What others would like to spend.
    others: u64,
}

fn step(longest: u64, others: impl Strategy<Value = u64>) -> impl Strategy<Value = Step> {
    let ways = (1..longest, 1..longest);
    let step = (0..250u64, 0..40usize, ways, prop::bool::weighted(0.01), others);
    step.prop_map(|(after, wanted, (there, back), lost, others)| Step { after, wanted, there, back, lost, others })
}

/// What happens when; of one moment, in the order in which it came about.
#[derive(Debug)]
enum Event {
    Step(Step),
    Arrives { receipt: Receipt, back: u64, lost: bool },
    Answered { receipt: Receipt, answer: Result<u32, u64> },
}

/// Our budget, ARM's bucket, and what is under way between them.
struct Run {
    quota: Quota,
    arm: ArmBucket,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    now: u64,
    /// What others may spend: a bucket of their own, where they keep to a part.
    others: Option<ArmBucket>,
    calls: u64,
}

impl Run {
    fn new(others: Option<ArmBucket>) -> Self {
        let (quota, arm) = (Quota::default(), ArmBucket::full(CAPACITY, PER_SECOND));
        Self { quota, arm, events: BTreeMap::new(), count: 0, now: 0, others, calls: 0 }
    }

    fn plan(&mut self, when: u64, event: Event) {
        self.count += 1;
        self.events.insert((when, self.count), event);
    }

    /// Nothing happens for so long.
    fn after(mut self, pause: u64) -> Self {
        self.now += pause;
        self
    }

    /// Goes on from where it is, until nothing is under way any more.
    fn run(mut self, steps: &[Step]) -> Self {
        let mut when = self.now;
        for step in steps {
            when += step.after;
            self.plan(when, Event::Step(step.clone()));
        }
        while let Some(((when, _), event)) = self.events.pop_first() {
            self.now = when;
            self.happens(event);
        }
        self
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Step(step) => {
                self.others_spend(step.others);
                for n in 0..step.wanted {
                    let Ok(receipt) = self.quota.take(&reads(), Urgency::Change, at(self.now)) else { break };
                    // Not all take the same time: answers overtake each other.
                    let late = (n as u64 * 7) % (step.there + step.back);
                    self.calls += 1;
                    let arrives = Event::Arrives { receipt, back: step.back + late, lost: step.lost };
                    self.plan(self.now + step.there + late, arrives);
                }
            }
            Event::Arrives { receipt, back, lost } => {
                let answer = self.arm.ask(self.now);
                if lost {
                    self.quota.lost(receipt, at(self.now));
                } else {
                    self.plan(self.now + back, Event::Answered { receipt, answer });
                }
            }
            Event::Answered { receipt, answer: Ok(left) } => {
                self.quota.answered(receipt, &[(Bucket::SubscriptionReads, Left::Exactly(left))], at(self.now));
            }
            Event::Answered { receipt, answer: Err(seconds) } => {
                self.quota.answered(receipt, &[], at(self.now));
                self.quota.close(&reads()[0], Some(Duration::from_secs(seconds)), at(self.now));
            }
        }
    }

    fn others_spend(&mut self, wanted: u64) {
        let may = |own: &mut ArmBucket| (0..wanted).take_while(|_| own.ask(self.now).is_ok()).count() as u64;
        let spent = self.others.as_mut().map_or(wanted, may);
        self.arm.drawn_by_others(self.now, spent);
    }

    /// What we believe that we could send at this moment.
    fn believed(&mut self) -> u64 {
        let mut quota = self.quota.clone();
        let taken = std::iter::from_fn(|| quota.take(&reads(), Urgency::Change, at(self.now)).ok());
        taken.count() as u64
    }
}

fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(200))]

    /// Others keep to their fifth: whatever the interleaving, nothing of ours is refused, though their whole fifth may
    /// go at once and we hear of it late.
    #[test]
    fn nothing_is_refused_while_others_keep_to_their_part(steps in prop::collection::vec(step(1500, 0..60u64), 200..400)) {
        let run = Run::new(Some(ArmBucket::full(CAPACITY / 5, PER_SECOND / 5))).run(&steps);
        prop_assert_eq!(run.arm.refused, 0, "of {}", run.calls);
    }

    /// Others spend far more than their part, up to nine tenths of all that flows in, by bursts: under one call in a
    /// thousand is refused.
    #[test]
    fn fewer_than_one_in_a_thousand_is_refused_whoever_else_spends(
        steps in prop::collection::vec(step(300, prop_oneof![3 => Just(0u64), 1 => 0..16u64]), 4000),
        greed in 1..=9u64,
    ) {
        let others = ArmBucket::full(20, PER_SECOND * greed / 10);
        let run = Run::new(Some(others)).run(&steps);
        prop_assert!(run.calls > 1000, "only {} calls", run.calls);
        prop_assert!(run.arm.refused * 1000 < run.calls, "{} of {}", run.arm.refused, run.calls);
    }

    /// What others drained while we were silent costs a handful of refusals, not all that wanted to leave.
    #[test]
    fn a_bucket_drained_in_silence_refuses_a_handful(
        steps in prop::collection::vec(step(300, Just(0u64)), 20..60),
        silence in 15_000..600_000u64,
        wanted in 20..200usize,
    ) {
        let mut run = Run::new(None).run(&steps);
        run = run.after(silence);
        run.arm.drawn_by_others(run.now, CAPACITY);
        let before = run.arm.refused;
        let first = Step { after: 0, wanted, there: 100, back: 100, lost: false, others: 0 };
        let again = Step { after: 150, ..first.clone() };
        let run = run.run(&[first, again.clone(), again.clone(), again]);
        prop_assert!(run.arm.refused - before <= 8, "{}", run.arm.refused - before);
    }

    /// While nobody else spends, what we believe is never more than there is. And whatever others took in silence, one
    /// answer is enough to know what is left, neither more nor less.
    #[test]
    fn what_is_believed_is_there_and_what_is_there_is_known(
        steps in prop::collection::vec(step(2000, Just(0u64)), 1..120),
        pause in 100..5_000u64,
        drawn in 0..CAPACITY,
    ) {
        let run = Run::new(None).run(&steps);
        prop_assert_eq!(run.arm.refused, 0);
        let quiet = Step { after: 0, wanted: 1, there: 1, back: 1, lost: false, others: 0 };
        let mut run = run.after(pause).run(std::slice::from_ref(&quiet));
        let (believed, spare) = (run.believed(), run.arm.left().saturating_sub(CAPACITY / 5));
        prop_assert!(believed <= spare, "{believed} of {spare}");

        let mut run = run.after(20_000);
        run.arm.drawn_by_others(run.now, drawn);
        let mut run = run.run(&[quiet]);
        let (believed, spare) = (run.believed(), run.arm.left().saturating_sub(CAPACITY / 5));
        prop_assert!(believed <= spare && believed + 1 >= spare.min(CAPACITY * 4 / 5 - 1), "{believed} of {spare}");
    }

    /// A person's changes find their reserve whatever the others want: those of a handful of people leave at once, and
    /// none waits for more than what flows in takes to fill up what the changes before it used.
    #[test]
    fn a_change_waits_for_no_number_of_less_urgent_callers(
        crowd in prop::collection::vec((0..400u64, 0..500usize, 1..5usize), 50..200),
        changes in 1..30usize,
    ) {
        let mut quota = Quota::default();
        let mut now = 0;
        let classes = [Urgency::Deletion, Urgency::Retry, Urgency::Waiting, Urgency::Drift];
        let ask = |quota: &mut Quota, urgency, now| match quota.take(&reads(), urgency, at(now)) {
            Ok(receipt) => { quota.answered(receipt, &[], at(now)); Ok(()) }
            Err(short) => Err(short.wait),
        };
        for (after, wanted, class) in crowd {
            now += after;
            for _ in 0..wanted {
                if ask(&mut quota, classes[class - 1], now).is_err() { break }
            }
        }
        let mut waited = Duration::ZERO;
        for nth in 0..changes {
            while let Err(wait) = ask(&mut quota, Urgency::Change, now) {
                prop_assert!(nth >= 10, "the first ten find their reserve");
                let millis = u64::try_from(wait.as_millis()).expect("short") + 1;
                waited += Duration::from_millis(millis);
                now += millis;
                // The crowd goes on all the while.
                for class in classes { while ask(&mut quota, class, now).is_ok() {} }
            }
        }
        let flows_in = Duration::from_millis(changes.saturating_sub(10) as u64 * (1000 / 20 + 2));
        prop_assert!(waited <= flows_in, "{waited:?} for {changes}");
    }
}
