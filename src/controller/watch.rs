//! The two watches, and what they put on the queue.
use super::context::Parts;
use super::index::Change;
use super::queue::Urgency;
use crate::api::{IdentityAssignment, IdentityTarget};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::sync::Arc;

/// Follows all assignments. Objects come raw, so that one that does not parse hides no other.
pub async fn assignments(parts: Arc<Parts>) -> anyhow::Result<()> {
    let resource = ApiResource::erase::<IdentityAssignment>(&());
    let api: Api<DynamicObject> = Api::all_with(parts.kubernetes.client(), &resource);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = next(&parts, &mut events, "identityassignments").await? {
        assignment_event(&parts, event);
    }
    Ok(())
}

/// Follows all targets' records.
pub async fn targets(parts: Arc<Parts>) -> anyhow::Result<()> {
    let resource = ApiResource::erase::<IdentityTarget>(&());
    let api: Api<DynamicObject> = Api::all_with(parts.kubernetes.client(), &resource);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = next(&parts, &mut events, "identitytargets").await? {
        target_event(&parts, event);
    }
    Ok(())
}

type Events = futures::stream::BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>>;

/// The next event; `None` once the controller stops. Errors are told and survived: the watcher resumes by itself.
async fn next(parts: &Parts, events: &mut Events, what: &str) -> anyhow::Result<Option<Event<DynamicObject>>> {
    loop {
        let event = tokio::select! {
            () = parts.stop.cancelled() => return Ok(None),
            event = events.try_next() => event,
        };
        match event {
            Ok(Some(event)) => return Ok(Some(event)),
            Ok(None) => anyhow::bail!("the watch of {what} ended"),
            Err(error) => {
                parts.metrics.watch_failed(what);
                tracing::warn!(watch = what, error = crate::arm::chain(&error), "the watch failed; it resumes");
            }
        }
    }
}

fn assignment_event(parts: &Parts, event: Event<DynamicObject>) {
    match event {
        Event::Init => parts.index.begin_assignments(),
        Event::InitApply(object) => parts.index.list_assignment(&object),
        Event::InitDone => {
            for target in parts.index.end_assignments() {
                parts.queue.push(target, Urgency::Drift);
            }
        }
        Event::Apply(object) => enqueue(parts, parts.index.apply_assignment(&object)),
        Event::Delete(object) => enqueue(parts, parts.index.delete_assignment(&object)),
    }
}

fn enqueue(parts: &Parts, change: Change) {
    match change {
        Change::Wishes(target) => parts.queue.push(target, Urgency::Change),
        Change::Deletion(target) => parts.queue.push(target, Urgency::Deletion),
        Change::Nothing => {}
        Change::Illegible(object) => {
            tracing::error!(
                object,
                "this IdentityAssignment names no target that can be read; nothing is done about it"
            );
        }
    }
}

fn target_event(parts: &Parts, event: Event<DynamicObject>) {
    let understood = |object: DynamicObject| {
        let name = object.metadata.name.clone().unwrap_or_default();
        let parsed = serde_json::to_value(object).and_then(serde_json::from_value::<IdentityTarget>);
        parsed.inspect_err(|error| tracing::error!(name, %error, "this IdentityTarget cannot be read")).ok()
    };
    match event {
        Event::Init => parts.index.begin_targets(),
        Event::InitApply(object) => {
            if let Some(object) = understood(object) {
                parts.index.list_target(object);
            }
        }
        Event::InitDone => {
            for target in parts.index.end_targets() {
                parts.queue.push(target, Urgency::Drift);
            }
        }
        Event::Apply(object) => {
            let target = understood(object).and_then(|object| parts.index.apply_target(object));
            if let Some(target) = target {
                parts.queue.push(target, Urgency::Change);
            }
        }
        Event::Delete(object) => {
            let target = understood(object).and_then(|object| parts.index.delete_target(&object));
            if let Some(target) = target {
                parts.queue.push(target, Urgency::Change);
            }
        }
    }
}
