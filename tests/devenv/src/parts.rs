//! The programs of the control plane, and those that judge what is deployed: found, or built once from Go modules. Each
//! module pins the versions of its own (`tests/control-plane/go.mod`, `tests/helm/go.mod`,
//! `tests/prometheus/go.mod`, `tests/kstatus/go.mod`).
//!
//! Each is looked for when it is first needed, in this order:
//!
//! 1. the directory `KUBEBUILDER_ASSETS`, whatever the version: whoever sets it has chosen. What it lacks
//!    (there is no kube-controller-manager in the usual ones) is looked for further down;
//! 2. `control-plane/bin` in cargo's target directory, if built there from the present module;
//! 3. `PATH`, if the program says that it is of the minor version that the module pins: an API server of
//!    another one may accept and default other things, and tests would differ from machine to machine;
//! 4. else it is built, which takes Go and some minutes, once.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::paths;

mod build;
mod module;
mod progress;

pub use build::BuildError;
use build::Builder;
use module::Module;

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API.
    KubeApiserver,
    /// Deletes namespaces, collects garbage, makes service accounts.
    KubeControllerManager,
    /// What people type.
    Kubectl,
    /// Renders charts.
    Helm,
    /// Checks and tries alert rules.
    Promtool,
    /// Judges objects as Flux does; `tests/kstatus` is all of it.
    Kstatus,
    /// Draws the dashboard of a run; `tests/prometheus/picture` is all of it.
    Picture,
}

impl Part {
    /// Those of the control plane.
    pub const CONTROL_PLANE: [Self; 4] = [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::Kubectl];

    /// The program's file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Promtool => "promtool",
            Self::Kstatus => "lanyard-kstatus",
            Self::Picture => "lanyard-picture",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => module::ETCD,
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Promtool => "github.com/prometheus/prometheus/cmd/promtool",
            Self::Kstatus => "lanyard.dev/kstatus",
            Self::Picture => "lanyard.dev/prometheus/picture",
        }
    }

    /// The folder of its Go module, beside the others.
    fn module(self) -> &'static str {
        match self {
            Self::Etcd | Self::KubeApiserver | Self::KubeControllerManager | Self::Kubectl => "control-plane",
            Self::Helm => "helm",
            Self::Promtool | Self::Picture => "prometheus",
            Self::Kstatus => "kstatus",
        }
    }

    /// The requirement that says its version.
    fn pinned(self) -> &'static str {
        match self {
            Self::Etcd => module::ETCD,
            Self::KubeApiserver | Self::KubeControllerManager | Self::Kubectl => module::KUBERNETES,
            Self::Helm => "helm.sh/helm/v4",
            Self::Promtool | Self::Picture => "github.com/prometheus/prometheus",
            Self::Kstatus => "github.com/fluxcd/cli-utils",
        }
    }

    /// Packages to compile when Go's build cache is empty.
    fn packages(self) -> usize {
        match self {
            Self::Etcd => 570,
            Self::KubeApiserver => 2028,
            Self::KubeControllerManager => 2408,
            Self::Kubectl => 894,
            Self::Helm => 1184,
            Self::Promtool => 1364,
            Self::Kstatus => 272,
            Self::Picture => 306,
        }
    }

    /// How long that takes on two cores, in this order of parts: each uses what the earlier ones compiled.
    fn usual_time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Etcd => 40,
            Self::KubeApiserver => 170,
            Self::KubeControllerManager => 50,
            Self::Kubectl => 20,
            Self::Helm => 90,
            Self::Promtool => 120,
            Self::Kstatus => 15,
            Self::Picture => 25,
        })
    }

    fn version_arguments(self) -> &'static [&'static str] {
        match self {
            // Promtool is of version 3 as a program, of 0.3xx as a module: one that is installed is never taken for ours.
            Self::Etcd | Self::KubeApiserver | Self::KubeControllerManager | Self::Promtool => &["--version"],
            Self::Kubectl => &["version", "--client"],
            Self::Helm => &["version", "--short"],
            // Nobody else has one.
            Self::Kstatus | Self::Picture => &[],
        }
    }
}

/// Why a part is not there.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The pinned module cannot be read.
    #[error("cannot read a module to build from, {}", .0.display())]
    Module(PathBuf, #[source] io::Error),
    /// The module pins no version of this package.
    #[error("{} names no version of {package}", file.display())]
    Unpinned {
        /// The file that should.
        file: PathBuf,
        /// What it should pin.
        package: &'static str,
    },
    /// It was not found, and building it failed.
    #[error("cannot build {}", .0.name())]
    Build(Part, #[source] BuildError),
}

/// Where parts are looked for and built.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Programs that somebody chose: `KUBEBUILDER_ASSETS`.
    pub assets: Option<PathBuf>,
    /// Where parts are built: `control-plane` in cargo's target directory.
    pub cache: PathBuf,
    /// The folder of the Go modules to build them from.
    pub modules: PathBuf,
    /// Where else programs are looked for, Go among them: `PATH`.
    pub path: OsString,
    /// Where lines go that people wait for while something is built.
    pub tell: fn(&str),
}

impl Parts {
    /// What this process's environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            assets: env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()).map(PathBuf::from),
            cache: paths::target_directory().join("control-plane"),
            modules: paths::repository().join("tests"),
            path: env::var_os("PATH").unwrap_or_default(),
            tell: print_line,
        }
    }

    /// The path of `part`. Builds it where it is not found, which may take minutes.
    ///
    /// # Errors
    /// When it is nowhere to be found and cannot be built.
    pub fn find(&self, part: Part) -> Result<PathBuf, PartError> {
        if let Some(chosen) = self.assets.as_deref().and_then(|assets| program_in(assets, part.name())) {
            return Ok(chosen);
        }
        let module = Module::read(&self.modules.join(part.module()), part)?;
        if let Some(built) = build::built(&self.cache, part, &module) {
            return Ok(built);
        }
        if let Some(installed) = self.installed(part, &module) {
            return Ok(installed);
        }
        let go = self.on_path("go");
        let builder = Builder { cache: &self.cache, module: &module, go: go.as_deref(), tell: self.tell };
        builder.build(part).map_err(|error| PartError::Build(part, error))
    }

    fn installed(&self, part: Part, module: &Module) -> Option<PathBuf> {
        let program = self.on_path(part.name())?;
        let answer = Command::new(&program).args(part.version_arguments()).output().ok()?;
        module.is_minor_of(&String::from_utf8_lossy(&answer.stdout)).then_some(program)
    }

    fn on_path(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).find_map(|directory| program_in(&directory, name))
    }
}

fn program_in(directory: &Path, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let program = directory.join(name);
    let status = fs::metadata(&program).ok()?;
    (status.is_file() && status.permissions().mode() & 0o111 != 0).then_some(program)
}

/// Prints on the real stderr: the test harness keeps to itself what `eprintln!` prints.
fn print_line(line: &str) {
    // Nobody there to read it is no reason to stop.
    let _ = writeln!(io::stderr(), "devenv: {line}");
}
