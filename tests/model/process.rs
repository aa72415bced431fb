//! One visit of the controller, step by step, over the real decisions. Between two steps anything may happen.
//!
//! A step is what `src/controller` does between two effects, in its order: `gather` is a round of `reconcile.rs` up to
//! the write of the intent, `put` is `record.rs`, `send` the begin of `apply.rs`, `end_visit` and what follows `report.rs`.
use crate::api::{Target, census, confirm, staying, wanted};
use crate::arm::{Owner, Request};
use crate::config::{Broken, Config};
use crate::world::{Broke, NOW, Phase, Process, Sending, Visit, World, id, machine};
use lanyard_domain::audit::audit;
use lanyard_domain::depart::{depart, has_left};
use lanyard_domain::evidence::{Census, Reading, intent_still_good, said_gone};
use lanyard_domain::intend::{Attempt, Ending, Settled, intend, nothing_to_look_for, refused, settle};
use lanyard_domain::judge::{Judge, Judgement, Note, Sent, Waiting, judge};
use lanyard_domain::{
    Attached, Base, Bounds, Claims, Complete, Facts, Fresh, Identities, IdentityId, Live, Patch, Plan, Record,
    Timestamp, UniqueId, plan,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a round's reads show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    Clear,
    /// The GET is one state behind.
    Behind,
    /// The GET answers 404, this once.
    Blink,
    /// The list of assignments is not in yet, and shows none.
    Unlisted,
}

/// How the part of a round ended that only reads.
enum Read {
    /// The visit is over.
    End,
    Seen(Seen),
}

struct Seen {
    claims: Arc<Complete<Claims>>,
    fresh: Fresh<Live>,
    writer: String,
}

/// Reads, judges and decides. What it decides is done by later steps.
pub fn gather(world: &mut World, config: &Config, p: usize, sight: Sight) -> Option<()> {
    if sight == Sight::Behind && world.arm.behind.is_none() {
        return None;
    }
    let mut visit = match world.processes.get_mut(p)?.visit.take() {
        Some(visit) => visit,
        None => Box::new(begin(world, p)),
    };
    let listed = read_claims(world, config, p, sight, &mut visit);
    if !listed {
        // Nothing is written where nobody may be missed.
        return Some(());
    }
    let read = look(world, config, p, sight, &mut visit)?;
    world.processes.get_mut(p)?.visit = Some(visit);
    match read {
        Read::End => end_visit(world, config, p),
        Read::Seen(seen) => decide(world, config, p, seen),
    }
}

/// Loads the record as the watch knows it.
fn begin(world: &World, p: usize) -> Visit {
    let view = world.view(p);
    let empty = || Arc::new(Record::empty(machine()));
    Visit {
        record: view.target.as_ref().map_or_else(empty, |target| target.record.clone()),
        stored: view.target,
        version_holds: view.version_holds,
        seen: Arc::default(),
        claims: None,
        gone: false,
        named: BTreeSet::new(),
        given_up: BTreeSet::new(),
    }
}

/// Every claim accounted for, and those ended that leave without a write. False while a list is not in.
fn read_claims(world: &mut World, config: &Config, p: usize, sight: Sight, visit: &mut Visit) -> bool {
    let (seen, confirmed) = confirm(world, config, p, &visit.record);
    let complete = Census { confirmed, ..census(&seen, &world.objects, config.assignments) };
    let told = match (sight, config.broken) {
        (Sight::Clear | Sight::Behind | Sight::Blink, _) => complete,
        (Sight::Unlisted, Broken::CompleteClaims) => Census {
            gone: complete.read.iter().map(|claim| claim.key.uid.clone()).collect(),
            read: Vec::new(),
            ..complete
        },
        (Sight::Unlisted, _) => Census { listed: false, ..Census::default() },
    };
    let Ok(claims) = Complete::account(told, &visit.record) else {
        return false;
    };
    let (record, notes) = depart(&visit.record, &claims);
    visit.record = Arc::new(record);
    visit.seen = Arc::new(seen);
    visit.claims = Some(Arc::new(claims));
    tell(visit, &notes);
    true
}

/// A fresh look at the machine, and what it makes of the record.
fn look(world: &mut World, config: &Config, p: usize, sight: Sight, visit: &mut Visit) -> Option<Read> {
    let claims = visit.claims.clone()?;
    if nothing_to_look_for(&visit.record, &claims) {
        return Some(Read::End);
    }
    let there = world.arm.exists && sight != Sight::Blink;
    let shown = world.arm.behind.as_ref().filter(|_| sight == Sight::Behind).unwrap_or(&world.arm.now);
    let mut live = shown.live(sight != Sight::Behind && world.arm.running.is_some());
    let process = world.processes.get_mut(p)?;
    if !there {
        visit.gone = said_gone(&mut process.gone_since, NOW) || config.leaves_out(Broken::GoneTwice);
        return Some(Read::End);
    }
    process.gone_since = None;
    if config.leaves_out(Broken::UniqueId) {
        live.unique_id = Some(UniqueId("m1".into()));
    }
    let reading = Reading { begun: NOW, visit: NOW, last_write_ended: None, stale_since: process.superseded_since };
    let fresh = match (Fresh::read(live.clone(), reading, &visit.record), config.broken) {
        (Ok(fresh), _) => fresh,
        (Err(_), Broken::FreshRead) => Fresh::answered(live),
        (Err(_), _) => {
            process.superseded_since.get_or_insert(NOW);
            return Some(Read::End);
        }
    };
    process.superseded_since = None;
    let writer = format!("p{p}.{}", process.incarnation);
    let by = Judge { writer: &writer, now: NOW, timestamp: &Timestamp::default() };
    match judge(&visit.record, &fresh, &mut process.memory, by) {
        Judgement::Wait(
            Waiting::Unidentified
            | Waiting::Running
            | Waiting::Deleting
            | Waiting::AnotherWriter { .. }
            | Waiting::StaleRead,
        ) => return Some(Read::End),
        Judgement::Clear { record, notes } => {
            let all = config.leaves_out(Broken::FatePerId);
            let judged = if all { all_arrived(record, &visit.record) } else { record };
            visit.record = Arc::new(judged);
            tell(visit, &notes);
        }
    }
    Some(Read::Seen(Seen { claims, fresh, writer }))
}

/// What a driver would make of a moved `ETag` that does not ask for each id.
fn all_arrived(mut judged: Record, read: &Record) -> Record {
    if let (Some(intent), None) = (&read.intent, &judged.intent) {
        judged.attached.extend(intent.add.iter().map(|id| (id.clone(), Attached::default())));
    }
    judged
}

/// The ids that Events name as staying behind, and those of writes given up on.
fn tell(visit: &mut Visit, notes: &[Note]) {
    let folded = |ids: &BTreeSet<IdentityId>| ids.iter().map(|id| id.folded().to_owned()).collect::<Vec<_>>();
    for note in notes {
        match note {
            Note::Released { ids, .. } | Note::MachineReplaced { ids, .. } => visit.named.extend(folded(ids)),
            Note::OpenExpired { ids } => visit.given_up.extend(folded(ids)),
            Note::Arrived { .. }
            | Note::Vanished { .. }
            | Note::PutBack { .. }
            | Note::Repairing { .. }
            | Note::PrincipalChanged { .. }
            | Note::Adopted { .. } => {}
        }
    }
}

/// The plan, its second opinion, and the intent that is to be written; or the visit's end.
fn decide(world: &mut World, config: &Config, p: usize, seen: Seen) -> Option<()> {
    let Seen { claims, fresh, writer } = seen;
    let visit = world.processes.get(p)?.visit.clone()?;
    let record = &visit.record;
    let (bounds, identities) = (Bounds::default(), Identities::default());
    let planned = plan(Facts { claims: &claims, record, live: &fresh, bounds: &bounds, identities: &identities });
    let forgotten = visit.stored.as_ref().is_some_and(|stored| stored.deleting);
    let Some(patch) = planned.patch.as_ref().filter(|_| !forgotten) else {
        return end_visit(world, config, p);
    };
    let etag = patch.if_match.as_ref().map(|etag| etag.0.as_str());
    if audit(&patch.body().to_string(), etag, &claims, record, &fresh, &identities).is_err() {
        world.broke = Some(Broke::Audit);
    }
    let sending = prepare(world, config, &planned, patch, &visit, &writer);
    let by = Attempt { writer: &writer, operation: &sending.request.operation };
    let intended = Arc::new(intend(record, &claims, &planned.base, patch, by));
    world.processes.get_mut(p)?.phase = Phase::Recording { intended, sending };
    Some(())
}

fn prepare(world: &World, config: &Config, plan: &Plan, patch: &Patch, visit: &Visit, writer: &str) -> Box<Sending> {
    let Base { unique_id, etag } = &plan.base;
    let attempt = visit.record.intent.as_ref().map_or(0, |intent| intent.attempt) + 1;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let (machine, number) = (text(unique_id.as_ref().map(|u| u.0.as_str())), text(etag.as_ref().map(|e| e.0.as_str())));
    let mut operation = format!("{machine} {number} #{attempt} {writer}");
    while world.knows_operation(&operation) {
        operation.push('\'');
    }
    let wanted = wanted(staying(&visit.seen, config.assignments));
    let request = Request {
        operation: operation.clone(),
        if_match: number.parse().ok().filter(|_| !config.leaves_out(Broken::IfMatch)),
        body: patch.body().to_string(),
        excused: wanted.absent.into_iter().map(Into::into).collect(),
        system_excused: wanted.system_off,
        orphaned: false,
    };
    let strips = patch.removed().any(|id| wanted.declared.contains(id.folded()));
    Box::new(Sending { request, sent: Sent::new(&operation, patch), strips })
}

/// Writes the intent, if the record is still the one that was read.
pub fn put(world: &mut World, config: &Config, p: usize, answered: bool) -> Option<()> {
    let phase = std::mem::replace(&mut world.processes.get_mut(p)?.phase, Phase::Idle);
    match phase {
        Phase::Recording { intended, sending } => put_intent(world, config, p, intended, sending, answered),
        Phase::Settling { record, left } => put_settled(world, config, p, record, left, answered),
        Phase::Removing { left } => {
            let version_holds = world.processes.get(p)?.visit.as_ref()?.version_holds;
            if version_holds || config.leaves_out(Broken::ResourceVersion) {
                world.replace_target(None);
                told_at_once(world, p);
            }
            finish(world, p, left, version_holds && answered)
        }
        Phase::Idle
        | Phase::Recorded { .. }
        | Phase::Waiting { .. }
        | Phase::Following { .. }
        | Phase::Finalizing { .. } => None,
    }
}

fn put_intent(
    world: &mut World,
    config: &Config,
    p: usize,
    intended: Arc<Record>,
    sending: Box<Sending>,
    answered: bool,
) -> Option<()> {
    let written = if config.leaves_out(Broken::IntentFirst) { answered } else { write(world, config, p, &intended)? };
    let process = world.processes.get_mut(p)?;
    if !written {
        // The record changed while it was planned: nothing more is written in this visit.
        process.visit = None;
        return Some(());
    }
    if !answered {
        // It may stand there or not: the visit ends with the record as it was before.
        process.visit.as_mut()?.version_holds = false;
        world.forget_outcome();
        return end_visit(world, config, p);
    }
    process.memory.sent = None;
    process.phase = Phase::Recorded { written: NOW, sending };
    let visit = process.visit.as_mut()?;
    visit.record = intended;
    if !config.leaves_out(Broken::IntentFirst) {
        told_at_once(world, p);
    }
    if world.processes.len() > 1 {
        world.forget_outcome();
    }
    Some(())
}

/// Replaces the record under the version that was read. False: it is another one, and is read for the next visit.
fn write(world: &mut World, config: &Config, p: usize, record: &Arc<Record>) -> Option<bool> {
    let visit = world.processes.get_mut(p)?.visit.as_mut()?;
    if !visit.version_holds && !config.leaves_out(Broken::ResourceVersion) {
        told_at_once(world, p);
        return Some(false);
    }
    let (named, given_up) = (std::mem::take(&mut visit.named), std::mem::take(&mut visit.given_up));
    let deleting = world.target.as_ref().is_some_and(|target| target.deleting);
    let finalizer = !deleting || world.target.as_ref().is_some_and(|target| target.finalizer);
    world.replace_target(Some(Target { record: record.clone(), finalizer, deleting }));
    let stored = world.target.clone();
    let visit = world.processes.get_mut(p)?.visit.as_mut()?;
    (visit.stored, visit.version_holds) = (stored, true);
    world.named.extend(named);
    world.given_up.extend(given_up);
    for id in record.intent.iter().flat_map(|intent| &intent.add) {
        world.given_up.remove(id.folded());
        world.named.remove(id.folded());
    }
    world.taken_away.retain(|name| record.attached.contains_key(&id(name)) || record.intent.is_some());
    world.puts += 1;
    Some(true)
}

/// What a process wrote or read directly it knows before its watch tells it.
fn told_at_once(world: &mut World, p: usize) {
    let target = world.target.clone();
    if let Some(view) = world.processes.get_mut(p).and_then(|process| process.lag.as_mut()) {
        (view.target, view.version_holds) = (target, true);
    }
}

/// Sends the PATCH, unless the intent is too old to be acted on.
pub fn send(world: &mut World, config: &Config, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    let Phase::Recorded { written, sending } = std::mem::replace(&mut process.phase, Phase::Idle) else {
        return None;
    };
    if !intent_still_good(written, NOW) && !config.leaves_out(Broken::Age) {
        // Not sent, so that nothing came of it; the next round records anew.
        let visit = process.visit.as_mut()?;
        visit.record = Arc::new(refused(&visit.record));
        return Some(());
    }
    let Sending { request, sent, strips } = *sending;
    process.phase = Phase::Waiting { operation: request.operation.clone() };
    process.memory.sent = Some(sent);
    world.flight.push(request);
    world.flight.sort_by(|a, b| a.operation.cmp(&b.operation));
    world.sends += 1;
    if strips {
        world.broke = Some(Broke::AbsenceNeedsProof);
    }
    Some(())
}

/// What is written at the end of every visit, however it went.
pub fn end_visit(world: &mut World, config: &Config, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    let visit = process.visit.as_mut()?;
    let Some(claims) = visit.claims.clone() else {
        process.rest();
        return Some(());
    };
    let left = leaving(visit, &claims);
    let forgotten = visit.stored.as_ref().is_some_and(|stored| stored.deleting);
    let mut ending = Ending { gone: visit.gone, forgotten };
    if forgotten && config.leaves_out(Broken::Forgetting) {
        ending.gone = true;
    }
    process.phase = match settle(&visit.record, &claims, ending) {
        Settled::Remove if visit.stored.is_none() => return finish(world, p, left, true),
        Settled::Remove => Phase::Settling { record: None, left },
        Settled::Keep(record) if visit.stored.as_ref().is_some_and(|stored| *stored.record == record) => {
            return finish(world, p, left, true);
        }
        Settled::Keep(record) => Phase::Settling { record: Some(Arc::new(record)), left },
    };
    Some(())
}

/// The deleted assignments of which nothing is left to do.
fn leaving(visit: &Visit, claims: &Complete<Claims>) -> BTreeSet<usize> {
    let leaving = visit.seen.iter().enumerate().filter(|(_, object)| object.as_ref().is_some_and(|o| o.leaving));
    let left = leaving.map(|(n, _)| n).filter(|n| visit.gone || has_left(&visit.record, claims, &n.to_string()));
    left.collect()
}

fn put_settled(
    world: &mut World,
    config: &Config,
    p: usize,
    record: Option<Arc<Record>>,
    left: BTreeSet<usize>,
    answered: bool,
) -> Option<()> {
    let Some(record) = record else { return take_off_finalizer(world, config, p, left, answered) };
    let written = write(world, config, p, &record)?;
    if written && answered {
        told_at_once(world, p);
    }
    finish(world, p, left, written && answered)
}

/// The first half of letting the record go. An object that a person deleted is gone with it.
fn take_off_finalizer(
    world: &mut World,
    config: &Config,
    p: usize,
    left: BTreeSet<usize>,
    answered: bool,
) -> Option<()> {
    let visit = world.processes.get_mut(p)?.visit.as_mut()?;
    if !visit.version_holds && !config.leaves_out(Broken::ResourceVersion) {
        told_at_once(world, p);
        return finish(world, p, left, false);
    }
    let (gone, named) = (visit.gone, std::mem::take(&mut visit.named));
    world.named.extend(named);
    let Some(target) = world.target.clone() else { return finish(world, p, left, false) };
    world.puts += 1;
    let this = Some(UniqueId(format!("m{}", world.arm.now.unique)));
    let there = world.arm.exists && target.record.unique_id == this;
    if gone && there && !target.deleting && !target.record.owns_nothing() {
        world.broke = Some(Broke::RecordLost);
    }
    if target.deleting {
        world.replace_target(None);
        forgotten(world);
        told_at_once(world, p);
        return finish(world, p, left, answered);
    }
    let judged = world.processes.get(p)?.visit.as_ref()?.record.clone();
    world.replace_target(Some(Target { record: judged, finalizer: false, ..target }));
    if !answered {
        return finish(world, p, left, false);
    }
    let visit = world.processes.get_mut(p)?.visit.as_mut()?;
    visit.version_holds = true;
    world.processes.get_mut(p)?.phase = Phase::Removing { left };
    Some(())
}

/// A record forgotten at a person's wish, when nothing of ours was under way: what is there is preexisting.
fn forgotten(world: &mut World) {
    for owner in world.arm.now.user.values_mut().filter(|owner| **owner == Owner::Us) {
        *owner = Owner::Foreign;
    }
}

/// The record is as it should be, or it could not be written: then not even a released object goes.
fn finish(world: &mut World, p: usize, left: BTreeSet<usize>, settled: bool) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    process.rest();
    if settled && !left.is_empty() {
        process.phase = Phase::Finalizing { left };
    }
    Some(())
}

impl Process {
    fn rest(&mut self) {
        self.visit = None;
        self.phase = Phase::Idle;
    }
}

/// Takes off the finalizers of assignments that have left.
pub fn finalize(world: &mut World, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    let Phase::Finalizing { left } = std::mem::replace(&mut process.phase, Phase::Idle) else {
        return None;
    };
    for n in left {
        if let Some(object) = world.objects.get_mut(n)
            && object.as_ref().is_some_and(|object| object.leaving)
        {
            *object = None;
            world.gone.insert(n);
        }
    }
    Some(())
}
