//! Runs the program, and reads what it says.
use anyhow::{Context as _, Result};
use arm_simulator::{ArmSimulator, Settings};
use devenv::environment::of_azure;
use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use uuid::Uuid;

pub const GROUP: &str = "shop";

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// The program, with nothing of this process's environment that could lead it elsewhere.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lanyard"));
    command.env_clear().env("NO_PROXY", "127.0.0.1").stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Result<Said> {
    Ok(program().args(arguments).output()?.into())
}

pub fn run_with_input(command: &mut Command, input: &str) -> Result<Said> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // Who does not read to the end has its reasons.
    let _ = writer.join();
    Ok(output.into())
}

/// An Azure for all tests of the process; each has a subscription of its own.
pub struct Cloud {
    pub arm: &'static ArmSimulator,
    pub subscription: String,
    pub dir: TempDir,
}

impl Cloud {
    pub fn start() -> Result<Self> {
        static ARM: OnceLock<ArmSimulator> = OnceLock::new();
        let arm = ARM.get_or_init(|| ArmSimulator::start(Settings::quick()).expect("the simulator starts"));
        let subscription = Uuid::new_v4().to_string();
        arm.subscription(&subscription);
        Ok(Self { arm, subscription, dir: tempfile::tempdir()? })
    }

    pub fn machine(&self, name: &str) -> String {
        format!(
            "/subscriptions/{}/resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}",
            self.subscription
        )
    }

    pub fn identity(&self, name: &str) -> String {
        let provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities";
        format!("/subscriptions/{}/resourceGroups/{GROUP}/{provider}/{name}", self.subscription)
    }

    /// An assignment as YAML; `spec` goes on after the target, two blanks deep.
    pub fn assignment(&self, name: &str, machine: &str, spec: &str) -> String {
        let head = "apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAssignment\n";
        let metadata = format!("metadata:\n  name: {name}\n  namespace: shop\n");
        format!("{head}{metadata}spec:\n  target:\n    resourceId: {}\n{spec}", self.machine(machine))
    }

    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The program, told where this Azure is.
    pub fn program(&self) -> Command {
        let mut command = program();
        command.envs(of_azure(self.arm));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Result<Said> {
        Ok(self.program().current_dir(self.path()).args(arguments).output()?.into())
    }

    /// What was asked of ARM about this subscription, as `GET /path`.
    pub fn asked(&self) -> Vec<String> {
        let journal = self.arm.journal_of(&self.subscription);
        journal.iter().map(|exchange| format!("{} {}", exchange.method, exchange.path)).collect()
    }
}
