//! A plan's steps for people: what is done about each identity, why, and who said so.
use super::declared::{Assignment, Origin};
use crate::domain::claims::{Ensure, SystemWish};
use crate::domain::plan::{Hold, Step, SystemStep, Why};
use crate::domain::record::Origin as Put;
use crate::domain::{ClaimKey, Edit, IdentityId, Live, Plan, Switch};
use serde::Serialize;

/// What becomes of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, strum::Display)]
pub enum Mark {
    Attach,
    Detach,
    Enable,
    Disable,
    /// Taken off and put on again: its entry is dead.
    Repair,
    Keep,
    /// Not ours: it stays.
    Leave,
    /// Two assignments disagree: it stays as it is.
    Conflict,
    /// Declared, and not possible.
    Refused,
}

impl Mark {
    /// Something would be written.
    #[must_use]
    pub fn is_change(self) -> bool {
        match self {
            Self::Attach | Self::Detach | Self::Enable | Self::Disable | Self::Repair => true,
            Self::Keep | Self::Leave | Self::Conflict | Self::Refused => false,
        }
    }
}

/// One identity of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The id of a user-assigned identity; `system` for the machine's own.
    pub identity: String,
    pub action: Mark,
    pub why: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Origin>,
    /// Why a change that is due would wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// How the machine's own identity is named.
pub const SYSTEM: &str = "system";

impl Line {
    /// As people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.identity.rsplit('/').next() {
            Some(SYSTEM) | None => "system-assigned",
            Some(name) => name,
        }
    }
}

/// All lines of a plan, the machine's own identity first. What is neither there nor wanted has none.
pub fn lines(plan: &Plan, live: &Live, assignments: &[Assignment]) -> Vec<Line> {
    let telling = Telling { plan, live, assignments };
    let user = plan.steps.iter().filter_map(|(id, step)| telling.user(id, step));
    telling.system().into_iter().chain(user).collect()
}

struct Telling<'a> {
    plan: &'a Plan,
    live: &'a Live,
    assignments: &'a [Assignment],
}

impl Telling<'_> {
    fn naming(&self, id: &IdentityId, ensure: Ensure) -> Vec<Origin> {
        let naming = self.assignments.iter().filter(|one| one.claim.user.get(id) == Some(&ensure));
        naming.map(|one| one.origin_of(id)).collect()
    }

    fn of_keys(&self, keys: &[ClaimKey], origin: impl Fn(&Assignment) -> Origin) -> Vec<Origin> {
        let known = |key: &ClaimKey| self.assignments.iter().find(|one| one.claim.key.uid == key.uid);
        let told = keys.iter().map(|key| match known(key) {
            Some(assignment) => origin(assignment),
            None => Origin { assignment: key.to_string(), place: None },
        });
        told.collect()
    }

    fn user(&self, id: &IdentityId, step: &Step) -> Option<Line> {
        let principal = self.live.user.get(id);
        let there = principal.is_some();
        let present = || self.naming(id, Ensure::Present);
        let absent = || self.naming(id, Ensure::Absent);
        let (action, why, by, held) = match step {
            Step::Attach { by } if self.plan.under_repair.contains(id) => (
                Mark::Attach,
                "put on again after its dead entry was removed".into(),
                self.of_keys(by, |one| one.origin_of(id)),
                None,
            ),
            Step::Attach { by } => (Mark::Attach, "declared".into(), self.of_keys(by, |one| one.origin_of(id)), None),
            Step::Keep(Put::Attached) => (Mark::Keep, "declared; attached by Lanyard".into(), present(), None),
            Step::Keep(Put::Preexisting) => {
                (Mark::Keep, "declared; there before, so it stays when it is declared no more".into(), present(), None)
            }
            Step::Detach(Why::DeclaredAbsent) => (Mark::Detach, "declared Absent".into(), absent(), None),
            Step::Detach(Why::ClaimWithdrawn) => {
                (Mark::Detach, "attached by Lanyard, and declared by nobody any more".into(), Vec::new(), None)
            }
            Step::Detach(Why::Dangling) => (Mark::Repair, "its entry on the machine is dead".into(), present(), None),
            Step::Dangling(dead) => (Mark::Refused, dead.to_string(), present(), None),
            Step::Spare => (Mark::Leave, "not Lanyard's, and declared by nobody".into(), Vec::new(), None),
            Step::Protect if there && present().is_empty() => (
                Mark::Leave,
                "kept as it is: what a reference stands for is not ready, or contradicted".into(),
                self.naming(id, Ensure::Kept),
                None,
            ),
            Step::Protect if there => {
                (Mark::Leave, "declared by an assignment that enforces nothing".into(), present(), None)
            }
            Step::Protect | Step::Nothing => return None,
            Step::Disputed { present, absent } => {
                let by = [present.as_slice(), absent.as_slice()].concat();
                let why = format!("{} declares it Present, {} Absent: neither is done", named(present), named(absent));
                (Mark::Conflict, why, self.of_keys(&by, |one| one.origin_of(id)), None)
            }
            Step::Held { edit: Edit::Attach, why } => (Mark::Attach, "declared".into(), present(), Some(waits(*why))),
            Step::Held { edit: Edit::Detach, why } => {
                let said = absent();
                let reason = if said.is_empty() { "declared by nobody any more" } else { "declared Absent" };
                (Mark::Detach, reason.into(), said, Some(waits(*why)))
            }
        };
        Some(Line {
            identity: id.to_string(),
            action,
            why,
            by,
            held,
            principal_id: principal.and_then(|principal| principal.principal_id.clone()),
            client_id: principal.and_then(|principal| principal.client_id.clone()),
        })
    }

    fn system(&self) -> Option<Line> {
        let naming = |wish| {
            let naming = self.assignments.iter().filter(|one| one.claim.system == wish);
            naming.map(Assignment::origin_of_system).collect::<Vec<_>>()
        };
        let of_keys = |keys: &[ClaimKey]| self.of_keys(keys, Assignment::origin_of_system);
        let (action, why, by, held) = match &self.plan.system {
            SystemStep::Enable { by } => (Mark::Enable, "declared Enabled".into(), of_keys(by), None),
            SystemStep::Keep(Put::Attached) => {
                (Mark::Keep, "declared Enabled; switched on by Lanyard".into(), naming(SystemWish::Enabled), None)
            }
            SystemStep::Keep(Put::Preexisting) => {
                (Mark::Keep, "declared Enabled; on before".into(), naming(SystemWish::Enabled), None)
            }
            SystemStep::Disable { by, .. } => {
                (Mark::Disable, "declared Disabled: its principal is destroyed for good".into(), of_keys(by), None)
            }
            SystemStep::Leave { on: true } => (Mark::Leave, "declared by nobody".into(), Vec::new(), None),
            SystemStep::Leave { on: false } | SystemStep::Off => return None,
            SystemStep::Disputed { present, absent } => {
                let why =
                    format!("{} declares it Enabled, {} Disabled: neither is done", named(present), named(absent));
                (Mark::Conflict, why, of_keys(&[present.as_slice(), absent.as_slice()].concat()), None)
            }
            SystemStep::Held { switch: Switch::On, why } => {
                (Mark::Enable, "declared Enabled".into(), naming(SystemWish::Enabled), Some(waits(*why)))
            }
            SystemStep::Held { switch: Switch::Off, why } => {
                (Mark::Disable, "declared Disabled".into(), naming(SystemWish::Disabled), Some(waits(*why)))
            }
            SystemStep::RefusedByFlexible => (
                Mark::Refused,
                "a Flexible scale set takes user-assigned identities only: leave systemAssigned out".into(),
                naming(SystemWish::Enabled),
                None,
            ),
        };
        Some(Line {
            identity: SYSTEM.into(),
            action,
            why,
            by,
            held,
            principal_id: self.live.system.as_ref().and_then(|system| system.principal_id.clone()),
            client_id: None,
        })
    }
}

fn waits(why: Hold) -> String {
    format!("waits: {why}")
}

fn named(keys: &[ClaimKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
