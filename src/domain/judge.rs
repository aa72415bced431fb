//! Brings the record up to date with a fresh read: what became of our write, what left, which machine this is.
use crate::evidence::{Fresh, STALE_FOR};
use crate::fate::{Fate, fate};
use crate::ids::IdentityId;
use crate::live::{Live, Provisioning, UniqueId};
use crate::patch::Patch;
use crate::record::{Attached, Base, Intent, Record, Switch};
use crate::time::{Moment, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long another process's unsettled intent is left alone before it is judged.
pub const ANOTHER_WRITER: Duration = Duration::from_secs(10);

/// How long a request whose answer was lost is expected to arrive, if the ETag does not move.
pub const OPEN_FOR: Duration = Duration::from_secs(5 * 60);

/// So many attempts may be without an answer at once: beyond that, whether they arrived is waited for.
const MOST_UNANSWERED: usize = 4;

/// A read that lacks what an unanswered write would add may be from before the write: it lags by seconds (reported), and
/// is believed after so long. A process that keeps dying before that settles nothing, so it is no longer than needed.
pub const LAGS_FOR: Duration = Duration::from_secs(20);

/// What this process knows of an attempt that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No answer, or none that tells.
    Unknown,
    /// A definite refusal: nothing happened, nothing will.
    Refused,
    /// Taken on; how its operation ended is not known.
    Accepted,
    /// Its operation succeeded.
    Succeeded,
    /// Its operation failed, was cancelled or preempted.
    Failed,
}

/// An attempt of this process, known by the request id that the intent names too: attempts are counted anew with every intent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    pub operation: String,
    pub outcome: Outcome,
    /// What this very attempt would add and remove: the intent may hold more, of earlier attempts.
    pub added: BTreeSet<IdentityId>,
    pub removed: BTreeSet<IdentityId>,
    pub system: Option<Switch>,
}

impl Sent {
    /// The attempt with this request id, before anything is known of its outcome.
    #[must_use]
    pub fn new(operation: &str, patch: &Patch) -> Self {
        Self {
            operation: operation.into(),
            outcome: Outcome::Unknown,
            added: patch.added().cloned().collect(),
            removed: patch.removed_set(),
            system: patch.system,
        }
    }
}

/// What a process remembers of a target between visits. Lost with the process, and never needed for safety.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    pub sent: Option<Sent>,
    pub open: Option<Open>,
    pub other_writer: Option<OtherWriter>,
    /// An attempt of which reads show nothing yet.
    pub unseen: Option<Unseen>,
    pub last_write_ended: Option<Moment>,
}

/// An attempt that may still arrive, and since when this process has known so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Open {
    pub operation: String,
    pub since: Moment,
}

/// An attempt that reads do not show, although they should or may; and since when. Patience with one attempt says nothing
/// of the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unseen {
    pub operation: String,
    pub since: Moment,
}

/// An intent of another process, and when this one first saw it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherWriter {
    /// The request id of the intent's last attempt: every attempt of another process is waited for anew.
    pub operation: String,
    pub seen: Moment,
}

/// Why nothing can be decided now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// ARM tells no `vmId` or `uniqueId`: this could be any machine.
    Unidentified,
    /// Somebody's operation runs on the machine.
    Running,
    /// The machine is being deleted.
    Deleting,
    /// Another process wrote an intent a moment ago.
    AnotherWriter { writer: String, left: Duration },
    /// This read may be older than our write: it does not show what ARM accepted, or may still accept.
    StaleRead,
}

/// Something that people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Another machine bears the name: the record was emptied. What was ours there, or under way to it, is named: whatever of it is on the new machine is not ours.
    MachineReplaced { old: UniqueId, new: UniqueId, ids: BTreeSet<IdentityId> },
    /// Unanswered writes of ours turned out to have arrived.
    Arrived { ids: BTreeSet<IdentityId> },
    /// Attached by us, and gone by somebody else's hand.
    Vanished { ids: BTreeSet<IdentityId> },
    /// Removed by us, and put back by somebody else.
    PutBack { ids: BTreeSet<IdentityId> },
    /// No longer ours to remove: the claim ended without a write.
    Released { by: String, ids: BTreeSet<IdentityId> },
    /// An unanswered write was given up on: should it still arrive, these ids are not ours.
    OpenExpired { ids: BTreeSet<IdentityId> },
    /// The identity behind an id is another one now: role assignments of the old principal are void.
    PrincipalChanged { id: Option<IdentityId>, old: String, new: String },
    /// The dead entry of an identity was taken off, to be put on again with the principal that it has now.
    Repairing { id: IdentityId, old: Option<String>, new: String },
    /// Declared and present identities were taken over at an administrator's word.
    Adopted { ids: BTreeSet<IdentityId> },
}

impl Note {
    /// Ids leave the record by this that may be on the machine: nothing but this note names them from then on.
    #[must_use]
    pub fn names_what_stays(&self) -> bool {
        match self {
            Self::Released { .. } | Self::OpenExpired { .. } | Self::MachineReplaced { .. } => true,
            Self::Arrived { .. }
            | Self::Vanished { .. }
            | Self::PutBack { .. }
            | Self::PrincipalChanged { .. }
            | Self::Repairing { .. }
            | Self::Adopted { .. } => false,
        }
    }
}

/// What a fresh read makes of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one is made a visit, and taken apart at once")]
pub enum Judgement {
    Wait(Waiting),
    /// The record is up to date. An intent that is still in it is Open.
    Clear {
        record: Record,
        notes: Vec<Note>,
    },
}

/// Who judges, and when.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    pub writer: &'a str,
    pub now: Moment,
    pub timestamp: &'a Timestamp,
}

/// Judges the record by a fresh read.
#[must_use]
pub fn judge(record: &Record, live: &Fresh<Live>, memory: &mut Memory, by: Judge<'_>) -> Judgement {
    let Some(unique_id) = &live.unique_id else {
        return Judgement::Wait(Waiting::Unidentified);
    };
    match live.provisioning {
        Provisioning::Running => return Judgement::Wait(Waiting::Running),
        Provisioning::Deleting => return Judgement::Wait(Waiting::Deleting),
        Provisioning::Succeeded | Provisioning::Failed => {}
    }
    match &record.unique_id {
        Some(old) if old != unique_id => {
            let new = unique_id.clone();
            *memory = Memory::default();
            let under_way = record.intent.iter().flat_map(|intent| &intent.add);
            let ids = record.attached.keys().chain(under_way).cloned().collect();
            let notes = vec![Note::MachineReplaced { old: old.clone(), new, ids }];
            return Judgement::Clear { record: emptied(record, unique_id), notes };
        }
        Some(_) | None => {}
    }
    let mut record = Record { unique_id: Some(unique_id.clone()), ..record.clone() };
    // A read that is believed shows what is so: whoever took that state for replaced was misled by an older read.
    record.superseded.retain(|old| old.unique_id != live.unique_id || old.etag != live.etag);
    let mut notes = Vec::new();
    if let Some(mut intent) = record.intent.take() {
        match resolve(&mut intent, live, memory, by) {
            Resolved::Wait(why) => return Judgement::Wait(why),
            Resolved::Void => {}
            Resolved::Open => record.intent = Some(intent),
            Resolved::Moved => {
                notes.extend(arrived(&mut record, &intent, live, by));
                intent.add.retain(|id| !live.has(id));
                intent.system = intent.system.filter(|switch| (*switch == Switch::On) != live.system.is_some());
                record.intent = Some(intent);
            }
            Resolved::Expired => {
                // Without ETags nothing shows that it arrived but what is there.
                notes.extend(arrived(&mut record, &intent, live, by));
                let ids: BTreeSet<IdentityId> = intent.add.iter().filter(|id| !live.has(id)).cloned().collect();
                if !ids.is_empty() || intent.add.is_empty() {
                    notes.push(Note::OpenExpired { ids });
                }
            }
            Resolved::Closed { answered } => notes.extend(settle(&mut record, &intent, live, by).filter(|_| !answered)),
            Resolved::Done { removed } => notes.extend(done(&mut record, &intent, &removed, live, by)),
        }
    }
    if record.intent.is_none() {
        // What became of our attempt is kept: the record may yet fail to be written, and be judged again.
        let (sent, last_write_ended) = (memory.sent.take(), memory.last_write_ended);
        *memory = Memory { sent, last_write_ended, ..Memory::default() };
        forget_vanished(&mut record, live, &mut notes);
    }
    keep_principals(&mut record, live);
    Judgement::Clear { record, notes }
}

fn emptied(record: &Record, unique_id: &UniqueId) -> Record {
    let replaced = Base { unique_id: record.unique_id.clone(), etag: None };
    Record {
        unique_id: Some(unique_id.clone()),
        claims: record.claims.clone(),
        superseded: vec![replaced],
        ..Record::empty(record.resource_id.clone())
    }
}

enum Resolved {
    Wait(Waiting),
    /// Every attempt was refused: nothing happened.
    Void,
    Open,
    /// The ETag is another one, and something is not there: as yet, or because this read is from before the base.
    Moved,
    /// Open for too long.
    Expired,
    /// To be judged by what is on the machine. Not `answered`: whether it ever arrived is news to us.
    Closed {
        answered: bool,
    },
    /// The write and its operation succeeded, these removals with it.
    Done {
        removed: BTreeSet<IdentityId>,
    },
}

fn resolve(intent: &mut Intent, live: &Fresh<Live>, memory: &mut Memory, by: Judge<'_>) -> Resolved {
    let ours = intent.writer == by.writer;
    let of_latest = |intent: &Intent, memory: &Memory| {
        memory.sent.clone().filter(|sent| ours && sent.operation == intent.operation)
    };
    let mut sent = of_latest(intent, memory);
    if sent.as_ref().is_some_and(|sent| sent.outcome == Outcome::Refused) {
        let Some(earlier) = intent.clone().without_latest() else { return Resolved::Void };
        *intent = earlier;
        sent = of_latest(intent, memory);
    }
    let outcome = sent.as_ref().map_or(Outcome::Unknown, |sent| sent.outcome);
    if !ours && let Some(left) = another_writer(intent, memory, by.now) {
        return Resolved::Wait(Waiting::AnotherWriter { writer: intent.writer.clone(), left });
    }
    match (fate(intent, live), outcome) {
        (Fate::Gone, _) => Resolved::Void,
        (Fate::Running, _) => Resolved::Wait(Waiting::Running),
        (Fate::Open, Outcome::Unknown | Outcome::Refused) => {
            memory.unseen = None;
            open(intent, memory, by.now)
        }
        (Fate::Open, Outcome::Accepted | Outcome::Succeeded | Outcome::Failed)
            if is_stale(intent, live, memory, by.now) =>
        {
            Resolved::Wait(Waiting::StaleRead)
        }
        // The old ETag is back, and with it their chance to attempts from the same state: this one is as if refused.
        (Fate::Open, Outcome::Accepted | Outcome::Failed) if revive(intent, live) => {
            memory.unseen = None;
            open(intent, memory, by.now)
        }
        (Fate::Open | Fate::Closed(_), Outcome::Accepted | Outcome::Failed) => {
            narrow(intent, sent.as_ref());
            Resolved::Closed { answered: true }
        }
        // A read from before the base shows another ETag too: what it lacks is forgotten only when it has to be
        // believed. Until then it may be planned from, since If-Match tells whether it was the truth.
        (Fate::Closed(seen), Outcome::Unknown | Outcome::Refused)
            if lacks(intent, &seen) && is_stale_for(LAGS_FOR, intent, live, memory, by.now) =>
        {
            if intent.unanswered.len() < MOST_UNANSWERED { Resolved::Moved } else { Resolved::Wait(Waiting::StaleRead) }
        }
        (Fate::Closed(_), Outcome::Unknown | Outcome::Refused) => Resolved::Closed { answered: false },
        (Fate::Open | Fate::Closed(_), Outcome::Succeeded) => {
            narrow(intent, sent.as_ref());
            Resolved::Done { removed: sent.map(|sent| sent.removed).unwrap_or_default() }
        }
    }
}

/// Takes the latest attempt for refused if an earlier one was planned from the state that is back. All others are dead:
/// the latest was accepted, so that theirs was not the machine's ETag any more.
fn revive(intent: &mut Intent, live: &Live) -> bool {
    let mut alive = intent.clone();
    alive.unanswered.retain(|earlier| earlier.base.etag == live.etag);
    let Some(alive) = alive.without_latest() else { return false };
    *intent = alive;
    true
}

/// Once one attempt was accepted the earlier ones can never land: what only they would have added is not ours.
fn narrow(intent: &mut Intent, accepted: Option<&Sent>) {
    if let Some(accepted) = accepted {
        intent.add.retain(|id| accepted.added.contains(id));
        intent.system = accepted.system;
    }
}

/// How long to leave another process's intent alone, if at all.
fn another_writer(intent: &Intent, memory: &mut Memory, now: Moment) -> Option<Duration> {
    let known = memory.other_writer.take().filter(|other| other.operation == intent.operation);
    let other = known.unwrap_or_else(|| OtherWriter { operation: intent.operation.clone(), seen: now });
    let waited = now.since(other.seen);
    memory.other_writer = Some(other);
    (waited < ANOTHER_WRITER).then(|| ANOTHER_WRITER.saturating_sub(waited))
}

fn lacks(intent: &Intent, seen: &BTreeMap<IdentityId, bool>) -> bool {
    intent.add.iter().any(|id| seen.get(id) != Some(&true))
}

/// Every attempt that may be under way has its own five minutes; one that was refused adds none.
fn open(intent: &Intent, memory: &mut Memory, now: Moment) -> Resolved {
    let anew = || Open { operation: intent.operation.clone(), since: now };
    let open = memory.open.get_or_insert_with(anew);
    if open.operation != intent.operation {
        *open = anew();
    }
    if now.since(open.since) < OPEN_FOR { Resolved::Open } else { Resolved::Expired }
}

/// ARM told us a newer ETag than this read shows; without ETags nothing can be told.
fn is_stale(intent: &Intent, live: &Live, memory: &mut Memory, now: Moment) -> bool {
    is_stale_for(STALE_FOR, intent, live, memory, now)
}

fn is_stale_for(patience: Duration, intent: &Intent, live: &Live, memory: &mut Memory, now: Moment) -> bool {
    let known = memory.unseen.take().filter(|unseen| unseen.operation == intent.operation);
    let unseen = known.unwrap_or_else(|| Unseen { operation: intent.operation.clone(), since: now });
    let since = unseen.since;
    memory.unseen = Some(unseen);
    live.etag.is_some() && now.since(since) < patience
}

/// What an attempt would add and is there is ours.
fn arrived(record: &mut Record, intent: &Intent, live: &Live, by: Judge<'_>) -> Option<Note> {
    let ids: BTreeSet<IdentityId> =
        intent.add.iter().filter(|id| live.has(id) && !record.attached.contains_key(*id)).cloned().collect();
    take(record, ids.iter(), live, by);
    if let (Some(Switch::On), Some(system)) = (intent.system, &live.system) {
        let attached = Attached { principal_id: system.principal_id.clone(), since: by.timestamp.clone() };
        record.system.get_or_insert(attached);
    }
    (!ids.is_empty()).then_some(Note::Arrived { ids })
}

/// The ETag moved: what an attempt would add and is not there is nobody's.
fn settle(record: &mut Record, intent: &Intent, live: &Live, by: Judge<'_>) -> Option<Note> {
    let note = arrived(record, intent, live, by);
    record.attached.retain(|id, _| live.has(id) || !intent.ids().any(|named| named == id));
    finish(record, intent, live);
    note
}

/// Our write succeeded: its additions are ours, its removals are not, whoever put them back since.
fn done(
    record: &mut Record,
    intent: &Intent,
    removed: &BTreeSet<IdentityId>,
    live: &Live,
    by: Judge<'_>,
) -> Option<Note> {
    arrived(record, intent, live, by);
    record.attached.retain(|id, _| !removed.contains(id));
    finish(record, intent, live);
    let ids: BTreeSet<IdentityId> = removed.iter().filter(|id| live.has(id)).cloned().collect();
    (!ids.is_empty()).then_some(Note::PutBack { ids })
}

fn take<'a>(record: &mut Record, ids: impl Iterator<Item = &'a IdentityId>, live: &Live, by: Judge<'_>) {
    for id in ids {
        let principal_id = live.user.get(id).and_then(|principal| principal.principal_id.clone());
        let attached = Attached { principal_id, since: by.timestamp.clone() };
        record.attached.entry(id.clone()).or_insert(attached);
    }
}

fn finish(record: &mut Record, intent: &Intent, live: &Live) {
    if live.system.is_none() {
        record.system = None;
    }
    for replaced in intent.bases().filter(|base| base.etag != live.etag) {
        record.supersede(replaced.clone());
    }
}

/// What somebody else took off is not ours any more: whoever puts it back decides whose it is.
fn forget_vanished(record: &mut Record, live: &Live, notes: &mut Vec<Note>) {
    let gone: BTreeSet<IdentityId> = record.attached.keys().filter(|id| !live.has(id)).cloned().collect();
    record.attached.retain(|id, _| !gone.contains(id));
    if live.system.is_none() {
        record.system = None;
    }
    if !gone.is_empty() {
        notes.push(Note::Vanished { ids: gone });
    }
}

/// Keeps principal ids as they are now; blank ones are told while an operation runs, and mean nothing.
fn keep_principals(record: &mut Record, live: &Live) {
    for (id, attached) in &mut record.attached {
        let told = live.user.get(id).and_then(|principal| principal.principal_id.clone());
        attached.principal_id = told.or(attached.principal_id.take());
    }
    if let (Some(attached), Some(system)) = (&mut record.system, &live.system) {
        attached.principal_id = system.principal_id.clone().or(attached.principal_id.take());
    }
}
