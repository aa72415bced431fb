//! Step 3, record: what is about to be done is written before it is done.
use super::context::Context;
use super::error::{RecordTrouble, VisitError};
use super::events;
use super::identities::wishes;
use super::kubernetes::KubeError;
use super::queue::{TargetKey, Urgency};
use super::report::first_view;
use super::visit::Visit;
use crate::api::{IdentityTarget, TargetRecord};
use crate::fail_point::{self, Point};
use lanyard_domain::dangling::begun;
use lanyard_domain::evidence::intent_still_good;
use lanyard_domain::intend::{Attempt, intend};
use lanyard_domain::target_name::target_name;
use lanyard_domain::{Claims, Complete, Moment, Patch, Plan, Record};
use std::sync::Arc;

/// On every `IdentityTarget`, so that its record is not forgotten while an operation of ours runs.
pub const TARGET_FINALIZER: &str = "lanyard.dev/record";

/// An intent that this process wrote a moment ago: the only thing that `apply` takes.
#[derive(Debug)]
pub struct Recorded {
    patch: Patch,
    request_id: String,
    written: Moment,
}

impl Recorded {
    pub fn patch(&self) -> &Patch {
        &self.patch
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// A process that slept after writing may not act on what it wrote.
    pub fn is_still_good(&self, now: Moment) -> bool {
        intent_still_good(self.written, now)
    }
}

/// Writes the intent under the record's `resourceVersion`.
pub async fn record(
    context: &Context,
    visit: &mut Visit,
    claims: &Complete<Claims>,
    plan: &Plan,
    patch: Patch,
) -> Result<Recorded, VisitError> {
    events::before_forgetting(context, visit, claims).await;
    let request_id = uuid::Uuid::new_v4().to_string();
    let attempt = Attempt { writer: &context.writer, operation: &request_id };
    let intended = intend(&visit.record, claims, &plan.base, &patch, attempt);
    let intended = begun(intended, plan, &visit.identities, &wishes(visit));
    // The age counts from before the write: its answer may have been on its way for long.
    let written = context.now();
    let view = first_view(context, visit, claims);
    write(context, visit, &intended, view).await?;
    visit.record = intended;
    Ok(Recorded { patch, request_id, written })
}

/// Writes record and, where given, the view of it: one PUT, so that they cannot disagree.
pub async fn write(
    context: &Context,
    visit: &mut Visit,
    record: &Record,
    view: Option<crate::api::IdentityTargetStatus>,
) -> Result<(), RecordTrouble> {
    let Some(object) = object(visit, record, view) else { return Ok(()) };
    let writing = Writing::begin(context, &visit.target);
    let written = match visit.stored {
        Some(_) => context.kubernetes.replace_target(&object).await,
        None => context.kubernetes.create_target(&object).await,
    };
    match written {
        Ok(stored) => {
            context.index.apply_target(&stored);
            drop(writing);
            if context.index.has_newer(&stored) {
                // Its news came while this write was under way, and was taken for ours.
                context.queue.push(visit.target.clone(), Urgency::Change, None);
            }
            visit.keep(Arc::new(stored));
            Ok(())
        }
        Err(KubeError::Conflict | KubeError::Exists | KubeError::NotFound) => Err(refresh(context, visit).await),
        Err(error) => Err(RecordTrouble::NotWritten(error)),
    }
}

/// Whether writing this would change anything.
pub fn differs(visit: &Visit, record: &Record, view: crate::api::IdentityTargetStatus) -> bool {
    object(visit, record, Some(view)).is_some()
}

/// The object to write, or nothing if it would be as it is.
fn object(visit: &Visit, record: &Record, view: Option<crate::api::IdentityTargetStatus>) -> Option<IdentityTarget> {
    let record = TargetRecord::from(record);
    let Some(stored) = &visit.stored else {
        let mut object = IdentityTarget::new(&target_name(&visit.target), record);
        object.metadata.finalizers = Some(vec![TARGET_FINALIZER.into()]);
        object.metadata.labels = Some(labels(&visit.target));
        object.status = view;
        return Some(object);
    };
    let mut object = stored.as_ref().clone();
    object.record = record;
    if view.is_some() {
        object.status = view;
    }
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.retain(|key, _| !visit.obeyed.contains(key.as_str()));
    }
    if object.metadata.deletion_timestamp.is_none() {
        let finalizers = object.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == TARGET_FINALIZER) {
            finalizers.push(TARGET_FINALIZER.into());
        }
    }
    (object != **stored).then_some(object)
}

fn labels(target: &TargetKey) -> std::collections::BTreeMap<String, String> {
    [
        ("lanyard.dev/subscription".to_owned(), target.subscription().to_owned()),
        ("lanyard.dev/kind".to_owned(), target.kind().display_name().to_owned()),
    ]
    .into()
}

/// The watch was behind: reads the object itself, for the next visit to plan on. Another machine's object is in the way.
async fn refresh(context: &Context, visit: &Visit) -> RecordTrouble {
    let name = target_name(&visit.target);
    match context.kubernetes.target(&name).await {
        Ok(Some(object)) if object.record.resource_id.parse().ok().as_ref() != Some(visit.target.as_ref()) => {
            return RecordTrouble::NameCollision { name, other: object.record.resource_id };
        }
        Ok(Some(object)) => {
            context.index.apply_target(&object);
        }
        Ok(None) => {
            if let Some(stored) = &visit.stored {
                context.index.delete_target(stored);
            }
        }
        Err(source @ KubeError::Unreadable(_)) => return RecordTrouble::Undecodable { name, source },
        Err(error) => tracing::warn!(name, %error, "the IdentityTarget could not be read"),
    }
    RecordTrouble::Changed
}

/// While it lives, the watch's news of this target are our own writes.
struct Writing<'a>(&'a Context, TargetKey);

impl<'a> Writing<'a> {
    fn begin(context: &'a Context, target: &TargetKey) -> Self {
        context.index.set_writing(target, true);
        Self(context, target.clone())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.index.set_writing(&self.1, false);
    }
}

/// Lets the object go: without its finalizer if it is being deleted already, else by deleting it.
pub async fn remove(context: &Context, visit: &mut Visit) -> Result<(), RecordTrouble> {
    let Some(stored) = visit.stored.take() else { return Ok(()) };
    let _writing = Writing::begin(context, &visit.target);
    let mut object = stored.as_ref().clone();
    // As judged: whoever finds the object half removed is not to judge an intent anew that is settled.
    object.record = TargetRecord::from(&visit.record);
    if let Some(finalizers) = &mut object.metadata.finalizers {
        finalizers.retain(|finalizer| finalizer != TARGET_FINALIZER);
    }
    fail_point::reached(Point::BeforeTargetIsBare, &visit.target).await;
    let bare = context.kubernetes.replace_target(&object).await.map_err(changed)?;
    if object.metadata.deletion_timestamp.is_none() {
        fail_point::reached(Point::BeforeTargetGoes, &visit.target).await;
        context.kubernetes.delete_target(&bare).await.map_err(changed)?;
    }
    fail_point::reached(Point::AfterTargetWent, &visit.target).await;
    context.index.delete_target(&bare);
    Ok(())
}

fn changed(error: KubeError) -> RecordTrouble {
    match error {
        KubeError::Conflict | KubeError::NotFound | KubeError::Exists => RecordTrouble::Changed,
        other => RecordTrouble::NotWritten(other),
    }
}
