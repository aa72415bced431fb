//! A start that is not possible, told in one line; and one with exactly the rights that `deploy/base` gives.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{ArmSimulator, SECRET, Settings};
use devenv::control_plane::{ControlPlane, Options};
use devenv::paths;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use lanyard::api::assignment::SystemAssigned;
use rstest::rstest;
use serde_json::json;

use crate::harness::{Controller, Stage, assignment};

/// The controller gives an API server 20 s for its first word; the rest is for a busy machine.
const SECONDS: Duration = Duration::from_secs(40);

/// What a start came to, that should come to nothing.
async fn started(flags: &[&str]) -> Result<Output> {
    let home = tempfile::tempdir()?;
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"));
    program.env_clear().env("HOME", home.path());
    program.env("LANYARD_HTTP_LISTEN", "127.0.0.1:0").env("LANYARD_ADMIN_LISTEN", "off").arg("controller").args(flags);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(tokio::time::timeout(SECONDS, program.spawn()?.wait_with_output()).await.context("it goes on running")??)
}

/// One line that is no log line, with these words.
fn tells(output: &Output, words: &[&str]) -> Result<()> {
    let text = String::from_utf8(output.stderr.clone())?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('{')).collect();
    ensure!(output.status.code() == Some(1), "{:?}: {text}", output.status);
    ensure!(lines.len() == 1 && lines[0].starts_with("error: "), "not one line: {text}");
    for word in words {
        ensure!(lines[0].contains(word), "it does not say '{word}': {}", lines[0]);
    }
    ensure!(!text.contains("s3cret"), "it tells what the kubeconfig holds: {text}");
    Ok(())
}

const NO_SERVER: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
  "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
  "users": [{"name": "u", "user": {"token": "s3cret"}}],
  "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}"#;

#[rstest]
#[case::no_such_file(None, &["kubeconfig", "cannot be read", "No such file"])]
#[case::garbage(Some("users: [{token: s3cret}\n  {{{"), &["kubeconfig", "cannot be read", "YAML"])]
#[case::leads_nowhere(Some("apiVersion: v1\nkind: Config\nclusters: []\n"), &["kubeconfig", "leads to no cluster"])]
#[case::nobody_listens(Some(NO_SERVER), &["the Kubernetes API server cannot be asked", "Connection refused"])]
#[tokio::test]
async fn a_kubeconfig_that_leads_to_no_cluster_is_said_in_one_line(
    #[case] kubeconfig: Option<&str>,
    #[case] words: &[&str],
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kubeconfig");
    if let Some(text) = kubeconfig {
        std::fs::write(&path, text)?;
    }
    tells(&start_by(&path).await?, words)
}

#[rstest]
#[case::no_cluster(&[], &["no cluster to work on", "--kubeconfig", "KUBECONFIG"])]
#[case::plain_http(&["--azure-resource-manager-endpoint=http://example.com"], &["plain http", "https://"])]
#[case::no_url(&["--azure-resource-manager-endpoint=nonsense"], &["'nonsense' is no URL", "https://"])]
#[case::no_secret(&["--credential=client-secret"], &["AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET", "set it"])]
#[case::half_a_credential(&["--azure-client-secret=s3cret"], &["AZURE_TENANT_ID, AZURE_CLIENT_ID: set it"])]
#[case::plain_authority(&["--azure-authority-host=http://example.com"], &["AZURE_AUTHORITY_HOST", "https://"])]
#[case::collector(&["--otlp-endpoint=collector"], &["--otlp-endpoint", "http://<host>:4318"])]
#[case::log_filter(&["--log-level=lanyard=["], &["'lanyard=['", "--log-level", "lanyard=debug"])]
#[tokio::test]
async fn settings_that_cannot_work_are_said_in_one_line(#[case] flags: &[&str], #[case] words: &[&str]) -> Result<()> {
    tells(&started(flags).await?, words)
}

#[rstest]
#[case("--removal-rate=fast", "write a number above 0 and s, m or h, such as 60/m")]
#[case("--removals=sometimes", "[possible values: paced, paused]")]
#[case("--credential=magic", "[possible values: default, workload-identity")]
#[case("--http-listen=nowhere", "invalid value 'nowhere' for '--http-listen <ADDR>'")]
#[case("--stuck-after=1s", "write 15s or more")]
#[case("--admin-listen=0.0.0.0:8081", "it must be a loopback address, or off")]
#[case("--frobnicate", "unexpected argument '--frobnicate'")]
#[tokio::test]
async fn a_bad_flag_is_named_with_what_to_write(#[case] flag: &str, #[case] words: &str) -> Result<()> {
    let output = started(&[flag]).await?;
    let text = String::from_utf8(output.stderr)?;
    // Of `lanyard plan` 2 says that there are changes: a wrong command line is an error like any other.
    ensure!(output.status.code() == Some(1) && text.contains(words), "{:?}: {text}", output.status);
    Ok(())
}

#[tokio::test]
async fn what_the_cluster_lacks_is_said_in_one_line_and_with_deploy_base_all_works() -> Result<()> {
    let cluster = Cluster::start().await?;
    let admin = cluster.control_plane.kubeconfig();
    tells(&start_by(&admin).await?, &["identityassignments is not installed", "kubectl apply -f crds/"])?;

    cluster.apply_base().await?;
    let nobody = cluster.control_plane.kubeconfig_as("nobody", &["system:authenticated"])?;
    tells(&start_by(&nobody).await?, &["no permission to list identityassignments", "deploy/base", "nobody"])?;

    let controller = cluster.start_by_its_service_account().await?;
    let stage = cluster.stage(&controller);
    cluster.allow_all_scopes(&stage).await?;
    whole_story(&stage).await?;
    ensure!(cluster.leader().await?.is_some_and(|leader| !leader.is_empty()), "nobody holds the Lease");

    let log = std::fs::read_to_string(&stage.log)?;
    let refused = log.lines().find(|line| line.contains("forbidden"));
    ensure!(refused.is_none(), "it asked for more than it has: {}", refused.unwrap_or_default());
    let begun = Instant::now();
    let (status, _) = controller.terminate().await?;
    ensure!(status.code() == Some(0) && begun.elapsed() < Duration::from_secs(25), "{status:?}");
    ensure!(cluster.leader().await?.as_deref() == Some(""), "the Lease is not released");
    Ok(())
}

#[tokio::test]
async fn a_port_that_somebody_has_is_said_in_one_line() -> Result<()> {
    let somebody = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = somebody.local_addr()?.to_string();
    for flag in ["--http-listen", "--admin-listen"] {
        let words = [&taken, flag, "cannot listen on", "in use"];
        tells(&started(&[&format!("{flag}={taken}")]).await?, &words.map(|word: &str| word))?;
    }
    Ok(())
}

async fn start_by(kubeconfig: &Path) -> Result<Output> {
    started(&["--kubeconfig", &kubeconfig.display().to_string()]).await
}

/// Attach, share, change, drift, delete: all that the controller ever asks of Kubernetes.
pub async fn whole_story(stage: &Stage<'_>) -> Result<()> {
    let vm = stage.vm("web").with_identity("legacy").create();
    let set = stage.scale_set("pool").create();
    let wanted = assignment("web").on(&vm).present("shop-db").system(SystemAssigned::Enabled);
    stage.declare(wanted).await?;
    stage.declare(assignment("pool").on(&set).present("shop-db")).await?;
    stage.until_ready("web").await?;
    stage.until_ready("pool").await?;
    stage.until_event("DefaultIdentityChanged", "attached shop-db").await?;
    ensure!(vm.identities() == ["legacy", "shop-db"] && vm.system_principal().is_some());

    stage.edit("web", |it| it.without("shop-db").present("shop-queue")).await?;
    stage.until_ready("web").await?;
    ensure!(vm.identities() == ["legacy", "shop-queue"], "it has {:?}", vm.identities());
    vm.detach_as_stranger("shop-queue");
    stage.look("web").await?;
    stage.until("the drift to be repaired", async || Ok(vm.identities() == ["legacy", "shop-queue"])).await?;

    stage.delete("web").await?;
    stage.delete("pool").await?;
    stage.until_gone("web").await?;
    stage.until_gone("pool").await?;
    ensure!(vm.identities() == ["legacy"] && set.identities().is_empty());
    // An Event about a machine whose assignments are gone lies in `default`.
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(stage.client.clone(), "default");
    let told = async || {
        let list = events.list(&kube::api::ListParams::default()).await?;
        Ok(list.iter().any(|event| event.reason.as_deref() == Some("SystemIdentityKept")))
    };
    stage.until("the Event about the system identity that stays", told).await?;
    let gone = async || Ok(stage.target(&vm).await?.is_none() && stage.target(&set).await?.is_none());
    stage.until("the records to go with the last claims", gone).await
}

/// A control plane without anything of ours, and an Azure.
pub struct Cluster {
    pub control_plane: ControlPlane,
    pub client: kube::Client,
    arm: ArmSimulator,
}

impl Cluster {
    pub async fn start() -> Result<Self> {
        // Service accounts are made with the namespace of `deploy/base`; no part needs the controller manager.
        let control_plane = ControlPlane::start(Options { controller_manager: false }).await?;
        let client = control_plane.client().await?;
        let arm = ArmSimulator::start(Settings::quick())?;
        Ok(Self { control_plane, client, arm })
    }

    pub async fn apply_base(&self) -> Result<()> {
        let base: PathBuf = paths::repository().join("deploy/base");
        let arguments = ["apply", "--server-side", "-k", &base.display().to_string()];
        let applied = self.control_plane.kubectl(arguments).await?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let crds = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        let established = self.control_plane.kubectl(crds).await?;
        ensure!(established.status.success(), "{}", String::from_utf8_lossy(&established.stderr));
        Ok(())
    }

    async fn start_by_its_service_account(&self) -> Result<Controller> {
        self.start_by(&self.control_plane.kubeconfig_of_service_account("lanyard-system", "lanyard").await?)
    }

    pub fn start_by(&self, kubeconfig: &Path) -> Result<Controller> {
        let mut variables = self.surroundings(kubeconfig).to_vec();
        // As the Deployment has it.
        variables.push(("POD_NAMESPACE", "lanyard-system".into()));
        variables.extend(self.credential());
        Controller::start("least-rights", &variables, &[], self.control_plane.scratch())
    }

    /// A secret that signs in.
    pub fn credential(&self) -> [(&'static str, String); 3] {
        [
            ("AZURE_TENANT_ID", self.arm.tenant_id().into()),
            ("AZURE_CLIENT_ID", self.arm.client_id().into()),
            ("AZURE_CLIENT_SECRET", SECRET.into()),
        ]
    }

    /// What is around a process here and not in a pod: where the cluster and the cloud are, and whom to trust.
    pub fn surroundings(&self, kubeconfig: &Path) -> [(&'static str, String); 4] {
        [
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("AZURE_RESOURCE_MANAGER_ENDPOINT", self.arm.arm_url().into()),
            ("AZURE_AUTHORITY_HOST", self.arm.authority_url().into()),
            ("SSL_CERT_FILE", self.arm.ca_pem_path().display().to_string()),
        ]
    }

    pub fn stage(&self, controller: &Controller) -> Stage<'_> {
        let subscription = uuid::Uuid::new_v4().to_string();
        self.arm.subscription(&subscription);
        let (client, log) = (self.client.clone(), controller.log.clone());
        Stage { namespace: "team".into(), subscription, client, arm: &self.arm, log }
    }

    /// Who holds the Lease; empty: nobody.
    pub async fn leader(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "lanyard-system");
        Ok(leases.get("lanyard").await?.spec.and_then(|spec| spec.holder_identity))
    }

    pub async fn allow_all_scopes(&self, stage: &Stage<'_>) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": stage.namespace, "annotations": {"lanyard.dev/allowed-scopes": "*"}},
        });
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.patch(&stage.namespace, &PatchParams::apply("test").force(), &Patch::Apply(namespace)).await?;
        Ok(())
    }
}
