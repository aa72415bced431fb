//! What a survey found, as data: rendered by the command line, and printed as JSON and YAML as it is.
use super::declared::Origin;
use super::identities::{Identity, IdentityOutcome};
use super::steps::Line;
use serde::Serialize;
use serde_json::Value;

/// What is so about a machine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Outcome {
    Change,
    NoChange,
    /// It is not there: what is declared is attached when it appears.
    NotFound,
    /// It could not be read: nothing is known of it, and the report is not complete.
    Unread,
}

/// One machine.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub resource_id: String,
    pub name: String,
    pub kind: &'static str,
    pub outcome: Outcome,
    pub declared_by: Vec<Origin>,
    pub identities: Vec<Line>,
    /// What switching an assignment that enforces nothing to Enforce would do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub if_enforced: Vec<IfEnforced>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The body of the first PATCH, as it would be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What one assignment would do if it were in force.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IfEnforced {
    pub assignment: Origin,
    pub changes: Vec<Line>,
}

/// How many machines of which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub machines: usize,
    pub change: usize,
    pub no_change: usize,
    pub not_found: usize,
    pub unread: usize,
    /// Identities that are objects, how many of them would change, and how many could not be read.
    pub identities: usize,
    pub identities_change: usize,
    pub identities_unread: usize,
}

/// How much was asked of ARM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    pub arm: usize,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// False: something could not be read, so that more may change than is shown.
    pub complete: bool,
    pub summary: Summary,
    /// What holds for all of it.
    pub notes: Vec<String>,
    /// Identities that are objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
    pub machines: Vec<Machine>,
    pub calls: Calls,
}

impl Report {
    #[must_use]
    pub fn new(identities: Vec<Identity>, machines: Vec<Machine>, notes: Vec<String>, calls: usize) -> Self {
        let count = |outcome| machines.iter().filter(|machine| machine.outcome == outcome).count();
        let summary = Summary {
            machines: machines.len(),
            change: count(Outcome::Change),
            no_change: count(Outcome::NoChange),
            not_found: count(Outcome::NotFound),
            unread: count(Outcome::Unread),
            identities: identities.len(),
            identities_change: identities.iter().filter(|identity| identity.outcome.is_change()).count(),
            identities_unread: identities.iter().filter(|identity| identity.outcome == IdentityOutcome::Unread).count(),
        };
        let complete = summary.unread == 0 && summary.identities_unread == 0;
        Self { complete, summary, notes, identities, machines, calls: Calls { arm: calls } }
    }
}
