//! `devenv up`: a cluster and a cloud to use by hand, until somebody ends them.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use arm_simulator::Settings;
use tokio::signal::unix::{SignalKind, signal};

use crate::control_plane::{ControlPlane, ControlPlaneError, Options};
use crate::environment::{self, Environment};
use crate::sample::{self, Sample};

/// How often parts are looked at, to tell when one has ended.
const PACE: Duration = Duration::from_secs(1);

/// Starts all of it, prints how to use it, and ends it at Ctrl-C or SIGTERM.
///
/// # Errors
/// When something does not come up, or a part of the control plane ends by itself.
pub async fn run(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let keep = async {
        let running = Environment::start(options, Settings::quick()).await?;
        let sample = sample::sow(&running.arm);
        io::stdout().write_all(instructions(&running, &sample).await?.as_bytes())?;
        let ended = watch(&running.control_plane).await;
        anyhow::Ok(ended?)
    };
    tokio::select! {
        ended = keep => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Ends only with an error: a part is gone.
async fn watch(control_plane: &ControlPlane) -> Result<(), ControlPlaneError> {
    loop {
        control_plane.check()?;
        tokio::time::sleep(PACE).await;
    }
}

/// What to export, as lines for a shell, and what to try, as comments between them.
async fn instructions(running: &Environment, sample: &Sample) -> Result<String> {
    let directory = running.control_plane.directory();
    let kubectl = running.control_plane.kubectl_program().await?;
    let mut text = search_path(&kubectl)?;
    text += &environment::exports(&running.variables());
    fs::write(directory.join("env"), &text)?;
    fs::write(directory.join("web.yaml"), &sample.manifest)?;

    writeln!(text, "\n# The same in another shell, which will then trust the simulated Azure alone:")?;
    writeln!(text, "#   . {}", directory.join("env").display())?;
    writeln!(text, "# Machines in the simulated Azure:")?;
    for (id, word) in &sample.machines {
        writeln!(text, "#   {id}\n#     {word}")?;
    }
    writeln!(text, "# To try, after `cargo build`: `lanyard controller` in one shell; in another")?;
    writeln!(text, "#   kubectl apply -f {}", directory.join("web.yaml").display())?;
    writeln!(text, "#   kubectl get identityassignments,identitytargets")?;
    writeln!(text, "# Logs: {}/*.log. Ctrl-C ends and removes all of it.", directory.display())?;
    Ok(text)
}

/// kubectl first, then programs that cargo built beside this one: `lanyard`, once it is.
fn search_path(kubectl: &Path) -> Result<String> {
    let own = std::env::current_exe()?;
    let directories = [kubectl, &own].map(|program| program.parent().unwrap_or(program).display().to_string());
    Ok(format!("export PATH='{}':\"$PATH\"\n", directories.join(":")))
}
