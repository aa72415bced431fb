//! Faults to order, as data: which requests they meet, and what happens to those.
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::fold;
use crate::state::foreign::ForeignAct;
use crate::state::operations::Outcome;
use crate::wire::lists::page_of;
use crate::wire::{Call, Listener};

/// `{"when": {"method": "PATCH", "path": "/web"}, "then": {"lose_reply": {}}}`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub when: When,
    pub then: Effect,
}

/// Which requests: all that is said must hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub listener: Option<Listener>,
    pub method: Option<String>,
    /// A part of the path, whatever its case.
    pub path: String,
    /// Lets this many pass first.
    pub skip: u64,
    /// How many it meets; None: all.
    pub times: Option<u64>,
    /// LIST requests alone.
    pub list: bool,
    /// Of those, requests for this page alone; the first is 1.
    pub page: Option<u64>,
    /// How long it lasts, from when it is armed; None: until it is disarmed.
    pub millis: Option<u64>,
}

impl Default for When {
    fn default() -> Self {
        Self {
            listener: None,
            method: None,
            path: String::new(),
            skip: 0,
            times: Some(1),
            list: false,
            page: None,
            millis: None,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Any answer at all, in place of the real one; nothing is done.
    Answer {
        status: u16,
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// A string is sent as it is, anything else as JSON.
        #[serde(default)]
        body: Value,
    },
    /// The request is lost: no effect, no answer.
    LoseRequest {},
    /// The effect happens, the answer is lost.
    LoseReply {},
    /// No answer now; the request arrives later and is judged then, `If-Match` included.
    ArriveLate {
        /// None: when released.
        after_millis: Option<u64>,
        /// How long the caller is left waiting before the connection closes.
        #[serde(default)]
        hang_millis: u64,
    },
    /// A GET shows the state before the last accepted write.
    StaleRead {},
    /// A GET or a LIST shows what was so long ago, machines that are gone since included. What was there when the
    /// simulator was seeded has always been there.
    OldRead {
        millis: u64,
    },
    /// The resource is not there, this once.
    Hide {},
    /// A page of a LIST begins with the last machines of the page before, as when one was made meanwhile.
    RepeatMachines {
        count: usize,
    },
    /// A page of a LIST lacks its first machines, as when as many were deleted meanwhile; no page shows them.
    SkipMachines {
        count: usize,
    },
    /// 429 in ARM's words, for the subscription. `Retry-After` is what is said, else what is left of the time that
    /// the fault lasts, else absent.
    Throttle {
        #[serde(default)]
        retry_after_secs: Option<u64>,
    },
    /// 401: the token is refused, however new.
    RefuseToken {},
    /// No answer for as long as the fault is armed, then the connection closes.
    Hang {},
    TruncateBody {},
    GarbageBody {},
    /// Waits, before the effect or after it.
    Slow {
        millis: u64,
        #[serde(default)]
        after: bool,
    },
    /// The operation of the write met ends so.
    EndOperation(Outcome),
    /// The operation of the write met runs until ended by hand.
    HoldOperation {},
    /// The operation's URL answers 404.
    LoseOperation {},
    /// `Azure-AsyncOperation` and `nextLink` point to this origin instead.
    LinkTo {
        origin: String,
    },
    Redirect {
        status: u16,
        location: String,
    },
    /// Somebody else acts before the request is handled, or after.
    Foreign {
        /// Whom it concerns; None: the resource of the request.
        #[serde(default)]
        resource: Option<String>,
        act: ForeignAct,
        #[serde(default)]
        after: bool,
    },
}

impl Effect {
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answer",
            Self::LoseRequest {} => "lose_request",
            Self::LoseReply {} => "lose_reply",
            Self::ArriveLate { .. } => "arrive_late",
            Self::StaleRead {} => "stale_read",
            Self::OldRead { .. } => "old_read",
            Self::Hide {} => "hide",
            Self::RepeatMachines { .. } => "repeat_machines",
            Self::SkipMachines { .. } => "skip_machines",
            Self::Throttle { .. } => "throttle",
            Self::RefuseToken {} => "refuse_token",
            Self::Hang {} => "hang",
            Self::TruncateBody {} => "truncate_body",
            Self::GarbageBody {} => "garbage_body",
            Self::Slow { .. } => "slow",
            Self::EndOperation(_) => "end_operation",
            Self::HoldOperation {} => "hold_operation",
            Self::LoseOperation {} => "lose_operation",
            Self::LinkTo { .. } => "link_to",
            Self::Redirect { .. } => "redirect",
            Self::Foreign { .. } => "foreign",
        }
    }
}

impl Fault {
    #[must_use]
    pub fn new(method: &str, path: &str, then: Effect) -> Self {
        Self { when: When { method: Some(method.to_owned()), path: path.to_owned(), ..When::default() }, then }
    }

    /// Every LIST whose path holds the text, until cleared.
    #[must_use]
    pub fn on_list(path: &str, then: Effect) -> Self {
        let mut fault = Self::new("GET", path, then).always();
        fault.when.list = true;
        fault
    }

    /// Every request to ARM about a subscription, until cleared.
    #[must_use]
    pub fn of_subscription(id: &str, then: Effect) -> Self {
        let when = When { path: format!("/subscriptions/{id}"), times: None, ..When::default() };
        Self { when, then }
    }

    /// Only this page of a LIST; the first is 1.
    #[must_use]
    pub const fn page(mut self, page: u64) -> Self {
        self.when.list = true;
        self.when.page = Some(page);
        self
    }

    /// For so long, from when it is armed.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.when.millis = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.when.times = Some(times);
        self
    }

    /// Every request, until cleared.
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.when.times = None;
        self
    }

    #[must_use]
    pub const fn skip(mut self, skip: u64) -> Self {
        self.when.skip = skip;
        self
    }

    #[must_use]
    pub const fn at(mut self, listener: Listener) -> Self {
        self.when.listener = Some(listener);
        self
    }
}

#[derive(Debug)]
struct Armed {
    number: u64,
    fault: Fault,
    ends: Option<Instant>,
}

impl Armed {
    fn is_over(&self, now: Instant) -> bool {
        self.fault.when.times == Some(0) || self.ends.is_some_and(|ends| ends <= now)
    }
}

/// An effect on one request.
#[derive(Clone, Debug)]
pub struct Struck {
    pub effect: Effect,
    /// When its fault ends, where it has a time.
    pub ends: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Faults {
    armed: Vec<Armed>,
    next: u64,
}

impl Faults {
    /// Gives the number to disarm it by.
    pub fn arm(&mut self, fault: Fault) -> u64 {
        self.next += 1;
        let ends = fault.when.millis.and_then(|millis| Instant::now().checked_add(Duration::from_millis(millis)));
        self.armed.push(Armed { number: self.next, fault, ends });
        self.next
    }

    pub fn disarm(&mut self, number: u64) {
        self.armed.retain(|armed| armed.number != number);
    }

    /// Clears those whose path holds the text; an empty one clears all.
    pub fn clear(&mut self, path: &str) {
        let path = fold(path);
        self.armed.retain(|armed| !fold(&armed.fault.when.path).contains(&path));
    }

    pub fn armed(&self) -> impl Iterator<Item = (u64, &Fault)> {
        self.armed.iter().map(|armed| (armed.number, &armed.fault))
    }

    /// What happens to this request, in the order armed. Each matching fault counts it.
    pub fn strike(&mut self, call: &Call) -> Vec<Struck> {
        // Most requests meet none: they cost nothing.
        if self.armed.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let request = Request::of(call);
        self.armed.retain(|armed| !armed.is_over(now));
        let mut effects = Vec::new();
        for armed in &mut self.armed {
            let when = &mut armed.fault.when;
            if !when.matches(&request) {
                continue;
            }
            if when.skip > 0 {
                when.skip -= 1;
                continue;
            }
            when.times = when.times.map(|times| times.saturating_sub(1));
            effects.push(Struck { effect: armed.fault.then.clone(), ends: armed.ends });
        }
        self.armed.retain(|armed| !armed.is_over(now));
        effects
    }

    /// Whether a request that hangs goes on hanging.
    pub fn holds(&self, call: &Call) -> bool {
        let (now, request) = (Instant::now(), Request::of(call));
        let hang = |armed: &Armed| matches!(armed.fault.then, Effect::Hang {});
        self.armed.iter().any(|armed| hang(armed) && !armed.is_over(now) && armed.fault.when.matches(&request))
    }
}

/// What of a request faults look at.
struct Request<'a> {
    call: &'a Call,
    path: String,
    /// Of a LIST.
    page: Option<u64>,
}

impl<'a> Request<'a> {
    fn of(call: &'a Call) -> Self {
        Self { call, path: fold(&call.path), page: page_of(call) }
    }
}

impl When {
    fn matches(&self, request: &Request<'_>) -> bool {
        let call = request.call;
        let door = match self.listener {
            Some(listener) => listener == call.listener,
            None => matches!(call.listener, Listener::Arm | Listener::ArmHttp),
        };
        let method = self.method.as_ref().is_none_or(|method| call.method.as_str().eq_ignore_ascii_case(method));
        let list = !self.list && self.page.is_none() || request.page.is_some();
        let page = self.page.is_none_or(|page| request.page == Some(page));
        door && method && list && page && request.path.contains(&fold(&self.path))
    }
}
