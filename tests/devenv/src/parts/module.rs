//! A pinned Go module: which version of a part, and a fingerprint of all that decides what is built.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Part, PartError};

/// etcd's server.
pub(super) const ETCD: &str = "go.etcd.io/etcd/server/v3";
pub(super) const KUBERNETES: &str = "k8s.io/kubernetes";

/// The module of one part, read.
pub(super) struct Module {
    pub(super) directory: PathBuf,
    /// The version to which the part is pinned: `v1.36.3`.
    pub(super) version: String,
    /// That of Kubernetes itself, where it is built from this module.
    kubernetes: Option<String>,
    sums: String,
}

impl Module {
    pub(super) fn read(directory: &Path, part: Part) -> Result<Self, PartError> {
        let read = |name| {
            let file = directory.join(name);
            fs::read_to_string(&file).map_err(|error| PartError::Module(file, error))
        };
        let (requirements, sums) = (read("go.mod")?, read("go.sum")?);
        let package = part.pinned();
        let version = pin(&requirements, package)
            .ok_or_else(|| PartError::Unpinned { file: directory.join("go.mod"), package })?;
        Ok(Self {
            directory: directory.to_path_buf(),
            version,
            kubernetes: pin(&requirements, KUBERNETES),
            // A program of ours lies beside its pins.
            sums: requirements + &sums + &read("main.go").unwrap_or_default(),
        })
    }

    /// Whether `answer`, what a program prints about itself, names our minor version.
    pub(super) fn is_minor_of(&self, answer: &str) -> bool {
        let ours = minor(&self.version);
        let versions = answer.split_whitespace().filter_map(minor);
        ours.is_some() && versions.take(1).any(|theirs| Some(theirs) == ours)
    }

    /// Linker flags that make the programs of Kubernetes say their version: it is not in the module itself.
    pub(super) fn linker_flags(&self) -> String {
        let Some(version) = &self.kubernetes else { return "-s -w".into() };
        let (major, minor) = minor(version).unwrap_or_default();
        ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].iter().fold(
            String::from("-s -w"),
            |flags, package| {
                format!(
                    "{flags} -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
                )
            },
        )
    }

    /// Changes when anything changes from which parts are built.
    pub(super) fn fingerprint(&self) -> String {
        let digest = Sha256::new().chain_update(&self.sums).chain_update(self.linker_flags()).finalize();
        digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// The version that a line `<package> <version>` requires; `replace` lines have an arrow there.
fn pin(requirements: &str, package: &str) -> Option<String> {
    requirements.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        let named = words.next() == Some(package);
        words.next().filter(|version| named && version.starts_with('v')).map(String::from)
    })
}

/// Major and minor of `v1.36.3` or `3.6.8`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(version: &str) -> Module {
        Module { directory: PathBuf::new(), version: version.into(), kubernetes: None, sums: String::new() }
    }

    #[test]
    fn a_program_of_the_pinned_minor_version_is_taken() {
        let kubernetes = module("v1.36.3");
        assert!(kubernetes.is_minor_of("Kubernetes v1.36.0\n"));
        assert!(kubernetes.is_minor_of("Client Version: v1.36.9\nKustomize Version: v5.7.1\n"));
        assert!(module("v3.6.8").is_minor_of("etcd Version: 3.6.1\nGit SHA: abc\nGo Version: go1.26.8\n"));
        assert!(module("v4.3.2").is_minor_of("v4.3.0+gabcdef0\n"));
    }

    #[test]
    fn a_program_of_another_or_of_no_version_is_not() {
        assert!(!module("v1.36.3").is_minor_of("Kubernetes v1.37.0\n"));
        assert!(!module("v1.36.3").is_minor_of("Client Version: v1.35.1\nKustomize Version: v1.36.0\n"));
        assert!(!module("v3.6.8").is_minor_of(""));
        assert!(!module("v4.3.2").is_minor_of("v3.22.0+gabcdef0\n"));
    }

    #[test]
    fn pins_are_read_from_the_require_lines_alone() {
        let text = "require k8s.io/kubernetes v1.36.3\nreplace (\n\tk8s.io/api => k8s.io/api v0.36.3\n)\n";
        assert_eq!(pin(text, KUBERNETES).as_deref(), Some("v1.36.3"));
        assert_eq!(pin(text, "k8s.io/api"), None);
    }
}
