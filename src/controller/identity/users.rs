//! Which machines have an identity that is about to be deleted: ARM would delete it all the same.
use super::error::IdentityError;
use super::visit::Visit;
use crate::arm::{Arm, ArmError, Listed, chain};
use crate::controller::context::Context;
use crate::controller::queue::{TargetKey, Urgency};
use lanyard_domain::evidence::said_gone;
use lanyard_domain::pace::Class;
use lanyard_domain::sweep::{Kind, Scope};
use lanyard_domain::{MachineKind, TargetId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Machines that are asked by themselves in one visit: who is found keeps the identity, and the rest is asked later.
const ASKED: usize = 10;

/// So seldom, so many machines at a time are asked to be looked at: those that have something to let go of do so unasked.
const NUDGE: Duration = Duration::from_secs(60);
const NUDGED: usize = 20;

/// No subscription has so many pages.
const MOST_PAGES: usize = 2_000;

/// Machines that have it, or may have. None: it may be deleted, as far as anybody can tell.
pub async fn of(context: &Context, visit: &mut Visit) -> Result<BTreeSet<TargetId>, IdentityError> {
    let mut ours = context.index.identities.users(&visit.identity);
    if ours.is_empty() {
        // Counted once more, lest one be missed: what follows cannot be undone.
        ours = context.index.machines_with(&visit.identity);
    }
    nudge(context, visit, &ours);
    let mut users: BTreeSet<TargetId> = ours.iter().map(|machine| machine.as_ref().clone()).collect();
    let strangers = context.index.identities.strangers(&visit.identity);
    users.extend(confirmed(context, visit, strangers).await?);
    if users.is_empty() {
        // Nobody that is known of. Of its own subscription a list tells, now.
        let shown = listed(context, visit).await?;
        let unknown = shown.into_iter().filter(|machine| !ours.contains(machine)).collect();
        users.extend(confirmed(context, visit, unknown).await?);
    }
    Ok(users)
}

/// What their records say was so at their last visit: the next one lets go, or finds it gone.
fn nudge(context: &Context, visit: &mut Visit, ours: &BTreeSet<TargetKey>) {
    let now = context.now();
    let Some(nudged) = visit.memory.nudged else {
        visit.memory.nudged = Some(now);
        return;
    };
    if now.since(nudged) >= NUDGE {
        visit.memory.nudged = Some(now);
        for machine in ours.iter().take(NUDGED) {
            context.queue.push(machine.clone(), Urgency::Retry, None);
        }
    }
}

/// Of those that a list has shown with it, the ones that have it, or cannot be asked.
async fn confirmed(
    context: &Context,
    visit: &mut Visit,
    shown: BTreeSet<TargetKey>,
) -> Result<BTreeSet<TargetId>, IdentityError> {
    let mut users = BTreeSet::new();
    for (asked, machine) in shown.into_iter().enumerate() {
        if asked >= ASKED && !users.is_empty() {
            users.insert(machine.as_ref().clone());
            continue;
        }
        match context.arm.at(visit.urgency).machine(&machine).await {
            Ok(live) => {
                visit.memory.gone.remove(&machine);
                context.index.identities.stranger_has(&machine, live.user.keys());
                if live.has(&visit.identity) {
                    users.insert(machine.as_ref().clone());
                }
            }
            // One 404 is not gone.
            Err(ArmError::NotFound { .. }) => {
                let since = visit.memory.gone.entry(machine.clone()).or_default();
                if said_gone(since, context.now()) {
                    visit.memory.gone.remove(&machine);
                    context.index.identities.stranger_has(&machine, std::iter::empty());
                } else {
                    users.insert(machine.as_ref().clone());
                }
            }
            Err(error) if is_barred(&error) => {
                users.insert(machine.as_ref().clone());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(users)
}

fn is_barred(error: &ArmError) -> bool {
    matches!(error.class(), Class::Refused | Class::Waiting | Class::Defect)
}

/// Machines of the identity's own subscription that a list shows with it.
async fn listed(context: &Context, visit: &Visit) -> Result<BTreeSet<TargetKey>, IdentityError> {
    let arm = context.arm.at(visit.urgency);
    let mut found = BTreeSet::new();
    for kind in [MachineKind::VirtualMachine, MachineKind::ScaleSet] {
        let scope =
            Scope { subscription: visit.identity.subscription().into(), group: None, kind: Kind::Machines(kind) };
        match whole(&arm, &scope, visit).await {
            Ok(some) => found.extend(some),
            Err(error) if is_barred(&error) => {
                tracing::info!(list = %scope, error = chain(&error), "the list cannot be had; machines beyond those that are known are not looked for");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

async fn whole(arm: &Arm, scope: &Scope, visit: &Visit) -> Result<BTreeSet<TargetKey>, ArmError> {
    let mut found = BTreeSet::new();
    let mut next = None;
    for _ in 0..MOST_PAGES {
        let page = arm.list(scope, next.as_ref()).await?;
        for entry in page.entries {
            if let Listed::Machine(machine, live) = entry
                && live.has(&visit.identity)
            {
                found.insert(Arc::new(machine));
            }
        }
        match page.next {
            None => return Ok(found),
            Some(following) => next = Some(following?),
        }
    }
    Ok(found)
}
