//! A machine in a test's hands: what it is, what came for it, and what strangers do to it.
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::id::{ResourceId, fold};
use crate::journal::Exchange;
use crate::simulator::Shared;
use crate::state::foreign::ForeignAct;
use crate::state::history::Change;
use crate::state::machine::{self, Provisioning};
use crate::state::seed::{IdentitySeed, full_id};

/// A machine, there or not: by its id.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ResourceId,
}

impl Machine {
    #[must_use]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.id.name
    }

    fn look<T>(&self, at: impl FnOnce(&machine::Machine) -> T) -> Option<T> {
        let mut world = self.shared.world();
        world.settle();
        world.machines.get(&self.id.key()).map(at)
    }

    fn act(&self, act: &ForeignAct) -> bool {
        let mut world = self.shared.world();
        world.settle();
        world.foreign(&self.id.key(), act, "stranger")
    }

    #[must_use]
    pub fn exists(&self) -> bool {
        self.look(|_| ()).is_some()
    }

    /// Names of the user-assigned identities, as written, sorted.
    #[must_use]
    pub fn identities(&self) -> Vec<String> {
        let last = |written: &str| written.rsplit('/').next().unwrap_or_default().to_owned();
        let names = self.look(|machine| {
            let users = machine.model.identity.users.iter();
            users.map(|entry| last(&entry.written)).collect()
        });
        let mut names: Vec<String> = names.unwrap_or_default();
        names.sort();
        names
    }

    /// Their ids in lower case, sorted.
    #[must_use]
    pub fn identity_ids(&self) -> Vec<String> {
        self.look(|machine| machine.model.identity.user_keys()).unwrap_or_default()
    }

    #[must_use]
    pub fn system_principal(&self) -> Option<String> {
        self.look(|machine| machine.model.identity.system.clone()).flatten()
    }

    /// Quoted, as in the header; empty when the machine is gone.
    #[must_use]
    pub fn etag(&self) -> String {
        self.look(|machine| machine.model.etag_text()).unwrap_or_default()
    }

    #[must_use]
    pub fn unique_id(&self) -> Option<String> {
        self.look(|machine| machine.unique_id.clone())
    }

    #[must_use]
    pub fn provisioning(&self) -> Option<Provisioning> {
        self.look(|machine| machine.model.provisioning)
    }

    /// Every change of its identity block, of the machines before it under this name too.
    #[must_use]
    pub fn history(&self) -> Vec<Change> {
        let key = self.id.key();
        let world = self.shared.world();
        let gone = world.buried.iter().filter(|machine| machine.id.key() == key);
        let all = gone.chain(world.machines.get(&key));
        all.flat_map(|machine| machine.history.clone()).collect()
    }

    /// Every PATCH that came for it, probes and refused ones included.
    #[must_use]
    pub fn patches(&self) -> Vec<RecordedPatch> {
        let key = self.id.key();
        let world = self.shared.world();
        let mine = |exchange: &&Exchange| exchange.method == "PATCH" && fold(&exchange.path) == key;
        let patches = world.journal.since(0).filter(mine).map(|exchange| RecordedPatch {
            seq: exchange.seq,
            if_match: exchange.if_match.clone(),
            body: exchange.request_body.clone(),
            status: exchange.status,
        });
        patches.collect()
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.look(|machine| machine.operation.is_none()).unwrap_or(true)
    }

    /// Waits until no operation runs on it; false: one still does after a minute.
    #[must_use]
    pub async fn wait_until_idle(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.is_idle() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

/// What strangers do to it. True: it was there.
#[allow(clippy::must_use_candidate, reason = "a test that made the machine knows that it is there")]
impl Machine {
    /// A full id or a bare name; made if absent.
    pub fn attach_as_stranger(&self, id: impl AsRef<str>) -> bool {
        let id = full_id(&self.id, id.as_ref());
        let seed = IdentitySeed { id: id.clone(), ..IdentitySeed::default() };
        let made = self.shared.world().sow_identity(&seed).is_ok();
        made && self.act(&ForeignAct::AddIdentity(id))
    }

    pub fn detach_as_stranger(&self, id: impl AsRef<str>) -> bool {
        self.act(&ForeignAct::RemoveIdentity(full_id(&self.id, id.as_ref())))
    }

    pub fn enable_system_as_stranger(&self) -> bool {
        self.act(&ForeignAct::EnableSystem)
    }

    pub fn disable_system_as_stranger(&self) -> bool {
        self.act(&ForeignAct::DisableSystem)
    }

    pub fn begin_operation_as_stranger(&self) -> bool {
        self.act(&ForeignAct::BeginOperation)
    }

    /// Ends the operation that runs on it, now.
    pub fn finish_operation(&self) -> bool {
        let operation = self.look(|machine| machine.operation.clone()).flatten();
        if let Some(operation) = &operation {
            self.shared.world().end_operation(operation);
        }
        operation.is_some()
    }

    pub fn bump_etag(&self) -> bool {
        self.act(&ForeignAct::BumpEtag)
    }

    /// Another machine under the same name, with no identities.
    pub fn recreate(&self) -> bool {
        self.act(&ForeignAct::Recreate { same_etag: false })
    }

    pub fn recreate_with_same_etag(&self) -> bool {
        self.act(&ForeignAct::Recreate { same_etag: true })
    }

    pub fn delete(&self) -> bool {
        self.act(&ForeignAct::Delete)
    }

    pub fn mark_for_deletion(&self) -> bool {
        self.act(&ForeignAct::MarkForDeletion)
    }
}

/// A PATCH as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedPatch {
    pub seq: u64,
    pub if_match: Option<String>,
    pub body: Value,
    /// None: no answer left.
    pub status: Option<u16>,
}

/// In short: `If-Match: "1"  UserAssigned + shop-db - legacy`
impl fmt::Display for RecordedPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "If-Match: {} ", self.if_match.as_deref().unwrap_or("none"))?;
        let Some(identity) = self.body.get("identity") else {
            return write!(f, " {}", self.body);
        };
        write!(f, " {}", identity["type"].as_str().unwrap_or("no type"))?;
        for (id, value) in identity["userAssignedIdentities"].as_object().into_iter().flatten() {
            let sign = if value.is_null() { '-' } else { '+' };
            write!(f, " {sign} {}", id.rsplit('/').next().unwrap_or_default())?;
        }
        Ok(())
    }
}
