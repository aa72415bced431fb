//! The controller asks Kubernetes for exactly what the manifests grant to its service account: for nothing that they do not,
//! and each grant is used by something.
//!
//! It runs by that service account, on a way that notes what is asked; the API server judges.
use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use arm_simulator::Barrier;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use lanyard::api::{RECONCILE_AT, UserAssignedIdentity};
use lanyard::domain::reason::Reason;
use serde_json::json;

use crate::harness::{ApiProxy, Asked, GROUP, Stage, Trouble, assignment};
use crate::starting::{Cluster, whole_story};

/// A verb on a kind of object: `patch lanyard.dev/identityassignments/status`.
type Right = String;

/// What a request asks for.
fn right(asked: &Asked) -> Result<Right> {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, mut rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => anyhow::bail!("no request for an object: {path}"),
    };
    if let ["namespaces", _, inner @ ..] = rest
        && !inner.is_empty()
    {
        rest = inner;
    }
    let (resource, named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, part] => (format!("{resource}/{part}"), true),
        _ => anyhow::bail!("no request for an object: {path}"),
    };
    let verb = match asked.verb {
        "get" | "list" | "stream" | "watch" if query.contains("watch=true") => "watch",
        "get" | "list" | "probe" if !named => "list",
        verb => verb,
    };
    Ok(format!("{verb} {group}/{resource}"))
}

fn rights_of(rules: Option<Vec<PolicyRule>>) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    for rule in rules.into_iter().flatten() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                all.extend(rule.verbs.iter().map(|verb| format!("{verb} {group}/{resource}")));
            }
        }
    }
    all
}

/// Everything that is bound to the service account, as the API server has it.
async fn granted(client: &kube::Client) -> Result<BTreeSet<Right>> {
    let ours = |subjects: &Option<Vec<Subject>>| {
        let account = |it: &Subject| it.kind == "ServiceAccount" && it.name == "lanyard";
        subjects.iter().flatten().any(account)
    };
    let (cluster_roles, all) = (Api::<ClusterRole>::all(client.clone()), ListParams::default());
    let mut rights = BTreeSet::new();
    for binding in Api::<ClusterRoleBinding>::all(client.clone()).list(&all).await? {
        if ours(&binding.subjects) {
            rights.append(&mut rights_of(cluster_roles.get(&binding.role_ref.name).await?.rules));
        }
    }
    for binding in Api::<RoleBinding>::all(client.clone()).list(&all).await? {
        if ours(&binding.subjects) {
            let namespace = binding.metadata.namespace.context("no namespace")?;
            let roles: Api<Role> = Api::namespaced(client.clone(), &namespace);
            rights.append(&mut rights_of(roles.get(&binding.role_ref.name).await?.rules));
        }
    }
    ensure!(!rights.is_empty(), "nothing is bound to the service account");
    Ok(rights)
}

/// Made, its outputs written, mended and moved, and deleted: all that an identity that is an object has done to it.
async fn story_of_an_identity(stage: &Stage<'_>) -> Result<()> {
    let objects: Api<UserAssignedIdentity> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.namespace);
    // The group comes with its first resource.
    stage.identity("of-the-group");
    let identity = stage.arm.identity(&stage.subscription, GROUP, "cache").unmade();
    let object = json!({
        "metadata": {"name": "cache"},
        "spec": {"resourceId": identity.id(), "location": "westeurope", "writeOutputsTo": {"configMap": "first"}},
    });
    objects.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let data = async |name: &str| Ok(maps.get_opt(name).await?.and_then(|map| map.data?.remove("clientId")));
    let told = stage.until_some("the outputs", async || data("first").await).await?;

    let spoilt = json!({"data": {"clientId": "spoilt"}});
    maps.patch("first", &PatchParams::default(), &Patch::Merge(spoilt)).await?;
    let look = json!({"metadata": {"annotations": {RECONCILE_AT: "now"}}});
    objects.patch("cache", &PatchParams::default(), &Patch::Merge(look)).await?;
    stage.until("the outputs to be mended", async || Ok(data("first").await?.as_ref() == Some(&told))).await?;

    let moved = json!({"spec": {"writeOutputsTo": {"configMap": "second"}}});
    objects.patch("cache", &PatchParams::default(), &Patch::Merge(moved)).await?;
    let moved = async || Ok(data("first").await?.is_none() && data("second").await?.is_some());
    stage.until("the outputs to move", moved).await?;

    objects.delete("cache", &DeleteParams::default()).await?;
    stage.until("the identity to go", async || Ok(objects.get_opt("cache").await?.is_none())).await
}

/// Somebody else wrote first, once for each object that is written under its version: it is read anew then.
fn others_come_first(way: &ApiProxy) {
    for record in ["/identitytargets/", "/identityrecords/"] {
        way.once(move |asked| asked.is("update", record), Trouble::Refused(409, "Conflict"));
    }
    let finalizer = |asked: &Asked| asked.is("patch", "/userassignedidentities/") && !asked.writes_status();
    way.once(finalizer, Trouble::Refused(409, "Conflict"));
    let status = |asked: &Asked| asked.is("patch", "/identityassignments/") && asked.writes_status();
    way.once(status, Trouble::Refused(409, "Conflict"));
}

/// An assignment whose finalizer was stripped by hand is gone at once: that it is gone must be proved.
async fn story_of_a_stripped_finalizer(stage: &Stage<'_>) -> Result<()> {
    let vm = stage.vm("stripped").with_identity("legacy").create();
    stage.declare(assignment("stripped").on(&vm).present("shop-db")).await?;
    stage.until_ready("stripped").await?;
    stage.arm.restrict(&vm.id(), Barrier::ScopeLocked);
    stage.delete("stripped").await?;
    stage.until_not_ready("stripped", Reason::ScopeLocked).await?;
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    stage.assignments().patch("stripped", &PatchParams::default(), &bare).await?;
    stage.arm.lift(&vm.id());
    stage.annotate_target(&vm, RECONCILE_AT, "now").await?;
    stage.until("what was declared to go", async || Ok(vm.identities() == ["legacy"])).await?;
    stage.until("the record to go", async || Ok(stage.target(&vm).await?.is_none())).await
}

#[tokio::test]
async fn it_asks_for_what_the_manifests_grant_and_uses_all_of_it() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.apply_base().await?;
    let directory = cluster.control_plane.directory().to_path_buf();
    let account = cluster.control_plane.kubeconfig_of_service_account("lanyard-system", "lanyard").await?;
    let account = Kubeconfig::read_from(account)?;
    let account = kube::Config::from_custom_kubeconfig(account, &KubeConfigOptions::default()).await?;
    // As an API server from before lists were streamed: so that both ways of listing are gone.
    let way = ApiProxy::open(kube::Client::try_from(account)?, &directory).await?;
    others_come_first(&way);
    let controller = cluster.start_by(&way.kubeconfig)?;
    let stage = cluster.stage(&controller);
    cluster.allow_all_scopes(&stage).await?;
    whole_story(&stage).await?;
    story_of_a_stripped_finalizer(&stage).await?;
    story_of_an_identity(&stage).await?;
    controller.terminate().await?;

    let log = std::fs::read_to_string(&stage.log)?;
    let refused = log.lines().find(|line| line.contains("forbidden"));
    ensure!(refused.is_none(), "it asked for more than it has: {}", refused.unwrap_or_default());
    let used = way.asked().iter().map(right).collect::<Result<BTreeSet<Right>>>()?;
    let granted = granted(&cluster.client).await?;
    let more: Vec<&Right> = used.difference(&granted).collect();
    ensure!(more.is_empty(), "not granted, and asked for: {more:?}");
    let unused: Vec<&Right> = granted.difference(&used).collect();
    ensure!(unused.is_empty(), "granted, and used for nothing: {unused:?}");
    Ok(())
}

#[test]
fn a_request_is_told_by_what_it_asks_for() -> Result<()> {
    let asked = |verb, path: &str| Asked { at: std::time::Instant::now(), verb, path: path.into() };
    for (verb, path, expected) in [
        (
            "stream",
            "/apis/lanyard.dev/v1alpha1/identitytargets?watch=true&sendInitialEvents=true",
            "watch lanyard.dev/identitytargets",
        ),
        ("get", "/apis/lanyard.dev/v1alpha1/userassignedidentities?limit=1", "list lanyard.dev/userassignedidentities"),
        ("get", "/api/v1/namespaces/shop/configmaps/out", "get /configmaps"),
        (
            "patch",
            "/apis/lanyard.dev/v1alpha1/namespaces/shop/identityassignments/web/status?x",
            "patch lanyard.dev/identityassignments/status",
        ),
        ("update", "/apis/coordination.k8s.io/v1/namespaces/a/leases/lanyard", "update coordination.k8s.io/leases"),
    ] {
        assert_eq!(right(&asked(verb, path))?, expected);
    }
    ensure!(right(&asked("get", "/version")).is_err());
    Ok(())
}
