//! What happens to each machine, as data: a function of the seed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arm_simulator::Machine;
use lanyard::api::assignment::{AksNodePool, Ensure, Mode, SystemAssigned};
use strum::IntoStaticStr;

use crate::harness::{Declared, assignment};

/// Name of a user-assigned identity: the last part of its id.
pub type Name = &'static str;

/// What assignments declare, and strangers attach too.
pub const DECLARED: [Name; 6] = ["blob", "data", "mail", "queue", "vault", "web"];
/// What no assignment ever names.
pub const STRANGE: [Name; 2] = ["backup", "scanner"];

#[derive(Clone, Debug)]
pub struct Story {
    pub tracks: Vec<Track>,
}

impl Story {
    /// Assignments that somebody makes.
    pub fn assignments(&self) -> usize {
        let said = self.tracks.iter().flat_map(|track| track.bursts.iter().flatten()).filter_map(|act| match act {
            Act::Say { who, .. } => Some(who),
            Act::Leave { .. }
            | Act::Strip(_)
            | Act::Lie(_)
            | Act::Forge(_)
            | Act::Forget
            | Act::Adopt
            | Act::Foreign(_)
            | Act::Replace(_)
            | Act::Make(_)
            | Act::Trouble(_)
            | Act::Pause { .. } => None,
        });
        said.collect::<BTreeSet<_>>().len()
    }
}

/// One machine, and what happens to it.
#[derive(Clone, Debug)]
pub struct Track {
    pub name: String,
    pub kind: Kind,
    /// What is there before anybody declares anything; None: no machine yet.
    pub start: Option<Block>,
    /// Between two of them all is left to settle.
    pub bursts: Vec<Vec<Act>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vm,
    Uniform,
    Flexible,
    /// A VM in a group `MC_*`.
    Aks,
}

/// What a machine is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    pub users: Vec<Name>,
    pub system: bool,
}

/// An assignment, by the number of its namespace and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub namespace: usize,
    pub name: String,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    Enforce,
    Observe,
    Suspend,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub users: BTreeMap<Name, Ensure>,
    pub system: SystemAssigned,
    pub stance: Stance,
    pub retain: bool,
    pub manage: bool,
    /// How its ids are spelled.
    pub spelling: u64,
}

impl Spec {
    pub fn present(&self, id: &str) -> bool {
        self.users.get(id) == Some(&Ensure::Present)
    }

    pub fn absent(&self, id: &str) -> bool {
        self.users.get(id) == Some(&Ensure::Absent)
    }

    pub fn enforces(&self) -> bool {
        self.stance == Stance::Enforce
    }

    /// Its deletion asks for no write.
    pub fn lets_go(&self) -> bool {
        self.retain || self.stance == Stance::Observe
    }

    /// As people write it.
    pub fn declared(&self, who: &Who, machine: &Machine, id_of: impl Fn(Name) -> String) -> Declared {
        let mut rng = fastrand::Rng::with_seed(self.spelling);
        let mut it = assignment(&who.name).on_id(spelled(&machine.id(), &mut rng)).system(self.system);
        for (name, ensure) in &self.users {
            let id = spelled(&id_of(name), &mut rng);
            it = match ensure {
                Ensure::Present => it.present(id),
                Ensure::Absent => it.absent(id),
            };
        }
        if self.retain {
            it = it.retaining();
        }
        if self.manage {
            it.0.spec.aks_node_pool = AksNodePool::Manage;
        }
        match self.stance {
            Stance::Enforce => it,
            Stance::Observe => it.mode(Mode::Observe),
            Stance::Suspend => it.suspended(true),
        }
    }
}

/// The same id in other cases, once in three times.
fn spelled(id: &str, rng: &mut fastrand::Rng) -> String {
    if rng.u8(..3) > 0 {
        return id.to_owned();
    }
    id.chars()
        .map(|letter| if rng.bool() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() })
        .collect()
}

#[derive(Clone, Debug, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Act {
    /// Created, or changed to this.
    Say {
        who: Who,
        spec: Spec,
    },
    /// Deleted; with the annotation that lets it go, or with its finalizers stripped right after.
    Leave {
        who: Who,
        release: bool,
        strip: bool,
    },
    /// Its finalizers are stripped though it stays.
    Strip(Who),
    /// Its status is overwritten with lies.
    Lie(Who),
    /// Labels and annotations that claim what is not so.
    Forge(Who),
    /// The `IdentityTarget` is deleted by a person.
    Forget,
    /// An administrator adopts what is declared.
    Adopt,
    Foreign(Deed),
    /// The machine is deleted, and another one made under its name.
    Replace(Block),
    /// The machine that was waited for is made.
    Make(Block),
    Trouble(Trouble),
    Pause {
        millis: u64,
    },
}

/// What a stranger does to the identity block.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Deed {
    Add(Name),
    Remove(Name),
    System(bool),
    /// The block is written whole.
    Rewrite(Vec<Name>),
    /// Moves the `ETag` and nothing else.
    Touch,
}

/// What goes wrong with the next requests for the machine.
#[derive(Clone, Debug)]
pub enum Trouble {
    LostRequest(Method),
    LostReply(Method),
    Late {
        millis: u64,
    },
    Status(Method, u16),
    Throttled(Method),
    Busy,
    /// ARM does not find an identity, this once.
    NoSuchIdentity(Name),
    /// ARM refuses to assign an identity, this once.
    Forbidden(Name),
    Fails {
        reverts: bool,
    },
    Cancelled {
        reverts: bool,
    },
    LostOperation,
    /// The operation runs until all is to settle.
    HeldUp,
    Stale,
    Hidden,
    Truncated(Method),
    Garbage(Method),
    Slow(Method, u64, bool),
    /// The operation's URL leads to another host.
    Elsewhere,
    Redirected(Method),
    /// A stranger acts just before or after a request.
    Race {
        at: Method,
        after: bool,
        deed: Deed,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Patch,
}

impl Method {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Patch => "PATCH",
        }
    }
}
