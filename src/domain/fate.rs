//! What became of a PATCH that was recorded but perhaps never answered, id by id.
use crate::evidence::Fresh;
use crate::ids::IdentityId;
use crate::live::Live;
use crate::record::Intent;
use std::collections::BTreeMap;

/// What a fresh read tells about an unsettled intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Another machine bears the name now.
    Gone,
    /// An operation runs: identities may read blank, nothing can be told.
    Running,
    /// The ETag has not moved since some attempt: its request may still arrive.
    Open,
    /// The ETag moved: by If-Match the request can never land now. Tells for each id whether it is on the machine.
    Closed(BTreeMap<IdentityId, bool>),
}

/// Judges an intent by a fresh read alone.
#[must_use]
pub fn fate(intent: &Intent, live: &Fresh<Live>) -> Fate {
    if live.unique_id != intent.base.unique_id {
        Fate::Gone
    } else if live.is_updating() {
        Fate::Running
    } else if intent.bases().any(|base| base.etag == live.etag) {
        Fate::Open
    } else {
        Fate::Closed(intent.ids().map(|id| (id.clone(), live.has(id))).collect())
    }
}
