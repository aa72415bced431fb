//! One visit to one target.
//!
//! 1 gather (reads ARM and Kubernetes), 2 plan (pure), 3 record the intent, 4 apply it; then report, whatever happened.
use super::apply::{Applied, apply};
use super::context::Context;
use super::error::VisitError;
use super::memory::Asked;
use super::queue::{TargetKey, Urgency};
use super::record::record;
use super::seen::Before;
use super::story::Ending;
use super::visit::Visit;
use super::{events, gather, identities, refusal, report, rights, seen};
use crate::api::ADOPT;
use crate::arm::{Precondition, Reservation};
use crate::fail_point::{self, Point};
use crate::health::in_line;
use crate::telemetry::traces::{self, step};
use futures::FutureExt;
use lanyard_domain::audit::audit;
use lanyard_domain::contest::{Contested, Matter};
use lanyard_domain::depart::{adopt, depart};
use lanyard_domain::halving::Again;
use lanyard_domain::intend::nothing_to_look_for;
use lanyard_domain::judge::{Judge, Judgement, Waiting, judge};
use lanyard_domain::plan::{Bounds, Guard};
use lanyard_domain::target_name::target_name;
use lanyard_domain::{Claim, Claims, Complete, Facts, Moment, Patch, Plan, SystemWish, plan};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

/// Plans that one visit may try, before it makes room for others: ARM may name what it refuses one by one.
const ROUNDS: usize = 16;

/// While a refusal for want of a role lasts, tokens are renewed this often.
const TOKEN_FOR_A_GRANT: Duration = Duration::from_secs(10 * 60);

/// When the target is visited next, and who waits for it.
pub type Next = Option<(Instant, Urgency)>;

/// Visits a target. What it logs has the ids that Events, statuses and the audit stream have.
pub async fn reconcile(
    context: &Context,
    target: TargetKey,
    urgency: Urgency,
    slot: Option<OwnedSemaphorePermit>,
) -> Next {
    let part = context.stories.visit(&target, urgency);
    let lines = tracing::info_span!(
        "reconcile",
        machine = %target,
        identity_target = target_name(&target),
        trace_id = traces::trace_id(&part),
    );
    let visit = visited(context, target, urgency, slot, &part).instrument(lines);
    visit.instrument(part.clone()).await
}

async fn visited(
    context: &Context,
    target: TargetKey,
    urgency: Urgency,
    slot: Option<OwnedSemaphorePermit>,
    part: &Span,
) -> Next {
    tracing::debug!(?urgency, "a visit begins");
    let memory = context.recall(&target);
    let began = Instant::now();
    let mut visit = Visit::new(target.clone(), urgency, context.now(), memory);
    visit.slot = slot;
    let mut end = steps(context, &mut visit).await;
    if let Err(VisitError::Arm(error) | VisitError::Probe(error)) = &mut end {
        Box::pin(rights::explain(context, visit.urgency(), error)).await;
    }
    let next = Box::pin(report::report(context, &mut visit, &end)).instrument(step!("report")).await;
    let ending = Ending::of(end.as_ref().err().map(VisitError::reason), next);
    context.metrics.visited(ending.reason, began.elapsed());
    context.stories.ended(&target, part, ending);
    if next.is_some() || visit.stored.is_some() {
        context.remember(&target, visit.memory);
    }
    next
}

/// What does not wait for operations is boxed: thousands of visits may wait for theirs together, and each future is as
/// large as the largest of its parts.
async fn steps(context: &Context, visit: &mut Visit) -> Result<(), VisitError> {
    for _ in 0..ROUNDS {
        if context.stop.is_cancelled() {
            return Err(VisitError::Stopping);
        }
        // 1. gather
        let claims = Box::pin(gather_claims(context, visit)).instrument(step!("claims")).await?;
        if nothing_to_look_for(&visit.record, &claims) {
            return Ok(());
        }
        Box::pin(renew_token(context, visit)).await?;
        Box::pin(refusal::look_again(context, visit)).await;
        visit.live = None;
        visit.live = Some(Box::pin(gather::live(context, visit)).instrument(step!("gather")).await?);
        judge_record(context, visit)?;
        // 2. plan
        let decided = Box::pin(decide(context, visit, claims)).instrument(step!("plan")).await?;
        let Some((claims, plan, patch)) = decided else { return Ok(()) };
        if visit.is_being_forgotten() {
            return Ok(());
        }
        // 3. record: the intent is written before the PATCH leaves
        if !may_leave(context, visit, &claims, &patch)? {
            continue;
        }
        let removals = patch.removals();
        let refund = |_: &VisitError| context.brake.refund(removals);
        let reservation = reserve(context, visit).await.inspect_err(refund)?;
        Box::pin(events::before_rollout(context, visit)).await;
        fail_point::reached(Point::BeforeIntent, &visit.target).await;
        let recording = Box::pin(record(context, visit, &claims, &plan, patch));
        let recorded = recording.instrument(step!("record")).await;
        let recorded = recorded.inspect_err(refund)?;
        fail_point::reached(Point::AfterIntent, &visit.target).await;
        drop((claims, plan));
        // 4. apply
        match apply(context, visit, recorded, reservation).instrument(step!("apply")).await? {
            Applied::Ended | Applied::NotSent | Applied::Refused | Applied::Failed => {}
        }
    }
    Err(VisitError::TooManyRounds)
}

/// The right to write, before the intent is recorded. Whoever waits for its turn keeps nobody else from working.
async fn reserve(context: &Context, visit: &mut Visit) -> Result<Reservation, VisitError> {
    let arm = context.arm.at(visit.urgency());
    let target = visit.target.clone();
    let mut reserving = std::pin::pin!(arm.reserve_write(&target));
    if let Some(at_once) = reserving.as_mut().now_or_never() {
        return Ok(at_once?);
    }
    visit.slot = None;
    let reserved = tokio::select! {
        () = context.stop.cancelled() => Err(VisitError::Stopping),
        reserved = reserving => reserved.map_err(VisitError::from),
    };
    visit.slot = in_line(context.slots.clone().acquire_owned()).await.ok();
    reserved
}

/// Every claim accounted for; those that leave without a write end here, since that needs no machine to be seen.
async fn gather_claims(context: &Context, visit: &mut Visit) -> Result<Complete<Claims>, VisitError> {
    if visit.stored.is_none() && visit.claims.is_none() {
        gather::load(context, visit)?;
    }
    let claims = gather::claims(context, visit).await?;
    visit.claims = Some(claims.clone());
    let wishes = visit.wishes();
    begin_anew(context, visit, &claims, &wishes);
    visit.memory.heard(wishes, context.now());
    let (record, notes) = depart(&visit.record, &claims);
    visit.record = record;
    visit.notes.extend(notes);
    Ok(claims)
}

/// Who edits what is contested begins anew with it; who asks for a look has it repaired once, now.
fn begin_anew(context: &Context, visit: &mut Visit, claims: &Claims, wishes: &[Asked]) {
    let edited = visit.memory.edited(wishes);
    let claims: Vec<&Claim> = edited.iter().filter_map(|uid| claims.get(uid)).collect();
    let hurried = visit.memory.hurried(wishes);
    let undone = &mut visit.memory.contest;
    undone.forget(|matter| match matter {
        Matter::User(id, _) => claims.iter().any(|claim| claim.user.contains_key(id)),
        Matter::System(_) => claims.iter().any(|claim| claim.system != SystemWish::Unmanaged),
    });
    if hurried {
        undone.hurry(context.now());
    }
}

/// ARM learns of some grants by a new token only.
async fn renew_token(context: &Context, visit: &Visit) -> Result<(), VisitError> {
    if visit.memory.waits_for_a_grant() {
        context.arm.renew_token(TOKEN_FOR_A_GRANT).await?;
    }
    Ok(())
}

fn judge_record(context: &Context, visit: &mut Visit) -> Result<(), VisitError> {
    if visit.before.is_none() {
        visit.before = Some(Before::of(visit));
    }
    let Some(live) = &visit.live else { return Err(VisitError::TooManyRounds) };
    if guard(context, visit) != Guard::IfMatch && visit.memory.contest.doubts(live, context.now()) {
        return Err(VisitError::Waiting(Waiting::StaleRead));
    }
    visit.memory.contest.saw(live);
    let timestamp = context.wall();
    let by = Judge { writer: &context.writer, now: context.now(), timestamp: &timestamp };
    match judge(&visit.record, live, &mut visit.memory.protocol, by) {
        Judgement::Wait(why) => {
            visit.going = why == Waiting::Deleting;
            Err(VisitError::Waiting(why))
        }
        Judgement::Clear { record, notes } => {
            visit.record = record;
            visit.notes.extend(notes);
            seen::look(visit);
            Ok(())
        }
    }
}

/// The plan, if it has something to write. Whether AKS owns the group is asked before a write, or before one is shown;
/// whether If-Match holds, before a write only.
async fn decide(
    context: &Context,
    visit: &mut Visit,
    claims: Complete<Claims>,
) -> Result<Option<(Complete<Claims>, Plan, Patch)>, VisitError> {
    let mut claims = gather::without_aks(visit, &claims, None).unwrap_or(claims);
    adopt_if_asked(context, visit, &claims);
    identities::begin(visit);
    if draw(context, visit, &claims).patch.is_none() {
        // Never in the way of a change: whoever is dead has been so for a while.
        identities::look(context, visit, &claims).await;
    }
    if draw(context, visit, &claims).patch.is_some() || is_observed(visit) {
        let managed_by = gather::group_managed_by(context, visit).await?;
        claims = gather::without_aks(visit, &claims, managed_by.as_deref()).unwrap_or(claims);
    }
    let mut drawn = draw(context, visit, &claims);
    if drawn.patch.is_some() && context.choices.probe {
        if probe(context, visit).await? == Some(Precondition::Ignored) {
            tracing::warn!(
                kind = visit.target.kind().display_name(),
                "this ARM endpoint ignores If-Match: no write that shrinks `type` leaves without --allow-unguarded"
            );
            // A PATCH of nothing was accepted: what was read before it is not fresh any more.
            visit.live = Some(gather::live(context, visit).await?);
            judge_record(context, visit)?;
            identities::begin(visit);
            identities::look(context, visit, &claims).await;
        }
        drawn = draw(context, visit, &claims);
    }
    visit.claims = Some(claims.clone());
    visit.plan = Some(drawn.clone());
    Ok(drawn.patch.clone().map(|patch| (claims, drawn, patch)))
}

/// Somebody is shown what Enforce would do, and Enforce would ask whose the group is.
fn is_observed(visit: &Visit) -> bool {
    visit.read.iter().any(|read| read.claim.leaving.is_none() && !read.claim.enforces())
}

/// Asks once whether the endpoint honours If-Match for this kind. Says what it heard, if it had to ask.
async fn probe(context: &Context, visit: &Visit) -> Result<Option<Precondition>, VisitError> {
    let kind = visit.target.kind();
    if context.precondition(kind).is_some() {
        return Ok(None);
    }
    // A few at a time: the first answers for all, and one that hangs does not hold up the rest.
    let _turn = in_line(context.probes.acquire()).await;
    if context.precondition(kind).is_some() {
        return Ok(None);
    }
    if !context.may_patch() {
        return Err(VisitError::LeaseNotRenewed);
    }
    let answer = context.arm.at(visit.urgency()).probe(&visit.target).await.map_err(VisitError::Probe)?;
    context.learn_precondition(kind, answer);
    Ok(Some(answer))
}

/// Plans with what is known now. Without a live state there is nothing to plan.
fn draw(context: &Context, visit: &Visit, claims: &Complete<Claims>) -> Plan {
    let bounds = bounds(context, visit, context.now());
    match &visit.live {
        Some(live) => {
            plan(Facts { claims, record: &visit.record, live, bounds: &bounds, identities: &visit.identities })
        }
        None => Plan::nothing(),
    }
}

/// What keeps a stranger's write apart from ours on this machine.
fn guard(context: &Context, visit: &Visit) -> Guard {
    let without_etag = visit.live.as_ref().is_some_and(|live| live.etag.is_none());
    if without_etag { context.weak() } else { context.guard(visit.target.kind()) }
}

pub fn bounds(context: &Context, visit: &Visit, now: Moment) -> Bounds {
    let guard = guard(context, visit);
    let mut trials = visit.memory.asides.trials(now);
    if matches!(guard, Guard::Weak { allow_shrink: false }) {
        // A removal that is held for want of a guard goes with an addition: neither may wait for the other's turn.
        trials.again = Again::default();
    }
    Bounds {
        removals: context.brake.allowance(),
        set_aside: visit.memory.asides.not_now(now),
        contested: Contested::of(&visit.memory.contest, now),
        guard,
        split: visit.memory.split,
        trials,
    }
}

fn adopt_if_asked(context: &Context, visit: &mut Visit, claims: &Complete<Claims>) {
    let asked = visit.has_annotation(ADOPT, "declared") && !visit.obeyed.contains(ADOPT);
    if let (true, Some(live)) = (asked, &visit.live) {
        let (record, note) = adopt(&visit.record, claims, live, &context.wall());
        visit.record = record;
        visit.notes.extend(note);
        visit.obeyed.insert(ADOPT);
    }
}

/// The second opinion, and the budget for removals. False: plan anew.
fn may_leave(context: &Context, visit: &Visit, claims: &Complete<Claims>, patch: &Patch) -> Result<bool, VisitError> {
    let Some(live) = &visit.live else { return Err(VisitError::Waiting(Waiting::StaleRead)) };
    let if_match = patch.if_match.as_ref().map(|etag| etag.0.as_str());
    audit(&patch.body().to_string(), if_match, claims, &visit.record, live, &visit.identities)?;
    Ok(patch.removals() == 0 || context.brake.spend(patch.removals()))
}
