//! Looks for drift by lists: many machines a call. What a list shows decides whom to visit, and nothing else.
//!
//! ```text
//!   list ─▶ entry ─▶ glance ─┬─ at rest: its own visit is put off
//!                            ├─ nothing told: as if it had not been shown
//!                            └─ look: it is put on the queue
//! ```
//!
//! Every machine has a visit of its own ahead, which only a list that shows it at rest puts off. So a list that fails,
//! hangs, lags, or leaves machines out costs calls, and never hides a machine.
use super::context::Context;
use super::fleet::Member;
use super::glance::{Sight, look_at};
use super::queue::{TargetKey, Urgency};
use super::schedule::{jitter, put_off};
use crate::arm::{ArmError, Listed, NextPage, Page, chain};
use lanyard_domain::Moment;
use lanyard_domain::pace::Class;
use lanyard_domain::sweep::{Ended, Scope};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Lists that are under way at once. Each holds a page, of some MiB at most; one that hangs holds a place only.
const AT_ONCE: usize = 12;

/// How often it is looked whether a list has fallen due, where nothing says when.
const TICK: Duration = Duration::from_secs(5);

/// A page is asked for again so often, before the sweep is given up.
const TRIES: u32 = 4;

/// A bucket that stays closed for longer ends the sweep: it begins anew when its time comes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// No subscription has so many pages: a list that goes on for ever is broken.
const MOST_PAGES: usize = 10_000;

/// Entries that are judged before others get their turn on this thread.
const A_STRETCH: usize = 20;

/// Sweeps until the term ends.
pub async fn sweeps(context: Arc<Context>) {
    let mut under_way: JoinSet<(Scope, Ended)> = JoinSet::new();
    loop {
        context.metrics.unverified(context.fleet.unverified());
        while under_way.len() < AT_ONCE
            && let Some(scope) = context.fleet.begin(context.now())
        {
            let context = context.clone();
            under_way.spawn(async move {
                let ended = sweep(&context, &scope).await;
                (scope, ended)
            });
        }
        let wake = wake_at(&context, under_way.len() < AT_ONCE);
        tokio::select! {
            () = context.stop.cancelled() => break,
            Some(Ok((scope, ended))) = under_way.join_next() => {
                context.metrics.swept(ended);
                context.fleet.end(&scope, ended, context.now(), jitter());
            }
            () = sleep_until(wake) => {}
        }
    }
}

fn wake_at(context: &Context, room: bool) -> Instant {
    let due = context.fleet.next_due().filter(|_| room);
    // Never in the past: a list that cannot be begun yet is not asked for again and again.
    let soonest = Instant::now() + Duration::from_millis(50);
    due.map_or(soonest + TICK, |due| context.instant(due).clamp(soonest, soonest + TICK))
}

async fn sweep(context: &Context, scope: &Scope) -> Ended {
    let mut next: Option<NextPage> = None;
    let mut known: HashSet<NextPage> = HashSet::new();
    let mut seen = HashSet::new();
    loop {
        let (requested, page) = match page(context, scope, next.as_ref()).await {
            Ok(page) => page,
            // The group is not there yet: nor is any machine in it.
            Err(ArmError::NotFound { .. }) => break,
            Err(error) => return broken(scope, known.len(), &error),
        };
        let Page { machines, unreadable, next: following } = page;
        if unreadable > 0 {
            tracing::warn!(list = %scope, unreadable, "entries of a list could not be read; those machines are read by themselves");
        }
        seen.extend(take_up(context, machines, requested).await);
        match following {
            None => break,
            Some(Err(error)) => return broken(scope, known.len(), &error),
            Some(Ok(page)) if known.len() < MOST_PAGES && known.insert(page.clone()) => next = Some(page),
            Some(Ok(_)) => {
                tracing::warn!(list = %scope, "the list names a page twice, or has no end; it is given up");
                return Ended::Broken;
            }
        }
    }
    still_awaited(context, scope, &seen);
    Ended::Whole { pages: u32::try_from(known.len() + 1).unwrap_or(u32::MAX) }
}

/// One page, asked for again where that may help, and when it was asked for.
async fn page(context: &Context, scope: &Scope, page: Option<&NextPage>) -> Result<(Moment, Page), ArmError> {
    let mut failed = 0;
    loop {
        let requested = context.now();
        let error = match context.arm.list(scope, page).await {
            Ok(page) => return Ok((requested, page)),
            Err(error) => error,
        };
        let wait = match error.class() {
            Class::Throttled(pause) if pause <= LONGEST_PAUSE => pause,
            Class::Transient if failed + 1 < TRIES => {
                failed += 1;
                Duration::from_secs(1 << failed).mul_f64(1.0 - 0.5 * jitter())
            }
            Class::Throttled(_)
            | Class::Transient
            | Class::Replan
            | Class::Refused
            | Class::Waiting
            | Class::Defect => return Err(error),
        };
        tokio::select! {
            () = context.stop.cancelled() => return Err(error),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How a sweep ended that did not come to its end.
fn broken(scope: &Scope, pages: usize, error: &ArmError) -> Ended {
    let ended = match error {
        ArmError::ForeignHost { .. } => Ended::Barred,
        other => match other.class() {
            Class::Refused | Class::Waiting | Class::Defect => Ended::Barred,
            Class::Transient | Class::Replan | Class::Throttled(_) => Ended::Broken,
        },
    };
    let error = chain(error);
    match ended {
        Ended::Barred => {
            tracing::warn!(list = %scope, pages, error, "the list cannot be had; its machines are read one by one")
        }
        Ended::Broken | Ended::Whole { .. } => {
            tracing::info!(list = %scope, pages, error, "the sweep broke off; it is tried again")
        }
    }
    ended
}

/// Judges the entries that are about machines of ours. Returns those.
async fn take_up(context: &Context, machines: Vec<Listed>, requested: Moment) -> Vec<TargetKey> {
    let mut seen = Vec::new();
    for (n, Listed { target, live }) in machines.into_iter().enumerate() {
        if n % A_STRETCH == A_STRETCH - 1 {
            tokio::task::yield_now().await;
        }
        if let Some(target) = context.fleet.key(&target) {
            entry(context, &target, live, requested);
            seen.push(target);
        }
    }
    seen
}

fn entry(context: &Context, target: &TargetKey, live: lanyard_domain::Live, requested: Moment) {
    match context.fleet.get(target) {
        // Whoever is being visited, or is about to be, learns more from that.
        _ if context.queue.is_busy_with(target) => {}
        None => {}
        Some(Member::Awaited { .. }) => {
            context.metrics.glanced("appeared");
            context.queue.push(target.clone(), Urgency::Waiting);
        }
        Some(Member::AtRest { every, .. }) => match look_at(context, target, live, requested) {
            Sight::AtRest => {
                context.metrics.glanced("at rest");
                let now = context.now();
                let pace = context.fleet.put(target, Member::AtRest { every, seen: Some(now) }, now);
                context.queue.defer(target, Instant::now() + put_off(pace.unwrap_or(every)));
            }
            Sight::Nothing => context.metrics.glanced("nothing told"),
            Sight::Look => {
                context.metrics.glanced("look");
                context.queue.push(target.clone(), Urgency::Drift);
            }
        },
    }
}

/// A complete list does not show them: their own look can wait for the next but one.
fn still_awaited(context: &Context, scope: &Scope, seen: &HashSet<TargetKey>) {
    let now = context.now();
    for target in context.fleet.awaited(scope).into_iter().filter(|target| !seen.contains(target)) {
        if scope.group.is_some()
            && let Some(member @ Member::Awaited { .. }) = context.fleet.get(&target)
            && let Some(pace) = context.fleet.put(&target, member, now)
        {
            context.queue.defer(&target, Instant::now() + put_off(pace));
        }
    }
}
