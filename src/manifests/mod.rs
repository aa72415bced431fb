//! What people declare, read from files instead of a cluster: each object with the place where it is written.
//!
//! ```text
//!   paths ─▶ files ─▶ documents ─▶ manifests ─▶ check: the schema and rules of `lanyard crds`
//!                         │
//!                         └─▶ passed over, and counted: objects of other kinds
//! ```
//!
//! Whatever is wrong is a [`Problem`] with its place, and all of them are collected: nobody acts on a part of what was
//! meant to be read.
mod check;
mod documents;
mod files;
mod near;
mod place;
mod schema;
mod tree;

pub use check::Checker;
pub use documents::{Kind, Manifest};
pub use files::STDIN;
pub use place::{Place, Problem};

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that some paths hold.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// In the order of paths, files, lines.
    pub manifests: Vec<Manifest>,
    pub problems: Vec<Problem>,
    /// Objects of other kinds, each with how often it was met; what is no Kubernetes object goes by `no object`.
    pub passed_over: BTreeMap<String, usize>,
    /// How many files were read.
    pub files: usize,
}

impl Read {
    /// How many objects of other kinds were met.
    #[must_use]
    pub fn passed_over(&self) -> usize {
        self.passed_over.values().sum()
    }

    pub(crate) fn sort(&mut self) {
        self.problems.sort();
        self.problems.dedup();
    }
}

/// Reads files, directories (with all below them, but for hidden ones) and, for `-`, standard input.
///
/// `namespace` is the one of objects that name none.
#[must_use]
pub fn read(paths: &[PathBuf], namespace: &str) -> Read {
    let mut read = Read::default();
    for source in files::sources(paths) {
        match source {
            Ok(file) => {
                read.files += 1;
                documents::split(&file, namespace, &mut read);
            }
            Err(problem) => read.problems.push(problem),
        }
    }
    documents::find_duplicates(&mut read);
    read.sort();
    read
}
