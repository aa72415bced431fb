//! One machine as ARM keeps it: merge semantics, an authoritative type, an `ETag` that moves when a PATCH is accepted.
use crate::merge::ArmBlock;
use lanyard_domain::live::{Provisioning, SystemIdentity};
use lanyard_domain::{ETag, IdentityId, Live, Principal, UniqueId};
use std::collections::{BTreeMap, BTreeSet};

/// Who attached an identity last: what the checker knows and the controller does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    Us,
    Foreign,
    /// A stranger, at a moment that the guarantees except: while an intent of ours about it was unresolved, or
    /// after an unseen removal of what we had attached. Or one of us, of which the record was lost.
    Either,
}

/// What a GET shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shown {
    pub unique: u8,
    pub etag: u8,
    pub system: bool,
    pub user: BTreeMap<String, Owner>,
}

impl Shown {
    pub fn live(&self, running: bool) -> Live {
        Live {
            unique_id: Some(UniqueId(format!("m{}", self.unique))),
            etag: Some(ETag(self.etag.to_string())),
            system: self.system.then(SystemIdentity::default),
            user: self.user.keys().map(|name| (IdentityId::told_by_arm(name), Principal::default())).collect(),
            provisioning: if running { Provisioning::Running } else { Provisioning::Succeeded },
            ..Live::default()
        }
    }
}

/// An operation that runs, and what was there before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    pub operation: String,
    pub before: Shown,
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    Succeeded,
    /// Failed, and its change stays.
    Kept,
    /// Failed, and its change is undone.
    Undone,
    /// Failed, its change is undone, and the old `ETag` is back.
    GivenBack,
}

/// A PATCH under way. What the checker needs to judge it travels along.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub operation: String,
    pub if_match: Option<u8>,
    pub body: String,
    /// Declared `Absent` when the claims were read.
    pub excused: BTreeSet<String>,
    pub system_excused: bool,
    /// Its record was lost on the way: what it adds is nobody's.
    pub orphaned: bool,
}

/// What ARM answers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    /// Another operation runs, or there is no such machine.
    Refused,
    /// The `ETag` is another one.
    PreconditionFailed,
    /// Accepted, and something foreign was dropped.
    Dropped,
    /// Accepted, and nothing changed by it: somebody had done so before.
    Twice,
    /// A body that the facts do not cover.
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arm {
    /// False: the name answers 404. What `now` says is over then.
    pub exists: bool,
    pub now: Shown,
    /// The state before the last write: what a lagging read shows.
    pub behind: Option<Shown>,
    pub running: Option<Running>,
    next_etag: u8,
}

impl Arm {
    pub fn new(system: bool, foreign: &[&str]) -> Self {
        let user = foreign.iter().map(|name| ((*name).to_owned(), Owner::Foreign)).collect();
        let now = Shown { unique: 1, etag: 1, system, user };
        Self { exists: true, now, behind: None, running: None, next_etag: 2 }
    }

    fn written(&mut self, reads_lag: bool) {
        self.behind = reads_lag.then(|| self.now.clone());
        self.now.etag = self.next_etag;
        self.next_etag += 1;
    }

    /// A stranger's write.
    pub fn edit(&mut self, reads_lag: bool, change: impl FnOnce(&mut Shown)) {
        self.written(reads_lag);
        change(&mut self.now);
    }

    /// The machine is deleted, and its operation with it.
    pub fn delete(&mut self) {
        self.exists = false;
        self.running = None;
        self.behind = None;
        self.now.user.clear();
        self.now.system = false;
    }

    /// Another machine under the name. A number that it shares with the old `ETag` means nothing, but looks alike.
    pub fn recreate(&mut self, same_etag: bool, reads_lag: bool, foreign: &[&str]) {
        self.behind = (reads_lag && !same_etag && self.exists).then(|| self.now.clone());
        self.exists = true;
        self.running = None;
        let etag = if same_etag { self.now.etag } else { self.next_etag };
        self.next_etag += 1;
        let user = foreign.iter().map(|name| ((*name).to_owned(), Owner::Foreign)).collect();
        self.now = Shown { unique: self.now.unique + 1, etag, system: false, user };
    }

    pub fn receive(&mut self, request: &Request, reads_lag: bool) -> Answer {
        if !self.exists {
            return Answer::Refused;
        }
        if request.if_match.is_some_and(|etag| etag != self.now.etag) {
            return Answer::PreconditionFailed;
        }
        if self.running.is_some() {
            return Answer::Refused;
        }
        let before = self.now.clone();
        let block = ArmBlock::new(before.system, before.user.keys());
        let body = serde_json::from_str(&request.body).expect("the planner writes JSON");
        let Ok(after) = block.patched(&body) else {
            return Answer::Malformed;
        };
        self.written(reads_lag);
        let system_dropped = before.system && !after.system && !request.system_excused;
        let dropped = before
            .user
            .iter()
            .any(|(id, owner)| !after.user.contains(id) && *owner == Owner::Foreign && !request.excused.contains(id));
        let ours = if request.orphaned { Owner::Either } else { Owner::Us };
        let changes_nothing = block == after;
        self.now.system = after.system;
        self.now.user = after.user.into_iter().map(|id| (id.clone(), *before.user.get(&id).unwrap_or(&ours))).collect();
        self.running = Some(Running { operation: request.operation.clone(), before });
        match (dropped || system_dropped, changes_nothing) {
            (true, _) => Answer::Dropped,
            (false, true) => Answer::Twice,
            (false, false) => Answer::Accepted,
        }
    }

    pub fn end(&mut self, how: End) -> Option<String> {
        let Running { operation, before } = self.running.take()?;
        match how {
            End::Succeeded | End::Kept => {}
            End::Undone => self.now = Shown { etag: self.now.etag, ..before },
            End::GivenBack => self.now = before,
        }
        Some(operation)
    }
}
