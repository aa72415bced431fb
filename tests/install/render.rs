//! Manifests as the tools render them.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use devenv::parts::{Part, Parts};
use devenv::paths;
use serde_json::Value;

/// The client id that the overlays have in place of one.
pub const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Each overlay, and the values of the chart that come to the same.
pub const OVERLAYS: [(&str, &[&str]); 5] = [
    ("workload-identity", &[]),
    ("client-secret", &["credential.type=client-secret", "credential.secretName=lanyard-azure", "azure.clientId="]),
    ("managed-identity", &["credential.type=managed-identity"]),
    ("azure-government", &["azure.cloud=AzureUSGovernment"]),
    (
        "azure-stack",
        &[
            "azure.cloud=AzureStack",
            "azure.resourceManagerEndpoint=https://management.local.azurestack.external",
            "azure.tenantId=00000000-0000-0000-0000-000000000000",
            "credential.type=client-certificate",
            "credential.secretName=lanyard-certificate",
            "trustedAuthorities=lanyard-authorities",
        ],
    ),
];

/// Values that turn on what is off by default.
pub const ALL_PARTS: [&str; 3] =
    ["serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true"];

pub fn deploy(path: &str) -> PathBuf {
    paths::repository().join("deploy").join(path)
}

fn run(part: Part, arguments: &[&str]) -> Result<Output> {
    let program = Parts::from_environment().find(part)?;
    let home = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.args(arguments).env("HOME", home.path());
    command.output().with_context(|| format!("{} cannot be run", part.name()))
}

fn printed(output: &Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(!said.to_lowercase().contains("warning"), "{said}");
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// `kubectl kustomize`.
pub fn kustomize(folder: &std::path::Path) -> Result<String> {
    printed(&run(Part::Kubectl, &["kustomize", &folder.display().to_string()])?)
}

/// `helm template`, with these values beside the client id.
pub fn helm(namespace: &str, values: &[&str]) -> Result<String> {
    printed(&helm_said(namespace, values)?)
}

/// The same, however it ends.
pub fn helm_said(namespace: &str, values: &[&str]) -> Result<Output> {
    let chart = deploy("chart").display().to_string();
    let client = format!("azure.clientId={NOBODY}");
    let mut arguments = vec!["template", "lanyard", &chart, "--namespace", namespace, "--set", &client];
    for value in values {
        arguments.extend(["--set", value]);
    }
    run(Part::Helm, &arguments)
}

/// `helm lint --strict`.
pub fn lint() -> Result<()> {
    let (chart, client) = (deploy("chart").display().to_string(), format!("azure.clientId={NOBODY}"));
    let output = run(Part::Helm, &["lint", "--strict", &chart, "--set", &client])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Rendered manifests once more, by kustomize: it writes long texts in a way of its own, and two streams are compared only
/// where both were written by one hand.
pub fn rewritten(text: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rendered.yaml"), text)?;
    std::fs::write(folder.path().join("kustomization.yaml"), "resources:\n- rendered.yaml\n")?;
    kustomize(folder.path())
}

/// The base or an overlay, with components: as somebody's own overlay would have them.
pub fn overlay_with(overlay: &str, components: &[&str]) -> Result<String> {
    // Beside the others: kustomize takes paths, and remote places, but no absolute path.
    let folder = tempfile::Builder::new().prefix("with-").tempdir_in(paths::target_directory())?;
    let resource = relative(folder.path(), &deploy("overlays").join(overlay))?;
    let mut text = format!("resources:\n- {resource}\n");
    let places = components.iter().map(|component| relative(folder.path(), &deploy("components").join(component)));
    for (number, place) in places.enumerate() {
        text += if number == 0 { "components:\n- " } else { "- " };
        text += &place?;
        text += "\n";
    }
    std::fs::write(folder.path().join("kustomization.yaml"), text)?;
    kustomize(folder.path())
}

/// The way from one folder to another.
pub fn relative(from: &std::path::Path, to: &std::path::Path) -> Result<String> {
    let (from, to) = (from.canonicalize()?, to.canonicalize()?);
    let shared = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..", from.components().count() - shared);
    let down = to.components().skip(shared).filter_map(|part| part.as_os_str().to_str());
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}

/// The objects of a rendered stream.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents.into_iter().filter(|object| !object.is_null()).collect())
}

/// The one object of this kind and name.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let mut found = objects.iter().filter(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    let one = found.next().with_context(|| format!("there is no {kind} {name}"))?;
    ensure!(found.next().is_none(), "there are two of {kind} {name}");
    Ok(one)
}
