//! The figures of the command line: what a plan of many machines asks, takes and weighs, and how soon anything is said.
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use arm_simulator::{ArmSimulator, Settings};

use crate::environment::of_azure;
use crate::figures::{GROUP, SUBSCRIPTION, identity};

/// Runs of each command; the median counts.
const TIMES: usize = 11;

/// How often the memory of a running command is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// Measures this binary of `lanyard` and prints a line for each figure.
///
/// # Errors
/// A command that does not end as it should.
pub fn measure(lanyard: &Path, machines: usize) -> Result<()> {
    for arguments in [&["--help"][..], &["version"], &["plan", "--help"]] {
        let took = median((0..TIMES).map(|_| Ok(run(Command::new(lanyard).args(arguments), 0)?.took)))?;
        println!("{:40}{} ms", format!("lanyard {}", arguments.join(" ")), took.as_millis());
    }
    let arm = ArmSimulator::start(Settings::quick())?;
    arm.subscription(SUBSCRIPTION);
    let (settled, changing) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut texts = [String::new(), String::new()];
    for number in 0..machines {
        let vm = arm.vm(SUBSCRIPTION, GROUP, &format!("vm-{number}")).with_identity(identity("there")).create();
        write(&mut texts[0], number, &vm.id(), "there")?;
        write(&mut texts[1], number, &vm.id(), "new")?;
    }
    for (dir, text) in [&settled, &changing].into_iter().zip(&texts) {
        fs::write(dir.path().join("all.yaml"), text)?;
    }
    for (what, dir, code) in [("nothing to change", &settled, 0), ("all to change", &changing, 2)] {
        let mark = arm.journal_mark();
        let mut command = Command::new(lanyard);
        command.args(["plan", "-o", "json", "-f"]).arg(dir.path()).envs(of_azure(&arm));
        let ran = run(&mut command, code)?;
        let calls = arm.journal_since(mark).iter().filter(|one| one.path.contains(SUBSCRIPTION)).count();
        println!(
            "{:40}{} ms, {calls} calls of ARM, {:.1} MB",
            format!("plan, {machines} machines, {what}"),
            ran.took.as_millis(),
            ran.peak
        );
    }
    let ran = run(Command::new(lanyard).args(["validate", "-f"]).arg(settled.path()), 0)?;
    println!("{:40}{} ms, {:.1} MB", format!("validate, {machines} manifests"), ran.took.as_millis(), ran.peak);
    Ok(())
}

fn write(text: &mut String, number: usize, machine: &str, id: &str) -> Result<()> {
    writeln!(
        text,
        "apiVersion: lanyard.dev/v1alpha1\nkind: IdentityAssignment\nmetadata:\n  name: vm-{number}\n  namespace: figures\n\
         spec:\n  target:\n    resourceId: {machine}\n  userAssigned:\n  - resourceId: {}\n---",
        identity(id)
    )?;
    Ok(())
}

struct Ran {
    took: Duration,
    /// Megabytes.
    peak: f64,
}

/// Runs a command to its end, and looks at its memory meanwhile: the kernel keeps the highest mark.
fn run(command: &mut Command, code: i32) -> Result<Ran> {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn()?;
    let mut peak: f64 = 0.0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak.max(high_water(child.id()).unwrap_or_default());
        std::thread::sleep(GLANCE);
    };
    ensure!(status.code() == Some(code), "{command:?} ended with {status}");
    Ok(Ran { took: began.elapsed(), peak })
}

fn high_water(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1000.0)
}

fn median(times: impl Iterator<Item = Result<Duration>>) -> Result<Duration> {
    let mut times = times.collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("nothing was measured")
}
