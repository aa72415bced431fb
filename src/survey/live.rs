//! What is known of the machines.
use super::identities::Seen;
use crate::domain::{IdentityId, Live, Own, TargetId};
use std::collections::BTreeMap;

/// Why a machine could not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// ARM says in its own words that it is not there.
    NotThere,
    /// Nothing follows from this.
    Unread(String),
}

/// What was found of one machine.
pub type Found = Result<Live, Missing>;

/// What was found of all.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    pub machines: BTreeMap<TargetId, Found>,
    /// The `managedBy` of resource groups, by subscription and name in lower case.
    pub groups: BTreeMap<String, Option<String>>,
    /// What identities say of themselves, where they were asked.
    pub identities: BTreeMap<IdentityId, Own>,
    /// What ARM says of identities that are objects.
    pub objects: BTreeMap<IdentityId, Seen>,
}

/// How a resource group is known in [`Lookup::groups`].
#[must_use]
pub fn group_key(target: &TargetId) -> String {
    format!("{}/{}", target.subscription(), target.group().to_lowercase())
}
