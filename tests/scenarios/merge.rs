//! What ARM makes of a PATCH of an identity block, written from the recorded facts alone and apart from the product.
use serde_json::Value;
use std::collections::BTreeSet;

/// An identity block: ids in lower case, since ARM compares without case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ArmBlock {
    pub system: bool,
    pub user: BTreeSet<String>,
}

impl ArmBlock {
    pub fn new<S: AsRef<str>>(system: bool, user: impl IntoIterator<Item = S>) -> Self {
        Self { system, user: user.into_iter().map(|id| id.as_ref().to_lowercase()).collect() }
    }

    /// The block after a PATCH with this body.
    ///
    /// # Errors
    /// A sentence, where ARM refuses, or where its answer is not confirmed by any recording: such a body must not leave.
    pub fn patched(&self, body: &Value) -> Result<Self, String> {
        let identity = body.get("identity").ok_or("no identity in the body")?;
        let kind = identity.get("type").and_then(Value::as_str).ok_or("no type")?;
        let (system, holds_user) = match kind.replace(' ', "").to_lowercase().as_str() {
            "none" => (false, false),
            "systemassigned" => (true, false),
            "userassigned" => (false, true),
            "systemassigned,userassigned" => (true, true),
            _ => return Err(format!("an unknown type {kind}")),
        };
        match (identity.get("userAssignedIdentities"), holds_user) {
            (None, true) if self.user.is_empty() => Err("MissingIdentityIds".into()),
            (None, true) => Ok(Self { system, user: self.user.clone() }),
            (None, false) => Ok(Self { system, user: BTreeSet::new() }),
            (Some(Value::Object(map)), true) => Ok(Self { system, user: self.merged(map)? }),
            (Some(_), _) => Err("a map under a type without user identities, or no map at all".into()),
        }
    }

    fn merged(&self, map: &serde_json::Map<String, Value>) -> Result<BTreeSet<String>, String> {
        let mut user = self.user.clone();
        for (id, edit) in map {
            match edit {
                Value::Null => user.remove(&id.to_lowercase()),
                Value::Object(empty) if empty.is_empty() => user.insert(id.to_lowercase()),
                _ => return Err(format!("InvalidIdentityValues: {id}")),
            };
        }
        if user.is_empty() { Err("UserAssigned with every key null is not confirmed".into()) } else { Ok(user) }
    }
}
