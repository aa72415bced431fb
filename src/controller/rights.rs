//! Why ARM refuses: what it tells of our own rights, looked up once a scope and remembered, so that people read which
//! action is missing, and which role grants it where.
//!
//! Never in the way: where ARM does not tell, or the budget does not allow to ask, what is said is what ARM said.
use super::context::Context;
use super::queue::Urgency;
use crate::arm::{ArmError, Told, chain};
use lanyard_domain::grants::{Need, Permission, Weight, allows, in_words, needs, needs_of_objects};
use lanyard_domain::{IdentityId, Moment, TargetId};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// How long an answer is good, or that there was none.
const GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// On behalf of one refusal.
const NO_LONGER_THAN: Duration = Duration::from_secs(3);
const MOST_SCOPES: usize = 4;

/// Over all targets, within the time that an answer is good: of a fleet without roles not each machine asks.
const MOST_KNOWN: usize = 256;

/// Permissions, and when they were told.
type Answer = (Option<Vec<Permission>>, Moment);

/// What ARM told, by scope in lower case. None: it did not, or is being asked.
#[derive(Debug, Default)]
pub struct Rights {
    known: Mutex<HashMap<String, Answer>>,
}

enum Turn {
    Known(Option<Vec<Permission>>),
    Ask,
}

impl Rights {
    fn turn(&self, scope: &str, now: Moment) -> Turn {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((permissions, asked)) = known.get(scope)
            && now.since(*asked) < GOOD_FOR
        {
            return Turn::Known(permissions.clone());
        }
        known.retain(|_, (_, asked)| now.since(*asked) < GOOD_FOR);
        if known.len() >= MOST_KNOWN {
            return Turn::Known(None);
        }
        known.insert(scope.to_owned(), (None, now));
        Turn::Ask
    }

    fn learn(&self, scope: &str, permissions: Vec<Permission>, now: Moment) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.to_owned(), (Some(permissions), now));
    }
}

/// Adds to a refusal what is missing, if ARM tells.
pub async fn explain(context: &Context, urgency: Urgency, error: &mut ArmError) {
    let error = innermost(error);
    let needs = concerned(error);
    let Some(told) = told_of(error).filter(|told| told.rights.is_none()) else { return };
    if needs.is_empty() {
        return;
    }
    match timeout(NO_LONGER_THAN, lacking(context, urgency, &needs)).await {
        Ok(Some(lacking)) => told.rights = Some(in_words(&needs, &lacking)),
        Ok(None) => {}
        Err(_) => tracing::debug!("our rights could not be read in time"),
    }
}

fn innermost(mut error: &mut ArmError) -> &mut ArmError {
    while let ArmError::OperationFailed { cause, .. } = error {
        error = cause;
    }
    error
}

fn told_of(error: &mut ArmError) -> Option<&mut Told> {
    match error {
        ArmError::Forbidden { told, .. } | ArmError::AssignRefused { told, .. } => Some(told),
        _ => None,
    }
}

/// What the refused request needed.
fn concerned(error: &ArmError) -> BTreeSet<Need> {
    let all = match error {
        ArmError::Forbidden { action, told, .. } => {
            let needs = match (told.asked.parse::<TargetId>(), told.asked.parse::<IdentityId>()) {
                (Ok(target), _) => needs([&target], []),
                (_, Ok(id)) => needs_of_objects([(&id, true)]),
                (Err(_), Err(_)) => BTreeSet::new(),
            };
            // Where ARM names the action that it is about, the others do not matter.
            let named = |need: &Need| action.as_ref().is_none_or(|action| need.action.eq_ignore_ascii_case(action));
            needs.into_iter().filter(named).collect()
        }
        ArmError::AssignRefused { ids, .. } => {
            let known = ids.iter().filter(|id| id.as_str().parse::<IdentityId>().is_ok());
            needs([], known.take(MOST_SCOPES))
        }
        _ => BTreeSet::new(),
    };
    all.into_iter().filter(|need| need.weight == Weight::Needed).collect()
}

/// Those that no role grants. None: it could not be found out of every scope.
async fn lacking(context: &Context, urgency: Urgency, needs: &BTreeSet<Need>) -> Option<BTreeSet<Need>> {
    let mut lacking = BTreeSet::new();
    for need in needs {
        let permissions = at(context, urgency, &need.scope).await?;
        if !allows(&permissions, need.action) {
            lacking.insert(need.clone());
        }
    }
    Some(lacking)
}

async fn at(context: &Context, urgency: Urgency, scope: &str) -> Option<Vec<Permission>> {
    let folded = scope.to_lowercase();
    if let Turn::Known(known) = context.rights.turn(&folded, context.now()) {
        return known;
    }
    match context.arm.at(urgency).permissions(scope).await {
        Ok(permissions) => {
            context.rights.learn(&folded, permissions.clone(), context.now());
            Some(permissions)
        }
        Err(error) => {
            tracing::debug!(scope, error = chain(&error), "our rights cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn asks(rights: &Rights, scope: &str, seconds: u64) -> bool {
        matches!(rights.turn(scope, at(seconds)), Turn::Ask)
    }

    #[test]
    fn a_scope_is_asked_once_in_some_minutes_whether_it_tells_or_not() {
        let rights = Rights::default();
        assert!(asks(&rights, "a", 1) && !asks(&rights, "a", 2), "somebody is asking, or asked in vain");
        assert!(asks(&rights, "a", 301));
        rights.learn("a", Vec::new(), at(302));
        assert!(matches!(rights.turn("a", at(303)), Turn::Known(Some(_))));
    }

    #[test]
    fn a_fleet_without_roles_does_not_ask_for_each_machine() {
        let rights = Rights::default();
        let asked = (0..10_000).filter(|n| asks(&rights, &n.to_string(), 1)).count();
        assert_eq!(asked, MOST_KNOWN);
        assert!(asks(&rights, "later", 302));
    }
}
