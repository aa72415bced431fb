//! The API server: what is applied to it, what it has been asked, and how much it can take.
use anyhow::{Context as _, Result, bail};
use devenv::control_plane::ControlPlane;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Event, Namespace, ObjectReference};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Requests in flight while many objects are written: the server is kept busy, and answers each within moments.
const AT_ONCE: usize = 32;
/// Namespaces that the assignments of a fleet are spread over.
const NAMESPACES: usize = 10;
/// The namespace of those whose changes are timed one by one.
pub const SOMEBODY: &str = "somebody";
const PAGE: u32 = 500;
/// Of [`Kubernetes::writes_a_second`], for one machine.
const WRITES_IN_A_ROUND: usize = 6;

#[derive(Clone)]
pub struct Kubernetes {
    client: kube::Client,
    assignment: ApiResource,
    target: ApiResource,
}

/// Somebody's wish for one machine.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: String,
    pub namespace: String,
    pub machine: String,
    pub identities: Vec<String>,
    pub drift_interval: Option<&'static str>,
}

/// Requests that the API server has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Writes of our kinds and of Events. Leases are not among them: they are renewed whatever happens.
    pub writes: f64,
    /// GETs and LISTs of our kinds; watches are not among them.
    pub reads: f64,
}

impl Kubernetes {
    pub async fn of(control_plane: &ControlPlane) -> Result<Self> {
        let kind = |name| ApiResource::from_gvk(&GroupVersionKind::gvk("lanyard.dev", "v1alpha1", name));
        let it = Self {
            client: control_plane.client().await?,
            assignment: kind("IdentityAssignment"),
            target: kind("IdentityTarget"),
        };
        let namespaces: Api<Namespace> = Api::all(it.client.clone());
        for name in (0..NAMESPACES).map(namespace).chain([SOMEBODY.to_owned()]) {
            let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
            namespaces.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
        }
        Ok(it)
    }

    /// By server-side apply, as Argo CD and Flux do.
    pub async fn apply(&self, wish: &Wish) -> Result<()> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &wish.namespace, &self.assignment);
        let identities: Vec<Value> = wish.identities.iter().map(|id| json!({"resourceId": id})).collect();
        let mut object = json!({
            "apiVersion": "lanyard.dev/v1alpha1",
            "kind": "IdentityAssignment",
            "metadata": {"name": wish.name},
            "spec": {"target": {"resourceId": wish.machine}, "userAssigned": identities},
        });
        if let Some(interval) = wish.drift_interval {
            object["spec"]["driftInterval"] = json!(interval);
        }
        let owner = PatchParams::apply("fleet-bench").force();
        api.patch(&wish.name, &owner, &Patch::Apply(&object))
            .await
            .with_context(|| format!("applying {}", wish.name))?;
        Ok(())
    }

    pub async fn apply_all(&self, wishes: Vec<Wish>) -> Result<()> {
        let applied = stream::iter(wishes).map(|wish| async move { self.apply(&wish).await });
        applied.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Takes away all but the objects whose names begin so, by the root, as nobody should: the program must not run.
    pub async fn keep_only(&self, prefix: &str) -> Result<()> {
        for kind in [&self.assignment, &self.target] {
            let all: Api<DynamicObject> = Api::all_with(self.client.clone(), kind);
            let others =
                all.list_metadata(&ListParams::default()).await?.items.into_iter().map(|object| object.metadata);
            let others = others.filter(|object| !object.name.as_deref().unwrap_or_default().starts_with(prefix));
            let gone = stream::iter(others).map(|object| self.tear_out(kind, object)).buffer_unordered(AT_ONCE);
            gone.try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn tear_out(&self, kind: &ApiResource, object: ObjectMeta) -> Result<()> {
        let name = object.name.unwrap_or_default();
        let api: Api<DynamicObject> = match &object.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        };
        let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        api.patch(&name, &PatchParams::default(), &bare).await.with_context(|| format!("freeing {name}"))?;
        api.delete(&name, &DeleteParams::default()).await.with_context(|| format!("deleting {name}"))?;
        Ok(())
    }

    /// How many assignments are not `Ready` for what they say now.
    pub async fn not_ready(&self) -> Result<usize> {
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.assignment);
        let mut page = ListParams::default().limit(PAGE);
        let mut count = 0;
        loop {
            let list = all.list(&page).await?;
            count += list.items.iter().filter(|object| !is_ready(object)).count();
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(count),
            }
        }
    }

    pub async fn asked(&self) -> Result<Asked> {
        let request = hyper::Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let mut asked = Asked::default();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let Some((count, verb)) = counted(line) else { continue };
            match verb {
                "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" => asked.writes += count,
                "GET" | "LIST" => asked.reads += count,
                _ => {}
            }
        }
        Ok(asked)
    }

    /// Writes a second that this server takes, of the kinds and in the proportions of a change: for each machine its
    /// record replaced twice, its assignment applied once and patched twice, and one Event; as many machines at once as
    /// are of use. Only annotations of no meaning are written. The program must not run meanwhile.
    pub async fn writes_a_second(&self, time: Duration) -> Result<f64> {
        let page = ListParams::default().limit(PAGE);
        let records: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.target);
        let records = records.list(&page).await?.items;
        let assignments: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.assignment);
        let assignments = assignments.list(&page).await?.items;
        if records.is_empty() || assignments.is_empty() {
            bail!("there is nothing to rewrite");
        }
        let begun = Instant::now();
        let lanes = records.len().min(AT_ONCE);
        let mut share: Vec<Vec<(DynamicObject, DynamicObject)>> = vec![Vec::new(); lanes];
        for (number, pair) in records.into_iter().zip(assignments).enumerate() {
            share[number % lanes].push(pair);
        }
        let ends = begun + time;
        let written =
            stream::iter(share).map(|pairs| async move { self.rewrite(pairs, ends).await }).buffer_unordered(lanes);
        let written: usize = written.try_fold(0, |sum, count| async move { Ok(sum + count) }).await?;
        Ok(f64::from(u32::try_from(written)?) / begun.elapsed().as_secs_f64())
    }

    /// Rewrites these again and again, one after the other; gives the number of writes.
    async fn rewrite(&self, mut pairs: Vec<(DynamicObject, DynamicObject)>, ends: Instant) -> Result<usize> {
        let records: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.target);
        let mut written = 0;
        for round in 0_usize.. {
            let place = round % pairs.len();
            let (record, assignment) = &mut pairs[place];
            let namespace = assignment.metadata.namespace.clone().unwrap_or_default();
            let name = assignment.metadata.name.clone().unwrap_or_default();
            let mine: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &self.assignment);
            let noted = |step: &str| json!({"metadata": {"annotations": {"fleet-bench": format!("{round}-{step}")}}});
            let mut applied = noted("applied");
            applied["apiVersion"] = json!("lanyard.dev/v1alpha1");
            applied["kind"] = json!("IdentityAssignment");
            mine.patch(&name, &PatchParams::apply("fleet-bench-pace").force(), &Patch::Apply(&applied)).await?;
            for step in ["once", "twice"] {
                let annotations = record.metadata.annotations.get_or_insert_default();
                annotations.insert("fleet-bench".to_owned(), format!("{round}-{step}"));
                let record_name = record.metadata.name.clone().unwrap_or_default();
                *record = records.replace(&record_name, &PostParams::default(), record).await?;
                mine.patch(&name, &PatchParams::default(), &Patch::Merge(noted(step))).await?;
            }
            self.tell(&namespace, assignment).await?;
            written += WRITES_IN_A_ROUND;
            if Instant::now() >= ends {
                break;
            }
        }
        Ok(written)
    }

    async fn tell(&self, namespace: &str, about: &DynamicObject) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let name = about.metadata.name.clone();
        let event = Event {
            metadata: ObjectMeta { generate_name: Some("fleet-bench-".to_owned()), ..ObjectMeta::default() },
            involved_object: ObjectReference {
                kind: Some("IdentityAssignment".to_owned()),
                namespace: Some(namespace.to_owned()),
                name,
                ..ObjectReference::default()
            },
            reason: Some("Attached".to_owned()),
            type_: Some("Normal".to_owned()),
            ..Event::default()
        };
        events.create(&PostParams::default(), &event).await.context("creating an Event")?;
        Ok(())
    }
}

/// Of the machine of that number in a fleet.
pub fn namespace(number: usize) -> String {
    format!("team-{}", number % NAMESPACES)
}

fn is_ready(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    let conditions = status["conditions"].as_array();
    let current = status["observedGeneration"].as_i64() == object.metadata.generation;
    current && conditions.is_some_and(|all| all.iter().any(ready))
}

/// Count and verb of a line about our kinds, or about Events. From a million on counts have an exponent.
fn counted(line: &str) -> Option<(f64, &str)> {
    let label = |name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let ours = label("group") == Some("lanyard.dev") || label("resource") == Some("events");
    let count = line.rsplit(' ').next()?.parse::<f64>().ok()?;
    ours.then_some((count, label("verb")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_kinds_are_told_from_others_in_the_server_s_metrics() {
        let line = |group: &str, resource: &str, verb: &str| {
            format!(
                "apiserver_request_total{{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"{group}\",\
                 resource=\"{resource}\",scope=\"resource\",subresource=\"\",verb=\"{verb}\",version=\"v1\"}} 12"
            )
        };
        assert_eq!(counted(&line("lanyard.dev", "identitytargets", "PUT")), Some((12.0, "PUT")));
        assert_eq!(counted(&line("", "events", "POST")), Some((12.0, "POST")));
        assert_eq!(counted(&line("coordination.k8s.io", "leases", "PUT")), None);
    }
}
