//! A real Kubernetes API and a simulated Azure on this machine.

use anyhow::Result;
use clap::{Parser, Subcommand};
use devenv::control_plane::Options;
use devenv::parts::{Part, Parts};
use devenv::{commands, failover, figures, picture, up};
use std::path::PathBuf;

/// A real Kubernetes API and a simulated Azure on this machine, to use Lanyard by hand.
///
/// Programs are taken from `KUBEBUILDER_ASSETS`, from cargo's target directory or, if of the right version,
/// from PATH. What is missing is built once with Go 1.26, which takes some five minutes on two cores.
#[derive(Parser)]
#[command(name = "cargo devenv", bin_name = "cargo devenv")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts both and keeps them until Ctrl-C; prints what to export
    ///
    /// The control plane gets the repository's resource definitions, the simulated Azure a few machines.
    /// Nothing is left behind, whichever way this ends.
    Up {
        /// Starts without kube-controller-manager: namespaces then never finish deleting, owned objects
        /// stay, and pods cannot be created
        #[arg(long)]
        no_controller_manager: bool,
    },
    /// Builds the programs that are missing, prints where each one is, and exits
    Build,
    /// Measures the main job: latencies, calls to ARM, writes to Kubernetes, size and memory
    Figures {
        /// The binary to measure: build it with `cargo build --release -p lanyard`
        #[arg(long, default_value = "target/release/lanyard")]
        lanyard: PathBuf,
    },
    /// Measures the command line: how soon it says something, and what a plan of many machines asks, takes and weighs
    Commands {
        /// The binary to measure: build it with `cargo build --release -p lanyard`
        #[arg(long, default_value = "target/release/lanyard")]
        lanyard: PathBuf,
        /// How many machines
        #[arg(long, default_value_t = 1000)]
        machines: usize,
    },
    /// Measures how long nobody leads of two replicas: killed, and told to stop; takes some ten minutes
    Failover {
        /// The binary to measure: build it with `cargo build --release -p lanyard`
        #[arg(long, default_value = "target/release/lanyard")]
        lanyard: PathBuf,
        /// How often each
        #[arg(long, default_value_t = 20)]
        times: usize,
    },
    /// Draws the dashboard of a run, without Grafana: keep its answers by `cargo fleet-bench --scrapes DIR`
    Picture {
        /// Where the answers of /metrics are
        scrapes: PathBuf,
        /// The picture
        #[arg(long, default_value = "docs/dashboard.svg")]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Up { no_controller_manager } => {
            let runtime = tokio::runtime::Runtime::new()?;
            let options = Options { controller_manager: !no_controller_manager };
            let ended = runtime.block_on(up::run(options));
            // Not to wait for a build that was interrupted: it ends with this process.
            runtime.shutdown_background();
            ended
        }
        Command::Build => build(),
        Command::Figures { lanyard } => tokio::runtime::Runtime::new()?.block_on(figures::measure(&lanyard)),
        Command::Commands { lanyard, machines } => commands::measure(&lanyard, machines),
        Command::Failover { lanyard, times } => {
            tokio::runtime::Runtime::new()?.block_on(failover::measure(&lanyard, times))
        }
        Command::Picture { scrapes, out } => picture::draw(&scrapes, &out),
    }
}

fn build() -> Result<()> {
    let parts = Parts::from_environment();
    for part in Part::CONTROL_PLANE {
        println!("{}", parts.find(part)?.display());
    }
    Ok(())
}
