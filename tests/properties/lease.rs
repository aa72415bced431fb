//! Of several candidates no two ever believe that they lead: whatever is delayed, lost or delivered late, whoever is
//! stopped for how long, with clocks whose rates differ by up to a third.
use lanyard_domain::Moment;
use lanyard_domain::lease::{Candidate, LEASE_FOR, Lease, Step};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A candidate without a request under way begins one: to renew, to take over, or to look.
    Act(usize),
    /// It does so, and all goes well.
    Round(usize),
    /// Its request reaches the API server.
    Arrive(usize),
    /// The answer reaches the candidate.
    Answer(usize),
    /// It waits no longer. What has not arrived yet may still do so.
    GiveUp(usize),
    /// The oldest request that was given up arrives.
    ArriveLate,
    /// It stops leading, and says so.
    Release(usize),
    /// A person touches the Lease.
    Annotate,
}

#[derive(Clone, Debug)]
enum Request {
    Read,
    /// Under a version; none: create. The holder is a candidate, or nobody.
    Write {
        under: Option<String>,
        holder: Option<String>,
    },
}

#[derive(Clone, Debug)]
enum Answer {
    Seen(Option<Lease>),
    Written(Lease),
    Conflict,
}

#[derive(Clone, Debug)]
struct Underway {
    request: Request,
    began: Moment,
    answer: Option<Answer>,
}

struct Replica {
    candidate: Candidate,
    /// Hundredths of the true rate.
    rate: u32,
    under_way: Option<Underway>,
    /// A refused write or a lost answer: first look.
    must_look: bool,
}

struct World {
    now: Duration,
    lease: Option<Lease>,
    versions: u64,
    replicas: Vec<Replica>,
    late: Vec<Request>,
    terms: usize,
}

impl World {
    fn new(rates: &[u32]) -> Self {
        let replica = |(n, rate): (usize, &u32)| Replica {
            candidate: Candidate::new(n.to_string()),
            rate: *rate,
            under_way: None,
            must_look: false,
        };
        let replicas = rates.iter().enumerate().map(replica).collect();
        Self { now: Duration::ZERO, lease: None, versions: 0, replicas, late: Vec::new(), terms: 0 }
    }

    fn clock(&self, who: usize) -> Moment {
        Moment(self.now * self.replicas[who].rate / 100)
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |who: &usize| self.replicas[*who].candidate.leads_until(self.clock(*who)).is_some();
        (0..self.replicas.len()).filter(leads).collect()
    }

    fn serve(&mut self, request: &Request) -> Answer {
        let Request::Write { under, holder } = request else { return Answer::Seen(self.lease.clone()) };
        if self.lease.as_ref().map(|lease| &lease.version) != under.as_ref() {
            return Answer::Conflict;
        }
        Answer::Written(self.store(holder.clone()))
    }

    fn store(&mut self, holder: Option<String>) -> Lease {
        self.versions += 1;
        self.lease.insert(Lease { version: self.versions.to_string(), holder, lasts: LEASE_FOR }).clone()
    }

    fn begin(&mut self, who: usize, request: Request) {
        let began = self.clock(who);
        self.replicas[who].under_way = Some(Underway { request, began, answer: None });
    }

    fn act(&mut self, who: usize) {
        let now = self.clock(who);
        let replica = &self.replicas[who];
        if replica.under_way.is_some() {
            return;
        }
        let me = Some(replica.candidate.me().to_owned());
        let request = match replica.candidate.step(now) {
            _ if replica.must_look => Request::Read,
            Step::Create => Request::Write { under: None, holder: me },
            // A leader's own lease bears its name: taking it again is renewing it.
            Step::Take { version } => Request::Write { under: Some(version), holder: me },
            Step::Look | Step::Wait { .. } => Request::Read,
        };
        self.begin(who, request);
    }

    fn answer(&mut self, who: usize) {
        let now = self.clock(who);
        let Some(under_way) = self.replicas[who].under_way.take() else { return };
        let Some(answer) = under_way.answer.clone() else {
            self.replicas[who].under_way = Some(under_way);
            return;
        };
        let replica = &mut self.replicas[who];
        if replica.candidate.leads_until(now).is_none() {
            replica.candidate.step_down();
        }
        replica.must_look = false;
        let led = replica.candidate.leads_until(now).is_some();
        match answer {
            Answer::Seen(lease) => replica.candidate.see(lease, now),
            Answer::Written(lease) if lease.holder.is_some() => replica.candidate.wrote(lease, under_way.began, now),
            Answer::Written(_) | Answer::Conflict => replica.must_look = true,
        }
        self.terms += usize::from(!led && replica.candidate.leads_until(now).is_some());
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(who) => self.act(who),
            Event::Round(who) => {
                for event in [Event::Act(who), Event::Arrive(who), Event::Answer(who)] {
                    self.happen(event);
                }
            }
            Event::Arrive(who) => {
                let Some(mut under_way) = self.replicas[who].under_way.take() else { return };
                if under_way.answer.is_none() {
                    under_way.answer = Some(self.serve(&under_way.request));
                }
                self.replicas[who].under_way = Some(under_way);
            }
            Event::Answer(who) => self.answer(who),
            Event::GiveUp(who) => {
                let Some(under_way) = self.replicas[who].under_way.take() else { return };
                self.replicas[who].must_look = true;
                if under_way.answer.is_none() {
                    self.late.push(under_way.request);
                }
            }
            Event::ArriveLate if !self.late.is_empty() => {
                let request = self.late.remove(0);
                self.serve(&request);
            }
            Event::Release(who) => {
                let version = self.lease.as_ref().map(|lease| lease.version.clone());
                if self.leaders().contains(&who) && self.replicas[who].under_way.is_none() && version.is_some() {
                    self.replicas[who].candidate.step_down();
                    self.begin(who, Request::Write { under: version, holder: None });
                }
            }
            Event::Annotate => {
                if let Some(lease) = self.lease.clone() {
                    self.store(lease.holder);
                }
            }
            Event::ArriveLate => {}
        }
    }
}

impl Event {
    fn is_of(self, replica: usize) -> bool {
        match self {
            Self::Act(who)
            | Self::Round(who)
            | Self::Arrive(who)
            | Self::Answer(who)
            | Self::GiveUp(who)
            | Self::Release(who) => who == replica,
            Self::ArriveLate | Self::Annotate => false,
        }
    }
}

fn event(replicas: usize) -> impl Strategy<Value = (Event, u64)> {
    let who = 0..replicas;
    let event = prop_oneof![
        12 => who.clone().prop_map(Event::Round),
        6 => who.clone().prop_map(Event::Act),
        6 => who.clone().prop_map(Event::Arrive),
        6 => who.clone().prop_map(Event::Answer),
        2 => who.clone().prop_map(Event::GiveUp),
        1 => Just(Event::ArriveLate),
        1 => who.prop_map(Event::Release),
        1 => Just(Event::Annotate),
    ];
    let pause = prop_oneof![3 => 0u64..100, 3 => 100u64..1_500, 1 => 1_500u64..6_000];
    (event, pause)
}

/// A while in which one replica is stopped, or cut off; with three replicas the fourth is nobody.
fn while_one_is_away() -> impl Strategy<Value = (usize, Vec<(Event, u64)>)> {
    (0usize..4, prop::collection::vec(event(3), 5..40))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_two_candidates_ever_believe_that_they_lead(
        rates in prop::collection::vec(85u32..=115, 3),
        times in prop::collection::vec(while_one_is_away(), 1..6),
    ) {
        let mut world = World::new(&rates);
        for (away, events) in times {
            for (event, pause) in events {
                world.now += Duration::from_millis(pause);
                if !event.is_of(away) {
                    world.happen(event);
                }
                let leaders = world.leaders();
                prop_assert!(leaders.len() <= 1, "{leaders:?} lead after {event:?}, lease {:?}", world.lease);
            }
        }
    }
}

/// Stopped, cut off or gone: somebody else leads within a lease and what two requests take.
#[test]
fn somebody_leads_soon_after_the_leader_fell_silent() {
    let mut world = World::new(&[100, 93, 107]);
    let round = |world: &mut World, who: usize| {
        world.happen(Event::Act(who));
        world.happen(Event::Arrive(who));
        world.happen(Event::Answer(who));
    };
    round(&mut world, 0);
    round(&mut world, 0);
    assert_eq!(world.leaders(), [0]);
    let silent = world.now;
    while world.leaders() != [1] && world.leaders() != [2] {
        world.now += Duration::from_millis(500);
        assert!(world.now < silent + Duration::from_millis(17_500), "nobody leads");
        for who in [1, 2] {
            round(&mut world, who);
        }
    }
    assert_eq!(world.terms, 2);
}
