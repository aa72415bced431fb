//! Machines, and each `PATCH` to them, as people read them.

use arm_simulator::{Machine, RecordedPatch};
use serde_json::{Map, Value};

use super::screen::aligned;

/// Identities that assignments of the demo declare. All others are somebody else's.
pub(super) const OURS: [&str; 2] = ["shop-db", "shop-queue"];

/// What a machine carries at some moment, as the simulated Azure knows it.
#[derive(Clone, Debug)]
pub(super) struct Look {
    machine: Machine,
    /// The principal of the system-assigned identity, if that is on.
    pub(super) system: Option<String>,
    /// Names of its user-assigned identities.
    pub(super) users: Vec<String>,
    etag: String,
    patches: usize,
}

impl Look {
    pub(super) fn at(machine: &Machine) -> Self {
        Self {
            machine: machine.clone(),
            system: machine.system_principal(),
            users: machine.identities(),
            etag: machine.etag(),
            patches: machine.patches().len(),
        }
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Each `PATCH` that came since.
    pub(super) fn patches_since(&self) -> Vec<RecordedPatch> {
        self.machine.patches().split_off(self.patches)
    }

    /// Its `ETag` at that moment.
    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    pub(super) fn unmanaged(&self) -> usize {
        self.users.iter().filter(|name| !is_ours(name)).count()
    }

    /// As a list.
    pub(super) fn shown(&self) -> String {
        let mut rows = vec![["system-assigned".to_owned(), on_or_off(self.system.as_ref()).to_owned()]];
        let whose = |name: &str| if is_ours(name) { "there" } else { "there, somebody else's" };
        rows.extend(self.users.iter().map(|name| [name.clone(), whose(name).to_owned()]));
        aligned(&rows)
    }

    /// Beside what it was before.
    pub(super) fn beside(&self, before: &Self) -> String {
        let mut names: Vec<&String> = before.users.iter().chain(&self.users).collect();
        names.sort();
        names.dedup();
        let there = |look: &Self, name: &String| look.users.contains(name);
        let word = |there: bool| if there { "there" } else { "-" };
        let mut rows = vec![[self.machine.name(), "before", "after", ""]];
        let system = (before.system.as_ref(), self.system.as_ref());
        rows.push(["system-assigned", on_or_off(system.0), on_or_off(system.1), of_system(system)]);
        for name in names {
            let (was, is) = (there(before, name), there(self, name));
            rows.push([name, word(was), word(is), of_user(is_ours(name), was, is)]);
        }
        aligned(&rows)
    }
}

fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

fn on_or_off(principal: Option<&String>) -> &'static str {
    if principal.is_some() { "on" } else { "off" }
}

fn of_system(before_and_after: (Option<&String>, Option<&String>)) -> &'static str {
    match before_and_after {
        (None, Some(_)) => "switched on",
        (Some(_), None) => "switched off",
        (Some(old), Some(new)) if old != new => "another one than before",
        (Some(_), Some(_)) | (None, None) => "untouched",
    }
}

fn of_user(ours: bool, was: bool, is: bool) -> &'static str {
    match (ours, was, is) {
        (true, false, true) => "attached",
        (true, true, false) => "removed",
        (true, true, true) => "stays",
        (false, false, true) => "attached by somebody else meanwhile",
        (false, true, true) => "somebody else's: untouched",
        (false, true, false) => "somebody else's: REMOVED",
        (_, false, false) => "",
    }
}

/// What a PATCH was, in short: `SystemAssigned, UserAssigned + shop-db: 200`, or `probe: 412`.
pub(super) fn in_short(patch: &RecordedPatch) -> String {
    let status = patch.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    if is_probe(patch) {
        return format!("probe: {status}");
    }
    let identity = &patch.body["identity"];
    let mut text = identity["type"].as_str().unwrap_or("no type").to_owned();
    for (id, value) in identity["userAssignedIdentities"].as_object().into_iter().flatten() {
        text += if value.is_null() { " - " } else { " + " };
        text += last_part(id);
    }
    format!("{text}: {status}")
}

/// A PATCH of nothing, under an `ETag` that cannot match.
pub(super) fn is_probe(patch: &RecordedPatch) -> bool {
    patch.body.as_object().is_some_and(Map::is_empty)
}

/// The request with its answer; ids by their last part.
pub(super) fn shown(machine: &Machine, patch: &RecordedPatch) -> String {
    let etag = patch.if_match.as_deref().unwrap_or("none");
    let answer = match patch.status {
        Some(200) => "200 OK".to_owned(),
        Some(412) => "412 Precondition Failed".to_owned(),
        Some(status) => status.to_string(),
        None => "no answer".to_owned(),
    };
    let id = machine.id();
    let kind = id.rsplit('/').nth(1).unwrap_or_default();
    let request = format!("PATCH …/{kind}/{}   If-Match: {etag}   ─▶ {answer}", machine.name());
    format!("{request}\n{}", body(&patch.body))
}

/// The body, over two lines where it has a map.
fn body(body: &Value) -> String {
    let identity = &body["identity"];
    let (Some(kind), Some(users)) = (identity.get("type"), identity["userAssignedIdentities"].as_object()) else {
        return body.to_string();
    };
    let users = users.iter().map(|(id, value)| format!("\"…/{}\": {value}", last_part(id)));
    let users = users.collect::<Vec<_>>().join(", ");
    format!("{{\"identity\": {{\"type\": {kind},\n  \"userAssignedIdentities\": {{{users}}}}}}}")
}

pub(super) fn last_part(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
