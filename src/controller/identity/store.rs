//! The Kubernetes calls about identities: records, finalizers, statuses.
use super::error::IdentityError;
use super::visit::Visit;
use crate::api::identity_record::IdentityRecord;
use crate::api::{StoredRecord, UserAssignedIdentity, UserAssignedIdentityStatus};
use crate::controller::context::Context;
use crate::controller::kubernetes::{
    KubeError, Kubernetes, MANAGER, is_gone, missing_is_fine, params, patiently, version_of,
};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use lanyard_domain::ClaimKey;
use lanyard_domain::identity::Record;
use lanyard_domain::target_name::identity_name;
use serde_json::json;

impl Kubernetes {
    fn records(&self) -> Api<IdentityRecord> {
        Api::all(self.client())
    }

    fn identities(&self, namespace: &str) -> Api<UserAssignedIdentity> {
        Api::namespaced(self.client(), namespace)
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client(), namespace)
    }

    async fn write_record(&self, record: &IdentityRecord) -> Result<IdentityRecord, KubeError> {
        if record.metadata.resource_version.is_none() {
            return self.write(self.records().create(&params(), record)).await;
        }
        self.write(self.records().replace(&record.name_any(), &params(), record)).await
    }

    /// Whether this very object is gone, as [`Kubernetes::assignment_is_gone`] proves it.
    pub async fn identity_is_gone(&self, key: &ClaimKey) -> Result<bool, KubeError> {
        is_gone(&self.identities(&key.namespace), key).await
    }

    /// Sets an object's finalizers as they are to be, on the version of now. Tells the version that this made, if it
    /// was made of the object as it was shown.
    pub async fn set_identity_finalizer(
        &self,
        object: &ObjectMeta,
        finalizer: &str,
        on: bool,
    ) -> Result<Option<String>, KubeError> {
        let api = self.identities(object.namespace.as_deref().unwrap_or_default());
        let name = object.name.as_deref().unwrap_or_default();
        let mut now = object.clone();
        for _ in 0..3 {
            let mut finalizers = now.finalizers.clone().unwrap_or_default();
            finalizers.retain(|known| known != finalizer);
            if on {
                finalizers.push(finalizer.to_owned());
            }
            let patch = json!({ "metadata": {
                "finalizers": finalizers, "resourceVersion": now.resource_version, "uid": now.uid
            }});
            let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            match self.write(api.patch_metadata(name, &params, &Patch::Merge(patch))).await {
                Err(KubeError::Conflict) => {}
                answer => {
                    let as_shown = now.resource_version == object.resource_version;
                    return Ok(version_of(answer)?.filter(|_| as_shown));
                }
            }
            now = match patiently(api.get_metadata_opt(name)).await? {
                Some(found) if found.metadata.uid == object.uid => found.metadata,
                Some(_) | None => return Ok(None),
            };
        }
        Err(KubeError::Conflict)
    }

    /// Applies a status as a whole, on the version given alone. Tells the version that this made.
    pub async fn apply_identity_status(
        &self,
        object: &ObjectMeta,
        version: Option<&str>,
        status: &UserAssignedIdentityStatus,
    ) -> Result<Option<String>, KubeError> {
        let name = object.name.as_deref().unwrap_or_default();
        let api = self.identities(object.namespace.as_deref().unwrap_or_default());
        let whole = Patch::Apply(json!({
            "apiVersion": UserAssignedIdentity::api_version(&()),
            "kind": UserAssignedIdentity::kind(&()),
            "metadata": { "name": name, "uid": object.uid, "resourceVersion": version },
            "status": status,
        }));
        let params = PatchParams::apply(MANAGER).force();
        version_of(self.write(api.patch_status(name, &params, &whole)).await)
    }

    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, KubeError> {
        patiently(self.config_maps(namespace).get_opt(name)).await
    }

    pub async fn create_config_map(&self, namespace: &str, map: &ConfigMap) -> Result<(), KubeError> {
        self.write(self.config_maps(namespace).create(&params(), map)).await.map(|_| ())
    }

    /// Under its version: what somebody made of it meanwhile is looked at first.
    pub async fn replace_config_map(&self, namespace: &str, map: &ConfigMap) -> Result<(), KubeError> {
        self.write(self.config_maps(namespace).replace(&map.name_any(), &params(), map)).await.map(|_| ())
    }

    pub async fn delete_config_map(&self, namespace: &str, map: &ConfigMap) -> Result<(), KubeError> {
        let this = Preconditions { uid: map.uid(), resource_version: map.resource_version() };
        let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        missing_is_fine(self.write(self.config_maps(namespace).delete(&map.name_any(), &params)).await)
    }
}

/// Writes the record under its `resourceVersion`: of two writers with one view, one succeeds.
pub async fn write(context: &Context, visit: &mut Visit, record: &Record) -> Result<(), IdentityError> {
    let stored = StoredRecord::from(record);
    let object = match &visit.stored {
        Some(known) if known.record == stored => {
            visit.record = Some(record.clone());
            return Ok(());
        }
        Some(known) => IdentityRecord { metadata: known.metadata.clone(), record: stored },
        None => IdentityRecord::new(&identity_name(&record.resource_id), stored),
    };
    match context.kubernetes.write_record(&object).await {
        Ok(written) => {
            hear(context, context.index.identities.apply_record(written.clone()).as_ref());
            visit.stored = Some(written);
            visit.record = Some(record.clone());
            Ok(())
        }
        Err(KubeError::Conflict | KubeError::Exists | KubeError::NotFound) => Err(refresh(context, visit).await),
        Err(error) => Err(IdentityError::NotWritten(error)),
    }
}

/// The watch was behind: reads the record itself, for the next visit to decide on.
async fn refresh(context: &Context, visit: &Visit) -> IdentityError {
    let name = identity_name(&visit.identity);
    match patiently(context.kubernetes.records().get_opt(&name)).await {
        Ok(Some(object)) => hear(context, context.index.identities.apply_record(object).as_ref()),
        Ok(None) => {
            if let Some(stored) = &visit.stored {
                hear(context, context.index.identities.delete_record(stored).as_ref());
            }
        }
        Err(KubeError::Unreadable(_)) => return IdentityError::Undecodable { name },
        Err(error) => tracing::warn!(name, %error, "the IdentityRecord could not be read"),
    }
    IdentityError::Changed
}

/// Nothing is left that the record is for.
pub async fn remove(context: &Context, visit: &mut Visit) -> Result<(), IdentityError> {
    visit.record = None;
    let Some(stored) = visit.stored.take() else { return Ok(()) };
    let this = Preconditions { uid: stored.uid(), resource_version: stored.resource_version() };
    let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
    let deleted = context.kubernetes.write(context.kubernetes.records().delete(&stored.name_any(), &params)).await;
    match missing_is_fine(deleted) {
        Ok(()) => {
            hear(context, context.index.identities.delete_record(&stored).as_ref());
            Ok(())
        }
        Err(KubeError::Conflict) => {
            visit.stored = Some(stored);
            Err(refresh(context, visit).await)
        }
        Err(error) => Err(IdentityError::NotWritten(error)),
    }
}

/// Machines of those who refer to an object that says something new are visited at once.
fn hear(context: &Context, news: Option<&super::index::News>) {
    for target in news.iter().flat_map(|news| context.index.referring_to(&news.names)) {
        context.queue.push(target, crate::controller::queue::Urgency::Change, None);
    }
}
