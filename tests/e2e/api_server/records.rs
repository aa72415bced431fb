//! Writes of the record that are refused, lost, slow, or done without a word.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use arm_simulator::{Effect, Fault};
use kube::api::{DeleteParams, Patch, PatchParams};
use lanyard::domain::target_name::target_name;
use rstest::rstest;
use serde_json::json;

use super::{Troubled, exactly, lasts, log_lines, no_storm, quick};
use crate::harness::{Asked, Own, Trouble, asked, assignment, sent};

/// Every write of the record in turn: the first of a change is its intent, the second settles it.
#[rstest]
#[case::intent_refused(0, Trouble::Refused(500, "InternalError"))]
#[case::intent_conflict(0, Trouble::Refused(409, "Conflict"))]
#[case::intent_lost(0, Trouble::LoseRequest)]
#[case::intent_done_without_a_word(0, Trouble::LoseAnswer)]
#[case::intent_half_an_answer(0, Trouble::Truncate)]
#[case::intent_older_than_it_may_be(0, Trouble::Slow(Duration::from_secs(11)))]
#[case::intent_never_answered(0, Trouble::Hang)]
#[case::settling_refused(1, Trouble::Refused(500, "InternalError"))]
#[case::settling_conflict(1, Trouble::Refused(409, "Conflict"))]
#[case::settling_lost(1, Trouble::LoseRequest)]
#[case::settling_done_without_a_word(1, Trouble::LoseAnswer)]
#[case::settling_half_an_answer(1, Trouble::Truncate)]
#[tokio::test]
async fn a_record_that_is_not_written_as_it_should_be_costs_time_and_nothing_else(
    #[case] write: usize,
    #[case] trouble: Trouble,
) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    // A new object too: of a machine that has no record yet.
    let new = it.stage.vm("new").with_identity("legacy").create();
    let of = |name: &'static str| move |asked: &Asked| asked.writes_record() && asked.path.contains(name);
    let struck = [
        it.api.after(write, of("/web-"), trouble.clone()),
        it.api.after(write, of("/pool-"), trouble.clone()),
        it.api.after(write, |asked| asked.is("create", "/identitytargets"), trouble),
    ];
    it.stage.declare(assignment("new").on(&new).present("shop-db")).await?;
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.stage.until_ready("new").await?;
    ensure!(struck[..2].iter().all(|number| it.api.met(*number) == 1), "it was not met");
    it.sent_exactly(2)?;
    exactly(&new, 1)?;
    ensure!(it.stage.attached(&new).await? == ["shop-db"]);
    it.stage.delete("new").await?;
    it.stage.until_gone("new").await?;
    ensure!(new.identities() == ["legacy"]);
    it.ends_well().await
}

#[tokio::test]
async fn nothing_leaves_while_no_intent_can_be_recorded() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    for (code, reason) in [(409, "Conflict"), (403, "Forbidden"), (422, "Invalid")] {
        let (since, lines) = (Instant::now(), log_lines(&it.stage));
        let before = it.machines().map(sent);
        let refused = it.api.always(Asked::writes_record, Trouble::Refused(code, reason));
        it.change("shop-db", "shop-queue").await?;
        lasts(Duration::from_secs(5)).await;
        ensure!(it.api.met(refused) >= 2);
        ensure!(it.machines().map(sent) == before, "sent without a record");
        no_storm(&it, since, lines)?;
        it.api.end(refused);
        it.until_both_have("shop-queue").await?;
        it.change("shop-queue", "shop-db").await?;
        it.until_both_have("shop-db").await?;
    }
    it.sent_exactly(7)?;
    it.ends_well().await
}

/// A person deletes the record, or tears it out, while a request about it is under way.
#[rstest]
#[case::deleted(false)]
#[case::torn_out(true)]
#[tokio::test]
async fn a_record_that_goes_while_a_patch_is_under_way_is_forgotten_and_no_more(#[case] torn_out: bool) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let old = it.stage.target(&it.web).await?.and_then(|target| target.metadata.uid);
    it.stage.arm.fault(Fault::new("PATCH", &it.web.id(), Effect::HoldOperation {}));
    it.stage.edit("web", |it| it.present("shop-queue")).await?;
    it.stage.until("the PATCH to leave", async || Ok(asked(&it.web).len() == 2)).await?;
    let name = target_name(&it.web.id().parse()?);
    it.stage.targets().delete(&name, &DeleteParams::default()).await?;
    if torn_out {
        let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        it.stage.targets().patch_metadata(&name, &PatchParams::default(), &bare).await?;
    }
    it.stage.arm.finish_operations();
    let anew = async || Ok(it.stage.target(&it.web).await?.is_some_and(|target| target.metadata.uid != old));
    it.stage.until("a new record", anew).await?;
    it.stage.until_ready("web").await?;
    ensure!(it.web.identities() == ["legacy", "shop-db", "shop-queue"], "{:?}", it.web.identities());
    ensure!(it.stage.attached(&it.web).await?.is_empty(), "what is there is nobody's");
    exactly(&it.web, 2)?;
    it.stage.delete("web").await?;
    it.stage.until_gone("web").await?;
    ensure!(it.web.identities() == ["legacy", "shop-db", "shop-queue"], "{:?}", it.web.identities());
    Ok(())
}
