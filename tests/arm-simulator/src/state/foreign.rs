//! Writes by somebody else: at once, and without an operation of their own.
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::World;
use super::history::{Actor, Change};
use super::identity_block::{Entry, IdentityBlock};
use super::machine::{Machine, Tags};
use super::operations::Work;
use super::seed::IdentitySeed;
use super::writes::Fateful;
use crate::id::ResourceId;

/// What somebody else does to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignAct {
    AddIdentity(String),
    RemoveIdentity(String),
    EnableSystem,
    DisableSystem,
    /// The whole block anew, as a template's PUT writes it: these, whatever was there before. The system identity is
    /// on afterwards if it is asked for, and is the same one if it was on before.
    Replace {
        identities: Vec<String>,
        #[serde(default)]
        system: bool,
    },
    /// A change of something else, whose operation runs until it is ended by hand.
    BeginOperation,
    Delete,
    /// Made anew under the same name: another `vmId`, no identities, the `ETag` at its start.
    Recreate {
        /// With the `ETag` that the old machine had.
        #[serde(default)]
        same_etag: bool,
    },
    BumpEtag,
    SetTags(Tags),
    MarkForDeletion,
    /// Of a user-assigned identity: made, if it is not there.
    MakeIdentity(Tags),
    /// Deleted.
    UnmakeIdentity,
    /// Deleted and made again: another principal under the old name.
    RemakeIdentity,
    /// Its tags are these from now on.
    TagIdentity(Tags),
}

impl World {
    /// True: the machine was there.
    pub fn foreign(&mut self, key: &str, act: &ForeignAct, who: &str) -> bool {
        match act {
            ForeignAct::Delete => self.bury(key),
            ForeignAct::Recreate { same_etag } => self.recreate(key, *same_etag, who),
            ForeignAct::AddIdentity(id) => {
                let principal = self.identities.get(&crate::id::fold(id)).map(|identity| identity.principal.clone());
                self.change(key, who, |block| {
                    if block.find(id).is_none() {
                        block.users.push(Entry { written: id.clone(), principal });
                    }
                })
            }
            ForeignAct::RemoveIdentity(id) => self.change(key, who, |block| {
                let key = crate::id::fold(id);
                block.users.retain(|entry| entry.key() != key);
            }),
            ForeignAct::EnableSystem => self.change(key, who, |block| {
                block.system.get_or_insert_with(|| Uuid::new_v4().to_string());
            }),
            ForeignAct::Replace { identities, system } => {
                let known = |id: &String| self.identities.get(&crate::id::fold(id)).map(|it| it.principal.clone());
                let entry = |id: &String| Entry { written: id.clone(), principal: known(id) };
                let users: Vec<Entry> = identities.iter().map(entry).collect();
                self.change(key, who, |block| {
                    block.users.clone_from(&users);
                    let kept = block.system.take();
                    block.system = system.then(|| kept.unwrap_or_else(|| Uuid::new_v4().to_string()));
                })
            }
            ForeignAct::BeginOperation => {
                let block = self.machines.get(key).map(|machine| machine.model.identity.clone());
                let fate = Fateful { held: true, ..Fateful::default() };
                let by = Actor::Foreign(who.to_owned());
                block.and_then(|block| self.accept(key, block, by, Work::Write, "2024-07-01", &fate)).is_some()
            }
            ForeignAct::DisableSystem => self.change(key, who, |block| block.system = None),
            ForeignAct::BumpEtag => self.change(key, who, |_| {}),
            ForeignAct::SetTags(tags) => {
                self.change(key, who, |_| {}) && self.with(key, |machine| machine.model.tags.clone_from(tags))
            }
            ForeignAct::MakeIdentity(tags) => self.make_identity(key, tags),
            ForeignAct::UnmakeIdentity => self.identities.remove(key).is_some(),
            ForeignAct::RemakeIdentity => {
                let tags = self.identities.remove(key).map(|old| old.tags).unwrap_or_default();
                self.make_identity(key, &tags)
            }
            ForeignAct::TagIdentity(tags) => {
                self.identities.get_mut(key).map(|identity| identity.tags.clone_from(tags)).is_some()
            }
            ForeignAct::MarkForDeletion => self.with(key, |machine| {
                machine.remember();
                machine.model.provisioning = super::machine::Provisioning::Deleting;
            }),
        }
    }

    fn make_identity(&mut self, key: &str, tags: &Tags) -> bool {
        let Some(id) = ResourceId::parse(key) else { return false };
        let seed = IdentitySeed { id: id.to_string(), tags: tags.clone(), ..IdentitySeed::default() };
        self.sow_identity(&seed).is_ok()
    }

    fn with(&mut self, key: &str, edit: impl FnOnce(&mut Machine)) -> bool {
        self.machines.get_mut(key).map(edit).is_some()
    }

    fn change(&mut self, key: &str, who: &str, edit: impl FnOnce(&mut IdentityBlock)) -> bool {
        self.with(key, |machine| {
            machine.advance();
            let mut after = machine.model.identity.clone();
            edit(&mut after);
            let by = Actor::Foreign(who.to_owned());
            let change = Change::between(&machine.model.identity, &after, machine.model.etag, by);
            machine.history.push(change);
            machine.model.identity = after;
        })
    }

    fn recreate(&mut self, key: &str, same_etag: bool, who: &str) -> bool {
        let Some(mut old) = self.machines.remove(key) else {
            return false;
        };
        let now = Instant::now();
        old.died = Some(now);
        let mut new = Machine::new(old.id.clone(), &old.location);
        new.born = Some(now);
        new.orchestration = old.orchestration;
        new.model.tags.clone_from(&old.model.tags);
        new.model.properties.clone_from(&old.model.properties);
        if same_etag {
            new.model.etag = old.model.etag;
        }
        let by = Actor::Foreign(who.to_owned());
        let nothing = IdentityBlock::default();
        new.history.push(Change::between(&nothing, &nothing, new.model.etag, by));
        self.machines.insert(key.to_owned(), new);
        self.buried.push(old);
        true
    }
}
