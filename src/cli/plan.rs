//! `lanyard plan`: what would change on which machine, and why.
use super::azure::Azure;
use super::cluster::Cluster;
use super::output::{CHANGES, Format, data, print};
use super::progress::Progress;
use super::render::{self, Show};
use super::sources::{Manifests, passed_over, refuse};
use crate::arm::{Exchange, Observer, chain};
use crate::clock::Clock;
use crate::domain::quota::Bucket;
use crate::domain::{IdentityId, TargetId, Timestamp};
use crate::survey::{
    Assignment, Declared, Facts, Lookup, Reader, Report, Seen, State, Stored, assess, stored, suspects, would_write,
};
use clap::Args;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const EXAMPLES: &str = "\
Exit codes: 0 nothing would change; 2 there are changes; 1 an error, or something could not be read.

Examples:
  lanyard plan -f deploy/                    what these manifests would change, by what Azure shows now
  lanyard plan -f deploy/ --from-cluster     the same, on top of what the cluster holds and what Lanyard recorded
  lanyard plan -f deploy/ --state vms.json   without Azure: from the bodies of ARM's answers
  lanyard plan -f - -o json < web.yaml       for a program";

/// Options of `plan`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Plan {
    #[command(flatten)]
    manifests: Manifests,
    /// Also read the assignments and records of the cluster: what Lanyard attached is known from there alone.
    #[arg(long)]
    from_cluster: bool,
    /// Read ARM's answers (bodies of GET and LIST, as JSON) from files, and ask nobody. What is not in them is not there.
    #[arg(long, value_name = "FILE")]
    state: Vec<PathBuf>,
    /// Also ask each declared identity whether it exists: one more read for each.
    #[arg(long)]
    check_identities: bool,
    /// Show machines without changes in full, too.
    #[arg(long)]
    all: bool,
    /// How the answer is printed.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    azure: Azure,
}

/// Counts what leaves for ARM.
#[derive(Clone, Debug, Default)]
pub struct Counting(pub Arc<AtomicUsize>);

impl Observer for Counting {
    fn exchanged(&self, _: &Exchange) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn throttled(&self, _: Bucket) {}
}

/// One thread waits for all answers: there is little to compute.
///
/// # Errors
/// What the work ends with, or no runtime.
pub fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // One provider for all of TLS: with none chosen, rustls would have to guess.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl Plan {
    /// Plans, prints, and tells by the exit code whether there is something to change.
    ///
    /// # Errors
    /// Manifests that are not sound, and what cannot be read for all machines.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let from_cluster = self.from_cluster || self.cluster.kubeconfig.is_some();
        anyhow::ensure!(
            !self.manifests.filename.is_empty() || from_cluster,
            "what is to be planned? Name manifests by -f FILE, DIR or -, or say --from-cluster"
        );
        let read = self.manifests.sound()?;
        let progress = Progress::start();
        let tell = progress.teller();
        let only = !self.manifests.filename.is_empty();
        let passed = passed_over(&read);
        let report = wait_for(async {
            let stored = if from_cluster { Some(in_cluster(&self.cluster).await?) } else { None };
            let mut declared = match Declared::new(&read, stored) {
                Ok(declared) => declared,
                Err(problems) => return refuse(&problems).map(|()| None),
            };
            // With manifests, those machines that they are about.
            let named: BTreeSet<TargetId> = if only {
                declared
                    .by_target
                    .iter()
                    .filter(|(_, all)| all.iter().any(Assignment::is_written))
                    .map(|(target, _)| target.clone())
                    .collect()
            } else {
                declared.targets().cloned().collect()
            };
            let identities = declared.objects.named(only);
            let calls = Counting::default();
            let lookup = if self.state.is_empty() {
                let reader = Reader::new(self.azure.of_a_person().arm(calls.clone())?, tell);
                by_arm(&reader, &mut declared, &named, identities.clone(), self.check_identities).await?
            } else {
                by_files(&self.state, &mut declared, &named, &identities)?
            };
            let mut notes: Vec<String> = passed.into_iter().collect();
            if !declared.has_records {
                notes.push(WITHOUT_RECORDS.into());
            }
            let now = now();
            let facts = Facts { declared: &declared, lookup: &lookup, now: &now };
            let machines = named.iter().map(|target| assess(target, facts)).collect();
            let identities = identities.iter().filter_map(|id| declared.objects.assess(id, &lookup)).collect();
            Ok(Some(Report::new(identities, machines, notes, calls.0.load(Ordering::Relaxed))))
        })?;
        drop(progress);
        let Some(report) = report else { return Ok(ExitCode::FAILURE) };
        match self.output {
            Format::Table => print(&render::report(&report, Show { unchanged: self.all }))?,
            Format::Json | Format::Yaml => print(&data(self.output, &report)?)?,
        }
        Ok(code(&report))
    }
}

/// Said wherever it is so: a plan without records shows fewer removals than there may be.
const WITHOUT_RECORDS: &str = "the cluster was not asked (--from-cluster): nothing is known to be attached by Lanyard, so \
     that no identity is removed here for being declared no more, and assignments that are not among these manifests are \
     not seen";

fn code(report: &Report) -> ExitCode {
    if !report.complete {
        ExitCode::FAILURE
    } else if report.summary.change + report.summary.identities_change > 0 {
        ExitCode::from(CHANGES)
    } else {
        ExitCode::SUCCESS
    }
}

/// What the cluster holds.
///
/// # Errors
/// No cluster, or objects that cannot be read.
pub async fn in_cluster(cluster: &Cluster) -> anyhow::Result<Stored> {
    stored(&Client::try_from(cluster.config().await?)?).await
}

/// ARM's word on these machines, and on what their plans make worth asking.
///
/// # Errors
/// What all reads would end with.
pub async fn by_arm(
    reader: &Reader,
    declared: &mut Declared,
    named: &BTreeSet<TargetId>,
    objects: BTreeSet<IdentityId>,
    every_identity: bool,
) -> anyhow::Result<Lookup> {
    let mut lookup = reader.look(named).await.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    lookup.objects = reader.objects(objects).await.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    declared.refer(&lookup);
    let declared = &*declared;
    let now = now();
    let facts = Facts { declared, lookup: &lookup, now: &now };
    let dead: BTreeSet<_> = named.iter().flat_map(|target| suspects(target, facts)).collect();
    // One that is to be made is not there, and that is no news.
    let is_made = |id: &IdentityId| matches!(lookup.objects.get(id), Some(Seen::Missing | Seen::NoGroup));
    let present = || named.iter().flat_map(|target| declared.of(target)).flat_map(|one| one.claim.present());
    let all = || present().filter(|id| !is_made(id)).cloned().collect();
    let to_ask = if every_identity { all() } else { dead };
    let writing: Vec<&TargetId> = named.iter().filter(|target| would_write(target, facts)).collect();
    let groups = reader.groups(writing.into_iter()).await;
    let identities = if to_ask.is_empty() { BTreeMap::new() } else { reader.identities(to_ask).await };
    lookup.groups = groups;
    lookup.identities = identities;
    Ok(lookup)
}

/// The same from files.
///
/// # Errors
/// A file that is none of ARM's answers.
pub fn by_files(
    files: &[PathBuf],
    declared: &mut Declared,
    named: &BTreeSet<TargetId>,
    objects: &BTreeSet<IdentityId>,
) -> anyhow::Result<Lookup> {
    let mut lookup = Lookup::default();
    for file in files {
        let found = State::read(file)?.look(named.iter());
        lookup.groups.extend(found.groups);
        lookup.identities.extend(found.identities);
        lookup.objects.extend(found.objects);
        for (target, machine) in found.machines {
            if machine.is_ok() || !lookup.machines.contains_key(&target) {
                lookup.machines.insert(target, machine);
            }
        }
    }
    for id in objects {
        lookup.objects.entry(id.clone()).or_insert(Seen::Missing);
    }
    declared.refer(&lookup);
    Ok(lookup)
}

/// For people: what a record would be dated with.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(Clock::start().wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
