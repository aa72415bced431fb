//! Lists and watches that break off, lie, or never come.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lanyard::api::RECONCILE_AT;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Troubled, lasts, log_lines, no_storm, quick};
use crate::harness::{Asked, Own, Trouble, sent};

fn watches(asked: &Asked) -> bool {
    asked.verb == "watch" && asked.is_about_machines()
}

fn lists(asked: &Asked) -> bool {
    asked.verb == "list"
}

#[rstest]
#[case::closed_at_once(Trouble::WatchEnds)]
#[case::gone_in_the_stream(Trouble::WatchError(410))]
#[case::an_error_in_the_stream(Trouble::WatchError(500))]
#[case::gone_at_the_start(Trouble::Refused(410, "Expired"))]
#[case::cut(Trouble::LoseRequest)]
#[case::garbage(Trouble::Body("<html>".into()))]
#[tokio::test]
async fn a_watch_that_fails_comes_back(#[case] trouble: Trouble) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let (since, lines) = (Instant::now(), log_lines(&it.stage));
    let failing = it.api.trouble(watches, 1, 6, trouble);
    it.api.break_watches().await?;
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.stage.until("the watches to have failed often", async || Ok(it.api.met(failing) == 6)).await?;
    no_storm(&it, since, lines)?;

    // Watches that have come back stay.
    it.change("shop-queue", "shop-db").await?;
    it.until_both_have("shop-db").await?;
    it.sent_exactly(3)?;
    it.ends_well().await
}

/// Gone for good: what watches were resumed from is never served again, by status or by event.
#[tokio::test]
async fn a_version_that_is_gone_for_good_is_left_behind() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let old: Vec<String> = it.api.asked().iter().filter(|asked| watches(asked)).map(|it| it.path.clone()).collect();
    ensure!(!old.is_empty());
    let lists_before = it.api.count(lists);
    // Whatever version the watches know now is too old; one from a new list is not.
    let refused = it.api.always(watches, Trouble::Refused(410, "Expired"));
    it.api.break_watches().await?;
    it.stage.until("two new lists", async || Ok(it.api.count(lists) >= lists_before + 2)).await?;
    it.api.end(refused);
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}

/// The watcher takes one for dead that says nothing for five seconds longer than it was asked to last.
#[tokio::test]
async fn every_watch_is_asked_to_end_within_two_minutes() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let lasts: Vec<Option<u32>> = it.api.asked().iter().filter(|asked| watches(asked)).map(timeout).collect();
    ensure!(lasts.len() >= 2, "{lasts:?}");
    ensure!(lasts.iter().all(|seconds| seconds.is_some_and(|seconds| (60..=120).contains(&seconds))), "{lasts:?}");
    it.ends_well().await
}

fn timeout(asked: &Asked) -> Option<u32> {
    asked.path.split(['?', '&']).find_map(|part| part.strip_prefix("timeoutSeconds="))?.parse().ok()
}

#[tokio::test]
async fn a_watch_that_is_always_closed_at_once_makes_no_storm() -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let (since, lines) = (Instant::now(), log_lines(&it.stage));
    let closing = it.api.always(watches, Trouble::WatchEnds);
    it.api.break_watches().await?;
    lasts(Duration::from_secs(6)).await;
    no_storm(&it, since, lines)?;
    it.change("shop-db", "shop-queue").await?;
    it.api.end(closing);
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}

/// A list that is older than what is known, as a server gives that lags behind its peers.
#[rstest]
#[case::from_before_all(false)]
#[case::from_before_the_last_change(true)]
#[tokio::test]
async fn a_stale_list_takes_nothing_off(#[case] with_objects: bool) -> Result<()> {
    let own = Own::new(quick()).await?;
    let empty = own.list_assignments_and_targets().await?;
    let it = Troubled::start(&own).await?;
    let old = if with_objects { own.list_assignments_and_targets().await? } else { empty };
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    let before = it.machines().map(sent);

    // Both lists are old, and the watches that would tell more are slow to come.
    let mut slow = Vec::new();
    for (kind, list) in ["/identityassignments?", "/identitytargets?"].into_iter().zip(old) {
        it.api.once(move |asked| asked.is("watch", kind), Trouble::WatchError(410));
        it.api.once(move |asked| asked.is("list", kind), Trouble::Body(list));
        slow.push(it.api.once(move |asked| asked.is("watch", kind), Trouble::Slow(Duration::from_secs(5))));
    }
    it.api.break_watches().await?;
    let both = async || Ok(slow.iter().all(|number| it.api.met(*number) == 1));
    it.stage.until("both watches to go on from the old lists", both).await?;
    lasts(Duration::from_secs(4)).await;

    ensure!(it.machines().map(sent) == before, "{:?}", it.machines().map(sent));
    for machine in it.machines() {
        it.stage.look(machine.name()).await?;
    }
    it.until_both_have("shop-queue").await?;
    it.change("shop-queue", "shop-db").await?;
    it.until_both_have("shop-db").await?;
    it.sent_exactly(3)?;
    it.ends_well().await
}

/// Nothing in the list, and no proof that anything is gone: a 404 that names nobody is anybody's.
#[rstest]
#[case::it_is_there(None)]
#[case::a_404_of_somebody_elses(Some(Trouble::Refused(404, "NotFound")))]
#[case::an_error(Some(Trouble::Refused(500, "InternalError")))]
#[case::no_answer(Some(Trouble::LoseRequest))]
#[tokio::test]
async fn an_empty_list_proves_nothing(#[case] of_reads: Option<Trouble>) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let mut list: Value = serde_json::from_str(&own.list_assignments_and_targets().await?[0])?;
    list["items"] = json!([]);
    let kind = "/identityassignments?";
    let listed = it.api.once(move |asked| asked.is("list", kind), Trouble::Body(list.to_string()));
    it.api.once(move |asked| asked.is("watch", kind), Trouble::WatchError(410));
    let read = |asked: &Asked| asked.is("get", "/identityassignments/");
    let trouble = of_reads.map(|trouble| it.api.always(read, trouble));
    it.api.break_watches().await?;
    it.stage.until("the list to be empty", async || Ok(it.api.met(listed) == 1)).await?;
    it.stage.until("each assignment to be asked for", async || Ok(it.api.count(read) >= 2)).await?;
    for machine in it.machines() {
        let reads = it.stage.calls("GET", machine);
        it.stage.annotate_target(machine, RECONCILE_AT, "now").await?;
        let again = async || Ok(it.stage.calls("GET", machine) > reads);
        it.stage.until("the machine to be looked at", again).await?;
    }
    it.sent_exactly(1)?;
    if let Some(number) = trouble {
        it.api.end(number);
    }
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}

#[rstest]
#[case::half_of_it(Trouble::Truncate)]
#[case::something_else(Trouble::Body(r#"{"kind": "Status", "status": "Success"}"#.into()))]
#[case::expired(Trouble::Refused(410, "Expired"))]
#[case::empty(Trouble::Body(r#"{"kind":"List","apiVersion":"v1","metadata":{},"items":[]}"#.into()))]
#[tokio::test]
async fn a_list_that_is_none_is_asked_for_again(#[case] trouble: Trouble) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    let (since, lines) = (Instant::now(), log_lines(&it.stage));
    let failing = it.api.trouble(lists, 1, 4, trouble);
    it.api.trouble(watches, 1, 2, Trouble::WatchError(410));
    it.api.break_watches().await?;
    it.stage.until("the lists to fail", async || Ok(it.api.met(failing) >= 3)).await?;
    it.sent_exactly(1)?;
    no_storm(&it, since, lines)?;
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}

/// A connection that stays, and on which nothing comes any more.
#[rstest]
#[case::a_list("list")]
#[case::a_watch("watch")]
#[tokio::test]
async fn what_is_never_answered_is_asked_again(#[case] verb: &'static str) -> Result<()> {
    let own = Own::new(quick()).await?;
    let it = Troubled::start(&own).await?;
    it.api.trouble(move |asked| asked.verb == verb && asked.is_about_machines(), 1, 2, Trouble::Hang);
    it.api.trouble(watches, 1, 2, Trouble::WatchError(410));
    it.api.break_watches().await?;
    it.change("shop-db", "shop-queue").await?;
    it.until_both_have("shop-queue").await?;
    it.sent_exactly(2)?;
    it.ends_well().await
}
