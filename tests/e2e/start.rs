//! A start, with little known yet: nothing that is not seen counts as withdrawn.

use anyhow::Result;
use arm_simulator::{Machine, Settings};
use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use lanyard::api::{IdentityAssignment, RECONCILE_AT};
use lanyard::domain::reason::Reason;
use serde_json::json;

use crate::harness::{ApiProxy, Asked, Own, Stage, Trouble, assignment, is_list, sent, tail};

const MACHINES: usize = 20;
const EACH: usize = 5;

async fn declare_a_hundred(stage: &Stage<'_>) -> Result<Vec<Machine>> {
    let machines: Vec<Machine> = (0..MACHINES).map(|n| stage.vm(&format!("vm-{n}")).create()).collect();
    let pairs = machines.iter().flat_map(|vm| (0..EACH).map(move |n| (vm, n)));
    let declare = async |(vm, n): (&Machine, usize)| {
        let name = format!("{}-{n}", vm.name());
        stage.declare(assignment(&name).on(vm).present(format!("id-{n}"))).await?;
        stage.until_ready(&name).await
    };
    try_join_all(pairs.map(declare)).await?;
    Ok(machines)
}

#[tokio::test]
async fn a_hundred_assignments_behind_a_slow_list_lose_nothing() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let machines = declare_a_hundred(&stage).await?;
    first.kill()?;
    let before: Vec<_> = machines.iter().map(sent).collect();
    let pages = |asked: &Asked| asked.is("list", "/identityassignments?") && asked.path.contains("limit=500");
    let slow = ApiProxy::open(own.client.clone(), own.control_plane()?.directory()).await?;
    // The fifth page is refused: the list has expired meanwhile. Each takes its time.
    slow.after(4, pages, Trouble::Refused(410, "Expired"));
    slow.always(pages, Trouble::SmallPages(10));

    let mark = own.arm.journal_mark();
    let _second = own.start_by(&slow.kubeconfig, &[])?;
    let listed = async || Ok(own.arm.journal_since(mark).iter().any(is_list));
    stage.until("the machines to be looked at", listed).await?;
    let pages = slow.count(pages);
    // One list that expired half-way, and a whole one.
    assert!(pages >= 4 + MACHINES * EACH / 10, "{pages} pages");
    try_join_all(machines.iter().map(async |vm| stage.look_through(&format!("{}-0", vm.name()), vm).await)).await?;

    for (vm, before) in machines.iter().zip(&before) {
        assert_eq!(vm.identities(), ["id-0", "id-1", "id-2", "id-3", "id-4"]);
        assert_eq!(&sent(vm), before, "no write of the second process");
        let removed = vm.history().into_iter().flat_map(|change| change.removed).count();
        assert_eq!(removed, 0);
        assert_eq!(stage.record(vm).await?.claims.len(), EACH);
    }
    Ok(())
}

/// Lets through what this version of Lanyard has never heard of, as a later definition would.
async fn admit_any_mode(client: &kube::Client) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let modes = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/enum";
    let patch = serde_json::from_value(json!([{"op": "remove", "path": modes}]))?;
    let name = "identityassignments.lanyard.dev";
    definitions.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
    Ok(())
}

#[tokio::test]
async fn an_object_that_does_not_parse_protects_what_it_declared_and_stops_nobody() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let vm = stage.vm("web").create();
    let other = stage.vm("other").create();
    stage.declare(assignment("web").on(&vm).present("shop-db")).await?;
    stage.declare(assignment("ops").on(&vm).present("monitor")).await?;
    stage.until_ready("web").await?;
    stage.until_ready("ops").await?;

    // In a mode that only a later version knows, and without what it declared before.
    admit_any_mode(&own.client).await?;
    let resource = ApiResource::erase::<IdentityAssignment>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(own.client.clone(), &own.namespace, &resource);
    let unknown = Patch::Merge(json!({"spec": {"mode": "Hypothetical", "userAssigned": []}}));
    let stored = async || Ok(raw.patch("web", &PatchParams::default(), &unknown).await.is_ok());
    stage.until("the API server to admit it", stored).await?;

    let told = async || {
        let conditions = raw.get("web").await?.data["status"]["conditions"].clone();
        let reason = |kind: &str| {
            let all = conditions.as_array().into_iter().flatten();
            all.clone().any(|it| it["type"] == kind && it["reason"] == Reason::InvalidSpec.as_str())
        };
        Ok(reason("Ready") && reason("Stalled"))
    };
    stage.until("its status to say so", told).await?;
    assert!(tail(&stage.log, "cannot be read", 9).contains("Hypothetical"), "the log says so");
    assert_eq!(vm.identities(), ["monitor", "shop-db"]);

    // Others on the same machine and elsewhere go on, removals too; and so it is for the next process.
    stage.edit("ops", |it| it.without("monitor").present("metrics")).await?;
    stage.until_ready("ops").await?;
    stage.declare(assignment("other").on(&other).present("shop-db")).await?;
    stage.until_ready("other").await?;
    assert_eq!(vm.identities(), ["metrics", "shop-db"]);
    first.kill()?;
    let _second = own.start(&[])?;
    stage.look_through("ops", &vm).await?;
    assert_eq!(vm.identities(), ["metrics", "shop-db"]);
    let removed: Vec<_> = vm.history().into_iter().flat_map(|change| change.removed).collect();
    assert_eq!(removed.len(), 1, "{removed:?}");

    // What it says once it can be read again counts.
    let known = Patch::Merge(json!({"spec": {"mode": "Enforce"}}));
    raw.patch("web", &PatchParams::default(), &known).await?;
    stage.until_ready("web").await?;
    assert_eq!(vm.identities(), ["metrics"]);
    Ok(())
}

#[tokio::test]
async fn what_changed_while_no_controller_ran_is_judged_by_what_is_left() -> Result<()> {
    let own = Own::new(Settings::quick()).await?;
    let first = own.start(&[])?;
    let stage = own.stage()?;
    let (kept, left) = (stage.vm("kept").create(), stage.vm("left").create());
    for vm in [&kept, &left] {
        stage.declare(assignment(vm.name()).on(vm).present("shop-db")).await?;
        stage.until_ready(vm.name()).await?;
    }
    first.kill()?;

    // One identity is handed over, the other is left behind; both finalizers are stripped.
    stage.declare(assignment("heir").on(&kept).present("shop-db")).await?;
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    for name in ["kept", "left"] {
        stage.assignments().delete(name, &DeleteParams::default()).await?;
        stage.assignments().patch(name, &PatchParams::default(), &bare).await?;
        assert!(stage.assignment(name).await?.is_none());
    }

    let _second = own.start(&[])?;
    stage.until_ready("heir").await?;
    stage.until("what was left behind to go", async || Ok(left.identities().is_empty())).await?;
    stage.annotate_target(&kept, RECONCILE_AT, "now").await?;
    stage.look_through("heir", &kept).await?;
    assert_eq!(sent(&kept).len(), 1, "attached, and nothing since");
    assert_eq!(stage.attached(&kept).await?, ["shop-db"]);
    Ok(())
}
