//! All that is known, for a test that waited in vain.

use std::fmt::Write as _;

use kube::api::ListParams;
use lanyard::api::{IdentityRecord, IdentityTarget, UserAssignedIdentity};

use super::{Stage, tail};

/// Statuses, records, Events, the exchanges with ARM and the end of the controller's log.
pub async fn everything(stage: &Stage<'_>) -> String {
    let mut told = String::new();
    let mut part = |title: &str, text: String| {
        let _ = write!(told, "--- {title}\n{text}\n");
    };
    match stage.assignments().list(&ListParams::default()).await {
        Ok(list) => list.iter().for_each(|object| {
            let finalizers = object.metadata.finalizers.clone().unwrap_or_default();
            let name = object.metadata.name.clone().unwrap_or_default();
            part(&format!("assignment {name}, finalizers {finalizers:?}"), pretty(&object.status));
        }),
        Err(error) => part("assignments", error.to_string()),
    }
    match stage.targets().list(&ListParams::default()).await {
        Ok(list) => {
            let mine = |target: &&IdentityTarget| target.record.resource_id.contains(&stage.subscription);
            list.iter().filter(mine).for_each(|target| part("record", pretty(&target.record)));
        }
        Err(error) => part("targets", error.to_string()),
    }
    let identities: kube::Api<UserAssignedIdentity> = kube::Api::namespaced(stage.client.clone(), &stage.namespace);
    match identities.list(&ListParams::default()).await {
        Ok(list) => list.iter().for_each(|object| {
            let finalizers = object.metadata.finalizers.clone().unwrap_or_default();
            let name = object.metadata.name.clone().unwrap_or_default();
            part(&format!("identity {name}, finalizers {finalizers:?}"), pretty(&object.status));
        }),
        Err(error) => part("identities", error.to_string()),
    }
    let records: kube::Api<IdentityRecord> = kube::Api::all(stage.client.clone());
    match records.list(&ListParams::default()).await {
        Ok(list) => {
            let mine = |record: &&IdentityRecord| record.record.resource_id.contains(&stage.subscription);
            list.iter().filter(mine).for_each(|record| part("identity record", pretty(&record.record)));
        }
        Err(error) => part("identity records", error.to_string()),
    }
    part("Events", stage.events().await.map_or_else(|error| error.to_string(), |events| events.join("\n")));
    part("ARM", exchanges(stage));
    part("log", tail(&stage.log, &stage.subscription, 40));
    part("end of the log", tail(&stage.log, "", 5));
    told
}

fn exchanges(stage: &Stage<'_>) -> String {
    let journal = stage.arm.journal_of(&stage.subscription);
    let lines = journal.iter().map(|call| {
        let status = call.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let error = call.error_code.as_deref().unwrap_or_default();
        let body = if call.request_body.is_null() { String::new() } else { call.request_body.to_string() };
        let place = call.path.rsplit("/providers/").next().unwrap_or_default();
        let guard = call.if_match.as_deref().unwrap_or_default();
        format!("{} {} {place} {guard} {body} -> {status} {error} {}", call.seq, call.method, call.faults.join(","))
    });
    let lines: Vec<String> = lines.collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
