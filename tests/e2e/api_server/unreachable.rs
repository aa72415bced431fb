//! No API server for a while: killed and started again, cut off, or deaf.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use arm_simulator::{Effect, Fault};

use super::{Troubled, lasts, log_lines, no_storm, quick};
use crate::harness::{Own, Trouble, asked, assignment, sent, tail};

#[tokio::test]
async fn the_api_server_is_killed_with_writes_under_way_and_starts_again() -> Result<()> {
    let own = Own::new(quick()).await?;
    let mut controller = own.start(&[])?;
    let stage = own.stage()?;
    let (web, drifts) = (stage.vm("web").with_identity("legacy").create(), stage.vm("drifts").create());
    for vm in [&web, &drifts] {
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
        stage.until_ready(vm.name()).await?;
    }
    // Its intent is recorded; the operation ends while nobody can be told.
    stage.arm.fault(Fault::new("PATCH", &web.id(), Effect::HoldOperation {}));
    stage.edit("web", |it| it.present("shop-queue")).await?;
    stage.until("the PATCH to leave", async || Ok(asked(&web).len() == 2)).await?;
    own.control_plane()?.stop_api_server()?;
    drifts.detach_as_stranger("shop-db");
    web.attach_as_stranger("theirs");
    stage.arm.finish_operations();
    let told = async || Ok(!tail(&stage.log, "Kubernetes could not be reached", 1).is_empty());
    stage.until("the write of the record to fail", told).await?;
    own.control_plane()?.start_api_server().await?;

    stage.edit("web", |it| it.without("shop-db")).await?;
    stage.until_ready("web").await?;
    ensure!(web.identities() == ["legacy", "shop-queue", "theirs"], "{:?}", web.identities());
    ensure!(stage.attached(&web).await? == ["shop-queue"]);
    ensure!(sent(&web).len() == 3, "{:?}", sent(&web));
    stage.look("drifts").await?;
    stage.until("the drift to be repaired", async || Ok(drifts.identities() == ["shop-db"])).await?;
    stage.until_ready("drifts").await?;
    ensure!(controller.runs()?, "the process has ended");
    Ok(())
}

/// A minute with `LANYARD_LONG`.
fn a_while() -> Duration {
    if std::env::var_os("LANYARD_LONG").is_some() { Duration::from_secs(60) } else { Duration::from_secs(6) }
}

#[tokio::test]
async fn unreachable_for_a_while_nothing_is_lost_and_what_people_did_meanwhile_is_done() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    it.stage.declare(assignment("goes").on(&it.web).present("monitor")).await?;
    it.stage.until_ready("goes").await?;

    let (since, lines) = (Instant::now(), log_lines(&it.stage));
    it.api.cut().await;
    it.web.attach_as_stranger("theirs");
    it.change("shop-db", "shop-queue").await?;
    it.stage.delete("goes").await?;
    it.stage.declare(assignment("comes").on(&it.pool).present("metrics")).await?;
    lasts(a_while()).await;
    no_storm(&it, since, lines)?;
    ensure!(sent(&it.web).len() == 2 && sent(&it.pool).len() == 1, "nothing is written on what cannot be recorded");
    it.api.heal().await?;

    it.stage.until_gone("goes").await?;
    for name in ["web", "pool", "comes"] {
        it.stage.until_ready(name).await?;
    }
    ensure!(it.web.identities() == ["legacy", "shop-queue", "theirs"], "{:?}", it.web.identities());
    ensure!(it.pool.identities() == ["legacy", "metrics", "shop-queue"], "{:?}", it.pool.identities());
    ensure!(sent(&it.web).len() <= 4 && sent(&it.pool).len() <= 3, "{:?} {:?}", sent(&it.web), sent(&it.pool));
    it.stage.delete("comes").await?;
    it.stage.until_gone("comes").await?;
    it.web.detach_as_stranger("theirs");
    it.ends_well().await
}

#[tokio::test]
async fn refused_by_all_for_a_while_it_goes_on_by_itself() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    // A token that expired, a server that has enough to do, one that starts, one that fails.
    let troubles =
        [(401, "Unauthorized"), (429, "TooManyRequests"), (503, "ServiceUnavailable"), (500, "InternalError")];
    let mut names = ["shop-db", "shop-queue"];
    for (code, reason) in troubles {
        let (since, lines) = (Instant::now(), log_lines(&it.stage));
        let refused = it.api.always(|_| true, Trouble::Refused(code, reason));
        it.api.break_watches().await?;
        it.change(names[0], names[1]).await?;
        it.stage.until("it to be refused a few times", async || Ok(it.api.met(refused) >= 4)).await?;
        no_storm(&it, since, lines)?;
        it.api.end(refused);
        it.until_both_have(names[1]).await?;
        names.swap(0, 1);
    }
    it.sent_exactly(1 + troubles.len())?;
    it.ends_well().await
}

#[tokio::test]
async fn answers_that_take_seconds_only_take_longer() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let slow = it.api.always(|asked| asked.verb != "watch", Trouble::Slow(Duration::from_secs(2)));
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.api.end(slow);
    it.ends_well().await
}
