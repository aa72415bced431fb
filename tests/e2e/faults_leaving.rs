//! A deletion that meets trouble: it says so, is tried for ever, and ends when the machine does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Barrier, Machine};
use futures::future::try_join_all;
use lanyard::domain::reason::Reason;

use crate::faults::{Wrong, error, probed, sane};
use crate::harness::{GROUP, Stage, assignment};

#[tokio::test]
async fn a_deletion_that_cannot_be_done_now_is_done_when_it_can() -> Result<()> {
    let policy = Barrier::RequestDisallowedByPolicy { policy: "no-identities".into() };
    let rows = vec![
        (Wrong::Barrier(Barrier::ScopeLocked), Reason::ScopeLocked),
        (Wrong::Barrier(policy), Reason::PolicyDenied),
        (Wrong::Barrier(Barrier::NoWriteRole), Reason::AuthorizationFailed),
        (Wrong::Barrier(Barrier::NoReadRole), Reason::AuthorizationFailed),
        (Wrong::With("PATCH", error(503, "ServerBusy", "Busy.")), Reason::ArmFailed),
        (Wrong::With("GET", error(429, "TooManyRequests", "Too many requests.")), Reason::Throttled),
        (Wrong::With("GET", error(404, "SubscriptionNotFound", "No such subscription.")), Reason::SubscriptionNotFound),
    ];
    probed(&Stage::shared().await?).await?;
    try_join_all(rows.into_iter().map(held_up)).await?;
    Ok(())
}

async fn held_up((wrong, reason): (Wrong, Reason)) -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = attached(&stage).await?;
    wrong.befall(&stage, &vm);
    stage.delete("web").await?;

    let told = async || {
        let status = stage.assignment("web").await?.context("it is gone")?.status.unwrap_or_default();
        let named = |kind: &str| status.conditions.iter().any(|it| it.type_ == kind && it.reason == reason.as_str());
        Ok(named("Ready") || named("Reconciling") || named("Stalled"))
    };
    stage.until(reason.as_str(), told).await?;
    sane(&stage, "web").await?;
    ensure!(stage.attached(&vm).await? == ["shop-db"], "the record forgets nothing meanwhile");

    wrong.end(&stage, &vm);
    stage.look("web").await?;
    stage.until_gone("web").await?;
    ensure!(vm.identities() == ["legacy"], "{}: it has {:?}", reason.as_str(), vm.identities());
    Ok(())
}

async fn attached(stage: &Stage<'_>) -> Result<Machine> {
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    Ok(vm)
}

#[tokio::test]
async fn an_assignment_of_a_machine_that_is_being_deleted_goes_at_once() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = attached(&stage).await?;
    vm.mark_for_deletion();

    stage.delete("web").await?;
    stage.until_gone("web").await?;
    stage.until_event("TargetBeingDeleted", "").await?;
    assert_eq!(stage.attached(&vm).await?, ["shop-db"], "the record stays until the machine is gone");
    Ok(())
}

/// ARM says "gone" twice, this far apart, before it is believed.
const GONE_AFTER: Duration = Duration::from_secs(60);

#[tokio::test]
async fn with_the_machine_or_its_group_gone_for_a_minute_a_deletion_ends() -> Result<()> {
    probed(&Stage::shared().await?).await?;
    tokio::try_join!(gone(true), gone(false))?;
    Ok(())
}

async fn gone(with_its_group: bool) -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = attached(&stage).await?;
    if with_its_group {
        stage.arm.delete_group(&stage.subscription, GROUP);
    } else {
        vm.delete();
    }
    let begun = Instant::now();
    stage.delete("web").await?;
    stage.until_not_ready("web", Reason::TargetNotFound).await?;
    let (seen, mut looked) = (Instant::now(), false);
    let let_go = async || {
        let there = stage.assignment("web").await?.is_some();
        if there && !looked && seen.elapsed() > GONE_AFTER {
            looked = true;
            // It may be let go in this very moment.
            let _ = stage.look("web").await;
        }
        Ok(!there)
    };
    stage.until("the assignment to go", let_go).await?;
    ensure!(begun.elapsed() >= GONE_AFTER, "two 404s in a row are no proof");
    stage.until("the record to go with it", async || Ok(stage.target(&vm).await?.is_none())).await
}
