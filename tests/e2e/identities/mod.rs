//! `UserAssignedIdentity` and references to it: created, adopted, tagged, told of, waited for, and deleted.
mod killed;
mod late;
mod leaving;
mod made;
mod referred;

use anyhow::{Context as _, Result};
use arm_simulator::{Identity, Machine};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lanyard::api::{IdentityRecord, RECONCILE_AT, UserAssignedIdentity, UserAssignedIdentityStatus};
use lanyard::domain::reason::Reason;
use lanyard::domain::target_name::identity_name;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::harness::{GROUP, Stage, assignment};

/// Hands and eyes for identities.
struct Ids<'a>(&'a Stage<'a>);

impl Ids<'_> {
    /// A handle to an identity that is not there yet, in a group that is.
    fn unmade(&self, name: &str) -> Identity {
        // The group comes with its first resource.
        self.0.identity("of-the-group");
        self.0.arm.identity(&self.0.subscription, GROUP, name).unmade()
    }

    fn objects(&self) -> Api<UserAssignedIdentity> {
        Api::namespaced(self.0.client.clone(), &self.0.namespace)
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.0.client.clone(), &self.0.namespace)
    }

    async fn declare(&self, name: &str, identity: &Identity, more: Value) -> Result<()> {
        self.declare_in(&self.0.namespace, name, identity, more).await
    }

    async fn declare_in(&self, namespace: &str, name: &str, identity: &Identity, more: Value) -> Result<()> {
        let mut spec = json!({"resourceId": identity.id()});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let object = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
        let api: Api<UserAssignedIdentity> = Api::namespaced(self.0.client.clone(), namespace);
        api.create(&PostParams::default(), &object).await.with_context(|| format!("{name} is not admitted"))?;
        Ok(())
    }

    /// The object `db` for an identity, and the assignment `web` that refers to it, for a machine that has it by then.
    async fn on_a_machine(&self, vm: &Machine, db: &Identity, more: Value) -> Result<()> {
        self.declare("db", db, more).await?;
        self.0.declare(assignment("web").on(vm).refers("db")).await?;
        self.0.until_ready("web").await
    }

    async fn patch(&self, name: &str, patch: Value) -> Result<()> {
        self.objects().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn annotate(&self, name: &str, key: &str, value: &str) -> Result<()> {
        self.patch(name, json!({"metadata": {"annotations": {key: value}}})).await
    }

    async fn look(&self, name: &str) -> Result<()> {
        self.annotate(name, RECONCILE_AT, &uuid::Uuid::new_v4().to_string()).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.objects().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The status, once it is about what is declared now.
    async fn status(&self, name: &str) -> Result<Option<UserAssignedIdentityStatus>> {
        let Some(object) = self.objects().get_opt(name).await? else { return Ok(None) };
        Ok(object.status.filter(|status| status.observed_generation == object.metadata.generation))
    }

    async fn condition(&self, name: &str, kind: &str) -> Result<Option<(String, String, String)>> {
        let status = self.status(name).await?.unwrap_or_default();
        let it = status.conditions.into_iter().find(|condition| condition.type_ == kind);
        Ok(it.map(|it| (it.status, it.reason, it.message)))
    }

    async fn until_ready(&self, name: &str) -> Result<UserAssignedIdentityStatus> {
        let ready = async || {
            let ready = self.condition(name, "Ready").await?.is_some_and(|(status, ..)| status == "True");
            if ready { self.status(name).await } else { Ok(None) }
        };
        self.0.until_some(&format!("the identity {name} to be ready"), ready).await
    }

    async fn until_not_ready(&self, name: &str, reason: Reason) -> Result<String> {
        let told = async || {
            let ready = self.condition(name, "Ready").await?;
            Ok(ready
                .filter(|(status, why, _)| status == "False" && why == reason.as_str())
                .map(|(.., message)| message))
        };
        self.0.until_some(&format!("the identity {name} to be not ready: {}", reason.as_str()), told).await
    }

    async fn until_gone(&self, name: &str) -> Result<()> {
        let gone = async || Ok(self.objects().get_opt(name).await?.is_none());
        self.0.until(&format!("the identity {name} to be gone"), gone).await
    }

    async fn record(&self, identity: &Identity) -> Result<Option<IdentityRecord>> {
        let records: Api<IdentityRecord> = Api::all(self.0.client.clone());
        Ok(records.get_opt(&identity_name(&identity.id().parse()?)).await?)
    }

    async fn until_outputs(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let there = async || Ok(self.config_maps().get_opt(name).await?.and_then(|map| map.data));
        self.0.until_some(&format!("the ConfigMap {name}"), there).await
    }

    /// Writes to an identity that were asked for.
    fn writes(&self, identity: &Identity) -> Vec<String> {
        let path = identity.id().to_lowercase();
        let journal = self.0.arm.journal_of(&self.0.subscription);
        let writes = journal.iter().filter(|call| call.method != "GET" && call.path.to_lowercase() == path);
        writes.map(|call| call.method.clone()).collect()
    }
}

fn tags(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
    tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn without_mark(identity: &Identity) -> BTreeMap<String, String> {
    let mut tags = identity.tags();
    tags.remove("lanyard-creation");
    tags
}
