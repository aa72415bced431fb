//! How a write changes a machine's identity block: pure, and read off the recordings.
//!
//! The map merges, `type` is authoritative, and what is not named stays only while `type`
//! still holds its sort.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::id::fold;
use crate::settings::AllNull;

/// The ids of a user-assigned identity as a principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    pub principal_id: String,
    pub client_id: String,
}

/// One user-assigned identity on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the first writer spelled it; ARM echoes that.
    pub written: String,
    /// None until the operation that added it ends.
    pub principal: Option<Principal>,
}

impl Entry {
    pub fn key(&self) -> String {
        fold(&self.written)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityBlock {
    /// The system identity's principal id.
    pub system: Option<String>,
    pub users: Vec<Entry>,
}

/// `type`, read leniently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentityType {
    pub system: bool,
    pub user: bool,
}

impl IdentityType {
    fn parse(text: &str) -> Option<Self> {
        let mut parsed = Self { system: false, user: false };
        let parts: Vec<String> = text.split(',').map(|part| fold(part.trim())).collect();
        if parts == ["none"] {
            return Some(parsed);
        }
        for part in parts {
            match part.as_str() {
                "systemassigned" => parsed.system = true,
                "userassigned" => parsed.user = true,
                _ => return None,
            }
        }
        Some(parsed)
    }

    const fn name(self) -> &'static str {
        match (self.system, self.user) {
            (true, true) => "SystemAssigned, UserAssigned",
            (true, false) => "SystemAssigned",
            (false, true) => "UserAssigned",
            (false, false) => "None",
        }
    }
}

/// What a request says about one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    Attach,
    Detach,
    /// An object with something in it: only the existing one is accepted.
    Echo(Value),
}

/// The identity part of a request's body.
#[derive(Clone, Debug)]
pub struct IdentityRequest {
    pub kind: IdentityType,
    pub edits: Option<Vec<(String, Edit)>>,
    /// What is not named goes: the old list form, and a PUT.
    pub replaces: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    Content(String),
    MissingIdentityIds,
    IdentityValues(String),
    IdsWithoutUserAssigned(&'static str),
}

impl IdentityRequest {
    /// Reads `identity` out of a body. `listed`: the api-versions whose ids are a list.
    pub fn parse(identity: &Value, listed: bool, put: bool) -> Result<Self, Invalid> {
        let content = |why: &str| Invalid::Content(why.to_owned());
        let identity = identity.as_object().ok_or_else(|| content("'identity' is not an object. Path 'identity'"))?;
        let kind = identity
            .get("type")
            .and_then(Value::as_str)
            .ok_or_else(|| content("Required property 'type' not found in JSON. Path 'identity'"))?;
        let kind = IdentityType::parse(kind).ok_or_else(|| {
            Invalid::Content(format!(
                "Error converting value \\\"{kind}\\\" to type 'ResourceIdentityType'. Path 'identity.type'"
            ))
        })?;
        let edits = if listed { list_edits(identity)? } else { map_edits(identity)? };
        Ok(Self { kind, edits, replaces: listed || put })
    }

    /// The ids that the request asks to have there.
    pub fn asked(&self) -> Vec<String> {
        self.named(|edit| !matches!(edit, Edit::Detach))
    }

    pub fn detached(&self) -> Vec<String> {
        self.named(|edit| matches!(edit, Edit::Detach))
    }

    fn named(&self, pick: impl Fn(&Edit) -> bool) -> Vec<String> {
        let edits = self.edits.iter().flatten();
        edits.filter(|(_, edit)| pick(edit)).map(|(id, _)| id.clone()).collect()
    }
}

fn map_edits(identity: &Map<String, Value>) -> Result<Option<Vec<(String, Edit)>>, Invalid> {
    let map = match identity.get("userAssignedIdentities") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(_) => {
            return Err(Invalid::Content("'userAssignedIdentities' is not an object. Path 'identity'".to_owned()));
        }
    };
    let edits = map.iter().map(|(id, value)| match value {
        Value::Null => Ok((id.clone(), Edit::Detach)),
        Value::Object(inner) if inner.is_empty() => Ok((id.clone(), Edit::Attach)),
        Value::Object(_) => Ok((id.clone(), Edit::Echo(value.clone()))),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Invalid::IdentityValues(id.clone()))
        }
    });
    edits.collect::<Result<_, _>>().map(Some)
}

fn list_edits(identity: &Map<String, Value>) -> Result<Option<Vec<(String, Edit)>>, Invalid> {
    let list = match identity.get("identityIds") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => {
            return Err(Invalid::Content("'identityIds' is not an array. Path 'identity'".to_owned()));
        }
    };
    let edits = list.iter().map(|id| {
        let id = id
            .as_str()
            .ok_or_else(|| Invalid::Content("an id is not a string. Path 'identity.identityIds'".to_owned()))?;
        Ok((id.to_owned(), Edit::Attach))
    });
    edits.collect::<Result<_, _>>().map(Some)
}

impl IdentityBlock {
    pub fn find(&self, id: &str) -> Option<&Entry> {
        let key = fold(id);
        self.users.iter().find(|entry| entry.key() == key)
    }

    pub const fn kind(&self) -> IdentityType {
        IdentityType { system: self.system.is_some(), user: !self.users.is_empty() }
    }

    pub fn type_name(&self) -> &'static str {
        self.kind().name()
    }

    /// The ids, folded and sorted.
    pub fn user_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.users.iter().map(Entry::key).collect();
        keys.sort();
        keys
    }

    /// The block after a request. Ids that are new read blank until the operation ends.
    pub fn merged(&self, request: &IdentityRequest, all_null: AllNull) -> Result<Self, Invalid> {
        let system = request.kind.system.then(|| self.system.clone().unwrap_or_else(|| Uuid::new_v4().to_string()));
        if !request.kind.user {
            if !request.asked().is_empty() {
                return Err(Invalid::IdsWithoutUserAssigned(request.kind.name()));
            }
            return Ok(Self { system, users: Vec::new() });
        }
        let users = self.users_after(request)?;
        let emptied = request.edits.as_ref().is_some_and(|edits| !edits.is_empty());
        if users.is_empty() && !(emptied && all_null == AllNull::Accept) {
            return Err(Invalid::MissingIdentityIds);
        }
        Ok(Self { system, users })
    }

    fn users_after(&self, request: &IdentityRequest) -> Result<Vec<Entry>, Invalid> {
        let Some(edits) = &request.edits else {
            return Ok(self.users.clone());
        };
        let mut users = if request.replaces { Vec::new() } else { self.users.clone() };
        for (id, edit) in edits {
            let key = fold(id);
            let existing = self.find(id);
            match edit {
                Edit::Detach => users.retain(|entry| entry.key() != key),
                Edit::Echo(value) if existing.is_none_or(|entry| !echoes(entry, value)) => {
                    return Err(Invalid::IdentityValues(id.clone()));
                }
                Edit::Attach | Edit::Echo(_) => {
                    if users.iter().all(|entry| entry.key() != key) {
                        users.push(existing.cloned().unwrap_or_else(|| Entry { written: id.clone(), principal: None }));
                    }
                }
            }
        }
        Ok(users)
    }

    /// As an answer shows it. `blank`: which entries read `{}` though the state knows better.
    pub fn rendered(&self, tenant: &str, listed: bool, blank: impl Fn(&Entry) -> bool) -> Option<Value> {
        if !self.kind().system && !self.kind().user {
            return None;
        }
        let mut out = json!({"type": self.type_name()});
        if let Some(principal) = &self.system {
            out["principalId"] = json!(principal);
            out["tenantId"] = json!(tenant);
        }
        if self.users.is_empty() {
            return Some(out);
        }
        if listed {
            let ids: Vec<&String> = self.users.iter().map(|entry| &entry.written).collect();
            out["identityIds"] = json!(ids);
        } else {
            let map: Map<String, Value> =
                self.users.iter().map(|entry| (entry.written.clone(), shown(entry, blank(entry)))).collect();
            out["userAssignedIdentities"] = Value::Object(map);
        }
        Some(out)
    }
}

fn shown(entry: &Entry, blank: bool) -> Value {
    match &entry.principal {
        Some(principal) if !blank => {
            json!({"principalId": principal.principal_id, "clientId": principal.client_id})
        }
        Some(_) | None => json!({}),
    }
}

fn echoes(entry: &Entry, value: &Value) -> bool {
    entry.principal.is_some() && *value == shown(entry, false)
}
