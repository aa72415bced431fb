//! Who changed an identity block, and what that did: the truth that tests hold a controller to.
use jiff::Timestamp;
use serde::Serialize;

use super::identity_block::IdentityBlock;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A request through the front door, by its number in the journal.
    Request(u64),
    /// Somebody else, as a test or a fault had it.
    Foreign(String),
    /// A failed operation that took its change back.
    Rollback(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemChange {
    Enabled(String),
    /// The principal that is gone for good.
    Destroyed(String),
}

/// One change of one machine.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    pub at: Timestamp,
    pub by: Actor,
    pub etag: u64,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub system: Vec<SystemChange>,
}

impl Change {
    pub fn between(before: &IdentityBlock, after: &IdentityBlock, etag: u64, by: Actor) -> Self {
        let (old, new) = (before.user_keys(), after.user_keys());
        let beyond = |these: &[String], those: &[String]| -> Vec<String> {
            let rest = these.iter().filter(|id| !those.contains(id));
            rest.cloned().collect()
        };
        let mut system = Vec::new();
        if before.system != after.system {
            system.extend(before.system.clone().map(SystemChange::Destroyed));
            system.extend(after.system.clone().map(SystemChange::Enabled));
        }
        Self { at: Timestamp::now(), by, etag, added: beyond(&new, &old), removed: beyond(&old, &new), system }
    }
}
