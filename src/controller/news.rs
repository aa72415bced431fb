//! What a visit has to tell: what was done, what was found out, and what keeps an assignment from being ready.
use super::events::{self, Audience, News};
use super::report::Verdicts;
use super::visit::Visit;
use lanyard_domain::contest::Matter;
use lanyard_domain::depart::has_left;
use lanyard_domain::plan::Hold;
use lanyard_domain::reason::Reason;
use lanyard_domain::verdict::{Ready, Verdict, contested_matters};
use lanyard_domain::{Claims, Complete, Plan, SystemWish};

pub fn of(visit: &mut Visit, claims: &Complete<Claims>, verdicts: &Verdicts) -> Vec<News> {
    let contested = contested(visit);
    let visit = &*visit;
    let done = visit.done.iter().map(|done| events::of_done(visit, done));
    let notes = visit.notes.iter().chain(&visit.changed_principals).map(|note| events::of_note(visit, note));
    let obstacles = verdicts.iter().filter(|(_, verdict, _)| worth_an_event(verdict)).map(|(uid, verdict, _)| News {
        reason: verdict.reason.as_str(),
        action: "Visit",
        note: verdict.message.clone(),
        warning: verdict.reason != Reason::TargetNotFound,
        audience: Audience::One(uid.clone()),
    });
    let unguarded = (visit.unguarded == Some(true)).then(|| events::of_weak_mode(visit));
    let notes = notes.chain(unguarded);
    done.chain(notes).chain(system_kept(visit, claims)).chain(contested).chain(obstacles).collect()
}

/// What is still on the machine, or may come there yet, and is in no record any more.
pub fn of_what_stays(visit: &Visit, claims: &Complete<Claims>) -> Vec<News> {
    let notes = visit.notes.iter().filter(|note| note.names_what_stays()).map(|note| events::of_note(visit, note));
    notes.chain(system_kept(visit, claims)).collect()
}

/// Assignments that leave and wanted the system-assigned identity on: it stays, and people are told how to switch it off.
fn system_kept(visit: &Visit, claims: &Complete<Claims>) -> Vec<News> {
    let on = visit.live.as_ref().map_or(visit.record.system.is_some(), |live| live.system.is_some());
    let leaving = claims.leaving();
    let wanted = |uid: &str| {
        let recorded = visit.record.recorded_claim(uid);
        let read = claims.get(uid);
        let on = recorded.is_some_and(|claim| claim.system_enabled)
            || read.is_some_and(|claim| claim.system == SystemWish::Enabled);
        let name = read.map(|claim| claim.key.to_string()).or_else(|| recorded.map(|claim| claim.key.to_string()));
        name.filter(|_| on)
    };
    let left = leaving.keys().filter(|uid| on && has_left(&visit.record, claims, uid));
    left.filter_map(|uid| wanted(uid)).map(|name| events::of_system_kept(visit, &name)).collect()
}

/// A lost race or a busy machine is everyday life.
fn worth_an_event(verdict: &Verdict) -> bool {
    let everyday = matches!(
        verdict.reason,
        Reason::Applying
            | Reason::TargetChanged
            | Reason::TargetBusy
            | Reason::OperationRunning
            | Reason::AnotherWriter
            | Reason::RecordConflict
            | Reason::Throttled
            | Reason::ChangesPending
            // Told once, by `contested`.
            | Reason::Contested
    );
    let ready = match verdict.ready {
        Ready::True => true,
        Ready::AsBefore => !verdict.reconciling && !verdict.stalled,
        Ready::False | Ready::Unknown => false,
    };
    !ready && !everyday
}

/// Somebody keeps undoing us: told once for each identity, however long it goes on.
fn contested(visit: &mut Visit) -> Vec<News> {
    let matters = visit.plan.as_ref().map(contested_matters).unwrap_or_default();
    let contest = &mut visit.memory.contest;
    let news = matters.into_iter().filter(|matter| contest.is_news(matter));
    let told: Vec<Matter> = news.collect();
    told.iter()
        .filter_map(|matter| Some(events::of_contest(visit, matter, visit.memory.contest.get(matter)?)))
        .collect()
}

/// Changes that are left undone because of it: an alert rests on their count.
pub fn contested_count(visit: &Visit) -> usize {
    visit.plan.as_ref().map(contested_matters).unwrap_or_default().len()
}

/// Removals that wait for the brake: an alert rests on their count.
pub fn held_removals(visit: &Visit) -> usize {
    let holds = visit.plan.iter().flat_map(Plan::holds);
    holds.filter(|hold| matches!(hold, Hold::RemovalsPaced | Hold::RemovalsPaused)).count()
}
