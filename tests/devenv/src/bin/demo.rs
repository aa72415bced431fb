//! `cargo demo`.

use std::cell::Cell;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use devenv::demo::{self, Screen};
use tokio::signal::unix::{SignalKind, signal};

/// Shows in half a minute what Lanyard does, and checks it.
///
/// A VM that carries somebody else's identity, and a scale set, get the identities that two manifests
/// declare; a second team joins and leaves; a stranger writes between our read and our write; all of it is
/// deleted again. Each step prints the command, what `kubectl get` shows, the PATCH that left, and the
/// machine before and after.
///
/// The Kubernetes API server, kubectl and `lanyard controller` are real; Azure is simulated. Nothing leaves
/// this machine, nothing is left behind, and what is shown is compared with what the simulated Azure knows:
/// the demo ends with 1 if they differ.
///
/// The first run builds what is missing: Lanyard, and with Go 1.26 the API server, etcd and kubectl, which
/// takes some five minutes on two cores.
#[derive(Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo --")]
struct Arguments {
    /// At the end leaves everything running until Ctrl-C, and prints how to use it
    #[arg(long)]
    keep: bool,
}

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let screen = Screen::of_process();
    match run(&arguments, &screen) {
        Ok(code) => code,
        Err(error) => {
            screen.failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    // Who asked for it to be kept ends it with Ctrl-C; all others cut it short.
    let if_interrupted = Cell::new(INTERRUPTED);
    let ended = runtime.block_on(until_interrupted(play(arguments, screen, &if_interrupted)));
    // Not to wait for a build that was interrupted: it ends with this process.
    runtime.shutdown_background();
    Ok(match ended? {
        End::Played => ExitCode::SUCCESS,
        End::Interrupted => ExitCode::from(if_interrupted.get()),
    })
}

enum End {
    Played,
    Interrupted,
}

/// Dropping the play stops everything that it started.
async fn until_interrupted(play: impl Future<Output = Result<()>>) -> Result<End> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = play => ended.map(|()| End::Played),
        _ = interrupt.recv() => Ok(End::Interrupted),
        _ = terminate.recv() => Ok(End::Interrupted),
    }
}

async fn play(arguments: &Arguments, screen: &Screen, if_interrupted: &Cell<u8>) -> Result<()> {
    demo::introduce(screen);
    let lanyard = demo::built().await?;
    let stage = demo::play(screen, &lanyard).await?;
    if !arguments.keep {
        return stage.close().await;
    }
    if_interrupted.set(0);
    stage.keep().await
}
