//! What an entry of a list gives reason to: nothing, or a visit. Never a write.
use crate::claims::Claims;
use crate::dangling::Identities;
use crate::depart::depart;
use crate::evidence::{Complete, Fresh, shows_superseded};
use crate::judge::{Judge, Judgement, Memory, judge};
use crate::live::Live;
use crate::plan::{Bounds, Facts, Plan, Step, plan};
use crate::record::Record;

/// What is known of a target without asking anybody.
#[derive(Clone, Copy, Debug)]
pub struct AtHand<'a> {
    pub claims: &'a Complete<Claims>,
    pub record: &'a Record,
    pub bounds: &'a Bounds,
    pub by: Judge<'a>,
}

/// What an entry of a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Nothing is to be done, as far as this shows: the plan says so, id by id.
    AtRest(Box<Plan>),
    /// The state from before one of our own writes: lists lag.
    Old,
    /// Somebody's operation runs: it will be seen again.
    Moving,
    /// A visit would find something to do, or to tell, or to wait for.
    Look,
}

/// Judges an entry as a visit would judge its own read. It is older than that, and may be of another moment than it
/// says: so it decides whom to look at, and nothing else.
#[must_use]
pub fn glance(listed: &Live, at_hand: AtHand<'_>) -> Glance {
    let AtHand { claims, record, bounds, by } = at_hand;
    if shows_superseded(listed, record) {
        return Glance::Old;
    }
    if listed.is_updating() {
        return Glance::Moving;
    }
    let live = Fresh::glimpsed(listed.clone());
    if record.intent.is_some() || !is_as_recorded(&live, record, by) || depart(record, claims) != as_it_is(record) {
        return Glance::Look;
    }
    // What identities say of themselves is asked by visits.
    let plan = plan(Facts { claims, record, live: &live, bounds, identities: &Identities::default() });
    let dead = plan.steps.values().any(|step| matches!(step, Step::Dangling(_)));
    if plan.is_settled() && !dead { Glance::AtRest(Box::new(plan)) } else { Glance::Look }
}

fn is_as_recorded(live: &Fresh<Live>, record: &Record, by: Judge<'_>) -> bool {
    match judge(record, live, &mut Memory::default(), by) {
        Judgement::Wait(_) => false,
        Judgement::Clear { record: judged, notes } => judged == *record && notes.is_empty(),
    }
}

fn as_it_is(record: &Record) -> (Record, Vec<crate::judge::Note>) {
    (record.clone(), Vec::new())
}
