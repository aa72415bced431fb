//! ARM's JSON about machines, read leniently where spelling varies and strictly where an identity could be missed.
use lanyard_domain::identity::{Known, Tags};
use lanyard_domain::live::{Orchestration, Provisioning};
use lanyard_domain::{ETag, IdentityId, Live, MachineKind, Principal, SystemIdentity, TargetId, UniqueId};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Why an answer cannot be believed.
pub(super) type Why = String;

/// A machine's answer. `header` is the answer's `ETag` header: it counts where the body has none.
pub(super) fn machine(target: &TargetId, body: &[u8], header: Option<&str>) -> Result<Live, Why> {
    machine_of(target, &document(body)?, header)
}

/// The same, of a document that was read already.
pub(super) fn machine_of(target: &TargetId, document: &Map<String, Value>, header: Option<&str>) -> Result<Live, Why> {
    check_id(target, document)?;
    let empty = Map::new();
    let properties = match document.get("properties") {
        Some(Value::Object(properties)) => properties,
        None | Some(Value::Null) => &empty,
        Some(_) => return Err("its properties are no object".into()),
    };
    let (system, user) = identity(document.get("identity"))?;
    let form = form(document.get("identity"));
    let unique_key = match target.kind() {
        MachineKind::VirtualMachine => "vmId",
        MachineKind::ScaleSet => "uniqueId",
    };
    Ok(Live {
        unique_id: word(properties.get(unique_key)).map(UniqueId),
        etag: word(document.get("etag")).or_else(|| header.map(str::to_owned)).map(ETag),
        system,
        user,
        provisioning: provisioning(word(properties.get("provisioningState")).as_deref()),
        orchestration: orchestration(target.kind(), word(properties.get("orchestrationMode")).as_deref()),
        location: word(document.get("location")),
        tagged_by_aks: tagged_by_aks(document.get("tags")),
        lists_ids: form == Some(Form::List),
        may_roll_out: may_roll_out(properties),
    })
}

/// The entries of a page, and where the list goes on.
pub(super) fn page(body: &[u8]) -> Result<(Vec<Value>, Option<String>), Why> {
    let mut document = document(body)?;
    let next = word(document.get("nextLink"));
    match document.remove("value") {
        Some(Value::Array(entries)) => Ok((entries, next)),
        Some(_) | None => Err("its value is no list".into()),
    }
}

/// The `managedBy` of a resource group.
pub(super) fn managed_by(body: &[u8]) -> Result<Option<String>, Why> {
    Ok(word(document(body)?.get("managedBy")))
}

/// A user-assigned identity's own answer.
pub(super) fn identity_resource(id: &IdentityId, body: &[u8]) -> Result<Principal, Why> {
    let document = document(body)?;
    let told = word(document.get("id")).ok_or("it does not say which resource it is about")?;
    if told.to_lowercase() != id.folded() {
        return Err(format!("it is about {told}"));
    }
    Ok(principal_of(&document))
}

/// The same with all that is told of it. One that does not tell its principal is not understood: who it is decides much.
pub(super) fn user_identity(id: &IdentityId, body: &[u8]) -> Result<Known, Why> {
    let document = document(body)?;
    let told = word(document.get("id")).ok_or("it does not say which resource it is about")?;
    if told.to_lowercase() != id.folded() {
        return Err(format!("it is about {told}"));
    }
    user_identity_of(&document)
}

/// The same of a document that tells itself what it is about.
pub(super) fn user_identity_of(document: &Map<String, Value>) -> Result<Known, Why> {
    let properties = document.get("properties").and_then(Value::as_object).ok_or("it has no properties")?;
    let needed = |name: &str| word(properties.get(name)).ok_or_else(|| format!("it does not tell its {name}"));
    Ok(Known {
        principal_id: needed("principalId")?,
        client_id: needed("clientId")?,
        tenant_id: needed("tenantId")?,
        location: word(document.get("location")).unwrap_or_default(),
        tags: tags(document.get("tags"))?,
    })
}

/// A tag that cannot be read would be lost when all are written.
fn tags(value: Option<&Value>) -> Result<Tags, Why> {
    match value {
        None | Some(Value::Null) => Ok(Tags::default()),
        Some(Value::Object(map)) => {
            let tag = |(name, value): (&String, &Value)| match value {
                Value::String(text) => Ok((name.clone(), text.clone())),
                Value::Null => Ok((name.clone(), String::new())),
                _ => Err(format!("its tag {name} is no text")),
            };
            map.iter().map(tag).collect()
        }
        Some(_) => Err("its tags are no map".into()),
    }
}

/// Which principal an identity has, as its document says.
pub(super) fn principal_of(document: &Map<String, Value>) -> Principal {
    document.get("properties").map(principal).unwrap_or_default()
}

/// Any JSON object.
pub(super) fn document(body: &[u8]) -> Result<Map<String, Value>, Why> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(_) => Err("it is no JSON object".into()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

/// A text that says something.
pub(super) fn word(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn check_id(target: &TargetId, document: &Map<String, Value>) -> Result<(), Why> {
    let id = word(document.get("id")).ok_or("it does not say which resource it is about")?;
    if id.to_lowercase() == target.folded() { Ok(()) } else { Err(format!("it is about {id}")) }
}

type Identities = (Option<SystemIdentity>, BTreeMap<IdentityId, Principal>);

/// No block means no identity; a block that cannot be read never does.
fn identity(block: Option<&Value>) -> Result<Identities, Why> {
    let block = match block {
        None | Some(Value::Null) => return Ok((None, BTreeMap::new())),
        Some(Value::Object(block)) => block,
        Some(_) => return Err("its identity is no object".into()),
    };
    let system = has_system(block)?.then(|| SystemIdentity {
        principal_id: word(block.get("principalId")),
        tenant_id: word(block.get("tenantId")),
    });
    let mut user = user_map(block.get("userAssignedIdentities"))?;
    for id in user_list(block.get("identityIds"))? {
        user.entry(id).or_default();
    }
    Ok((system, user))
}

/// How user-assigned identities are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Map,
    /// Before api-version 2018-06-01.
    List,
}

/// The form of a block that shows some. One that shows both was made by somebody who knows the map.
pub(super) fn form(block: Option<&Value>) -> Option<Form> {
    let block = block?.as_object()?;
    let shown = |key: &str| block.get(key).is_some_and(|value| !value.is_null());
    if shown("userAssignedIdentities") { Some(Form::Map) } else { shown("identityIds").then_some(Form::List) }
}

/// `type` in any case, with or without blanks. Without one, a principal of its own speaks for a system identity.
fn has_system(block: &Map<String, Value>) -> Result<bool, Why> {
    let Some(written) = word(block.get("type")) else {
        return Ok(word(block.get("principalId")).is_some());
    };
    let mut system = false;
    for part in written.split(',') {
        match part.trim().to_ascii_lowercase().as_str() {
            "systemassigned" => system = true,
            "userassigned" | "none" => {}
            _ => return Err(format!("its identity is of the unknown type '{written}'")),
        }
    }
    Ok(system)
}

fn user_map(value: Option<&Value>) -> Result<BTreeMap<IdentityId, Principal>, Why> {
    match value {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(map)) => {
            Ok(map.iter().map(|(id, entry)| (IdentityId::told_by_arm(id), principal(entry))).collect())
        }
        Some(_) => Err("its userAssignedIdentities are no map".into()),
    }
}

/// The list of api-versions before 2018-06-01.
fn user_list(value: Option<&Value>) -> Result<Vec<IdentityId>, Why> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids
            .iter()
            .map(|id| id.as_str().map(IdentityId::told_by_arm).ok_or_else(|| "an identityId is no text".into()))
            .collect(),
        Some(_) => Err("its identityIds are no list".into()),
    }
}

fn principal(entry: &Value) -> Principal {
    Principal { principal_id: word(entry.get("principalId")), client_id: word(entry.get("clientId")) }
}

/// ARM promises three words for what has ended; every other word names something that goes on.
fn provisioning(state: Option<&str>) -> Provisioning {
    match state.unwrap_or("Succeeded").to_ascii_lowercase().as_str() {
        "succeeded" => Provisioning::Succeeded,
        "failed" | "canceled" | "cancelled" => Provisioning::Failed,
        "deleting" => Provisioning::Deleting,
        _ => Provisioning::Running,
    }
}

/// Scale sets from before the property existed are uniform.
fn orchestration(kind: MachineKind, mode: Option<&str>) -> Orchestration {
    match kind {
        MachineKind::VirtualMachine => Orchestration::Single,
        MachineKind::ScaleSet if mode.is_some_and(|mode| mode.eq_ignore_ascii_case("Flexible")) => {
            Orchestration::Flexible
        }
        MachineKind::ScaleSet => Orchestration::Uniform,
    }
}

/// Upgrade policy Automatic, image `latest`.
fn may_roll_out(properties: &Map<String, Value>) -> bool {
    let is = |path: &[&str], wanted: &str| {
        let (first, rest) = path.split_first().map_or(("", path), |(first, rest)| (*first, rest));
        let value = rest.iter().try_fold(properties.get(first)?, |value, part| value.get(part));
        Some(value?.as_str()?.eq_ignore_ascii_case(wanted))
    };
    let image = ["virtualMachineProfile", "storageProfile", "imageReference", "version"];
    is(&["upgradePolicy", "mode"], "Automatic") == Some(true) && is(&image, "latest") == Some(true)
}

fn tagged_by_aks(tags: Option<&Value>) -> bool {
    let keys = tags.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    keys.map(|key| key.to_ascii_lowercase()).any(|key| key.starts_with(lanyard_domain::aks::AKS_TAG_PREFIX))
}

#[cfg(test)]
mod tests;
