//! User-assigned identities that are objects: who has which, what references stand for, and what would become of each,
//! by the domain's own planner.
use super::live::Lookup;
use crate::api::user_assigned_identity::{UserAssignedIdentity, wish};
use crate::arm::chain;
use crate::domain::identity::{Case, Fate, Known, Note, Policy, Record, Shown, Step, Tags, Wish, decide, judge};
use crate::domain::reference::Referred;
use crate::domain::{ClaimKey, IdentityId, TargetId};
use crate::manifests::{Manifest, Place, Problem};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Namespace and name.
pub type Name = (String, String);

/// A `UserAssignedIdentity`, and where it is written.
#[derive(Clone, Debug)]
pub struct Object {
    pub wish: Wish,
    /// None: it is not in the cluster yet.
    created: Option<jiff::Timestamp>,
    manifest: Option<Manifest>,
}

/// Which object says something, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Source {
    /// `namespace/name`
    pub object: String,
    /// None: it is known from the cluster alone.
    #[serde(flatten)]
    pub place: Option<Place>,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} ({place})", self.object),
            None => write!(f, "{} (in the cluster)", self.object),
        }
    }
}

impl Object {
    /// As the cluster holds it.
    ///
    /// # Errors
    /// It names no identity.
    pub fn stored(object: &UserAssignedIdentity) -> anyhow::Result<Self> {
        let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let wish = wish(object).map_err(|error| {
            let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
            let told = |text: &Option<String>| text.clone().unwrap_or_default();
            anyhow::anyhow!("{}/{} in the cluster cannot be read: {}", told(namespace), told(name), chain(&error))
        })?;
        Ok(Self { wish, created, manifest: None })
    }

    #[must_use]
    pub fn source(&self) -> Source {
        let place = self.manifest.as_ref().map(Manifest::place);
        Source { object: self.wish.key.to_string(), place }
    }

    /// It is among the manifests, and not in the cluster alone.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.manifest.is_some()
    }

    fn name(&self) -> Name {
        (self.wish.key.namespace.clone(), self.wish.key.name.clone())
    }
}

/// All objects, and the records of identities.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    by_name: BTreeMap<Name, Object>,
    records: BTreeMap<IdentityId, Record>,
}

impl Objects {
    pub fn keep_record(&mut self, record: Record) {
        self.records.insert(record.resource_id.clone(), record);
    }

    pub fn put(&mut self, object: Object) {
        self.by_name.insert(object.name(), object);
    }

    /// Takes the place of the stored object of its name, under its uid: as applying it would.
    ///
    /// # Errors
    /// It names no identity.
    pub fn write(&mut self, manifest: &Manifest) -> Result<(), Problem> {
        let wrong = |message: String| Problem { at: manifest.place(), message };
        let mut object =
            UserAssignedIdentity::deserialize(manifest.value()).map_err(|error| wrong(error.to_string()))?;
        let name = (manifest.namespace.clone().unwrap_or_default(), manifest.name.clone());
        let before = self.by_name.get(&name);
        let recorded = self.records.values().map(|record| &record.owner).find(|owner| is_named(owner, &name));
        let uid = before.map(|before| &before.wish.key.uid).or(recorded.map(|owner| &owner.uid)).cloned();
        let created = before.and_then(|before| before.created);
        object.metadata.uid = Some(uid.unwrap_or_else(|| format!("of {}", manifest.key())));
        object.metadata.deletion_timestamp = None;
        let wish = wish(&object).map_err(|error| wrong(chain(&error)))?;
        self.put(Object { wish, created, manifest: Some(manifest.clone()) });
        Ok(())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.records.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = &Object> {
        self.by_name.values()
    }

    /// Identities that manifests are about; without any, all that is declared or recorded.
    #[must_use]
    pub fn named(&self, written_only: bool) -> BTreeSet<IdentityId> {
        let objects = self.all().filter(|object| object.is_written() || !written_only);
        let recorded = self.records.keys().filter(|_| !written_only);
        objects.map(|object| &object.wish.id).chain(recorded).cloned().collect()
    }

    /// All that name an identity, in the order in which they came: what is not there yet comes last.
    fn naming(&self, id: &IdentityId) -> Vec<&Object> {
        let mut naming: Vec<&Object> = self.all().filter(|object| object.wish.id == *id).collect();
        naming.sort_by_key(|object| (object.created.is_none(), object.created, object.name()));
        naming
    }

    /// Whose the identity is, and its record as the controller would begin with it. None: nobody wants it, and nothing is
    /// known of it.
    fn owned(&self, id: &IdentityId) -> Option<(Option<&Object>, Record)> {
        let naming = self.naming(id);
        let staying = naming.iter().find(|object| !object.wish.leaving).copied();
        let policy = |object: &Object| if object.wish.released { Policy::Retain } else { object.wish.policy };
        let Some(record) = self.records.get(id).cloned() else {
            let first = staying?;
            return Some((Some(first), Record::new(id.clone(), first.wish.key.clone(), policy(first))));
        };
        let owner = naming.iter().find(|object| object.wish.key.uid == record.owner.uid).copied();
        Some(match (owner, staying) {
            (Some(owner), _) => (Some(owner), Record { policy: policy(owner), ..record }),
            (None, Some(next)) => (Some(next), record.succeeded_by(next.wish.key.clone(), policy(next))),
            (None, None) => (None, record),
        })
    }

    /// What a reference stands for once what is declared has come about; as far as ARM was asked, by what it said.
    #[must_use]
    pub fn referred(&self, name: &Name, lookup: &Lookup) -> Referred {
        let Some(object) = self.by_name.get(name) else {
            let record = self.records.values().find(|record| is_named(&record.owner, name) && record.deleting);
            return record.map_or(Referred::Unseen, |record| Referred::Leaving(record.resource_id.clone()));
        };
        let id = object.wish.id.clone();
        let Some((Some(owner), record)) = self.owned(&id) else {
            return Referred::NotReady(id, "its object is being deleted".into());
        };
        if owner.wish.key != object.wish.key {
            return Referred::NotReady(id, format!("{} has this identity", owner.source()));
        }
        if record.deleting && object.wish.leaving {
            return Referred::Leaving(id);
        }
        match self.plan_known(&id, lookup) {
            Some(identity) => match identity.outcome {
                IdentityOutcome::Exists => Referred::NotReady(id, identity.why),
                IdentityOutcome::Unread if record.origin.is_none() => {
                    Referred::NotReady(id, "the identity could not be read".into())
                }
                _ => Referred::Ready(id),
            },
            None => Referred::Ready(id),
        }
    }

    fn plan_known(&self, id: &IdentityId, lookup: &Lookup) -> Option<Identity> {
        lookup.objects.get(id)?;
        self.assess(id, lookup)
    }

    /// What would become of an identity.
    #[must_use]
    pub fn assess(&self, id: &IdentityId, lookup: &Lookup) -> Option<Identity> {
        let (owner, record) = self.owned(id)?;
        let mut identity = Identity {
            resource_id: id.to_string(),
            name: id.name().into(),
            outcome: IdentityOutcome::Unread,
            declared_by: owner.map(Object::source).into_iter().collect(),
            why: String::new(),
            tags: None,
            warnings: Vec::new(),
            error: None,
        };
        let asked = lookup.objects.get(id).cloned();
        let shown = match asked.unwrap_or_else(|| Seen::Unread("it was not asked for".into())) {
            Seen::There(known) => Shown::There(known),
            Seen::Missing => Shown::Missing,
            Seen::NoGroup => {
                identity.warnings.push("its resource group does not exist: it is waited for".into());
                Shown::Missing
            }
            Seen::Unread(why) => {
                return Some(Identity { why: "not known".into(), error: Some(why), ..identity });
            }
        };
        let judged = judge(&record, &shown);
        for note in &judged.notes {
            if let Note::Recreated { old, new } = note {
                identity.warnings.push(format!("somebody made it anew: its principal is {new}, and was {old}"));
            }
        }
        let users = users(id, lookup);
        let (step, adopted) = foresee(owner, judged.record, &shown, &users);
        let known = match &shown {
            Shown::There(known) => Some(known),
            Shown::Missing => None,
        };
        identity.tell(step, adopted, known);
        let losers =
            self.naming(id).into_iter().filter(|object| owner.is_some_and(|owner| owner.name() != object.name()));
        for loser in losers {
            identity
                .warnings
                .push(format!("{} names it, too: one object has it, and that is the other", loser.source()));
        }
        if matches!(identity.outcome, IdentityOutcome::Delete) {
            identity.warnings.push("before that all machines of its subscription are looked through for it".into());
        }
        Some(identity)
    }

    /// Objects that name an identity which another one has: the place of each, and what is wrong.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let ids: BTreeSet<&IdentityId> = self.all().map(|object| &object.wish.id).collect();
        for id in ids {
            let Some((Some(owner), _)) = self.owned(id) else { continue };
            let others = self.naming(id).into_iter().filter(|object| object.name() != owner.name());
            for (object, manifest) in others.filter_map(|object| Some((object, object.manifest.as_ref()?))) {
                let message = format!(
                    "UserAssignedIdentity {} names {}, which {} has: keep one of them",
                    object.wish.key,
                    id.name(),
                    owner.source()
                );
                let at = ["spec.resourceId", "spec.name"].map(|path| manifest.place_of(path));
                // The form that is written stands below the beginning of the spec.
                let at = at.into_iter().max().unwrap_or_else(|| manifest.place());
                problems.push(Problem { at, message });
            }
        }
        problems
    }
}

fn is_named(key: &ClaimKey, (namespace, name): &Name) -> bool {
    key.namespace == *namespace && key.name == *name
}

/// What ARM says of an identity that is an object, or is to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    There(Known),
    Missing,
    /// Its resource group is not there.
    NoGroup,
    Unread(String),
}

/// Machines that have it, of those that were read.
fn users(id: &IdentityId, lookup: &Lookup) -> BTreeSet<TargetId> {
    let read = lookup.machines.iter().filter_map(|(target, found)| Some((target, found.as_ref().ok()?)));
    read.filter(|(_, live)| live.has(id)).map(|(target, _)| target.clone()).collect()
}

/// The planner's steps up to the first that is more than a note in the record, and whether the identity is taken over.
fn foresee(owner: Option<&Object>, mut record: Record, shown: &Shown, users: &BTreeSet<TargetId>) -> (Step, bool) {
    let mut adopted = false;
    loop {
        let fate = match owner {
            Some(owner) if owner.wish.leaving => Fate::Leaves(&owner.wish),
            Some(owner) => Fate::Stays(&owner.wish),
            None => Fate::Gone,
        };
        match decide(&Case { fate, record: &record, shown, users, may_arrive: true }) {
            Step::Adopt(next) => (record, adopted) = (next, true),
            Step::Announce(next) | Step::Withdraw(next) => record = next,
            step => return (step, adopted),
        }
    }
}

/// What becomes of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, strum::Display)]
pub enum IdentityOutcome {
    Create,
    /// Its tags change.
    Tag,
    Delete,
    /// It is there, and taken over as it is: nothing is written in Azure.
    Adopt,
    NoChange,
    /// It is there, and may not be taken over.
    Exists,
    /// It goes with its object, but machines have it.
    InUse,
    /// The object goes, and the identity stays or is not there.
    LetGo,
    /// It could not be read: nothing is known of it.
    Unread,
}

impl IdentityOutcome {
    /// Something would be written in Azure.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::Create | Self::Tag | Self::Delete)
    }
}

/// One identity that is an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub resource_id: String,
    pub name: String,
    pub outcome: IdentityOutcome,
    pub declared_by: Vec<Source>,
    pub why: String,
    /// Tags that would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagChange>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How tags would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagChange {
    pub set: BTreeMap<String, String>,
    pub remove: Vec<String>,
}

impl TagChange {
    fn between(before: &Tags, after: &Tags) -> Self {
        let set = after.iter().filter(|(name, value)| before.get(name) != Some(*value));
        let gone = before.iter().filter(|(name, _)| after.get(name).is_none());
        Self {
            set: set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            remove: gone.map(|(name, _)| name.to_owned()).collect(),
        }
    }
}

impl Identity {
    fn tell(&mut self, step: Step, adopted: bool, known: Option<&Known>) {
        let taken = if adopted { "it is there, and is taken over" } else { "as declared" };
        let (outcome, why) = match step {
            Step::Create => (IdentityOutcome::Create, "declared, and not there".to_owned()),
            Step::Tag { tags, .. } => {
                self.tags = known.map(|known| TagChange::between(&known.tags, &tags));
                let why = if adopted { "it is there, and is taken over; tags differ" } else { "tags differ" };
                (IdentityOutcome::Tag, why.to_owned())
            }
            Step::Settled(told) => {
                if let Some(location) = told.location {
                    self.warnings.push(format!("it is in {location}, and cannot be moved to where the spec says"));
                }
                (if adopted { IdentityOutcome::Adopt } else { IdentityOutcome::NoChange }, taken.to_owned())
            }
            Step::Exists => (
                IdentityOutcome::Exists,
                "it is there, no record says that it is its object's, and adopt is Never: nothing is done".to_owned(),
            ),
            Step::Delete => (IdentityOutcome::Delete, "its object goes, and it with it".to_owned()),
            Step::InUse => (IdentityOutcome::InUse, "its object goes, but machines have it: it stays".to_owned()),
            Step::Await => (IdentityOutcome::LetGo, "its object goes; whether it was made is waited for".to_owned()),
            Step::LetGo { stays: true } => (IdentityOutcome::LetGo, "its object goes, and it stays".to_owned()),
            Step::LetGo { stays: false } => (IdentityOutcome::LetGo, "its object goes, and it is not there".to_owned()),
            // Notes in the record: each is followed by another step.
            Step::Adopt(_) | Step::Announce(_) | Step::Withdraw(_) => (IdentityOutcome::NoChange, taken.to_owned()),
        };
        (self.outcome, self.why) = (outcome, why);
    }
}

#[cfg(test)]
mod tests;
