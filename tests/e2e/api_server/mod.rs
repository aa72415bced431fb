//! The API server misbehaves: nothing is lost, nothing is sent twice, and it comes right without anybody's help.

mod lists;
mod records;
mod statuses;
mod streams;
mod unreachable;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use arm_simulator::{Machine, Settings};

use crate::harness::{ApiProxy, Controller, Own, Stage, asked, assignment};

/// A controller that has a proxy between it and the API server, and machines that are as declared.
struct Troubled<'a> {
    stage: Stage<'a>,
    api: ApiProxy,
    controller: Controller,
    web: Machine,
    pool: Machine,
}

impl<'a> Troubled<'a> {
    /// Behind a server that gives its lists by the page.
    async fn start(own: &'a Own) -> Result<Self> {
        Self::behind(ApiProxy::open(own.client.clone(), own.control_plane()?.directory()).await?, own).await
    }

    /// Behind one that streams them.
    async fn start_streaming(own: &'a Own) -> Result<Self> {
        let api = ApiProxy::open(own.client.clone(), own.control_plane()?.directory()).await?;
        api.stream_lists();
        Self::behind(api, own).await
    }

    async fn behind(api: ApiProxy, own: &'a Own) -> Result<Self> {
        let controller = own.start_by(&api.kubeconfig, &[])?;
        let stage = own.stage()?;
        let web = stage.vm("web").with_identity("legacy").create();
        let pool = stage.scale_set("pool").with_identity("legacy").create();
        let it = Self { stage, api, controller, web, pool };
        for machine in it.machines() {
            it.stage.declare(assignment(machine.name()).on(machine).present("shop-db")).await?;
            it.stage.until_ready(machine.name()).await?;
        }
        Ok(it)
    }

    const fn machines(&self) -> [&Machine; 2] {
        [&self.web, &self.pool]
    }

    /// People change their minds: one identity for another, on both machines.
    async fn change(&self, from: &str, to: &str) -> Result<()> {
        for machine in self.machines() {
            self.stage.edit(machine.name(), |it| it.without(from).present(to)).await?;
        }
        Ok(())
    }

    /// Waits until both have exactly this beside what they came with, and say so.
    async fn until_both_have(&self, name: &str) -> Result<()> {
        for machine in self.machines() {
            self.stage.until_ready(machine.name()).await?;
            ensure!(machine.identities() == ["legacy", name], "{:?}", machine.identities());
            ensure!(self.stage.attached(machine).await? == [name]);
        }
        Ok(())
    }

    /// So many changes were asked for of each machine, all were taken, and each changed something.
    fn sent_exactly(&self, patches: usize) -> Result<()> {
        for machine in self.machines() {
            exactly(machine, patches)?;
        }
        Ok(())
    }

    /// The controller lives, and has deleted everything in the end; what was not its own is still there.
    async fn ends_well(mut self) -> Result<()> {
        ensure!(self.controller.runs()?, "the process has ended");
        for machine in [&self.web, &self.pool] {
            self.stage.delete(machine.name()).await?;
        }
        for machine in [&self.web, &self.pool] {
            self.stage.until_gone(machine.name()).await?;
            ensure!(machine.identities() == ["legacy"], "{:?}", machine.identities());
        }
        Ok(())
    }
}

fn exactly(machine: &Machine, patches: usize) -> Result<()> {
    let asked = asked(machine);
    let told = || asked.iter().map(|it| format!("{it} -> {:?}", it.status)).collect::<Vec<_>>().join("\n");
    ensure!(asked.len() == patches, "{patches} PATCHes of {}, not these:\n{}", machine.name(), told());
    ensure!(asked.iter().all(|it| it.status == Some(200) || it.status == Some(202)), "refused:\n{}", told());
    let idle = machine.history().into_iter().any(|it| it.added.is_empty() && it.removed.is_empty());
    ensure!(!idle, "one of these changed nothing:\n{}", told());
    Ok(())
}

/// No more than this many requests and log lines a second came of a trouble that has lasted since then.
fn no_storm(troubled: &Troubled<'_>, since: Instant, lines_before: usize) -> Result<()> {
    let seconds = usize::try_from(since.elapsed().as_secs())? + 1;
    let asked = troubled.api.count(|asked| asked.at >= since);
    ensure!(asked <= 60 + 15 * seconds, "{asked} requests in {seconds} s:\n{}", troubled.api.told_since(since));
    let lines = log_lines(&troubled.stage) - lines_before;
    ensure!(lines <= 200 + 40 * seconds, "{lines} log lines in {seconds} s");
    Ok(())
}

fn log_lines(stage: &Stage<'_>) -> usize {
    std::fs::read_to_string(&stage.log).unwrap_or_default().lines().count()
}

/// Operations take no longer than a test needs to see them.
fn quick() -> Settings {
    Settings::quick()
}

/// A pause by design: a trouble that has to last.
async fn lasts(duration: Duration) {
    tokio::time::sleep(duration).await;
}
