//! `cargo fleet-bench`.
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use fleet_bench::{Options, keep, run, simulate};
use std::path::PathBuf;
use std::process::Command as Program;

/// Measures what a fleet costs: requests, writes, time, CPU and memory at 10, 1,000 and 10,000 machines.
#[derive(Parser)]
#[command(name = "cargo fleet-bench", bin_name = "cargo fleet-bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The simulated Azure, as a process of its own: what the benchmark starts
    #[command(hide = true)]
    Simulate { settings: PathBuf },
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    // One provider for all of TLS: with none chosen, rustls would have to guess.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(Command::Simulate { settings }) = arguments.command {
        return simulate(&settings);
    }
    arguments.options.settle();
    if arguments.options.lanyard.is_none() {
        arguments.options.lanyard = Some(built()?);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(run(&arguments.options))?;
    println!("{report}");
    keep(&report, &arguments.options)
}

/// The program, built by cargo in release: a step of its own, so that its features are those of its own build.
fn built() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = devenv::paths::target_directory();
    let mut build = Program::new(cargo);
    build.args(["build", "--release", "--bin", "lanyard", "--target-dir"]).arg(&target);
    let ended = build.current_dir(devenv::paths::repository()).status()?;
    if !ended.success() {
        bail!("lanyard cannot be built: cargo ended with {ended}");
    }
    Ok(target.join("release").join("lanyard"))
}
