//! The finalizer of assignments: there as long as deleting the object means taking something off a machine.
use super::context::Context;
use super::kubernetes::KubeError;
use super::visit::Visit;
use crate::api::claim::{is_leaving, released};
use crate::api::raw::Readable;
use crate::fail_point::{self, Point};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lanyard_domain::depart::has_left;
use lanyard_domain::{Leaving, Record};
use std::sync::Arc;

pub const ASSIGNMENT_FINALIZER: &str = "lanyard.dev/identities";

/// Puts the finalizer on every assignment that would have to be cleaned up after.
///
/// Best effort: the record remembers what the finalizer would have waited for.
pub async fn add(context: &Context, visit: &mut Visit) {
    let needing: Vec<_> = lacking(visit).cloned().collect();
    for read in needing {
        let finalizers = with_ours(&read.object.metadata);
        fail_point::reached(Point::BeforeFinalizer, &visit.target).await;
        match set(context, &read.object.metadata, finalizers, with_ours).await {
            Ok(made) => {
                fail_point::reached(Point::AfterFinalizer, &visit.target).await;
                visit.memory.versions.made(&read.object.metadata, made);
                visit.finalized.insert(read.claim.key.uid.clone());
            }
            Err(error) => {
                tracing::warn!(assignment = %read.claim.key, %error, "the finalizer could not be added; the record remembers all the same");
            }
        }
    }
}

/// Assignments that would have to be cleaned up after, and do not have it yet.
pub fn lacking(visit: &Visit) -> impl Iterator<Item = &Arc<Readable>> {
    let needing = visit.read.iter().filter(|read| needs_finalizer(read, &visit.record));
    needing.filter(|read| !visit.finalized.contains(&read.claim.key.uid))
}

fn needs_finalizer(read: &Readable, record: &Record) -> bool {
    let claim = &read.claim;
    let detaches = Leaving::of(claim.deletion_policy, claim.mode, false) == Leaving::Detach;
    let ours =
        |id| record.attached.contains_key(id) || record.intent.as_ref().is_some_and(|intent| intent.add.contains(id));
    detaches && claim.leaving.is_none() && !has_ours(&read.object.metadata) && claim.present().any(ours)
}

/// Takes the finalizer off every deleted assignment of which nothing is left to do. Returns whether all are off that may be.
pub async fn remove(context: &Context, visit: &Visit) -> Result<(), KubeError> {
    let Some(claims) = &visit.claims else { return Ok(()) };
    for read in &visit.read {
        let claim = &read.claim;
        let leaves = claim.leaving.is_some() && has_ours(&read.object.metadata);
        let is_released = released(&read.object.metadata);
        if leaves && !is_released && (visit.gone || visit.going || has_left(&visit.record, claims, &claim.key.uid)) {
            fail_point::reached(Point::BeforeFinalizerGoes, &visit.target).await;
            take_off(context, &read.object.metadata).await?;
            fail_point::reached(Point::AfterFinalizerWent, &visit.target).await;
        }
    }
    release(context, visit).await
}

/// Lets go of every deleted object that its owner released: whatever else is in trouble.
pub async fn release(context: &Context, visit: &Visit) -> Result<(), KubeError> {
    let read = visit.read.iter().map(|read| &read.object.metadata);
    let unread = visit.unread.iter().map(|unread| &unread.metadata);
    for metadata in read.chain(unread) {
        if is_leaving(metadata) && released(metadata) && has_ours(metadata) {
            take_off(context, metadata).await?;
        }
    }
    Ok(())
}

async fn take_off(context: &Context, metadata: &ObjectMeta) -> Result<(), KubeError> {
    set(context, metadata, without_ours(metadata), without_ours).await.map(|_| ())
}

fn has_ours(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ASSIGNMENT_FINALIZER)
}

fn with_ours(metadata: &ObjectMeta) -> Vec<String> {
    let mut finalizers = without_ours(metadata);
    finalizers.push(ASSIGNMENT_FINALIZER.into());
    finalizers
}

fn without_ours(metadata: &ObjectMeta) -> Vec<String> {
    let all = metadata.finalizers.iter().flatten();
    all.filter(|finalizer| *finalizer != ASSIGNMENT_FINALIZER).cloned().collect()
}

/// Sets them on the version that the watch holds, or once more on the version of now. Tells what was made of the former.
async fn set(
    context: &Context,
    metadata: &ObjectMeta,
    finalizers: Vec<String>,
    anew: fn(&ObjectMeta) -> Vec<String>,
) -> Result<Option<String>, KubeError> {
    match context.kubernetes.set_finalizers(metadata, &finalizers).await {
        Err(KubeError::Conflict) => {}
        answer => return answer,
    }
    let (namespace, name) =
        (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
    match context.kubernetes.assignment_metadata(namespace, name).await? {
        Some(now) if now.uid == metadata.uid => {
            context.kubernetes.set_finalizers(&now, &anew(&now)).await.map(|_| None)
        }
        Some(_) | None => Ok(None),
    }
}
