//! `lanyard import`: manifests for what exists.
use super::azure::Azure;
use super::output::{Format, data, print, tell, yaml};
use super::plan::{Counting, wait_for};
use super::progress::Progress;
use super::sources::counted;
use crate::arm::chain;
use crate::domain::{IdentityId, Live, TargetId};
use crate::survey::{Choices, Imported, Reader, State, Why, import, import_identities};
use clap::Args;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
What is printed declares exactly what is there: applied, it changes nothing, and `lanyard plan` says so. What it names
stays on the machine when it is undeclared later, since Lanyard did not attach it. Of a subscription or group its
user-assigned identities are printed, too: they are taken over as they are, and stay when their objects are deleted.

Exit codes: 0 done, 1 an error.

Examples:
  lanyard import /subscriptions/<GUID>/resourceGroups/shop -n shop > shop.yaml
  lanyard import /subscriptions/<GUID> | lanyard plan -f -";

/// Options of `import`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Import {
    /// A subscription, a resource group or a machine: /subscriptions/<GUID>[/resourceGroups/<group>[/providers/...]].
    #[arg(required = true, value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// The namespace of the manifests.
    #[arg(short = 'n', long, default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// Take in machines that AKS manages, with aksNodePool: Manage.
    #[arg(long)]
    include_aks: bool,
    /// Read ARM's answers from files, and ask nobody.
    #[arg(long, value_name = "FILE")]
    state: Vec<PathBuf>,
    /// How the answer is printed; a table shows what would be imported.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
    #[command(flatten)]
    azure: Azure,
}

/// The `managedBy` of resource groups.
type Groups = BTreeMap<String, Option<String>>;

/// What there is.
#[derive(Debug, Default)]
struct Found {
    machines: BTreeMap<TargetId, Live>,
    groups: Groups,
    identities: BTreeSet<IdentityId>,
}

/// What is imported.
#[derive(Clone, Debug)]
pub enum Scope {
    Machine(TargetId),
    /// A subscription, or one of its resource groups.
    Within {
        subscription: String,
        group: Option<String>,
    },
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(target) = text.parse() {
            return Ok(Self::Machine(target));
        }
        let trimmed = text.trim_end_matches('/');
        // The one parser of ids judges the parts: as if there were a machine in it.
        let judged = |group: &str| {
            let within = format!("{group}/providers/Microsoft.Compute/virtualMachines/x");
            within.parse::<TargetId>().map_err(|error| error.to_string())
        };
        let parts: Vec<&str> = trimmed.split('/').collect();
        let (target, has_group) = match parts.as_slice() {
            ["", _, _] => (judged(&format!("{trimmed}/resourceGroups/x"))?, false),
            ["", _, _, _, _] => (judged(trimmed)?, true),
            _ => {
                return Err(format!(
                    "'{text}' is no subscription, resource group, VM or VM scale set: write its ARM id"
                ));
            }
        };
        let group = has_group.then(|| target.group().to_owned());
        Ok(Self::Within { subscription: target.subscription().to_owned(), group })
    }
}

impl Scope {
    fn holds(&self, target: &TargetId) -> bool {
        match self {
            Self::Machine(one) => one == target,
            Self::Within { .. } => self.covers(target.subscription(), target.group()),
        }
    }

    /// Everything in the group is meant.
    fn covers(&self, subscription: &str, group: &str) -> bool {
        match self {
            Self::Machine(_) => false,
            Self::Within { subscription: one, group: within } => {
                let in_group = |within: &String| within.to_lowercase() == group.to_lowercase();
                one.eq_ignore_ascii_case(subscription) && within.as_ref().is_none_or(in_group)
            }
        }
    }
}

impl Import {
    /// Reads, and prints manifests.
    ///
    /// # Errors
    /// Anything that could not be read: a part would look whole.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let progress = Progress::start();
        let teller = progress.teller();
        let found = wait_for(async {
            if !self.state.is_empty() {
                return self.by_files();
            }
            let reader = Reader::new(self.azure.clone().of_a_person().arm(Counting::default())?, teller);
            let machines = self.by_arm(&reader).await?;
            let with_any = machines.iter().filter(|(_, live)| live.system.is_some() || !live.user.is_empty());
            let groups = reader.groups(with_any.map(|(target, _)| target)).await;
            let identities = self.identities_by_arm(&reader).await?;
            Ok(Found { machines, groups, identities })
        })?;
        drop(progress);
        let choices = Choices { namespace: &self.namespace, include_aks: self.include_aks };
        let mut imported = import_identities(&found.identities, &found.groups, choices);
        let of_machines = import(&found.machines, &found.groups, choices);
        imported.objects.extend(of_machines.objects);
        imported.left_out.extend(of_machines.left_out);
        match self.output {
            Format::Yaml => print(&documents(&imported)?)?,
            Format::Json => {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": imported.objects});
                print(&data(Format::Json, &list)?)?;
                for line in left_out(&imported) {
                    tell(&line);
                }
            }
            Format::Table => print(&table(&imported))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn by_arm(&self, reader: &Reader) -> anyhow::Result<BTreeMap<TargetId, Live>> {
        let mut machines = BTreeMap::new();
        let mut named = BTreeSet::new();
        for scope in &self.scopes {
            match scope {
                Scope::Machine(target) => {
                    named.insert(target.clone());
                }
                Scope::Within { subscription, group } => {
                    let found = reader.all(subscription, group.as_deref()).await;
                    machines.extend(found.map_err(|error| anyhow::anyhow!(chain(&error)))?);
                }
            }
        }
        let lookup = reader.look(&named).await.map_err(|error| anyhow::anyhow!(chain(&error)))?;
        for (target, found) in lookup.machines {
            match found {
                Ok(live) => machines.insert(target, live),
                Err(crate::survey::Missing::NotThere) => anyhow::bail!("{target} is not there"),
                Err(crate::survey::Missing::Unread(why)) => anyhow::bail!("{target} cannot be read: {why}"),
            };
        }
        Ok(machines)
    }

    async fn identities_by_arm(&self, reader: &Reader) -> anyhow::Result<BTreeSet<IdentityId>> {
        let mut identities = BTreeSet::new();
        for scope in &self.scopes {
            if let Scope::Within { subscription, group } = scope {
                let found = reader.all_identities(subscription, group.as_deref()).await;
                identities.extend(found.map_err(|error| anyhow::anyhow!(chain(&error)))?);
            }
        }
        Ok(identities)
    }

    fn by_files(&self) -> anyhow::Result<Found> {
        let mut found = Found::default();
        for file in &self.state {
            let state = State::read(file)?;
            found.groups.extend(state.look(state.machines.keys()).groups);
            let wanted = |target: &TargetId| self.scopes.iter().any(|scope| scope.holds(target));
            let covered =
                |id: &&IdentityId| self.scopes.iter().any(|scope| scope.covers(id.subscription(), id.group()));
            found.identities.extend(state.objects.keys().filter(covered).cloned());
            found.machines.extend(state.machines.into_iter().filter(|(target, _)| wanted(target)));
        }
        Ok(found)
    }
}

fn documents(imported: &Imported) -> anyhow::Result<String> {
    let mut text = String::from("# Made by lanyard import: what is there. Applied as it is, it changes nothing.\n");
    for line in left_out(imported) {
        let _ = writeln!(text, "# {line}");
    }
    for object in &imported.objects {
        text += "---\n";
        text += &yaml(object)?;
    }
    Ok(text)
}

/// Machines without identities by their number, whatever else was left out by name.
fn left_out(imported: &Imported) -> Vec<String> {
    let bare = imported.left_out.iter().filter(|left| left.why == Why::NoIdentity).count();
    let bare = (bare > 0).then(|| format!("Left out: {} without any identity", counted(bare, "machine")));
    let named = imported.left_out.iter().filter(|left| left.why != Why::NoIdentity);
    bare.into_iter().chain(named.map(|left| format!("Left out: {left}"))).collect()
}

fn table(imported: &Imported) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = vec![["NAME".to_owned(), "SYSTEM".into(), "USER".into(), "MACHINE".into()]];
    let mut of_identities = vec![["NAME".to_owned(), "IDENTITY".into()]];
    for object in &imported.objects {
        if object["kind"] == "UserAssignedIdentity" {
            of_identities.push([text(&object["metadata"]["name"]), text(&object["spec"]["resourceId"])]);
            continue;
        }
        let spec = &object["spec"];
        let system = if spec["systemAssigned"] == "Enabled" { "On" } else { "-" };
        let user = spec["userAssigned"].as_array().map_or(0, Vec::len);
        let machine = text(&spec["target"]["resourceId"]);
        rows.push([text(&object["metadata"]["name"]), system.into(), user.to_string(), machine]);
    }
    let mut out = super::render::columns(&rows);
    if of_identities.len() > 1 {
        out.push('\n');
        out += &super::render::columns(&of_identities);
    }
    for line in left_out(imported) {
        let _ = writeln!(out, "{line}");
    }
    out
}
