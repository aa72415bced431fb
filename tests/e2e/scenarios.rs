//! The table of procedures, end to end: what is declared, the exact PATCH that leaves, what is on the machine, and then
//! nothing more.

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Machine, MachineBuilder};
use futures::future::try_join_all;
use lanyard::api::assignment::SystemAssigned;

use crate::harness::{Declared, Stage, asked, assignment};
use crate::table::{Claim, Deleted, SCENARIOS, Scenario, System};

#[tokio::test]
async fn every_procedure_is_carried_out_on_a_vm() -> Result<()> {
    let stage = Stage::shared().await?;
    let row = |(number, row)| play(&stage, stage.vm(&format!("vm-{number}")), number, row);
    try_join_all(SCENARIOS.iter().enumerate().map(row)).await?;
    Ok(())
}

#[tokio::test]
async fn every_procedure_is_carried_out_on_a_scale_set() -> Result<()> {
    let stage = Stage::shared().await?;
    let row = |(number, row)| play(&stage, stage.scale_set(&format!("set-{number}")), number, row);
    try_join_all(SCENARIOS.iter().enumerate().map(row)).await?;
    Ok(())
}

async fn play(stage: &Stage<'_>, machine: MachineBuilder, number: usize, row: &Scenario) -> Result<()> {
    let scene = Scene { stage, number, machine: seeded(machine, row) };
    scene.play(row).await.with_context(|| format!("the row '{}'", row.name))
}

/// What is there that is not ours.
fn seeded(mut machine: MachineBuilder, row: &Scenario) -> Machine {
    for theirs in row.before.user.iter().filter(|name| !row.attached.contains(name)) {
        machine = machine.with_identity(theirs);
    }
    if row.before.system { machine.with_system().create() } else { machine.create() }
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    number: usize,
    machine: Machine,
}

impl Scene<'_> {
    async fn play(&self, row: &Scenario) -> Result<()> {
        self.reach_before(row).await?;
        let (etag, earlier) = (self.machine.etag(), asked(&self.machine).len());
        self.declare(row).await?;
        self.settled(row).await?;

        let later: Vec<_> = asked(&self.machine).split_off(earlier);
        let expected = row.body(|name| self.stage.identity_id(name));
        let bodies: Vec<_> = later.iter().map(|patch| patch.body.clone()).collect();
        ensure!(bodies == Vec::from_iter(expected), "it sent {bodies:#?}");
        ensure!(later.iter().all(|patch| patch.if_match.as_deref() == Some(&etag)), "not under {etag}: {later:?}");
        ensure!(self.machine.identities() == row.after.user, "it has {:?}", self.machine.identities());
        ensure!(self.machine.system_principal().is_some() == row.after.system, "system is not as expected");
        Ok(())
    }

    fn name(&self, claim: &Claim) -> String {
        format!("{}-{}", claim.name, self.number)
    }

    fn declared(&self, claim: &Claim) -> Declared {
        let mut it = assignment(&self.name(claim)).on(&self.machine);
        it = match claim.system {
            System::Enabled => it.system(SystemAssigned::Enabled),
            System::Disabled => it.system(SystemAssigned::Disabled),
            System::Unmanaged => it,
        };
        it = claim.present.iter().fold(it, Declared::present);
        it = claim.absent.iter().fold(it, Declared::absent);
        if claim.deleted == Some(Deleted::Retain) { it.retaining() } else { it }
    }

    /// Has what is ours attached by the first of the row's assignments.
    async fn reach_before(&self, row: &Scenario) -> Result<()> {
        let Some(first) = row.claims.first() else { return Ok(()) };
        let earlier = if first.deleted.is_some() {
            self.declared(first)
        } else {
            row.attached.iter().fold(assignment(&self.name(first)).on(&self.machine), Declared::present)
        };
        if row.attached.is_empty() && first.deleted.is_none() {
            return Ok(());
        }
        self.stage.declare(earlier).await?;
        self.stage.until_ready(&self.name(first)).await?;
        let attached = self.stage.attached(&self.machine).await?;
        ensure!(attached == row.attached, "the record begins with {attached:?}");
        ensure!(self.machine.identities() == row.before.user, "it begins with {:?}", self.machine.identities());
        Ok(())
    }

    async fn declare(&self, row: &Scenario) -> Result<()> {
        let (deleted, staying): (Vec<_>, Vec<_>) = row.claims.iter().partition(|claim| claim.deleted.is_some());
        for claim in staying {
            let (name, wanted) = (self.name(claim), self.declared(claim));
            match self.stage.assignment(&name).await? {
                None => self.stage.declare(wanted).await?,
                Some(_) => self.stage.edit(&name, |it| it.declaring(&wanted)).await?,
            };
            self.stage.until_ready(&name).await?;
        }
        for claim in deleted {
            self.stage.delete(&self.name(claim)).await?;
            self.stage.until_gone(&self.name(claim)).await?;
        }
        Ok(())
    }

    /// Everything stays as it is, however often it is looked at.
    async fn settled(&self, row: &Scenario) -> Result<()> {
        let Some(staying) = row.claims.iter().find(|claim| claim.deleted.is_none()) else {
            let forgotten = async || Ok(self.stage.target(&self.machine).await?.is_none());
            return self.stage.until("the IdentityTarget to go with the last claim", forgotten).await;
        };
        let name = self.name(staying);
        self.stage.look_through(&name, &self.machine).await?;
        let before = (self.stage.status(&name).await?, self.stage.target(&self.machine).await?);
        self.stage.look_through(&name, &self.machine).await?;
        let after = (self.stage.status(&name).await?, self.stage.target(&self.machine).await?);
        ensure!(before == after, "it was written again:\n{before:?}\n{after:?}");
        Ok(())
    }
}
