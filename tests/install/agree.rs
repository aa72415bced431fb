//! The chart and the overlays come to the same objects, from the same files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use devenv::paths;
use rstest::rstest;
use serde_json::{Value, json};

use crate::render::{ALL_PARTS, OVERLAYS, deploy, find, helm, kustomize, objects, overlay_with, rewritten};

/// Objects by kind and name, without what is the tool's own.
fn by_name(text: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for mut object in objects(text)? {
        let name = format!("{}/{}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"]);
        if object["kind"] == "Namespace" {
            // Helm makes it, if asked; its labels are for people to set.
            continue;
        }
        forget_the_tool(&mut object);
        ensure!(all.insert(name.clone(), object).is_none(), "{name} is there twice");
    }
    Ok(all)
}

fn forget_the_tool(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let left = metadata.get_mut("annotations").and_then(Value::as_object_mut).map(|annotations| {
            // Helm's word for: not to be deleted.
            annotations.remove("helm.sh/resource-policy");
            annotations.len()
        });
        if left == Some(0) {
            metadata.remove("annotations");
        }
    }
    if object["kind"] != "Deployment" {
        return;
    }
    let pod = &mut object["spec"]["template"]["spec"];
    let container = &mut pod["containers"][0];
    // What Kubernetes takes for a tag that is not `latest`.
    ensure_default(container, "imagePullPolicy", &json!("IfNotPresent"));
    // Kustomize puts what a patch adds before what was there.
    for list in ["env", "volumeMounts"] {
        sort(&mut container[list]);
    }
    sort(&mut pod["volumes"]);
}

fn ensure_default(object: &mut Value, field: &str, default: &Value) {
    if object.get(field).is_none() {
        object[field] = default.clone();
    }
}

fn sort(list: &mut Value) {
    if let Some(list) = list.as_array_mut() {
        list.sort_by_key(|entry| entry["name"].to_string());
    }
}

fn agree(kustomized: &str, templated: &str) -> Result<usize> {
    let (ours, chart) = (by_name(kustomized)?, by_name(&rewritten(templated)?)?);
    for (name, object) in &ours {
        let other = chart.get(name).with_context(|| format!("the chart has no {name}"))?;
        assert_eq!(object, other, "{name}");
    }
    let more: Vec<&String> = chart.keys().filter(|name| !ours.contains_key(*name)).collect();
    ensure!(more.is_empty(), "the chart has more: {more:?}");
    Ok(ours.len())
}

#[rstest]
fn the_chart_renders_what_the_overlay_has(#[values(0, 1, 2, 3, 4)] which: usize) -> Result<()> {
    let (overlay, values) = OVERLAYS[which];
    let number = agree(&kustomize(&deploy("overlays").join(overlay))?, &helm("lanyard-system", values)?)?;
    ensure!(number > 20, "{number} objects alone");
    Ok(())
}

#[test]
fn what_is_optional_is_the_same_in_both() -> Result<()> {
    let components = ["service-monitor", "alerts", "dashboard"];
    agree(&overlay_with("workload-identity", &components)?, &helm("lanyard-system", &ALL_PARTS)?)?;
    Ok(())
}

#[test]
fn every_overlay_has_a_twin_in_the_chart() -> Result<()> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(deploy("overlays"))? {
        folders.push(entry?.file_name().to_string_lossy().into_owned());
    }
    folders.sort();
    let mut ours = OVERLAYS.map(|(name, _)| name);
    ours.sort_unstable();
    assert_eq!(folders, ours);
    Ok(())
}

#[test]
fn the_chart_carries_the_very_files_of_the_manifests() -> Result<()> {
    let places = ["crds", "deploy/base", "deploy/components"].map(|place| paths::repository().join(place));
    let mut originals = BTreeMap::new();
    for place in &places {
        gather(place, &mut originals)?;
    }
    let mut copies = BTreeMap::new();
    gather(&deploy("chart/files"), &mut copies)?;
    ensure!(copies.len() > 15, "{} files alone", copies.len());
    for (name, copy) in &copies {
        let original = originals.get(name).with_context(|| format!("{name} is a copy of nothing"))?;
        ensure!(copy == original, "deploy/chart/files has an older {name}: run deploy/chart/update");
    }
    let definitions = originals.keys().filter(|name| name.ends_with(".lanyard.dev.yaml"));
    let missing: Vec<_> = definitions.filter(|name| !copies.contains_key(*name)).collect();
    ensure!(missing.is_empty(), "the chart has no {missing:?}: run deploy/chart/update");
    Ok(())
}

/// The files below, by name; kustomizations are for kustomize.
fn gather(folder: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != "kustomization.yaml" {
            ensure!(files.insert(name.clone(), fs::read_to_string(&path)?).is_none(), "two files are called {name}");
        }
    }
    Ok(())
}

#[test]
fn another_namespace_is_named_everywhere() -> Result<()> {
    let text = helm("identities", &ALL_PARTS)?;
    ensure!(!text.contains("lanyard-system"), "{:?}", text.lines().find(|line| line.contains("lanyard-system")));
    let all = objects(&text)?;
    let policy = find(&all, "ValidatingAdmissionPolicy", "lanyard-target-writers")?;
    ensure!(policy.to_string().contains("system:serviceaccount:identities:lanyard"), "{policy}");
    Ok(())
}

#[test]
fn an_image_can_be_named_by_its_digest() -> Result<()> {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let named = ["image.repository=registry.example/lanyard", "image.tag=v1"];
    let image = |values: &[&str]| -> Result<Value> {
        let all = objects(&helm("lanyard-system", values)?)?;
        Ok(find(&all, "Deployment", "lanyard")?["spec"]["template"]["spec"]["containers"][0]["image"].clone())
    };
    assert_eq!(image(&named)?, "registry.example/lanyard:v1");
    let by_digest = format!("image.digest={digest}");
    assert_eq!(image(&[named[0], named[1], &by_digest])?, format!("registry.example/lanyard@{digest}"));
    assert_eq!(image(&[])?, format!("lanyard:{}", env!("CARGO_PKG_VERSION")));
    Ok(())
}

#[test]
fn definitions_can_be_left_to_others_and_are_kept_at_uninstall() -> Result<()> {
    let definitions = |text: &str| -> Result<Vec<Value>> {
        Ok(objects(text)?.into_iter().filter(|it| it["kind"] == "CustomResourceDefinition").collect())
    };
    let with = definitions(&helm("lanyard-system", &[])?)?;
    ensure!(with.len() == 4);
    for definition in &with {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    ensure!(definitions(&helm("lanyard-system", &["crds.install=false"])?)?.is_empty());
    Ok(())
}

#[test]
fn what_the_values_add_is_in_the_pod() -> Result<()> {
    let values = [
        "extraArgs[0]=--removals=paused",
        "extraEnv[0].name=HTTPS_PROXY",
        "extraEnv[0].value=http://proxy:3128",
        "podLabels.team=identity",
        "podAnnotations.note=here",
        "nodeSelector.pool=system",
        "tolerations[0].operator=Exists",
        "priorityClassName=system-cluster-critical",
        "image.pullSecrets[0].name=registry",
        "resources.limits.memory=1Gi",
        "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution=null",
        "replicas=3",
        "networkPolicy.extraEgress[0].ports[0].port=3128",
        "outputs.enabled=false",
        "podDisruptionBudget.enabled=false",
    ];
    let all = objects(&helm("lanyard-system", &values)?)?;
    let deployment = find(&all, "Deployment", "lanyard")?;
    assert_eq!(deployment["spec"]["replicas"], 3);
    let (template, pod) = (&deployment["spec"]["template"], &deployment["spec"]["template"]["spec"]);
    assert_eq!(template["metadata"]["labels"]["team"], "identity");
    assert_eq!(template["metadata"]["labels"]["app.kubernetes.io/name"], "lanyard");
    assert_eq!(template["metadata"]["annotations"], json!({"note": "here"}));
    assert_eq!(pod["nodeSelector"], json!({"pool": "system"}));
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    let container = &pod["containers"][0];
    assert_eq!(container["args"], json!(["controller", "--removals=paused"]));
    assert_eq!(container["resources"], json!({"limits": {"memory": "1Gi"}}));
    let env = container["env"].as_array().context("no env")?;
    ensure!(env.contains(&json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})), "{env:?}");
    let egress = &find(&all, "NetworkPolicy", "lanyard")?["spec"]["egress"];
    ensure!(egress.to_string().contains("3128"), "{egress}");
    ensure!(find(&all, "ClusterRole", "lanyard-outputs").is_err());
    ensure!(find(&all, "ClusterRole", "lanyard-controller").is_ok());
    ensure!(find(&all, "PodDisruptionBudget", "lanyard").is_err());
    Ok(())
}
