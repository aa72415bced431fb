//! Time passes only where somebody waits for it: nothing else becomes different by it.
use crate::world::{NOW, Phase, Process, World};
use lanyard_domain::Moment;
use lanyard_domain::evidence::STALE_FOR;
use lanyard_domain::judge::{ANOTHER_WRITER, OPEN_FOR, OtherWriter};
use std::time::Duration;

/// Nobody is held up for ever just before sending.
fn pass_over_who_pauses(world: &mut World) -> Option<()> {
    if world.processes.iter().any(|process| matches!(process.phase, Phase::Recorded { .. })) {
        world.left.pause = world.left.pause.checked_sub(1)?;
    }
    Some(())
}

/// Only where somebody waits for it.
pub fn ten_seconds_pass(world: &mut World) -> Option<()> {
    let young = |other: &OtherWriter| NOW.since(other.seen) < ANOTHER_WRITER;
    let waits = |process: &Process| process.rests() && process.memory.other_writer.as_ref().is_some_and(young);
    world.record()?.intent.as_ref()?;
    if !world.processes.iter().any(waits) {
        return None;
    }
    pass_over_who_pauses(world)?;
    world.age(ANOTHER_WRITER);
    Some(())
}

/// Only where somebody waits for it; no read lags so long.
pub fn a_minute_passes(world: &mut World) -> Option<()> {
    let young = |since: &Moment| NOW.since(*since) < STALE_FOR;
    let waits = |process: &Process| {
        let unseen = process.memory.unseen.as_ref().map(|unseen| &unseen.since);
        let since = [unseen, process.superseded_since.as_ref(), process.gone_since.as_ref()];
        process.rests() && since.into_iter().flatten().any(young)
    };
    if !world.processes.iter().any(waits) {
        return None;
    }
    pass_over_who_pauses(world)?;
    world.arm.behind = None;
    world.age(STALE_FOR);
    Some(())
}

/// Only where somebody waits for it; no request lives that long.
pub fn five_minutes_pass(world: &mut World) -> Option<()> {
    world.record()?.intent.as_ref()?;
    let waits = |process: &Process| {
        let open = process.memory.open.as_ref();
        process.rests() && open.is_some_and(|open| NOW.since(open.since) < OPEN_FOR)
    };
    let talking = |process: &Process| matches!(process.phase, Phase::Waiting { .. } | Phase::Following { .. });
    if world.arm.running.is_some() || world.processes.iter().any(talking) || !world.processes.iter().any(waits) {
        return None;
    }
    pass_over_who_pauses(world)?;
    world.flight.clear();
    world.arm.behind = None;
    world.age(OPEN_FOR + Duration::from_secs(1));
    Some(())
}
