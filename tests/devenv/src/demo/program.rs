//! The `lanyard` program, built by the cargo that runs us.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::guardian::{Guardian, Scratch};
use crate::paths;

/// Where it is, once it is up to date.
///
/// # Errors
/// When it cannot be built.
pub async fn built() -> Result<PathBuf> {
    tokio::task::spawn_blocking(build).await?
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let directory = own.parent().unwrap_or(Path::new(""));
    let scratch = Scratch::new()?;
    let mut cargo = command(directory).spawn_piped(&scratch.path().join("cargo.pid")).context("cannot run cargo")?;
    if let Some(mut progress) = cargo.output() {
        io::copy(&mut progress, &mut io::stderr())?;
    }
    let ended = cargo.wait()?;
    if !ended.success() {
        bail!("lanyard cannot be built: cargo ended with {ended}");
    }
    Ok(directory.join("lanyard"))
}

/// The same profile, directory and default packages as of the build that made this program: Cargo then
/// finds all dependencies with the very features that it has compiled already.
fn command(directory: &Path) -> Guardian {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut arguments = told_about_us();
    arguments.extend([cargo, "build".into(), "--bin".into(), "lanyard".into(), "--target-dir".into()]);
    arguments.push(paths::target_directory().into());
    if directory.ends_with("release") {
        arguments.push("--release".into());
    }
    let cargo = Guardian::of("env").args(arguments).current_dir(paths::repository());
    if !io::stderr().is_terminal() {
        return cargo;
    }
    // Cargo writes to a pipe, and we on to the terminal.
    cargo
        .env("CARGO_TERM_COLOR", "always")
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "80")
}

/// What `cargo run` tells us about our own package, as options of `env` that take it away: the build script
/// of ring watches these variables, and with them it and all that rests on it would be built again.
fn told_about_us() -> Vec<OsString> {
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let names = names.filter(|name| ours.iter().any(|prefix| name.starts_with(prefix)));
    names.flat_map(|name| ["-u".into(), name.into()]).collect()
}
