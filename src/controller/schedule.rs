//! When a target is visited next.
use super::context::Context;
use super::error::VisitError;
use super::fleet::Member;
use super::queue::Urgency;
use super::reconcile::Next;
use super::visit::Visit;
use crate::api::claim::drift_interval;
use crate::api::raw::Readable;
use crate::arm::{ArmError, chain};
use lanyard_domain::dangling::Stays;
use lanyard_domain::judge::Waiting;
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::plan::{Hold, Step};
use lanyard_domain::poll::look;
use lanyard_domain::reason::Reason;
use lanyard_domain::verdict::Trouble;
use lanyard_domain::{Moment, Plan};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A machine that we know and ARM does not, this once: it is looked for again before anybody is told.
const BLINK: Duration = Duration::from_secs(2);

/// How often a machine is looked at that has no assignment to say so.
const DRIFT: Duration = Duration::from_secs(600);

/// A list that always shows an old state must not hide a machine for ever: each is read by itself about twice a day.
const UNVISITED: Duration = Duration::from_secs(12 * 60 * 60);

/// A machine that its group's list leaves out is asked for by itself this often.
const UNSEEN: Duration = Duration::from_secs(15 * 60);

const FIRST_LOOK: Duration = Duration::from_secs(30);

/// How often an identity is looked for that is not there.
const DEAD_LOOK: Duration = Duration::from_secs(3 * 60);

/// How often a request of unknown outcome is looked for, while it may still arrive.
const OPEN_LOOK: Duration = Duration::from_secs(10);

/// A visit that ended early: what to tell, and when to try again.
pub struct Failure {
    pub trouble: Trouble,
    pub next: (Instant, Urgency),
}

/// Beyond the pace of a list that looks after a machine, spread over half of it: if the list fails, they do not come
/// all together.
pub fn put_off(pace: Duration) -> Duration {
    pace.mul_f64(1.5 + 0.5 * jitter())
}

/// A process that begins gives the lists so much time to show what needs no visit.
pub fn first_look(pace: Duration) -> Duration {
    FIRST_LOOK + pace.mul_f64(0.5 * jitter())
}

/// A process that begins knows of no visits: they are spread over all the time there is.
pub fn visit_by(now: Moment) -> Moment {
    now.after(UNVISITED.mul_f64(jitter()))
}

/// How often the target of these is to be looked at.
pub fn every(read: &[Arc<Readable>]) -> Duration {
    read.iter().filter_map(|read| drift_interval(&read.object.spec).ok()).min().unwrap_or(DRIFT)
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
    let wait = if blinked { wait } else { awaited(context, visit, reason, row.reason_since).unwrap_or(wait) };
    let urgency = match class {
        Class::Waiting => Urgency::Waiting,
        Class::Replan | Class::Transient | Class::Throttled(_) | Class::Refused | Class::Defect => Urgency::Retry,
    };
    let cause = match error {
        VisitError::Arm(cause) | VisitError::Probe(cause) => Some(cause),
        _ => None,
    };
    let (failures, wait_ms, error) = (row.times, wait.as_millis(), chain(error));
    let urgent = visit.urgency();
    if error_gets_a_line(context, visit.target.subscription(), reason, cause) {
        tracing::warn!(reason = reason.as_str(), urgency = ?urgent, failures, wait_ms, error, "the visit ended early");
    } else {
        tracing::debug!(reason = reason.as_str(), urgency = ?urgent, failures, wait_ms, error, "the visit ended early");
    }
    let message = error + next_try(class);
    let unwell = now.since(row.unwell_since);
    Failure { trouble: Trouble { reason, message, lasting, unwell }, next: (Instant::now() + wait, urgency) }
}

/// Whether a visit that ended early is told by a line of its own; else it is counted.
pub fn error_gets_a_line(context: &Context, subscription: &str, reason: Reason, cause: Option<&ArmError>) -> bool {
    if cause.is_some_and(ArmError::wants_token) {
        context.repeats.without_token(reason.as_str(), context.now());
        return false;
    }
    context.repeats.is_to_be_told(subscription, reason.as_str(), context.now())
}

/// A machine that was never seen is looked for by a list, where many are: how long its own look can wait.
fn awaited(context: &Context, visit: &Visit, reason: Reason, since: Moment) -> Option<Duration> {
    let nobody_leaves = visit.claims.as_ref().is_some_and(|claims| claims.leaving().is_empty() && !claims.is_empty());
    let unknown = visit.record.unique_id.is_none() && visit.record.owns_nothing();
    if reason == Reason::TargetNotFound && nobody_leaves && unknown {
        let now = context.now();
        let visit_by = now.after(UNSEEN.mul_f64(1.0 - 0.25 * jitter()));
        return context.fleet.put(&visit.target, Member::Awaited { since, visit_by }, now).map(put_off);
    }
    context.fleet.leave(&visit.target);
    None
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
    if visit.stored.is_none() {
        context.fleet.leave(&visit.target);
        // Forgotten at a person's wish: begun anew.
        return claims.staying().next().map(|_| (Instant::now(), Urgency::Retry));
    }
    let every = every(&visit.read);
    let held = held_until(context, visit);
    let open = visit.record.intent.as_ref().map(|_| OPEN_LOOK);
    let drift = drift_look(context, visit, every);
    match held.into_iter().chain(open).min() {
        Some(soon) if soon < drift => Some((Instant::now() + soon, Urgency::Retry)),
        Some(_) | None => Some((Instant::now() + drift, Urgency::Drift)),
    }
}

/// When to look for drift: by itself, unless a list does so.
fn drift_look(context: &Context, visit: &Visit, every: Duration) -> Duration {
    let now = context.now();
    let pace = if is_at_rest(visit) {
        let visit_by = now.after(UNVISITED.mul_f64(1.0 - 0.25 * jitter()));
        context.fleet.put(&visit.target, Member::AtRest { every, seen: Some(now), visit_by }, now)
    } else {
        context.fleet.leave(&visit.target);
        None
    };
    pace.map_or_else(|| every.mul_f64(1.0 - 0.1 * jitter()), put_off)
}

/// Nothing is pending, nobody leaves, and nothing is on the machine that only identities can tell of.
fn is_at_rest(visit: &Visit) -> bool {
    let settled = |plan: &Plan| plan.is_settled() && !plan.steps.values().any(|step| matches!(step, Step::Dangling(_)));
    visit.plan.as_ref().is_some_and(settled)
        && visit.record.intent.is_none()
        && visit.unread.is_empty()
        && visit.claims.as_ref().is_some_and(|claims| claims.leaving().is_empty() && !claims.is_empty())
}

fn held_until(context: &Context, visit: &Visit) -> Option<Duration> {
    let holds: Vec<Hold> = visit.plan.iter().flat_map(Plan::holds).collect();
    let paced = holds.iter().filter(|hold| **hold == Hold::RemovalsPaced).count();
    // Many targets that wait for the brake come back one after the other, as it lets them.
    let turn = (paced > 0).then(|| context.brake.book(paced));
    let refused = holds.iter().any(|hold| matches!(hold, Hold::SetAside | Hold::Suspected));
    let aside = refused.then(|| visit.memory.asides.next_try(context.now())).flatten();
    let contested = holds.contains(&Hold::Contested).then(|| visit.memory.contest.next_try(context.now())).flatten();
    let more = next_request(&holds, !visit.done.is_empty());
    turn.into_iter().chain(aside).chain(contested).chain(more).chain(dead_until(visit)).min()
}

/// What waits for the next request goes at once; where nothing went this time, nothing will go at once either.
fn next_request(holds: &[Hold], wrote: bool) -> Option<Duration> {
    holds.contains(&Hold::NextRequest).then_some(if wrote { Duration::ZERO } else { OPEN_LOOK })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_next_request_is_not_looked_at_without_a_pause_where_nothing_went() {
        let waiting = [Hold::SetAside, Hold::NextRequest];
        assert_eq!(next_request(&waiting, true), Some(Duration::ZERO));
        assert!(next_request(&waiting, false).is_some_and(|pause| pause >= Duration::from_secs(5)));
        assert_eq!(next_request(&[Hold::SetAside], true), None);
    }
}
