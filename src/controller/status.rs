//! What people read: statuses, built from the visit and nothing else. Pure.
use super::apply::planned;
use super::events;
use super::memory::essence;
use super::seen::{self, default_of};
use super::visit::Visit;
use crate::api::assignment::{AssignmentSummary, TargetStatus, UserAssignedStatus};
use crate::api::raw::{Readable, Unread};
use crate::api::status::{
    Origin, PlannedChange, PlannedWrite, SystemAssignedStatus, SystemState, Unmanaged, UserState,
};
use crate::api::target::{TargetIdentity, TargetSummary};
use crate::api::{IdentityAssignmentStatus, IdentityTargetStatus};
use jiff::Timestamp as Wall;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use lanyard_domain::claims::Ensure;
use lanyard_domain::contest::{Matter, in_words};
use lanyard_domain::dangling::Stays;
use lanyard_domain::patch::Edit;
use lanyard_domain::plan::{DefaultChange, Hold, Step, SystemStep};
use lanyard_domain::principals::Seen;
use lanyard_domain::reason::Reason;
use lanyard_domain::target_name::target_name;
use lanyard_domain::verdict::{Ready, Trouble, Verdict, is_suspended};
use lanyard_domain::{Claim, IdentityId, Live, Plan, SystemWish, Timestamp};
use std::collections::BTreeMap;

/// `Ready=True` was said of this very generation.
pub fn was_ready(read: &Readable) -> bool {
    let status = read.object.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation) == read.object.metadata.generation;
    let ready = |condition: &Condition| condition.type_ == "Ready" && condition.status == "True";
    observed && status.is_some_and(|status| status.conditions.iter().any(ready))
}

/// What weak mode means for whoever relies on this machine.
pub const WEAK_MODE: &str = "this ARM endpoint does not honour If-Match, or tells no ETag: what somebody else changes \
     between a read and a write is not seen; no write leaves that takes away the last identity of a kind, unless the \
     controller runs with --allow-unguarded";

/// What is so beside the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Beside {
    pub suspended: bool,
    /// None: not known, so that what was said stands.
    pub unguarded: Option<bool>,
}

/// The conditions that follow from a verdict. A transition time moves only with its status.
pub fn conditions(
    old: &[Condition],
    verdict: &Verdict,
    generation: Option<i64>,
    beside: Beside,
    now: &Timestamp,
) -> Vec<Condition> {
    let condition = |kind: &str, status: &str, reason: Reason, message: &str| {
        let known = old.iter().find(|known| known.type_ == kind && known.status == status);
        // The same words with another correlation id or count are no reason to write.
        // But of a contest, how often counts.
        let same = known.filter(|known| {
            known.reason == reason.as_str()
                && reason != Reason::Contested
                && essence(&known.message) == essence(message)
        });
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.as_str().into(),
            message: same.map_or_else(|| message.into(), |known| known.message.clone()),
            observed_generation: generation,
            last_transition_time: known.map_or_else(|| time(now), |known| known.last_transition_time.clone()),
        }
    };
    let (reason, message) = (verdict.reason, verdict.message.as_str());
    let before = || old.iter().find(|known| known.type_ == "Ready").cloned();
    let ready = match verdict.ready {
        Ready::True => condition("Ready", "True", reason, message),
        Ready::False => condition("Ready", "False", reason, message),
        Ready::Unknown => condition("Ready", "Unknown", reason, message),
        Ready::AsBefore => before().unwrap_or_else(|| condition("Ready", "Unknown", reason, message)),
    };
    let mut all = vec![ready];
    if verdict.reconciling {
        all.push(condition("Reconciling", "True", reason, message));
    }
    if verdict.stalled {
        all.push(condition("Stalled", "True", reason, message));
    }
    if beside.suspended {
        all.push(condition(
            "Suspended",
            "True",
            Reason::Suspended,
            "spec.suspend is set: nothing is written; a deletion still acts",
        ));
    }
    let said = || old.iter().any(|known| known.type_ == "Unguarded");
    if beside.unguarded.unwrap_or_else(said) {
        all.push(condition("Unguarded", "True", Reason::EndpointUnguarded, WEAK_MODE));
    }
    all
}

fn time(now: &Timestamp) -> Time {
    Time(now.0.parse::<Wall>().unwrap_or(Wall::UNIX_EPOCH))
}

/// One assignment's status.
pub fn assignment(
    visit: &Visit,
    read: &Readable,
    verdict: &Verdict,
    view: &View<'_>,
    now: &Timestamp,
) -> IdentityAssignmentStatus {
    let old = read.object.status.clone().unwrap_or_default();
    let claim = &read.claim;
    let beside = Beside { suspended: is_suspended(claim), unguarded: visit.unguarded };
    let observed_generation = read.object.metadata.generation;
    let mut conditions = conditions(&old.conditions, verdict, observed_generation, beside, now);
    conditions.extend(default_changed(visit, &old.conditions, observed_generation, now));
    let (Some(live), Some(plan)) = (view.live, view.plan) else {
        let target = old.target.or_else(|| Some(target(visit, None)));
        let summary = old.summary.or_else(|| Some(summary(visit, claim, None)));
        return IdentityAssignmentStatus { observed_generation, conditions, target, summary, ..old };
    };
    IdentityAssignmentStatus {
        observed_generation,
        conditions,
        target: Some(target(visit, Some(live))),
        system_assigned: Some(system(visit, live, &plan.system)),
        user_assigned: claim.user.keys().map(|id| user(visit, id, live, view.step(plan, id), view.troubles)).collect(),
        unmanaged: Some(unmanaged(plan)),
        plan: match view.if_enforced {
            Some(enforced) => whole(enforced),
            None => part(claim, plan),
        },
        summary: Some(summary(visit, claim, Some((live, plan)))),
    }
}

/// What a status is a view of.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub live: Option<&'a Live>,
    pub plan: Option<&'a Plan>,
    pub if_enforced: Option<&'a Plan>,
    pub troubles: &'a BTreeMap<IdentityId, Trouble>,
}

impl View<'_> {
    /// What is done about an id, or what would have to be told if the assignment did not only observe.
    fn step<'a>(&'a self, plan: &'a Plan, id: &IdentityId) -> &'a Step {
        match (plan.step(id), self.if_enforced.map(|plan| plan.step(id))) {
            (Step::Protect, Some(dead @ Step::Dangling(_))) => dead,
            (step, _) => step,
        }
    }
}

/// The status of an object that cannot be read, as far as one can be given.
pub fn unread(unread: &Unread, verdict: &Verdict, now: &Timestamp) -> IdentityAssignmentStatus {
    IdentityAssignmentStatus {
        observed_generation: unread.metadata.generation,
        conditions: conditions(
            &[],
            verdict,
            unread.metadata.generation,
            Beside { suspended: false, unguarded: Some(false) },
            now,
        ),
        ..IdentityAssignmentStatus::default()
    }
}

fn target(visit: &Visit, live: Option<&Live>) -> TargetStatus {
    TargetStatus {
        name: target_name(&visit.target),
        kind: Some(visit.target.kind().display_name().into()),
        location: live.and_then(|live| live.location.clone()),
    }
}

fn system(visit: &Visit, live: &Live, step: &SystemStep) -> SystemAssignedStatus {
    let on = live.system.is_some();
    let seen = &visit.principals.system;
    let contested = match step {
        SystemStep::Held { switch, why: Hold::Contested } => contest(visit, &Matter::System(*switch)),
        _ => None,
    };
    let state = match step {
        SystemStep::Enable { .. } => SystemState::Enabling,
        SystemStep::Disable { .. } => SystemState::Disabling,
        SystemStep::Keep(_) | SystemStep::Leave { on: true } => SystemState::On,
        SystemStep::Leave { on: false } | SystemStep::Off => SystemState::Off,
        SystemStep::Disputed { .. } => SystemState::Conflict,
        SystemStep::Held { .. } => SystemState::Held,
        SystemStep::RefusedByFlexible => SystemState::Refused,
    };
    SystemAssignedStatus {
        state,
        origin: on.then(|| visit.record.system_origin().into()),
        principal_id: seen.principal.clone().filter(|_| on),
        previous_principal_id: seen.previous.clone(),
        tenant_id: live.system.as_ref().and_then(|system| system.tenant_id.clone()),
        message: contested.or_else(|| void(seen)),
    }
}

fn state(id: &IdentityId, live: &Live, step: &Step) -> UserState {
    match step {
        Step::Attach { .. } => UserState::Attaching,
        Step::Dangling(dead) if dead.stays != Stays::Confirming => UserState::Dangling,
        Step::Keep(_) | Step::Dangling(_) => UserState::Present,
        Step::Detach(_) => UserState::Detaching,
        Step::Spare => UserState::Unmanaged,
        Step::Disputed { .. } => UserState::Conflict,
        Step::Held { why: Hold::SetAside, .. } => UserState::Refused,
        Step::Held { .. } => UserState::Held,
        Step::Protect | Step::Nothing if live.has(id) => UserState::Present,
        Step::Protect | Step::Nothing => UserState::Absent,
    }
}

fn user(
    visit: &Visit,
    id: &IdentityId,
    live: &Live,
    step: &Step,
    troubles: &BTreeMap<IdentityId, Trouble>,
) -> UserAssignedStatus {
    let principal = live.user.get(id);
    let seen = seen_of(visit, id);
    let message = match step {
        Step::Held { why: Hold::SetAside, .. } => troubles.get(id).map(|trouble| trouble.message.clone()),
        Step::Held { edit, why: Hold::Contested } => contest(visit, &Matter::User(id.clone(), *edit)),
        Step::Held { edit: Edit::Attach, why } => Some(format!("not attached yet: {why}")),
        Step::Held { edit: Edit::Detach, why } => Some(format!("not removed yet: {why}")),
        Step::Dangling(dead) => (dead.stays != Stays::Confirming).then(|| dead.to_string()),
        Step::Attach { .. }
        | Step::Keep(_)
        | Step::Detach(_)
        | Step::Spare
        | Step::Protect
        | Step::Disputed { .. }
        | Step::Nothing => void(&seen),
    };
    UserAssignedStatus {
        resource_id: id.to_string(),
        state: state(id, live, step),
        origin: live.has(id).then(|| visit.record.origin(id).into()),
        client_id: principal.and_then(|principal| principal.client_id.clone()),
        principal_id: seen.principal.filter(|_| live.has(id)),
        previous_principal_id: seen.previous,
        message,
    }
}

fn unmanaged(plan: &Plan) -> Unmanaged {
    Unmanaged { count: u32::try_from(plan.unmanaged()).unwrap_or(u32::MAX) }
}

/// What a plan writes, to the letter; or how what it holds back would alter the default identity.
fn whole(plan: &Plan) -> Option<PlannedWrite> {
    let changes = plan.default_change.as_ref();
    match &plan.patch {
        Some(patch) => Some(PlannedWrite { change: planned(patch, changes), patch: Some(patch.body().to_string()) }),
        None => changes.map(|changes| {
            let change = PlannedChange { default_identity: Some(seen::of_change(changes)), ..PlannedChange::default() };
            PlannedWrite { change, patch: None }
        }),
    }
}

/// An assignment sees its own part of what is pending.
fn part(claim: &Claim, plan: &Plan) -> Option<PlannedWrite> {
    let change = whole(plan)?.change;
    let mine = |id: &String| claim.user.contains_key(&IdentityId::told_by_arm(id));
    let change = PlannedChange {
        add: change.add.into_iter().filter(mine).collect(),
        remove: change.remove.into_iter().filter(mine).collect(),
        system_assigned: change.system_assigned.filter(|_| claim.system != SystemWish::Unmanaged),
        default_identity: change.default_identity,
    };
    (change != PlannedChange::default()).then_some(PlannedWrite { change, patch: None })
}

/// Said after a write of ours altered the default identity. It ends when the spec is edited, since whoever does that
/// has read it, and when the default is another one again.
fn default_changed(visit: &Visit, old: &[Condition], generation: Option<i64>, now: &Timestamp) -> Option<Condition> {
    const KIND: &str = "DefaultIdentityChanged";
    let changes: Vec<&DefaultChange> = visit.done.iter().filter_map(|done| done.default_change.as_ref()).collect();
    if let (Some(first), Some(last)) = (changes.first(), changes.last()) {
        let change = DefaultChange { before: first.before.clone(), after: last.after.clone() };
        return (change.before != change.after).then(|| Condition {
            type_: KIND.into(),
            status: "True".into(),
            reason: Reason::DefaultIdentityChanged.as_str().into(),
            message: events::of_default_change(visit, &change),
            observed_generation: generation,
            last_transition_time: time(now),
        });
    }
    let said = old.iter().find(|condition| condition.type_ == KIND && condition.observed_generation == generation)?;
    let before = visit.before.as_ref().and_then(|before| before.default_identity.as_ref());
    let still = visit.live.as_ref().is_none_or(|live| before.is_none_or(|before| *before == default_of(live)));
    still.then(|| said.clone())
}

fn seen_of(visit: &Visit, id: &IdentityId) -> Seen {
    visit.principals.user.get(id).cloned().unwrap_or_default()
}

/// Another principal than before: what was granted to the old one is worth nothing.
fn void(seen: &Seen) -> Option<String> {
    let previous = seen.previous.as_ref().filter(|_| seen.has_changed())?;
    Some(format!("another principal than before: role assignments of {previous} are void; grant them anew"))
}

fn contest(visit: &Visit, matter: &Matter) -> Option<String> {
    visit.memory.contest.get(matter).map(|undone| in_words(matter, undone))
}

/// A dead entry is there, and not as declared.
fn summary(visit: &Visit, claim: &Claim, seen: Option<(&Live, &Plan)>) -> AssignmentSummary {
    let as_declared =
        |(id, ensure): &(&IdentityId, &Ensure)| seen.is_some_and(|(live, plan)| is_so(live, plan, id, **ensure));
    AssignmentSummary {
        machine: visit.target.name().into(),
        user: format!("{}/{}", claim.user.iter().filter(as_declared).count(), claim.user.len() + claim.unresolved()),
    }
}

fn is_so(live: &Live, plan: &Plan, id: &IdentityId, ensure: Ensure) -> bool {
    match ensure {
        Ensure::Present | Ensure::Kept => live.has(id) && state(id, live, plan.step(id)) != UserState::Dangling,
        Ensure::Absent => !live.has(id),
    }
}

/// The `IdentityTarget`'s view of the machine.
pub fn of_target(visit: &Visit, verdict: &Verdict, view: &View<'_>, now: &Timestamp) -> IdentityTargetStatus {
    let old = visit.stored.as_ref().and_then(|stored| stored.status.clone()).unwrap_or_default();
    let beside = Beside { suspended: false, unguarded: visit.unguarded };
    let conditions = conditions(&old.conditions, verdict, None, beside, now);
    let kind = Some(visit.target.kind().display_name().into());
    let last_write = visit.last_write.clone().or(old.last_write.clone());
    let (Some(live), Some(plan)) = (view.live, view.plan) else {
        let summary =
            old.summary.or_else(|| Some(TargetSummary { machine: visit.target.name().into(), user: String::new() }));
        return IdentityTargetStatus { conditions, kind, last_write, summary, ..old };
    };
    let declared = plan
        .steps
        .iter()
        .filter(|(id, step)| live.has(id) && matches!(step, Step::Keep(_) | Step::Protect | Step::Disputed { .. }));
    let declared = declared.count();
    IdentityTargetStatus {
        conditions,
        kind,
        location: live.location.clone(),
        system_assigned: Some(system(visit, live, &plan.system)),
        identities: identities(visit, live, plan),
        unmanaged: Some(unmanaged(plan)),
        default_identity: Some(default_of(live)),
        plan: whole(plan),
        last_write,
        summary: Some(TargetSummary {
            machine: visit.target.name().into(),
            user: format!("{declared}/{}", live.user.len()),
        }),
    }
}

fn identities(visit: &Visit, live: &Live, plan: &Plan) -> Vec<TargetIdentity> {
    let claimed_by = |id: &IdentityId| {
        let naming = visit.read.iter().filter(|read| read.claim.leaving.is_none() && read.claim.user.contains_key(id));
        naming.map(|read| read.claim.key.to_string()).collect()
    };
    let identity = |(id, step): (&IdentityId, &Step)| TargetIdentity {
        resource_id: id.to_string(),
        state: state(id, live, step),
        origin: live.has(id).then(|| Origin::from(visit.record.origin(id))),
        principal_id: seen_of(visit, id).principal.filter(|_| live.has(id)),
        previous_principal_id: seen_of(visit, id).previous,
        client_id: live.user.get(id).and_then(|principal| principal.client_id.clone()),
        claimed_by: claimed_by(id),
    };
    plan.steps.iter().map(identity).collect()
}
