//! One visit to one identity.
//!
//! 1 load (whose it is), 2 look (reads ARM), 3 decide (pure), 4 act, each write recorded first; then report, whatever
//! happened.
use super::act::act;
use super::error::IdentityError;
use super::index::{Declared, IdentityKey};
use super::memory::Memory;
use super::{report, store, users};
use crate::api::identity_record::IdentityRecord;
use crate::api::{RECONCILE_AT, user_assigned_identity::IdentityUser};
use crate::arm::{ArmError, Missing};
use crate::controller::context::Context;
use crate::controller::queue::Urgency;
use crate::controller::reconcile::Next;
use crate::controller::rights;
use crate::controller::story::Ending;
use crate::telemetry::traces::{self, step};
use lanyard_domain::TargetId;
use lanyard_domain::evidence::said_gone;
use lanyard_domain::identity::{Case, Fate, Known, Note, Origin, Policy, Record, Shown, Step, Told, decide, judge};
use lanyard_domain::target_name::identity_name;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument as _, Span};

/// Steps that one visit may take.
const ROUNDS: usize = 10;

/// What is not there, or is another, is read once more after this.
const ONCE_MORE: Duration = Duration::from_millis(1500);

/// How long reads may lag behind a PUT of ours, or a PUT behind its sender.
pub const LAGS_FOR: Duration = Duration::from_secs(60);

/// How often an identity is compared with what is declared.
pub const DRIFT: Duration = Duration::from_secs(600);

/// How long what was read will do for who only looks. Shorter than the shortest time between two looks for drift.
const REMEMBERED_FOR: Duration = Duration::from_secs(500);

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Settled(Told),
    /// It is there, and may not be taken over.
    Exists,
    InUse,
    /// A PUT may still arrive.
    Awaited,
    /// Record and object go.
    Gone,
    /// Nobody has it: there is nothing to do.
    Nobody,
}

/// What a visit knows.
pub struct Visit {
    pub identity: IdentityKey,
    pub urgency: Urgency,
    /// All objects that name it, in the order in which they came.
    pub objects: Vec<Arc<Declared>>,
    /// The one that has it.
    pub owner: Option<Arc<Declared>>,
    pub stored: Option<IdentityRecord>,
    pub record: Option<Record>,
    /// The principal that the record knew when the visit began.
    pub before: Option<String>,
    pub known: Option<Known>,
    /// What is known was read at an earlier visit: good enough to say that nothing is to be done, and for nothing else.
    pub remembered: bool,
    /// Machines that keep it from being deleted.
    pub users: BTreeSet<TargetId>,
    pub notes: Vec<Note>,
    /// What to tell people, with its reason.
    pub told: Vec<(&'static str, String, bool)>,
    pub outputs_trouble: Option<String>,
    pub memory: Memory,
}

impl Visit {
    /// How the object stands to the identity; none while nobody has it.
    pub fn fate(&self) -> Fate<'_> {
        fate(self.owner.as_deref())
    }

    pub fn is_leaving(&self) -> bool {
        !matches!(self.fate(), Fate::Stays(_))
    }

    /// Whose it is, in words.
    pub fn owner_name(&self) -> String {
        self.record.as_ref().map(|record| record.owner.to_string()).unwrap_or_default()
    }
}

fn fate(owner: Option<&Declared>) -> Fate<'_> {
    match owner {
        Some(owner) if owner.wish.leaving => Fate::Leaves(&owner.wish),
        Some(owner) => Fate::Stays(&owner.wish),
        None => Fate::Gone,
    }
}

/// Visits an identity. What it logs has the ids that Events, statuses and the audit stream have.
pub async fn visit(context: &Context, identity: IdentityKey, urgency: Urgency) -> Next {
    let part = context.identity_stories.visit(&identity, urgency);
    let lines = tracing::info_span!(
        "visit",
        identity = %identity,
        identity_record = identity_name(&identity),
        trace_id = traces::trace_id(&part),
    );
    visited(context, identity, urgency, &part).instrument(lines).instrument(part.clone()).await
}

async fn visited(context: &Context, identity: IdentityKey, urgency: Urgency, part: &Span) -> Next {
    let mut visit = Visit {
        identity: identity.clone(),
        urgency,
        objects: Vec::new(),
        owner: None,
        stored: None,
        record: None,
        before: None,
        known: None,
        remembered: false,
        users: BTreeSet::new(),
        notes: Vec::new(),
        told: Vec::new(),
        outputs_trouble: None,
        memory: context.identity_memories.recall(&identity),
    };
    let mut end = steps(context, &mut visit).await;
    if let Err(IdentityError::Arm(error)) = &mut end {
        rights::explain(context, urgency, error).await;
    }
    let next = report::report(context, &mut visit, &end).instrument(step!("report")).await;
    let ending = Ending::of(end.as_ref().err().map(IdentityError::reason), next);
    context.metrics.visited_identity(ending.reason);
    context.identity_stories.ended(&identity, part, ending);
    if next.is_some() {
        context.identity_memories.remember(&identity, visit.memory);
    }
    next
}

async fn steps(context: &Context, visit: &mut Visit) -> Result<End, IdentityError> {
    load(context, visit).await?;
    if visit.record.is_none() {
        return Ok(End::Nobody);
    }
    hurry(visit);
    for _ in 0..ROUNDS {
        if context.stop.is_cancelled() {
            return Err(IdentityError::Stopping);
        }
        let Some(record) = visit.record.clone() else { return Ok(End::Gone) };
        let shown = look(context, visit, &record).await?;
        let judged = judge(&record, &shown);
        visit.notes.extend(judged.notes);
        visit.record = Some(judged.record);
        if let Some(end) = decided(context, visit, &shown).await? {
            return Ok(end);
        }
    }
    Err(IdentityError::TooManyRounds)
}

/// What people ask for anew ends every wait.
fn hurry(visit: &mut Visit) {
    let asked: Vec<_> = visit
        .objects
        .iter()
        .map(|object| {
            let meta = object.metadata();
            let at = meta.annotations.as_ref().and_then(|all| all.get(RECONCILE_AT)).cloned();
            (object.wish.key.uid.clone(), meta.generation, at)
        })
        .collect();
    visit.memory.versions.keep(&asked.iter().map(|(uid, ..)| uid.as_str()).collect());
    if asked != visit.memory.asked {
        visit.memory.asked = asked;
        visit.memory.seen = None;
    }
}

/// Whose the identity is. The record says so; where its object is proven gone, the next one takes its place.
async fn load(context: &Context, visit: &mut Visit) -> Result<(), IdentityError> {
    visit.objects = context.index.identities.objects(&visit.identity);
    let staying = visit.objects.iter().find(|object| !object.wish.leaving).cloned();
    let Some(stored) = context.index.identities.record(&visit.identity) else {
        let Some(first) = staying else { return Ok(()) };
        let policy = policy_of(&first);
        visit.record = Some(Record::new(visit.identity.as_ref().clone(), first.wish.key.clone(), policy));
        visit.owner = Some(first);
        return Ok(());
    };
    let name = stored.metadata.name.clone().unwrap_or_default();
    let record = Record::try_from(&stored.record).map_err(|source| IdentityError::Record { name, source })?;
    visit.stored = Some(stored.as_ref().clone());
    visit.before.clone_from(&record.principal_id);
    let owner = visit.objects.iter().find(|object| object.wish.key.uid == record.owner.uid).cloned();
    visit.record = Some(match (&owner, staying) {
        (Some(owner), _) => Record { policy: policy_of(owner), ..record },
        (None, successor) => {
            if !context.kubernetes.identity_is_gone(&record.owner).await.map_err(IdentityError::OwnerUnseen)? {
                return Err(IdentityError::OwnerIllegible);
            }
            let retained = context.index.identities.was_let_go(&record.owner.uid);
            let record = if retained { Record { policy: Policy::Retain, ..record } } else { record };
            match successor {
                Some(next) => {
                    let record = record.succeeded_by(next.wish.key.clone(), policy_of(&next));
                    visit.owner = Some(next);
                    record
                }
                None => record,
            }
        }
    });
    visit.owner = visit.owner.take().or(owner);
    Ok(())
}

fn policy_of(object: &Declared) -> Policy {
    if object.wish.released { Policy::Retain } else { object.wish.policy }
}

/// The identity as it is. That it is missing, or another one, is believed when two reads say so.
async fn look(context: &Context, visit: &mut Visit, record: &Record) -> Result<Shown, IdentityError> {
    if goes_unseen(visit, record) {
        // Whatever ARM says, or does not say: nothing is asked of it. As it was last known, for who is told of it.
        let principal_id = record.principal_id.clone().unwrap_or_default();
        let known = Known { principal_id, ..Known::default() };
        return Ok(if record.origin.is_some() { Shown::There(known) } else { Shown::Missing });
    }
    if let Some(known) = at_hand(context, visit, record) {
        visit.known = Some(known.clone());
        visit.remembered = true;
        return Ok(Shown::There(known));
    }
    visit.remembered = false;
    let mut first = None;
    loop {
        let shown = ask(context, visit).await?;
        let expected = match (&shown, &record.principal_id) {
            (Shown::There(known), Some(principal)) => *principal == known.principal_id,
            (Shown::There(_), None) => true,
            (Shown::Missing, _) => false,
        };
        if expected || first.as_ref() == Some(&shown) {
            let fresh = |put: &lanyard_domain::Moment| context.now().since(*put) < LAGS_FOR;
            if !expected && visit.memory.put.as_ref().is_some_and(fresh) {
                return Err(IdentityError::Stale);
            }
            visit.known = match &shown {
                Shown::There(known) => Some(known.clone()),
                Shown::Missing => None,
            };
            visit.memory.seen = visit.known.clone().map(|known| (known, context.now()));
            return Ok(shown);
        }
        first = Some(shown);
        tokio::time::sleep(ONCE_MORE).await;
    }
}

/// The object goes, and the identity stays by a person's word.
fn goes_unseen(visit: &Visit, record: &Record) -> bool {
    match visit.fate() {
        Fate::Leaves(wish) => wish.released || wish.policy == Policy::Retain,
        Fate::Gone => record.policy == Policy::Retain,
        Fate::Stays(_) => false,
    }
}

/// What was read a while ago will do where nobody asks for a look, and nothing is under way.
fn at_hand(context: &Context, visit: &Visit, record: &Record) -> Option<Known> {
    let (known, read) = visit.memory.seen.clone()?;
    let young = context.now().since(read) < REMEMBERED_FOR;
    let looks = matches!(visit.urgency, Urgency::Retry | Urgency::Drift);
    let at_rest = record.origin.is_some() && record.creating.is_none() && !record.deleting && !visit.is_leaving();
    (young && looks && at_rest).then_some(known)
}

async fn ask(context: &Context, visit: &Visit) -> Result<Shown, IdentityError> {
    match context.arm.at(visit.urgency).user_identity(&visit.identity).await {
        Ok(known) => Ok(Shown::There(known)),
        Err(error @ ArmError::NotFound { missing: Missing::Group, .. }) if !visit.is_leaving() => {
            Err(IdentityError::NoGroup(error))
        }
        Err(ArmError::NotFound { .. }) => Ok(Shown::Missing),
        Err(error) => Err(error.into()),
    }
}

async fn decided(context: &Context, visit: &mut Visit, shown: &Shown) -> Result<Option<End>, IdentityError> {
    let Some(record) = visit.record.clone() else { return Ok(Some(End::Gone)) };
    if is_missing_for_the_first_time(context, visit, &record, shown) {
        return Ok(Some(End::Awaited));
    }
    if record.deleting && visit.is_leaving() && matches!(shown, Shown::There(_)) {
        visit.users = users::of(context, visit).await?;
    }
    let now = context.now();
    let may_arrive =
        record.creating.is_some() && visit.memory.unanswered.is_none_or(|since| now.since(since) < LAGS_FOR);
    if may_arrive && visit.memory.unanswered.is_none() {
        // Another process' request: it counts from when this one first knew of it.
        visit.memory.unanswered = Some(now);
    }
    let (owner, users) = (visit.owner.clone(), visit.users.clone());
    let case = Case { fate: fate(owner.as_deref()), record: &record, shown, users: &users, may_arrive };
    let step = decide(&case);
    tracing::debug!(?step, "decided");
    if visit.remembered && !matches!(step, Step::Settled(_)) {
        visit.memory.seen = None;
        return Ok(None);
    }
    act(context, visit, step, &case).await
}

/// What we made and ARM does not find is gone when it says so again a minute later: else it would be left behind.
fn is_missing_for_the_first_time(context: &Context, visit: &mut Visit, record: &Record, shown: &Shown) -> bool {
    let matters = record.origin == Some(Origin::Created) && record.policy == Policy::Delete && visit.is_leaving();
    match shown {
        Shown::Missing if matters => !said_gone(&mut visit.memory.missing, context.now()),
        Shown::Missing | Shown::There(_) => {
            visit.memory.missing = None;
            false
        }
    }
}

/// What status shows of those who have it.
pub fn shown_users(context: &Context, visit: &Visit) -> Vec<IdentityUser> {
    const MOST: usize = 100;
    let identities = &context.index.identities;
    let mut all: BTreeSet<String> = visit.users.iter().map(ToString::to_string).collect();
    let known = identities.users(&visit.identity).into_iter().chain(identities.strangers(&visit.identity));
    all.extend(known.map(|machine| machine.to_string()));
    all.into_iter().take(MOST).map(|resource_id| IdentityUser { resource_id }).collect()
}

/// Brings the record up to date where nothing else is to be written.
pub async fn settle(context: &Context, visit: &mut Visit) -> Result<(), IdentityError> {
    let Some(record) = visit.record.clone() else { return Ok(()) };
    store::write(context, visit, &record).await
}
