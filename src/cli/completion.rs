//! `lanyard completion`: scripts that complete commands and options in a shell.
use super::output::print;
use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};
use std::process::ExitCode;

/// Options of `completion`.
#[derive(Debug, Args)]
#[command(after_help = "For bash, for example: source <(lanyard completion bash)")]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints the script.
    ///
    /// # Errors
    /// It cannot be printed.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        generate(self.shell, &mut super::Cli::command(), "lanyard", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
