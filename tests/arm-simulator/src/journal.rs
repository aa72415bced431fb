//! Every request that came, and what became of it.
use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::Kind;
use crate::wire::routes::{Place, Route};
use crate::wire::{Answer, Call, Listener, Reply};

/// The response headers that are worth a look afterwards.
const OF_INTEREST: [&str; 9] = [
    "azure-asyncoperation",
    "etag",
    "retry-after",
    "location",
    "www-authenticate",
    "x-ms-correlation-request-id",
    "x-ms-ratelimit-remaining-resource",
    "x-ms-ratelimit-remaining-subscription-reads",
    "x-ms-ratelimit-remaining-subscription-writes",
];

/// One request and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    pub seq: u64,
    pub at: Timestamp,
    pub listener: Listener,
    pub method: String,
    pub path: String,
    pub query: String,
    pub if_match: Option<String>,
    pub request_headers: BTreeMap<String, String>,
    /// JSON where it parses, text otherwise; for Entra ID the names of the fields alone.
    pub request_body: Value,
    pub request_bytes: usize,
    /// None: no answer left.
    pub status: Option<u16>,
    pub error_code: Option<String>,
    pub response_headers: BTreeMap<String, String>,
    pub response_bytes: usize,
    pub micros: u64,
    /// The faults that had a hand in it.
    pub faults: Vec<String>,
}

impl Exchange {
    #[must_use]
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.to_lowercase().contains(&path.to_lowercase())
    }
}

/// Exchanges of one sort, counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sort {
    /// `get machine`, `list virtualMachines`, `patch machine`, `poll`, `token`…
    pub what: String,
    /// None: no answer left.
    pub status: Option<u16>,
}

/// All exchanges of a sort since the start, those that the journal has let go included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    #[serde(flatten)]
    pub sort: Sort,
    pub count: u64,
}

#[derive(Debug)]
pub struct Journal {
    exchanges: VecDeque<Exchange>,
    limit: usize,
    next: u64,
    tally: BTreeMap<Sort, u64>,
}

impl Journal {
    pub const fn new(limit: usize) -> Self {
        Self { exchanges: VecDeque::new(), limit, next: 1, tally: BTreeMap::new() }
    }

    /// The number of a request that has just come.
    pub const fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub fn record(&mut self, exchange: Exchange) {
        *self.tally.entry(sort_of(&exchange)).or_default() += 1;
        // Answers end out of order; the journal is read in the order of arrival.
        let place = self.exchanges.iter().rposition(|earlier| earlier.seq < exchange.seq);
        self.exchanges.insert(place.map_or(0, |place| place + 1), exchange);
        while self.exchanges.len() > self.limit {
            self.exchanges.pop_front();
        }
    }

    /// Those after the given number.
    pub fn since(&self, seq: u64) -> impl Iterator<Item = &Exchange> {
        let first = self.exchanges.partition_point(|exchange| exchange.seq <= seq);
        self.exchanges.range(first..)
    }

    /// The number of the latest.
    pub fn latest(&self) -> u64 {
        self.exchanges.back().map_or(0, |exchange| exchange.seq)
    }

    pub fn tally(&self) -> Vec<Count> {
        self.tally.iter().map(|(sort, count)| Count { sort: sort.clone(), count: *count }).collect()
    }
}

fn sort_of(exchange: &Exchange) -> Sort {
    let what = match exchange.listener {
        Listener::Arm | Listener::ArmHttp => asked_of_arm(exchange),
        Listener::Entra => "token".to_owned(),
        Listener::Imds => "imds".to_owned(),
        Listener::Stranger => "stranger".to_owned(),
        Listener::Admin => "admin".to_owned(),
    };
    Sort { what, status: exchange.status }
}

fn asked_of_arm(exchange: &Exchange) -> String {
    let method = exchange.method.to_lowercase();
    let plural = |kind: Kind| kind.type_name().rsplit('/').next().unwrap_or_default().to_owned();
    match Route::parse(&exchange.path).map(|route| route.place) {
        Some(Place::ListOfGroup(kind, _) | Place::ListOfSubscription(kind)) => format!("list {}", plural(kind)),
        Some(Place::Resource(id)) if id.kind == Kind::UserAssignedIdentity => format!("{method} identity"),
        Some(Place::Resource(_)) => format!("{method} machine"),
        Some(Place::Operation(_)) => "poll".to_owned(),
        Some(Place::Group(_)) => format!("{method} group"),
        Some(Place::Rights(_)) => "list permissions".to_owned(),
        Some(Place::Locks(_)) => "list locks".to_owned(),
        Some(Place::Subscription) => format!("{method} subscription"),
        Some(Place::ComputeProvider | Place::Elsewhere) | None => format!("{method} elsewhere"),
    }
}

/// What is known of a request before it is answered.
pub fn opened(seq: u64, call: &Call, faults: Vec<String>, in_brief: bool) -> Exchange {
    Exchange {
        seq,
        at: Timestamp::now(),
        listener: call.listener,
        method: call.method.to_string(),
        path: call.path.clone(),
        query: if in_brief { String::new() } else { call.query.clone() },
        if_match: call.header("if-match").map(str::to_owned),
        request_headers: if in_brief { BTreeMap::new() } else { call.safe_headers() },
        request_body: body_of(call),
        request_bytes: call.body.len(),
        status: None,
        error_code: None,
        response_headers: BTreeMap::new(),
        response_bytes: 0,
        micros: 0,
        faults,
    }
}

/// The same with what became of it.
pub fn closed(mut exchange: Exchange, reply: &Reply, micros: u64, in_brief: bool) -> Exchange {
    exchange.micros = micros;
    if let Reply::Answer(answer) = reply {
        exchange.status = Some(answer.status.as_u16());
        exchange.error_code = error_code(answer);
        exchange.response_bytes = answer.body.len();
        let of_interest = OF_INTEREST.iter().filter(|_| !in_brief);
        exchange.response_headers =
            of_interest.filter_map(|name| Some(((*name).to_owned(), answer.find_header(name)?.to_owned()))).collect();
    }
    exchange
}

fn error_code(answer: &Answer) -> Option<String> {
    if answer.status.is_success() {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let code = body.pointer("/error/code").or_else(|| body.get("error"))?;
    code.as_str().map(str::to_owned)
}

fn body_of(call: &Call) -> Value {
    if call.body.is_empty() {
        return Value::Null;
    }
    if call.listener == Listener::Entra {
        let fields = url::form_urlencoded::parse(&call.body);
        return fields.map(|(name, _)| Value::from(name.into_owned())).collect();
    }
    serde_json::from_slice(&call.body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&call.body).into_owned()))
}
