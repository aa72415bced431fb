//! The procedures that people follow by hand today, as data: what is there, what is declared, what leaves, what results.
//!
//! Identities, and assignments, are short names here; whoever uses the table makes ids of them. To reach the state
//! `before` from outside: let a stranger put on what is not in `attached`, declare the rest by the assignments of the
//! same names and wait for them, then declare `claims`.

/// What a machine carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub system: bool,
    pub user: &'static [&'static str],
}

/// What a claim says of the system-assigned identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Enabled,
    Disabled,
    Unmanaged,
}

/// How an assignment that is being deleted leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    Detach,
    Retain,
}

/// One assignment.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub name: &'static str,
    pub system: System,
    pub present: &'static [&'static str],
    pub absent: &'static [&'static str],
    pub deleted: Option<Deleted>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub before: Block,
    /// The record: of what is there, this much was put on by us.
    pub attached: &'static [&'static str],
    pub claims: &'static [Claim],
    /// The plan as it prints.
    pub plan: &'static str,
    /// The JSON body with names in place of ids, or none where nothing may leave.
    pub patch: Option<&'static str>,
    pub after: Block,
}

impl Scenario {
    /// The expected body with every name made an id.
    pub fn body(&self, id: impl Fn(&str) -> String) -> Option<serde_json::Value> {
        let mut body: serde_json::Value = serde_json::from_str(self.patch?).expect("a row's body is JSON");
        if let Some(map) = body.pointer_mut("/identity/userAssignedIdentities").and_then(|map| map.as_object_mut()) {
            *map = std::mem::take(map).into_iter().map(|(name, edit)| (id(&name), edit)).collect();
        }
        Some(body)
    }
}

const fn block(system: bool, user: &'static [&'static str]) -> Block {
    Block { system, user }
}

const fn claim(system: System, present: &'static [&'static str]) -> Claim {
    Claim { name: "web", system, present, absent: &[], deleted: None }
}

const fn present(present: &'static [&'static str]) -> Claim {
    claim(System::Unmanaged, present)
}

const fn absent(absent: &'static [&'static str]) -> Claim {
    Claim { absent, ..present(&[]) }
}

const fn deleted(how: Deleted, ids: &'static [&'static str]) -> Claim {
    Claim { deleted: Some(how), ..present(ids) }
}

const fn named(name: &'static str, claim: Claim) -> Claim {
    Claim { name, ..claim }
}

use Deleted::{Detach, Retain};
use System::{Disabled, Enabled};

/// `shop-db` and `shop-queue` are ours to declare, `legacy` is somebody else's.
pub const SCENARIOS: &[Scenario] = &[
    // 1. Enable the system-assigned identity.
    Scenario {
        name: "enable system on a bare machine",
        before: block(false, &[]),
        attached: &[],
        claims: &[claim(Enabled, &[])],
        plan: "enable system",
        patch: Some(r#"{"identity":{"type":"SystemAssigned"}}"#),
        after: block(true, &[]),
    },
    Scenario {
        name: "enable system beside our identity",
        before: block(false, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[claim(Enabled, &["shop-db"])],
        plan: "enable system\nkeep our shop-db",
        patch: Some(r#"{"identity":{"type":"SystemAssigned, UserAssigned"}}"#),
        after: block(true, &["shop-db"]),
    },
    Scenario {
        name: "enable system beside a stranger's identity",
        before: block(false, &["legacy"]),
        attached: &[],
        claims: &[claim(Enabled, &[])],
        plan: "enable system\nspare legacy",
        patch: Some(r#"{"identity":{"type":"SystemAssigned, UserAssigned"}}"#),
        after: block(true, &["legacy"]),
    },
    Scenario {
        name: "enable system beside ours and a stranger's",
        before: block(false, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[claim(Enabled, &["shop-db"])],
        plan: "enable system\nspare legacy\nkeep our shop-db",
        patch: Some(r#"{"identity":{"type":"SystemAssigned, UserAssigned"}}"#),
        after: block(true, &["legacy", "shop-db"]),
    },
    Scenario {
        name: "enable system where it is on",
        before: block(true, &["legacy"]),
        attached: &[],
        claims: &[claim(Enabled, &[])],
        plan: "keep preexisting system\nspare legacy",
        patch: None,
        after: block(true, &["legacy"]),
    },
    // 2. Disable it.
    Scenario {
        name: "disable system where nothing else is",
        before: block(true, &[]),
        attached: &[],
        claims: &[claim(Disabled, &[])],
        plan: "disable system",
        patch: Some(r#"{"identity":{"type":"None"}}"#),
        after: block(false, &[]),
    },
    Scenario {
        name: "disable system beside our identity",
        before: block(true, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[claim(Disabled, &["shop-db"])],
        plan: "disable system\nkeep our shop-db",
        patch: Some(r#"{"identity":{"type":"UserAssigned"}}"#),
        after: block(false, &["shop-db"]),
    },
    Scenario {
        name: "disable system beside a stranger's identity",
        before: block(true, &["legacy"]),
        attached: &[],
        claims: &[claim(Disabled, &[])],
        plan: "disable system\nspare legacy",
        patch: Some(r#"{"identity":{"type":"UserAssigned"}}"#),
        after: block(false, &["legacy"]),
    },
    Scenario {
        name: "disable system beside ours and a stranger's",
        before: block(true, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[claim(Disabled, &["shop-db"])],
        plan: "disable system\nspare legacy\nkeep our shop-db",
        patch: Some(r#"{"identity":{"type":"UserAssigned"}}"#),
        after: block(false, &["legacy", "shop-db"]),
    },
    Scenario {
        name: "disable system where it is off",
        before: block(false, &["legacy"]),
        attached: &[],
        claims: &[claim(Disabled, &[])],
        plan: "already off: system\nspare legacy",
        patch: None,
        after: block(false, &["legacy"]),
    },
    Scenario {
        name: "undeclaring leaves system on",
        before: block(true, &[]),
        attached: &[],
        claims: &[claim(System::Unmanaged, &[])],
        plan: "leave on system",
        patch: None,
        after: block(true, &[]),
    },
    // 3. Assign the first user-assigned identity.
    Scenario {
        name: "assign the first to a bare machine",
        before: block(false, &[]),
        attached: &[],
        claims: &[present(&["shop-db"])],
        plan: "leave off system\nattach shop-db",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-db":{}}}}"#),
        after: block(false, &["shop-db"]),
    },
    Scenario {
        name: "assign the first where system is on",
        before: block(true, &[]),
        attached: &[],
        claims: &[present(&["shop-db"])],
        plan: "leave on system\nattach shop-db",
        patch: Some(r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-db":{}}}}"#),
        after: block(true, &["shop-db"]),
    },
    Scenario {
        name: "assign our first beside a stranger's",
        before: block(false, &["legacy"]),
        attached: &[],
        claims: &[present(&["shop-db"])],
        plan: "leave off system\nspare legacy\nattach shop-db",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-db":{}}}}"#),
        after: block(false, &["legacy", "shop-db"]),
    },
    Scenario {
        name: "assign our first beside a stranger's where system is on",
        before: block(true, &["legacy"]),
        attached: &[],
        claims: &[present(&["shop-db"])],
        plan: "leave on system\nspare legacy\nattach shop-db",
        patch: Some(r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-db":{}}}}"#),
        after: block(true, &["legacy", "shop-db"]),
    },
    Scenario {
        name: "assign the first and enable system in one request",
        before: block(false, &[]),
        attached: &[],
        claims: &[claim(Enabled, &["shop-db"])],
        plan: "enable system\nattach shop-db",
        patch: Some(r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-db":{}}}}"#),
        after: block(true, &["shop-db"]),
    },
    Scenario {
        name: "what a stranger assigned is shared when declared",
        before: block(false, &["legacy"]),
        attached: &[],
        claims: &[present(&["legacy"])],
        plan: "leave off system\nkeep preexisting legacy",
        patch: None,
        after: block(false, &["legacy"]),
    },
    // 4. Assign a second.
    Scenario {
        name: "assign a second",
        before: block(false, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&["shop-db", "shop-queue"])],
        plan: "leave off system\nkeep our shop-db\nattach shop-queue",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-queue":{}}}}"#),
        after: block(false, &["shop-db", "shop-queue"]),
    },
    Scenario {
        name: "assign a second where system is on",
        before: block(true, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&["shop-db", "shop-queue"])],
        plan: "leave on system\nkeep our shop-db\nattach shop-queue",
        patch: Some(
            r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-queue":{}}}}"#,
        ),
        after: block(true, &["shop-db", "shop-queue"]),
    },
    Scenario {
        name: "assign a second beside a stranger's",
        before: block(false, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&["shop-db", "shop-queue"])],
        plan: "leave off system\nspare legacy\nkeep our shop-db\nattach shop-queue",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-queue":{}}}}"#),
        after: block(false, &["legacy", "shop-db", "shop-queue"]),
    },
    Scenario {
        name: "another assignment assigns a second",
        before: block(false, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&["shop-db"]), named("ops", present(&["shop-queue"]))],
        plan: "leave off system\nkeep our shop-db\nattach shop-queue",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-queue":{}}}}"#),
        after: block(false, &["shop-db", "shop-queue"]),
    },
    // 5. Remove one of several, and the last.
    Scenario {
        name: "remove one of several",
        before: block(false, &["shop-db", "shop-queue"]),
        attached: &["shop-db", "shop-queue"],
        claims: &[present(&["shop-db"])],
        plan: "leave off system\nkeep our shop-db\ndetach (claim withdrawn) shop-queue",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-queue":null}}}"#),
        after: block(false, &["shop-db"]),
    },
    Scenario {
        name: "remove one of several where system is on",
        before: block(true, &["shop-db", "shop-queue"]),
        attached: &["shop-db", "shop-queue"],
        claims: &[present(&["shop-db"])],
        plan: "leave on system\nkeep our shop-db\ndetach (claim withdrawn) shop-queue",
        patch: Some(
            r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-queue":null}}}"#,
        ),
        after: block(true, &["shop-db"]),
    },
    Scenario {
        name: "remove our only one beside a stranger's",
        before: block(false, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&[])],
        plan: "leave off system\nspare legacy\ndetach (claim withdrawn) shop-db",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-db":null}}}"#),
        after: block(false, &["legacy"]),
    },
    Scenario {
        name: "remove our only one beside a stranger's where system is on",
        before: block(true, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&[])],
        plan: "leave on system\nspare legacy\ndetach (claim withdrawn) shop-db",
        patch: Some(
            r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-db":null}}}"#,
        ),
        after: block(true, &["legacy"]),
    },
    Scenario {
        name: "remove a stranger's by name",
        before: block(false, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&["shop-db"]), named("ops", absent(&["legacy"]))],
        plan: "leave off system\ndetach (declared Absent) legacy\nkeep our shop-db",
        patch: Some(r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"legacy":null}}}"#),
        after: block(false, &["shop-db"]),
    },
    Scenario {
        name: "remove the last",
        before: block(false, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&[])],
        plan: "leave off system\ndetach (claim withdrawn) shop-db",
        patch: Some(r#"{"identity":{"type":"None"}}"#),
        after: block(false, &[]),
    },
    Scenario {
        name: "remove the last where system is on",
        before: block(true, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&[])],
        plan: "leave on system\ndetach (claim withdrawn) shop-db",
        patch: Some(r#"{"identity":{"type":"SystemAssigned"}}"#),
        after: block(true, &[]),
    },
    Scenario {
        name: "remove the last, a stranger's, by name",
        before: block(false, &["legacy"]),
        attached: &[],
        claims: &[absent(&["legacy"])],
        plan: "leave off system\ndetach (declared Absent) legacy",
        patch: Some(r#"{"identity":{"type":"None"}}"#),
        after: block(false, &[]),
    },
    Scenario {
        name: "remove the last and disable system in one request",
        before: block(true, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[claim(Disabled, &[])],
        plan: "disable system\ndetach (claim withdrawn) shop-db",
        patch: Some(r#"{"identity":{"type":"None"}}"#),
        after: block(false, &[]),
    },
    Scenario {
        name: "replace the last by another in one request",
        before: block(false, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[present(&["shop-queue"])],
        plan: "leave off system\ndetach (claim withdrawn) shop-db\nattach shop-queue",
        patch: Some(
            r#"{"identity":{"type":"UserAssigned","userAssignedIdentities":{"shop-db":null,"shop-queue":{}}}}"#,
        ),
        after: block(false, &["shop-queue"]),
    },
    Scenario {
        name: "a deleted assignment takes its identities along and leaves system on",
        before: block(true, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[Claim { system: Enabled, ..deleted(Detach, &["shop-db"]) }],
        plan: "leave on system\nspare legacy\ndetach (claim withdrawn) shop-db",
        patch: Some(
            r#"{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"shop-db":null}}}"#,
        ),
        after: block(true, &["legacy"]),
    },
    Scenario {
        name: "what another assignment claims stays when one is deleted",
        before: block(false, &["shop-db"]),
        attached: &["shop-db"],
        claims: &[deleted(Detach, &["shop-db"]), named("ops", present(&["shop-db"]))],
        plan: "leave off system\nkeep our shop-db",
        patch: None,
        after: block(false, &["shop-db"]),
    },
    Scenario {
        name: "a deleted assignment that retains leaves everything there",
        before: block(false, &["legacy", "shop-db"]),
        attached: &["shop-db"],
        claims: &[deleted(Retain, &["shop-db"])],
        plan: "leave off system\nspare legacy\nspare shop-db",
        patch: None,
        after: block(false, &["legacy", "shop-db"]),
    },
];
