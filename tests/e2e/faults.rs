//! What goes wrong on the way to one machine: it is told with its own reason and what to do, it stops nobody else, and
//! once it is over the machine gets its identities.

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Barrier, Effect, Fault, Machine, Outcome, SECRET};
use futures::future::try_join_all;
use lanyard::domain::reason::{Reason, Stall};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::golden::kstatus;
use crate::harness::{Stage, assignment};

/// What is wrong with one machine.
pub enum Wrong {
    /// With every request of this method.
    With(&'static str, Effect),
    Barrier(Barrier),
}

use Wrong::With;

impl Wrong {
    pub fn befall(&self, stage: &Stage<'_>, machine: &Machine) {
        match self {
            With(method, effect) => {
                stage.arm.fault(Fault::new(method, &machine.id(), effect.clone()).always());
            }
            Self::Barrier(barrier) => stage.arm.restrict(&machine.id(), barrier.clone()),
        }
    }

    /// After the change was accepted, and with it visible for a moment.
    fn strikes_late(&self) -> bool {
        matches!(self, With(_, Effect::EndOperation(_)))
    }

    pub fn end(&self, stage: &Stage<'_>, machine: &Machine) {
        match self {
            With(..) => stage.arm.clear_faults_of(&machine.id()),
            Self::Barrier(_) => stage.arm.lift(&machine.id()),
        }
    }
}

/// A fault, and what people are told while it lasts.
struct Case {
    wrong: Wrong,
    reason: Reason,
    /// What the message says: the thing concerned, and what to do.
    words: &'static [&'static str],
}

const fn case(wrong: Wrong, reason: Reason, words: &'static [&'static str]) -> Case {
    Case { wrong, reason, words }
}

/// An error as ARM writes it.
pub fn error(status: u16, code: &str, message: &str) -> Effect {
    answer(status, json!({"error": {"code": code, "message": message}}))
}

pub fn answer(status: u16, body: Value) -> Effect {
    Effect::Answer { status, headers: vec![("Content-Type".into(), "application/json".into())], body }
}

#[tokio::test]
async fn what_a_person_must_end_is_told_with_what_to_do() -> Result<()> {
    let policy = Barrier::RequestDisallowedByPolicy { policy: "no-identities".into() };
    let deny = Barrier::DenyAssignment { name: "hands-off".into() };
    let barrier = |barrier, reason, words| case(Wrong::Barrier(barrier), reason, words);
    play_all(vec![
        barrier(Barrier::ScopeLocked, Reason::ScopeLocked, &["lock", "virtualMachines/sick", "remove it"]),
        barrier(policy, Reason::PolicyDenied, &["no-identities", "exemption"]),
        barrier(deny, Reason::DenyAssignment, &["hands-off", "exclude"]),
        barrier(Barrier::ReadOnlyDisabledSubscription, Reason::SubscriptionReadOnly, &["subscription", "re-enable"]),
        barrier(
            Barrier::MissingSubscriptionRegistration,
            Reason::ProviderNotRegistered,
            &["Microsoft.Compute", "register it"],
        ),
        barrier(
            Barrier::NoWriteRole,
            Reason::AuthorizationFailed,
            &["virtualMachines/write", "grant it Virtual Machine Contributor"],
        ),
        barrier(
            Barrier::NoReadRole,
            Reason::AuthorizationFailed,
            &["virtualMachines/read", "grant it Virtual Machine Contributor"],
        ),
        case(
            With("PATCH", error(403, "LinkedAuthorizationFailed", "no permission on a linked scope of another tenant")),
            Reason::AssignRefused,
            &["an identity that ARM does not name", "grant it Managed Identity Operator"],
        ),
        case(
            With("PATCH", error(400, "InvalidIdentityValues", "Invalid value for the identities.")),
            Reason::RequestRejected,
            &["Invalid value for the identities", "correct what its message names"],
        ),
        case(
            With("GET", error(404, "SubscriptionNotFound", "The subscription could not be found.")),
            Reason::SubscriptionNotFound,
            &["check cloud, tenant and subscription"],
        ),
        case(
            With("GET", answer(404, json!("<html><h1>404</h1> no such page</html>"))),
            Reason::SubscriptionNotFound,
            &["without saying what is missing", "check cloud, tenant and subscription"],
        ),
        case(
            With("GET", error(404, "InvalidResourceType", "The resource type could not be found.")),
            Reason::SubscriptionNotFound,
            &["check cloud, tenant and subscription"],
        ),
    ])
    .await
}

#[tokio::test]
async fn what_time_mends_is_tried_again_until_it_is_mended() -> Result<()> {
    let server_failed = |method, status| {
        let words: &[_] = &["ARM failed to serve", "tried again"];
        case(With(method, error(status, "InternalServerError", "An error has occurred.")), Reason::ArmFailed, words)
    };
    let talkative = format!("your token eyJ{} failed", "x".repeat(80));
    let nested = "Identity operation failed. Status: 'InternalServerError'. Response: ''.";
    let fails = |outcome| With("PATCH", Effect::EndOperation(outcome));
    let failed = Outcome::Failed { code: "Unlucky".into(), message: "no luck today".into(), reverts: true };
    play_all(vec![
        server_failed("GET", 500),
        server_failed("GET", 503),
        server_failed("PATCH", 502),
        server_failed("PATCH", 504),
        server_failed("GET", 408),
        case(With("GET", error(500, "Loose", &talkative)), Reason::ArmFailed, &["your token <removed> failed"]),
        case(With("PATCH", error(400, "FailedIdentityOperation", nested)), Reason::TargetBusy, &["tried again soon"]),
        case(With("GET", answer(502, json!("<html>Bad Gateway"))), Reason::ArmFailed, &["Bad Gateway"]),
        case(With("GET", error(418, "RetryableError", "Try again.")), Reason::ArmFailed, &["tried again"]),
        case(With("GET", Effect::LoseRequest {}), Reason::ArmUnreachable, &["ARM did not answer"]),
        case(With("PATCH", Effect::LoseRequest {}), Reason::ArmUnreachable, &["ARM did not answer"]),
        case(With("GET", Effect::TruncateBody {}), Reason::AnswerUnreadable, &["cannot be read", "broke off"]),
        case(With("GET", Effect::GarbageBody {}), Reason::AnswerUnreadable, &["cannot be read"]),
        case(With("GET", answer(200, json!({}))), Reason::AnswerUnreadable, &["cannot be read"]),
        case(With("GET", answer(200, json!([null, 1e308]))), Reason::AnswerUnreadable, &["cannot be read"]),
        case(With("GET", answer(200, Value::Null)), Reason::AnswerUnreadable, &["cannot be read"]),
        case(With("PATCH", error(409, "Conflict", "A concurrent request.")), Reason::TargetBusy, &["tried again soon"]),
        case(
            With("PATCH", error(409, "AnotherOperationInProgress", "Another operation is in progress.")),
            Reason::TargetBusy,
            &["busy with another change"],
        ),
        case(
            With("PATCH", error(409, "SomethingNew", "A code of tomorrow.")),
            Reason::TargetBusy,
            &["A code of tomorrow"],
        ),
        case(fails(failed), Reason::OperationFailed, &["ended as Failed", "no luck today"]),
        case(fails(Outcome::Canceled { reverts: true }), Reason::OperationFailed, &["ended as Canceled"]),
    ])
    .await
}

#[tokio::test]
async fn what_is_not_there_or_goes_is_waited_for() -> Result<()> {
    let identity = "The Resource 'Microsoft.ManagedIdentity/userAssignedIdentities/shop-db' was not found.";
    let marked = "The VM is marked for deletion. You can only retry the Delete operation.";
    play_all(vec![
        case(With("GET", Effect::Hide {}), Reason::TargetNotFound, &["no such resource", "waited for"]),
        case(
            With("GET", error(404, "ResourceGroupNotFound", "Resource group 'shop' could not be found.")),
            Reason::TargetNotFound,
            &["no such resource group", "waited for"],
        ),
        case(
            With("PATCH", error(404, "ResourceNotFound", identity)),
            Reason::IdentityNotFound,
            &["cannot be assigned", "create it, or undeclare it"],
        ),
        case(
            With("PATCH", error(409, "OperationNotAllowed", marked)),
            Reason::TargetBeingDeleted,
            &["is being deleted"],
        ),
        case(
            Wrong::Barrier(Barrier::ResourceGroupBeingDeleted),
            Reason::TargetBeingDeleted,
            &["is being deleted", "deprovisioning"],
        ),
    ])
    .await
}

async fn play_all(cases: Vec<Case>) -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    try_join_all(cases.iter().map(play)).await?;
    tells_no_secret(&stage)
}

async fn play(case: &Case) -> Result<()> {
    let stage = Stage::shared().await?;
    let what = || format!("{} {:?}", case.reason.as_str(), case.words);
    told_and_mended(&stage, case).await.with_context(what)
}

async fn told_and_mended(stage: &Stage<'_>, case: &Case) -> Result<()> {
    let sick = stage.vm("sick").with_identity("legacy").create();
    let well = stage.vm("well").create();
    case.wrong.befall(stage, &sick);
    stage.declare(assignment("sick").on(&sick).present("shop-db")).await?;
    told(stage, case).await?;

    stage.declare(assignment("well").on(&well).present("shop-db")).await?;
    stage.until_ready("well").await?;
    let untouched = async || Ok(sick.identities() == ["legacy"]);
    if case.wrong.strikes_late() {
        // Each try shows for as long as its operation runs, and is taken back.
        stage.until("a try to be taken back", untouched).await?;
    } else {
        ensure!(untouched().await?, "it has {:?}", sick.identities());
    }

    case.wrong.end(stage, &sick);
    if !mends_soon(case.reason) {
        stage.look("sick").await?;
    }
    stage.until_ready("sick").await?;
    ensure!(sick.identities() == ["legacy", "shop-db"], "it has {:?}", sick.identities());
    ensure!(stage.attached(&sick).await? == ["shop-db"]);
    ensure!(keeps(&sick, "legacy"), "{:?}", sick.history());
    sane(stage, "sick").await?;
    statuses_tell_no_secret(stage).await
}

async fn told(stage: &Stage<'_>, case: &Case) -> Result<()> {
    let message = stage.until_not_ready("sick", case.reason).await?;
    for word in case.words {
        ensure!(message.contains(word), "it does not say '{word}': {message}");
    }
    let stalled = stage.is_stalled("sick").await?;
    ensure!(stalled == (case.reason.stall() == Stall::AtOnce), "stalled is {stalled}: {message}");
    sane(stage, "sick").await?;
    let everyday = [Reason::TargetBusy, Reason::Throttled];
    if !everyday.contains(&case.reason) {
        stage.until_event(case.reason.as_str(), case.words[0]).await?;
    }
    Ok(())
}

/// Whether the next try comes within seconds, asked for or not.
fn mends_soon(reason: Reason) -> bool {
    let waits = [Reason::TargetNotFound, Reason::TargetBeingDeleted];
    reason.stall() == Stall::Never && !waits.contains(&reason)
}

/// Nobody ever took this identity off the machine.
pub fn keeps(machine: &Machine, name: &str) -> bool {
    let end = format!("/{}", name.to_lowercase());
    machine.history().iter().all(|change| !change.removed.iter().any(|id| id.ends_with(&end)))
}

/// The conditions are what kstatus can make sense of.
pub async fn sane(stage: &Stage<'_>, name: &str) -> Result<()> {
    let object = stage.assignment(name).await?.context("it is gone")?;
    let status = object.status.clone().context("no status")?;
    let is = |kind: &str| status.conditions.iter().any(|it| it.type_ == kind && it.status == "True");
    let all = &status.conditions;
    ensure!(all.iter().filter(|it| it.type_ == "Ready").count() == 1, "{all:?}");
    ensure!(!(is("Ready") && is("Stalled")), "ready and stalled: {all:?}");
    ensure!(!(is("Reconciling") && is("Stalled")), "reconciling and stalled: {all:?}");
    ensure!(is("Ready") || is("Reconciling") || is("Stalled"), "neither ready, nor under way, nor stalled: {all:?}");
    ensure!(all.iter().all(|it| !it.message.is_empty() && it.observed_generation == status.observed_generation));
    let expected = match () {
        () if object.metadata.deletion_timestamp.is_some() => "Terminating",
        () if object.metadata.generation != status.observed_generation || is("Reconciling") => "InProgress",
        () if is("Stalled") => "Failed",
        () => "Current",
    };
    let said = kstatus(&[serde_json::to_value(&object)?])?;
    ensure!(said == [expected], "kstatus says {said:?}, and not {expected}: {object:?}");
    Ok(())
}

/// The shared controller asks the endpoint for its manners before its first write of a kind; a fault on a PATCH is to meet
/// a change, not that question.
pub async fn probed(stage: &Stage<'_>) -> Result<()> {
    static PROBED: OnceCell<()> = OnceCell::const_new();
    let first_writes = async || {
        for machine in [stage.vm("first").create(), stage.scale_set("second").create()] {
            stage.declare(assignment(machine.name()).on(&machine).present("first")).await?;
            stage.until_ready(machine.name()).await?;
        }
        Ok(())
    };
    PROBED.get_or_try_init(first_writes).await.copied()
}

/// The log holds no secret, no token and no signature.
pub fn tells_no_secret(stage: &Stage<'_>) -> Result<()> {
    has_no_secret(&std::fs::read_to_string(&stage.log)?)
}

/// What people can read in the cluster holds none either.
pub async fn statuses_tell_no_secret(stage: &Stage<'_>) -> Result<()> {
    for object in stage.assignments().list(&kube::api::ListParams::default()).await? {
        has_no_secret(&serde_json::to_string(&object.status)?)?;
    }
    has_no_secret(&stage.events().await?.join("\n"))
}

fn has_no_secret(text: &str) -> Result<()> {
    for secret in [SECRET, "Bearer ", "eyJ", "&s=", "wrong~secret"] {
        let line = text.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "'{secret}' is told: {}", line.unwrap_or_default());
    }
    Ok(())
}

#[rstest]
#[case("key: simulated~client~secret")]
#[case("Authorization: Bearer abc")]
#[case(r#"{"access_token":"eyJ0eXAi"}"#)]
fn a_secret_would_be_found(#[case] text: &str) {
    assert!(has_no_secret(text).is_err());
}
