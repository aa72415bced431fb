//! When a target is visited next.
use super::context::Context;
use super::error::VisitError;
use super::queue::Urgency;
use super::reconcile::Next;
use super::visit::Visit;
use crate::api::claim::drift_interval;
use crate::arm::{ArmError, chain};
use lanyard_domain::Plan;
use lanyard_domain::dangling::Stays;
use lanyard_domain::judge::Waiting;
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::plan::{Hold, Step};
use lanyard_domain::poll::look;
use lanyard_domain::reason::Reason;
use lanyard_domain::verdict::Trouble;
use std::time::Duration;
use tokio::time::Instant;

/// A machine that we know and ARM does not, this once: it is looked for again before anybody is told.
const BLINK: Duration = Duration::from_secs(2);

/// How often a machine is looked at that has no assignment to say so.
const DRIFT: Duration = Duration::from_secs(600);

/// How often an identity is looked for that is not there.
const DEAD_LOOK: Duration = Duration::from_secs(3 * 60);

/// How often a request of unknown outcome is looked for, while it may still arrive.
const OPEN_LOOK: Duration = Duration::from_secs(10);

/// A visit that ended early: what to tell, and when to try again.
pub struct Failure {
    pub trouble: Trouble,
    pub next: (Instant, Urgency),
}

pub fn failed(context: &Context, visit: &mut Visit, error: &VisitError) -> Failure {
    let now = context.now();
    let (class, reason) = (error.class(), error.reason());
    if let VisitError::Arm(ArmError::BeingDeleted { group: false, .. })
    | VisitError::Probe(ArmError::BeingDeleted { group: false, .. }) = error
    {
        visit.going = true;
    }
    let row = visit.memory.failures.count(class, reason, now);
    let lasting = now.since(row.reason_since);
    let blinked = reason == Reason::TargetNotFound && row.times == 1 && visit.record.unique_id.is_some();
    // Races are counted one by one: several may be lost in one visit.
    let times = if let VisitError::Outrun { races } = error { *races } else { row.times };
    // Nobody polls it: somebody else's, or one that has outlasted us or the process that began it.
    let runs = matches!(error, VisitError::Waiting(Waiting::Running));
    let wait = match (blinked, runs) {
        (true, _) => BLINK,
        (false, true) => look(lasting, jitter()),
        (false, false) => pause(class, times, lasting, jitter()),
    };
    let wait = sooner_for_others(context, visit, class, wait);
    let urgency = match class {
        Class::Waiting => Urgency::Waiting,
        Class::Replan | Class::Transient | Class::Throttled(_) | Class::Refused | Class::Defect => Urgency::Retry,
    };
    let (failures, wait_ms, error) = (row.times, wait.as_millis(), chain(error));
    tracing::warn!(reason = reason.as_str(), urgency = ?visit.urgency, failures, wait_ms, error, "the visit ended early");
    let message = error + next_try(class);
    let unwell = now.since(row.unwell_since);
    Failure { trouble: Trouble { reason, message, lasting, unwell }, next: (Instant::now() + wait, urgency) }
}

/// What waits by itself is not held up by a trouble of the whole target, unless ARM asks for a pause.
fn sooner_for_others(context: &Context, visit: &Visit, class: Class, wait: Duration) -> Duration {
    match class {
        Class::Transient | Class::Refused | Class::Defect => {
            visit.memory.asides.next_try(context.now()).map_or(wait, |sooner| wait.min(sooner))
        }
        Class::Replan | Class::Throttled(_) | Class::Waiting => wait,
    }
}

/// When the next try is, in words that stay: a status is not written for every try.
pub fn next_try(class: Class) -> &'static str {
    match class {
        Class::Refused => " (tried again every 30 s to 3 minutes)",
        Class::Defect => " (tried again every 5 minutes)",
        Class::Replan | Class::Transient | Class::Throttled(_) | Class::Waiting => "",
    }
}

/// After a visit that ended well: at the drift interval, or when something that is held may go on.
pub fn next_look(context: &Context, visit: &Visit) -> Next {
    let claims = visit.claims.as_ref()?;
    if claims.is_empty() && visit.stored.is_none() {
        return None;
    }
    if visit.stored.is_none() {
        // Forgotten at a person's wish: begun anew.
        return claims.staying().next().map(|_| (Instant::now(), Urgency::Retry));
    }
    let drift = visit.read.iter().filter_map(|read| drift_interval(&read.object.spec).ok()).min().unwrap_or(DRIFT);
    let drift = drift.mul_f64(1.0 - 0.1 * jitter());
    let held = held_until(context, visit);
    let open = visit.record.intent.as_ref().map(|_| OPEN_LOOK);
    match held.into_iter().chain(open).min() {
        Some(soon) if soon < drift => Some((Instant::now() + soon, Urgency::Retry)),
        Some(_) | None => Some((Instant::now() + drift, Urgency::Drift)),
    }
}

fn held_until(context: &Context, visit: &Visit) -> Option<Duration> {
    let holds: Vec<Hold> = visit.plan.iter().flat_map(Plan::holds).collect();
    let paced = holds.iter().filter(|hold| **hold == Hold::RemovalsPaced).count();
    // Many targets that wait for the brake come back one after the other, as it lets them.
    let turn = (paced > 0).then(|| context.brake.book(paced));
    let refused = holds.iter().any(|hold| matches!(hold, Hold::SetAside | Hold::Suspected));
    let aside = refused.then(|| visit.memory.asides.next_try(context.now())).flatten();
    let contested = holds.contains(&Hold::Contested).then(|| visit.memory.contest.next_try(context.now())).flatten();
    // Where nothing went this time, nothing will go at once either.
    let next = if visit.done.is_empty() { OPEN_LOOK } else { Duration::ZERO };
    let more = holds.contains(&Hold::NextRequest).then_some(next);
    turn.into_iter().chain(aside).chain(contested).chain(more).chain(dead_until(visit)).min()
}

/// A dead entry that is not confirmed yet, or whose identity may come back. Those of who only observes are not in the plan.
fn dead_until(visit: &Visit) -> Option<Duration> {
    let stays = visit.plan.iter().flat_map(|plan| plan.steps.values()).filter_map(|step| match step {
        Step::Dangling(dead) => Some(dead.stays),
        _ => None,
    });
    let may_change = |stays: Stays| match stays {
        Stays::Confirming | Stays::Deleted | Stays::Hidden => Some(DEAD_LOOK),
        Stays::NotAsked | Stays::TriedInVain => None,
    };
    stays.filter_map(may_change).chain(visit.memory.watch.confirmed_in).min()
}

/// A number from 0 to 1, so that many targets do not come back together.
pub fn jitter() -> f64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    f64::from(u16::try_from(low & 0xffff).unwrap_or_default()) / f64::from(u16::MAX)
}
