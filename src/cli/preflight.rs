//! `lanyard preflight`: can this credential do what the manifests declare, and if not, what to ask an administrator for.
use super::azure::Azure;
use super::output::{Format, data, print};
use super::plan::{Counting, wait_for};
use super::progress::Progress;
use super::sources::{Manifests, counted, refuse};
use crate::arm::chain;
use crate::domain::Ensure;
use crate::domain::identity::{Policy, Wish};
use crate::survey::{Assignment, Declared, Preflight as Found, Reader, Wishes, preflight};
use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::process::ExitCode;

const HELP: &str = "\
Rights are read at each resource group, and at a resource where its group does not grant enough. Set PRINCIPAL to the
object id of the credential's service principal to use what is printed.

Exit codes: 0 ready; 2 something is missing or locked; 1 an error.

Examples:
  lanyard preflight -f deploy/
  lanyard preflight -f deploy/ --grants terraform > grants.tf";

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();

/// In which language grants are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Az,
    Terraform,
    Bicep,
}

/// Options of `preflight`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Preflight {
    #[command(flatten)]
    manifests: Manifests,
    /// Ask one machine of each kind whether its endpoint honours If-Match, by a PATCH that changes nothing: a write.
    #[arg(long)]
    probe: bool,
    /// Print nothing but the grants that are missing, for an administrator to apply.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    grants: Option<Language>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    azure: Azure,
}

impl Preflight {
    /// Asks, and prints what is missing.
    ///
    /// # Errors
    /// Manifests that are not sound, and what ends all questions.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(
            !self.manifests.filename.is_empty(),
            "what is to be checked? Name manifests by -f FILE, DIR or -"
        );
        let read = self.manifests.sound()?;
        let declared = match Declared::new(&read, None) {
            Ok(declared) => declared,
            Err(problems) => return refuse(&problems).map(|()| ExitCode::FAILURE),
        };
        let all = || declared.by_target.values().flatten();
        let wishes = Wishes {
            machines: declared.by_target.keys().cloned().collect(),
            // Whether taking one off is a matter of rights on it is not documented: who may put it on may do that, too.
            identities: all().flat_map(named).collect(),
            objects: declared.objects.all().map(|object| (object.wish.id.clone(), goes(&object.wish))).collect(),
        };
        let progress = Progress::start();
        let teller = progress.teller();
        let found = wait_for(async {
            let reader = Reader::new(self.azure.of_a_person().arm(Counting::default())?, teller);
            preflight(&reader, &wishes, self.probe).await.map_err(|error| anyhow::anyhow!(chain(&error)))
        })?;
        drop(progress);
        match (self.grants, self.output) {
            (Some(language), _) => print(&grants(&found, language))?,
            (None, Format::Table) => print(&in_words(&found))?,
            (None, format) => print(&data(format, &found)?)?,
        }
        Ok(if found.ready { ExitCode::SUCCESS } else { ExitCode::from(super::output::CHANGES) })
    }
}

fn named(assignment: &Assignment) -> impl Iterator<Item = crate::domain::IdentityId> {
    let user = assignment.claim.user.iter();
    user.filter(|(_, ensure)| **ensure == Ensure::Present).map(|(id, _)| id.clone())
}

/// Deleting the object is to delete the identity.
fn goes(wish: &Wish) -> bool {
    wish.policy == Policy::Delete && !wish.released
}

fn grants(found: &Found, language: Language) -> String {
    let texts = found.grants.iter().enumerate().map(|(index, grant)| match language {
        Language::Az => grant.az() + "\n",
        Language::Terraform => grant.terraform(index + 1),
        Language::Bicep => grant.bicep(index + 1),
    });
    let head = match language {
        Language::Terraform if !found.grants.is_empty() => {
            "variable \"lanyard_principal_id\" {\n  type = string\n}\n\n"
        }
        Language::Bicep if !found.grants.is_empty() => "param lanyardPrincipalId string\n\n",
        Language::Az | Language::Terraform | Language::Bicep => "",
    };
    head.to_owned() + &texts.collect::<Vec<_>>().join("\n")
}

fn in_words(found: &Found) -> String {
    let mut text = String::new();
    let mut say = |style: Style, sign: char, said: &str| {
        let _ = writeln!(text, "{style}{sign}{style:#} {said}");
    };
    for missing in found.missing.iter().filter(|missing| missing.needed) {
        say(BAD, '-', &format!("{} is not granted on {} ({})", missing.action, missing.scope, missing.role));
    }
    for missing in found.missing.iter().filter(|missing| !missing.needed) {
        say(
            DOUBTFUL,
            '.',
            &format!(
                "{} is not granted on {}: not needed, but useful ({})",
                missing.action, missing.scope, missing.role
            ),
        );
    }
    for lock in &found.locks {
        let on = format!("the lock {} on {} forbids", lock.lock, lock.scope);
        if !lock.machines.is_empty() {
            let machines = counted(lock.machines.len(), "machine");
            say(BAD, '-', &format!("{on} changes of {machines}: {}", lock.machines.join(", ")));
        }
        if !lock.identities.is_empty() {
            let identities = lock.identities.join(", ");
            say(BAD, '-', &format!("{on} what is declared of identities that are objects: {identities}"));
        }
    }
    for probed in &found.preconditions {
        match (probed.honours_if_match, &probed.error) {
            (Some(true), _) => say(GOOD, '+', &format!("the endpoint honours If-Match, as {} showed", probed.machine)),
            (Some(false), _) => say(
                BAD,
                '-',
                &format!(
                    "the endpoint ignores If-Match, as {} showed: the controller runs in weak mode",
                    probed.machine
                ),
            ),
            (None, error) => say(
                DOUBTFUL,
                '.',
                &format!("{} could not be probed: {}", probed.machine, error.as_deref().unwrap_or("no answer")),
            ),
        }
    }
    for note in &found.notes {
        say(DOUBTFUL, '.', note);
    }
    for (bucket, left) in &found.quota {
        say(Style::new().dimmed(), '.', &format!("left of {bucket}: {left} requests"));
    }
    let checked = counted(found.checked, "right");
    if found.ready {
        say(GOOD, '+', &format!("ready: {checked} checked, nothing that is needed is missing, nothing is locked"));
    } else {
        say(BAD, '-', &format!("not ready: {checked} checked"));
    }
    if !found.grants.is_empty() {
        text += "\nFor an administrator (--grants terraform or bicep prints the same for those):\n";
        text += &grants(found, Language::Az);
    }
    text
}
