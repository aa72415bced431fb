//! What is declared, machine by machine, and where each word of it is written.
use super::cluster::Stored;
use crate::api::assignment::AksNodePool;
use crate::api::{IdentityAssignment, IdentityTarget, claim};
use crate::domain::{Claim, IdentityId, Record, TargetId};
use crate::manifests::{Kind, Manifest, Place, Problem, Read};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
        self.origin_at(&index.map(|index| format!("spec.userAssigned[{index}].resourceId")).unwrap_or_default())
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
}

impl Declared {
    /// What manifests say; with the cluster's objects, where it was asked: those of the same name are replaced.
    ///
    /// # Errors
    /// Objects that say nothing that can be acted on.
    pub fn new(read: &Read, stored: Option<Stored>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut declared = Self::default();
        let stored = stored.map(|stored| declared.take_up(stored)).unwrap_or_default();
        let mut replaced = BTreeSet::new();
        let mut written = Vec::new();
        for manifest in &read.manifests {
            let taken = match manifest.kind {
                Kind::IdentityAssignment => assignment(manifest, &stored).map(|assignment| {
                    replaced.insert(manifest.key());
                    written.push(assignment);
                }),
                Kind::IdentityTarget => record(manifest).map(|record| declared.keep(record)),
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
        Ok(declared)
    }

    fn take_up(&mut self, stored: Stored) -> BTreeMap<String, Assignment> {
        self.has_records = true;
        for record in stored.records {
            self.keep(record);
        }
        let assignments = stored.assignments.into_iter().map(|readable| {
            let assignment =
                Assignment { object: readable.object, target: readable.target, claim: readable.claim, manifest: None };
            (assignment.claim.key.to_string(), assignment)
        });
        assignments.collect()
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
    Ok(Assignment { object, target, claim, manifest: Some(manifest.clone()) })
}

fn record(manifest: &Manifest) -> Result<Record, Problem> {
    let wrong = |said: String| Problem { at: manifest.place(), message: said };
    let object = IdentityTarget::deserialize(manifest.value()).map_err(|error| wrong(error.to_string()))?;
    Record::try_from(&object.record).map_err(|error| wrong(crate::arm::chain(&error)))
}
