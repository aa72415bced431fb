//! `lanyard validate`: would the API server take these manifests, and do they agree with each other?
use super::output::{Format, data, print};
use super::sources::{Manifests, counted, passed_over};
use crate::manifests::{Kind, Problem, Read};
use crate::survey::{Declared, Origin, conflicts};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Options of `validate`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 valid, 1 not valid, or an error.")]
pub struct Validate {
    #[command(flatten)]
    manifests: Manifests,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    valid: bool,
    files: usize,
    objects: usize,
    passed_over: BTreeMap<String, usize>,
    problems: Vec<Problem>,
    /// What may be meant so, and does not make it invalid.
    warnings: Vec<Problem>,
}

impl Validate {
    /// Checks, and prints what is wrong.
    ///
    /// # Errors
    /// No manifests, or an answer that cannot be printed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(!self.manifests.filename.is_empty(), "what is to be validated? Name it by -f FILE, DIR or -");
        let mut read = self.manifests.checked(true)?;
        let mut warnings = Vec::new();
        if read.problems.is_empty() {
            (read.problems, warnings) = disagreements(&read);
        }
        if read.manifests.is_empty() && read.problems.is_empty() {
            let passed = passed_over(&read).map(|said| format!("; {said}")).unwrap_or_default();
            anyhow::bail!("no manifests of lanyard.dev in {}{passed}", self.manifests.names());
        }
        let valid = read.problems.is_empty();
        match self.output {
            Format::Table => print(&in_words(&read, &warnings))?,
            Format::Json | Format::Yaml => print(&data(self.output, &answer(read, warnings))?)?,
        }
        Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What the API server takes one by one and the controller cannot satisfy together; and what looks like a slip.
fn disagreements(read: &Read) -> (Vec<Problem>, Vec<Problem>) {
    let declared = match Declared::new(read, None) {
        Ok(declared) => declared,
        Err(problems) => return (problems, Vec::new()),
    };
    let (mut problems, mut warnings) = (declared.objects.conflicts(), Vec::new());
    let with_place = |(origin, message): (Origin, String)| Some(Problem { at: origin.place?, message });
    for (target, assignments) in &declared.by_target {
        for (line, by) in conflicts(target, assignments) {
            let places: Vec<_> = by.iter().filter_map(|origin| origin.place.clone()).collect();
            let others: Vec<String> = by.iter().map(ToString::to_string).collect();
            if let Some(at) = places.into_iter().max() {
                let message = format!(
                    "conflict about {} on {}: {} [{}]",
                    line.name(),
                    target.name(),
                    line.why,
                    others.join(", ")
                );
                problems.push(Problem { at, message });
            }
        }
        for assignment in assignments {
            let (wrong, twice) = assignment.repeated();
            problems.extend(wrong.into_iter().filter_map(with_place));
            warnings.extend(assignment.unseen().into_iter().chain(twice).filter_map(with_place));
        }
    }
    problems.sort();
    warnings.sort();
    (problems, warnings)
}

fn answer(read: Read, warnings: Vec<Problem>) -> Answer {
    Answer {
        valid: read.problems.is_empty(),
        files: read.files,
        objects: read.manifests.len(),
        passed_over: read.passed_over,
        problems: read.problems,
        warnings,
    }
}

fn in_words(read: &Read, warnings: &[Problem]) -> String {
    let mut text = String::new();
    for problem in &read.problems {
        let _ = writeln!(text, "{problem}");
    }
    for warning in warnings {
        let _ = writeln!(text, "{}", Problem { message: format!("warning: {}", warning.message), ..warning.clone() });
    }
    let count = |kind| read.manifests.iter().filter(|manifest| manifest.kind == kind).count();
    let verdict = match read.problems.len() {
        0 => "valid".to_owned(),
        count => counted(count, "problem"),
    };
    let files = counted(read.files, "file");
    let mut kinds = vec![counted(count(Kind::IdentityAssignment), "IdentityAssignment")];
    match count(Kind::UserAssignedIdentity) {
        0 => {}
        1 => kinds.push("1 UserAssignedIdentity".into()),
        more => kinds.push(format!("{more} UserAssignedIdentities")),
    }
    let _ = write!(text, "{verdict}: {} in {files}", kinds.join(", "));
    if !warnings.is_empty() {
        let _ = write!(text, "; {}", counted(warnings.len(), "warning"));
    }
    if let Some(passed) = passed_over(read) {
        let _ = write!(text, "; {passed}");
    }
    text + "\n"
}
