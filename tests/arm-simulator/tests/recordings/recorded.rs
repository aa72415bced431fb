//! A recorded exchange, and what matters of it.
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub struct Recorded {
    pub seq: u64,
    pub method: String,
    pub url: String,
    pub request_body: Value,
    pub status: u16,
    pub response_headers: HashMap<String, String>,
    pub response_body: Value,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Sort {
    Machine,
    Identity,
    Poll,
}

impl Recorded {
    /// Path and query.
    pub fn target(&self) -> &str {
        let rest = self.url.strip_prefix("https://").unwrap_or(&self.url);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    pub fn sort(&self) -> Option<Sort> {
        let path = self.path().to_lowercase();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts[..] {
            [_, _, _, _, _, "microsoft.compute", "virtualmachines" | "virtualmachinescalesets", _] => {
                Some(Sort::Machine)
            }
            [_, _, _, _, _, "microsoft.managedidentity", "userassignedidentities", _] => Some(Sort::Identity),
            [_, _, _, "microsoft.compute", "locations", _, "operations", _] => Some(Sort::Poll),
            _ => None,
        }
    }

    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn is_write(&self) -> bool {
        self.method != "GET"
    }

    pub fn operation(&self) -> Option<&str> {
        let url = self.response_headers.get("azure-asyncoperation")?;
        url.split("operations/").nth(1)?.split('?').next()
    }
}

/// What matters of an identity block: its type, whether there is a system principal, and which
/// ids are there, each with or without a principal of its own.
pub fn identity_of(body: &Value) -> Value {
    let identity = &body["identity"];
    if identity.is_null() {
        return Value::Null;
    }
    let mut users: BTreeMap<String, bool> = BTreeMap::new();
    for id in identity["identityIds"].as_array().into_iter().flatten() {
        users.insert(id.as_str().unwrap_or_default().to_lowercase(), false);
    }
    for (id, entry) in identity["userAssignedIdentities"].as_object().into_iter().flatten() {
        let settled = entry["principalId"].is_string() && entry["clientId"].is_string();
        users.insert(id.to_lowercase(), settled);
    }
    json!({
        "type": identity["type"],
        "principal": identity["principalId"].is_string(),
        "tenant": identity["tenantId"].is_string(),
        "users": users,
    })
}
