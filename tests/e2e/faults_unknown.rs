//! A PATCH whose outcome is unknown, and answers that lead astray: one change takes effect, nothing foreign is touched,
//! and no token goes to a stranger.

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, ForeignAct, Listener, Machine, Outcome};
use futures::future::try_join_all;
use lanyard::domain::reason::Reason;
use serde_json::json;

use crate::faults::{answer, error, keeps, probed, sane, tells_no_secret};
use crate::harness::{Stage, asked, assignment};
use crate::races::reads_before_it_writes;

#[tokio::test]
async fn a_change_takes_effect_once_whatever_becomes_of_its_answer() -> Result<()> {
    let late = |after, hang_millis| Effect::ArriveLate { after_millis: Some(after), hang_millis };
    let failed = Outcome::Failed { code: "Unlucky".into(), message: "no luck today".into(), reverts: false };
    let effects = vec![
        Effect::LoseRequest {},
        Effect::LoseReply {},
        late(300, 0),
        late(300, 600),
        Effect::TruncateBody {},
        Effect::GarbageBody {},
        error(500, "InternalServerError", "An error has occurred."),
        error(412, "PreconditionFailed", "The etag does not match."),
        error(401, "ExpiredAuthenticationToken", "The access token has expired."),
        answer(200, json!({"half": "a machine"})),
        Effect::Slow { millis: 1500, after: true },
        Effect::LoseOperation {},
        Effect::EndOperation(failed),
        Effect::EndOperation(Outcome::Canceled { reverts: false }),
        Effect::EndOperation(Outcome::preempted()),
    ];
    probed(&Stage::shared().await?).await?;
    let both = effects.into_iter().flat_map(|effect| [(effect.clone(), false), (effect, true)]);
    try_join_all(both.map(|(effect, set)| once(effect, set))).await?;
    tells_no_secret(&Stage::shared().await?)
}

/// The effect meets the change, once, while somebody else attaches an identity right behind it.
async fn once(effect: Effect, scale_set: bool) -> Result<()> {
    let stage = Stage::shared().await?;
    let machine = if scale_set { stage.scale_set("web") } else { stage.vm("web") };
    let vm = machine.with_identity("legacy").create();
    let theirs = ForeignAct::AddIdentity(stage.identity("theirs").id().to_owned());
    let behind = Effect::Foreign { resource: None, act: theirs, after: true };
    // An effect in place of the answer leaves nothing behind which somebody could come.
    let in_place = matches!(
        effect,
        Effect::Answer { .. } | Effect::LoseRequest {} | Effect::ArriveLate { .. } | Effect::EndOperation(_)
    );
    if !in_place {
        stage.arm.fault(Fault::new("PATCH", &vm.id(), behind));
    }
    stage.arm.fault(Fault::new("PATCH", &vm.id(), effect.clone()));
    let foreign: &[&str] = if in_place { &["legacy"] } else { &["legacy", "theirs"] };
    let what = || format!("{} on a {}", effect.name(), if scale_set { "scale set" } else { "VM" });
    settles(&stage, &vm, foreign).await.with_context(what)
}

async fn settles(stage: &Stage<'_>, vm: &Machine, foreign: &[&str]) -> Result<()> {
    stage.declare(assignment("web").on(vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    once_ours(stage, vm, foreign).await?;

    let changes = asked(vm).len();
    stage.look_through("web", vm).await?;
    ensure!(asked(vm).len() == changes, "it goes on writing: {:?}", asked(vm));
    stage.delete("web").await?;
    stage.until_gone("web").await?;
    ensure!(vm.identities() == foreign, "left behind or taken along: {:?}", vm.identities());
    reads_before_it_writes(stage, vm)
}

/// What was declared was attached by one write, is ours, and what was there is there.
async fn once_ours(stage: &Stage<'_>, vm: &Machine, foreign: &[&str]) -> Result<()> {
    let history = vm.history();
    let additions = history.iter().flat_map(|change| &change.added).filter(|id| id.ends_with("/shop-db")).count();
    ensure!(additions == 1, "attached {additions} times: {history:?}");
    ensure!(foreign.iter().all(|name| keeps(vm, name)), "{history:?}");
    let mut all = [foreign, &["shop-db"]].concat();
    all.sort_unstable();
    ensure!(vm.identities() == all, "it has {:?}", vm.identities());
    ensure!(stage.attached(vm).await? == ["shop-db"], "the record says {:?}", stage.attached(vm).await?);
    sane(stage, "web").await
}

#[tokio::test]
async fn a_patch_that_arrives_seconds_later_changes_nothing() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::ArriveLate { after_millis: Some(12_000), hang_millis: 0 }));
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.edit("web", |it| it.without("shop-db").present("shop-queue")).await?;
    stage.until_ready("web").await?;

    let arrived = async || {
        let journal = stage.arm.journal_of(&stage.subscription);
        Ok(journal.into_iter().find(|call| call.faults.iter().any(|fault| fault == "arrived_late")))
    };
    let late = stage.until_some("the first PATCH to arrive", arrived).await?;
    assert_eq!(late.status, Some(412));
    assert_eq!(vm.identities(), ["legacy", "shop-queue"]);
    assert_eq!(stage.attached(&vm).await?, ["shop-queue"]);
    Ok(())
}

#[tokio::test]
async fn a_lost_race_is_run_again_without_a_word_of_trouble() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    let act = ForeignAct::BumpEtag;
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Foreign { resource: None, act, after: false }).times(3));

    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.until_ready("web").await?;

    let statuses: Vec<_> = asked(&vm).iter().map(|patch| patch.status).collect();
    assert_eq!(statuses, [Some(412), Some(412), Some(412), Some(200)]);
    assert_eq!(vm.identities(), ["legacy", "shop-db"]);
    let events = stage.events().await?;
    assert!(events.iter().all(|event| !event.contains("changed since it was read")), "{events:?}");
    Ok(())
}

#[tokio::test]
async fn slow_answers_delay_nobody_else() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let (slow, well) = (stage.vm("slow").create(), stage.vm("well").create());
    stage.arm.fault(Fault::new("GET", &slow.id(), Effect::Slow { millis: 15_000, after: false }));
    stage.declare(assignment("slow").on(&slow).present("shop-db")).await?;
    stage.declare(assignment("well").on(&well).present("shop-db")).await?;
    stage.until_ready("well").await?;

    assert_eq!(stage.calls("GET", &slow), 0, "the slow one is not answered yet");
    stage.until_ready("slow").await?;
    assert_eq!(slow.identities(), ["shop-db"]);
    Ok(())
}

/// Where an answer points, and on which request it comes.
struct Astray {
    method: &'static str,
    effect: Effect,
    /// Whether the change took place all the same.
    changed: bool,
}

#[tokio::test]
async fn no_answer_leads_a_token_to_a_stranger() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let ends = stage.arm.endpoints();
    let to = |origin: &str, method, status| {
        let location = format!("{origin}/subscriptions/x");
        Astray { method, effect: Effect::Redirect { status, location }, changed: false }
    };
    let link = |origin: &str| {
        let effect = Effect::LinkTo { origin: origin.into() };
        Astray { method: "PATCH", effect, changed: true }
    };
    let rows = [
        to(&ends.stranger, "GET", 301),
        to(&ends.stranger_https, "GET", 307),
        to(&ends.stranger_https, "PATCH", 308),
        link(&ends.stranger),
        link(&ends.stranger_https),
        // Another port of ARM's own host is another place.
        link(&ends.arm_http),
    ];
    try_join_all(rows.iter().map(led_astray)).await?;

    let journal = stage.arm.journal();
    let strange = journal.iter().filter(|call| matches!(call.listener, Listener::Stranger | Listener::ArmHttp));
    assert_eq!(strange.count(), 0, "somebody else was asked");
    tells_no_secret(&stage)
}

async fn led_astray(row: &Astray) -> Result<()> {
    let stage = Stage::shared().await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.arm.fault(Fault::new(row.method, &vm.id(), row.effect.clone()).always());
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;

    let message = stage.until_not_ready("web", Reason::ForeignHost).await?;
    ensure!(message.contains("127.0.0.1") && message.contains("not the configured endpoint"), "{message}");
    ensure!(stage.is_stalled("web").await?);
    sane(&stage, "web").await?;
    ensure!((vm.identities() == ["legacy", "shop-db"]) == row.changed, "it has {:?}", vm.identities());

    stage.arm.clear_faults_of(&vm.id());
    stage.look("web").await?;
    stage.until_ready("web").await?;
    once_ours(&stage, &vm, &["legacy"]).await
}
