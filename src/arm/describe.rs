//! Bodies that ARM answered some other time, read as its answers are.
use super::wire;
use lanyard_domain::identity::Known;
use lanyard_domain::{IdentityId, Live, Principal, TargetId};
use serde_json::Value;

/// What a body is about.
#[derive(Clone, Debug)]
pub enum Described {
    Machine(TargetId, Box<Live>),
    /// What machines and lists tell of it, and all of it where the body tells all.
    Identity(IdentityId, Principal, Option<Known>),
    /// A resource group, by subscription and name in lower case.
    Group {
        key: String,
        managed_by: Option<String>,
    },
}

/// Reads the body of a GET, or an entry of a LIST.
///
/// # Errors
/// What is missing in it, or what it is about instead.
pub fn describe(body: &Value) -> Result<Described, String> {
    let document = body.as_object().ok_or("it is no JSON object")?;
    let id = wire::word(document.get("id")).ok_or("it does not say which resource it is about")?;
    if let Ok(target) = id.parse::<TargetId>() {
        let live = wire::machine_of(&target, document, None).map_err(|why| format!("of {id}: {why}"))?;
        return Ok(Described::Machine(target, Box::new(live)));
    }
    if let Ok(identity) = id.parse::<IdentityId>() {
        let known = wire::user_identity_of(document).ok();
        return Ok(Described::Identity(identity, wire::principal_of(document), known));
    }
    match id.to_lowercase().split('/').collect::<Vec<_>>().as_slice() {
        ["", "subscriptions", subscription, "resourcegroups", group] => {
            let key = format!("{subscription}/{group}");
            Ok(Described::Group { key, managed_by: wire::word(document.get("managedBy")) })
        }
        _ => Err(format!("it is about {id}")),
    }
}
