//! Lists that come as the beginning of a watch, and break off, lie, or never come.

use std::time::Instant;

use anyhow::{Result, ensure};
use rstest::rstest;

use super::{Troubled, log_lines, no_storm, quick};
use crate::harness::{Asked, Own, Trouble};

fn streams(asked: &Asked) -> bool {
    asked.verb == "stream" && asked.is_about_machines()
}

#[rstest]
#[case::cut_after_the_first_object(Trouble::EndsAfter(1))]
#[case::empty(Trouble::WatchEnds)]
#[case::gone(Trouble::WatchError(410))]
#[case::an_error_in_the_stream(Trouble::WatchError(500))]
#[case::an_error(Trouble::Refused(500, "InternalError"))]
#[case::cut(Trouble::LoseRequest)]
#[case::garbage(Trouble::Body("<html>".into()))]
#[tokio::test]
async fn a_streamed_list_that_does_not_come_to_its_end_withdraws_nothing(#[case] trouble: Trouble) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start_streaming(&own).await?;
    ensure!(it.api.count(|asked| asked.verb == "list" && asked.path.contains("limit=500")) == 0, "it asked for pages");
    let (since, lines) = (Instant::now(), log_lines(&it.stage));
    let failing = it.api.trouble(streams, 1, 4, trouble);
    it.api.trouble(|asked| asked.verb == "watch" && asked.is_about_machines(), 1, 2, Trouble::WatchError(410));
    it.api.break_watches().await?;
    it.stage.until("the lists to fail", async || Ok(it.api.met(failing) >= 3)).await?;
    it.sent_exactly(1)?;
    no_storm(&it, since, lines)?;
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}
