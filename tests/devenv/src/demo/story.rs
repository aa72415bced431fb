//! The story: what is done, what is seen, and what must be so.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{Effect, Fault, ForeignAct, Machine};

use super::machines::{self, Look};
use super::stage::Stage;
use super::truth::{self, Beginning};
use crate::paths;
use crate::sample::SUBSCRIPTION;

/// On a command that waits: longer than kubectl's own half minute, for a machine that is busy.
const WAIT: &str = "--timeout 2m";

/// Events come a moment after what they tell of.
const PATIENCE: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(100);

/// All of it, in order. An error says what was not as it should be.
pub(super) async fn tell(stage: &mut Stage<'_>) -> Result<()> {
    let beginning = Beginning::of(stage)?;
    somebody_elses(stage)?;
    declare(stage).await?;
    scale_set(stage).await?;
    second_team(stage).await?;
    second_team_leaves(stage).await?;
    race(stage).await?;
    delete(stage).await?;
    stage.screen.step("What Azure was asked for, all in all");
    truth::check(stage, &beginning)
}

fn somebody_elses(stage: &Stage<'_>) -> Result<()> {
    let look = Look::at(&stage.vm("web")?);
    stage.screen.step("A VM that carries somebody else's identity");
    stage.screen.say("This is what the VM web has in Azure. Nobody told Lanyard about legacy.");
    stage.screen.shown(&look.shown());
    ensure!(look.users == ["legacy"] && look.system.is_none(), "web does not begin with legacy alone: {look:?}");
    Ok(())
}

async fn declare(stage: &mut Stage<'_>) -> Result<()> {
    let web = stage.vm("web")?;
    let before = Look::at(&web);
    stage.screen.step("Declare what it must have");
    show_file(stage, "deploy/samples/vm.yaml")?;
    // Until it has been seen under way.
    stage.arm().fault(Fault::new("PATCH", &web.id(), Effect::HoldOperation {}).skip(1));
    stage.kubectl("apply -f deploy/samples/namespace.yaml -f deploy/samples/vm.yaml").await?;
    stage.screen.say("\nAzure takes its time (a VM about 5 s). What takes more than 3 s is told meanwhile");
    stage.screen.say("(ida is short for identityassignments):");
    stage.kubectl(&format!("wait ida/web -n shop --for condition=Reconciling {WAIT}")).await?;
    let seen = stage.kubectl("get identityassignments -n shop").await?;
    row(&seen, "web", &["False", "Applying"])?;
    stage.arm().finish_operations();
    ready(stage, "web").await?;
    let seen = stage.kubectl("get identityassignments -n shop").await?;
    row(&seen, "web", &["web", "VirtualMachine", "On", "1/1", "True", "AsDeclared"])?;
    stage.screen.say("\nFirst, once for each kind, a PATCH of nothing with an ETag that cannot match, to see that");
    stage.screen.say("this endpoint honours If-Match. Then the change. It names only what it adds:");
    patches(stage, &before, &["probe: 412", "SystemAssigned, UserAssigned + shop-db: 200"])?;
    outcome(stage, &before, &["legacy", "shop-db"], true)
}

async fn scale_set(stage: &mut Stage<'_>) -> Result<()> {
    let workers = stage.scale_set("workers")?;
    let before = Look::at(&workers);
    stage.screen.step("A scale set");
    stage.screen.say("Its system-assigned identity is on. The manifest does not speak of it, so it stays.");
    show_file(stage, "deploy/samples/scale-set.yaml")?;
    stage.kubectl("apply -f deploy/samples/scale-set.yaml").await?;
    ready(stage, "workers").await?;
    patches(stage, &before, &["probe: 412", "SystemAssigned, UserAssigned + shop-db + shop-queue: 200"])?;
    outcome(stage, &before, &["shop-db", "shop-queue"], true)?;
    stage.screen.say("\nThe platform team sees its machines: what is on each, and how much of it is unmanaged.");
    let seen = stage.kubectl("get identitytargets").await?;
    for machine in [stage.vm("web")?, workers] {
        fleet_row(&seen, &machine)?;
    }
    Ok(())
}

async fn second_team(stage: &mut Stage<'_>) -> Result<()> {
    let before = Look::at(&stage.vm("web")?);
    stage.screen.step("A second assignment for the same VM");
    stage.screen.say("It wants shop-db, which is there already, and shop-queue. What several declare is a union.");
    stage.apply(&second_manifest()).await?;
    ready(stage, "jobs").await?;
    let seen = stage.kubectl("get identityassignments -n shop").await?;
    row(&seen, "jobs", &["web", "VirtualMachine", "On", "2/2", "True", "AsDeclared"])?;
    patches(stage, &before, &["SystemAssigned, UserAssigned + shop-queue: 200"])?;
    outcome(stage, &before, &["legacy", "shop-db", "shop-queue"], true)
}

async fn second_team_leaves(stage: &mut Stage<'_>) -> Result<()> {
    let before = Look::at(&stage.vm("web")?);
    stage.screen.step("It is deleted again");
    stage
        .screen
        .say("shop-queue goes: Lanyard attached it, and nobody declares it any more. shop-db is still declared.");
    stage.kubectl(&format!("delete ida jobs -n shop {WAIT}")).await?;
    patches(stage, &before, &["SystemAssigned, UserAssigned - shop-queue: 200"])?;
    outcome(stage, &before, &["legacy", "shop-db"], true)
}

async fn race(stage: &mut Stage<'_>) -> Result<()> {
    let workers = stage.scale_set("workers")?;
    let before = Look::at(&workers);
    let backup = stage.arm().identity(SUBSCRIPTION, "ops", "backup").create();
    stage.screen.step("A stranger writes between our read and our write");
    stage.screen.say("When the scale set's assignment is deleted, both its user identities go. For that ARM wants a");
    stage.screen.say("type without UserAssigned, which drops every user identity that is there at that moment. And at");
    stage.screen.say("that moment, after Lanyard has read and before it writes, somebody attaches backup.");
    let act = ForeignAct::AddIdentity(backup.id().to_owned());
    stage.arm().fault(Fault::new("PATCH", &workers.id(), Effect::Foreign { resource: None, act, after: false }));
    stage.kubectl(&format!("delete ida workers -n shop {WAIT}")).await?;
    stage.screen.say("\nThe ETag has moved, so ARM refuses. Lanyard reads and plans anew, and now names what goes:");
    let expected = ["SystemAssigned: 412", "SystemAssigned, UserAssigned - shop-db - shop-queue: 200"];
    patches(stage, &before, &expected)?;
    outcome(stage, &before, &["backup"], true)
}

async fn delete(stage: &mut Stage<'_>) -> Result<()> {
    let before = Look::at(&stage.vm("web")?);
    stage.screen.step("The last assignment is deleted");
    stage.screen.say("legacy was there before us and stays. The system-assigned identity stays on: switching it off");
    stage.screen.say("destroys its principal for good, and that happens only to those who declare Disabled.");
    stage.kubectl(&format!("delete ida web -n shop {WAIT}")).await?;
    patches(stage, &before, &["SystemAssigned, UserAssigned - shop-db: 200"])?;
    outcome(stage, &before, &["legacy"], true)?;
    nothing_is_left(stage).await?;
    events(stage).await
}

/// The machines' records go with their last assignment, a moment after it.
async fn nothing_is_left(stage: &mut Stage<'_>) -> Result<()> {
    stage.answer("wait identitytargets --all --for delete --timeout 2m", "").await?;
    let seen = stage.kubectl("get identityassignments,identitytargets -A").await?;
    ensure!(seen.trim() == "No resources found", "something is left in Kubernetes:\n{seen}");
    Ok(())
}

/// What became of identities whose assignments are gone is told on the machines.
async fn events(stage: &mut Stage<'_>) -> Result<()> {
    const EVENTS: &str = "get events --field-selector involvedObject.kind=IdentityTarget --sort-by lastTimestamp";
    let expected = [
        "web: removed shop-queue",
        "workers: removed shop-db, shop-queue",
        "web: removed shop-db",
        "declare systemAssigned: Disabled",
    ];
    let begun = Instant::now();
    let mut seen = String::new();
    while !expected.iter().all(|words| seen.contains(words)) {
        ensure!(begun.elapsed() < PATIENCE, "no Event says one of {expected:?}:\n{seen}");
        tokio::time::sleep(PACE).await;
        seen = stage.answer(EVENTS, "").await?;
    }
    stage.screen.say("\nWhat was done for assignments that are gone is told on the machines:");
    stage.kubectl(EVENTS).await?;
    Ok(())
}

fn second_manifest() -> String {
    let group = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers");
    let identity = |name| format!("  - resourceId: {group}/Microsoft.ManagedIdentity/userAssignedIdentities/{name}\n");
    format!(
        "apiVersion: lanyard.dev/v1alpha1\n\
         kind: IdentityAssignment\n\
         metadata: {{name: jobs, namespace: shop}}\n\
         spec:\n\
         \x20 target:\n\
         \x20   resourceId: {group}/Microsoft.Compute/virtualMachines/web\n\
         \x20 userAssigned:\n{}{}",
        identity("shop-db"),
        identity("shop-queue")
    )
}

fn show_file(stage: &Stage<'_>, path: &str) -> Result<()> {
    let text = fs::read_to_string(paths::repository().join(path)).with_context(|| format!("cannot read {path}"))?;
    stage.screen.command(&format!("cat {path}"));
    stage.screen.shown(&text);
    Ok(())
}

async fn ready(stage: &mut Stage<'_>, name: &str) -> Result<()> {
    stage.kubectl(&format!("wait ida/{name} -n shop --for condition=Ready {WAIT}")).await?;
    Ok(())
}

/// Shows each `PATCH` that came since, and holds them to what was to come.
fn patches(stage: &Stage<'_>, before: &Look, expected: &[&str]) -> Result<()> {
    let came = before.patches_since();
    stage.screen.say("");
    for patch in &came {
        stage.screen.shown(&machines::shown(before.machine(), patch));
    }
    let came_in_short: Vec<String> = came.iter().map(machines::in_short).collect();
    let name = before.machine().name();
    ensure!(came_in_short == expected, "the PATCHes to {name} were {came_in_short:?}, not {expected:?}");
    let first = came.iter().find(|patch| !machines::is_probe(patch));
    let etag = first.and_then(|patch| patch.if_match.as_deref());
    ensure!(etag == Some(before.etag()), "If-Match was {etag:?}, but the machine was read at {}", before.etag());
    Ok(())
}

/// Shows the machine before and after, and holds it to what must be there.
fn outcome(stage: &Stage<'_>, before: &Look, users: &[&str], system: bool) -> Result<()> {
    let after = Look::at(before.machine());
    stage.screen.say("");
    stage.screen.shown(&after.beside(before));
    let name = before.machine().name();
    ensure!(after.users == users, "{name} carries {:?}, not {users:?}", after.users);
    ensure!(after.system.is_some() == system, "the system-assigned identity of {name} is not as it should be");
    let same = before.system.is_none() || before.system == after.system;
    ensure!(same, "the system-assigned identity of {name} has another principal than before");
    stage.screen.holds(&format!("in Azure, {name} carries {}", users.join(", ")));
    Ok(())
}

/// An object's row in what kubectl printed, held to `expected`: the columns after the name.
fn row(seen: &str, name: &str, expected: &[&str]) -> Result<()> {
    let mut rows = seen.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.rfind(|row| row.first() == Some(&name));
    let row = row.with_context(|| format!("kubectl shows no {name}:\n{seen}"))?;
    let shown = row.windows(expected.len()).any(|columns| columns == expected);
    ensure!(shown, "kubectl shows {row:?}, but {name} is {expected:?}");
    Ok(())
}

fn fleet_row(seen: &str, machine: &Machine) -> Result<()> {
    let look = Look::at(machine);
    let (all, unmanaged) = (look.users.len(), look.unmanaged());
    let (user, unmanaged) = (format!("{}/{all}", all - unmanaged), unmanaged.to_string());
    let system = if look.system.is_some() { "On" } else { "Off" };
    let is = |line: &&str| line.split_whitespace().nth(1) == Some(machine.name());
    let line = seen.lines().find(is).with_context(|| format!("kubectl shows no target {}", machine.name()))?;
    let name = line.split_whitespace().next().unwrap_or_default();
    row(line, name, &[system, &user, &unmanaged, "True", "AsDeclared"])
}
