//! A controller of the test's own, with an Azure of its own, on a control plane that it has to itself for a while.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use arm_simulator::{ArmSimulator, Settings};
use devenv::control_plane::{ControlPlane, Options};
use devenv::environment::of_azure;
use devenv::{crds, paths};
use jiff::SignedDuration;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, ResourceExt as _};
use lanyard::api::{IdentityAssignment, IdentityRecord, IdentityTarget, UserAssignedIdentity};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Controller, Stage};

/// Control planes for such tests: each takes 275 MB, and some seconds of a core to start.
static FREE: Semaphore = Semaphore::const_new(4);
static IDLE: Mutex<Vec<ControlPlane>> = Mutex::new(Vec::new());
/// What starts a control plane must outlive the test that happened to be first.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(Runtime::new);

/// A control plane that nobody else uses now, an Azure, and room for a controller.
pub struct Own {
    pub arm: ArmSimulator,
    pub namespace: String,
    pub subscription: String,
    pub client: kube::Client,
    control_plane: Option<ControlPlane>,
    _lane: SemaphorePermit<'static>,
}

impl Own {
    /// A clean control plane and a new Azure; no controller yet.
    pub async fn new(settings: Settings) -> Result<Self> {
        let lane = FREE.acquire().await?;
        Self::on(idle_or_new().await?, lane, settings).await
    }

    /// With a controller manager beside the API server: deleted namespaces end there.
    pub async fn with_controller_manager(settings: Settings) -> Result<Self> {
        let lane = FREE.acquire().await?;
        Self::on(start(Options { controller_manager: true }).await?, lane, settings).await
    }

    async fn on(control_plane: ControlPlane, lane: SemaphorePermit<'static>, settings: Settings) -> Result<Self> {
        let client = control_plane.client().await?;
        // First away with what is left: it may be stored under a definition that a test has bent.
        clean(&client).await?;
        crds::apply(&client, &paths::repository().join("crds")).await?;
        let metadata = ObjectMeta { generate_name: Some("own-".into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespace = Api::all(client.clone()).create(&PostParams::default(), &namespace).await?.name_any();
        let arm = ArmSimulator::start(settings)?;
        let subscription = uuid::Uuid::new_v4().to_string();
        arm.subscription(&subscription);
        let control_plane = Some(control_plane);
        Ok(Self { arm, namespace, subscription, client, control_plane, _lane: lane })
    }

    /// Starts a controller with these flags.
    pub fn start(&self, flags: &[&str]) -> Result<Controller> {
        let kubeconfig = self.control_plane()?.kubeconfig();
        self.start_by(&kubeconfig, flags)
    }

    /// Starts one that finds the cluster by another kubeconfig.
    pub fn start_by(&self, kubeconfig: &Path, flags: &[&str]) -> Result<Controller> {
        // Killed and started anew by the second: only tests of the election can wait for a lease to expire.
        let mut variables = self.variables(kubeconfig);
        variables.push(("LANYARD_LEADER_ELECTION", "off".to_owned()));
        variables.push((lanyard::fail_point::FILE, self.fail_points()?.display().to_string()));
        Controller::start(&self.log_name(), &variables, flags, self.control_plane()?.scratch())
    }

    /// Starts one of several replicas that elect one of them, with a name and a log of its own.
    pub fn start_replica(&self, name: &str, kubeconfig: &Path, flags: &[&str]) -> Result<Controller> {
        let mut variables = self.variables(kubeconfig);
        variables.push(("LANYARD_LEASE_NAMESPACE", self.namespace.clone()));
        variables.push(("POD_NAME", name.to_owned()));
        variables.push((lanyard::fail_point::WALL, self.clock()?.display().to_string()));
        let log = format!("{}-{name}", self.log_name());
        Controller::start(&log, &variables, flags, self.control_plane()?.scratch())
    }

    /// Where the cluster and the cloud are.
    fn variables(&self, kubeconfig: &Path) -> Vec<(&'static str, String)> {
        let mut all = vec![("KUBECONFIG", kubeconfig.display().to_string())];
        all.extend(of_azure(&self.arm));
        all
    }

    /// Hands and eyes.
    pub fn stage(&self) -> Result<Stage<'_>> {
        Ok(Stage {
            namespace: self.namespace.clone(),
            subscription: self.subscription.clone(),
            client: self.client.clone(),
            arm: &self.arm,
            log: self.log()?,
        })
    }

    /// Lists as the API server gives them now: of assignments, and of targets.
    pub async fn list_assignments_and_targets(&self) -> Result<[String; 2]> {
        let list = async |resource: &str| {
            let uri = format!("/apis/lanyard.dev/v1alpha1/{resource}");
            let request = axum::http::Request::get(uri).body(Vec::new())?;
            Ok::<_, anyhow::Error>(self.client.request_text(request).await?)
        };
        Ok([list("identityassignments").await?, list("identitytargets").await?])
    }

    pub fn control_plane(&self) -> Result<&ControlPlane> {
        self.control_plane.as_ref().context("the test is over")
    }

    /// Of all its controllers, one after another.
    fn log(&self) -> Result<PathBuf> {
        Ok(self.control_plane()?.scratch().path().join(self.log_name()).with_extension("log"))
    }

    /// Names the moments at which visits stand still; there is none while there is no file.
    pub fn fail_points(&self) -> Result<PathBuf> {
        Ok(self.log()?.with_extension("fail-points"))
    }

    /// Sets the time of day of all its controllers so far ahead, or behind.
    pub fn set_clocks(&self, ahead: SignedDuration) -> Result<()> {
        Ok(std::fs::write(self.clock()?, ahead.as_secs().to_string())?)
    }

    fn clock(&self) -> Result<PathBuf> {
        Ok(self.log()?.with_extension("clock"))
    }

    fn log_name(&self) -> String {
        format!("lanyard-{}", self.namespace)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.control_plane.take());
    }
}

async fn idle_or_new() -> Result<ControlPlane> {
    if let Some(idle) = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        return Ok(idle);
    }
    start(Options { controller_manager: false }).await
}

async fn start(options: Options) -> Result<ControlPlane> {
    let runtime = RUNTIME.as_ref().map_err(|error| anyhow!("cannot make a runtime: {error}"))?;
    Ok(runtime.spawn(ControlPlane::start(options)).await.context("the start was cut off")??)
}

/// Takes away what an earlier test left. Its controller is gone, so that nobody else takes finalizers off.
async fn clean(client: &kube::Client) -> Result<()> {
    let assignments: Api<IdentityAssignment> = Api::all(client.clone());
    if is_missing(assignments.list_metadata(&ListParams::default().limit(1)).await)? {
        return Ok(());
    }
    for left in assignments.list_metadata(&ListParams::default()).await?.items {
        let namespace = left.namespace().unwrap_or_default();
        remove(&namespaced::<IdentityAssignment>(client, &namespace), &left.name_any()).await?;
    }
    let targets: Api<IdentityTarget> = Api::all(client.clone());
    for left in targets.list_metadata(&ListParams::default()).await?.items {
        remove(&targets, &left.name_any()).await?;
    }
    let identities: Api<UserAssignedIdentity> = Api::all(client.clone());
    if is_missing(identities.list_metadata(&ListParams::default().limit(1)).await)? {
        return Ok(());
    }
    for left in identities.list_metadata(&ListParams::default()).await?.items {
        let namespace = left.namespace().unwrap_or_default();
        remove(&namespaced::<UserAssignedIdentity>(client, &namespace), &left.name_any()).await?;
    }
    let records: Api<IdentityRecord> = Api::all(client.clone());
    for left in records.list_metadata(&ListParams::default()).await?.items {
        remove(&records, &left.name_any()).await?;
    }
    Ok(())
}

/// A new control plane has no definitions yet.
fn is_missing<T>(answer: kube::Result<T>) -> Result<bool> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        other => Ok(other.map(|_| false)?),
    }
}

fn namespaced<K>(client: &kube::Client, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), namespace)
}

async fn remove<K: Clone + DeserializeOwned + Debug>(api: &Api<K>, name: &str) -> Result<()> {
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    is_missing(api.patch_metadata(name, &PatchParams::default(), &bare).await)?;
    is_missing(api.delete(name, &DeleteParams::default()).await)?;
    Ok(())
}
