//! The controller as a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devenv::guardian::{Guarded, Guardian, Scratch};

use super::wait::{PATIENCE, STEP};

/// A running `lanyard controller`. It ends with this process, however that ends.
#[derive(Debug)]
pub struct Controller {
    process: Guarded,
    pub log: PathBuf,
}

impl Controller {
    /// Starts one that finds its way by `variables`, and logs to a file in `scratch`.
    pub fn start(name: &str, variables: &[(&str, String)], flags: &[&str], scratch: &Scratch) -> Result<Self> {
        let log = scratch.path().join(format!("{name}.log"));
        let mut program = Guardian::of(env!("CARGO_BIN_EXE_lanyard")).args(["controller", "--http-listen=127.0.0.1:0"]);
        for (variable, value) in variables {
            program = program.env(variable, value);
        }
        // Each has a door of its own, whoever else runs on this machine.
        let program = program.env("LANYARD_ADMIN_LISTEN", "127.0.0.1:0");
        let program = program.env("RUST_LOG", "info,lanyard=debug").args(flags.iter().copied());
        let process = program.spawn(&log, Some(scratch)).context("the controller does not start")?;
        Ok(Self { process, log })
    }

    /// Whether it has not ended by itself.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// SIGKILL: no code of the controller runs after it.
    pub fn kill(self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// A signal by its name without `SIG`: `STOP`, `CONT`, `TERM`.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        Ok(self.process.signal(name)?)
    }

    /// SIGTERM. How it ended, and how long that took.
    pub async fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        self.process.signal("TERM")?;
        let begun = Instant::now();
        loop {
            if let Some(ended) = self.process.ended()? {
                return Ok((ended, begun.elapsed()));
            }
            ensure!(begun.elapsed() < PATIENCE, "the controller does not end:\n{}", tail(&self.log, "", 30));
            tokio::time::sleep(STEP).await;
        }
    }
}

/// The last lines of a log that hold the text.
pub fn tail(log: &Path, holding: &str, lines: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().filter(|line| line.contains(holding)).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
