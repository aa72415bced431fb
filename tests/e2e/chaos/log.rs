//! What was done, and when: all that the reference knows, beside what the simulator saw happen to the machine.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::story::{Kind, Spec, Who};

/// One machine's.
#[derive(Clone, Debug)]
pub struct Log {
    pub kind: Kind,
    /// Whether the machine was there before all else.
    pub starts: bool,
    pub entries: Vec<Entry>,
}

/// Kubernetes may show it from `began` on, and does from `done` on.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub began: Timestamp,
    pub done: Timestamp,
}

#[derive(Clone, Debug)]
pub enum Entry {
    Said {
        who: Who,
        spec: Spec,
        at: Span,
    },
    Left {
        who: Who,
        release: bool,
        /// Its finalizers were taken off since all was settled: nobody need have seen it go, nor what was said last.
        stripped: bool,
        at: Span,
    },
    /// The record was deleted by a person, and is gone. `alone`: nothing else happened since all was settled.
    Forgotten {
        alone: bool,
        at: Span,
    },
    Adopted {
        alone: bool,
        /// That it was done was seen. Else it may be done whenever, until all is settled.
        honoured: bool,
        at: Span,
    },
    Gone {
        at: Timestamp,
    },
    Made {
        at: Timestamp,
    },
    /// All was as the reference says; and whose the record said things are, for where the protocol allows either.
    Settled {
        at: Timestamp,
        attached: BTreeSet<String>,
    },
}

impl Entry {
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Said { at, .. } | Self::Left { at, .. } | Self::Forgotten { at, .. } | Self::Adopted { at, .. } => {
                at.done
            }
            Self::Gone { at } | Self::Made { at } | Self::Settled { at, .. } => *at,
        }
    }
}

/// The wall clock, by which the simulator stamps its history.
#[expect(clippy::disallowed_methods, reason = "to be put in order with the simulator's history")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// One machine from its making to its end, as the simulator knows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// What is on it at the end.
    #[serde(rename = "identities", deserialize_with = "last_parts")]
    pub users: Vec<String>,
    #[serde(rename = "systemPrincipal", deserialize_with = "is_some")]
    pub system: bool,
    pub history: Vec<Change>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    pub at: Timestamp,
    pub by: By,
    #[serde(deserialize_with = "last_parts")]
    pub added: Vec<String>,
    #[serde(deserialize_with = "last_parts")]
    pub removed: Vec<String>,
    pub system: Vec<Switched>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Request(u64),
    Foreign(String),
    Rollback(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switched {
    Enabled(String),
    Destroyed(String),
}

impl Life {
    /// What it was made with: its end, and every change taken back.
    pub fn start(&self) -> (BTreeSet<String>, bool) {
        let mut users: BTreeSet<String> = self.users.iter().cloned().collect();
        let mut system = self.system;
        for change in self.history.iter().rev() {
            users.retain(|user| !change.added.contains(user));
            users.extend(change.removed.iter().cloned());
            if let Some(first) = change.system.first() {
                system = matches!(first, Switched::Destroyed(_));
            }
        }
        (users, system)
    }
}

/// The lives of a machine's name, one after another, and whether the last one goes on.
pub fn lives(truth: &Value) -> Result<(Vec<Life>, bool)> {
    let read = |part: &str| -> Result<Vec<Life>> {
        serde_json::from_value(truth[part].clone()).with_context(|| format!("the truth's {part}: {truth}"))
    };
    let (mut lives, now) = (read("gone")?, read("machines")?);
    let exists = !now.is_empty();
    lives.extend(now);
    Ok((lives, exists))
}

fn last_parts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let ids = Vec::<String>::deserialize(deserializer)?;
    Ok(ids.iter().map(|id| crate::harness::names_of([id]).concat().to_lowercase()).collect())
}

fn is_some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.is_some())
}
