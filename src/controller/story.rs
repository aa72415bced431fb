//! One trace a change: it begins with the watch's event and ends with what people wait for, however many visits that takes.
//!
//! ```text
//!   change ─┬─ visit ─┬─ gather ── ARM GET
//!           │         ├─ record
//!           │         ├─ apply ─┬─ ARM PATCH
//!           │         │         └─ follow ── ARM GET
//!           │         └─ report
//!           └─ visit (what is tried again)
//! ```
//!
//! Without an exporter nothing is kept here, and no span is made.
use super::reconcile::Next;
use crate::clock::milliseconds;
use crate::telemetry::traces::step;
use lanyard_domain::pace::Urgency;
use lanyard_domain::reason::Reason;
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{Span, field};

/// What is not settled by then is told as it is: nobody sees a trace before its first span has ended.
const LONGEST: Duration = Duration::from_secs(10 * 60);
const MOST_VISITS: u32 = 20;

/// More are not followed from their event on: a visit without one begins a trace of its own.
const MOST_OPEN: usize = 10_000;

/// The changes that are on their way.
#[derive(Debug)]
pub struct Stories<K> {
    on: bool,
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    /// Who stands by visits nothing: what it sees is no story of its own.
    leads: bool,
    open: HashMap<K, Story>,
}

#[derive(Debug)]
struct Story {
    root: Span,
    begun: Instant,
    visits: u32,
    /// Something changed after the visit under way began.
    changed: bool,
}

impl Story {
    fn new(root: Span) -> Self {
        Self { root, begun: Instant::now(), visits: 0, changed: false }
    }
}

/// How a visit ended, for whoever follows the change.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// `AsPlanned`, or the reason in the conditions.
    pub reason: &'static str,
    /// All is told, and nothing is to be tried again soon.
    pub settled: bool,
}

impl Ending {
    /// `trouble`: why it ended early. Who is to be looked at for drift next has all that people wait for.
    pub fn of(trouble: Option<Reason>, next: Next) -> Self {
        let is_over = next.is_none_or(|(_, urgency)| urgency == Urgency::Drift);
        Self { reason: trouble.map_or("AsPlanned", Reason::as_str), settled: trouble.is_none() && is_over }
    }
}

impl<K: Clone + Eq + Hash + Display> Stories<K> {
    /// `on`: spans are exported.
    pub fn new(on: bool) -> Self {
        Self { on, inner: Mutex::new(Inner { leads: false, open: HashMap::new() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A term begins or ends: what was open is told as it is.
    pub fn leads(&self, leads: bool) {
        if self.on {
            let mut inner = self.inner();
            inner.leads = leads;
            inner.open.clear();
        }
    }

    /// The watch told of a change that concerns this one; `by` is the object that changed.
    pub fn changed(&self, key: &K, by: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        let mut inner = self.inner();
        if let Some(story) = inner.open.get_mut(key) {
            story.changed = true;
        } else if inner.leads && inner.open.len() < MOST_OPEN {
            inner.open.insert(key.clone(), Story { changed: true, ..Story::new(root(key, "change", &by())) });
        }
    }

    /// The span of a visit that begins. Without a change it is a look, and a trace by itself.
    pub fn visit(&self, key: &K, urgency: Urgency) -> Span {
        if !self.on {
            return Span::none();
        }
        let mut inner = self.inner();
        let story = inner.open.entry(key.clone()).or_insert_with(|| Story::new(root(key, "look", "")));
        story.visits += 1;
        story.changed = false;
        let waited = milliseconds(story.begun.elapsed());
        step!(
            "visit",
            parent: &story.root,
            lanyard.resource = %key,
            lanyard.attempt = story.visits,
            lanyard.urgency = ?urgency,
            lanyard.since_change_ms = waited,
            lanyard.reason = field::Empty,
            otel.status_code = field::Empty,
        )
    }

    /// That visit has ended, and with it the story, unless something is to follow.
    pub fn ended(&self, key: &K, visit: &Span, ending: Ending) {
        if !self.on {
            return;
        }
        tell(visit, ending);
        let mut inner = self.inner();
        let Some(story) = inner.open.get(key) else { return };
        let goes_on = story.changed || !ending.settled;
        if !goes_on || story.begun.elapsed() > LONGEST || story.visits >= MOST_VISITS {
            tell(&story.root, ending);
            inner.open.remove(key);
        }
    }
}

fn root(key: &impl Display, name: &'static str, by: &str) -> Span {
    step!(
        "reconcile",
        parent: None,
        otel.name = name,
        lanyard.resource = %key,
        lanyard.changed = by,
        lanyard.reason = field::Empty,
        otel.status_code = field::Empty,
    )
}

fn tell(span: &Span, ending: Ending) {
    span.record("lanyard.reason", ending.reason);
    if !ending.settled {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Ending = Ending { reason: "AsPlanned", settled: true };
    const ILL: Ending = Ending { reason: "Throttled", settled: false };

    fn open(stories: &Stories<String>) -> Vec<String> {
        let mut all: Vec<String> = stories.inner().open.keys().cloned().collect();
        all.sort();
        all
    }

    fn leading() -> Stories<String> {
        let stories = Stories::new(true);
        stories.leads(true);
        stories
    }

    fn visit(stories: &Stories<String>, key: &str, meanwhile: impl FnOnce(), ending: Ending) {
        let span = stories.visit(&key.to_owned(), Urgency::Change);
        meanwhile();
        stories.ended(&key.to_owned(), &span, ending);
    }

    #[test]
    fn a_story_goes_on_until_all_is_told_and_nothing_has_changed_since() {
        let stories = leading();
        let changed = || stories.changed(&"a".into(), || "shop/web".into());
        changed();
        visit(&stories, "a", || (), ILL);
        assert_eq!(open(&stories), ["a"]);
        visit(&stories, "a", changed, WELL);
        assert_eq!(open(&stories), ["a"], "what changed meanwhile is still to be seen to");
        visit(&stories, "a", || (), WELL);
        assert_eq!(open(&stories), [""; 0]);
    }

    #[test]
    fn what_never_settles_is_told_all_the_same() {
        let stories = leading();
        for _ in 0..MOST_VISITS {
            visit(&stories, "a", || (), ILL);
        }
        assert_eq!(open(&stories), [""; 0]);
    }

    #[test]
    fn nothing_is_kept_by_who_stands_by_nor_where_nobody_listens() {
        let (stands_by, off) = (Stories::new(true), Stories::new(false));
        off.leads(true);
        for stories in [&stands_by, &off] {
            stories.changed(&"a".into(), || "shop/web".into());
            assert_eq!(open(stories), [""; 0]);
        }
        visit(&off, "a", || assert_eq!(open(&off), [""; 0]), ILL);
        assert_eq!(open(&off), [""; 0]);
    }
}
