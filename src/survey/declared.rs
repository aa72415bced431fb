//! What is declared, machine by machine, and where each word of it is written.
use super::cluster::Stored;
use super::identities::{Object, Objects};
use super::live::Lookup;
use crate::api::assignment::AksNodePool;
use crate::api::identity_record::IdentityRecord;
use crate::api::{IdentityAssignment, IdentityTarget, claim};
use crate::domain::claims::Ensure;
use crate::domain::identity;
use crate::domain::reference::{Reference, Referred};
use crate::domain::{Claim, IdentityId, Record, TargetId};
use crate::manifests::{Kind, Manifest, Place, Problem, Read};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be said, and of what.
type Said = (Origin, String);

/// Which assignment says something, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// `namespace/name`
    pub assignment: String,
    /// None: it is known from the cluster alone.
    #[serde(flatten)]
    pub place: Option<Place>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} ({place})", self.assignment),
            None => write!(f, "{} (in the cluster)", self.assignment),
        }
    }
}

/// One assignment and the claim that it makes.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub object: IdentityAssignment,
    pub target: TargetId,
    pub claim: Claim,
    /// The claim before its references are told of.
    plain: Claim,
    manifest: Option<Manifest>,
}

impl Assignment {
    /// The object as a whole.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin_at("")
    }

    /// What it says of the system-assigned identity.
    #[must_use]
    pub fn origin_of_system(&self) -> Origin {
        self.origin_at("spec.systemAssigned")
    }

    /// What it says of one identity.
    #[must_use]
    pub fn origin_of(&self, id: &IdentityId) -> Origin {
        let same = |text: &str| text.parse::<IdentityId>().is_ok_and(|named| named == *id);
        let index = self.object.spec.user_assigned.iter().position(|entry| same(&entry.resource_id));
        let entry = index.map(|index| format!("spec.userAssigned[{index}].resourceId"));
        self.origin_at(&entry.or_else(|| self.reference_to(id)).unwrap_or_default())
    }

    /// Where a reference stands that stands for this identity.
    fn reference_to(&self, id: &IdentityId) -> Option<String> {
        let (name, _) = self.claim.refs.iter().find(|(_, reference)| named(&reference.referred) == Some(id))?;
        Some(self.path_of_reference(name))
    }

    fn path_of_reference(&self, name: &str) -> String {
        let refs = &self.object.spec.user_assigned_refs;
        let index = refs.iter().position(|entry| entry.name == name);
        index.map(|index| format!("spec.userAssignedRefs[{index}].name")).unwrap_or_default()
    }

    /// The claim, with what its references stand for.
    fn refer(&mut self, objects: &Objects, lookup: &Lookup) {
        let namespace = &self.plain.key.namespace;
        let refs = self.object.spec.user_assigned_refs.iter().map(|entry| {
            let ensure: Ensure = entry.ensure.into();
            let referred = objects.referred(&(namespace.clone(), entry.name.clone()), lookup);
            let repair = entry.repair && ensure == Ensure::Present;
            (entry.name.clone(), Reference { ensure, repair, referred })
        });
        self.claim = self.plain.clone().referring(refs.collect());
    }

    /// References that wait, each with its place and why.
    #[must_use]
    pub fn waiting(&self) -> Vec<(Origin, String)> {
        let waiting = self.claim.refs.iter().filter_map(|(name, reference)| {
            let why = reference.waits()?;
            Some((self.origin_at(&self.path_of_reference(name)), format!("the reference to {name} waits: {why}")))
        });
        waiting.collect()
    }

    /// References to objects that are nowhere, each with its place.
    #[must_use]
    pub fn unseen(&self) -> Vec<(Origin, String)> {
        let namespace = &self.claim.key.namespace;
        let unseen = self.claim.refs.iter().filter(|(_, reference)| reference.referred == Referred::Unseen);
        let told = unseen.map(|(name, _)| {
            let message = format!(
                "there is no UserAssignedIdentity {namespace}/{name} here: unless the cluster has it, the reference waits"
            );
            (self.origin_at(&self.path_of_reference(name)), message)
        });
        told.collect()
    }

    /// References that contradict another entry, and those that repeat one, each with its place.
    #[must_use]
    pub fn repeated(&self) -> (Vec<Said>, Vec<Said>) {
        let contradicted: BTreeSet<&String> = self.claim.contradicted().map(|(name, _)| name).collect();
        let (mut wrong, mut twice) = (Vec::new(), Vec::new());
        let mut seen: BTreeMap<&IdentityId, String> = BTreeMap::new();
        for (index, entry) in self.object.spec.user_assigned.iter().enumerate() {
            let id = self
                .plain
                .user
                .keys()
                .find(|id| entry.resource_id.parse().is_ok_and(|named: IdentityId| named == **id));
            seen.extend(id.map(|id| (id, format!("spec.userAssigned[{index}]"))));
        }
        for entry in &self.object.spec.user_assigned_refs {
            let Some((name, reference)) = self.claim.refs.get_key_value(&entry.name) else { continue };
            let Some(id) = named(&reference.referred) else { continue };
            let path = self.path_of_reference(name);
            if let Some(first) = seen.get(id) {
                let at = self.origin_at(&path);
                if contradicted.contains(name) {
                    let why = "one says Present, the other Absent, so that neither is done";
                    wrong.push((at, format!("{path} stands for {}, as {first} does: {why}", id.name())));
                } else {
                    twice.push((at, format!("{path} stands for {}, as {first} does: one of them will do", id.name())));
                }
            } else {
                seen.insert(id, path.trim_end_matches(".name").to_owned());
            }
        }
        (wrong, twice)
    }

    fn origin_at(&self, path: &str) -> Origin {
        let place = self.manifest.as_ref().map(|manifest| manifest.place_of(path));
        Origin { assignment: self.claim.key.to_string(), place }
    }

    /// It is among the manifests, and not in the cluster alone.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.manifest.is_some()
    }

    /// It accepts a machine that AKS manages.
    #[must_use]
    pub fn accepts_aks(&self) -> bool {
        self.object.spec.aks_node_pool == AksNodePool::Manage
    }
}

/// Everything that is declared and recorded.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    pub by_target: BTreeMap<TargetId, Vec<Assignment>>,
    records: BTreeMap<TargetId, Record>,
    /// Whether records were there to be read.
    pub has_records: bool,
    /// Identities that are objects.
    pub objects: Objects,
}

impl Declared {
    /// What manifests say; with the cluster's objects, where it was asked: those of the same name are replaced.
    ///
    /// # Errors
    /// Objects that say nothing that can be acted on.
    pub fn new(read: &Read, stored: Option<Stored>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut declared = Self::default();
        let stored = match stored.map(|stored| declared.take_up(stored)).transpose() {
            Ok(stored) => stored.unwrap_or_default(),
            Err(error) => {
                let at = Place { file: "the cluster".into(), line: 0, column: 0 };
                return Err(vec![Problem { at, message: error.to_string() }]);
            }
        };
        let mut replaced = BTreeSet::new();
        let mut written = Vec::new();
        // Records first: whose an identity is follows from them.
        for manifest in read.manifests.iter().filter(|manifest| manifest.kind == Kind::IdentityRecord) {
            problems.extend(identity_record(manifest).map(|record| declared.keep_identity(record)).err());
        }
        for manifest in &read.manifests {
            let taken = match manifest.kind {
                Kind::IdentityAssignment => assignment(manifest, &stored).map(|assignment| {
                    replaced.insert(manifest.key());
                    written.push(assignment);
                }),
                Kind::IdentityTarget => record(manifest).map(|record| declared.keep(record)),
                Kind::UserAssignedIdentity => declared.objects.write(manifest),
                Kind::IdentityRecord => Ok(()),
            };
            problems.extend(taken.err());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let standing = stored.into_iter().filter(|(key, _)| !replaced.contains(key)).map(|(_, assignment)| assignment);
        for assignment in standing.chain(written) {
            declared.by_target.entry(assignment.target.clone()).or_default().push(assignment);
        }
        for assignments in declared.by_target.values_mut() {
            assignments.sort_by(|a, b| a.claim.key.cmp(&b.claim.key));
        }
        declared.refer(&Lookup::default());
        Ok(declared)
    }

    /// Tells what references stand for, by what ARM says of their identities.
    pub fn refer(&mut self, lookup: &Lookup) {
        let with_refs = |one: &&mut Assignment| !one.object.spec.user_assigned_refs.is_empty();
        for assignment in self.by_target.values_mut().flatten().filter(with_refs) {
            assignment.refer(&self.objects, lookup);
        }
    }

    fn keep_identity(&mut self, record: identity::Record) {
        self.has_records = true;
        self.objects.keep_record(record);
    }

    fn take_up(&mut self, stored: Stored) -> anyhow::Result<BTreeMap<String, Assignment>> {
        self.has_records = true;
        for record in stored.identity_records {
            self.keep_identity(record);
        }
        for object in &stored.identities {
            self.objects.put(Object::stored(object)?);
        }
        for record in stored.records {
            self.keep(record);
        }
        let assignments = stored.assignments.into_iter().map(|readable| {
            let (object, target, claim) = (readable.object, readable.target, readable.claim);
            let assignment = Assignment { object, target, plain: claim.clone(), claim, manifest: None };
            (assignment.claim.key.to_string(), assignment)
        });
        Ok(assignments.collect())
    }

    fn keep(&mut self, record: Record) {
        self.has_records = true;
        self.records.insert(record.resource_id.clone(), record);
    }

    /// What is known to be attached by Lanyard; nothing where no record is.
    #[must_use]
    pub fn record(&self, target: &TargetId) -> Record {
        self.records.get(target).cloned().unwrap_or_else(|| Record::empty(target.clone()))
    }

    /// Every machine that is declared or recorded.
    pub fn targets(&self) -> impl Iterator<Item = &TargetId> {
        let all: BTreeSet<&TargetId> = self.by_target.keys().chain(self.records.keys()).collect();
        all.into_iter()
    }

    #[must_use]
    pub fn of(&self, target: &TargetId) -> &[Assignment] {
        self.by_target.get(target).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Under the uid and with a later generation than the stored object of its name, as applying it would give it.
fn assignment(manifest: &Manifest, stored: &BTreeMap<String, Assignment>) -> Result<Assignment, Problem> {
    let wrong = |said: String| Problem { at: manifest.place(), message: said };
    let mut object = IdentityAssignment::deserialize(manifest.value()).map_err(|error| wrong(error.to_string()))?;
    let before = stored.get(&manifest.key()).map(|assignment| &assignment.claim);
    let metadata = &mut object.metadata;
    match before {
        Some(before) => {
            metadata.uid = Some(before.key.uid.clone());
            metadata.generation = Some(before.generation.saturating_add(1));
        }
        None => metadata.uid = Some(format!("of {}", manifest.key())),
    }
    // What is written is to be there: a copy of an object that was being deleted is applied as any other.
    metadata.deletion_timestamp = None;
    let (target, claim) = claim::claim(&object).map_err(|error| wrong(crate::arm::chain(&error)))?;
    Ok(Assignment { object, target, plain: claim.clone(), claim, manifest: Some(manifest.clone()) })
}

fn record(manifest: &Manifest) -> Result<Record, Problem> {
    let wrong = |said: String| Problem { at: manifest.place(), message: said };
    let object = IdentityTarget::deserialize(manifest.value()).map_err(|error| wrong(error.to_string()))?;
    Record::try_from(&object.record).map_err(|error| wrong(crate::arm::chain(&error)))
}

fn identity_record(manifest: &Manifest) -> Result<identity::Record, Problem> {
    let wrong = |said: String| Problem { at: manifest.place(), message: said };
    let object = IdentityRecord::deserialize(manifest.value()).map_err(|error| wrong(error.to_string()))?;
    identity::Record::try_from(&object.record).map_err(|error| wrong(crate::arm::chain(&error)))
}

/// The identity that a reference's object names, whatever its state.
fn named(referred: &Referred) -> Option<&IdentityId> {
    match referred {
        Referred::Ready(id) | Referred::NotReady(id, _) | Referred::Leaving(id) => Some(id),
        Referred::Unseen => None,
    }
}
