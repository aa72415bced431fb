//! The command line.
mod azure;
mod cluster;
pub mod controller;
pub mod crds;

use clap::{Parser, Subcommand};

/// Keeps the managed identities of Azure VMs and VM scale sets as declared.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller: watch assignments, and keep machines as they declare.
    Controller(Box<controller::Controller>),
    /// Print the definitions of the custom resources, write them to a folder, or check those of a folder.
    Crds(crds::Crds),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever went wrong, to be shown to the person who asked.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Controller(controller) => controller.run(),
            Command::Crds(crds) => crds.run(),
        }
    }
}
