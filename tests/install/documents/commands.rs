//! Command lines on the pages, each held against the program that it is for: `lanyard` by its own definition, `kubectl` by
//! running it against a real API server where nothing is, `helm` by its help and the chart's values.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use devenv::control_plane::{ControlPlane, Options};
use devenv::parts::{Part, Parts};
use devenv::{crds, paths};
use futures::{StreamExt as _, stream};
use lanyard::cli::Cli;
use serde_json::Value;

use super::count;
use super::pages::{Page, all};
use crate::render::deploy;

/// What readers put their own in place of, and what it could be.
const STAND_INS: [(&str, &str); 4] = [
    ("$SUB", "5a3b1e00-0000-4000-8000-000000000001"),
    (
        "$MACHINE",
        "/subscriptions/5a3b1e00-0000-4000-8000-000000000001/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web",
    ),
    (" SCOPE", " /subscriptions/5a3b1e00-0000-4000-8000-000000000001"),
    ("<GUID>", "5a3b1e00-0000-4000-8000-000000000001"),
];

/// One command, without what it is piped into and what stands before it.
struct Line {
    at: String,
    words: Vec<String>,
    /// In a sentence: its beginning may be all of it.
    in_passing: bool,
}

impl Line {
    fn program(&self) -> &str {
        &self.words[0]
    }

    fn text(&self) -> String {
        format!("{}: {}", self.at, self.words.join(" "))
    }
}

/// Takes a line of a shell apart into its commands.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = STAND_INS.iter().fold(line.to_owned(), |line, (word, own)| line.replace(word, own));
    let Some(words) = shlex::split(&line) else { return Vec::new() };
    let (mut all, mut command) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "|" | "||" | "&&" | "&" | ";" => all.push(std::mem::take(&mut command)),
            ">" | ">>" | "<" | "2>" => {
                words.next();
            }
            _ => command.push(word),
        }
    }
    all.push(command);
    let is_setting = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let bare = all.into_iter().map(|words| words.into_iter().skip_while(|word| is_setting(word)).collect::<Vec<_>>());
    bare.filter(|words| !words.is_empty()).collect()
}

fn of_page(page: &Page) -> Vec<Line> {
    let mut lines = Vec::new();
    for block in page.blocks.iter().filter(|block| ["sh", "console", ""].contains(&block.language.as_str())) {
        let text = block.text.replace("\\\n", " ");
        for line in text.lines().map(str::trim) {
            let line = if block.language == "console" { line.strip_prefix("$ ") } else { Some(line) };
            let parts = line.map(commands).unwrap_or_default();
            lines.extend(parts.into_iter().map(|words| Line { at: page.at(block.line), words, in_passing: false }));
        }
    }
    for span in page.code.values().flatten().filter(|span| span.text.contains(' ')) {
        let parts = commands(&span.text);
        lines.extend(parts.into_iter().map(|words| Line { at: page.at(span.line), words, in_passing: true }));
    }
    lines
}

/// Those for one program.
fn lines_for(program: &str) -> Result<Vec<Line>> {
    let pages = all()?;
    Ok(pages.iter().flat_map(of_page).filter(|line| line.program() == program).collect())
}

#[test]
fn the_program_understands_every_command_line_of_its_own() -> Result<()> {
    let lines = lines_for("lanyard")?;
    let understood = |words: &[String], in_passing: bool| match Cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        // `lanyard import`, in a sentence, is its name.
        Err(error) if in_passing && words.len() == 2 && error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let wrong = lines
        .iter()
        .filter_map(|line| Some(format!("{}\n{}", line.text(), understood(&line.words, line.in_passing).err()?)));
    let wrong: Vec<String> = wrong.collect();
    count(&format!("{} command lines of lanyard", lines.len()));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(lines.len() > 30, "hardly a command line was found");
    let bad = ["lanyard", "plan", "--no-such"].map(str::to_owned);
    ensure!(understood(&bad, true).is_err(), "all is understood");
    Ok(())
}

/// With nothing changed where nothing is: what would write only tries.
fn tried(line: &Line) -> Vec<String> {
    let mut words = line.words[1..].to_vec();
    let writes = ["apply", "create", "delete", "patch", "annotate", "label", "scale", "undo", "set"];
    if words.iter().any(|word| writes.contains(&word.as_str())) {
        words.push("--dry-run=server".into());
    }
    words
}

/// It was understood, and what it names is not here: the reader's own files and objects.
fn only_lacks(said: &str, in_passing: bool) -> bool {
    let lacks = [
        "not found",
        "NotFound",
        "AlreadyExists",
        "no matching resources found",
        "no objects passed to",
        "array index out of bounds",
        "unable to find one of 'kustomization.yaml'",
    ];
    let unfinished =
        ["must specify one of -f and -k", "You must provide one or more resources", "no name was specified"];
    let ours = |path: &str| path.split('/').next().is_some_and(|first| paths::repository().join(first).exists());
    let missing_file = |line: &str| {
        let path = line.split("the path \"").nth(1).and_then(|rest| rest.strip_suffix("\" does not exist"));
        path.is_some_and(|path| !ours(path))
    };
    lacks.iter().any(|word| said.contains(word))
        || in_passing && unfinished.iter().any(|word| said.contains(word))
        || !said.trim().is_empty() && said.lines().all(missing_file)
}

async fn kubectl(control_plane: &ControlPlane, words: Vec<String>) -> Result<Output> {
    let run = control_plane.kubectl(words);
    Ok(tokio::time::timeout(Duration::from_secs(120), run).await.context("it does not end")??)
}

#[tokio::test]
async fn kubectl_understands_every_command_line_and_knows_what_it_is_about() -> Result<()> {
    let control_plane = ControlPlane::start(Options { controller_manager: false }).await?;
    crds::apply(&control_plane.client().await?, &paths::repository().join("crds")).await?;
    for namespace in ["shop", "lanyard-system"] {
        let words = ["create", "namespace", namespace].map(str::to_owned).to_vec();
        ensure!(kubectl(&control_plane, words).await?.status.success(), "no namespace {namespace}");
    }
    let mut lines = lines_for("kubectl")?;
    // What goes on until it is ended, and lanyard under its other name.
    let is_left_out = |line: &Line| line.words[1] == "lanyard" || line.words.iter().any(|word| word == "port-forward");
    lines.retain(|line| line.words.len() > 1 && !is_left_out(line));
    let cluster = &control_plane;
    let results = stream::iter(&lines).map(|line| async move { (line, kubectl(cluster, tried(line)).await) });
    let results: Vec<_> = results.buffer_unordered(4).collect().await;
    let mut wrong = Vec::new();
    for (line, output) in results {
        let output = output.with_context(|| line.text())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && !only_lacks(&said, line.in_passing) {
            wrong.push(format!("{}\n{said}", line.text()));
        }
    }
    count(&format!("{} command lines of kubectl", lines.len()));
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(lines.len() > 50, "hardly a command line was found");

    for bad in
        [&["get", "identityasignments"][..], &["get", "pods", "--no-such"], &["apply", "-f", "deploy/no-such.yaml"]]
    {
        let output = kubectl(&control_plane, bad.iter().map(|&word| word.to_owned()).collect()).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && !only_lacks(&said, true), "{bad:?} is taken: {said}");
    }
    Ok(())
}

#[test]
fn helm_has_every_flag_and_the_chart_every_value_that_a_command_line_names() -> Result<()> {
    let program = Parts::from_environment().find(Part::Helm)?;
    let defaults: Value = serde_saphyr::from_str(&std::fs::read_to_string(deploy("chart/values.yaml"))?)?;
    let lines: Vec<Line> = lines_for("helm")?.into_iter().filter(|line| line.words.len() > 2).collect();
    for line in &lines {
        let help = std::process::Command::new(&program).args([&line.words[1], "--help"]).output()?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let mut words = line.words[2..].iter();
        while let Some(word) = words.next() {
            let flag = word.starts_with("--").then(|| word.split('=').next().unwrap_or_default());
            ensure!(flag.is_none_or(|flag| help.contains(flag)), "{}: helm knows no {word}", line.text());
            if word.starts_with("deploy/") {
                ensure!(paths::repository().join(Path::new(word)).exists(), "{}: no {word}", line.text());
            }
            if word == "--set" {
                let value = words.next().and_then(|set| set.split('=').next()).unwrap_or_default();
                let known = defaults.pointer(&format!("/{}", value.replace('.', "/"))).is_some();
                ensure!(known, "{}: the chart has no value {value}", line.text());
            }
        }
    }
    count(&format!("{} command lines of helm", lines.len()));
    ensure!(!lines.is_empty(), "no command line of helm was found");
    Ok(())
}
