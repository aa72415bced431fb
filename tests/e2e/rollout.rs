//! Replicas and a rolling update, as the manifests have them: arguments, environment, service account, probes, numbers and
//! grace are read from a rendered overlay.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::harness::{Controller, assignment, sent};
use crate::monitoring::{ask, scrape};
use crate::starting::Cluster;

/// Its credential is one that a process can have outside a pod, too.
const OVERLAY: &str = "deploy/overlays/client-secret";

struct Deployment(Value);

impl Deployment {
    async fn rendered(cluster: &Cluster) -> Result<Self> {
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join(OVERLAY).display().to_string();
        let output = cluster.control_plane.kubectl(["kustomize", &overlay]).await?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
        let deployment = objects.into_iter().find(|object| object["kind"] == "Deployment");
        Ok(Self(deployment.context("no Deployment")?))
    }

    fn pod(&self) -> &Value {
        &self.0["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    fn number(&self, pointer: &str) -> Result<usize> {
        let number = self.0.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer}"))?;
        Ok(usize::try_from(number)?)
    }

    /// Starts a pod's process: what the manifest says, and the surroundings of a pod.
    fn start(&self, cluster: &Cluster, kubeconfig: &Path, pod: &str) -> Result<Controller> {
        let mut variables = cluster.surroundings(kubeconfig).to_vec();
        let secret = cluster.credential();
        for variable in self.container()["env"].as_array().context("no environment")? {
            let name = variable["name"].as_str().context("no name")?;
            let from = &variable["valueFrom"];
            let value = match from["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => pod.to_owned(),
                Some("metadata.namespace") => self.0["metadata"]["namespace"].as_str().context("none")?.to_owned(),
                Some(other) => anyhow::bail!("what is {other}?"),
                None if from["secretKeyRef"].is_object() => {
                    let known = secret.iter().find(|(known, _)| *known == name);
                    known.with_context(|| format!("what is the secret {name}?"))?.1.clone()
                }
                None => variable["value"].as_str().context("a value from elsewhere")?.to_owned(),
            };
            // Where the cloud is, it says of Azure; here it is the simulator.
            if !variables.iter().any(|(known, _)| *known == name) {
                variables.push((name, value));
            }
        }
        let arguments = self.container()["args"].as_array().context("no arguments")?;
        let arguments: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
        let (command, flags) = arguments.split_first().context("no command")?;
        ensure!(*command == "controller", "another command: {command}");
        Controller::start(pod, &variables, flags, cluster.control_plane.scratch())
    }

    /// What its readiness probe finds.
    async fn is_ready(&self, pod: &Controller) -> Result<bool> {
        let path = self.container()["readinessProbe"]["httpGet"]["path"].as_str().context("no probe")?;
        Ok(ask(pod, path).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
    }

    async fn is_alive(&self, pod: &Controller) -> Result<bool> {
        let path = self.container()["livenessProbe"]["httpGet"]["path"].as_str().context("no probe")?;
        Ok(ask(pod, path).await?.starts_with("HTTP/1.1 200"))
    }
}

async fn leads(pod: &Controller) -> Result<bool> {
    Ok(scrape(pod).await.is_ok_and(|text| text.lines().any(|line| line == "lanyard_leader 1")))
}

/// How many of them lead, and are ready.
async fn roles(deployment: &Deployment, pods: &[(String, Controller)]) -> Result<(usize, usize)> {
    let (mut leaders, mut ready) = (0, 0);
    for (_, pod) in pods {
        leaders += usize::from(leads(pod).await?);
        if deployment.is_ready(pod).await? {
            ready += 1;
            ensure!(deployment.is_alive(pod).await?, "one that does what it should would be restarted");
        }
    }
    Ok((leaders, ready))
}

#[tokio::test]
async fn replicas_and_a_rolling_update_go_by_the_manifests_and_lose_nothing() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.apply_base().await?;
    let deployment = Deployment::rendered(&cluster).await?;
    let replicas = deployment.number("/spec/replicas")?;
    let grace = u64::try_from(deployment.number("/spec/template/spec/terminationGracePeriodSeconds")?)?;
    let grace = Duration::from_secs(grace);
    let surge = deployment.number("/spec/strategy/rollingUpdate/maxSurge")?;
    ensure!(replicas == 2 && surge == 1 && deployment.number("/spec/strategy/rollingUpdate/maxUnavailable")? == 0);
    let account = deployment.pod()["serviceAccountName"].as_str().context("no service account")?;
    let account: PathBuf = cluster.control_plane.kubeconfig_of_service_account("lanyard-system", account).await?;

    let mut pods = Vec::new();
    for number in 0..replicas {
        let name = format!("old-{number}");
        pods.push((name.clone(), deployment.start(&cluster, &account, &name)?));
    }
    let stage = cluster.stage(&pods[0].1);
    cluster.allow_all_scopes(&stage).await?;
    let settled = async || Ok(roles(&deployment, &pods).await? == (1, replicas));
    stage.until("every replica to be ready, and one to lead", settled).await?;
    let vm = stage.vm("web").with_identity("legacy").create();
    stage.declare(assignment("web").on(&vm).present("round-0")).await?;
    stage.until_ready("web").await?;

    for number in 0..replicas {
        // One more, and only when it is ready one less: whoever leads goes first, the hardest case.
        let name = format!("new-{number}");
        pods.push((name.clone(), deployment.start(&cluster, &account, &name)?));
        let settled = async || Ok(roles(&deployment, &pods).await? == (1, replicas + surge));
        stage.until("the new one to be ready, and one to lead", settled).await?;
        let holder = cluster.leader().await?.unwrap_or_default();
        let of_old = |name: &str| name.starts_with("old-");
        let leader = pods.iter().position(|(name, _)| of_old(name) && holder.contains(name.as_str()));
        let goes = leader.or_else(|| pods.iter().position(|(name, _)| of_old(name))).context("all are new")?;
        let (_, old) = pods.remove(goes);
        let (status, took) = old.terminate().await?;
        ensure!(status.code() == Some(0) && took < grace, "{status:?} after {took:?}");

        let (before, after) = (format!("round-{number}"), format!("round-{}", number + 1));
        stage.edit("web", |it| it.without(&before).present(&after)).await?;
        stage.until_ready("web").await?;
        ensure!(vm.identities() == ["legacy".to_owned(), after], "{:?}", vm.identities());
        let settled = async || Ok(roles(&deployment, &pods).await? == (1, replicas));
        stage.until("one to lead, and all to be ready", settled).await?;
    }
    ensure!(pods.iter().all(|(name, _)| name.starts_with("new-")));
    ensure!(sent(&vm).len() == replicas + 1, "one PATCH a change: {:?}", sent(&vm));
    let holder = cluster.leader().await?.unwrap_or_default();
    ensure!(pods.iter().any(|(name, _)| holder.contains(name.as_str())), "{holder}");
    Ok(())
}
