//! Brings each state about, and writes down what there is then.

use anyhow::{Context as _, Result};
use arm_simulator::{Effect, Fault, ForeignAct, Settings};
use kube::api::{Api, DeleteParams, PostParams};
use lanyard::api::UserAssignedIdentity;
use lanyard::api::assignment::{Mode, SystemAssigned};
use lanyard::domain::reason::Reason;
use lanyard::domain::target_name::{identity_name, target_name};
use serde_json::{Value, json};

use super::{FLAGS, NAMESPACE, folder};
use crate::harness::{GROUP, Own, Stage, assignment, sent};

/// What is asked for by its path; nothing where there is nothing.
async fn get(own: &Own, path: &str) -> Result<Option<Value>> {
    let uri = format!("/apis/lanyard.dev/v1alpha1/{path}");
    match own.client.request(axum::http::Request::get(uri).body(Vec::new())?).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

fn machine_id(own: &Own, name: &str) -> String {
    let provider = "providers/Microsoft.Compute/virtualMachines";
    format!("/subscriptions/{}/resourceGroups/{GROUP}/{provider}/{name}", own.subscription)
}

/// What a state is made of: names of assignments, names of objects of identities, and machines and identities in ARM.
#[derive(Default)]
struct Of<'a> {
    assignments: &'a [&'a str],
    identities: &'a [&'a str],
    machines: &'a [&'a str],
    records: &'a [&'a str],
}

async fn freeze(own: &Own, state: &str, of: Of<'_>) -> Result<()> {
    let mut paths = Vec::new();
    let namespaced = |kind: &str, name: &str| format!("namespaces/{}/{kind}/{name}", own.namespace);
    paths.extend(of.assignments.iter().map(|name| namespaced("identityassignments", name)));
    paths.extend(of.identities.iter().map(|name| namespaced("userassignedidentities", name)));
    for machine in of.machines {
        paths.push(format!("identitytargets/{}", target_name(&machine_id(own, machine).parse()?)));
    }
    for identity in of.records {
        paths.push(format!("identityrecords/{}", identity_name(&own.stage()?.identity_id(identity).parse()?)));
    }
    let mut objects = Vec::new();
    for path in paths {
        let mut object = get(own, &path).await?.with_context(|| format!("{state}: there is no {path}"))?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        objects.push(object);
    }
    let text = serde_json::to_string_pretty(&objects)?.replace(&own.namespace, NAMESPACE);
    Ok(std::fs::write(folder().join(format!("{state}.json")), text + "\n")?)
}

fn identities(own: &Own) -> Api<UserAssignedIdentity> {
    Api::namespaced(own.client.clone(), &own.namespace)
}

async fn declare_identity(own: &Own, name: &str, id: &str, more: Value) -> Result<()> {
    let mut spec = json!({"resourceId": id});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let object = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    identities(own).create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn until_identity_says(own: &Own, name: &str, status: &str, reason: Reason) -> Result<()> {
    let says = async || {
        let object = identities(own).get(name).await?;
        let observed = object.status.filter(|it| it.observed_generation == object.metadata.generation);
        let conditions = observed.map(|it| it.conditions).unwrap_or_default();
        let said = conditions.iter().find(|it| it.type_ == "Ready" && it.status == status);
        Ok(said.is_some_and(|it| it.reason == reason.as_str()))
    };
    own.stage()?.until(&format!("{name} to be {status}: {}", reason.as_str()), says).await
}

async fn at_rest(own: &Own, stage: &Stage<'_>) -> Result<()> {
    let vm = stage.vm("ready").with_identity("legacy").create();
    stage.declare(assignment("ready").on(&vm).present("shop-db").system(SystemAssigned::Enabled)).await?;
    stage.until_ready("ready").await?;
    freeze(own, "ready", Of { assignments: &["ready"], machines: &["ready"], ..Of::default() }).await?;

    let nowhere = machine_id(own, "nowhere");
    let shop = stage.identity("shop-db").id().to_owned();
    stage.declare(assignment("nowhere").on_id(nowhere).present(shop)).await?;
    stage.until_not_ready("nowhere", Reason::TargetNotFound).await?;
    freeze(own, "waits-for-machine", Of { assignments: &["nowhere"], ..Of::default() }).await?;

    let vm = stage.vm("disputed").with_identity("legacy").create();
    stage.declare(assignment("disputed-a").on(&vm).present("shop-db")).await?;
    stage.until_ready("disputed-a").await?;
    stage.declare(assignment("disputed-b").on(&vm).absent("shop-db")).await?;
    stage.until_not_ready("disputed-a", Reason::Conflict).await?;
    stage.until_not_ready("disputed-b", Reason::Conflict).await?;
    let of = Of { assignments: &["disputed-a", "disputed-b"], machines: &["disputed"], ..Of::default() };
    freeze(own, "conflict", of).await?;

    let vm = stage.vm("contested").with_identity("legacy").create();
    let act = ForeignAct::RemoveIdentity(stage.identity_id("shop-db"));
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::Foreign { resource: None, act, after: true }).always());
    stage.declare(assignment("contested").on(&vm).present("shop-db")).await?;
    stage.until_not_ready("contested", Reason::Contested).await?;
    freeze(own, "contested", Of { assignments: &["contested"], machines: &["contested"], ..Of::default() }).await?;
    // The other one gave in: else it would be repaired once in a while, by every version.
    stage.arm.clear_faults_of(&vm.id());
    vm.attach_as_stranger("shop-db");
    Ok(())
}

async fn held(own: &Own, stage: &Stage<'_>) -> Result<()> {
    let vm = stage.vm("observed").with_identity("legacy").create();
    stage.declare(assignment("observed").on(&vm).present("shop-db").mode(Mode::Observe)).await?;
    stage.until_not_ready("observed", Reason::ChangesPending).await?;
    freeze(own, "observes", Of { assignments: &["observed"], machines: &["observed"], ..Of::default() }).await?;

    let vm = stage.vm("seen").with_identity("legacy").create();
    stage.declare(assignment("seen").on(&vm).present("legacy").mode(Mode::Observe)).await?;
    stage.until_ready("seen").await?;
    freeze(own, "observes-what-is-so", Of { assignments: &["seen"], machines: &["seen"], ..Of::default() }).await?;

    let vm = stage.vm("suspended").with_identity("legacy").create();
    stage.declare(assignment("suspended").on(&vm).present("shop-db").suspended(true)).await?;
    stage.until_not_ready("suspended", Reason::ChangesPending).await?;
    freeze(own, "suspended", Of { assignments: &["suspended"], machines: &["suspended"], ..Of::default() }).await?;

    let vm = stage.vm("aks").tag("aks-managed-poolName", "nodes").create();
    stage.declare(assignment("aks").on(&vm).present("shop-db")).await?;
    stage.until_not_ready("aks", Reason::ManagedByAKS).await?;
    freeze(own, "managed-by-aks", Of { assignments: &["aks"], machines: &["aks"], ..Of::default() }).await?;

    let vm = stage.vm("default").with_identity("legacy").create();
    stage.declare(assignment("default").on(&vm).present("shop-db").blocking_default_change()).await?;
    stage.until_not_ready("default", Reason::DefaultIdentityChange).await?;
    freeze(own, "default-held", Of { assignments: &["default"], machines: &["default"], ..Of::default() }).await
}

async fn under_way(own: &Own, stage: &Stage<'_>) -> Result<()> {
    let vm = stage.vm("removing").with_identity("legacy").create();
    stage.declare(assignment("removing").on(&vm).present("shop-db")).await?;
    stage.until_ready("removing").await?;
    stage.edit("removing", |it| it.without("shop-db")).await?;
    stage.until_not_ready("removing", Reason::RemovalsPaused).await?;
    freeze(own, "removal-waits", Of { assignments: &["removing"], machines: &["removing"], ..Of::default() }).await?;

    let vm = stage.vm("deleting").with_identity("legacy").create();
    stage.declare(assignment("deleting").on(&vm).present("shop-db")).await?;
    stage.until_ready("deleting").await?;
    stage.delete("deleting").await?;
    stage.until_not_ready("deleting", Reason::RemovalsPaused).await?;
    freeze(own, "deletion-waits", Of { assignments: &["deleting"], machines: &["deleting"], ..Of::default() }).await?;

    let vm = stage.vm("applying").with_identity("legacy").create();
    stage.arm.fault(Fault::new("PATCH", &vm.id(), Effect::HoldOperation {}));
    stage.declare(assignment("applying").on(&vm).present("shop-db")).await?;
    stage.until_not_ready("applying", Reason::Applying).await?;
    stage.until("the PATCH to leave", async || Ok(!sent(&vm).is_empty())).await?;
    freeze(own, "applying", Of { assignments: &["applying"], machines: &["applying"], ..Of::default() }).await
}

async fn of_identities(own: &Own, stage: &Stage<'_>) -> Result<()> {
    let made = json!({"location": "westeurope", "tags": {"team": "shop"}});
    declare_identity(own, "cache", &stage.identity_id("cache"), made.clone()).await?;
    until_identity_says(own, "cache", "True", Reason::AsDeclared).await?;
    let vm = stage.vm("referring").with_identity("legacy").create();
    stage.declare(assignment("referring").on(&vm).refers("cache")).await?;
    stage.until_ready("referring").await?;
    let of = Of { assignments: &["referring"], identities: &["cache"], machines: &["referring"], records: &["cache"] };
    freeze(own, "identity-ready", of).await?;

    let vm = stage.vm("hoping").with_identity("legacy").create();
    stage.declare(assignment("hoping").on(&vm).refers("missing")).await?;
    stage.until_not_ready("hoping", Reason::IdentityNotReady).await?;
    let of = Of { assignments: &["hoping"], machines: &["hoping"], ..Of::default() };
    freeze(own, "waits-for-identity", of).await?;

    let there = stage.identity("there");
    declare_identity(own, "there", there.id(), json!({"adopt": "Never", "tags": {"team": "shop"}})).await?;
    until_identity_says(own, "there", "False", Reason::IdentityExists).await?;
    freeze(own, "identity-exists", Of { identities: &["there"], ..Of::default() }).await?;

    let elsewhere = own.arm.identity(&own.subscription, "no-such-group", "lost").unmade();
    declare_identity(own, "lost", elsewhere.id(), made.clone()).await?;
    until_identity_says(own, "lost", "False", Reason::ResourceGroupNotFound).await?;
    freeze(own, "identity-waits-for-group", Of { identities: &["lost"], ..Of::default() }).await?;

    declare_identity(own, "used", &stage.identity_id("used"), made).await?;
    until_identity_says(own, "used", "True", Reason::AsDeclared).await?;
    stage.vm("user").with_identity("used").create();
    identities(own).delete("used", &DeleteParams::default()).await?;
    until_identity_says(own, "used", "False", Reason::IdentityInUse).await?;
    freeze(own, "identity-in-use", Of { identities: &["used"], records: &["used"], ..Of::default() }).await
}

/// Run it by hand when a version is released, and never for one that was: what it has written stays written.
#[tokio::test]
#[ignore = "writes tests/golden anew"]
async fn freeze_what_this_version_writes() -> Result<()> {
    std::fs::create_dir_all(folder())?;
    let own = Own::new(Settings::quick()).await?;
    let controller = own.start(&FLAGS)?;
    let stage = own.stage()?;
    stage.identity("of-the-group");
    at_rest(&own, &stage).await?;
    held(&own, &stage).await?;
    of_identities(&own, &stage).await?;
    under_way(&own, &stage).await?;
    // As it is while the last one runs: nobody looks any more when it ends.
    controller.kill()?;
    let arm = serde_json::to_string_pretty(&own.arm.harvest())?;
    Ok(std::fs::write(folder().join("arm.json"), arm + "\n")?)
}
