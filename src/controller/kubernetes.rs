//! The Kubernetes calls of a visit, each under a timeout: the client itself has none for reads.
use crate::api::{IdentityAssignment, IdentityAssignmentStatus, IdentityTarget};
use crate::health::may_take;
use crate::lease::Lead;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use lanyard_domain::ClaimKey;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// The field manager and controller name.
pub const MANAGER: &str = "lanyard";

/// Longer than an API server under load takes, shorter than people wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// What Kubernetes made of a call.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    #[error("Kubernetes did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// The term is over: whoever leads now writes it.
    #[error("this process leads no more")]
    NotLeading,
    /// Somebody wrote meanwhile.
    #[error("the object changed meanwhile")]
    Conflict,
    #[error("the object is not there")]
    NotFound,
    #[error("the object exists already")]
    Exists,
    #[error("Kubernetes refused: {0}")]
    Refused(String),
    /// The object as it would be is not valid.
    #[error("Kubernetes refused: {0}")]
    Invalid(String),
    #[error("Kubernetes' answer could not be read")]
    Unreadable(#[source] Box<kube::Error>),
    #[error("Kubernetes could not be reached")]
    Unreachable(#[source] Box<kube::Error>),
}

impl From<kube::Error> for KubeError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match (status.code, status.reason.as_str()) {
                (404, _) => Self::NotFound,
                (409, "AlreadyExists") => Self::Exists,
                (409, _) => Self::Conflict,
                (422, _) => Self::Invalid(format!("{} ({})", status.message, status.code)),
                _ => Self::Refused(format!("{} ({})", status.message, status.code)),
            },
            other @ kube::Error::SerdeError(_) => Self::Unreadable(Box::new(other)),
            other => Self::Unreachable(Box::new(other)),
        }
    }
}

pub(super) async fn patiently<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, KubeError> {
    may_take(PATIENCE);
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map_err(KubeError::from),
        Err(_) => Err(KubeError::Timeout),
    }
}

/// The calls that a visit makes.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    reporter: Reporter,
    lead: Lead,
}

impl Kubernetes {
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: MANAGER.into(), instance: Some(instance) };
        Self { client, reporter, lead: Lead::for_ever() }
    }

    /// The same calls, of which those that write are made in this term alone.
    pub fn under(&self, lead: Lead) -> Self {
        Self { lead, ..self.clone() }
    }

    /// A write begins while the lease is held, and is not waited for any longer: what it has not brought about by
    /// then, another process may have to.
    pub(super) async fn write<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, KubeError> {
        tokio::select! {
            biased;
            () = self.lead.lapsed() => Err(KubeError::NotLeading),
            answer = patiently(call) => answer,
        }
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn targets(&self) -> Api<IdentityTarget> {
        Api::all(self.client.clone())
    }

    fn assignments(&self, namespace: &str) -> Api<IdentityAssignment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The object as it is now, past any cache.
    pub async fn target(&self, name: &str) -> Result<Option<IdentityTarget>, KubeError> {
        Ok(patiently(self.targets().get_opt(name)).await?.map(light))
    }

    pub async fn create_target(&self, target: &IdentityTarget) -> Result<IdentityTarget, KubeError> {
        self.write(self.targets().create(&params(), target)).await.map(light)
    }

    /// Writes the whole object under its `resourceVersion`: of two writers with one view, one succeeds.
    pub async fn replace_target(&self, target: &IdentityTarget) -> Result<IdentityTarget, KubeError> {
        self.write(self.targets().replace(&target.name_any(), &params(), target)).await.map(light)
    }

    /// Deletes this very version of the object.
    pub async fn delete_target(&self, target: &IdentityTarget) -> Result<(), KubeError> {
        let this = Preconditions { uid: target.uid(), resource_version: target.resource_version() };
        let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        missing_is_fine(self.write(self.targets().delete(&target.name_any(), &params)).await)
    }

    /// Whether this very assignment is gone: a read past every cache, the proof that a list alone does not give.
    ///
    /// A 404 counts only if it names the object: a version that is no longer served, or a proxy's page, proves nothing.
    pub async fn assignment_is_gone(&self, key: &ClaimKey) -> Result<bool, KubeError> {
        is_gone(&self.assignments(&key.namespace), key).await
    }

    /// An assignment as it is now, past any cache; whatever it holds.
    pub async fn assignment(&self, key: &ClaimKey) -> Result<Option<DynamicObject>, KubeError> {
        let kind = ApiResource::erase::<IdentityAssignment>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), &key.namespace, &kind);
        patiently(api.get_opt(&key.name)).await
    }

    /// Sets an assignment's finalizers, if the object is still as it was read. Tells the version that this made.
    pub async fn set_finalizers(
        &self,
        object: &ObjectMeta,
        finalizers: &[String],
    ) -> Result<Option<String>, KubeError> {
        let patch = json!({ "metadata": {
            "finalizers": finalizers, "resourceVersion": object.resource_version, "uid": object.uid
        }});
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let api = self.assignments(object.namespace.as_deref().unwrap_or_default());
        let name = object.name.as_deref().unwrap_or_default();
        version_of(self.write(api.patch_metadata(name, &params, &Patch::Merge(patch))).await)
    }

    /// An assignment's metadata as it is now, past any cache.
    pub async fn assignment_metadata(&self, namespace: &str, name: &str) -> Result<Option<ObjectMeta>, KubeError> {
        let found = patiently(self.assignments(namespace).get_metadata_opt(name)).await?;
        Ok(found.map(|object| object.metadata))
    }

    /// Applies an assignment's status as a whole: what is not in it goes. Tells the version that this made.
    ///
    /// Only on the version given: a write that was given up may still be on its way, and must not land on a newer status.
    pub async fn apply_status(
        &self,
        object: &ObjectMeta,
        version: Option<&str>,
        status: &IdentityAssignmentStatus,
    ) -> Result<Option<String>, KubeError> {
        let name = object.name.as_deref().unwrap_or_default();
        let params = PatchParams::apply(MANAGER).force();
        let api = self.assignments(object.namespace.as_deref().unwrap_or_default());
        let whole = |version: Option<&str>| {
            Patch::Apply(json!({
                "apiVersion": IdentityAssignment::api_version(&()),
                "kind": IdentityAssignment::kind(&()),
                "metadata": { "name": name, "uid": object.uid, "resourceVersion": version },
                "status": status,
            }))
        };
        let answer = self.write(api.patch_status(name, &params, &whole(version))).await;
        let Err(KubeError::Invalid(_)) = &answer else { return version_of(answer) };
        // Where somebody else wrote a part of what is gone now, the server makes an empty one of it, which is not valid:
        // away with the whole, whoever holds it.
        let metadata = json!({ "uid": object.uid, "resourceVersion": version });
        let nothing = Patch::Merge(json!({ "metadata": metadata, "status": null }));
        let without = self.write(api.patch_status(name, &PatchParams::default(), &nothing)).await?;
        version_of(
            self.write(api.patch_status(name, &params, &whole(without.metadata.resource_version.as_deref()))).await,
        )
    }

    /// Publishes an Event. A recorder of its own each time: a shared one would fold different notes of one reason into the first.
    pub async fn publish(&self, event: &Event, about: &ObjectReference) -> Result<(), KubeError> {
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        self.write(recorder.publish(event, about)).await
    }
}

/// Without who wrote which field, the heaviest part of an object: a visit holds its own for as long as an operation
/// lasts. An update without it leaves it to the API server.
fn light(mut target: IdentityTarget) -> IdentityTarget {
    target.metadata.managed_fields = None;
    target
}

pub(super) fn params() -> PostParams {
    PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() }
}

/// Whether the very object of this key is gone.
pub(super) async fn is_gone<K>(api: &Api<K>, key: &ClaimKey) -> Result<bool, KubeError>
where
    K: Clone + DeserializeOwned + Debug,
{
    may_take(PATIENCE);
    let found = tokio::time::timeout(PATIENCE, api.get_metadata(&key.name)).await.map_err(|_| KubeError::Timeout)?;
    match found {
        Ok(object) => Ok(object.metadata.uid.as_deref() != Some(&key.uid)),
        Err(kube::Error::Api(status)) if status.code == 404 && names(&status, &key.name) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn names(status: &kube::core::Status, name: &str) -> bool {
    status.reason == "NotFound" && status.details.as_ref().is_some_and(|details| details.name == name)
}

/// The version that a write made. An object that went meanwhile needs nothing any more.
pub(super) fn version_of<K: Resource>(answer: Result<K, KubeError>) -> Result<Option<String>, KubeError> {
    match answer {
        Ok(object) => Ok(object.resource_version()),
        Err(KubeError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An object that went meanwhile needs nothing any more.
pub(super) fn missing_is_fine<T>(answer: Result<T, KubeError>) -> Result<(), KubeError> {
    match answer {
        Ok(_) | Err(KubeError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}
