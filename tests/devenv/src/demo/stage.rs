//! Everything that runs: control plane, simulated Azure, `lanyard controller`; and kubectl, as one types it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use arm_simulator::{ArmSimulator, Machine, Pace, Settings};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::screen::Screen;
use crate::control_plane::Options;
use crate::environment::Environment;
use crate::guardian::{Guarded, Guardian};
use crate::paths;
use crate::sample::{self, SUBSCRIPTION};

/// How long Azure works on a change: short, yet long enough for what people see while they wait.
const OPERATION: Pace = Pace::Fixed { millis: 1_400 };
/// Far more than any command takes, even on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(180);
const PACE: Duration = Duration::from_millis(100);
/// What the controller may inherit; all else that it reads comes from the stage.
const INHERITED: [&str; 3] = ["PATH", "HOME", "RUST_LOG"];
/// Lines of the controller's log that a failure shows.
const SHOWN: usize = 12;

/// What runs. Dropping it ends all of it, the controller first.
pub struct Stage<'a> {
    pub(super) screen: &'a Screen,
    controller: Guarded,
    pub(super) lanyard: PathBuf,
    pub(super) environment: Environment,
}

impl<'a> Stage<'a> {
    /// Starts everything; builds parts of the control plane that are missing.
    pub(super) async fn set(screen: &'a Screen, lanyard: &Path) -> Result<Self> {
        let begun = Instant::now();
        let options = Options { controller_manager: false };
        let settings = Settings { operations: OPERATION, ..Settings::quick() };
        let environment = Environment::start(options, settings).await?;
        environment.control_plane.kubectl_program().await?;
        let sample = sample::sow(&environment.arm);
        let seconds = begun.elapsed().as_secs_f64();
        screen.shown(&format!("etcd and kube-apiserver     ready after {seconds:.1} s"));
        screen.shown(&format!("a simulated Azure           {} machines in one subscription", sample.machines.len()));
        screen.command("lanyard controller");
        let controller = controller(lanyard, &environment).context("the controller does not start")?;
        Ok(Self { screen, controller, lanyard: lanyard.to_path_buf(), environment })
    }

    pub(super) fn arm(&self) -> &ArmSimulator {
        &self.environment.arm
    }

    pub(super) fn vm(&self, name: &str) -> Result<Machine> {
        self.machine("virtualMachines", name)
    }

    pub(super) fn scale_set(&self, name: &str) -> Result<Machine> {
        self.machine("virtualMachineScaleSets", name)
    }

    fn machine(&self, kind: &str, name: &str) -> Result<Machine> {
        let id = format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Compute/{kind}/{name}");
        self.arm().find_machine(&id).with_context(|| format!("no machine's id: {id}"))
    }

    /// Runs kubectl, and shows command and output. Gives the output.
    pub(super) async fn kubectl(&mut self, line: &str) -> Result<String> {
        self.screen.command(&format!("kubectl {line}"));
        let output = self.answer(line, "").await?;
        self.screen.shown(&output);
        Ok(output)
    }

    /// `kubectl apply` of a manifest that is typed.
    pub(super) async fn apply(&mut self, manifest: &str) -> Result<()> {
        self.screen.command("kubectl apply -f - <<EOF");
        self.screen.shown(manifest);
        self.screen.shown("EOF");
        let output = self.answer("apply -f -", manifest).await?;
        self.screen.shown(&output);
        Ok(())
    }

    /// Without a word about it.
    pub(super) async fn answer(&mut self, line: &str, input: &str) -> Result<String> {
        let program = self.environment.control_plane.kubectl_program().await?;
        let mut command = Command::new(program);
        // The commands name files as one does at the top of the repository.
        command.args(line.split_whitespace()).current_dir(paths::repository()).kill_on_drop(true);
        command.env("KUBECONFIG", self.environment.control_plane.kubeconfig());
        command.env("KUBECACHEDIR", self.environment.control_plane.directory().join("kubectl"));
        let output = tokio::select! {
            output = tokio::time::timeout(PATIENCE, run(command, input.as_bytes())) => output,
            error = ended(&mut self.controller) => return Err(error),
        };
        let output = output.with_context(|| format!("`kubectl {line}` did not end"))??;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`kubectl {line}` failed: {}", errors.trim_end());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &errors)
    }

    /// The end of the controller's log, for whoever asks what went wrong.
    pub(super) fn show_log(&self) {
        let log = fs::read_to_string(self.environment.control_plane.directory().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        self.screen.say("\nThe controller's log ends with:");
        self.screen.shown(&lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
    }

    /// Ends only with an error: something that should run does not.
    pub(super) async fn watch(&mut self) -> anyhow::Error {
        tokio::select! {
            error = ended(&mut self.controller) => error,
            error = part_ended(&self.environment) => error,
        }
    }

    /// Stops the controller as Kubernetes would, and then the rest.
    ///
    /// # Errors
    /// When the controller does not end well.
    pub async fn close(mut self) -> Result<()> {
        let ended = self.stop_controller().await;
        if ended.is_err() {
            self.show_log();
        }
        ended
    }

    async fn stop_controller(&mut self) -> Result<()> {
        self.controller.signal("TERM").context("the controller is not there any more")?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.controller.ended()? {
                ensure!(status.success(), "the controller did not end well when told to stop: {status}");
                return Ok(());
            }
            tokio::time::sleep(PACE).await;
        }
        bail!("the controller did not end when told to stop");
    }
}

/// The controller's log, in the control plane's directory.
pub(super) const LOG: &str = "lanyard.log";

/// Starts it with nothing but what it is meant to have: a proxy or a credential that the person at this
/// terminal uses elsewhere would lead it astray.
fn controller(lanyard: &Path, environment: &Environment) -> Result<Guarded> {
    let inherited = INHERITED.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let variables = inherited.chain(environment.variables()).map(|(name, value)| format!("{name}={value}"));
    let own = ["controller", "--http-listen", "127.0.0.1:0", "--log-format", "text"].map(String::from);
    let arguments = std::iter::once("-i".to_owned()).chain(variables);
    let arguments = arguments.chain([lanyard.display().to_string()]).chain(own);
    let plane = &environment.control_plane;
    Ok(Guardian::of("env").args(arguments).spawn(&plane.directory().join(LOG), Some(plane.scratch()))?)
}

async fn run(mut command: Command, input: &[u8]) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).await?;
    }
    Ok(child.wait_with_output().await?)
}

async fn ended(controller: &mut Guarded) -> anyhow::Error {
    loop {
        match controller.ended() {
            Ok(None) => tokio::time::sleep(PACE).await,
            Ok(Some(status)) => return anyhow::anyhow!("the controller ended by itself: {status}"),
            Err(error) => return anyhow::Error::new(error).context("whether the controller runs cannot be told"),
        }
    }
}

async fn part_ended(environment: &Environment) -> anyhow::Error {
    loop {
        if let Err(error) = environment.control_plane.check() {
            return error.into();
        }
        tokio::time::sleep(PACE).await;
    }
}
