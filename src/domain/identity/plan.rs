//! What to do about one identity: pure functions of wish, record and what ARM shows.
use super::record::{Creating, Origin, Policy, Record};
use super::tags::{MARK, Tags};
use crate::claims::ClaimKey;
use crate::ids::{IdentityId, TargetId};
use std::collections::BTreeSet;

/// Whether an identity that is there already may be taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Adopt {
    #[default]
    IfExists,
    Never,
}

/// What one object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub key: ClaimKey,
    pub id: IdentityId,
    pub location: Option<String>,
    pub tags: Tags,
    pub adopt: Adopt,
    pub policy: Policy,
    /// The principal of an adopted identity that is to be deleted all the same: `Delete` said again, for this very one.
    pub delete_adopted: Option<String>,
    pub outputs: Option<String>,
    /// The object is being deleted.
    pub leaving: bool,
    /// A person said that it may go as things are.
    pub released: bool,
}

/// What a GET shows of an identity that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub principal_id: String,
    pub client_id: String,
    pub tenant_id: String,
    pub location: String,
    pub tags: Tags,
}

/// What ARM shows, read in this visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    There(Known),
    /// Not there, said twice.
    Missing,
}

/// What a visit found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A PUT whose answer was lost had made it.
    Arrived,
    /// Another identity bears the name now: it is not ours.
    Recreated { old: String, new: String },
    /// It was there before: from now on it is kept for its object.
    Adopted { principal_id: String },
}

/// A record brought up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub record: Record,
    pub notes: Vec<Note>,
}

/// What became of our PUT, and whose is what is there.
#[must_use]
pub fn judge(record: &Record, shown: &Shown) -> Judged {
    let mut record = record.clone();
    let mut notes = Vec::new();
    let Shown::There(known) = shown else { return Judged { record, notes } };
    if let Some(Creating { mark }) = record.creating.take() {
        let was_there = record.principal_id.as_ref() == Some(&known.principal_id);
        if was_there {
            // It had not been gone at all: whoever made it made it before.
        } else if known.tags.get(MARK) == Some(&mark) {
            record.origin = Some(Origin::Created);
            record.principal_id = Some(known.principal_id.clone());
            notes.push(Note::Arrived);
        } else {
            // Whatever bore the name before, this is somebody else's.
            record.origin = None;
            record.tags.clear();
        }
    }
    match record.principal_id.clone() {
        Some(old) if old != known.principal_id => {
            record.origin = None;
            record.tags.clear();
            record.principal_id = None;
            notes.push(Note::Recreated { old, new: known.principal_id.clone() });
        }
        Some(_) | None => {}
    }
    Judged { record, notes }
}

/// How the object that has the identity stands to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    Stays(&'a Wish),
    Leaves(&'a Wish),
    /// It is proven gone, and nobody took its place.
    Gone,
}

/// All that a decision rests on.
#[derive(Clone, Debug)]
pub struct Case<'a> {
    pub fate: Fate<'a>,
    pub record: &'a Record,
    pub shown: &'a Shown,
    /// Machines that have it, or may have: of these the identity is not taken away.
    pub users: &'a BTreeSet<TargetId>,
    /// A PUT without an answer may still arrive.
    pub may_arrive: bool,
}

/// What is told beside "as declared".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The location that it has, where the spec says another.
    pub location: Option<String>,
}

/// What to do next. Steps that write are recorded first, and followed by another look.
#[must_use = "a step is nothing until it is recorded and carried out"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not there: PUT it.
    Create,
    /// It is there, and from now on its object's.
    Adopt(Record),
    /// Tags are to be these: PATCH. Which of them are ours, while the request is under way and after it.
    Tag {
        tags: Tags,
        announced: BTreeSet<String>,
        ours: BTreeSet<String>,
    },
    Settled(Told),
    /// It is there, and may not be taken over.
    Exists,
    /// The record is to say that the object goes and the identity with it, so that references let go.
    Announce(Record),
    /// The record says so, and the object stays: another one took its place.
    Withdraw(Record),
    /// Machines have it.
    InUse,
    /// Nobody has it: DELETE.
    Delete,
    /// A PUT without an answer may still arrive: waited for, or it would be left behind.
    Await,
    /// Nothing is left to do in Azure: record and object go. What stays there is named.
    LetGo {
        stays: bool,
    },
}

/// What to do about one identity. Total and deterministic.
pub fn decide(case: &Case<'_>) -> Step {
    match &case.fate {
        Fate::Stays(wish) => keep(case, wish),
        Fate::Leaves(wish) if wish.released || wish.policy == Policy::Retain => let_go(case.shown),
        Fate::Gone if case.record.policy == Policy::Retain => let_go(case.shown),
        Fate::Leaves(wish) => part(case, wish.delete_adopted.as_deref()),
        Fate::Gone => part(case, None),
    }
}

fn let_go(shown: &Shown) -> Step {
    Step::LetGo { stays: matches!(shown, Shown::There(_)) }
}

fn keep(case: &Case<'_>, wish: &Wish) -> Step {
    let record = case.record;
    if record.deleting {
        return Step::Withdraw(Record { deleting: false, ..record.clone() });
    }
    match (case.shown, record.origin, wish.adopt) {
        (Shown::Missing, ..) => Step::Create,
        (Shown::There(known), None, Adopt::IfExists) => {
            let principal_id = Some(known.principal_id.clone());
            Step::Adopt(Record { origin: Some(Origin::Adopted), principal_id, ..record.clone() })
        }
        (Shown::There(_), None, Adopt::Never) => Step::Exists,
        (Shown::There(known), Some(_), _) => tag(record, wish, known),
    }
}

fn tag(record: &Record, wish: &Wish, known: &Known) -> Step {
    let tags = known.tags.merged(&wish.tags, &record.tags);
    let wished = wish.tags.names();
    let added = known.tags.lacking(&wish.tags);
    if tags != known.tags {
        let announced = record.tags.union(&added).cloned().collect();
        let ours = record.tags.intersection(&wished).chain(&added).cloned().collect();
        return Step::Tag { tags, announced, ours };
    }
    let differs = wish.location.as_ref().is_some_and(|wished| !same_location(wished, &known.location));
    Step::Settled(Told { location: differs.then(|| known.location.clone()) })
}

/// Azure writes `West Europe` and `westeurope` for one place.
fn same_location(a: &str, b: &str) -> bool {
    let folded = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
    folded(a) == folded(b)
}

/// The object goes, and what we made with it.
fn part(case: &Case<'_>, delete_adopted: Option<&str>) -> Step {
    let record = case.record;
    if record.creating.is_some() && *case.shown == Shown::Missing {
        return if case.may_arrive { Step::Await } else { Step::LetGo { stays: false } };
    }
    let Shown::There(known) = case.shown else { return Step::LetGo { stays: false } };
    if !may_delete(record, known, delete_adopted) {
        return Step::LetGo { stays: true };
    }
    if !record.deleting {
        return Step::Announce(Record { deleting: true, ..record.clone() });
    }
    if case.users.is_empty() { Step::Delete } else { Step::InUse }
}

/// Made by us, or its deletion asked for by its principal; and still the very same.
#[must_use]
pub fn may_delete(record: &Record, known: &Known, delete_adopted: Option<&str>) -> bool {
    let same = record.principal_id.as_deref() == Some(known.principal_id.as_str());
    let ours = match record.origin {
        Some(Origin::Created) => true,
        Some(Origin::Adopted) => delete_adopted.is_some_and(|said| said.eq_ignore_ascii_case(&known.principal_id)),
        None => false,
    };
    same && ours
}

/// What ARM answered to a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerToPut {
    /// 201: it was made by this request.
    Made,
    /// 200: it was there.
    WasThere,
}

/// The record after a PUT that was answered.
#[must_use]
pub fn answered(record: &Record, answer: AnswerToPut, known: &Known, wish: &Wish) -> Record {
    let mut record = Record { creating: None, ..record.clone() };
    match answer {
        AnswerToPut::Made => {
            record.origin = Some(Origin::Created);
            record.principal_id = Some(known.principal_id.clone());
            record.tags = wish.tags.names();
        }
        AnswerToPut::WasThere if record.principal_id.as_ref() == Some(&known.principal_id) => {}
        AnswerToPut::WasThere => {
            record.origin = None;
            record.principal_id = None;
            // What was there before is not known: nothing of it is taken off again.
            record.tags.clear();
        }
    }
    record
}

/// The right to send one DELETE.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit deletes nothing by itself"]
pub struct Permit(IdentityId);

impl Permit {
    #[must_use]
    pub fn id(&self) -> &IdentityId {
        &self.0
    }
}

/// Why a DELETE must not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the record does not say that it is to go")]
    NotAnnounced,
    #[error("it is not the identity that the record is about")]
    AnotherIdentity,
    #[error("Lanyard did not create it, and nobody named its principal for deletion")]
    NotOurs,
    #[error("machines have it")]
    InUse,
}

/// A second opinion, written apart from [`decide`]: a DELETE leaves for nothing that we did not make or were not told by
/// its principal to remove, that is another than the record knows, or that a machine has.
///
/// # Errors
/// [`Refusal`]: a defect of the planner, and the request must not leave.
pub fn permit(case: &Case<'_>) -> Result<Permit, Refusal> {
    let Shown::There(known) = case.shown else { return Err(Refusal::AnotherIdentity) };
    let asked = match &case.fate {
        Fate::Stays(_) => return Err(Refusal::NotAnnounced),
        Fate::Leaves(wish) if wish.released || wish.policy == Policy::Retain || !wish.leaving => {
            return Err(Refusal::NotAnnounced);
        }
        Fate::Leaves(wish) => wish.delete_adopted.clone(),
        Fate::Gone if case.record.policy == Policy::Retain => return Err(Refusal::NotAnnounced),
        Fate::Gone => None,
    };
    if !case.record.deleting {
        return Err(Refusal::NotAnnounced);
    }
    if known.principal_id.is_empty() || case.record.principal_id.as_ref() != Some(&known.principal_id) {
        return Err(Refusal::AnotherIdentity);
    }
    let named = asked.is_some_and(|said| said.eq_ignore_ascii_case(&known.principal_id));
    if case.record.origin != Some(Origin::Created) && !(case.record.origin.is_some() && named) {
        return Err(Refusal::NotOurs);
    }
    if !case.users.is_empty() {
        return Err(Refusal::InUse);
    }
    Ok(Permit(case.record.resource_id.clone()))
}
