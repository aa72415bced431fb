//! The watches, and what they put on the queues.
use super::context::Parts;
use super::identity::{News, understand};
use super::index::Change;
use super::queue::{TargetKey, Urgency};
use super::schedule::jitter;
use super::way;
use crate::api::raw;
use crate::api::{IdentityAssignment, IdentityRecord, IdentityTarget, UserAssignedIdentity};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt as _};
use lanyard_domain::identity::Policy;
use std::sync::Arc;
use std::time::Duration;

/// A watch is asked to end after so long, and taken for dead a moment later: one that has gone silent says nothing of
/// what happens. The two kinds of objects are not asked for anew at once.
const WATCHED_FOR: std::ops::Range<u32> = 90..120;

/// Before a new list, where the version to go on from is not served any more.
const BEFORE_A_NEW_LIST: Duration = Duration::from_secs(2);

/// Follows all assignments.
pub async fn assignments(parts: Arc<Parts>) -> anyhow::Result<()> {
    let mut watch = Watch::of::<IdentityAssignment>(&parts, "identityassignments");
    while let Some(event) = watch.next(&parts).await? {
        assignment_event(&parts, event);
    }
    Ok(())
}

/// Follows all targets' records.
pub async fn targets(parts: Arc<Parts>) -> anyhow::Result<()> {
    let mut watch = Watch::of::<IdentityTarget>(&parts, "identitytargets");
    while let Some(event) = watch.next(&parts).await? {
        target_event(&parts, event);
    }
    Ok(())
}

/// Follows all identities that are objects.
pub async fn identities(parts: Arc<Parts>) -> anyhow::Result<()> {
    let mut watch = Watch::of::<UserAssignedIdentity>(&parts, "userassignedidentities");
    while let Some(event) = watch.next(&parts).await? {
        identity_event(&parts, event);
    }
    Ok(())
}

/// Follows what is remembered of them.
pub async fn identity_records(parts: Arc<Parts>) -> anyhow::Result<()> {
    let mut watch = Watch::of::<IdentityRecord>(&parts, "identityrecords");
    while let Some(event) = watch.next(&parts).await? {
        identity_record_event(&parts, event);
    }
    Ok(())
}

type Events = futures::stream::BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>>;

/// A list, and what has happened since. Objects come raw, so that one that does not parse hides no other.
struct Watch {
    what: &'static str,
    api: Api<DynamicObject>,
    events: Events,
    lists: Lists,
}

/// How the objects come that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// One by one, as the first events of the watch: neither side ever holds a list.
    Streamed,
    /// Page by page: for API servers that do not stream them.
    Paged,
}

impl Watch {
    fn of<K: Resource<DynamicType = ()>>(parts: &Parts, what: &'static str) -> Self {
        let api = Api::all_with(way::of_a_watcher(parts.kubernetes.client()), &ApiResource::erase::<K>(&()));
        let lists = Lists::Streamed;
        Self { what, events: from_the_start(api.clone(), lists), api, lists }
    }

    /// The next event; `None` once the controller stops. Errors are told and survived: the watcher resumes by itself.
    async fn next(&mut self, parts: &Parts) -> anyhow::Result<Option<Event<DynamicObject>>> {
        loop {
            let event = tokio::select! {
                () = parts.stop.cancelled() => return Ok(None),
                event = self.events.try_next() => event,
            };
            match event {
                Ok(Some(mut event)) => {
                    lighten(&mut event);
                    return Ok(Some(event));
                }
                Ok(None) => anyhow::bail!("the watch of {} ended", self.what),
                Err(error) if self.lists == Lists::Streamed && is_refused_to_stream(&error) => {
                    tracing::info!(
                        watch = self.what,
                        "this API server streams no lists; they are asked for by the page"
                    );
                    self.lists = Lists::Paged;
                    self.events = from_the_start(self.api.clone(), self.lists);
                }
                Err(error) => {
                    parts.metrics.watch_failed(self.what);
                    parts.health.doubts_cluster();
                    tracing::warn!(
                        watch = self.what,
                        error = crate::arm::chain(&error),
                        "the watch failed; it resumes"
                    );
                    if is_gone(&error) {
                        tokio::time::sleep(BEFORE_A_NEW_LIST).await;
                        self.events = from_the_start(self.api.clone(), self.lists);
                    }
                }
            }
        }
    }
}

/// Who wrote an object is told to people; which of its fields, which is the heaviest part of it, is of no use here.
fn lighten(event: &mut Event<DynamicObject>) {
    let (Event::Apply(object) | Event::Delete(object) | Event::InitApply(object)) = event else { return };
    for entry in object.metadata.managed_fields.iter_mut().flatten() {
        entry.fields_v1 = None;
    }
}

fn from_the_start(api: Api<DynamicObject>, lists: Lists) -> Events {
    let config = watcher::Config::default().timeout(watched_for());
    let config = match lists {
        Lists::Streamed => config.streaming_lists(),
        Lists::Paged => config,
    };
    watcher(api, config).default_backoff().boxed()
}

/// Said of `sendInitialEvents`, where the feature is off: it is on by default from Kubernetes 1.34.
fn is_refused_to_stream(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

fn watched_for() -> u32 {
    let span = f64::from(WATCHED_FOR.end - WATCHED_FOR.start);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds, and no less than none")]
    let more = (span * jitter()) as u32;
    WATCHED_FOR.start + more
}

/// The watcher would ask for the same version again, for ever: it knows only the event that says so, not the status.
fn is_gone(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

fn assignment_event(parts: &Parts, event: Event<DynamicObject>) {
    match event {
        Event::Init => parts.index.begin_assignments(),
        Event::InitApply(object) => parts.index.list_assignment(object),
        Event::InitDone => {
            for target in parts.index.end_assignments() {
                push(parts, target, Urgency::Change, None, listed);
            }
        }
        Event::Apply(object) => {
            let (namespace, name) = names(&object);
            enqueue(parts, parts.index.apply_assignment(object), &namespace, &name);
        }
        Event::Delete(object) => {
            let (namespace, name) = names(&object);
            enqueue(parts, parts.index.delete_assignment(&object), &namespace, &name);
        }
    }
}

/// A target is to be visited because of the object of this name; a trace begins here.
fn push(parts: &Parts, target: TargetKey, urgency: Urgency, namespace: Option<&str>, by: impl FnOnce() -> String) {
    tracing::debug!(machine = %target, ?urgency, namespace, "a watch tells of something new: the machine is to be visited");
    parts.stories.changed(&target, by);
    parts.queue.push(target, urgency, namespace);
}

fn names(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn enqueue(parts: &Parts, change: Change, namespace: &str, name: &str) {
    let by = || format!("{namespace}/{name}");
    match change {
        Change::Wishes(target) => push(parts, target, Urgency::Change, Some(namespace), by),
        Change::Deletion(target) => push(parts, target, Urgency::Deletion, Some(namespace), by),
        Change::Nothing => {}
        Change::Illegible(object) => {
            tracing::error!(
                object,
                "this IdentityAssignment names no target that can be read; nothing is done about it"
            );
        }
    }
}

fn listed() -> String {
    "a new list".into()
}

/// An object as its kind, if it fits.
fn parsed<K: serde::de::DeserializeOwned>(object: DynamicObject, kind: &'static str) -> Option<K> {
    let (namespace, name) = names(&object);
    let parsed = raw::json(object).and_then(serde_json::from_value::<K>);
    parsed.inspect_err(|error| tracing::error!(kind, namespace, name, %error, "this object cannot be read")).ok()
}

fn identity_event(parts: &Parts, event: Event<DynamicObject>) {
    const KIND: &str = "UserAssignedIdentity";
    let identities = &parts.index.identities;
    let understood = |object| parsed::<UserAssignedIdentity>(object, KIND).and_then(understand);
    match event {
        Event::Init => identities.begin_objects(),
        Event::InitApply(object) => {
            if let Some(object) = understood(object) {
                identities.list_object(object);
            }
        }
        Event::InitDone => {
            let news = identities.end_objects();
            parts.index.has_listed();
            hear(parts, news);
        }
        Event::Apply(object) => {
            hear(parts, understood(object).and_then(|object| identities.apply_object(object)));
        }
        Event::Delete(object) => {
            let metadata = object.metadata.clone();
            let last = understood(object);
            let retains = last.is_some_and(|last| last.wish.released || last.wish.policy == Policy::Retain);
            hear(parts, identities.delete_object(&metadata, retains));
        }
    }
}

fn identity_record_event(parts: &Parts, event: Event<DynamicObject>) {
    const KIND: &str = "IdentityRecord";
    let identities = &parts.index.identities;
    match event {
        Event::Init => identities.begin_records(),
        Event::InitApply(object) => {
            if let Some(record) = parsed(object, KIND) {
                identities.list_record(record);
            }
        }
        Event::InitDone => {
            let news = identities.end_records();
            parts.index.has_listed();
            hear(parts, news);
        }
        Event::Apply(object) => {
            let news = parsed(object, KIND).and_then(|record| identities.apply_record(record));
            hear(parts, news);
        }
        Event::Delete(object) => {
            let news = parsed(object, KIND).and_then(|record: IdentityRecord| identities.delete_record(&record));
            hear(parts, news);
        }
    }
}

/// The identity is looked at, and so are the machines of those who refer to it by an object that says something new.
fn hear(parts: &Parts, all: impl IntoIterator<Item = News>) {
    for news in all {
        for target in parts.index.referring_to(&news.names) {
            push(parts, target, Urgency::Change, None, || "a UserAssignedIdentity that is referred to".into());
        }
        if let Some(identity) = news.identity {
            parts.identity_stories.changed(&identity, || "its UserAssignedIdentity".into());
            let urgency = if news.leaving { Urgency::Deletion } else { Urgency::Change };
            parts.identity_queue.push(identity, urgency, news.namespace.as_deref());
        }
    }
}

fn target_event(parts: &Parts, event: Event<DynamicObject>) {
    let understood = |mut object: DynamicObject| {
        object.metadata.managed_fields = None;
        parsed::<IdentityTarget>(object, "IdentityTarget")
    };
    match event {
        Event::Init => parts.index.begin_targets(),
        Event::InitApply(object) => {
            if let Some(object) = understood(object) {
                parts.index.list_target(&object);
            }
        }
        Event::InitDone => {
            for target in parts.index.end_targets() {
                push(parts, target, Urgency::Change, None, listed);
            }
        }
        Event::Apply(object) if parts.index.has_seen(&object.metadata) => {}
        Event::Apply(object) => {
            let target = understood(object).and_then(|object| parts.index.apply_target(&object));
            if let Some(target) = target {
                push(parts, target, Urgency::Change, None, || "its IdentityTarget".into());
            }
        }
        Event::Delete(object) => {
            let target = understood(object).and_then(|object| parts.index.delete_target(&object));
            if let Some(target) = target {
                push(parts, target, Urgency::Change, None, || "its IdentityTarget".into());
            }
        }
    }
}
