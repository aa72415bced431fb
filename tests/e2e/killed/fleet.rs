//! Machines of both kinds that live through one story together, while strangers write to them.
//!
//! ```text
//!   Attach ─▶ Change ─▶ Leave ─▶ Attach ...
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Actor, Machine, MachineBuilder, SystemChange};
use futures::future::try_join_all;
use kube::api::ListParams;
use lanyard::api::IdentityAssignment;
use lanyard::api::assignment::SystemAssigned;
use lanyard::domain::target_name::target_name;
use tokio::task::JoinHandle;

use super::chance::Chance;
use crate::harness::{Declared, Stage, assignment};

/// What all machines come with. The second is declared too, and stays preexisting.
const THERE: [&str; 2] = ["legacy", "shared"];
/// What Lanyard may attach and remove.
const OURS: [&str; 3] = ["data", "mail", "queue"];
const STRANGERS: [&str; 3] = ["theirs-1", "theirs-2", "theirs-3"];
/// Between two acts of strangers.
const STRANGE: Duration = Duration::from_millis(40);

/// What people ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Two assignments, with identities of their own and the system's.
    Attach,
    /// One identity for another, and the system's goes.
    Change,
    /// Both are deleted.
    Leave,
}

impl Step {
    pub const fn next(self) -> Self {
        match self {
            Self::Attach => Self::Change,
            Self::Change => Self::Leave,
            Self::Leave => Self::Attach,
        }
    }

    /// What is of Lanyard's making afterwards.
    const fn ours(self) -> &'static [&'static str] {
        match self {
            Self::Attach => &["data", "queue"],
            Self::Change => &["mail", "queue"],
            Self::Leave => &[],
        }
    }
}

/// Machines, each with the step that it was last asked for.
pub struct Fleet<'a> {
    stage: Stage<'a>,
    pub machines: Vec<Machine>,
    asked: BTreeMap<String, Step>,
    strangers: JoinHandle<()>,
}

impl<'a> Fleet<'a> {
    /// Half of them VMs, half scale sets.
    pub fn new(stage: Stage<'a>, pairs: usize, chance: Chance) -> Self {
        for name in OURS {
            stage.identity(name);
        }
        let new = |n: usize| {
            let builder =
                if n.is_multiple_of(2) { stage.vm(&format!("vm-{n}")) } else { stage.scale_set(&format!("set-{n}")) };
            THERE.into_iter().fold(builder, MachineBuilder::with_identity).create()
        };
        let machines: Vec<Machine> = (0..2 * pairs).map(new).collect();
        let strangers = tokio::spawn(write_as_strangers(machines.clone(), chance));
        Self { stage, machines, asked: BTreeMap::new(), strangers }
    }

    /// The next step of each of these.
    pub async fn go_on(&mut self, these: &[Machine]) -> Result<()> {
        for machine in these {
            let step = self.asked.get(machine.name()).map_or(Step::Attach, |step| step.next());
            self.asked.insert(machine.name().to_owned(), step);
        }
        let ask = async |machine: &Machine| match self.step(machine) {
            Some(Step::Attach) => self.attach(machine).await,
            Some(Step::Change) => self.change(machine).await,
            Some(Step::Leave) => self.leave(machine).await,
            None => Ok(()),
        };
        try_join_all(these.iter().map(ask)).await.map(|_| ())
    }

    fn step(&self, machine: &Machine) -> Option<Step> {
        self.asked.get(machine.name()).copied()
    }

    async fn attach(&self, machine: &Machine) -> Result<()> {
        let wanted = |who: &str| assignment(&format!("{who}-{}", machine.name())).on(machine);
        self.stage.declare(wanted("a").present("data").present("shared").system(SystemAssigned::Enabled)).await?;
        self.stage.declare(wanted("b").present("queue")).await.map(|_| ())
    }

    async fn change(&self, machine: &Machine) -> Result<()> {
        let other = |it: Declared| it.without("data").present("mail").system(SystemAssigned::Disabled);
        self.stage.edit(&format!("a-{}", machine.name()), other).await.map(|_| ())
    }

    async fn leave(&self, machine: &Machine) -> Result<()> {
        self.stage.delete(&format!("a-{}", machine.name())).await?;
        self.stage.delete(&format!("b-{}", machine.name())).await
    }

    /// Names of the machines of which nothing is left to do, by what people see.
    pub async fn done(&self) -> Result<BTreeSet<String>> {
        let assignments = self.stage.assignments().list(&ListParams::default()).await?.items;
        let targets = self.stage.targets().list(&ListParams::default()).await?.items;
        let targets: BTreeSet<&str> = targets.iter().filter_map(|it| it.metadata.name.as_deref()).collect();
        let mut done = BTreeSet::new();
        for machine in &self.machines {
            let id = machine.id();
            let of_it = assignments.iter().filter(|it| it.spec.target.resource_id == id);
            let is_done = match self.step(machine) {
                None => true,
                Some(Step::Attach | Step::Change) => of_it.filter(|it| is_ready(it)).count() == 2,
                Some(Step::Leave) => of_it.count() == 0 && !targets.contains(target_name(&id.parse()?).as_str()),
            };
            if is_done {
                done.insert(machine.name().to_owned());
            }
        }
        Ok(done)
    }

    pub async fn until_all_is_done(&self) -> Result<()> {
        let all = async || Ok(self.done().await?.len() == self.machines.len());
        self.until("all machines to be as declared", all).await
    }

    pub async fn until(&self, what: &str, look: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let waited = self.stage.until(what, look).await;
        let done = self.done().await?;
        let left: Vec<_> = self.asked.iter().filter(|(name, _)| !done.contains(*name)).collect();
        waited.with_context(|| format!("not done: {left:?}"))
    }

    /// Nothing was dropped on the way, nothing done twice, and in the end each machine has what it must, and no more.
    pub async fn check(&self) -> Result<()> {
        for machine in &self.machines {
            check_history(machine)?;
            let ours = self.step(machine).map_or(&[][..], Step::ours);
            let mut wanted: Vec<&str> = THERE.iter().chain(ours).copied().collect();
            wanted.sort_unstable();
            let mut found = machine.identities();
            found.retain(|name| !STRANGERS.contains(&name.as_str()));
            ensure!(found == wanted, "{} has {found:?} in place of {wanted:?}", machine.name());
            let system = self.step(machine) == Some(Step::Attach);
            ensure!(machine.system_principal().is_some() == system, "{}: system identity", machine.name());
            let attached = self.stage.attached(machine).await?;
            ensure!(attached == ours, "{}: the record has {attached:?} in place of {ours:?}", machine.name());
            ensure!(self.stage.record(machine).await?.intent.is_none(), "{} is not settled", machine.name());
        }
        Ok(())
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        self.strangers.abort();
    }
}

fn is_ready(object: &IdentityAssignment) -> bool {
    let status = object.status.as_ref().filter(|status| status.observed_generation == object.metadata.generation);
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Every change of ours was of our own, and changed something.
fn check_history(machine: &Machine) -> Result<()> {
    let is_ours = |id: &String| OURS.iter().any(|ours| id.ends_with(&format!("/{ours}")));
    for change in machine.history().iter().filter(|change| matches!(change.by, Actor::Request(_))) {
        let told = || format!("{}: {change:?}", machine.name());
        ensure!(change.added.iter().chain(&change.removed).all(is_ours), "not ours: {}", told());
        let changed = !change.added.is_empty() || !change.removed.is_empty() || !change.system.is_empty();
        ensure!(changed, "sent again what was there: {}", told());
        // The system identity goes with what it goes with, and at no other time.
        let destroyed = change.system.iter().any(|system| matches!(system, SystemChange::Destroyed(_)));
        ensure!(!destroyed || change.removed.iter().any(|id| id.ends_with("/data")), "destroyed: {}", told());
    }
    Ok(())
}

/// Attaches, detaches, touches, without a pause for anybody. What they attach is theirs alone.
async fn write_as_strangers(machines: Vec<Machine>, mut chance: Chance) {
    loop {
        tokio::time::sleep(STRANGE).await;
        let machine = &machines[chance.below(machines.len())];
        let theirs = STRANGERS[chance.below(STRANGERS.len())];
        match chance.below(3) {
            0 => machine.attach_as_stranger(theirs),
            1 => machine.detach_as_stranger(theirs),
            _ => machine.bump_etag(),
        };
    }
}
