//! The intent: what the record says before a PATCH leaves.
use crate::claims::Claims;
use crate::depart::recorded_claims;
use crate::evidence::Complete;
use crate::patch::Patch;
use crate::record::{Base, Intent, Record, Unanswered};

/// Who is about to write, and under which request id.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub writer: &'a str,
    pub operation: &'a str,
}

/// The record with the intent to send this PATCH.
///
/// An intent that is still there is Open: its request may yet arrive, so that what it would do stays in the union.
#[must_use]
pub fn intend(record: &Record, claims: &Complete<Claims>, base: &Base, patch: &Patch, by: Attempt<'_>) -> Record {
    let open = record.intent.as_ref();
    let earlier = |pick: fn(&Intent) -> &std::collections::BTreeSet<_>| open.into_iter().flat_map(pick).cloned();
    let latest = open.map(|open| Unanswered { base: open.base.clone(), operation: open.operation.clone() });
    let intent = Intent {
        attempt: open.map_or(0, |intent| intent.attempt).saturating_add(1),
        base: base.clone(),
        add: patch.added().cloned().chain(earlier(|intent| &intent.add)).collect(),
        remove: patch.removed().cloned().chain(earlier(|intent| &intent.remove)).collect(),
        system: patch.system.or(open.and_then(|intent| intent.system)),
        writer: by.writer.into(),
        unanswered: unanswered(open, latest),
        operation: by.operation.into(),
    };
    Record { intent: Some(intent), claims: recorded_claims(record, claims), ..record.clone() }
}

/// The earlier attempts that may still arrive: one for each state that they were planned from tells as much as all.
fn unanswered(open: Option<&Intent>, latest: Option<Unanswered>) -> Vec<Unanswered> {
    let is_latest = |earlier: &&Unanswered| latest.as_ref().is_some_and(|latest| latest.base == earlier.base);
    let earlier = open.into_iter().flat_map(|open| &open.unanswered).filter(|earlier| !is_latest(earlier)).cloned();
    let mut all: Vec<Unanswered> = earlier.collect();
    all.extend(latest);
    all
}

/// The record when there is nothing to send: settled, with the claims as acted on.
#[must_use]
pub fn conclude(record: &Record, claims: &Complete<Claims>) -> Record {
    let declared = claims.present();
    let mut repairs = record.repairs.clone();
    repairs.retain(|id, _| declared.contains(id));
    Record { claims: recorded_claims(record, claims), repairs, ..record.clone() }
}

/// The record after a definite refusal: void, unless an earlier attempt may still arrive.
#[must_use]
pub fn refused(record: &Record) -> Record {
    let mut record = record.clone();
    let refused = record.intent.take();
    record.intent = refused.clone().and_then(Intent::without_latest);
    // A round of repair that certainly did not happen is not counted.
    for id in refused.iter().filter(|_| record.intent.is_none()).flat_map(|intent| &intent.remove) {
        if let Some(repair) = record.repairs.get_mut(id).filter(|repair| repair.awaited) {
            repair.rounds = repair.rounds.saturating_sub(1);
            repair.awaited = false;
        }
    }
    record
}

/// Why a record may end although something is still in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The machine is gone, said twice.
    pub gone: bool,
    /// A person deleted the `IdentityTarget`: its record is to be forgotten.
    pub forgotten: bool,
}

/// What becomes of the record at the end of a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one is made a visit, and taken apart at once")]
pub enum Settled {
    Keep(Record),
    /// Nothing is left that it is for, or a person wants it forgotten and nothing of ours may still arrive.
    Remove,
}

/// The record at the end of a visit, however it went.
#[must_use]
pub fn settle(record: &Record, claims: &Complete<Claims>, ending: Ending) -> Settled {
    let concluded = conclude(record, claims);
    let nobody = claims.staying().next().is_none();
    let finished = nobody && (ending.gone || (concluded.owns_nothing() && concluded.claims.is_empty()));
    let forgotten = ending.forgotten && concluded.intent.is_none();
    if finished || forgotten { Settled::Remove } else { Settled::Keep(concluded) }
}

/// Nobody wants anything here, and nothing of ours is on the machine: there is nothing to look for.
#[must_use]
pub fn nothing_to_look_for(record: &Record, claims: &Complete<Claims>) -> bool {
    claims.staying().next().is_none() && record.owns_nothing()
}
