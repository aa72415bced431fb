//! One visit of the controller, step by step, over the real decisions. Between two steps anything may happen.
use crate::arm::Request;
use crate::config::{Broken, Config};
use crate::world::{Broke, NOW, Phase, Sending, World, wanted};
use lanyard_domain::audit::audit;
use lanyard_domain::depart::{depart, has_left};
use lanyard_domain::evidence::{Census, Reading, intent_still_good};
use lanyard_domain::intend::{Attempt, conclude, intend};
use lanyard_domain::judge::{Judge, Judgement, Note, Sent, judge};
use lanyard_domain::{
    Attached, Base, Bounds, Claims, Complete, Facts, Fresh, Identities, IdentityId, Live, Patch, Plan, Record,
    Timestamp, UniqueId, plan,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a visit's reads show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    Clear,
    /// The GET is one state behind.
    Behind,
    /// The list of assignments is not in yet, and shows none.
    Unlisted,
}

/// Reads, judges and decides. What it decides is done by later steps.
pub fn gather(world: &mut World, config: &Config, p: usize, sight: Sight) -> Option<()> {
    let behind = match sight {
        Sight::Clear | Sight::Unlisted => None,
        Sight::Behind => Some(world.arm.behind.clone()?),
    };
    let process = world.processes.get_mut(p)?;
    let unrecorded = process.unrecorded.take();
    process.version_holds = true;
    let read = unrecorded.as_deref().unwrap_or(&world.record).clone();
    let claims = Complete::account(census(world, config, sight), &read).ok()?;
    let shown = behind.as_ref().unwrap_or(&world.arm.now);
    let mut live = shown.live(behind.is_none() && world.arm.running.is_some());
    if config.broken == Broken::UniqueId {
        live.unique_id = Some(UniqueId("m1".into()));
    }
    let process = world.processes.get_mut(p)?;
    let stale_since = process.memory.stale_since;
    let reading = Reading { begun: NOW, visit: NOW, last_write_ended: None, stale_since };
    let fresh = match (Fresh::read(live.clone(), reading, &read), config.broken) {
        (Ok(fresh), _) => fresh,
        (Err(_), Broken::FreshRead) => Fresh::answered(live),
        (Err(_), _) => {
            process.memory.stale_since.get_or_insert(NOW);
            return Some(());
        }
    };
    let writer = format!("p{p}.{}", process.incarnation);
    let by = Judge { writer: &writer, now: NOW, timestamp: &Timestamp::default() };
    let (judged, notes) = match judge(&read, &fresh, &mut process.memory, by) {
        Judgement::Wait(_) => return Some(()),
        Judgement::Clear { record, notes } => (record, notes),
    };
    let judged = if config.broken == Broken::FatePerId { all_arrived(judged, &read) } else { judged };
    decide(world, config, p, Seen { judged, notes, claims, fresh, writer });
    Some(())
}

fn census(world: &World, config: &Config, sight: Sight) -> Census {
    let complete = world.census(config);
    match (sight, config.broken) {
        (Sight::Clear | Sight::Behind, _) => complete,
        (Sight::Unlisted, Broken::CompleteClaims) => Census {
            gone: complete.read.iter().map(|claim| claim.key.uid.clone()).collect(),
            read: Vec::new(),
            ..complete
        },
        (Sight::Unlisted, _) => Census { listed: false, ..Census::default() },
    }
}

/// What a driver would make of a moved `ETag` that does not ask for each id.
fn all_arrived(mut judged: Record, read: &Record) -> Record {
    if let (Some(intent), None) = (&read.intent, &judged.intent) {
        judged.attached.extend(intent.add.iter().map(|id| (id.clone(), Attached::default())));
    }
    judged
}

struct Seen {
    judged: Record,
    notes: Vec<Note>,
    claims: Complete<Claims>,
    fresh: Fresh<Live>,
    writer: String,
}

fn decide(world: &mut World, config: &Config, p: usize, seen: Seen) {
    let Seen { judged, mut notes, claims, fresh, writer } = seen;
    let (departed, released) = depart(&judged, &claims);
    notes.extend(released);
    let (bounds, identities) = (Bounds::default(), Identities::default());
    let planned =
        plan(Facts { claims: &claims, record: &departed, live: &fresh, bounds: &bounds, identities: &identities });
    if let Some(patch) = &planned.patch {
        let etag = patch.if_match.as_ref().map(|etag| etag.0.as_str());
        if audit(&patch.body().to_string(), etag, &claims, &departed, &fresh, &identities).is_err() {
            world.broke = Some(Broke::Audit);
        }
    }
    let sending = planned.patch.as_ref().map(|patch| prepare(world, config, &planned, patch, &departed));
    let record = match (&planned.patch, &sending) {
        (Some(patch), Some(sending)) => {
            let by = Attempt { writer: &writer, operation: &sending.request.operation };
            intend(&departed, &claims, &planned.base, patch, by)
        }
        (None, _) | (_, None) => conclude(&departed, &claims),
    };
    let leaving = world.objects.iter().enumerate().filter(|(_, o)| o.as_ref().is_some_and(|o| o.leaving));
    let left = leaving.map(|(n, _)| n).filter(|n| has_left(&record, &claims, &n.to_string())).collect();
    let phase = next_phase(world, record, sending, &notes, left);
    if let Some(process) = world.processes.get_mut(p) {
        process.phase = phase;
    }
}

fn next_phase(
    world: &World,
    record: Record,
    sending: Option<Box<Sending>>,
    notes: &[Note],
    left: BTreeSet<usize>,
) -> Phase {
    if sending.is_some() || record != *world.record {
        let (named, given_up) = told(notes);
        Phase::Decided { record: Arc::new(record), sending, named, left, given_up }
    } else if left.is_empty() {
        Phase::Idle
    } else {
        Phase::Finalizing { left }
    }
}

/// The ids that Events name as staying behind, and those of writes given up on.
fn told(notes: &[Note]) -> (BTreeSet<String>, BTreeSet<String>) {
    let folded = |ids: &BTreeSet<IdentityId>| ids.iter().map(|id| id.folded().to_owned()).collect::<Vec<_>>();
    let (mut named, mut given_up) = (BTreeSet::new(), BTreeSet::new());
    for note in notes {
        match note {
            Note::Released { ids, .. } | Note::MachineReplaced { ids, .. } => named.extend(folded(ids)),
            Note::OpenExpired { ids } => given_up.extend(folded(ids)),
            Note::Arrived { .. }
            | Note::Vanished { .. }
            | Note::PutBack { .. }
            | Note::PrincipalChanged { .. }
            | Note::Repairing { .. }
            | Note::Adopted { .. } => {}
        }
    }
    (named, given_up)
}

fn prepare(world: &World, config: &Config, plan: &Plan, patch: &Patch, record: &Record) -> Box<Sending> {
    let Base { unique_id, etag } = &plan.base;
    let attempt = record.intent.as_ref().map_or(0, |intent| intent.attempt) + 1;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let (machine, number) = (text(unique_id.as_ref().map(|u| u.0.as_str())), text(etag.as_ref().map(|e| e.0.as_str())));
    let operation = format!("{machine} {number} #{attempt}");
    let (present, absent, system) = wanted(world.staying(config));
    let request = Request {
        operation: operation.clone(),
        if_match: number.parse().ok().filter(|_| config.broken != Broken::IfMatch),
        body: patch.body().to_string(),
        excused: absent.into_iter().map(Into::into).collect(),
        system_excused: system == Some(false),
    };
    let strips = patch.removed().any(|id| present.contains(id.folded()));
    Box::new(Sending { request, sent: Sent::new(&operation, patch), strips })
}

/// Writes the record, if it is still the one that was read.
pub fn put(world: &mut World, config: &Config, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    let Phase::Decided { record, sending, named, left, given_up } = std::mem::replace(&mut process.phase, Phase::Idle)
    else {
        return None;
    };
    let kept_to_itself = config.broken == Broken::IntentFirst && sending.is_some();
    if !process.version_holds && config.broken != Broken::ResourceVersion {
        return Some(());
    }
    if sending.is_some() {
        process.memory.sent = None;
    }
    process.phase = match sending {
        Some(sending) => Phase::Recorded { written: NOW, sending },
        None if left.is_empty() => Phase::Idle,
        None => Phase::Finalizing { left },
    };
    if kept_to_itself {
        process.unrecorded = Some(record);
        return Some(());
    }
    for (other, process) in world.processes.iter_mut().enumerate() {
        process.version_holds = other == p;
    }
    world.named.extend(named);
    world.given_up.extend(given_up);
    for id in record.intent.iter().flat_map(|intent| &intent.add) {
        world.given_up.remove(id.folded());
        world.named.remove(id.folded());
    }
    world.record = record;
    if config.processes > 1 {
        world.forget_outcome();
    }
    world.puts += 1;
    Some(())
}

/// Sends the PATCH, unless the intent is too old to be acted on.
pub fn send(world: &mut World, config: &Config, p: usize) -> Option<()> {
    let process = world.processes.get_mut(p)?;
    let Phase::Recorded { written, sending } = std::mem::replace(&mut process.phase, Phase::Idle) else {
        return None;
    };
    if !intent_still_good(written, NOW) && config.broken != Broken::Age {
        world.forget_outcome();
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
