//! The simulator as a process: one line of JSON with its endpoints, then it serves.
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use arm_simulator::{ArmSimulator, Listen, Pace, Seeds, Settings, Throttling};
use clap::{Parser, ValueEnum};

/// Azure Resource Manager, Entra ID and IMDS in memory, on loopback.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// ARM over HTTPS
    #[arg(long, default_value = "127.0.0.1:0")]
    arm_listen: SocketAddr,
    /// ARM over plain HTTP, the same state
    #[arg(long, default_value = "127.0.0.1:0")]
    arm_http_listen: SocketAddr,
    /// Entra ID over HTTPS
    #[arg(long, default_value = "127.0.0.1:0")]
    entra_listen: SocketAddr,
    #[arg(long, default_value = "127.0.0.1:0")]
    imds_listen: SocketAddr,
    /// Seeds, faults, journal and truth as JSON; no token asked
    #[arg(long, default_value = "127.0.0.1:0")]
    admin_listen: SocketAddr,
    /// Where ca.pem and endpoints.json are written
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What is there at the start: subscriptions, groups, identities, machines, restrictions, faults
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Settings as JSON; flags win
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    #[arg(long)]
    throttling: Option<ThrottlingFlag>,
    /// Operations last as long as they were observed to
    #[arg(long)]
    recorded_durations: bool,
    /// End when standard input does: no orphan stays behind a parent that dies
    #[arg(long)]
    exit_with_stdin: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ThrottlingFlag {
    Documented,
    Off,
}

impl Options {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings: Settings = match &self.settings {
            Some(path) => json_file(path)?,
            None => Settings::default(),
        };
        settings.listen = Listen {
            arm: self.arm_listen,
            arm_http: self.arm_http_listen,
            entra: self.entra_listen,
            imds: self.imds_listen,
            admin: self.admin_listen,
            ..settings.listen
        };
        settings.dir = self.dir.clone().or(settings.dir);
        match self.throttling {
            None => {}
            Some(ThrottlingFlag::Documented) => settings.throttling = Throttling::Documented { scale: 1.0 },
            Some(ThrottlingFlag::Off) => settings.throttling = Throttling::Off,
        }
        if self.recorded_durations {
            settings.operations = Pace::Recorded { scale: 1.0, seed: 0 };
        }
        Ok(settings)
    }
}

fn json_file<T: serde::de::DeserializeOwned>(path: &PathBuf) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let options = Options::parse();
    let seeds: Option<Seeds> = options.state.as_ref().map(json_file).transpose()?;
    let simulator = ArmSimulator::start(options.settings()?)?;
    if let Some(seeds) = seeds {
        simulator.sow(seeds).context("sowing the initial state")?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(simulator.endpoints())?)?;
    out.flush()?;
    wait(options.exit_with_stdin)
}

fn wait(with_stdin: bool) -> anyhow::Result<()> {
    if with_stdin {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 1_024];
        while stdin.read(&mut buffer).unwrap_or(0) > 0 {}
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(terminated())
}

async fn terminated() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
