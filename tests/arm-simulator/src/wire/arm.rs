//! ARM's door: faults first, then the answer, then what faults do to it.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::errors::{subscription_throttled, unauthorized};
use super::{Answer, Call, Reply};
use crate::faults::{Effect, Struck};
use crate::id::fold;
use crate::journal;
use crate::settings::TENANT;
use crate::simulator::Shared;
use crate::state::machine::{Machine, Model};
use crate::state::writes::Fateful;
use crate::throttle::Verb;

/// How a request's handling departs from the ordinary.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    pub stale: bool,
    /// The moment that a read shows, if it is not the present.
    pub then: Option<Instant>,
    pub hidden: bool,
    /// Machines of the page before that a page begins with.
    pub repeated: usize,
    /// Machines that a page should begin with and does not.
    pub skipped: usize,
    /// Where links in the answer lead, if not back.
    pub links_to: Option<String>,
    pub fate: Fateful,
}

impl Ways {
    /// What a read shows of a machine.
    pub fn model_of<'a>(&self, machine: &'a Machine) -> &'a Model {
        match self.then {
            Some(then) => machine.model_at(then),
            None => machine.before.as_deref().filter(|_| self.stale).unwrap_or(&machine.model),
        }
    }

    fn of(struck: &[Struck]) -> Self {
        let mut ways = Self::default();
        for one in struck {
            match &one.effect {
                Effect::StaleRead {} => ways.stale = true,
                Effect::OldRead { millis } => ways.then = Instant::now().checked_sub(Duration::from_millis(*millis)),
                Effect::Hide {} => ways.hidden = true,
                Effect::RepeatMachines { count } => ways.repeated = *count,
                Effect::SkipMachines { count } => ways.skipped = *count,
                Effect::LinkTo { origin } => ways.links_to = Some(origin.clone()),
                Effect::EndOperation(outcome) => ways.fate.outcome = outcome.clone(),
                Effect::HoldOperation {} => ways.fate.held = true,
                Effect::LoseOperation {} => ways.fate.lost = true,
                Effect::Answer { .. }
                | Effect::LoseRequest {}
                | Effect::LoseReply {}
                | Effect::ArriveLate { .. }
                | Effect::Throttle { .. }
                | Effect::RefuseToken {}
                | Effect::Hang {}
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
    let (seq, struck, in_brief) = {
        let mut world = shared.world();
        (world.journal.number(), world.faults.strike(&call), world.settings.journal_in_brief)
    };
    let names = struck.iter().map(|one| one.effect.name().to_owned()).collect();
    let exchange = journal::opened(seq, &call, names, in_brief);
    let reply = if let Some(instead) = before(&shared, &call, &struck).await {
        instead
    } else {
        let plain = answer(&shared, &call, seq, &Ways::of(&struck));
        after(&shared, &call, &struck, plain).await
    };
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    shared.world().journal.record(journal::closed(exchange, &reply, micros, in_brief));
    reply
}

/// What happens before the request is handled; Some: and instead.
async fn before(shared: &Arc<Shared>, call: &Call, struck: &[Struck]) -> Option<Reply> {
    for Struck { effect, ends } in struck {
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
            Effect::Throttle { retry_after_secs } => {
                let pause = retry_after_secs.or_else(|| ends.map(seconds_until));
                return Some(Reply::Answer(throttled(call, pause)));
            }
            Effect::RefuseToken {} => return Some(Reply::Answer(token_refused())),
            Effect::Hang {} => {
                hang(shared, call).await;
                return Some(Reply::Reset);
            }
            Effect::Slow { .. }
            | Effect::Foreign { .. }
            | Effect::LoseReply {}
            | Effect::StaleRead {}
            | Effect::OldRead { .. }
            | Effect::Hide {}
            | Effect::RepeatMachines { .. }
            | Effect::SkipMachines { .. }
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

async fn after(shared: &Arc<Shared>, call: &Call, struck: &[Struck], mut answer: Answer) -> Reply {
    for one in struck {
        match &one.effect {
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
            | Effect::OldRead { .. }
            | Effect::Hide {}
            | Effect::RepeatMachines { .. }
            | Effect::SkipMachines { .. }
            | Effect::Throttle { .. }
            | Effect::RefuseToken {}
            | Effect::Hang {}
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

/// Longer than any client waits: a fault that is used up is not looked for again.
const LONGEST_HANG: Duration = Duration::from_secs(3_600);

async fn hang(shared: &Shared, call: &Call) {
    let began = Instant::now();
    while began.elapsed() < LONGEST_HANG {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if !shared.world().faults.holds(call) {
            return;
        }
    }
}

fn seconds_until(end: Instant) -> u64 {
    let left = end.saturating_duration_since(Instant::now());
    // Whole seconds, and never too few.
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

fn throttled(call: &Call, pause: Option<u64>) -> Answer {
    let subscription = call.path.split('/').nth(2).unwrap_or_default();
    subscription_throttled(Verb::of(&call.method).name(), subscription, "the caller", pause).into()
}

fn token_refused() -> Answer {
    let authority = format!("https://login.microsoftonline.com/{TENANT}");
    unauthorized("InvalidAuthenticationToken", "The access token is invalid.", &authority).into()
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
    let in_brief = world.settings.journal_in_brief;
    let exchange = journal::opened(number, &call, vec!["arrived_late".to_owned()], in_brief);
    world.journal.record(journal::closed(exchange, &Reply::Answer(answer), 0, in_brief));
}
