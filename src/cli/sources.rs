//! Manifests, as every command takes them.
use super::output::{Told, tell};
use crate::manifests::{self, Checker, Problem, Read};
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

/// Where manifests are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Manifests")]
pub struct Manifests {
    /// Manifests: a file, a directory with all .yaml, .yml and .json below it, or - for standard input. May be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub filename: Vec<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(short = 'n', long, default_value = "default", value_name = "NAMESPACE")]
    pub namespace: String,
}

impl Manifests {
    /// Reads all, and holds it to the definitions. Whatever is wrong is in `problems`.
    ///
    /// # Errors
    /// A defect of this build.
    pub fn checked(&self, thoroughly: bool) -> anyhow::Result<Read> {
        let mut read = manifests::read(&self.filename, &self.namespace);
        let checker = Checker::new().context("the definitions cannot be made")?;
        let check = |manifest| if thoroughly { checker.check(manifest) } else { checker.check_quickly(manifest) };
        let found: Vec<Problem> = read.manifests.iter().flat_map(check).collect();
        read.problems.extend(found);
        read.problems.sort();
        Ok(read)
    }

    /// The same for commands that go on with it: problems are told, and end it.
    ///
    /// # Errors
    /// [`Told`]
    pub fn sound(&self) -> anyhow::Result<Read> {
        let read = self.checked(false)?;
        refuse(&read.problems)?;
        if read.manifests.is_empty() && !self.filename.is_empty() {
            let passed = passed_over(&read).map(|said| format!("; {said}")).unwrap_or_default();
            anyhow::bail!("no manifests of lanyard.dev in {}{passed}", self.names());
        }
        Ok(read)
    }

    /// What was named on the command line.
    #[must_use]
    pub fn names(&self) -> String {
        self.filename.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// Tells every problem, one a line, and ends with it.
///
/// # Errors
/// [`Told`], if there is any.
pub fn refuse(problems: &[Problem]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    for problem in problems {
        tell(&problem.to_string());
    }
    tell(&format!("error: {}; nothing was done", counted(problems.len(), "problem")));
    Err(Told.into())
}

/// What was passed over, by kind.
#[must_use]
pub fn passed_over(read: &Read) -> Option<String> {
    let kinds: Vec<String> = read.passed_over.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let all = read.passed_over();
    (all > 0).then(|| format!("passed over {} ({})", counted(all, "object of another kind"), kinds.join(", ")))
}

/// `1 machine`, `2 machines`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    match (count, what.split_once(' ')) {
        (1, _) => format!("1 {what}"),
        (_, Some((first, rest))) => format!("{count} {first}s {rest}"),
        (_, None) => format!("{count} {what}s"),
    }
}
