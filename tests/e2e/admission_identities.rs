//! What the API server refuses of a `UserAssignedIdentity`, and in which words.
use anyhow::{Result, ensure};
use devenv::world::World;
use kube::api::{Api, Patch, PatchParams, PostParams};
use lanyard::api::UserAssignedIdentity;
use lanyard::manifests::{self, Checker};
use serde_json::{Value, json};

const GUID: &str = "5a3b1e00-0000-4000-8000-00000000000A";

fn id(name: &str) -> String {
    format!(
        "/subscriptions/{GUID}/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

fn parts(changed: &Value) -> Value {
    let mut spec = json!({"subscriptionId": GUID, "resourceGroup": "ids", "name": "shop-db"});
    for (field, value) in changed.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    spec
}

/// What `lanyard validate` says to a spec, without a server.
fn validated(spec: &Value) -> Result<Vec<String>> {
    let object = json!({
        "apiVersion": "lanyard.dev/v1alpha1", "kind": "UserAssignedIdentity",
        "metadata": {"name": "db"}, "spec": spec,
    });
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    std::fs::write(file.path(), object.to_string())?;
    let read = manifests::read(&[file.path().to_owned()], "default");
    let checker = Checker::new()?;
    let found = read.manifests.iter().flat_map(|manifest| checker.check(manifest));
    Ok(read.problems.iter().cloned().chain(found).map(|problem| problem.to_string()).collect())
}

struct Server(Api<UserAssignedIdentity>);

impl Server {
    async fn start() -> Result<Self> {
        let world = World::start().await?;
        Ok(Self(Api::namespaced(world.client.clone(), &world.namespace)))
    }

    /// What the server says to a spec, without keeping it; nothing: it is admitted.
    async fn answer(&self, spec: &Value) -> Result<Option<String>> {
        let object = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec}))?;
        said(self.0.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await)
    }

    async fn change(&self, spec: &Value) -> Result<Option<String>> {
        let patch = Patch::Merge(json!({"spec": spec}));
        said(self.0.patch("db", &PatchParams { dry_run: true, ..PatchParams::default() }, &patch).await)
    }
}

fn said(answer: kube::Result<UserAssignedIdentity>) -> Result<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn names_forms_and_tags_that_azure_does_not_take_are_refused_with_a_sentence() -> Result<()> {
    let server = Server::start().await?;
    let tags = |tags: Value| parts(&json!({ "tags": tags }));
    let many: serde_json::Map<String, Value> = (0..50).map(|n| (format!("t{n}"), json!("v"))).collect();
    let admitted = [
        json!({"resourceId": id("shop-db")}),
        parts(&json!({})),
        parts(&json!({"name": "a".repeat(128)})),
        parts(&json!({"resourceGroup": "bär"})),
        tags(json!({"team/x".replace('/', ":"): "v", "b": ""})),
    ];
    for spec in admitted {
        let answer = server.answer(&spec).await?;
        ensure!(answer.is_none(), "{spec} is refused: {answer:?}");
        let without = validated(&spec)?;
        ensure!(without.is_empty(), "validate refuses what the server takes: {spec}: {without:?}");
    }
    let refused = [
        (json!({}), "in both forms, or in neither"),
        (parts(&json!({"resourceId": id("shop-db")})), "in both forms, or in neither"),
        (json!({"subscriptionId": GUID, "name": "shop-db"}), "in both forms, or in neither"),
        (json!({"resourceId": id("ab")}), "3 to 128"),
        (parts(&json!({"name": "ab"})), "3 to 128"),
        (parts(&json!({"name": "-abc"})), "3 to 128"),
        (parts(&json!({"name": "a.b.c"})), "3 to 128"),
        (parts(&json!({"subscriptionId": "no-guid"})), "is no GUID"),
        (parts(&json!({"resourceGroup": "a/b"})), "is no name of a resource group"),
        (parts(&json!({"resourceGroup": ".."})), "is no name of a resource group"),
        (parts(&json!({"adopt": "Always"})), "Unsupported value"),
        (parts(&json!({"writeOutputsTo": {"configMap": "Not_A_Name"}})), "configMap"),
        (tags(json!({"a/b": "v"})), "tag that Azure does not take"),
        (tags(json!({"a\\b": "v"})), "tag that Azure does not take"),
        (tags(json!({"a": "v".repeat(257)})), "tag that Azure does not take"),
        (tags(json!({"Lanyard-Creation": "v"})), "is Lanyard's own"),
        (tags(Value::Object(many)), "Too many"),
    ];
    for (spec, words) in refused {
        // The typed object would not hold what does not fit its kind: such a spec goes as it is.
        let answer = match server.answer(&spec).await {
            Ok(answer) => answer,
            Err(_) => raw(&server, &spec).await?,
        };
        let told = answer.unwrap_or_default();
        ensure!(told.contains(words), "{spec}: {told:?} does not say {words:?}");
        ensure!(!validated(&spec)?.is_empty(), "validate takes what the server refuses: {spec}");
    }
    Ok(())
}

/// The same of a spec that the type does not hold.
async fn raw(server: &Server, spec: &Value) -> Result<Option<String>> {
    let object = json!({
        "apiVersion": "lanyard.dev/v1alpha1", "kind": "UserAssignedIdentity",
        "metadata": {"name": "db"}, "spec": spec,
    });
    let params =
        PatchParams { dry_run: true, force: true, field_manager: Some("test".into()), ..PatchParams::default() };
    said(server.0.patch("db", &params, &Patch::Apply(object)).await)
}

#[tokio::test]
async fn the_identity_cannot_be_changed_but_its_spelling_and_form_can() -> Result<()> {
    let server = Server::start().await?;
    let spec = json!({"resourceId": id("shop-db"), "location": "West Europe"});
    let object = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": spec}))?;
    server.0.create(&PostParams::default(), &object).await?;
    let other_form = parts(&json!({"resourceId": null, "name": "SHOP-DB"}));
    for change in [json!({"resourceId": id("SHOP-db")}), other_form, json!({"location": "westeurope"})] {
        let answer = server.change(&change).await?;
        ensure!(answer.is_none(), "{change} is refused: {answer:?}");
    }
    let refused = [
        (json!({"resourceId": id("other")}), "the identity cannot be changed"),
        (json!({"location": "northeurope"}), "location cannot be changed"),
        (json!({"location": null}), "location cannot be changed"),
    ];
    for (change, words) in refused {
        let told = server.change(&change).await?.unwrap_or_default();
        ensure!(told.contains(words), "{change}: {told:?}");
    }
    Ok(())
}
