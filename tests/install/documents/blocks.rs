//! Manifests on the pages are whole objects, and a real API server takes them as they stand.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use devenv::control_plane::{ControlPlane, Options};
use devenv::{crds, paths};
use serde_json::Value;

use super::count;
use super::pages::{Block, Page, all};
use crate::render::{deploy, kustomize, objects, relative};

/// What stands on a page for where Lanyard's repository is.
const ELSEWHERE: &str = "https://<where Lanyard is>//deploy/";

fn is_kustomization(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.starts_with("kustomize.config.k8s.io/"))
}

/// Renders it, with this repository in place of wherever it is.
fn render(block: &Block) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("page-").tempdir_in(paths::target_directory())?;
    let here = format!("{}/", relative(folder.path(), &deploy(""))?);
    let text = block.text.replace(ELSEWHERE, &here).replace("?ref=<tag>", "");
    std::fs::write(folder.path().join("kustomization.yaml"), text)?;
    kustomize(folder.path())
}

async fn accepted(control_plane: &ControlPlane, arguments: &[&str]) -> Result<()> {
    let output = control_plane.kubectl(arguments.iter().copied()).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}

async fn takes(control_plane: &ControlPlane, text: &str) -> Result<()> {
    let file = control_plane.directory().join("block.yaml");
    std::fs::write(&file, text)?;
    let file = file.display().to_string();
    accepted(control_plane, &["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file]).await
}

#[tokio::test]
async fn the_api_server_takes_every_manifest_on_a_page() -> Result<()> {
    let control_plane = ControlPlane::start(Options { controller_manager: false }).await?;
    crds::apply(&control_plane.client().await?, &paths::repository().join("crds")).await?;
    let pages = all()?;
    let blocks: Vec<(&Page, &Block)> = pages
        .iter()
        .flat_map(|page| page.blocks.iter().map(move |block| (page, block)))
        .filter(|(_, block)| block.language == "yaml")
        .collect();

    let (mut namespaces, mut taken) = (BTreeSet::from(["default".to_owned()]), 0);
    for (page, block) in &blocks {
        let at = page.at(block.line);
        let all = objects(&block.text).with_context(|| at.clone())?;
        let whole = |object: &Value| object["apiVersion"].is_string() && object["kind"].is_string();
        ensure!(!all.is_empty() && all.iter().all(whole), "{at} is a part of an object: nobody can apply it");
        if all.iter().any(is_kustomization) {
            render(block).with_context(|| at.clone())?;
            continue;
        }
        for namespace in all.iter().filter_map(|object| object["metadata"]["namespace"].as_str()) {
            if namespaces.insert(namespace.to_owned()) {
                accepted(&control_plane, &["create", "namespace", namespace]).await?;
            }
        }
        takes(&control_plane, &block.text).await.with_context(|| format!("{at} is not taken"))?;
        taken += all.len();
    }
    count(&format!("{} blocks of YAML, of which the API server takes {taken} objects", blocks.len()));
    ensure!(taken > 10, "hardly a manifest was found");

    let wrong = pages.iter().find(|page| page.path == Path::new("README.md")).context("no README")?;
    let wrong = wrong.blocks.iter().find(|block| block.language == "yaml").context("no manifest in it")?;
    let wrong = wrong.text.replace("systemAssigned: Enabled", "systemAssigned: Perhaps");
    ensure!(takes(&control_plane, &wrong).await.is_err(), "whatever is asked, the API server takes it");
    Ok(())
}
