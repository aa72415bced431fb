//! The body of a PATCH: names only what changes, and nothing else.
use crate::ids::IdentityId;
use crate::live::ETag;
use crate::record::Switch;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// One key of the map. Written as `{}` and `null` here, so that no serializer option can lose a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edit {
    Attach,
    Detach,
}

/// The authoritative `type` of an identity block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityType {
    None,
    System,
    User,
    SystemAndUser,
}

impl IdentityType {
    #[must_use]
    pub fn of(system: bool, user: bool) -> Self {
        match (system, user) {
            (false, false) => Self::None,
            (true, false) => Self::System,
            (false, true) => Self::User,
            (true, true) => Self::SystemAndUser,
        }
    }

    /// ARM's own spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::System => "SystemAssigned",
            Self::User => "UserAssigned",
            Self::SystemAndUser => "SystemAssigned, UserAssigned",
        }
    }

    #[must_use]
    pub fn has_user(self) -> bool {
        match self {
            Self::User | Self::SystemAndUser => true,
            Self::None | Self::System => false,
        }
    }
}

/// A change of a machine's identity block, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The ETag of the state that it was planned from.
    pub if_match: Option<ETag>,
    pub identity_type: IdentityType,
    pub edits: BTreeMap<IdentityId, Edit>,
    pub system: Option<Switch>,
}

impl Patch {
    pub fn added(&self) -> impl Iterator<Item = &IdentityId> {
        self.of(Edit::Attach)
    }

    pub fn removed(&self) -> impl Iterator<Item = &IdentityId> {
        self.of(Edit::Detach)
    }

    fn of(&self, wanted: Edit) -> impl Iterator<Item = &IdentityId> {
        self.edits.iter().filter(move |(_, edit)| **edit == wanted).map(|(id, _)| id)
    }

    #[must_use]
    pub fn removed_set(&self) -> BTreeSet<IdentityId> {
        self.removed().cloned().collect()
    }

    /// How many removals it makes, a system identity switched off included.
    #[must_use]
    pub fn removals(&self) -> usize {
        self.removed().count() + usize::from(self.system == Some(Switch::Off))
    }

    /// The JSON body.
    ///
    /// Without user identities afterwards there is no map: `type` alone takes the last ones off, and whether
    /// ARM accepts `UserAssigned` with every key null is not confirmed.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut identity = Map::new();
        identity.insert("type".into(), self.identity_type.as_str().into());
        if self.identity_type.has_user() && !self.edits.is_empty() {
            let map: Map<String, Value> =
                self.edits.iter().map(|(id, edit)| (id.as_str().into(), value(*edit))).collect();
            identity.insert("userAssignedIdentities".into(), Value::Object(map));
        }
        json!({ "identity": identity })
    }
}

fn value(edit: Edit) -> Value {
    match edit {
        Edit::Attach => json!({}),
        Edit::Detach => Value::Null,
    }
}
