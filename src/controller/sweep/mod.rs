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
mod entries;
mod pages;
mod roll_call;

use super::context::Context;
use super::schedule::jitter;
use lanyard_domain::sweep::{Ended, Scope};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use roll_call::roll_calls;

/// Lists that are under way at once. Each holds a page, of some MiB at most; one that hangs holds a place only.
const AT_ONCE: usize = 12;

/// How often it is looked whether a list has fallen due, where nothing says when.
const TICK: Duration = Duration::from_secs(5);

/// Sweeps until the term ends.
pub async fn sweeps(context: Arc<Context>) {
    let mut under_way: JoinSet<Ended> = JoinSet::new();
    let mut scopes = HashMap::new();
    loop {
        context.metrics.unverified(context.fleet.unverified());
        while under_way.len() < AT_ONCE
            && let Some(scope) = context.fleet.begin(context.now())
        {
            let sweep = pages::sweep(context.clone(), scope.clone());
            let watched = context.health.visit(Arc::new(format!("the list {scope}")), sweep);
            scopes.insert(under_way.spawn(watched).id(), scope);
        }
        let wake = wake_at(&context, under_way.len() < AT_ONCE);
        tokio::select! {
            () = context.stop.cancelled() => break,
            Some(ended) = under_way.join_next_with_id() => {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
                let Some(scope) = scopes.remove(&id) else { continue };
                // A defect, but this list's alone: the others go on.
                let ended = ended.map_or_else(|error| broken(&scope, &error), |(_, ended)| ended);
                context.metrics.swept(ended);
                context.fleet.end(&scope, ended, context.now(), jitter());
            }
            () = sleep_until(wake) => {}
        }
    }
}

fn broken(scope: &Scope, error: &tokio::task::JoinError) -> Ended {
    tracing::error!(list = %scope, %error, "a sweep panicked");
    Ended::Broken
}

fn wake_at(context: &Context, room: bool) -> Instant {
    let due = context.fleet.next_due().filter(|_| room);
    // Never in the past: a list that cannot be begun yet is not asked for again and again.
    let soonest = Instant::now() + Duration::from_millis(50);
    due.map_or(soonest + TICK, |due| context.instant(due).clamp(soonest, soonest + TICK))
}
