//! One identity that ARM refuses delays only itself, whether ARM names it or not.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Barrier, Effect, Fault, Machine, MachineBuilder, Outcome, Settings};
use futures::future::{try_join, try_join_all};
use lanyard::api::status::UserState;
use lanyard::domain::reason::Reason;

use crate::faults::{error, keeps, probed, sane};
use crate::harness::{Declared, Own, Stage, asked, assignment, sent};

/// What the status says of each identity: its state, and why.
async fn told(stage: &Stage<'_>, name: &str) -> Result<BTreeMap<String, (UserState, String)>> {
    let status = stage.status(name).await?.unwrap_or_default();
    let entry = |user: lanyard::api::assignment::UserAssignedStatus| {
        let name = user.resource_id.rsplit('/').next().unwrap_or_default().to_owned();
        (name, (user.state, user.message.unwrap_or_default()))
    };
    Ok(status.user_assigned.into_iter().map(entry).collect())
}

/// Waits until these, and no others, are told as refused.
async fn until_refused(stage: &Stage<'_>, name: &str, refused: &[&str]) -> Result<BTreeMap<String, String>> {
    let wanted: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let all = async || {
        let refused = told(stage, name).await?.into_iter().filter(|(_, (state, _))| *state == UserState::Refused);
        let refused: BTreeMap<String, String> = refused.map(|(name, (_, message))| (name, message)).collect();
        Ok(Some(refused).filter(|it| it.keys().eq(wanted.iter())))
    };
    stage.until_some(&format!("{wanted:?} alone to be refused"), all).await
}

fn wanting(machine: &Machine, names: &[&str]) -> Declared {
    names.iter().fold(assignment(machine.name()).on(machine), Declared::present)
}

/// How ARM names three of five, and how many requests that may cost.
struct Naming {
    errors: Vec<Effect>,
    reason: Reason,
    says: &'static str,
    requests: usize,
}

const BAD: [&str; 3] = ["bad-a", "bad-b", "bad-c"];

fn namings(stage: &Stage<'_>) -> Vec<Naming> {
    let ids = BAD.map(|name| stage.identity(name).id().to_owned());
    let linked = |ids: &[String]| {
        let message = format!("no permission 'assign' on the linked scope(s) '{}' or they are invalid.", ids.join(","));
        error(403, "LinkedAuthorizationFailed", &message)
    };
    let upper =
        ids.clone().map(|id| id.to_uppercase().replace("MICROSOFT.MANAGEDIDENTITY", "microsoft.ManagedIdentity"));
    let malformed =
        |id: &String| error(400, "InvalidIdentityValues", &format!("Invalid value for the identities '{id}'."));
    let missing = |id: &String| {
        let inner =
            format!(r#"Response: '{{"error":{{"code":"BadRequest","message":"Resource '{id}' was not found."}}}}'."#);
        error(400, "FailedIdentityOperation", &inner)
    };
    let refused = |errors, requests| Naming {
        errors,
        reason: Reason::AssignRefused,
        says: "grant it Managed Identity Operator",
        requests,
    };
    vec![
        refused(vec![linked(&upper)], 2),
        refused(ids.iter().map(|id| linked(std::slice::from_ref(id))).collect(), BAD.len() + 1),
        Naming {
            errors: upper.iter().map(malformed).collect(),
            reason: Reason::RequestRejected,
            says: "correct what its message names",
            requests: BAD.len() + 1,
        },
        Naming {
            errors: ids.iter().map(missing).collect(),
            reason: Reason::IdentityNotFound,
            says: "create it, or undeclare it",
            requests: BAD.len() + 1,
        },
    ]
}

#[tokio::test]
async fn those_that_arm_names_cost_a_request_each_at_most() -> Result<()> {
    let first = Stage::shared().await?;
    probed(&first).await?;
    let rows = namings(&first).len();
    let both = (0..rows).flat_map(|row| [(row, false), (row, true)]);
    try_join_all(both.map(|(row, set)| async move {
        let stage = Stage::shared().await?;
        let naming = namings(&stage).swap_remove(row);
        let machine = if set { stage.scale_set("web") } else { stage.vm("web") };
        named(&stage, machine, &naming).await.with_context(|| format!("row {row}, scale set: {set}"))
    }))
    .await?;
    Ok(())
}

async fn named(stage: &Stage<'_>, machine: MachineBuilder, naming: &Naming) -> Result<()> {
    let machine = machine.with_identity("legacy").create();
    for (number, error) in (0u64..).zip(&naming.errors) {
        stage.arm.fault(Fault::new("PATCH", &machine.id(), error.clone()).skip(number));
    }
    stage.declare(wanting(&machine, &["bad-a", "bad-b", "bad-c", "good-a", "good-b"])).await?;
    let told = until_refused(stage, "web", &BAD).await?;
    for name in BAD {
        ensure!(told[name].contains(naming.says), "{name}: {}", told[name]);
    }
    stage.until_not_ready("web", naming.reason).await?;
    sane(stage, "web").await?;
    ensure!(machine.identities() == ["good-a", "good-b", "legacy"], "it has {:?}", machine.identities());
    ensure!(asked(&machine).len() == naming.requests, "{:?}", sent(&machine));

    stage.look("web").await?;
    stage.until_ready("web").await?;
    ensure!(machine.identities().len() == 6 && keeps(&machine, "legacy"), "{:?}", machine.history());
    Ok(())
}

/// Of two that ARM refuses without a name one is missing and one may not be looked at.
#[tokio::test]
async fn where_arm_names_nobody_a_read_of_each_tells() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    try_join(
        asked_about(&stage, stage.vm("web").with_identity("legacy").create(), "v"),
        asked_about(&stage, stage.scale_set("set").with_identity("legacy").create(), "s"),
    )
    .await?;
    Ok(())
}

async fn asked_about(stage: &Stage<'_>, machine: Machine, prefix: &str) -> Result<()> {
    let [missing, hidden] = ["missing", "hidden"].map(|name| format!("{prefix}-{name}"));
    let id = stage.identity(&hidden).id().to_owned();
    stage.arm.restrict(&id, Barrier::NoReadRole);
    for name in [&hidden, &missing] {
        stage.arm.restrict(&stage.identity_id(name), Barrier::NoAssignRoleElsewhere);
    }
    let wanted = wanting(&machine, &["good-a", "good-b"]);
    stage.declare(wanted.present(stage.identity_id(&missing)).present(&id)).await?;
    let told = until_refused(stage, machine.name(), &[&hidden, &missing]).await?;
    ensure!(told[&missing].contains("create it, or undeclare it"), "{told:?}");
    ensure!(
        told[&hidden].contains("may not look at") && told[&hidden].contains("Managed Identity Operator"),
        "{told:?}"
    );
    ensure!(machine.identities() == ["good-a", "good-b", "legacy"], "it has {:?}", machine.identities());
    ensure!(asked(&machine).len() == 2, "{:?}", sent(&machine));
    ensure!(!stage.is_stalled(machine.name()).await?, "both may be on their way");

    // Nobody says that anything changed.
    stage.arm.lift(&stage.identity_id(&missing));
    stage.identity(&missing);
    stage.arm.lift(&id);
    stage.until_ready(machine.name()).await?;
    ensure!(machine.identities().len() == 5, "it has {:?}", machine.identities());
    ensure!(asked(&machine).len() <= 4, "{:?}", sent(&machine));
    Ok(())
}

#[tokio::test]
async fn where_no_read_tells_the_others_are_attached_by_halves() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    try_join(
        halved(&stage, stage.vm("web").with_identity("legacy").create(), "v-bad"),
        halved(&stage, stage.scale_set("set").with_identity("legacy").create(), "s-bad"),
    )
    .await?;
    Ok(())
}

async fn halved(stage: &Stage<'_>, machine: Machine, bad: &str) -> Result<()> {
    let bad_id = stage.identity(bad).id().to_owned();
    stage.arm.restrict(&bad_id, Barrier::NoAssignRoleElsewhere);
    stage.declare(wanting(&machine, &["id-a", "id-b", "id-c", "id-d", "id-x", bad])).await?;
    let told = until_refused(stage, machine.name(), &[bad]).await?;
    ensure!(told[bad].contains("asked for by itself") && told[bad].contains("Managed Identity Operator"), "{told:?}");
    stage.until_not_ready(machine.name(), Reason::AssignRefused).await?;
    sane(stage, machine.name()).await?;
    ensure!(
        machine.identities() == ["id-a", "id-b", "id-c", "id-d", "id-x", "legacy"],
        "it has {:?}",
        machine.identities()
    );
    ensure!(asked(&machine).len() <= 7, "one, and half of the bucket: {:?}", sent(&machine));

    stage.arm.lift(&bad_id);
    stage.until_ready(machine.name()).await?;
    ensure!(machine.identities().len() == 7 && keeps(&machine, "legacy"), "it has {:?}", machine.identities());
    Ok(())
}

#[tokio::test]
async fn what_is_about_the_machine_is_never_halved() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let vm = stage.vm("web").create();
    let reads = |stage: &Stage<'_>| {
        let journal = stage.arm.journal_of(&stage.subscription);
        journal.iter().filter(|call| call.is("GET", "userAssignedIdentities/")).count()
    };
    let barriers = [
        (Barrier::ScopeLocked, Reason::ScopeLocked),
        (Barrier::NoWriteRole, Reason::AuthorizationFailed),
        (Barrier::RequestDisallowedByPolicy { policy: "none".into() }, Reason::PolicyDenied),
    ];
    for (number, (barrier, reason)) in barriers.into_iter().enumerate() {
        stage.arm.restrict(&vm.id(), barrier);
        if number == 0 {
            stage.declare(wanting(&vm, &["id-a", "id-b", "id-c", "id-d"])).await?;
        } else {
            stage.look("web").await?;
        }
        stage.until_not_ready("web", reason).await?;
        stage.arm.lift(&vm.id());
    }
    let whole = |patch: &arm_simulator::RecordedPatch| {
        patch.body["identity"]["userAssignedIdentities"].as_object().is_some_and(|map| map.len() == 4)
    };
    assert!(asked(&vm).iter().all(whole), "{:?}", sent(&vm));
    assert_eq!(reads(&stage), 0, "no identity is asked about");
    stage.look("web").await?;
    stage.until_ready("web").await?;
    Ok(())
}

/// Whether a null key is checked is not confirmed for ARM: here it is.
#[tokio::test]
async fn a_removal_that_arm_refuses_holds_up_no_addition_and_the_other_way_round() -> Result<()> {
    let own = Own::new(Settings { null_keys_are_checked: true, ..Settings::quick() }).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let machines =
        [stage.vm("web").with_identity("legacy").create(), stage.scale_set("set").with_identity("legacy").create()];
    try_join_all(machines.iter().map(|machine| removals(&stage, machine))).await?;
    Ok(())
}

async fn removals(stage: &Stage<'_>, machine: &Machine) -> Result<()> {
    let name = machine.name();
    let [gone, foreign, stays] = ["gone", "foreign", "stays"].map(|it| format!("{name}-{it}"));
    stage.declare(wanting(machine, &[&gone, &foreign, &stays])).await?;
    stage.until_ready(name).await?;

    // ARM names it.
    let identity = stage.identity(&gone);
    identity.delete();
    stage.edit(name, |it| it.without(&gone).present("new")).await?;
    let message = stage.until_not_ready(name, Reason::IdentityNotFound).await?;
    ensure!(message.contains("taken off") && message.contains(&gone), "{message}");
    ensure!(machine.identities().contains(&"new".into()), "it has {:?}", machine.identities());

    // ARM does not; and an addition that is refused stands beside a removal that is not.
    stage.arm.restrict(&stage.identity_id(&foreign), Barrier::NoAssignRoleElsewhere);
    let missing = stage.identity_id(&format!("{name}-missing"));
    stage.edit(name, |it| it.without(&foreign).without(&stays).present("newer").present(&missing)).await?;
    let done = async || {
        let now = machine.identities();
        Ok(now.contains(&"newer".into()) && !now.contains(&stays))
    };
    stage.until("the addition and the removal that nothing is wrong with", done).await?;
    ensure!(machine.identities().contains(&foreign) && machine.identities().contains(&gone));

    stage.arm.lift(&stage.identity_id(&foreign));
    stage.identity(&gone);
    stage.identity(&format!("{name}-missing"));
    stage.look(name).await?;
    stage.until_ready(name).await?;
    let mut expected = ["legacy".to_owned(), "new".into(), "newer".into(), format!("{name}-missing")];
    expected.sort();
    ensure!(machine.identities() == expected, "it has {:?}", machine.identities());
    ensure!(keeps(machine, "legacy"));
    Ok(())
}

/// An operation that fails because of one identity, named or not, once.
#[tokio::test]
async fn an_operation_that_fails_for_one_identity_delays_only_that_one() -> Result<()> {
    let stage = Stage::shared().await?;
    probed(&stage).await?;
    let bad = stage.identity("bad").id().to_owned();
    let fails = |message: String| {
        Effect::EndOperation(Outcome::Failed { code: "FailedIdentityOperation".into(), message, reverts: true })
    };
    let named = stage.vm("web").with_identity("legacy").create();
    stage.arm.fault(Fault::new(
        "PATCH",
        &named.id(),
        fails(format!("Resource '{}' was not found.", bad.to_uppercase())),
    ));
    stage.declare(wanting(&named, &["good", "bad"])).await?;
    until_refused(&stage, "web", &["bad"]).await?;
    assert_eq!(named.identities(), ["good", "legacy"]);
    assert_eq!(asked(&named).len(), 2, "{:?}", sent(&named));

    let unnamed = stage.scale_set("set").with_identity("legacy").create();
    stage.arm.fault(Fault::new("PATCH", &unnamed.id(), fails("Identity operation failed.".into())));
    stage.declare(wanting(&unnamed, &["id-a", "id-b", "id-c", "id-d"])).await?;
    stage.until_ready("set").await?;
    assert_eq!(unnamed.identities(), ["id-a", "id-b", "id-c", "id-d", "legacy"]);
    assert!(asked(&unnamed).len() <= 5, "{:?}", sent(&unnamed));
    Ok(())
}
