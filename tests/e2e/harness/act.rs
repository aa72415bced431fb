//! What people do: declare, edit, delete, annotate.

use anyhow::{Context as _, Result, bail};
use arm_simulator::Machine;
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use lanyard::api::{IdentityAssignment, IdentityTarget, RECONCILE_AT};
use lanyard::domain::TargetId;
use lanyard::domain::target_name::target_name;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

use super::{Declared, Stage};

/// Writers of one object that may get in each other's way before a test gives up.
const TRIES: usize = 20;

impl Stage<'_> {
    pub fn assignments(&self) -> Api<IdentityAssignment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn targets(&self) -> Api<IdentityTarget> {
        Api::all(self.client.clone())
    }

    /// Creates the assignment.
    pub async fn declare(&self, declared: Declared) -> Result<IdentityAssignment> {
        let wanted = self.with_ids(declared)?;
        let made = self.assignments().create(&PostParams::default(), &wanted.0).await;
        made.with_context(|| format!("{} is not admitted", wanted.name()))
    }

    /// Changes an assignment as a person does with `kubectl edit`.
    pub async fn edit(&self, name: &str, change: impl Fn(Declared) -> Declared) -> Result<IdentityAssignment> {
        for _ in 0..TRIES {
            let now = Declared(self.assignments().get(name).await?);
            let wanted = self.with_ids(change(now))?;
            match self.assignments().replace(name, &PostParams::default(), &wanted.0).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => return other.with_context(|| format!("the edit of {name} is refused")),
            }
        }
        bail!("{name} changed faster than it could be edited")
    }

    /// Deletes an assignment, and does not wait for it to be gone.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.assignments().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// As somebody does who takes the finalizers off by hand.
    pub async fn delete_without_finalizers(&self, name: &str) -> Result<()> {
        let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.assignments().patch(name, &PatchParams::default(), &bare).await?;
        self.delete(name).await
    }

    pub async fn until_gone(&self, name: &str) -> Result<()> {
        self.until(&format!("{name} to be gone"), async || Ok(self.assignment(name).await?.is_none())).await
    }

    pub async fn annotate(&self, name: &str, key: &str, value: &str) -> Result<()> {
        annotate(&self.assignments(), name, key, value).await
    }

    pub async fn annotate_target(&self, machine: &Machine, key: &str, value: &str) -> Result<()> {
        annotate(&self.targets(), &object_of(machine)?, key, value).await
    }

    /// Has the machine of an assignment looked at now.
    pub async fn look(&self, name: &str) -> Result<()> {
        self.annotate(name, RECONCILE_AT, &uuid::Uuid::new_v4().to_string()).await
    }

    /// Has it looked at, and waits until that visit is over: one that came after it has begun.
    pub async fn look_through(&self, name: &str, machine: &Machine) -> Result<()> {
        for _ in 0..2 {
            let before = self.calls("GET", machine);
            self.look(name).await?;
            self.until("the machine to be read", async || Ok(self.calls("GET", machine) > before)).await?;
        }
        Ok(())
    }

    /// Bare names of identities become ids beside the machine, where they are made.
    fn with_ids(&self, mut declared: Declared) -> Result<Declared> {
        let machine = declared.0.spec.target.resource_id.clone();
        for wanted in &mut declared.0.spec.user_assigned {
            if !wanted.resource_id.contains('/') {
                let machine: TargetId = machine.parse().context("a bare name needs a machine to be beside")?;
                let identity = self.arm.identity(machine.subscription(), machine.group(), &wanted.resource_id);
                identity.create().id().clone_into(&mut wanted.resource_id);
            }
        }
        Ok(declared)
    }
}

/// The name of the machine's `IdentityTarget`.
pub fn object_of(machine: &Machine) -> Result<String> {
    Ok(target_name(&machine.id().parse()?))
}

async fn annotate<K>(api: &Api<K>, name: &str, key: &str, value: &str) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let patch = json!({"metadata": {"annotations": {key: value}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
