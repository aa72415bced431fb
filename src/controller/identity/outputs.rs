//! A `ConfigMap` with the identity's ids, for workloads. Owned by the object, and never one that somebody else made.
use super::error::IdentityError;
use super::index::Declared;
use super::store;
use super::visit::Visit;
use crate::controller::context::Context;
use crate::controller::kubernetes::KubeError;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use lanyard_domain::identity::{Known, Record};
use std::collections::BTreeMap;

/// Brings it up to date. What is in the way is told, and holds up nothing else.
pub async fn write(context: &Context, visit: &mut Visit) -> Result<Option<String>, IdentityError> {
    let (Some(owner), Some(known), Some(record)) = (visit.owner.clone(), visit.known.clone(), visit.record.clone())
    else {
        return Ok(None);
    };
    let wanted = owner.wish.outputs.clone();
    if let Some(old) = record.outputs.clone().filter(|old| Some(old) != wanted.as_ref()) {
        if let Err(error) = take_away(context, &owner, &old).await {
            return Ok(Some(in_words(&old, &error)));
        }
        store::write(context, visit, &Record { outputs: None, ..record.clone() }).await?;
    }
    let Some(name) = wanted else { return Ok(None) };
    if record.outputs.as_ref() != Some(&name) {
        // Before it is made: whoever goes on from here knows that it may have to go.
        store::write(context, visit, &Record { outputs: Some(name.clone()), ..record }).await?;
    }
    match put(context, visit, &owner, &name, &known).await {
        Ok(None) => Ok(None),
        Ok(Some(in_the_way)) => Ok(Some(in_the_way)),
        Err(error) => Ok(Some(in_words(&name, &error))),
    }
}

fn in_words(name: &str, error: &KubeError) -> String {
    let error = crate::arm::chain(error);
    format!(
        "the ConfigMap {name} cannot be written ({error}): see that the role lanyard-outputs is bound to the controller here"
    )
}

async fn put(
    context: &Context,
    visit: &Visit,
    owner: &Declared,
    name: &str,
    known: &Known,
) -> Result<Option<String>, KubeError> {
    let namespace = &owner.wish.key.namespace;
    let wanted = wanted(owner, name, known, visit);
    let Some(found) = context.kubernetes.config_map(namespace, name).await? else {
        return match context.kubernetes.create_config_map(namespace, &wanted).await {
            Ok(()) => Ok(None),
            Err(KubeError::Exists) => Ok(Some(in_the_way(name))),
            Err(error) => Err(error),
        };
    };
    if !is_owned(&found, owner) {
        return Ok(Some(in_the_way(name)));
    }
    let managed = |map: &ConfigMap| map.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY).cloned());
    if found.data == wanted.data && found.binary_data.is_none() && managed(&found) == managed(&wanted) {
        return Ok(None);
    }
    let mut map = ConfigMap { data: wanted.data, binary_data: None, ..found };
    map.metadata.managed_fields = None;
    map.metadata.labels.get_or_insert_default().extend(wanted.metadata.labels.unwrap_or_default());
    context.kubernetes.replace_config_map(namespace, &map).await.map(|()| None)
}

fn in_the_way(name: &str) -> String {
    format!(
        "a ConfigMap {name} is there that is not this object's; it is left alone: delete it, or write another name in spec.writeOutputsTo"
    )
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

fn wanted(owner: &Declared, name: &str, known: &Known, visit: &Visit) -> ConfigMap {
    let data = [
        ("clientId", known.client_id.clone()),
        ("principalId", known.principal_id.clone()),
        ("tenantId", known.tenant_id.clone()),
        ("resourceId", visit.identity.to_string()),
    ];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(owner.wish.key.namespace.clone()),
            labels: Some([(MANAGED_BY.to_owned(), "lanyard".to_owned())].into()),
            owner_references: owner
                .object
                .controller_owner_ref(&())
                .map(|reference| vec![OwnerReference { block_owner_deletion: None, ..reference }]),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    }
}

/// It says so itself, by the uid of this very object.
fn is_owned(map: &ConfigMap, owner: &Declared) -> bool {
    let uid = owner.object.uid();
    map.owner_references().iter().any(|reference| {
        reference.controller == Some(true) && Some(&reference.uid) == uid.as_ref() && !reference.uid.is_empty()
    })
}

async fn take_away(context: &Context, owner: &Declared, name: &str) -> Result<(), KubeError> {
    let namespace = &owner.wish.key.namespace;
    match context.kubernetes.config_map(namespace, name).await? {
        Some(map) if is_owned(&map, owner) => context.kubernetes.delete_config_map(namespace, &map).await,
        Some(_) | None => Ok(()),
    }
}
