//! Where things lie: the repository, and cargo's target directory.

use std::path::{Path, PathBuf};

/// The root of the repository that this crate was built from.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Cargo's target directory: the one that holds the running program, else the repository's own.
///
/// Cargo marks it with a `CACHEDIR.TAG`, so that it is found under any name.
#[must_use]
pub fn target_directory() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let marked = |directory: &&Path| directory.join("CACHEDIR.TAG").is_file();
    program.ancestors().find(marked).map_or_else(|| repository().join("target"), Path::to_path_buf)
}
