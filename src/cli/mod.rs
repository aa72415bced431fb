//! The command line.
mod azure;
mod cluster;
pub mod completion;
pub mod controller;
pub mod crds;
pub mod import;
pub mod output;
pub mod plan;
pub mod preflight;
mod progress;
mod render;
pub mod show;
mod sources;
pub mod validate;
pub mod version;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

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
    /// Show what would change on which machine, and why. Needs no cluster, and only read access to Azure.
    Plan(Box<plan::Plan>),
    /// Print manifests for the identities that machines have. Applied, they change nothing.
    Import(Box<import::Import>),
    /// Show one machine: its identities, whose they are, who declares them, what is pending, the last write.
    Show(Box<show::Show>),
    /// Check whether the credential may do what manifests declare: roles, locks, quota; and print the grants that are missing.
    Preflight(Box<preflight::Preflight>),
    /// Check manifests without a cluster: schema, rules, duplicates, conflicts.
    Validate(validate::Validate),
    /// Print the definitions of the custom resources, write them to a folder, or check those of a folder.
    Crds(crds::Crds),
    /// Print a script that completes commands in a shell.
    Completion(completion::Completion),
    /// Print the version, and what it speaks.
    Version(version::Version),
}

impl Cli {
    /// Reads a command line. Installed as `kubectl-lanyard` the program calls itself `kubectl lanyard`, as people do.
    ///
    /// # Errors
    /// The exit code, when there is nothing left to do: help was asked for, or what was written is no command (1, since
    /// 2 says that there are changes).
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let called = arguments.first().and_then(|path| Path::new(path).file_stem()?.to_str()).unwrap_or_default();
        let mut command = Self::command();
        if called == "kubectl-lanyard" {
            command = command.bin_name("kubectl lanyard");
        }
        let parsed = command.try_get_matches_from(arguments).and_then(|matches| Self::from_arg_matches(&matches));
        parsed.map_err(|error| {
            // A reader that went away needs no help.
            let _ = error.print();
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Whatever the command cannot do, for people to read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Controller(controller) => controller.run().map(|()| ExitCode::SUCCESS),
            Command::Crds(crds) => crds.run().map(|()| ExitCode::SUCCESS),
            Command::Plan(plan) => plan.run(),
            Command::Import(import) => import.run(),
            Command::Show(show) => show.run(),
            Command::Preflight(preflight) => preflight.run(),
            Command::Validate(validate) => validate.run(),
            Command::Completion(completion) => completion.run(),
            Command::Version(version) => version.run(),
        }
    }
}
