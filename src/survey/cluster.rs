//! What the cluster holds: assignments, and the record of each machine.
use crate::api::identity_record::IdentityRecord;
use crate::api::raw::{self, Readable};
use crate::api::{IdentityAssignment, IdentityTarget, UserAssignedIdentity};
use crate::domain::{Record, identity};
use anyhow::{Context as _, bail};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Objects a page: large enough to be few, small enough for a slow connection.
const PAGE: u32 = 500;

/// All objects of ours.
#[derive(Debug, Default)]
pub struct Stored {
    pub assignments: Vec<Readable>,
    pub records: Vec<Record>,
    pub targets: Vec<IdentityTarget>,
    pub identities: Vec<UserAssignedIdentity>,
    pub identity_records: Vec<identity::Record>,
}

/// Reads all kinds in full.
///
/// # Errors
/// A list that cannot be had, or an object that cannot be read: a plan without it would be wrong.
pub async fn stored(client: &Client) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    let resource = ApiResource::erase::<IdentityAssignment>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    for object in all(&api, "identityassignments").await? {
        let value = serde_json::to_value(&object)?;
        match raw::read(&value)? {
            Ok(readable) => stored.assignments.push(readable),
            Err(unread) => {
                bail!("{} in the cluster cannot be read: {}", unread.claim.key, crate::arm::chain(&unread.why))
            }
        }
    }
    let api: Api<IdentityTarget> = Api::all(client.clone());
    stored.targets = all(&api, "identitytargets").await?;
    for target in &stored.targets {
        let name = target.metadata.name.clone().unwrap_or_default();
        let record = Record::try_from(&target.record).with_context(|| format!("the record {name} cannot be read"))?;
        stored.records.push(record);
    }
    let api: Api<UserAssignedIdentity> = Api::all(client.clone());
    stored.identities = all(&api, "userassignedidentities").await?;
    let api: Api<IdentityRecord> = Api::all(client.clone());
    for object in all(&api, "identityrecords").await? {
        let name = object.metadata.name.clone().unwrap_or_default();
        let record =
            identity::Record::try_from(&object.record).with_context(|| format!("the record {name} cannot be read"))?;
        stored.identity_records.push(record);
    }
    Ok(stored)
}

async fn all<K>(api: &Api<K>, what: &str) -> anyhow::Result<Vec<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await.with_context(|| format!("{what} cannot be listed in the cluster"))?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}
