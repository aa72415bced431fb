//! The end of it all, as `docs/uninstall.md` has it: with everything left in place, or with everything cleaned up.

use anyhow::{Result, ensure};
use arm_simulator::{Machine, Settings};
use lanyard::domain::reason::Reason;

use crate::harness::{Own, Stage, assignment, sent};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};

const ASSIGNMENTS: &str = "crd/identityassignments.lanyard.dev";
const TARGETS: &str = "crd/identitytargets.lanyard.dev";

async fn kubectl(own: &Own, command: &str) -> Result<()> {
    let done = own.control_plane()?.kubectl(command.split_whitespace()).await?;
    ensure!(done.status.success(), "kubectl {command}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

async fn fleet(stage: &Stage<'_>) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for name in ["one", "two", "three"] {
        let vm = stage.vm(name).with_identity("legacy").create();
        stage.declare(assignment(name).on(&vm).present("shop-db")).await?;
        machines.push(vm);
    }
    for vm in &machines {
        stage.until_ready(vm.name()).await?;
    }
    Ok(machines)
}

#[tokio::test]
async fn everything_is_left_in_place_when_it_is_released_first() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let machines = fleet(&stage).await?;

    kubectl(&own, "annotate identityassignments --all --all-namespaces lanyard.dev/release=true").await?;
    kubectl(&own, "delete identityassignments --all --all-namespaces --timeout=80s").await?;
    kubectl(&own, &format!("delete {ASSIGNMENTS} {TARGETS} --timeout=80s")).await?;
    for vm in &machines {
        assert_eq!(vm.identities(), ["legacy", "shop-db"]);
        assert_eq!(sent(vm).len(), 1, "attached, and nothing since");
    }
    Ok(())
}

#[tokio::test]
async fn everything_is_cleaned_up_when_the_assignments_go_first() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let machines = fleet(&stage).await?;

    kubectl(&own, "delete identityassignments --all --all-namespaces --timeout=80s").await?;
    for vm in &machines {
        assert_eq!(vm.identities(), ["legacy"], "ours went, and nothing else");
    }
    kubectl(&own, &format!("delete {ASSIGNMENTS} {TARGETS} --timeout=80s")).await
}

#[tokio::test]
async fn a_definition_deleted_by_mistake_is_slowed_by_the_brake() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let _controller = own.start(&["--removal-burst=1", "--removal-rate=1/h"])?;
    let stage = own.stage()?;
    let machines = fleet(&stage).await?;
    let stripped = || machines.iter().filter(|vm| vm.identities() == ["legacy"]).count();

    kubectl(&own, &format!("delete {ASSIGNMENTS} --wait=false")).await?;
    stage.until("the burst to be spent", async || Ok(stripped() == 1)).await?;
    let left: Vec<&Machine> = machines.iter().filter(|vm| vm.identities().len() == 2).collect();
    for vm in &left {
        stage.until_not_ready(vm.name(), Reason::RemovalsPaced).await?;
    }
    assert_eq!(stripped(), 1, "there is time to say stop");

    // To say it: what is released stays where it is.
    for vm in &left {
        stage.annotate(vm.name(), lanyard::api::RELEASE, "true").await?;
    }
    kubectl(&own, &format!("wait --for=delete {ASSIGNMENTS} --timeout=80s")).await?;
    assert_eq!(stripped(), 1);
    Ok(())
}

#[tokio::test]
async fn a_namespace_with_many_assignments_ends() -> Result<()> {
    const MACHINES: usize = 20;
    let own = Own::with_controller_manager(Settings::quick()).await?;
    let _controller = own.start(&[])?;
    let stage = own.stage()?;
    let mut machines = Vec::new();
    for n in 0..MACHINES {
        let vm = stage.vm(&format!("web-{n}")).with_identity("legacy").create();
        stage.declare(assignment(&format!("a-{n}")).on(&vm).present("shop-db")).await?;
        // Half of the machines are shared, some assignments only look, some leave all in place.
        let other = assignment(&format!("b-{n}")).on(&vm).present("shop-queue");
        let other = match n % 4 {
            0 => other.mode(lanyard::api::assignment::Mode::Observe),
            1 => other.suspended(true),
            2 => other.retaining(),
            _ => other,
        };
        stage.declare(other).await?;
        machines.push(vm);
    }
    for n in 0..MACHINES {
        stage.until_ready(&format!("a-{n}")).await?;
    }

    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
    let ended = async || Ok(namespaces.get_opt(&stage.namespace).await?.is_none());
    stage.until("the namespace to end", ended).await?;
    for (n, vm) in machines.iter().enumerate() {
        let left: &[&str] = if n % 4 == 2 { &["legacy", "shop-queue"] } else { &["legacy"] };
        assert_eq!(vm.identities(), left, "{n}");
    }
    Ok(())
}
