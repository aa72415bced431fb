//! What a visit would find if the machine were as a list shows it. Asks nobody, writes nothing.
use super::context::Context;
use super::queue::{TargetKey, Urgency};
use super::reconcile::bounds;
use super::seen::{self, Before};
use super::visit::Visit;
use super::{finalizers, gather, identities, report};
use crate::api::ADOPT;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::glance::{AtHand, Glance, glance};
use lanyard_domain::judge::Judge;
use lanyard_domain::{Claims, Complete, Fresh, Live, Moment};

/// What to make of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// As it should be, and as it was told: nothing to do.
    AtRest,
    /// It tells nothing now: older than our own write, or in the midst of a change.
    Nothing,
    /// To be visited, for this reason.
    Look(&'static str),
}

/// Judges an entry of a list that was asked for at `requested`.
pub fn look_at(context: &Context, target: &TargetKey, listed: Live, requested: Moment) -> Sight {
    let memory = context.peek(target).unwrap_or_default();
    if memory.protocol.last_write_ended.is_some_and(|ended| requested < ended) {
        return Sight::Nothing;
    }
    let mut visit = Visit::new(target.clone(), Urgency::Drift, context.now(), memory);
    if gather::load(context, &mut visit).is_err() {
        return Sight::Look("its record cannot be read");
    }
    let Some(claims) = gather::claims_at_hand(context, &mut visit) else {
        return Sight::Look("not every claim is accounted for");
    };
    let is_ours_to_come = |metadata: &ObjectMeta| visit.memory.versions.latest(metadata) != metadata.resource_version;
    if visit.read.iter().any(|read| is_ours_to_come(&read.object.metadata)) {
        // A visit has just ended, and the watch does not show yet what it wrote.
        return Sight::Nothing;
    }
    if !visit.unread.is_empty() {
        return Sight::Look("an assignment cannot be read");
    }
    if is_asked_for(&visit) {
        return Sight::Look("somebody asks for it");
    }
    visit.live = Some(Fresh::glimpsed(listed));
    let managed_by = gather::known_managed_by(context, &visit);
    let claims = gather::without_aks(&visit, &claims, managed_by.as_deref()).unwrap_or(claims);
    match planned(context, &mut visit, &claims) {
        Glance::Old | Glance::Moving => Sight::Nothing,
        Glance::Look => Sight::Look("it is not as recorded or declared"),
        Glance::AtRest(plan) => {
            visit.plan = Some(*plan);
            if has_news(context, &mut visit, &claims) { Sight::Look("it is not as was told") } else { Sight::AtRest }
        }
    }
}

/// An assignment leaves, or a person wants the record forgotten or added to.
fn is_asked_for(visit: &Visit) -> bool {
    let leaves = visit.read.iter().any(|read| read.claim.leaving.is_some());
    leaves || visit.is_being_forgotten() || visit.has_annotation(ADOPT, "declared")
}

fn planned(context: &Context, visit: &mut Visit, claims: &Complete<Claims>) -> Glance {
    let Some(live) = visit.live.clone() else { return Glance::Look };
    visit.claims = Some(claims.clone());
    visit.before = Some(Before::of(visit));
    let recorded = visit.record.clone();
    identities::begin(visit);
    if visit.record != recorded || identities::looks_dead(context, &live, claims) {
        return Glance::Look;
    }
    let timestamp = context.wall();
    let by = Judge { writer: &context.writer, now: context.now(), timestamp: &timestamp };
    let bounds = bounds(context, visit, context.now());
    glance(&live, AtHand { claims, record: &visit.record, bounds: &bounds, by })
}

/// Somebody would have to be told something: a status would be another one.
fn has_news(context: &Context, visit: &mut Visit, claims: &Complete<Claims>) -> bool {
    seen::look(visit);
    !visit.changed_principals.is_empty()
        || !visit.obeyed.is_empty()
        || finalizers::lacking(visit).next().is_some()
        || report::differs(context, visit, claims)
}
