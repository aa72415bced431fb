//! The chart's values: each one documented, and bad ones refused before anything is applied.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use serde_json::Value;

use crate::render::{deploy, helm_said, lint};

fn schema() -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(deploy("chart/values.schema.json"))?)?)
}

/// Each value of the schema by its path, down to those that have a form of their own.
fn described(schema: &Value, path: &str, all: &mut BTreeMap<String, Value>) {
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        described(value, &path, all);
        all.insert(path, value.clone());
    }
}

#[test]
fn every_value_is_in_the_schema_with_its_meaning_and_has_a_default() -> Result<()> {
    let mut all = BTreeMap::new();
    described(&schema()?, "", &mut all);
    let text = std::fs::read_to_string(deploy("chart/values.yaml"))?;
    let values: Value = serde_saphyr::from_str(&text)?;
    for (path, value) in all.iter().filter(|(path, _)| *path != "global") {
        let meaning = value["description"].as_str().unwrap_or_default();
        ensure!(meaning.len() > 10, "{path} has no description");
        let pointer = format!("/{}", path.replace('.', "/"));
        ensure!(values.pointer(&pointer).is_some(), "{path} has no default in values.yaml");
    }
    // The other way round: the schema takes no other value, and Helm holds the defaults against it.
    let closed = |value: &Value| value["properties"].is_null() || value["additionalProperties"] == false;
    ensure!(closed(&schema()?), "other values are taken");
    let open: Vec<&String> = all.iter().filter(|(_, value)| !closed(value)).map(|(path, _)| path).collect();
    ensure!(open.is_empty(), "other values are taken in {open:?}");
    Ok(())
}

#[test]
fn every_value_has_a_comment_or_a_name_that_says_it_all() -> Result<()> {
    let text = std::fs::read_to_string(deploy("chart/values.yaml"))?;
    let plain = ["pullPolicy", "podLabels", "podAnnotations", "nodeSelector", "tolerations", "affinity"];
    let mut before = "";
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let trimmed = line.trim();
        if !trimmed.starts_with('#') {
            let (name, value) = trimmed.split_once(':').context("no value")?;
            let group = value.is_empty();
            // A label of the dashboard's is a value of its own, not one of the chart's.
            let said = before.trim().starts_with('#') || plain.contains(&name) || name == "grafana_dashboard";
            ensure!(group || said, "{name} has no comment");
        }
        before = line;
    }
    Ok(())
}

#[test]
fn the_chart_passes_helm_s_own_judgement() -> Result<()> {
    lint()
}

#[test]
fn the_chart_is_of_this_version() -> Result<()> {
    let chart: Value = serde_saphyr::from_str(&std::fs::read_to_string(deploy("chart/Chart.yaml"))?)?;
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[rstest]
#[case::no_client(&["azure.clientId="], "clientId")]
#[case::no_guid(&["azure.clientId=web"], "clientId")]
#[case::no_such_value(&["replica=3"], "replica")]
#[case::no_such_value_within(&["image.digests=x"], "digests")]
#[case::digest(&["image.digest=sha256:abc"], "digest")]
#[case::cloud(&["azure.cloud=AzureMoon"], "cloud")]
#[case::credential(&["credential.type=magic"], "type")]
#[case::plain_http(&["azure.resourceManagerEndpoint=http://example.com"], "resourceManagerEndpoint")]
#[case::stack_without_endpoint(&["azure.cloud=AzureStack"], "resourceManagerEndpoint")]
#[case::secret_without_a_name(&["credential.type=client-secret"], "secretName")]
#[case::certificate_without_a_tenant(&["credential.type=client-certificate", "credential.secretName=c"], "tenantId")]
#[case::replicas(&["replicas=many"], "replicas")]
fn a_value_that_cannot_work_is_refused(#[case] values: &[&str], #[case] named: &str) -> Result<()> {
    let output = helm_said("lanyard-system", values)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("schema") && said.contains(named), "{said}");
    Ok(())
}
