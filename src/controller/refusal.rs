//! A change that ARM refused, or whose operation failed: which identity it is about, and what becomes of the others.
use super::aside::{Known, Refused, Suspicion};
use super::context::Context;
use super::schedule::{jitter, next_try};
use super::visit::Visit;
use crate::arm::{ArmError, Asked, Blame, chain};
use futures::StreamExt;
use lanyard_domain::pace::Class;
use lanyard_domain::reason::Reason;
use lanyard_domain::{Edit, IdentityId, Orchestration, Patch};
use std::collections::BTreeSet;

/// Identities that are asked about at once.
const ASKED_AT_ONCE: usize = 8;

/// True: what was refused waits by itself, or is searched for; the rest goes on with another plan. False: the whole
/// target waits.
pub async fn narrowed_down(context: &Context, visit: &mut Visit, patch: &Patch, error: &ArmError) -> bool {
    let named: BTreeSet<&IdentityId> = patch.edits.keys().filter(|id| error.named_identities().contains(id)).collect();
    for (id, edit) in patch.edits.iter().filter(|(id, _)| named.contains(id)) {
        put_aside(context, visit, id, Known::ByName, *edit, error);
    }
    if !named.is_empty() {
        // It names the first that it does not find, and there may be more.
        if error.reason() == Reason::IdentityNotFound {
            ask(context, visit, patch.added().filter(|id| !named.contains(id)).cloned().collect()).await;
        }
        return true;
    }
    match error.blame() {
        Blame::Target => false,
        Blame::Identity => split(visit, patch, error) || unnamed(context, visit, patch, error).await,
        Blame::Unclear => {
            let again = visit.memory.asides.failed_again(&patch.edits);
            let several = patch.edits.len() > 1;
            if visit.memory.asides.halving.is_under_way() || (again && several) {
                search(context, visit, patch, error)
            } else {
                ask(context, visit, patch.added().cloned().collect()).await
            }
        }
    }
}

/// One endpoint was seen to refuse additions and removals mixed, on a Flexible scale set.
fn split(visit: &mut Visit, patch: &Patch, error: &ArmError) -> bool {
    let flexible = visit.live.as_ref().is_some_and(|live| live.orchestration == Orchestration::Flexible);
    let mixed = patch.added().next().is_some() && patch.removed().next().is_some();
    let once = flexible && mixed && !visit.memory.split && matches!(error, ArmError::Rejected { .. });
    visit.memory.split |= once;
    once
}

/// A read for each may tell whom it is about. Once they have been asked, only writes can.
async fn unnamed(context: &Context, visit: &mut Visit, patch: &Patch, error: &ArmError) -> bool {
    let first = !visit.memory.asides.halving.is_under_way() && patch.system.is_none();
    let found = first && ask(context, visit, patch.added().cloned().collect()).await;
    found || search(context, visit, patch, error)
}

/// The next step of the search; the culprit is set aside when it ends.
fn search(context: &Context, visit: &mut Visit, patch: &Patch, error: &ArmError) -> bool {
    if patch.edits.is_empty() {
        return false;
    }
    let culprit = visit.memory.asides.halving.refused(&patch.edits, patch.system.is_some());
    if let Some((edit, id)) = culprit.and_then(|id| Some((patch.edits.get(&id).copied()?, id))) {
        put_aside(context, visit, &id, Known::Alone, edit, error);
    } else {
        let message = format!("{}; it names no identity: which one it is about is being found out", chain(error));
        let why = Suspicion { reason: error.reason(), message, since: context.now() };
        visit.memory.asides.suspect(why);
    }
    true
}

fn put_aside(context: &Context, visit: &mut Visit, id: &IdentityId, known: Known, edit: Edit, error: &ArmError) {
    // A person, or another service, must act: a failed operation of one identity alone is no different.
    let class = if error.class() == Class::Defect { Class::Defect } else { Class::Refused };
    let said = match (known, edit) {
        (Known::Alone, Edit::Attach) => format!("ARM does not take {id}, asked for by itself: {}", chain(error)),
        (_, Edit::Detach) => format!(
            "ARM does not let {id} be taken off: {}; if the identity is gone, grant Managed Identity Operator on its \
             resource group, or make it anew",
            said_by_arm(error)
        ),
        (Known::ByName | Known::Missing | Known::Hidden, Edit::Attach) => in_short(error),
    };
    let message = said + next_try(class);
    let refused = Refused { known, edit, reason: error.reason(), message, class };
    visit.memory.asides.put(id, refused, context.now(), jitter());
}

fn said_by_arm(error: &ArmError) -> String {
    error.told().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The advice, and by what name ARM knows the refusal: its own text would repeat it at length.
fn in_short(error: &ArmError) -> String {
    let code = error.told().map(|told| told.code.as_str()).filter(|code| !code.is_empty());
    let said = code.map(|code| format!(" (ARM said {code}"));
    let correlated = error.correlation_id().map(|id| format!(", correlation id {id}")).unwrap_or_default();
    said.map_or_else(|| error.to_string(), |said| format!("{error}{said}{correlated})"))
}

/// Asks ARM about each identity by itself, and sets aside what is missing or hidden. True if any is.
async fn ask(context: &Context, visit: &mut Visit, ids: Vec<IdentityId>) -> bool {
    let mut any = false;
    for (id, answer) in answers(context, ids).await {
        any |= match answer {
            Ok(Asked::There(_)) | Err(_) => false,
            Ok(Asked::Missing) => tell(context, visit, &id, Known::Missing),
            Ok(Asked::Hidden) => tell(context, visit, &id, Known::Hidden),
        };
    }
    any
}

async fn answers(context: &Context, ids: Vec<IdentityId>) -> Vec<(IdentityId, Result<Asked, ArmError>)> {
    let one = async |id: IdentityId| {
        let answer = context.arm.identity(&id).await;
        (id, answer)
    };
    futures::stream::iter(ids.into_iter().map(one)).buffer_unordered(ASKED_AT_ONCE).collect().await
}

fn tell(context: &Context, visit: &mut Visit, id: &IdentityId, known: Known) -> bool {
    let (reason, said) = match known {
        Known::Hidden | Known::ByName | Known::Alone => (
            Reason::AssignRefused,
            format!(
                "Lanyard may not look at {id}, and ARM refuses a change with it: grant it Managed Identity Operator \
                 there, or on its resource group"
            ),
        ),
        Known::Missing => (
            Reason::IdentityNotFound,
            format!("{id} cannot be assigned since ARM does not find it: create it, or undeclare it"),
        ),
    };
    let message = said + next_try(Class::Refused);
    let refused = Refused { known, edit: Edit::Attach, reason, message, class: Class::Refused };
    visit.memory.asides.put(id, refused, context.now(), jitter());
    true
}

/// Before what was refused is tried again: a read spends no update, and tells of what is still missing.
pub async fn look_again(context: &Context, visit: &mut Visit) {
    let due = visit.memory.asides.ask_about(context.now());
    let known = |id: &IdentityId| due.iter().find(|(asked, _)| asked == id).map(|(_, known)| *known);
    for (id, answer) in answers(context, due.iter().map(|(id, _)| id.clone()).collect()).await {
        match (answer, known(&id)) {
            (Ok(Asked::Missing), _) => {
                tell(context, visit, &id, Known::Missing);
            }
            (Ok(Asked::There(_)), Some(Known::Missing)) => visit.memory.asides.appeared(&id),
            (Ok(Asked::Hidden), Some(Known::Missing)) => visit.memory.asides.hide(&id),
            (Ok(Asked::There(_) | Asked::Hidden), _) => {}
            (Err(error), _) => {
                tracing::debug!(%id, error = chain(&error), "whether the identity is there could not be asked");
                visit.memory.asides.postpone(&id, context.now());
            }
        }
    }
}
