//! Whether work gets on: when each visit and task was last run, and how long it has said that it may wait.
//!
//! What runs is polled; what waits for a timer or an answer is polled when that comes. So something that has not been
//! polled for longer than it said it might wait is lost, and something whose poll does not end holds a thread.
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

tokio::task_local! {
    static CURRENT: Arc<Pulse>;
}

/// What is watched over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ends by itself, and waits for nothing that does not end.
    Visit,
    /// A loop with a timer of its own.
    Loop,
    /// Waits for what may never come.
    Listener,
}

/// How something is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// It was to go on long ago.
    Silent(Duration),
    /// One step of it does not end.
    Busy(Duration),
}

/// One visit's or task's. Times are milliseconds after `zero`.
pub struct Pulse {
    pub kind: Kind,
    pub what: Arc<dyn Display + Send + Sync>,
    zero: Instant,
    /// When the poll under way began; `NEVER`: there is none.
    entered: AtomicU64,
    left: AtomicU64,
    /// It may wait until then.
    due: AtomicU64,
    /// Places that it waits for, which others hold.
    lines: AtomicU32,
    /// It was told of.
    pub told: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Pulse {
    pub fn new(kind: Kind, what: Arc<dyn Display + Send + Sync>, zero: Instant) -> Self {
        let now = millis(zero.elapsed());
        Self {
            kind,
            what,
            zero,
            entered: AtomicU64::new(NEVER),
            left: AtomicU64::new(now),
            due: AtomicU64::new(now),
            lines: AtomicU32::new(0),
            told: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        millis(self.zero.elapsed())
    }

    pub fn enter(&self) {
        self.entered.store(self.now(), Ordering::Relaxed);
    }

    pub fn leave(&self) {
        self.left.store(self.now(), Ordering::Relaxed);
        self.entered.store(NEVER, Ordering::Relaxed);
    }

    /// It waits for a place that others hold, and has no say in how long.
    pub fn is_in_line(&self) -> bool {
        self.lines.load(Ordering::Relaxed) > 0
    }

    /// How long it has been silent beyond what it said.
    pub fn silent_for(&self) -> Duration {
        let last = self.left.load(Ordering::Relaxed).max(self.due.load(Ordering::Relaxed));
        Duration::from_millis(self.now().saturating_sub(last))
    }

    /// How it is stuck, if it is, by itself.
    pub fn stuck(&self, after: Duration) -> Option<Stuck> {
        let entered = self.entered.load(Ordering::Relaxed);
        if entered != NEVER {
            let busy = Duration::from_millis(self.now().saturating_sub(entered));
            return (busy > after).then_some(Stuck::Busy(busy));
        }
        let silent = self.silent_for();
        (self.kind != Kind::Listener && !self.is_in_line() && silent > after).then_some(Stuck::Silent(silent))
    }

    pub fn within<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

/// What is running now may wait for so long.
pub fn may_take(time: Duration) {
    // Not watched over: a command, or a test.
    let _ = CURRENT.try_with(|pulse| {
        pulse.due.fetch_max(pulse.now().saturating_add(millis(time)), Ordering::Relaxed);
    });
}

/// Waits for a place that others hold.
pub async fn in_line<F: Future>(place: F) -> F::Output {
    let _line = CURRENT.try_with(|pulse| Line::join(pulse.clone()));
    place.await
}

struct Line(Arc<Pulse>);

impl Line {
    fn join(pulse: Arc<Pulse>) -> Self {
        pulse.lines.fetch_add(1, Ordering::Relaxed);
        Self(pulse)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.lines.fetch_sub(1, Ordering::Relaxed);
    }
}
