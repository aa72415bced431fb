//! One `go build`, behind a lock, finished or not there at all.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use super::module::Module;
use super::{Part, progress};
use crate::guardian::Guardian;

/// The line of Go with which the pinned Kubernetes works: with 1.27 its `/openapi/v2` answers 503, and
/// `kubectl apply` fails.
const GO_LINE: &str = "go1.26";
/// What a newer or older Go is asked to fetch and use instead of itself.
const GO_TOOLCHAIN: &str = "go1.26.8";

/// Why a part could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no Go.
    #[error(
        "there is no `go` on PATH; install Go 1.26 to have it built once, or set KUBEBUILDER_ASSETS to a \
         directory that holds etcd, kube-apiserver, kube-controller-manager and kubectl (and helm and promtool, for the tests of deploy)"
    )]
    NoGo,
    /// There is one, of another line, and it may not fetch the right one.
    #[error(
        "Go 1.26 is needed, but this is {0}, and GOTOOLCHAIN=local forbids it to fetch another; \
         unset that, or install Go 1.26"
    )]
    WrongGo(String),
    /// Go gave up.
    #[error("`go build` ended with {status}; the last lines of {}:\n{}", log.display(), last.join("\n"))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// All that it printed.
        log: PathBuf,
        /// The last of it.
        last: Vec<String>,
    },
    /// The file system or the operating system refused.
    #[error("cannot use {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

/// The part in the cache, if it was built from this very module.
pub(super) fn built(cache: &Path, part: Part, module: &Module) -> Option<PathBuf> {
    let stamp = fs::read_to_string(stamp_of(cache, part)).ok()?;
    let program = program_of(cache, part);
    (stamp == module.fingerprint() && program.is_file()).then_some(program)
}

/// Builds parts of one module into one cache.
pub(super) struct Builder<'a> {
    pub(super) cache: &'a Path,
    pub(super) module: &'a Module,
    pub(super) go: Option<&'a Path>,
    pub(super) tell: fn(&str),
}

impl Builder<'_> {
    /// Builds `part`, unless another builder does so while we wait for it.
    pub(super) fn build(&self, part: Part) -> Result<PathBuf, BuildError> {
        let _lock = self.lock(part)?;
        if let Some(program) = built(self.cache, part, self.module) {
            return Ok(program);
        }
        let go = self.go.ok_or(BuildError::NoGo)?;
        let toolchain = self.toolchain(go)?;
        self.announce(part);
        let begun = Instant::now();
        let fresh = self.cache.join(format!("{}.part", part.name()));
        let mut command = self.compilation(go, part, &fresh);
        if let Some(version) = toolchain {
            command = command.env("GOTOOLCHAIN", version);
        }
        self.compile(command, part)?;
        self.install(part, &fresh)?;
        let seconds = begun.elapsed().as_secs();
        (self.tell)(&format!("built {} in {seconds} s", part.name()));
        Ok(program_of(self.cache, part))
    }

    fn announce(&self, part: Part) {
        let (name, version) = (part.name(), &self.module.version);
        let seconds = part.usual_time().as_secs();
        (self.tell)(&format!(
            "building {name} {version} from Go modules, once; usually {seconds} s on two cores, \
             and longer where modules are to be downloaded"
        ));
    }

    /// Holds the cache for one builder at a time; freed when dropped, or when the process ends.
    fn lock(&self, part: Part) -> Result<File, BuildError> {
        let path = self.cache.join("lock");
        let attempt = || {
            fs::create_dir_all(self.cache.join("bin"))?;
            let file = File::options().create(true).append(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let name = part.name();
            (self.tell)(&format!("waiting for another build to end before {name} is built"));
            file.lock()?;
            Ok(file)
        };
        attempt().map_err(|error| BuildError::Io(path.clone(), error))
    }

    /// The toolchain to ask for, where this Go is not of the right line.
    fn toolchain(&self, go: &Path) -> Result<Option<&'static str>, BuildError> {
        let mut question = Command::new(go);
        question.args(["env", "GOVERSION", "GOTOOLCHAIN"]).current_dir(&self.module.directory);
        let answer = question.output().map_err(|error| BuildError::Io(go.to_path_buf(), error))?;
        let answer = String::from_utf8_lossy(&answer.stdout);
        let mut lines = answer.lines();
        let (version, policy) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if version == GO_LINE || version.starts_with(&format!("{GO_LINE}.")) {
            Ok(None)
        } else if policy == "local" {
            Err(BuildError::WrongGo(version.to_owned()))
        } else {
            Ok(Some(GO_TOOLCHAIN))
        }
    }

    fn compilation(&self, go: &Path, part: Part, output: &Path) -> Guardian {
        Guardian::of(go)
            .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags"])
            .args([self.module.linker_flags(), "-o".into(), output.display().to_string(), part.package().into()])
            .current_dir(&self.module.directory)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOTMPDIR", self.cache.join("work"))
    }

    /// Runs Go under a guardian, so that a build does not outlive a builder that was interrupted.
    fn compile(&self, command: Guardian, part: Part) -> Result<(), BuildError> {
        let log = self.cache.join(format!("{}.log", part.name()));
        let run = || -> io::Result<(ExitStatus, Vec<String>)> {
            self.empty_work_directory()?;
            let mut running = command.spawn_piped(&self.cache.join("go.pid"))?;
            let output = running.output().ok_or_else(|| io::Error::other("go has no output"))?;
            let last = progress::follow(part, output, File::create(&log)?, self.tell)?;
            Ok((running.wait()?, last))
        };
        let (status, last) = run().map_err(|error| BuildError::Io(log.clone(), error))?;
        if status.success() { Ok(()) } else { Err(BuildError::Failed { status, log, last }) }
    }

    /// Go clears up after itself, unless it was killed.
    fn empty_work_directory(&self) -> io::Result<()> {
        let work = self.cache.join("work");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir(work)
    }

    /// Puts a finished program in its place. Its stamp is written last: without one it is built again.
    fn install(&self, part: Part, fresh: &Path) -> Result<(), BuildError> {
        let (program, stamp) = (program_of(self.cache, part), stamp_of(self.cache, part));
        let place = || {
            if stamp.exists() {
                fs::remove_file(&stamp)?;
            }
            fs::rename(fresh, &program)?;
            let draft = stamp.with_extension("draft");
            fs::write(&draft, self.module.fingerprint())?;
            fs::rename(draft, &stamp)
        };
        place().map_err(|error| BuildError::Io(program.clone(), error))
    }
}

fn program_of(cache: &Path, part: Part) -> PathBuf {
    cache.join("bin").join(part.name())
}

fn stamp_of(cache: &Path, part: Part) -> PathBuf {
    cache.join(format!("{}.stamp", part.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths;

    /// `1.26.8` of the line `<word> 1.26.8` or `<word> go1.26.8`.
    fn version(requirements: &str, word: &str) -> Option<Vec<u32>> {
        let line = requirements.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))?;
        line.trim_start_matches("go").split('.').map(|number| number.parse().ok()).collect()
    }

    #[test]
    fn every_module_is_built_by_the_one_toolchain() {
        let ours = version(&format!("toolchain {GO_TOOLCHAIN}"), "toolchain").expect("a version");
        let mut modules = 0;
        for folder in fs::read_dir(paths::repository().join("tests")).expect("a folder") {
            let file = folder.expect("an entry").path().join("go.mod");
            let Ok(requirements) = fs::read_to_string(&file) else { continue };
            let least = version(&requirements, "go").expect("a version of Go");
            assert!(least <= ours, "{} takes a newer Go than {GO_TOOLCHAIN}", file.display());
            if let Some(named) = version(&requirements, "toolchain") {
                assert_eq!(named, ours, "{} names another", file.display());
            }
            modules += 1;
        }
        assert!(modules >= 4, "{modules} modules alone");
    }
}
