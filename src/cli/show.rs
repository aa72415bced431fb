//! `lanyard show`: what is on one machine, whose it is, and what would happen to it.
use super::azure::Azure;
use super::cluster::Cluster;
use super::output::{Format, data, print};
use super::plan::{Counting, by_arm, by_files, in_cluster, now, wait_for};
use super::progress::Progress;
use super::render;
use super::sources::{Manifests, refuse};
use crate::api::IdentityTarget;
use crate::api::target::LastWrite;
use crate::domain::live::DefaultIdentity;
use crate::domain::{IdentityId, Live, TargetId};
use crate::manifests::Read;
use crate::survey::{Assignment, Declared, Facts, Machine, Missing, Outcome, Reader, Stored, assess};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Whose an identity is follows from the cluster's record: without --from-cluster it is not known.

Exit codes: 0 shown, 1 an error, or no such machine.

Examples:
  lanyard show /subscriptions/<GUID>/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines/web
  lanyard show shop/web --from-cluster          by an assignment
  lanyard show web-rtbqjb4wiisbtogc --from-cluster   by an IdentityTarget";

/// Options of `show`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Show {
    /// A machine's ARM id; with a cluster also an assignment as namespace/name, or a record by its name.
    #[arg(value_name = "TARGET")]
    target: String,
    #[command(flatten)]
    manifests: Manifests,
    /// Read assignments, records and last writes from the cluster.
    #[arg(long)]
    from_cluster: bool,
    /// Read ARM's answers from files, and ask nobody.
    #[arg(long, value_name = "FILE")]
    state: Vec<PathBuf>,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    azure: Azure,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(flatten)]
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    /// What IMDS gives to a caller that names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_identity: Option<String>,
    /// Whether the cluster's record was read.
    record_read: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_write: Option<LastWrite>,
    /// As the controller last said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<String>,
}

impl Show {
    /// Reads one machine, and prints what is known of it.
    ///
    /// # Errors
    /// A machine that is not known, not there, or cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let from_cluster = self.from_cluster || self.cluster.kubeconfig.is_some();
        let read = self.manifests.sound()?;
        let progress = Progress::start();
        let teller = progress.teller();
        let answer = wait_for(async {
            let stored = if from_cluster { Some(in_cluster(&self.cluster).await?) } else { None };
            let target = self.target(&read, stored.as_ref())?;
            let stored_target = stored.as_ref().and_then(|stored| of(stored, &target)).cloned();
            let mut declared = match Declared::new(&read, stored) {
                Ok(declared) => declared,
                Err(problems) => return refuse(&problems).map(|()| None),
            };
            let named = BTreeSet::from([target.clone()]);
            // Those that its assignments refer to: whether they are ready decides what is done.
            let referred = |one: &Assignment| one.claim.user.keys().cloned().collect::<Vec<_>>();
            let known = declared.objects.named(false);
            let objects: BTreeSet<IdentityId> =
                declared.of(&target).iter().flat_map(referred).filter(|id| known.contains(id)).collect();
            let lookup = if self.state.is_empty() {
                let reader = Reader::new(self.azure.clone().of_a_person().arm(Counting::default())?, teller);
                by_arm(&reader, &mut declared, &named, objects, false).await?
            } else {
                by_files(&self.state, &mut declared, &named, &objects)?
            };
            let now = now();
            let machine = assess(&target, Facts { declared: &declared, lookup: &lookup, now: &now });
            let live = match lookup.machines.get(&target) {
                Some(Ok(live)) => Some(live),
                Some(Err(Missing::Unread(why))) => anyhow::bail!("{target} cannot be read: {why}"),
                Some(Err(Missing::NotThere)) | None => None,
            };
            Ok(Some(answer(machine, live, declared.has_records, stored_target)))
        })?;
        drop(progress);
        let Some(answer) = answer else { return Ok(ExitCode::FAILURE) };
        match self.output {
            Format::Table => print(&in_words(&answer))?,
            Format::Json | Format::Yaml => print(&data(self.output, &answer)?)?,
        }
        Ok(if answer.machine.outcome == Outcome::NotFound { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// By its id, by an assignment, by the name of its record.
    fn target(&self, read: &Read, stored: Option<&Stored>) -> anyhow::Result<TargetId> {
        let name = self.target.as_str();
        if name.starts_with('/') || name.starts_with("azure://") {
            return Ok(name.parse()?);
        }
        if let Some(manifest) = read.manifests.iter().find(|manifest| manifest.key() == name) {
            let value = manifest.value();
            let id = value.pointer("/spec/target/resourceId").or_else(|| value.pointer("/record/resourceId"));
            return Ok(id.and_then(serde_json::Value::as_str).unwrap_or_default().parse()?);
        }
        let Some(stored) = stored else {
            anyhow::bail!("'{name}' is no ARM id: names are looked up with --from-cluster, or among manifests by -f");
        };
        let assignment = stored.assignments.iter().find(|readable| readable.claim.key.to_string() == name);
        let target = stored.targets.iter().find(|target| target.metadata.name.as_deref() == Some(name));
        match (assignment, target) {
            (Some(assignment), _) => Ok(assignment.target.clone()),
            (None, Some(target)) => Ok(target.record.resource_id.parse()?),
            (None, None) => anyhow::bail!(
                "the cluster has no IdentityTarget '{name}'; an assignment is named as namespace/name, a machine by its ARM id"
            ),
        }
    }
}

fn of<'a>(stored: &'a Stored, target: &TargetId) -> Option<&'a IdentityTarget> {
    let same = |id: &str| id.parse::<TargetId>().is_ok_and(|id| id == *target);
    stored.targets.iter().find(|stored| same(&stored.record.resource_id))
}

fn answer(machine: Machine, live: Option<&Live>, record_read: bool, stored: Option<IdentityTarget>) -> Answer {
    let status = stored.and_then(|stored| stored.status).unwrap_or_default();
    let said = status.conditions.iter().map(|condition| {
        format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message)
    });
    Answer {
        machine,
        location: live.and_then(|live| live.location.clone()),
        default_identity: live.map(|live| DefaultIdentity::of(live.system.is_some(), live.user.keys()).to_string()),
        record_read,
        conditions: said.collect(),
        last_write: status.last_write,
    }
}

fn in_words(answer: &Answer) -> String {
    let mut text = render::machine(&answer.machine);
    let mut rows = vec![["IDENTITY".to_owned(), "PRINCIPAL ID".into(), "CLIENT ID".into()]];
    let there = answer.machine.identities.iter().filter(|line| line.principal_id.is_some() || line.client_id.is_some());
    let known = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".into());
    rows.extend(there.map(|line| [line.name().to_owned(), known(&line.principal_id), known(&line.client_id)]));
    if rows.len() > 1 {
        let _ = write!(text, "\n{}\n", render::columns(&rows).trim_end());
    }
    text.push('\n');
    let mut say = |what: &str, said: &str| {
        let _ = writeln!(text, "{what:18} {said}");
    };
    say("Kind:", answer.machine.kind);
    say("Location:", answer.location.as_deref().unwrap_or("-"));
    say("Default identity:", answer.default_identity.as_deref().unwrap_or("-"));
    let by: Vec<String> = answer.machine.declared_by.iter().map(ToString::to_string).collect();
    let by = if by.is_empty() { "nobody".to_owned() } else { by.join(", ") };
    say("Declared by:", &by);
    match (&answer.last_write, answer.record_read) {
        (Some(write), _) => say("Last write:", &last_write(write)),
        (None, true) => say("Last write:", "none by Lanyard"),
        (None, false) => say("Last write:", "not known without --from-cluster"),
    }
    for condition in &answer.conditions {
        say("Condition:", condition);
    }
    text
}

fn last_write(write: &LastWrite) -> String {
    let names = |ids: &[String]| {
        let names: Vec<&str> = ids.iter().filter_map(|id| id.rsplit('/').next()).collect();
        names.join(", ")
    };
    let change = &write.change;
    let mut parts = Vec::new();
    if !change.add.is_empty() {
        parts.push(format!("attached {}", names(&change.add)));
    }
    if !change.remove.is_empty() {
        parts.push(format!("detached {}", names(&change.remove)));
    }
    if let Some(switch) = change.system_assigned {
        parts.push(format!("system-assigned: {switch:?}"));
    }
    let correlation = write.correlation_id.as_deref().map(|id| format!(", correlation id {id}")).unwrap_or_default();
    format!("{} {} ({}{correlation})", write.time, parts.join(", "), write.outcome)
}
