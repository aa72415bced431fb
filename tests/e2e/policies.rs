//! The admission policies of `deploy/base`: who may ask for what.
//!
//! On a control plane of their own: they would refuse what other tests declare.
use anyhow::{Context, Result, ensure};
use devenv::control_plane::{ControlPlane, Options};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use lanyard::api::{DELETE_ADOPTED, IdentityAssignment, IdentityRecord, IdentityTarget, UserAssignedIdentity};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const SUB: &str = "/subscriptions/5a3b1e00-0000-4000-8000-00000000000A";
const CONTROLLER: &str = "system:serviceaccount:lanyard-system:lanyard";

/// The API server compiles a new policy within a second or two; it has this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    control_plane: ControlPlane,
    admin: kube::Client,
}

impl Cluster {
    async fn with_base() -> Result<Self> {
        let control_plane = ControlPlane::start(Options { controller_manager: false }).await?;
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base");
        let applied = control_plane.kubectl(["apply", "--server-side", "-k", &base.display().to_string()]).await?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let cluster = Self { admin: control_plane.client().await?, control_plane };
        cluster.until_guarded().await?;
        Ok(cluster)
    }

    /// A policy is in force some time after it was stored: asked until what must be refused is refused.
    async fn until_guarded(&self) -> Result<()> {
        self.namespace("unscoped", None).await?;
        self.grant("jane").await?;
        let jane = self.client_of("jane").await?;
        let guarded = async {
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            loop {
                pace.tick().await;
                let scopes = self.declare("unscoped", "a", &["a"]).await;
                let identities = self.declare_identity("unscoped", &spelled_out("a")).await;
                let writers = create_target(&jane, true).await;
                if is_forbidden(&scopes) && is_forbidden(&identities) && is_forbidden(&writers) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, guarded).await.context("the policies do not take effect")
    }

    async fn client_of(&self, user: &str) -> Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(self.control_plane.kubeconfig_as(user, &["system:authenticated"])?)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// All rights that roles can give.
    async fn grant(&self, user: &str) -> Result<()> {
        let granted = self
            .control_plane
            .kubectl(["create", "clusterrolebinding", user, "--clusterrole=cluster-admin", &format!("--user={user}")])
            .await?;
        ensure!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
        Ok(())
    }

    async fn namespace(&self, name: &str, scopes: Option<&str>) -> Result<()> {
        let annotations = scopes.map(|scopes| json!({"lanyard.dev/allowed-scopes": scopes}));
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations},
        });
        let api: Api<Namespace> = Api::all(self.admin.clone());
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(namespace)).await?;
        Ok(())
    }

    fn assignments(&self, namespace: &str) -> Api<IdentityAssignment> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    fn identities(&self, namespace: &str) -> Api<UserAssignedIdentity> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// Puts an identity to the server, without keeping it.
    async fn declare_identity(&self, namespace: &str, spec: &Value) -> kube::Result<UserAssignedIdentity> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        self.identities(namespace).create(&dry, &user_assigned(spec)).await
    }

    /// Puts an assignment to a machine of one group, with identities of others, to the server, without keeping it.
    async fn declare(&self, namespace: &str, group: &str, identities: &[&str]) -> kube::Result<IdentityAssignment> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        self.assignments(namespace).create(&dry, &assignment(group, identities)).await
    }
}

fn machine(group: &str) -> String {
    format!("{SUB}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/web")
}

fn identity(group: &str) -> String {
    format!("{SUB}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Shop-db")
}

fn assignment(group: &str, identities: &[&str]) -> IdentityAssignment {
    let ids: Vec<Value> = identities.iter().map(|group| json!({"resourceId": identity(group)})).collect();
    let spec = json!({"target": {"resourceId": machine(group)}, "userAssigned": ids});
    serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).expect("an assignment")
}

/// One form of the spec.
fn spelled_out(group: &str) -> Value {
    json!({"resourceId": identity(group)})
}

/// The other.
fn in_parts(group: &str) -> Value {
    let subscription = SUB.trim_start_matches("/subscriptions/");
    json!({"subscriptionId": subscription, "resourceGroup": group, "name": "Shop-db"})
}

fn user_assigned(spec: &Value) -> UserAssignedIdentity {
    serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec})).expect("an identity")
}

async fn create_target(client: &kube::Client, dry_run: bool) -> kube::Result<IdentityTarget> {
    let record = json!({"formatVersion": 1, "resourceId": machine("a")});
    let target = serde_json::from_value(json!({"metadata": {"name": "web"}, "record": record})).expect("a target");
    Api::all(client.clone()).create(&PostParams { dry_run, ..PostParams::default() }, &target).await
}

fn is_forbidden<T>(answer: &kube::Result<T>) -> bool {
    refusal(answer).is_some()
}

/// What a policy says; a refusal for want of a role is none.
fn refusal<T>(answer: &kube::Result<T>) -> Option<&str> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("AdmissionPolicy") => {
            Some(&status.message)
        }
        Ok(_) | Err(_) => None,
    }
}

#[tokio::test]
async fn an_assignment_stays_within_the_scopes_of_its_namespace() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    let scope = |group: &str| format!("{SUB}/resourceGroups/{group}");
    let two = format!(" {}/ ,{}", scope("A").to_lowercase(), scope("ids").to_uppercase());
    let one_identity = format!("{},{}", scope("a"), identity("ids"));
    let cut = SUB.trim_end_matches('A');

    let allowed: [(&str, &[&str]); 6] = [
        ("*", &["ids"]),
        (" , *", &["ids"]),
        (SUB, &["ids"]),
        (&two, &["ids", "a"]),
        (&one_identity, &["ids"]),
        (&scope("a"), &[]),
    ];
    for (scopes, identities) in allowed {
        cluster.namespace("shop", Some(scopes)).await?;
        until(async || cluster.declare("shop", "a", identities).await.is_ok(), scopes).await?;
    }

    let refused = ["", ",", "/", "**", "/subscriptions", "/subscriptions/", cut, &scope("b"), &scope("ab")];
    for scopes in refused {
        cluster.namespace("shop", Some(scopes)).await?;
        until(async || is_forbidden(&cluster.declare("shop", "a", &[]).await), scopes).await?;
    }
    Ok(())
}

/// The server's copy of a namespace lags by moments: asked until it answers as it must, or never does.
async fn until(answers: impl AsyncFn() -> bool, what: &str) -> Result<()> {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let asked = async {
        while !answers().await {
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("under the scopes '{what}'"))
}

#[tokio::test]
async fn a_refusal_says_what_lies_outside_of_which_scopes() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    let answer = cluster.declare("unscoped", "a", &[]).await;
    let said = refusal(&answer).context("refused")?;
    assert!(said.contains("namespace unscoped allows no ARM scopes: have it annotated"), "{said}");

    cluster.namespace("shop", Some(&format!("{SUB}/resourceGroups/a"))).await?;
    for (group, identities, outside) in [("ab", &["a"], machine("ab")), ("a", &["ab"], identity("ab"))] {
        let answer = cluster.declare("shop", group, identities).await;
        let said = refusal(&answer).context("refused")?;
        let expected = format!("{outside} lies under none of the ARM scopes that namespace shop allows ({SUB}");
        assert!(said.contains(&expected), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn narrowed_scopes_hold_neither_the_controller_nor_a_deletion() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    cluster.namespace("shop", Some("*")).await?;
    let people = cluster.assignments("shop");
    until(async || cluster.declare("shop", "a", &[]).await.is_ok(), "*").await?;
    people.create(&PostParams::default(), &assignment("a", &[])).await?;
    cluster.namespace("shop", Some(&format!("{SUB}/resourceGroups/b"))).await?;
    until(async || is_forbidden(&cluster.declare("shop", "a", &[]).await), "b").await?;

    let controller: Api<IdentityAssignment> = Api::namespaced(cluster.client_of(CONTROLLER).await?, "shop");
    let merge = |value: Value| Patch::Merge(value);
    let params = PatchParams::default();
    controller.patch_metadata("web", &params, &merge(json!({"metadata": {"finalizers": ["lanyard.dev/x"]}}))).await?;
    controller.patch_status("web", &params, &merge(json!({"status": {"observedGeneration": 1}}))).await?;
    let spec = people.patch("web", &params, &merge(json!({"spec": {"suspend": true}}))).await;
    assert!(is_forbidden(&spec), "a change of the spec is asked anew: {spec:?}");

    people.delete("web", &DeleteParams::default()).await?;
    controller.patch_status("web", &params, &merge(json!({"status": {"observedGeneration": 2}}))).await?;
    controller.patch_metadata("web", &params, &merge(json!({"metadata": {"finalizers": null}}))).await?;
    assert_eq!(people.get_opt("web").await?, None);
    Ok(())
}

#[tokio::test]
async fn only_the_controller_and_administrators_write_targets() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    let (controller, jane) = (cluster.client_of(CONTROLLER).await?, cluster.client_of("jane").await?);
    let said = create_target(&jane, false).await;
    let said = refusal(&said).context("refused")?;
    assert!(said.contains("is written by Lanyard's controller alone: change the IdentityAssignments"), "{said}");

    create_target(&controller, false).await?;
    let annotate = Patch::Merge(json!({"metadata": {"annotations": {"lanyard.dev/adopt": "declared"}}}));
    let targets = |client: &kube::Client| Api::<IdentityTarget>::all(client.clone());
    assert!(is_forbidden(&targets(&jane).patch("web", &PatchParams::default(), &annotate).await));
    assert!(is_forbidden(&targets(&jane).delete("web", &DeleteParams::default()).await));
    targets(&cluster.admin).patch("web", &PatchParams::default(), &annotate).await?;

    let mut target = targets(&controller).get("web").await?;
    target.record.unique_id = Some("vm-1".into());
    targets(&controller).replace("web", &PostParams::default(), &target).await?;
    targets(&controller).delete("web", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn an_identity_is_created_adopted_and_deleted_within_the_scopes_of_its_namespace() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    let scope = format!("{}/resourceGroups/A", SUB.to_uppercase());
    cluster.namespace("shop", Some(&scope)).await?;
    for spec in [spelled_out, in_parts] {
        until(async || cluster.declare_identity("shop", &spec("a")).await.is_ok(), &scope).await?;
        let answer = cluster.declare_identity("shop", &spec("ab")).await;
        let said = refusal(&answer).context("refused")?;
        let expected = format!("{} lies under none of the ARM scopes that namespace shop allows", identity("ab"));
        assert!(said.contains(&expected), "{said}");
    }
    let said = cluster.declare_identity("unscoped", &in_parts("a")).await;
    assert!(refusal(&said).context("refused")?.contains("allows no ARM scopes"), "{said:?}");

    // What is narrowed later holds neither the controller nor a deletion; to name it for deletion is asked anew.
    let people = cluster.identities("shop");
    people.create(&PostParams::default(), &user_assigned(&spelled_out("a"))).await?;
    cluster.namespace("shop", Some(&format!("{SUB}/resourceGroups/b"))).await?;
    until(async || is_forbidden(&cluster.declare_identity("shop", &spelled_out("a")).await), "b").await?;
    let controller: Api<UserAssignedIdentity> = Api::namespaced(cluster.client_of(CONTROLLER).await?, "shop");
    let params = PatchParams::default();
    let finalizers = Patch::Merge(json!({"metadata": {"finalizers": ["lanyard.dev/user-assigned-identity"]}}));
    controller.patch_metadata("db", &params, &finalizers).await?;
    let status = Patch::Merge(json!({"status": {"observedGeneration": 1}}));
    controller.patch_status("db", &params, &status).await?;
    let named = Patch::Merge(json!({"metadata": {"annotations": {DELETE_ADOPTED: "p1"}}}));
    assert!(is_forbidden(&people.patch("db", &params, &named).await));
    people.delete("db", &DeleteParams::default()).await?;
    controller.patch_metadata("db", &params, &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    assert_eq!(people.get_opt("db").await?, None);
    Ok(())
}

#[tokio::test]
async fn only_the_controller_and_administrators_write_what_is_remembered_of_identities() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    let (controller, jane) = (cluster.client_of(CONTROLLER).await?, cluster.client_of("jane").await?);
    let owner = json!({"namespace": "shop", "name": "db", "uid": "u1"});
    let record = json!({"formatVersion": 1, "resourceId": identity("a"), "owner": owner, "origin": "Created"});
    let record: IdentityRecord = serde_json::from_value(json!({"metadata": {"name": "db"}, "record": record}))?;
    let records = |client: &kube::Client| Api::<IdentityRecord>::all(client.clone());
    let said = records(&jane).create(&PostParams::default(), &record).await;
    let said = refusal(&said).context("refused")?;
    assert!(said.contains("an IdentityRecord is written by Lanyard's controller alone"), "{said}");
    records(&controller).create(&PostParams::default(), &record).await?;
    assert!(is_forbidden(&records(&jane).delete("db", &DeleteParams::default()).await));
    records(&controller).delete("db", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_too_long_for_machines_is_warned_of_and_admitted() -> Result<()> {
    let cluster = Cluster::with_base().await?;
    cluster.namespace("shop", Some("*")).await?;
    until(async || cluster.declare_identity("shop", &spelled_out("a")).await.is_ok(), "*").await?;
    let file = cluster.control_plane.scratch().path().join("long.json");
    let apply = async |name: &str| {
        let subscription = SUB.trim_start_matches("/subscriptions/");
        let spec = json!({"subscriptionId": subscription, "resourceGroup": "a", "name": name});
        let object = json!({
            "apiVersion": "lanyard.dev/v1alpha1", "kind": "UserAssignedIdentity",
            "metadata": {"name": "db", "namespace": "shop"}, "spec": spec,
        });
        std::fs::write(&file, object.to_string())?;
        let applied =
            cluster.control_plane.kubectl(["create", "--dry-run=server", "-f", &file.display().to_string()]).await?;
        let told = String::from_utf8_lossy(&applied.stderr).into_owned();
        ensure!(applied.status.success(), "{told}");
        Ok::<_, anyhow::Error>(told)
    };
    let warned = async || apply(&"n".repeat(25)).await.is_ok_and(|told| told.contains("Microsoft documents 24"));
    until(warned, "a name of 25 characters").await?;
    let told = apply(&"n".repeat(24)).await?;
    ensure!(!told.contains("Microsoft documents"), "{told}");
    Ok(())
}
