//! What people see: conditions, records, Events; and what ARM was asked for.

use anyhow::Result;
use arm_simulator::{Exchange, Machine, RecordedPatch};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams};
use lanyard::api::{IdentityAssignment, IdentityAssignmentStatus, IdentityTarget, TargetRecord};
use lanyard::domain::reason::Reason;

use super::Stage;
use super::act::object_of;

impl Stage<'_> {
    pub async fn assignment(&self, name: &str) -> Result<Option<IdentityAssignment>> {
        Ok(self.assignments().get_opt(name).await?)
    }

    /// The status, once it is about what is declared now.
    pub async fn status(&self, name: &str) -> Result<Option<IdentityAssignmentStatus>> {
        let Some(object) = self.assignment(name).await? else { return Ok(None) };
        let current = object.status.filter(|status| status.observed_generation == object.metadata.generation);
        Ok(current)
    }

    /// A condition, once it is about what is declared now.
    pub async fn condition(&self, name: &str, kind: &str) -> Result<Option<Condition>> {
        let status = self.status(name).await?;
        Ok(status.and_then(|status| status.conditions.into_iter().find(|condition| condition.type_ == kind)))
    }

    /// Waits for `Ready=True` about what is declared now.
    pub async fn until_ready(&self, name: &str) -> Result<()> {
        let ready = async || Ok(self.condition(name, "Ready").await?.is_some_and(|ready| ready.status == "True"));
        self.until(&format!("{name} to be ready"), ready).await
    }

    /// Waits for `Ready=False` with this reason about what is declared now; gives its message.
    pub async fn until_not_ready(&self, name: &str, reason: Reason) -> Result<String> {
        let what = format!("{name} to be not ready: {}", reason.as_str());
        let told = async || {
            let ready = self.condition(name, "Ready").await?;
            let it = ready.filter(|ready| ready.status == "False" && ready.reason == reason.as_str());
            Ok(it.map(|ready| ready.message))
        };
        self.until_some(&what, told).await
    }

    pub async fn is_stalled(&self, name: &str) -> Result<bool> {
        Ok(self.condition(name, "Stalled").await?.is_some_and(|stalled| stalled.status == "True"))
    }

    /// The machine's `IdentityTarget`.
    pub async fn target(&self, machine: &Machine) -> Result<Option<IdentityTarget>> {
        Ok(self.targets().get_opt(&object_of(machine)?).await?)
    }

    /// The machine's record; one without anything in it where there is no `IdentityTarget`.
    pub async fn record(&self, machine: &Machine) -> Result<TargetRecord> {
        Ok(self.target(machine).await?.map(|target| target.record).unwrap_or_default())
    }

    /// Names of the identities that the record says we attached.
    pub async fn attached(&self, machine: &Machine) -> Result<Vec<String>> {
        let record = self.record(machine).await?;
        let mut names: Vec<String> = record.attached.iter().map(|it| name_of(&it.resource_id)).collect();
        names.sort();
        Ok(names)
    }

    /// Requests with this method for the machine itself that have been answered.
    pub fn calls(&self, method: &str, machine: &Machine) -> usize {
        let id = machine.id().to_lowercase();
        let journal = self.arm.journal_of(&self.subscription);
        journal.iter().filter(|call| call.method == method && call.path.to_lowercase() == id).count()
    }

    /// Events of the test's namespace, and those in `default` about the machine's `IdentityTarget`, as `Reason: note`.
    pub async fn events(&self) -> Result<Vec<String>> {
        let here: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let everywhere: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let mut events = here.list(&ListParams::default()).await?.items;
        let elsewhere = everywhere.list(&ListParams::default()).await?.items;
        let targets = self.targets().list(&ListParams::default()).await?;
        let mine = |event: &Event| {
            let name = event.regarding.as_ref().and_then(|regarding| regarding.name.clone());
            targets.iter().any(|target| {
                target.metadata.name == name && target.record.resource_id.contains(self.subscription.as_str())
            })
        };
        events.extend(elsewhere.into_iter().filter(mine));
        let told = |event: Event| format!("{}: {}", event.reason.unwrap_or_default(), event.note.unwrap_or_default());
        Ok(events.into_iter().map(told).collect())
    }

    /// Waits for an Event with this reason whose note holds the text.
    pub async fn until_event(&self, reason: &str, holding: &str) -> Result<String> {
        let start = format!("{reason}: ");
        let seen = async || {
            let events = self.events().await?;
            Ok(events.into_iter().find(|event| event.starts_with(&start) && event.contains(holding)))
        };
        self.until_some(&format!("the Event {reason} that tells of {holding}"), seen).await
    }
}

/// The last part of an id.
pub fn name_of(id: &str) -> String {
    id.rsplit('/').next().unwrap_or_default().to_owned()
}

pub fn names_of<'a>(ids: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    ids.into_iter().map(|id| name_of(id)).collect()
}

/// The changes that were asked for, in short; the probe of If-Match asks for none.
pub fn sent(machine: &Machine) -> Vec<String> {
    asked(machine).iter().map(ToString::to_string).collect()
}

/// The changes that were asked for.
pub fn asked(machine: &Machine) -> Vec<RecordedPatch> {
    let changes = |patch: &RecordedPatch| patch.body.get("identity").is_some();
    machine.patches().into_iter().filter(changes).collect()
}

/// A page of a list of VMs.
pub fn is_list(call: &Exchange) -> bool {
    call.method == "GET" && call.path.to_lowercase().ends_with("/virtualmachines")
}
