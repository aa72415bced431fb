//! The end of every visit, whatever happened: the record settled, statuses, finalizers and Events.
use super::context::Context;
use super::error::{RecordTrouble, VisitError};
use super::kubernetes::KubeError;
use super::memory::Versions;
use super::reconcile::{Next, bounds};
use super::record::{remove, write};
use super::schedule::{failed, next_look};
use super::status::{self, View};
use super::visit::Visit;
use super::{events, finalizers, gather, news, record};
use crate::api::IdentityTargetStatus;
use crate::api::raw::Readable;
use crate::arm::chain;
use crate::fail_point::{self, Point};
use lanyard_domain::claims::{Holding, Stance};
use lanyard_domain::depart::has_left;
use lanyard_domain::intend::{Ending, Settled, settle as settled};
use lanyard_domain::plan::{Bounds, Removals, Trials};
use lanyard_domain::reason::Reason;
use lanyard_domain::verdict::{Case, End, Ready, Trouble, Verdict, held_back, verdict};
use lanyard_domain::{Claims, Complete, Facts, IdentityId, Orchestration, Plan, plan};
use std::collections::BTreeMap;

/// Tells everybody what is now so, and says when to come back.
pub async fn report(context: &Context, visit: &mut Visit, end: &Result<(), VisitError>) -> Next {
    // Another process leads, or may: it finds out for itself, and tells.
    if !context.lead.is_held() {
        return None;
    }
    let failure = match end {
        Ok(()) => None,
        Err(VisitError::Stopping) => return None,
        Err(error) => Some(failed(context, visit, error)),
    };
    let told = told(context, visit, end, failure.as_ref().map(|failure| &failure.trouble)).await;
    match (failure, told) {
        (Some(failure), told) => {
            if let Err(error) = told {
                tracing::warn!(error = chain(&error), "how the visit ended could not be told in full");
            }
            Some(failure.next)
        }
        (None, Err(error)) => Some(failed(context, visit, &error).next),
        (None, Ok(())) => {
            all_is_well(visit);
            next_look(context, visit)
        }
    }
}

/// Trouble is over; what ARM refused is remembered only as long as it is still wanted.
fn all_is_well(visit: &mut Visit) {
    visit.memory.asides.keep_up_with(visit.plan.as_ref());
    visit.memory.all_is_well();
}

/// The writes to Kubernetes: the record with its view first, since it is what everything else rests on.
async fn told(
    context: &Context,
    visit: &mut Visit,
    end: &Result<(), VisitError>,
    trouble: Option<&Trouble>,
) -> Result<(), VisitError> {
    let Some(claims) = visit.claims.clone() else { return tell_of_record_trouble(context, visit, trouble).await };
    note_guard(context, visit);
    let ending = trouble.map_or(End::Settled, |trouble| End::Trouble(trouble.clone()));
    let mut verdicts = verdicts(context, visit, &claims, &ending);
    let news = news::of(visit, &claims, &verdicts);
    context.metrics.removals_held(news::held_removals(visit));
    context.metrics.contested(news::contested_count(visit));
    fail_point::reached(Point::BeforeSettling, &visit.target).await;
    let settled = if end.as_ref().is_err_and(VisitError::leaves_record_alone) {
        Err(None)
    } else {
        settle(context, visit, &claims, &verdicts).await.map_err(Some)
    };
    fail_point::reached(Point::AfterSettling, &visit.target).await;
    finalizers::add(context, visit).await;
    let finalizers = match &settled {
        Ok(()) => finalizers::remove(context, visit).await,
        // Not even a released object goes before the record knows: it would be taken for withdrawn.
        Err(_) => Ok(()),
    };
    let unsettled = settled.err().flatten();
    if let Some(error) = &unsettled {
        // What could not be recorded is not so: the assignments say why.
        let trouble = failed(context, visit, error).trouble;
        verdicts = self::verdicts(context, visit, &claims, &End::Trouble(trouble));
    }
    let statuses = match &unsettled {
        Some(VisitError::Record(RecordTrouble::Changed)) => Ok(()),
        Some(_) | None => assignment_statuses(context, visit, &claims, &verdicts).await,
    };
    unread_statuses(context, visit).await;
    let ended_well = trouble.is_none() && unsettled.is_none();
    let uids = visit.read.iter().map(|read| read.claim.key.uid.as_str()).collect();
    visit.memory.versions.keep(&uids);
    events::publish_all(context, visit, news, ended_well).await;
    fail_point::reached(Point::AfterEvents, &visit.target).await;
    unsettled.map_or(Ok(()), Err)?;
    finalizers.map_err(RecordTrouble::NotWritten)?;
    statuses
}

fn note_guard(context: &Context, visit: &mut Visit) {
    let without_etag = visit.live.as_ref().is_some_and(|live| live.etag.is_none());
    visit.unguarded = if without_etag { Some(true) } else { context.unguarded(visit.target.kind()) };
}

/// Whether a visit that ended well with what this one knows would write anything to Kubernetes. Writes nothing.
pub fn differs(context: &Context, visit: &mut Visit, claims: &Complete<Claims>) -> bool {
    note_guard(context, visit);
    let verdicts = verdicts(context, visit, claims, &End::Settled);
    let Settled::Keep(record) = settled(&visit.record, claims, Ending::default()) else { return true };
    let none = BTreeMap::<IdentityId, Trouble>::new();
    let view = View { live: visit.live.as_deref(), plan: visit.plan.as_ref(), if_enforced: None, troubles: &none };
    let now = context.wall();
    let status = status::of_target(visit, &of_all(claims, &verdicts, visit.plan.as_ref()), &view, &now);
    record::differs(visit, &record, status)
        || visit.read.iter().zip(&verdicts).any(|(read, (_, verdict, if_enforced))| {
            let view = View { if_enforced: if_enforced.as_ref(), ..view };
            read.object.status.as_ref() != Some(&status::assignment(visit, read, verdict, &view, &now))
        })
}

/// Writes the record as judged, with its view; or lets the object go, when nothing is left that it is for.
async fn settle(
    context: &Context,
    visit: &mut Visit,
    claims: &Complete<Claims>,
    verdicts: &Verdicts,
) -> Result<(), VisitError> {
    events::before_forgetting(context, visit, claims).await;
    let ending = Ending { gone: visit.gone, forgotten: visit.is_being_forgotten() };
    let concluded = match settled(&visit.record, claims, ending) {
        Settled::Remove => return Ok(remove(context, visit).await?),
        Settled::Keep(record) => record,
    };
    let status = view_of_target(context, visit, claims, verdicts);
    Ok(write(context, visit, &concluded, Some(status)).await?)
}

fn view_of_target(
    context: &Context,
    visit: &Visit,
    claims: &Complete<Claims>,
    verdicts: &Verdicts,
) -> IdentityTargetStatus {
    let troubles = visit.memory.asides.troubles(context.now());
    let view = View { live: visit.live.as_deref(), plan: visit.plan.as_ref(), if_enforced: None, troubles: &troubles };
    status::of_target(visit, &of_all(claims, verdicts, visit.plan.as_ref()), &view, &context.wall())
}

/// An assignment's uid, its verdict, and what switching it to `Enforce` would do if it only observes.
pub type Verdicts = Vec<(String, Verdict, Option<Plan>)>;

fn verdicts(context: &Context, visit: &Visit, claims: &Complete<Claims>, end: &End) -> Verdicts {
    let troubles = visit.memory.asides.troubles(context.now());
    let of = |read: &Readable| {
        let if_enforced = if_enforced(context, visit, claims, read);
        // As the plan saw it: a machine of AKS may have held the claim back.
        let claim = claims.get(&read.claim.key.uid).unwrap_or(&read.claim);
        let case = Case {
            claim,
            record: &visit.record,
            plan: visit.plan.as_ref().filter(|_| visit.live.is_some()),
            if_enforced: if_enforced.as_ref(),
            set_aside: &troubles,
            contest: &visit.memory.contest,
            end,
            was_ready: status::was_ready(read),
        };
        (read.claim.key.uid.clone(), with_caveat(visit, verdict(case)), if_enforced)
    };
    visit.read.iter().map(|read| of(read)).collect()
}

/// Whether the instances of a Flexible scale set get a change of its model is not documented: people are told so.
fn with_caveat(visit: &Visit, verdict: Verdict) -> Verdict {
    let flexible = visit.live.as_ref().is_some_and(|live| live.orchestration == Orchestration::Flexible);
    if flexible && verdict.reason == Reason::AsDeclared {
        let message =
            format!("{}; it is a Flexible scale set, whose existing instances may not take it over", verdict.message);
        return Verdict { message, ..verdict };
    }
    verdict
}

/// What switching this claim alone to `Enforce` would do, if it only observes.
fn if_enforced(context: &Context, visit: &Visit, claims: &Complete<Claims>, read: &Readable) -> Option<Plan> {
    let observes = matches!(read.claim.stance, Stance::Hold(Holding::Observe | Holding::Suspended));
    let live = visit.live.as_ref().filter(|_| observes && read.claim.leaving.is_none())?;
    let claims = claims.with_enforced(&read.claim, &visit.record);
    let managed_by = gather::known_managed_by(context, visit);
    let claims = gather::without_aks(visit, &claims, managed_by.as_deref()).unwrap_or(claims);
    // What others of the target are being tried for, and what is left of the brake, is not this object's part.
    let now = bounds(context, visit, context.now());
    let bounds = Bounds { trials: Trials::default(), removals: Removals::Unlimited, ..now };
    let facts = Facts { claims: &claims, record: &visit.record, live, bounds: &bounds, identities: &visit.identities };
    Some(plan(facts))
}

/// The target is as ready as the least ready of its assignments.
fn of_all(claims: &Complete<Claims>, verdicts: &Verdicts, plan: Option<&Plan>) -> Verdict {
    let undeclared = || plan.filter(|_| claims.staying().next().is_none()).and_then(held_back);
    let worst = verdicts.iter().map(|(_, verdict, _)| verdict).find(|verdict| verdict.ready != Ready::True);
    let (reason, message) = match claims.staying().next() {
        Some(_) => (Reason::InvalidSpec, "its assignments cannot be read; what they last declared stays as it is"),
        None => (Reason::Applying, "its assignments are gone; identities that Lanyard attached are being removed"),
    };
    let without = Verdict {
        ready: Ready::False,
        reason,
        message: message.into(),
        reconciling: reason == Reason::Applying,
        stalled: reason == Reason::InvalidSpec,
    };
    let told = worst.or_else(|| verdicts.first().map(|(_, verdict, _)| verdict)).cloned();
    told.or_else(undeclared).unwrap_or(without)
}

async fn assignment_statuses(
    context: &Context,
    visit: &mut Visit,
    claims: &Complete<Claims>,
    verdicts: &Verdicts,
) -> Result<(), VisitError> {
    let now = context.wall();
    let troubles = visit.memory.asides.troubles(context.now());
    let mut result = Ok(());
    for (read, (uid, verdict, if_enforced)) in visit.read.clone().iter().zip(verdicts) {
        let view = View {
            live: visit.live.as_deref(),
            plan: visit.plan.as_ref(),
            if_enforced: if_enforced.as_ref(),
            troubles: &troubles,
        };
        let left = read.claim.leaving.is_some() && has_left(&visit.record, claims, uid);
        if !left {
            let status = status::assignment(visit, read, verdict, &view, &now);
            result = result.and(write_status(context, &mut visit.memory.versions, read, &status).await);
        }
    }
    result
}

async fn write_status(
    context: &Context,
    versions: &mut Versions,
    read: &Readable,
    new: &crate::api::IdentityAssignmentStatus,
) -> Result<(), VisitError> {
    if read.object.status.as_ref() == Some(new) {
        return Ok(());
    }
    fail_point::reached(Point::BeforeStatus, &read.target).await;
    let (shown, latest) = (&read.object.metadata, versions.latest(&read.object.metadata));
    let written = context.kubernetes.apply_status(shown, latest.as_deref(), new).await;
    fail_point::reached(Point::AfterStatus, &read.target).await;
    let made = written.map_err(|error| match error {
        // What somebody else made of it is looked at first.
        KubeError::Conflict => RecordTrouble::AssignmentChanged,
        error => RecordTrouble::NotWritten(error),
    })?;
    versions.made(shown, made);
    Ok(())
}

/// An object that cannot be read is told so, once by each process.
async fn unread_statuses(context: &Context, visit: &mut Visit) {
    for unread in visit.unread.clone() {
        let why = format!(
            "this version cannot read the object: {}; what it was last known to declare stays as it is",
            chain(&unread.why)
        );
        let about = format!("unread {}", unread.claim.key.uid);
        if !visit.memory.is_news(&about, &why) {
            continue;
        }
        tracing::error!(assignment = %unread.claim.key, why, "this IdentityAssignment cannot be read");
        let verdict = Verdict {
            ready: Ready::False,
            reason: Reason::InvalidSpec,
            message: why,
            reconciling: false,
            stalled: true,
        };
        let status = status::unread(&unread, &verdict, &context.wall());
        let version = unread.metadata.resource_version.as_deref();
        if let Err(error) = context.kubernetes.apply_status(&unread.metadata, version, &status).await {
            tracing::warn!(assignment = %unread.claim.key, %error, "the status of an unreadable object could not be written");
            visit.memory.unsay(&about);
        }
    }
}

/// The record itself could not be read: nothing is written there, and every assignment says why.
async fn tell_of_record_trouble(
    context: &Context,
    visit: &mut Visit,
    trouble: Option<&Trouble>,
) -> Result<(), VisitError> {
    let of_target = context.index.of(&visit.target);
    (visit.read, visit.unread) = (of_target.read, of_target.unread);
    let Some(trouble) = trouble.filter(|_| of_target.listed) else { return Ok(()) };
    finalizers::release(context, visit).await.map_err(RecordTrouble::NotWritten)?;
    let end = End::Trouble(trouble.clone());
    let none = BTreeMap::<IdentityId, Trouble>::new();
    let view = View { live: None, plan: None, if_enforced: None, troubles: &none };
    for read in &visit.read.clone() {
        let case = Case {
            claim: &read.claim,
            record: &visit.record,
            plan: None,
            if_enforced: None,
            set_aside: &none,
            contest: &visit.memory.contest,
            end: &end,
            was_ready: status::was_ready(read),
        };
        let status = status::assignment(visit, read, &verdict(case), &view, &context.wall());
        write_status(context, &mut visit.memory.versions, read, &status).await?;
    }
    Ok(())
}

/// The view that a new record begins with: until the change has ended, nobody is to take the machine for settled.
pub fn first_view(context: &Context, visit: &Visit, claims: &Complete<Claims>) -> Option<IdentityTargetStatus> {
    let applying = || verdicts(context, visit, claims, &End::Applying);
    visit.stored.is_none().then(|| view_of_target(context, visit, claims, &applying()))
}

/// Said while an operation lasts longer than people like to wait for a word.
pub async fn under_way(context: &Context, visit: &mut Visit) {
    let Some(claims) = visit.claims.clone() else { return };
    let verdicts = verdicts(context, visit, &claims, &End::Applying);
    if let Err(error) = assignment_statuses(context, visit, &claims, &verdicts).await {
        tracing::warn!(error = chain(&error), "that a change is under way could not be told");
    }
}
