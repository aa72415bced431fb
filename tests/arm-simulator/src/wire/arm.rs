//! ARM's door: faults first, then the answer, then what faults do to it.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Answer, Call, Reply};
use crate::faults::Effect;
use crate::id::fold;
use crate::journal;
use crate::simulator::Shared;
use crate::state::writes::Fateful;

/// How a request's handling departs from the ordinary.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    pub stale: bool,
    pub hidden: bool,
    /// Where links in the answer lead, if not back.
    pub links_to: Option<String>,
    pub fate: Fateful,
}

impl Ways {
    fn of(effects: &[Effect]) -> Self {
        let mut ways = Self::default();
        for effect in effects {
            match effect {
                Effect::StaleRead {} => ways.stale = true,
                Effect::Hide {} => ways.hidden = true,
                Effect::LinkTo { origin } => ways.links_to = Some(origin.clone()),
                Effect::EndOperation(outcome) => ways.fate.outcome = outcome.clone(),
                Effect::HoldOperation {} => ways.fate.held = true,
                Effect::LoseOperation {} => ways.fate.lost = true,
                Effect::Answer { .. }
                | Effect::LoseRequest {}
                | Effect::LoseReply {}
                | Effect::ArriveLate { .. }
                | Effect::TruncateBody {}
                | Effect::GarbageBody {}
                | Effect::Slow { .. }
                | Effect::Redirect { .. }
                | Effect::Foreign { .. } => {}
            }
        }
        ways
    }
}

/// Handles a request of ARM, Entra ID or IMDS: `answer` is what makes the difference.
pub async fn handle(shared: Arc<Shared>, call: Call, answer: impl Fn(&Shared, &Call, u64, &Ways) -> Answer) -> Reply {
    let began = Instant::now();
    let (seq, effects) = {
        let mut world = shared.world();
        (world.journal.number(), world.faults.strike(&call))
    };
    let names = effects.iter().map(|effect| effect.name().to_owned()).collect();
    let exchange = journal::opened(seq, &call, names);
    let reply = if let Some(instead) = before(&shared, &call, &effects).await {
        instead
    } else {
        let plain = answer(&shared, &call, seq, &Ways::of(&effects));
        after(&shared, &call, &effects, plain).await
    };
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.world().journal.record(journal::closed(exchange, &reply, micros));
    reply
}

/// What happens before the request is handled; Some: and instead.
async fn before(shared: &Arc<Shared>, call: &Call, effects: &[Effect]) -> Option<Reply> {
    for effect in effects {
        match effect {
            Effect::Slow { millis, after: false } => pause(*millis).await,
            Effect::Foreign { resource, act, after: false } => {
                foreign(shared, call, resource.as_deref(), act);
            }
            Effect::LoseRequest {} => return Some(Reply::Reset),
            Effect::Answer { status, headers, body } => {
                return Some(Reply::Answer(ordered(*status, headers, body)));
            }
            Effect::Redirect { status, location } => {
                let answer = Answer::empty(*status).header("location", location);
                return Some(Reply::Answer(answer));
            }
            Effect::ArriveLate { after_millis, hang_millis } => {
                send_later(shared, call, *after_millis);
                pause(*hang_millis).await;
                return Some(Reply::Reset);
            }
            Effect::Slow { .. }
            | Effect::Foreign { .. }
            | Effect::LoseReply {}
            | Effect::StaleRead {}
            | Effect::Hide {}
            | Effect::TruncateBody {}
            | Effect::GarbageBody {}
            | Effect::EndOperation(_)
            | Effect::HoldOperation {}
            | Effect::LoseOperation {}
            | Effect::LinkTo { .. } => {}
        }
    }
    None
}

async fn after(shared: &Arc<Shared>, call: &Call, effects: &[Effect], mut answer: Answer) -> Reply {
    for effect in effects {
        match effect {
            Effect::Slow { millis, after: true } => pause(*millis).await,
            Effect::Foreign { resource, act, after: true } => {
                foreign(shared, call, resource.as_deref(), act);
            }
            Effect::LoseReply {} => return Reply::Reset,
            Effect::TruncateBody {} => answer.cut = true,
            Effect::GarbageBody {} => {
                answer.body = hyper::body::Bytes::from_static(b"<html>{\"half\": a page");
            }
            Effect::Slow { .. }
            | Effect::Foreign { .. }
            | Effect::Answer { .. }
            | Effect::LoseRequest {}
            | Effect::ArriveLate { .. }
            | Effect::StaleRead {}
            | Effect::Hide {}
            | Effect::EndOperation(_)
            | Effect::HoldOperation {}
            | Effect::LoseOperation {}
            | Effect::LinkTo { .. }
            | Effect::Redirect { .. } => {}
        }
    }
    Reply::Answer(answer)
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn foreign(shared: &Shared, call: &Call, resource: Option<&str>, act: &crate::state::foreign::ForeignAct) {
    let key = fold(resource.unwrap_or(&call.path));
    let mut world = shared.world();
    world.settle();
    world.foreign(&key, act, "fault");
}

fn ordered(status: u16, headers: &[(String, String)], body: &serde_json::Value) -> Answer {
    let mut answer = match body {
        serde_json::Value::Null => Answer::empty(status),
        serde_json::Value::String(text) => {
            let mut answer = Answer::empty(status);
            answer.body = text.clone().into();
            answer
        }
        json => Answer::json(status, json),
    };
    for (name, value) in headers {
        answer = answer.header(name.clone(), value);
    }
    answer
}

/// Keeps a request on its way: it arrives after a while, or when released.
fn send_later(shared: &Arc<Shared>, call: &Call, after_millis: Option<u64>) {
    let number = {
        let mut world = shared.world();
        let number = world.journal.number();
        world.parked.push((number, call.clone()));
        number
    };
    if let Some(millis) = after_millis {
        let shared = Arc::downgrade(shared);
        tokio::spawn(async move {
            pause(millis).await;
            if let Some(shared) = shared.upgrade() {
                arrive(&shared, number);
            }
        });
    }
}

/// Lets a parked request arrive: it is judged as if it had just been sent.
pub fn arrive(shared: &Shared, number: u64) {
    let mut world = shared.world();
    let Some(place) = world.parked.iter().position(|(parked, _)| *parked == number) else {
        return;
    };
    let (_, call) = world.parked.remove(place);
    let answer = world.answer(&call, number, &Ways::default());
    let exchange = journal::opened(number, &call, vec!["arrived_late".to_owned()]);
    world.journal.record(journal::closed(exchange, &Reply::Answer(answer), 0));
}
