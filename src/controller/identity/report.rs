//! The end of every visit, whatever happened: statuses, finalizers, Events, and when to come back.
use super::error::IdentityError;
use super::index::Declared;
use super::visit::{DRIFT, End, LAGS_FOR, Visit, shown_users};
use crate::api::UserAssignedIdentityStatus;
use crate::arm::chain;
use crate::clock::milliseconds;
use crate::controller::context::Context;
use crate::controller::events;
use crate::controller::queue::Urgency;
use crate::controller::reconcile::Next;
use crate::controller::schedule::{error_gets_a_line, jitter, next_try};
use crate::controller::status::{Beside, conditions};
use crate::fail_point::{self, IdentityPoint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;
use lanyard_domain::identity::{Note, Origin, Policy, Told};
use lanyard_domain::pace::{Class, pause};
use lanyard_domain::reason::Reason;
use lanyard_domain::verdict::{Ready, Trouble, Verdict, troubled};
use lanyard_domain::{Own, TargetId};
use std::time::Duration;
use tokio::time::Instant;

pub const FINALIZER: &str = "lanyard.dev/user-assigned-identity";

/// Names longer than this are outside of what Microsoft documents to work on VMs and scale sets ("Azure subscription and
/// service limits", managed identity limits).
const LONGEST_FOR_MACHINES: usize = 24;

/// How often the outputs are looked at where there are some. Nothing is asked of ARM for it between drift looks.
const OUTPUTS: Duration = Duration::from_secs(60);

/// How often machines that keep an identity are asked again.
const IN_USE: Duration = Duration::from_secs(30);

const AWAITED: Duration = Duration::from_secs(10);

/// Tells everybody what is now so, and says when to come back.
pub async fn report(context: &Context, visit: &mut Visit, end: &Result<End, IdentityError>) -> Next {
    if !context.lead.is_held() {
        return None;
    }
    let (next, trouble) = match end {
        Err(IdentityError::Stopping) => return None,
        Err(error) => failed(context, visit, error),
        Ok(end) => (next(context, visit, end), None),
    };
    notes(context, visit);
    if let Ok(End::Settled(_)) = end {
        finalizer(context, visit).await;
    }
    let written = statuses(context, visit, end, trouble.as_ref()).await;
    for told in std::mem::take(&mut visit.told) {
        tell(context, visit, told).await;
    }
    if let (Some(trouble), true) = (&trouble, visit.owner.is_some()) {
        let stalled = troubled(trouble, false).stalled;
        if stalled && visit.memory.is_news(trouble.reason.as_str(), &trouble.message) {
            tell(context, visit, (trouble.reason.as_str(), trouble.message.clone(), true)).await;
        }
    }
    if let Ok(End::Settled(_)) = end {
        visit.memory.all_is_well();
    }
    if let Err(error) = written {
        tracing::warn!(%error, "how the visit ended could not be told in full");
        return Some((Instant::now() + Duration::from_secs(2), Urgency::Retry));
    }
    next
}

fn failed(context: &Context, visit: &mut Visit, error: &IdentityError) -> (Next, Option<Trouble>) {
    let now = context.now();
    let (class, reason) = (error.class(), error.reason());
    let row = visit.memory.failures.count(class, reason, now);
    let lasting = now.since(row.reason_since);
    let wait = pause(class, row.times, lasting, jitter());
    let urgency = match class {
        Class::Waiting => Urgency::Waiting,
        Class::Replan | Class::Transient | Class::Throttled(_) | Class::Refused | Class::Defect => Urgency::Retry,
    };
    let message = chain(error) + next_try(class);
    let cause = if let IdentityError::Arm(cause) = error { Some(cause) } else { None };
    let (failures, wait_ms) = (row.times, wait.as_millis());
    if error_gets_a_line(context, visit.identity.subscription(), reason, cause) {
        tracing::warn!(reason = reason.as_str(), failures, wait_ms, error = message, "the visit ended early");
    } else {
        tracing::debug!(reason = reason.as_str(), failures, wait_ms, error = message, "the visit ended early");
    }
    let trouble = Trouble { reason, message, lasting, unwell: now.since(row.unwell_since) };
    (Some((Instant::now() + wait, urgency)), Some(trouble))
}

fn next(context: &Context, visit: &Visit, end: &End) -> Next {
    let drift = DRIFT.mul_f64(1.0 - 0.1 * jitter());
    let outputs = visit.owner.as_ref().is_some_and(|owner| owner.wish.outputs.is_some());
    let (wait, urgency) = match end {
        End::Settled(_) if visit.outputs_trouble.is_some() => (OUTPUTS / 2, Urgency::Retry),
        End::Settled(_) if outputs => (OUTPUTS.mul_f64(1.0 - 0.1 * jitter()), Urgency::Drift),
        End::Settled(_) => (drift, Urgency::Drift),
        End::Exists => (Duration::from_secs(120).mul_f64(1.0 - 0.25 * jitter()), Urgency::Retry),
        End::InUse => {
            let lasting = visit.memory.in_use.map_or(Duration::ZERO, |since| context.now().since(since));
            (IN_USE.max(lasting / 10).min(Duration::from_secs(300)), Urgency::Deletion)
        }
        End::Awaited => (AWAITED, Urgency::Deletion),
        End::Gone | End::Nobody => {
            // Others that name it have it now.
            let staying = visit.objects.iter().any(|object| !object.wish.leaving);
            return staying.then(|| (Instant::now(), Urgency::Change));
        }
    };
    Some((Instant::now() + wait, urgency))
}

/// What was found out, and who is to hear of it.
fn notes(context: &Context, visit: &mut Visit) {
    let name = visit.identity.name().to_owned();
    for note in std::mem::take(&mut visit.notes) {
        let told = match note {
            Note::Arrived => {
                ("IdentityCreated", format!("{name} was created by a request whose answer was lost"), false)
            }
            Note::Recreated { old, new } => (
                "IdentityRecreated",
                format!(
                    "somebody deleted {name} and created it again: its principal is {new}, was {old}; it is not Lanyard's \
                     any more, and is not deleted with this object"
                ),
                true,
            ),
            Note::Adopted { principal_id } => (
                "IdentityAdopted",
                format!("{name} was there (principal {principal_id}), and is kept as declared from now on"),
                false,
            ),
        };
        visit.told.push(told);
    }
    let (Some(old), Some(known)) = (&visit.before, &visit.known) else { return };
    if *old == known.principal_id {
        return;
    }
    let note = format!(
        "the principal of {name} is {} now, was {old}: role assignments of the old one are void",
        known.principal_id
    );
    visit.told.push(("PrincipalChanged", note, true));
    // Entries on machines are dead now: their next visits see it, and repair what is ours.
    context.identities.learn(&visit.identity, &Own::There(known.principal_id.clone()), context.now());
    for machine in context.index.machines_with(&visit.identity) {
        context.queue.push(machine, Urgency::Change, None);
    }
}

/// There as long as deleting the object means deleting the identity.
///
/// Best effort: the record remembers what the finalizer would have waited for.
pub async fn finalizer(context: &Context, visit: &mut Visit) {
    let (Some(owner), Some(record)) = (visit.owner.clone(), &visit.record) else { return };
    let adopted = record.origin == Some(Origin::Adopted);
    let deletes = !adopted || owner.wish.delete_adopted == record.principal_id;
    let needed = record.policy == Policy::Delete && deletes && !owner.wish.leaving;
    if needed && !has_finalizer(&owner) {
        fail_point::reached_by_identity(IdentityPoint::BeforeIdentityFinalizer, &visit.identity).await;
        match context.kubernetes.set_identity_finalizer(owner.metadata(), FINALIZER, true).await {
            Ok(made) => visit.memory.versions.made(owner.metadata(), made),
            Err(error) => {
                tracing::warn!(object = %owner.wish.key, %error, "the finalizer could not be added; the record remembers all the same");
            }
        }
    }
}

fn has_finalizer(object: &Declared) -> bool {
    object.metadata().finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

async fn statuses(
    context: &Context,
    visit: &mut Visit,
    end: &Result<End, IdentityError>,
    trouble: Option<&Trouble>,
) -> Result<(), crate::controller::kubernetes::KubeError> {
    let mut result = Ok(());
    for object in visit.objects.clone() {
        let owns = visit.owner.as_ref().is_some_and(|owner| owner.wish.key.uid == object.wish.key.uid);
        let went =
            matches!(end, Ok(End::Gone | End::Nobody)) || !owns && (visit.owner.is_some() || visit.record.is_some());
        let may_go = object.wish.leaving && (went || object.wish.released);
        if may_go && has_finalizer(&object) {
            fail_point::reached_by_identity(IdentityPoint::BeforeIdentityFinalizerGoes, &visit.identity).await;
            let let_go = context.kubernetes.set_identity_finalizer(object.metadata(), FINALIZER, false).await;
            result = result.and(let_go.map(|_| ()));
        }
        if may_go || (owns && matches!(end, Ok(End::Gone))) {
            continue;
        }
        let verdict = match (owns, trouble, end) {
            (false, _, _) if visit.record.is_some() => conflict(visit),
            (_, Some(trouble), _) => troubled(trouble, was_ready(&object)),
            (true, None, Ok(end)) => verdict(context, visit, end),
            (false, None, _) | (true, None, Err(_)) => continue,
        };
        let status = status(context, visit, &object, owns, &verdict, end);
        if object.object.status.as_ref() != Some(&status) {
            let versions = &mut visit.memory.versions;
            let (shown, latest) = (object.metadata(), versions.latest(object.metadata()));
            let written = context.kubernetes.apply_identity_status(shown, latest.as_deref(), &status).await;
            result = result.and(written.map(|made| versions.made(shown, made)));
        }
    }
    result
}

/// `Ready=True` was said of this very generation.
fn was_ready(object: &Declared) -> bool {
    let status = object.object.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation) == object.metadata().generation;
    let ready = |condition: &Condition| condition.type_ == "Ready" && condition.status == "True";
    observed && status.is_some_and(|status| status.conditions.iter().any(ready))
}

fn conflict(visit: &Visit) -> Verdict {
    let message =
        format!("{} has this identity already, and one object may have it: delete one of the two", visit.owner_name());
    Verdict::of(Reason::Conflict, message, Duration::ZERO)
}

fn verdict(context: &Context, visit: &mut Visit, end: &End) -> Verdict {
    if *end != End::InUse {
        visit.memory.in_use = None;
    }
    match end {
        End::Settled(_) => match &visit.outputs_trouble {
            Some(trouble) => Verdict::of(Reason::OutputsRefused, trouble.clone(), Duration::ZERO),
            None => Verdict {
                ready: Ready::True,
                reason: Reason::AsDeclared,
                message: "the identity exists, and is as declared".into(),
                reconciling: false,
                stalled: false,
            },
        },
        End::Exists => {
            let message = "the identity exists, and spec.adopt is Never: set it to IfExists to have it taken over, or name another";
            Verdict::of(Reason::IdentityExists, message.into(), Duration::ZERO)
        }
        End::InUse => {
            let since = *visit.memory.in_use.get_or_insert(context.now());
            let message = format!(
                "the identity is not deleted while machines have it: {}; what Lanyard attached for references to it is being \
                 taken off, the rest is for others to remove (lanyard.dev/release: \"true\" leaves the identity in Azure)",
                events::listed(visit.users.iter().map(TargetId::as_str))
            );
            Verdict::of(Reason::IdentityInUse, message, context.now().since(since))
        }
        End::Awaited => Verdict::on_the_way(
            Reason::Applying,
            format!(
                "deleted: a request to create the identity was never answered, and is waited for up to {} s",
                LAGS_FOR.as_secs()
            ),
        ),
        End::Gone | End::Nobody => Verdict::on_the_way(Reason::Applying, "deleted".into()),
    }
}

fn status(
    context: &Context,
    visit: &Visit,
    object: &Declared,
    owns: bool,
    verdict: &Verdict,
    end: &Result<End, IdentityError>,
) -> UserAssignedIdentityStatus {
    let old = object.object.status.clone().unwrap_or_default();
    let (generation, now) = (object.metadata().generation, context.wall());
    let beside = Beside { suspended: false, unguarded: Some(false) };
    let mut all = conditions(&old.conditions, verdict, generation, beside, &now);
    let mut also = |kind: &str, reason: Reason, message: String| {
        let known = old.conditions.iter().find(|known| known.type_ == kind && known.status == "True");
        let moved = || Time(now.0.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH));
        all.push(Condition {
            type_: kind.into(),
            status: "True".into(),
            reason: reason.as_str().into(),
            message,
            observed_generation: generation,
            last_transition_time: known.map_or_else(moved, |known| known.last_transition_time.clone()),
        });
    };
    if let Ok(End::Settled(Told { location: Some(location) })) = end {
        let message = format!("the identity is in {location}, and cannot be moved: spec.location says another region");
        also("LocationDiffers", Reason::LocationDiffers, message);
    }
    if visit.identity.name().len() > LONGEST_FOR_MACHINES {
        let message = format!(
            "the name has {} characters; Microsoft documents {LONGEST_FOR_MACHINES} as the most with which the assignment to a \
             VM or scale set works properly (Azure subscription and service limits, managed identity limits)",
            visit.identity.name().len()
        );
        also("NameTooLongForMachines", Reason::NameTooLongForMachines, message);
    }
    let resource_id = Some(visit.identity.to_string());
    if !owns {
        return UserAssignedIdentityStatus {
            observed_generation: generation,
            conditions: all,
            resource_id,
            ..UserAssignedIdentityStatus::default()
        };
    }
    let Some(known) = &visit.known else {
        return UserAssignedIdentityStatus { observed_generation: generation, conditions: all, resource_id, ..old };
    };
    let record = visit.record.as_ref();
    let another = old.principal_id.clone().filter(|old| *old != known.principal_id);
    UserAssignedIdentityStatus {
        observed_generation: generation,
        conditions: all,
        resource_id,
        client_id: Some(known.client_id.clone()),
        principal_id: Some(known.principal_id.clone()),
        previous_principal_id: another.or(old.previous_principal_id),
        tenant_id: Some(known.tenant_id.clone()),
        location: Some(known.location.clone()).filter(|location| !location.is_empty()),
        origin: record.and_then(|record| record.origin).map(Into::into),
        users: shown_users(context, visit),
    }
}

/// Publishes an Event on the object, or where it is gone on the record. Best effort.
pub async fn tell(context: &Context, visit: &Visit, (reason, note, warning): (&'static str, String, bool)) {
    let about = match (&visit.owner, &visit.stored) {
        (Some(owner), _) => owner.object.object_ref(&()),
        (None, Some(stored)) => stored.object_ref(&()),
        (None, None) => return,
    };
    events::send(context, &about, reason, "Reconcile", &note, warning).await;
}

/// A write to Azure, for the audit stream.
pub struct Audit {
    pub action: &'static str,
    pub outcome: &'static str,
    pub request_id: Option<String>,
    pub correlation_id: Option<String>,
    pub took: Duration,
    pub tags: Option<String>,
    pub error: Option<String>,
}

pub fn audit(visit: &Visit, audit: &Audit) {
    tracing::info!(
        target: "audit",
        identity = %visit.identity,
        action = audit.action,
        object = visit.owner_name(),
        managers = visit.owner.as_ref().map(|owner| owner.managers.join("+")),
        principal_before = visit.before,
        tags = audit.tags,
        client_request_id = audit.request_id,
        correlation_id = audit.correlation_id,
        took_ms = milliseconds(audit.took),
        outcome = audit.outcome,
        error = audit.error,
        "identity written",
    );
}
