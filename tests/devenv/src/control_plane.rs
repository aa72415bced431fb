//! A Kubernetes API of one's own: etcd, kube-apiserver and, where asked for, kube-controller-manager.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::certificates::{Authority, Pair};
use crate::guardian::{Guarded, Guardian, Scratch};
use crate::kubeconfig::{self, ADMIN, Identity};
use crate::parts::{Part, PartError, Parts};

mod flags;
mod port;
mod ready;

const CONTROLLER_MANAGER: &str = "controller-manager";
/// Far longer than any test run.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// With kube-controller-manager: namespaces end, owners are collected, service accounts have tokens.
    pub controller_manager: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { controller_manager: true }
    }
}

/// Why a control plane did not come up, or does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// A program is missing.
    #[error("a part of the control plane is missing")]
    Part(#[from] PartError),
    /// No certificate could be made.
    #[error("cannot make certificates")]
    Certificates(#[from] rcgen::Error),
    /// The file system or the operating system refused.
    #[error("cannot {0}")]
    Io(&'static str, #[source] io::Error),
    /// A part ended while it was needed.
    #[error("{part} ended; its log {} ends with:\n{last}", log.display())]
    Ended {
        /// Which.
        part: &'static str,
        /// All that it said.
        log: PathBuf,
        /// The last of it.
        last: String,
    },
    /// A part runs but is not ready.
    #[error("{part} was not ready after {seconds} s; its log {} ends with:\n{last}", log.display())]
    Late {
        /// Which.
        part: &'static str,
        /// How long it had.
        seconds: u64,
        /// All that it said.
        log: PathBuf,
        /// The last of it.
        last: String,
    },
    /// The kubeconfig that we wrote does not work.
    #[error("the kubeconfig is refused")]
    Kubeconfig(#[from] KubeconfigError),
    /// The API refused.
    #[error("the API server refused a request")]
    Api(#[from] kube::Error),
}

type Result<T> = std::result::Result<T, ControlPlaneError>;

/// A running control plane. Dropping it, or the end of the process, ends all of it.
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    parts: Parts,
    port: u16,
    api_server: Mutex<Option<Guarded>>,
    controller_manager: Mutex<Option<Guarded>>,
    etcd: Mutex<Option<Guarded>>,
    scratch: Scratch,
}

impl ControlPlane {
    /// Starts one on free loopback ports, with programs that this process's environment leads to,
    /// and waits until it is ready. Builds what is missing.
    ///
    /// # Errors
    /// When a part is missing and cannot be built, or does not come up.
    pub async fn start(options: Options) -> Result<Self> {
        Self::start_with(options, Parts::from_environment()).await
    }

    /// The same with programs from elsewhere.
    ///
    /// # Errors
    /// When a part is missing and cannot be built, or does not come up.
    pub async fn start_with(options: Options, parts: Parts) -> Result<Self> {
        let etcd = find(&parts, Part::Etcd).await?;
        let scratch = Scratch::new().map_err(|error| ControlPlaneError::Io("make a directory", error))?;
        write_certificates(scratch.path())?;
        let etcd = Guardian::of(etcd).args(flags::etcd());
        let etcd = Mutex::new(Some(run(etcd, "etcd", &scratch)?));
        let idle = || Mutex::new(None);
        let mut it = Self { options, parts, port: 0, api_server: idle(), controller_manager: idle(), etcd, scratch };
        it.start_api_server_on_a_free_port().await?;
        if options.controller_manager {
            it.start_controller_manager().await?;
        }
        Ok(it)
    }

    /// The directory of its files: logs, certificates, kubeconfigs. It goes when the control plane goes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// What keeps that directory; children started with it are waited for before it goes.
    #[must_use]
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The administrator's kubeconfig, of `system:masters`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join("admin.kubeconfig")
    }

    /// A kubeconfig with the rights of `user`, a member of `groups`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_as(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let groups = groups.iter().map(ToString::to_string).collect();
        let name = format!("as-{}", user.replace([':', '/'], "-"));
        self.write_kubeconfig(&name, &Identity::Impersonated { user: user.into(), groups })
    }

    /// A kubeconfig with a token of the service account `name` in `namespace`.
    ///
    /// # Errors
    /// When there is no such service account.
    pub async fn kubeconfig_of_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let wish = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &wish).await?;
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        self.write_kubeconfig(&format!("token-{namespace}-{name}"), &Identity::Token(token))
    }

    /// The administrator's client configuration.
    ///
    /// # Errors
    /// When the kubeconfig was spoilt.
    pub async fn config(&self) -> Result<kube::Config> {
        let file = Kubeconfig::read_from(self.kubeconfig())?;
        Ok(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
    }

    /// A new client of the administrator. It lives no longer than the runtime that it was made on, so each
    /// test takes its own.
    ///
    /// # Errors
    /// When the kubeconfig was spoilt.
    pub async fn client(&self) -> Result<kube::Client> {
        Ok(kube::Client::try_from(self.config().await?)?)
    }

    /// The path of kubectl, built at the first call if need be.
    ///
    /// # Errors
    /// When it is missing and cannot be built.
    pub async fn kubectl_program(&self) -> Result<PathBuf> {
        find(&self.parts, Part::Kubectl).await
    }

    /// Runs kubectl as the administrator, in the working directory of this process.
    ///
    /// # Errors
    /// When it cannot be run; that it fails is in the output's status.
    pub async fn kubectl(&self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Output> {
        let mut command = tokio::process::Command::new(self.kubectl_program().await?);
        command.args(arguments.into_iter().map(Into::into)).kill_on_drop(true);
        // Its discovery cache lies under HOME, where another control plane on our port may have left one.
        command.env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", self.directory().join("kubectl"));
        command.output().await.map_err(|error| ControlPlaneError::Io("run kubectl", error))
    }

    /// Kills the API server; clients see their connections break and new ones refused. etcd goes on.
    ///
    /// # Errors
    /// When the system cannot say whether it is gone.
    pub fn stop_api_server(&self) -> Result<()> {
        let running = hold(&self.api_server).take();
        running.map_or(Ok(()), Guarded::kill).map_err(|error| ControlPlaneError::Io("end kube-apiserver", error))
    }

    /// Starts the API server again on the port that it had, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start_api_server(&self) -> Result<()> {
        self.stop_api_server()?;
        self.run_api_server(self.port).await
    }

    /// Whether every part runs that should.
    ///
    /// # Errors
    /// When one has ended; the error has its last words.
    pub fn check(&self) -> Result<()> {
        ready::check(self)
    }

    async fn start_api_server_on_a_free_port(&mut self) -> Result<()> {
        let mut attempts = port::free_ports();
        loop {
            let port = attempts.next().map_err(|error| ControlPlaneError::Io("find a free port", error))?;
            self.port = port;
            let certificate = |name: &str| Identity::Certificate(name.into());
            self.write_kubeconfig(ADMIN, &certificate(ADMIN))?;
            self.write_kubeconfig(CONTROLLER_MANAGER, &certificate(CONTROLLER_MANAGER))?;
            match self.run_api_server(port).await {
                Err(ControlPlaneError::Ended { last, .. }) if port::was_taken(&last) => self.stop_api_server()?,
                other => return other,
            }
        }
    }

    async fn run_api_server(&self, port: u16) -> Result<()> {
        let program = find(&self.parts, Part::KubeApiserver).await?;
        let program = Guardian::of(program).args(flags::api_server(port, self.options.controller_manager));
        *hold(&self.api_server) = Some(run(program, "kube-apiserver", &self.scratch)?);
        ready::api_server(self).await
    }

    async fn start_controller_manager(&self) -> Result<()> {
        let program = find(&self.parts, Part::KubeControllerManager).await?;
        let program = Guardian::of(program).args(flags::controller_manager());
        *hold(&self.controller_manager) = Some(run(program, "kube-controller-manager", &self.scratch)?);
        ready::controller_manager(self).await
    }

    fn write_kubeconfig(&self, name: &str, identity: &Identity) -> Result<PathBuf> {
        kubeconfig::write(self.directory(), name, self.port, identity)
            .map_err(|error| ControlPlaneError::Io("write a kubeconfig", error))
    }
}

/// Looks for a part off the async threads: it may be built.
async fn find(parts: &Parts, part: Part) -> Result<PathBuf> {
    let parts = parts.clone();
    let found = tokio::task::spawn_blocking(move || parts.find(part)).await;
    Ok(found.map_err(|ended| ControlPlaneError::Io("look for a part", ended.into()))??)
}

fn run(program: Guardian, name: &str, scratch: &Scratch) -> Result<Guarded> {
    let log = scratch.path().join(format!("{name}.log"));
    let started = program.current_dir(scratch.path()).spawn(&log, Some(scratch));
    started.map_err(|error| ControlPlaneError::Io("start a process", error))
}

fn write_certificates(directory: &Path) -> Result<()> {
    let authority = Authority::new()?;
    let write = |name: &str, text: &str| {
        fs::write(directory.join(name), text).map_err(|error| ControlPlaneError::Io("write certificates", error))
    };
    let pair = |name: &str, pair: Pair| {
        write(&format!("{name}.crt"), &pair.certificate)?;
        write(&format!("{name}.key"), &pair.key)
    };
    write("ca.crt", &authority.certificate())?;
    pair("server", authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"])?)?;
    pair(ADMIN, authority.client(ADMIN, Some("system:masters"))?)?;
    pair(CONTROLLER_MANAGER, authority.client("system:kube-controller-manager", None)?)?;
    let service_accounts = rcgen::KeyPair::generate()?;
    write("service-accounts.key", &service_accounts.serialize_pem())?;
    write("service-accounts.pub", &service_accounts.public_key_pem())
}

/// A poisoned lock still holds a process that must be ended.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
