//! Some identities are refused, or some bucket is empty: only those wait.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Barrier, Effect, Exchange, Fault, Machine};
use futures::future::try_join_all;
use lanyard::api::status::UserState;
use lanyard::domain::reason::Reason;
use serde_json::json;

use crate::faults::{probed, sane, statuses_tell_no_secret};
use crate::harness::{Stage, asked, assignment, sent};

/// Message of each identity in the status, by its state.
async fn told(stage: &Stage<'_>, name: &str) -> Result<BTreeMap<String, (UserState, String)>> {
    let status = stage.status(name).await?.context("no status")?;
    let entry = |user: lanyard::api::assignment::UserAssignedStatus| {
        let name = user.resource_id.rsplit('/').next().unwrap_or_default().to_owned();
        (name, (user.state, user.message.unwrap_or_default()))
    };
    Ok(status.user_assigned.into_iter().map(entry).collect())
}

#[tokio::test]
async fn identities_that_do_not_exist_wait_alone_and_cost_one_request() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let bad = ["bad-a", "bad-b", "bad-c"];
    let wanted = assignment("web").on(&vm).present("good-a").present("good-b");
    let wanted = bad.iter().fold(wanted, |it, name| it.present(stage.identity_id(name)));
    stage.declare(wanted).await?;

    let message = stage.until_not_ready("web", Reason::IdentityNotFound).await?;
    let all_told = async || {
        let told = told(&stage, "web").await?;
        Ok(bad.iter().all(|name| told.get(*name).is_some_and(|(state, _)| *state == UserState::Refused)))
    };
    stage.until("each of them to be told as refused", all_told).await?;
    assert!(message.contains("bad-") && message.contains("create it, or undeclare it"), "{message}");
    assert!(!stage.is_stalled("web").await?, "it may have been made a moment ago");
    sane(&stage, "web").await?;
    let told = told(&stage, "web").await?;
    assert!(bad.iter().all(|name| told[*name].1.contains(name)), "each by its own message: {told:?}");
    assert_eq!(vm.identities(), ["good-a", "good-b", "legacy"]);
    let (refused, rest): (Vec<_>, Vec<_>) = asked(&vm).into_iter().partition(|patch| patch.status == Some(400));
    assert_eq!(refused.len(), 1, "ARM names the first, reads tell of the others: {:?}", sent(&vm));
    assert_eq!(rest.len(), 1, "{:?}", sent(&vm));
    stage.look_through("web", &vm).await?;
    assert_eq!(asked(&vm).len(), 2, "while they are missing no write is spent on them: {:?}", sent(&vm));
    stage.declare(assignment("neighbour").on(&vm).present("good-c")).await?;
    stage.until_ready("neighbour").await?;
    assert_eq!(vm.identities(), ["good-a", "good-b", "good-c", "legacy"]);

    for name in bad {
        stage.identity(name);
    }
    stage.look("web").await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["bad-a", "bad-b", "bad-c", "good-a", "good-b", "good-c", "legacy"]);
    Ok(())
}

#[tokio::test]
async fn an_identity_without_assign_rights_waits_alone_until_they_are_granted() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let (first, second) = (stage.identity("first"), stage.identity("second"));
    for guarded in [&first, &second] {
        stage.arm.restrict(guarded.id(), Barrier::NoAssignRole);
    }
    stage.declare(assignment("web").on(&vm).present("free").present(&first).present(&second)).await?;

    let message = stage.until_not_ready("web", Reason::AssignRefused).await?;
    let attached = async || Ok(vm.identities() == ["free", "legacy"]);
    stage.until("the identity that is free to be attached", attached).await?;
    assert!(message.contains("userAssignedIdentities/"), "it names an id: {message}");
    assert!(message.contains("grant it Managed Identity Operator"), "{message}");
    assert!(!stage.is_stalled("web").await?, "a grant takes minutes to arrive");
    sane(&stage, "web").await?;
    assert_eq!(asked(&vm).len(), 2, "both are named by one refusal: {:?}", sent(&vm));
    stage.until_event("AssignRefused", "Managed Identity Operator").await?;

    stage.arm.lift(first.id());
    stage.look("web").await?;
    stage.until("the granted one to be attached", async || Ok(vm.identities() == ["first", "free", "legacy"])).await?;
    stage.until_not_ready("web", Reason::AssignRefused).await?;
    stage.arm.lift(second.id());
    stage.look("web").await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["first", "free", "legacy", "second"]);
    statuses_tell_no_secret(&stage).await
}

#[tokio::test]
async fn a_target_that_is_not_there_yet_is_served_when_it_appears() -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").create();
    vm.delete();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_not_ready("web", Reason::TargetNotFound).await?;
    assert!(!stage.is_stalled("web").await?);
    sane(&stage, "web").await?;

    let vm = stage.vm("web").with_identity("legacy").create();
    stage.look("web").await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    Ok(())
}

/// A request that ARM throttles, and how long at least it asks to wait.
struct Throttle {
    method: &'static str,
    code: &'static str,
    retry_after: Option<&'static str>,
    pause: Duration,
    sibling: Sibling,
}

/// Another machine of the subscription.
#[derive(Clone, Copy, PartialEq)]
enum Sibling {
    WaitsToo,
    GoesOn,
    /// The pause is too short to tell.
    Either,
}

#[tokio::test]
async fn a_throttled_bucket_waits_as_long_as_arm_asks_and_no_other_does() -> Result<()> {
    let whole = |code, retry_after, pause| Throttle {
        method: "GET",
        code,
        retry_after,
        pause: Duration::from_secs(pause),
        sibling: Sibling::WaitsToo,
    };
    let narrow = |method, retry_after, pause| Throttle {
        method,
        sibling: Sibling::GoesOn,
        ..whole("ResourceRequestsThrottled", retry_after, pause)
    };
    let rows = [
        whole("SubscriptionRequestsThrottled", Some("6"), 6),
        whole("SubscriptionRequestsThrottled", None, 5),
        // Long enough for the sibling to be asked about meanwhile, however busy this computer is.
        narrow("GET", Some("25"), 25),
        narrow("PATCH", Some("25"), 25),
        Throttle { sibling: Sibling::Either, ..narrow("GET", Some("0"), 5) },
    ];
    probed(&Stage::shared().await?).await?;
    try_join_all(rows.iter().map(throttled)).await?;
    Ok(())
}

async fn throttled(row: &Throttle) -> Result<()> {
    let (stage, elsewhere) = (Stage::shared().await?, Stage::shared().await?);
    let (vm, sibling) = (stage.vm("web").create(), stage.vm("sibling").create());
    let headers = row.retry_after.map(|seconds| ("Retry-After".to_owned(), seconds.to_owned()));
    let body = json!({"error": {"code": row.code, "message": "Too many requests."}});
    let effect = Effect::Answer { status: 429, headers: headers.into_iter().collect(), body };
    stage.arm.fault(Fault::new(row.method, &vm.id(), effect));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    let message = stage.until_not_ready("web", Reason::Throttled).await?;
    ensure!(message.contains("may be asked again in"), "{message}");
    ensure!(!stage.is_stalled("web").await?);
    sane(&stage, "web").await?;

    let other = elsewhere.vm("web").create();
    elsewhere.declare(assignment("web").on(&other).present("shop-db")).await?;
    stage.declare(assignment("sibling").on(&sibling).present("shop-db")).await?;
    stage.look("web").await?;
    elsewhere.until_ready("web").await?;
    stage.until_ready("sibling").await?;
    stage.until_ready("web").await?;
    ensure!(vm.identities() == ["shop-db"]);
    waited(&stage, row, &vm, &sibling)
}

/// ARM's own journal: who was asked about in between.
fn waited(stage: &Stage<'_>, row: &Throttle, vm: &Machine, sibling: &Machine) -> Result<()> {
    let journal = stage.arm.journal_of(&stage.subscription);
    let refused = journal.iter().find(|call| call.status == Some(429)).context("nothing was throttled")?;
    let early = |call: &&Exchange| {
        let after = call.at.duration_since(refused.at);
        call.seq > refused.seq && after.unsigned_abs() < row.pause
    };
    let in_between: Vec<&Exchange> = journal.iter().filter(early).collect();
    let of = |machine: &Machine| {
        in_between
            .iter()
            .filter(|call| call.is(row.method, &machine.id()) && call.path.ends_with(machine.name()))
            .count()
    };
    ensure!(of(vm) == 0, "asked again too early: {in_between:#?}");
    let as_expected = match row.sibling {
        Sibling::WaitsToo => of(sibling) == 0,
        Sibling::GoesOn => of(sibling) > 0,
        Sibling::Either => true,
    };
    ensure!(as_expected, "the sibling: {in_between:#?}");
    Ok(())
}
