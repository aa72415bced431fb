//! A plan in words: one line a step. Status, Events and the command line render it; tests compare it.
use crate::claims::ClaimKey;
use crate::dangling::Stays;
use crate::patch::Edit;
use crate::plan::{Hold, Plan, Step, SystemStep, Why};
use crate::record::Origin;
use std::fmt;

/// One line a step, the system identity first.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} system", describe_system(&self.system))?;
        for (id, step) in &self.steps {
            write!(f, "\n{} {}", describe(step), id.name())?;
        }
        Ok(())
    }
}

fn describe_system(step: &SystemStep) -> String {
    match step {
        SystemStep::Enable { .. } => "enable".into(),
        SystemStep::Keep(Origin::Attached) => "keep our".into(),
        SystemStep::Keep(Origin::Preexisting) => "keep preexisting".into(),
        SystemStep::Disable { .. } => "disable".into(),
        SystemStep::Leave { on: true } => "leave on".into(),
        SystemStep::Leave { on: false } => "leave off".into(),
        SystemStep::Off => "already off:".into(),
        SystemStep::Disputed { present, absent } => {
            format!("disputed ({} against {}):", list(present), list(absent))
        }
        SystemStep::Held { why, .. } => format!("held ({why}):"),
        SystemStep::RefusedByFlexible => "refused (Flexible scale set):".into(),
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Attach { .. } => "attach".into(),
        Step::Keep(Origin::Attached) => "keep our".into(),
        Step::Keep(Origin::Preexisting) => "keep preexisting".into(),
        Step::Detach(Why::DeclaredAbsent) => "detach (declared Absent)".into(),
        Step::Detach(Why::ClaimWithdrawn) => "detach (claim withdrawn)".into(),
        Step::Detach(Why::Dangling) => "detach (dangling, to be attached again)".into(),
        Step::Dangling(dead) => format!("dangling ({})", stays(dead.stays)),
        Step::Spare => "spare".into(),
        Step::Protect => "protect".into(),
        Step::Disputed { present, absent } => {
            format!("disputed ({} against {})", list(present), list(absent))
        }
        Step::Held { edit: Edit::Attach, why } => format!("hold back attaching ({why})"),
        Step::Held { edit: Edit::Detach, why } => format!("hold back detaching ({why})"),
        Step::Nothing => "nothing for".into(),
    }
}

fn stays(stays: Stays) -> &'static str {
    match stays {
        Stays::Confirming => "looked at again first",
        Stays::Deleted => "the identity was deleted",
        Stays::Hidden => "the identity cannot be looked at",
        Stays::NotAsked => "not ours, and no repair is asked for",
        Stays::TriedInVain => "repaired in vain",
    }
}

fn list(keys: &[ClaimKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SetAside => "ARM refused it",
            Self::Suspected => "ARM refused it together with others, and which it is about is being found out",
            Self::Contested => "somebody keeps undoing it",
            Self::RemovalsPaced => "removals are paced",
            Self::RemovalsPaused => "removals are paused",
            Self::Unguarded => "the endpoint ignores If-Match",
            Self::ListForm => "the endpoint lists identities, and a write would replace the whole list",
            Self::DefaultIdentity => "the default identity would change",
            Self::NextRequest => "next request",
        })
    }
}
