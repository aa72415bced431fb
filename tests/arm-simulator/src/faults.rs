//! Faults to order, as data: which requests they meet, and what happens to those.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::fold;
use crate::state::foreign::ForeignAct;
use crate::state::operations::Outcome;
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
}

impl Default for When {
    fn default() -> Self {
        Self { listener: None, method: None, path: String::new(), skip: 0, times: Some(1) }
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
    /// The resource is not there, this once.
    Hide {},
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
            Self::Hide {} => "hide",
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

#[derive(Debug, Default)]
pub struct Faults {
    armed: Vec<(u64, Fault)>,
    next: u64,
}

impl Faults {
    /// Gives the number to disarm it by.
    pub fn arm(&mut self, fault: Fault) -> u64 {
        self.next += 1;
        self.armed.push((self.next, fault));
        self.next
    }

    pub fn disarm(&mut self, number: u64) {
        self.armed.retain(|(armed, _)| *armed != number);
    }

    /// Clears those whose path holds the text; an empty one clears all.
    pub fn clear(&mut self, path: &str) {
        let path = fold(path);
        self.armed.retain(|(_, fault)| !fold(&fault.when.path).contains(&path));
    }

    pub fn armed(&self) -> impl Iterator<Item = &(u64, Fault)> {
        self.armed.iter()
    }

    /// What happens to this request, in the order armed. Each matching fault counts it.
    pub fn strike(&mut self, call: &Call) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (_, fault) in &mut self.armed {
            let when = &mut fault.when;
            if !when.matches(call) || when.times == Some(0) {
                continue;
            }
            if when.skip > 0 {
                when.skip -= 1;
                continue;
            }
            when.times = when.times.map(|times| times - 1);
            effects.push(fault.then.clone());
        }
        self.armed.retain(|(_, fault)| fault.when.times != Some(0));
        effects
    }
}

impl When {
    fn matches(&self, call: &Call) -> bool {
        let door = match self.listener {
            Some(listener) => listener == call.listener,
            None => matches!(call.listener, Listener::Arm | Listener::ArmHttp),
        };
        let method = self.method.as_ref().is_none_or(|method| call.method.as_str().eq_ignore_ascii_case(method));
        door && method && fold(&call.path).contains(&fold(&self.path))
    }
}
