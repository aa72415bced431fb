//! The end: what the simulated Azure was asked for, and that nothing was touched that was not ours.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use arm_simulator::{Actor, Change, Exchange, Listener, Machine, SystemChange};

use super::machines::{self, Look, OURS};
use super::screen::aligned;
use super::stage::Stage;

/// How the machines were before anything was declared.
pub(super) struct Beginning(Vec<(Machine, Look)>);

impl Beginning {
    pub(super) fn of(stage: &Stage<'_>) -> Result<Self> {
        let machines = [stage.vm("web")?, stage.vm("batch")?, stage.scale_set("workers")?];
        Ok(Self(machines.map(|machine| (machine.clone(), Look::at(&machine))).into()))
    }
}

/// Counts the calls, and goes through the whole history of every machine.
pub(super) fn check(stage: &Stage<'_>, beginning: &Beginning) -> Result<()> {
    let journal = stage.arm().journal();
    stage.screen.shown(&counts(&journal));
    every_write_was_guarded(&journal)?;
    for (machine, before) in &beginning.0 {
        nothing_foreign_was_touched(machine, before)?;
    }
    nobody_touched(&stage.vm("batch")?)?;
    stage.screen.say("");
    stage.screen.holds("every PATCH left under If-Match, and there were no other writes");
    stage.screen.holds("legacy never left web, in its whole history; backup never left workers");
    stage.screen.holds("no system-assigned identity was switched off");
    stage.screen.holds("batch, which nobody declared, got no write at all");
    stage.screen.holds("nothing that was not ours was touched");
    Ok(())
}

/// Requests by method and what they were about.
fn counts(journal: &[Exchange]) -> String {
    let mut counted: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for exchange in journal {
        *counted.entry((&exchange.method, purpose(exchange))).or_default() += 1;
    }
    let rows =
        counted.into_iter().map(|((method, purpose), times)| [method.to_owned(), format!("{times:>3}"), purpose]);
    aligned(&rows.collect::<Vec<_>>())
}

fn purpose(exchange: &Exchange) -> String {
    let path = exchange.path.to_lowercase();
    let about = |part: &str| path.contains(part);
    match (exchange.listener, exchange.method.as_str()) {
        (Listener::Entra, _) => "a token of Entra ID".into(),
        (_, "PATCH") => of_patch(exchange).into(),
        _ if about("/operations/") => "an operation, to follow it to its end".into(),
        _ if about("/virtualmachines/") || about("/virtualmachinescalesets/") => "a machine".into(),
        _ if about("/resourcegroups/") && !about("/providers/") => {
            "a resource group, to see whether AKS owns it".into()
        }
        _ => exchange.path.clone(),
    }
}

fn of_patch(exchange: &Exchange) -> &'static str {
    let probe = exchange.request_body.as_object().is_some_and(serde_json::Map::is_empty);
    match (probe, exchange.status) {
        (true, _) => "nothing, to see that If-Match is honoured",
        (false, Some(200)) => "a machine, accepted",
        (false, Some(412)) => "a machine, refused by its ETag",
        (false, _) => "a machine, with another answer",
    }
}

/// And there were no writes of another kind.
fn every_write_was_guarded(journal: &[Exchange]) -> Result<()> {
    let to_arm = journal.iter().filter(|exchange| matches!(exchange.listener, Listener::Arm | Listener::ArmHttp));
    for exchange in to_arm.filter(|exchange| exchange.method != "GET") {
        let guarded = exchange.method == "PATCH" && exchange.if_match.is_some();
        ensure!(guarded, "{} {} left without If-Match", exchange.method, exchange.path);
    }
    Ok(())
}

/// Whatever was there at the beginning, or came by another hand, is still there, and never was away.
fn nothing_foreign_was_touched(machine: &Machine, before: &Look) -> Result<()> {
    let name = machine.name();
    let history = machine.history();
    for change in &history {
        let foreign = change.removed.iter().find(|id| !OURS.contains(&machines::last_part(id)));
        ensure!(foreign.is_none(), "{foreign:?} was taken off {name}: {change:?}");
        let destroyed = change.system.iter().any(|change| matches!(change, SystemChange::Destroyed(_)));
        ensure!(!destroyed, "the system-assigned identity of {name} was switched off: {change:?}");
    }
    let mut expected: Vec<String> = before.users.clone();
    let strangers = history.iter().filter(|change| matches!(change.by, Actor::Foreign(_)));
    expected.extend(strangers.flat_map(added));
    expected.sort();
    let now = machine.identities();
    ensure!(now == expected, "{name} carries {now:?} at the end, not {expected:?}");
    Ok(())
}

fn added(change: &Change) -> impl Iterator<Item = String> {
    change.added.iter().map(|id| machines::last_part(id).to_owned())
}

fn nobody_touched(machine: &Machine) -> Result<()> {
    let (history, patches) = (machine.history(), machine.patches());
    ensure!(history.is_empty() && patches.is_empty(), "{} was written to: {patches:?}", machine.name());
    Ok(())
}
