//! What a test needs: a namespace and a subscription of its own, in a cluster and a cloud that all tests
//! of its process share.

use std::io;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow};
use arm_simulator::{ArmSimulator, Settings};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams, ResourceExt as _};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::control_plane::{ControlPlane, Options};
use crate::environment::Environment;

/// Each `#[tokio::test]` has a runtime that ends with it; what is shared is started on this one, which
/// stays to the end of the process.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(Runtime::new);
static SHARED: OnceCell<Environment> = OnceCell::const_new();

/// A test's own part of the shared cluster and cloud.
#[derive(Clone)]
pub struct World {
    /// A new, empty namespace. It goes with the control plane.
    pub namespace: String,
    /// The id of a new, empty subscription.
    pub subscription: String,
    /// A client of the administrator, for this test's runtime.
    pub client: kube::Client,
    environment: &'static Environment,
}

impl World {
    /// Starts what is shared, if this is the process's first test, and makes what is not.
    ///
    /// # Errors
    /// When the cluster or the cloud does not come up, or refuses a namespace.
    pub async fn start() -> Result<Self> {
        let environment = SHARED.get_or_try_init(start_shared).await?;
        let client = environment.control_plane.client().await?;
        let namespace = new_namespace(&client).await?;
        let subscription = uuid::Uuid::new_v4().to_string();
        environment.arm.subscription(&subscription);
        Ok(Self { namespace, subscription, client, environment })
    }

    /// The cluster that tests share. A test that stops it starts one of its own.
    #[must_use]
    pub fn control_plane(&self) -> &'static ControlPlane {
        &self.environment.control_plane
    }

    /// The cloud that tests share; it keeps subscriptions apart.
    #[must_use]
    pub fn arm(&self) -> &'static ArmSimulator {
        &self.environment.arm
    }

    /// Environment variables that lead a program to both.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        self.environment.variables()
    }
}

async fn start_shared() -> Result<Environment> {
    let runtime = RUNTIME.as_ref().map_err(|error| anyhow!("cannot make a runtime: {error}"))?;
    let start = Environment::start(Options::default(), Settings::quick());
    runtime.spawn(start).await.context("the start was cut off")?
}

async fn new_namespace(client: &kube::Client) -> Result<String> {
    let metadata = ObjectMeta { generate_name: Some("test-".into()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let made = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
    Ok(made.context("cannot make a namespace")?.name_any())
}
