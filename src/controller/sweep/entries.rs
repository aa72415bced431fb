//! What is made of the entries of a list.
use crate::arm::Listed;
use crate::controller::context::Context;
use crate::controller::fleet::Member;
use crate::controller::glance::{Sight, look_at};
use crate::controller::queue::{TargetKey, Urgency};
use crate::controller::schedule::put_off;
use lanyard_domain::sweep::Scope;
use lanyard_domain::{Live, Moment, Principal};
use std::collections::HashSet;
use std::sync::Arc;

/// Entries that are judged before others get their turn on this thread.
const A_STRETCH: usize = 20;

/// Judges the entries that are about resources of ours. Returns the machines among them.
pub async fn take_up(context: &Context, entries: Vec<Listed>, requested: Moment) -> Vec<TargetKey> {
    let mut seen = Vec::new();
    for (n, entry) in entries.into_iter().enumerate() {
        if n % A_STRETCH == A_STRETCH - 1 {
            tokio::task::yield_now().await;
        }
        match entry {
            Listed::Machine(target, live) => {
                if let Some(target) = context.fleet.key(&target) {
                    machine(context, &target, *live, requested);
                    seen.push(target);
                } else if context.index.target_objects(&Arc::new(target.clone())).is_empty() {
                    // None of ours; but it may have an identity that is to be deleted one day.
                    context.index.identities.stranger_has(&Arc::new(target), live.user.keys());
                }
            }
            Listed::Identity(id, Principal { principal_id: Some(principal), .. }) => {
                if let Some(identity) = context.index.identities.is_another(&id, &principal) {
                    context.identity_queue.push(identity, Urgency::Drift, None);
                }
                if context.fleet.declares(&id) {
                    context.identities.learn_from_list(&id, principal, requested);
                }
            }
            Listed::Identity(..) => {}
        }
    }
    seen
}

fn machine(context: &Context, target: &TargetKey, live: Live, requested: Moment) {
    match context.fleet.get(target) {
        // Whoever is being visited, or is about to be, learns more from that.
        _ if context.queue.is_busy_with(target) => {}
        None => {}
        Some(Member::Awaited { .. }) => {
            context.metrics.glanced("appeared");
            context.queue.push(target.clone(), Urgency::Waiting, None);
        }
        Some(Member::AtRest { every, visit_by, .. }) => match look_at(context, target, live, requested) {
            Sight::AtRest => {
                context.metrics.glanced("at rest");
                let now = context.now();
                let pace = context.fleet.put(target, Member::AtRest { every, seen: Some(now), visit_by }, now);
                let put_off = now.after(put_off(pace.unwrap_or(every))).min(visit_by);
                if put_off > now {
                    context.queue.defer(target, context.instant(put_off));
                }
            }
            Sight::Nothing => context.metrics.glanced("nothing told"),
            Sight::Look(why) => {
                tracing::debug!(machine = %target, why, "a list gives reason for a visit");
                context.metrics.glanced("look");
                context.queue.push(target.clone(), Urgency::Drift, None);
            }
        },
    }
}

/// A complete list does not show them: their own look can wait for the next but one.
pub fn still_awaited(context: &Context, scope: &Scope, seen: &HashSet<TargetKey>) {
    let now = context.now();
    for target in context.fleet.awaited(scope).into_iter().filter(|target| !seen.contains(target)) {
        if scope.group.is_some()
            && let Some(member @ Member::Awaited { visit_by, .. }) = context.fleet.get(&target)
            && let Some(pace) = context.fleet.put(&target, member, now)
            && visit_by > now
        {
            context.queue.defer(&target, context.instant(now.after(put_off(pace)).min(visit_by)));
        }
    }
}
