//! A real API server takes all of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use devenv::control_plane::{ControlPlane, Options};
use devenv::{crds, paths};
use serde_json::{Value, json};

use crate::render::{ALL_PARTS, OVERLAYS, deploy, find, helm, kustomize, objects, overlay_with};

/// Kinds of others, by the Go module that publishes them and the file in it: `tests/published-kinds/go.mod` says which version.
const PUBLISHED: [(&str, &str); 4] = [
    (
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    (
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    ("github.com/argoproj/argo-cd/v3", "manifests/crds/application-crd.yaml"),
    ("github.com/fluxcd/kustomize-controller", "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"),
];

/// Downloads the module, or finds it where Go keeps it.
fn published(module: &str, file: &str) -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", module]).env("GOWORK", "off");
    let output = go.current_dir(paths::repository().join("tests/published-kinds")).output();
    let output = output.context("Go is needed for the definitions of others' kinds")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let module: Value = serde_json::from_slice(&output.stdout)?;
    Ok(PathBuf::from(module["Dir"].as_str().context("no folder")?).join(file))
}

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster(ControlPlane);

impl Cluster {
    /// With the namespace of the base, the service account in it, and the kinds of others that we have manifests of.
    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start(Options { controller_manager: false }).await?;
        let kinds = tempfile::tempdir()?;
        for (number, (module, file)) in PUBLISHED.iter().enumerate() {
            std::fs::copy(published(module, file)?, kinds.path().join(format!("{number}.yaml")))?;
        }
        crds::apply(&control_plane.client().await?, kinds.path()).await?;
        let cluster = Self(control_plane);
        for file in ["namespace.yaml", "service-account.yaml"] {
            let file = deploy("base").join(file).display().to_string();
            accepted(&cluster.0.kubectl(["apply", "--server-side", "-f", &file]).await?)?;
        }
        Ok(cluster)
    }

    /// Each object, and a pod of the Deployment: as if applied, and without a warning.
    async fn takes(&self, text: &str, what: &str) -> Result<()> {
        let file = self.0.directory().join("rendered.yaml");
        std::fs::write(&file, text)?;
        self.dry_run(&file).await.with_context(|| format!("{what} is not taken"))?;
        let all = objects(text)?;
        let template = &find(&all, "Deployment", "lanyard")?["spec"]["template"];
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        pod["metadata"]["name"] = json!("lanyard-0");
        pod["metadata"]["namespace"] = json!("lanyard-system");
        std::fs::write(&file, pod.to_string())?;
        self.dry_run(&file).await.with_context(|| format!("a pod of {what} is not admitted"))
    }

    async fn dry_run(&self, file: &Path) -> Result<()> {
        let file = file.display().to_string();
        let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file];
        accepted(&self.0.kubectl(arguments).await?)
    }
}

/// Without a warning either: Pod Security warns of what it would refuse, and the API server of fields that it drops.
fn accepted(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "{said}");
    Ok(())
}

/// Admission judges by what it has heard of, which may be a moment old: asked again until it has.
async fn in_the_end(what: &str, mut ask: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let mut last = anyhow::anyhow!("nothing was tried");
    let tries = async {
        while let Err(error) = ask().await {
            last = error;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, tries).await;
    if done.is_ok() { Ok(()) } else { Err(last.context(format!("{what} is never taken"))) }
}

#[tokio::test]
async fn the_api_server_takes_every_overlay_and_the_chart_without_a_warning() -> Result<()> {
    let cluster = Cluster::start().await?;
    for (overlay, values) in OVERLAYS {
        cluster.takes(&kustomize(&deploy("overlays").join(overlay))?, overlay).await?;
        let values: Vec<&str> = values.iter().copied().chain(ALL_PARTS).collect();
        cluster.takes(&helm("lanyard-system", &values)?, &format!("the chart as {overlay}")).await?;
    }
    let components = ["service-monitor", "alerts", "dashboard", "priority-class"];
    let text = overlay_with("workload-identity", &components)?;
    // A pod may name a class that is there: applied, that is, not only rendered.
    let class = deploy("components/priority-class/priority-class.yaml").display().to_string();
    accepted(&cluster.0.kubectl(["apply", "--server-side", "-f", &class]).await?)?;
    in_the_end("an overlay with all components", async || cluster.takes(&text, "it").await).await?;

    // Against a pod that asks for more than `restricted` grants, the same judgement says no.
    let greedy = text.replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true");
    ensure!(greedy != text && cluster.takes(&greedy, "a greedy one").await.is_err(), "nothing is judged");
    Ok(())
}

#[tokio::test]
async fn a_release_of_the_chart_upgrades_what_an_older_one_or_kustomize_installed() -> Result<()> {
    let cluster = Cluster::start().await?;
    let file = cluster.0.directory().join("all.yaml").display().to_string();
    std::fs::write(&file, kustomize(&deploy("overlays/workload-identity"))?)?;
    let apply = ["apply", "--server-side", "-f", &file];
    accepted(&cluster.0.kubectl(apply).await?)?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    accepted(&cluster.0.kubectl(wait).await?)?;

    // A definition of an older version: with a column less.
    let older = r#"[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]"#;
    let crd = "identityassignments.lanyard.dev";
    accepted(&cluster.0.kubectl(["patch", "crd", crd, "--type=json", "-p", older]).await?)?;
    let columns = async || -> Result<usize> {
        let crd = cluster.0.kubectl(["get", "crd", crd, "-o", "json"]).await?;
        let crd: Value = serde_json::from_slice(&crd.stdout)?;
        Ok(crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().map_or(0, Vec::len))
    };
    let before = columns().await?;
    std::fs::write(&file, helm("lanyard-system", &[])?)?;
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", &file];
    accepted(&cluster.0.kubectl(apply).await?)?;
    assert_eq!(columns().await?, before + 1);
    Ok(())
}

#[tokio::test]
async fn the_example_repository_is_taken_as_it_is() -> Result<()> {
    let cluster = Cluster::start().await?;
    let lanyard = cluster.0.directory().join("lanyard.yaml");
    std::fs::write(&lanyard, kustomize(&deploy("gitops-example/apps/lanyard"))?)?;
    accepted(&cluster.0.kubectl(["apply", "--server-side", "-f", &lanyard.display().to_string()]).await?)?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    accepted(&cluster.0.kubectl(wait).await?)?;

    for namespace in ["argocd", "flux-system"] {
        accepted(&cluster.0.kubectl(["create", "namespace", namespace]).await?)?;
    }
    for tool in ["argocd/applications.yaml", "flux/kustomizations.yaml"] {
        cluster.dry_run(&deploy("gitops-example").join(tool)).await.with_context(|| tool)?;
    }
    let rendered = cluster.0.directory().join("argocd.yaml");
    std::fs::write(&rendered, kustomize(&deploy("gitops-example/argocd"))?)?;
    cluster.dry_run(&rendered).await?;
    // Applied, since what is in a namespace needs it to be there: both environments, one after the other.
    for environment in ["staging", "production"] {
        let rendered = cluster.0.directory().join("environment.yaml");
        std::fs::write(&rendered, kustomize(&deploy("gitops-example/identities/environments").join(environment))?)?;
        let file = rendered.display().to_string();
        let apply = async || accepted(&cluster.0.kubectl(["apply", "--server-side", "-f", &file]).await?);
        in_the_end(environment, apply).await?;
        // The subscription of an object cannot be changed, and the next environment has another.
        let objects = ["delete", "identityassignments,userassignedidentities", "--all", "-n", "shop"];
        accepted(&cluster.0.kubectl(objects).await?)?;
    }
    Ok(())
}
