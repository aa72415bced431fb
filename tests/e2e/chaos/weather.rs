//! The way to the API server, which the controller takes and people do not: for a while at a time something is wrong
//! with it.

use std::time::{Duration, Instant};

use anyhow::Result;
use fastrand::Rng;
use strum::{IntoStaticStr, VariantArray};
use tokio_util::sync::CancellationToken;

use super::crew::Unrest;
use super::tally::Tally;
use crate::harness::{ApiProxy, Asked, Trouble};

/// How long a trouble lies in wait for a request that comes seldom.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Weather {
    /// All connections end once, watches too.
    ConnectionsEnd,
    /// Watches end as soon as they begin.
    WatchesEnd,
    /// 410: as the answer to a watch.
    Expired,
    /// 410: as an event of a watch.
    ExpiredInTheStream,
    /// Half of a list comes.
    ListsCutShort,
    /// 409: somebody else was there first.
    StatusConflicts,
    RecordConflicts,
    FinalizersRefused,
    /// Writes are not taken: 500, 503, 403, 429.
    WritesRefused,
    /// Nothing is answered but with an error, reads and watches too.
    AllRefused,
    /// Writes that do not arrive.
    WritesLost,
    /// Writes that are done, and nobody is told.
    AnswersLost,
    AnswersSlow,
    /// Connections stay, and nothing comes on new requests, until all of them end.
    Deaf,
    Unreachable,
}

/// What goes wrong next, and for how long.
#[derive(Clone, Copy, Debug)]
struct Spell {
    weather: Weather,
    /// Before it begins all is well for so long.
    fair: Duration,
    lasts: Duration,
    /// Meets one request in so many.
    every: usize,
    code: (u16, &'static str),
    slow: Duration,
}

/// Each kind comes once before any comes again: all of them in a story that is long enough.
struct Forecast {
    rng: Rng,
    coming: Vec<Weather>,
}

impl Forecast {
    fn next(&mut self) -> Spell {
        if self.coming.is_empty() {
            self.coming = Weather::VARIANTS.to_vec();
            self.rng.shuffle(&mut self.coming);
        }
        let weather = self.coming.pop().unwrap_or(Weather::ConnectionsEnd);
        let codes = [(500, "InternalError"), (503, "ServiceUnavailable"), (403, "Forbidden"), (429, "TooManyRequests")];
        let mut millis = |range| Duration::from_millis(self.rng.u64(range));
        Spell {
            weather,
            fair: millis(500..3_000),
            lasts: millis(1_000..4_000),
            slow: millis(300..2_500),
            every: self.rng.usize(1..=3),
            code: self.rng.choice(codes).unwrap_or(codes[0]),
        }
    }
}

/// Goes on until told that the story is over; then all is well, and what was met is told.
pub async fn run(api: &ApiProxy, seed: u64, unrest: Unrest, over: &CancellationToken) -> Result<Tally> {
    // Not the numbers that the crew draws.
    let mut forecast = Forecast { rng: Rng::with_seed(!seed), coming: Vec::new() };
    let mut met = Tally::default();
    while let Some(spell) = over.run_until_cancelled(fair(&mut forecast, unrest)).await {
        let times = befall(api, spell, over).await?;
        met.count_more(spell.weather.into(), times);
    }
    Ok(met)
}

async fn fair(forecast: &mut Forecast, unrest: Unrest) -> Spell {
    let spell = forecast.next();
    tokio::time::sleep(unrest.calm_for() + spell.fair).await;
    spell
}

/// How many requests it met; of connections that all end, how often.
async fn befall(api: &ApiProxy, spell: Spell, over: &CancellationToken) -> Result<usize> {
    let armed = |(when, trouble): (When, Trouble)| api.trouble(when, spell.every, usize::MAX, trouble);
    let rules: Vec<u64> = rules(spell).into_iter().map(armed).collect();
    match spell.weather.begins() {
        Begins::Unnoticed => {}
        Begins::EndingConnections => api.break_watches().await?,
        Begins::RefusingConnections => api.cut().await,
    }
    over.run_until_cancelled(tokio::time::sleep(spell.lasts)).await;
    if spell.weather == Weather::FinalizersRefused {
        // Finalizers are put on seldom: it lies in wait for one.
        let met = || rules.iter().any(|number| api.met(*number) > 0);
        let begun = Instant::now();
        while !met() && begun.elapsed() < LONGEST_WAIT && !over.is_cancelled() {
            tokio::time::sleep(spell.slow).await;
        }
    }
    let met = rules.iter().map(|number| api.met(*number).div_ceil(spell.every)).sum();
    for number in &rules {
        api.end(*number);
    }
    if matches!(spell.weather, Weather::Deaf | Weather::Unreachable) {
        api.break_watches().await?;
    }
    Ok(if rules.is_empty() { 1 } else { met })
}

/// What becomes of the connections that are there when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Unnoticed,
    EndingConnections,
    RefusingConnections,
}

impl Weather {
    const fn begins(self) -> Begins {
        match self {
            Self::Unreachable => Begins::RefusingConnections,
            Self::ConnectionsEnd
            | Self::WatchesEnd
            | Self::Expired
            | Self::ExpiredInTheStream
            | Self::ListsCutShort
            | Self::AllRefused => Begins::EndingConnections,
            Self::StatusConflicts
            | Self::RecordConflicts
            | Self::FinalizersRefused
            | Self::WritesRefused
            | Self::WritesLost
            | Self::AnswersLost
            | Self::AnswersSlow
            | Self::Deaf => Begins::Unnoticed,
        }
    }
}

type When = fn(&Asked) -> bool;

/// What meets which requests.
fn rules(spell: Spell) -> Vec<(When, Trouble)> {
    let watch: When = |asked| asked.verb == "watch";
    let list: When = |asked| asked.verb == "list";
    let write: When = |asked| matches!(asked.verb, "create" | "update" | "patch" | "delete");
    let (code, reason) = spell.code;
    let conflict = Trouble::Refused(409, "Conflict");
    match spell.weather {
        Weather::ConnectionsEnd | Weather::Unreachable => vec![],
        Weather::WatchesEnd => vec![(watch, Trouble::WatchEnds)],
        Weather::Expired => vec![(watch, Trouble::Refused(410, "Expired"))],
        Weather::ExpiredInTheStream => vec![(watch, Trouble::WatchError(410))],
        Weather::ListsCutShort => vec![(watch, Trouble::WatchError(410)), (list, Trouble::Truncate)],
        Weather::StatusConflicts => vec![(Asked::writes_status, conflict)],
        Weather::RecordConflicts => vec![(Asked::writes_record, conflict)],
        Weather::FinalizersRefused => vec![(Asked::writes_finalizers, Trouble::Refused(422, "Invalid"))],
        Weather::WritesRefused => vec![(write, Trouble::Refused(code, reason))],
        Weather::AllRefused => vec![(|_| true, Trouble::Refused(code, reason))],
        Weather::WritesLost => vec![(write, Trouble::LoseRequest)],
        Weather::AnswersLost => vec![(write, Trouble::LoseAnswer)],
        Weather::AnswersSlow => vec![(|asked| asked.verb != "watch", Trouble::Slow(spell.slow))],
        Weather::Deaf => vec![(|_| true, Trouble::Hang)],
    }
}
