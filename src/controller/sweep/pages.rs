//! One sweep: all pages of one list.
use super::entries::{still_awaited, take_up};
use crate::arm::{ArmError, Missing, NextPage, Page, chain};
use crate::controller::context::Context;
use crate::controller::schedule::jitter;
use crate::health::may_take;
use lanyard_domain::Moment;
use lanyard_domain::pace::{Class, Urgency};
use lanyard_domain::sweep::{Ended, Scope};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A page is asked for again so often, before the sweep is given up.
const TRIES: u32 = 4;

/// What a page may wait for its budget, in all. After that the sweep gives its place to others, and begins anew when its
/// time comes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// No subscription has so many pages: a list that goes on for ever is broken.
const MOST_PAGES: usize = 10_000;

/// Asks for all pages of a list, and has each entry judged.
pub async fn sweep(context: Arc<Context>, scope: Scope) -> Ended {
    let (context, scope) = (&*context, &scope);
    let mut next: Option<NextPage> = None;
    let mut known: HashSet<NextPage> = HashSet::new();
    let mut seen = HashSet::new();
    let mut all_readable = true;
    loop {
        let (requested, page) = match page(context, scope, next.as_ref()).await {
            Ok(page) => page,
            // The group is not there yet: nor is any machine in it.
            Err(ArmError::NotFound { missing: Missing::Group, .. }) if known.is_empty() && scope.group.is_some() => {
                break;
            }
            Err(error) => return broken(scope, known.len(), &error),
        };
        let Page { entries, unreadable, next: following } = page;
        all_readable &= unreadable == 0;
        if unreadable > 0 {
            tracing::warn!(list = %scope, unreadable, "entries of a list could not be read; what they are about is read by itself");
        }
        seen.extend(take_up(context, entries, requested).await);
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
    if all_readable {
        still_awaited(context, scope, &seen);
    }
    Ended::Whole { pages: u32::try_from(known.len() + 1).unwrap_or(u32::MAX) }
}

/// One page, asked for again where that may help, and when it was asked for.
async fn page(context: &Context, scope: &Scope, page: Option<&NextPage>) -> Result<(Moment, Page), ArmError> {
    let mut failed = 0;
    let begun = context.now();
    loop {
        let requested = context.now();
        let error = match context.arm.at(Urgency::Drift).list(scope, page).await {
            Ok(page) => return Ok((requested, page)),
            Err(error) => error,
        };
        let wait = match error.class() {
            Class::Throttled(pause) if context.now().after(pause).since(begun) <= LONGEST_PAUSE => pause,
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
        may_take(wait);
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
    let (wants_token, error) = (error.wants_token(), chain(error));
    match ended {
        // Said once, for all that is to be asked.
        _ if wants_token => tracing::debug!(list = %scope, pages, error, "the list cannot be had"),
        Ended::Barred => {
            tracing::warn!(list = %scope, pages, error, "the list cannot be had; what is in it is read one by one");
        }
        Ended::Broken | Ended::Whole { .. } => {
            tracing::info!(list = %scope, pages, error, "the sweep broke off; it is tried again");
        }
    }
    ended
}
