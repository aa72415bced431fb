//! The repository's resource definitions, put into a control plane.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, ResourceExt};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::Value;

/// The server establishes a definition within tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Applies every definition in the YAML files of `directory` and waits until the server serves it.
/// Returns their names; a directory that does not exist holds none.
///
/// # Errors
/// When a file does not parse, or the server refuses or does not establish a definition.
pub async fn apply(client: &kube::Client, directory: &Path) -> Result<Vec<String>> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = read(directory)?;
    for definition in &definitions {
        let (name, owner) = (definition.name_any(), PatchParams::apply("devenv").force());
        let applied = api.patch(&name, &owner, &Patch::Apply(definition)).await;
        applied.with_context(|| format!("the server refuses the definition {name}"))?;
    }
    let names: Vec<String> = definitions.iter().map(ResourceExt::name_any).collect();
    for name in &names {
        let established = await_condition(api.clone(), name, conditions::is_crd_established());
        let in_time = tokio::time::timeout(PATIENCE, established).await;
        in_time.with_context(|| format!("the server does not establish {name}"))??;
    }
    Ok(names)
}

fn read(directory: &Path) -> Result<Vec<CustomResourceDefinition>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut definitions = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let parsed = parse(&fs::read_to_string(&path)?);
            definitions.extend(parsed.with_context(|| format!("cannot parse {}", path.display()))?);
        }
    }
    Ok(definitions)
}

/// The definitions of a file; what is of another kind, such as a kustomization, is passed over.
fn parse(text: &str) -> Result<Vec<CustomResourceDefinition>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let definitions = documents.into_iter().filter(|value| value["kind"] == "CustomResourceDefinition");
    Ok(definitions.map(serde_json::from_value).collect::<Result<_, _>>()?)
}
