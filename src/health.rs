//! Whether this process gets on with its work (`/healthz`), and whether it has what it needs for it (`/readyz`).
//!
//! They answer different questions. A process that is stuck is helped by a restart. One that lacks something outside of
//! it (a token, an API server, a CRD, an answer of ARM) is not: it waits, says what it lacks, and goes on by itself.
pub mod cluster;
mod pulse;
mod readiness;

pub use pulse::{in_line, may_take};
pub use readiness::{Readiness, Supply};

use crate::arm::chain;
use cluster::ClusterTrouble;
use pulse::{Kind, Pulse, Stuck};
use std::collections::HashMap;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often it is looked whether something is stuck, by a thread that waits for nobody.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is known of this process's health.
pub struct Health {
    zero: Instant,
    /// What has not gone on for longer is stuck.
    stuck_after: Duration,
    next: AtomicU64,
    watched: Mutex<HashMap<u64, Arc<Pulse>>>,
    leads: AtomicBool,
    line_told: AtomicBool,
    /// What the API server was last found to lack, and since when.
    cluster: Mutex<Option<(Instant, ClusterTrouble)>>,
    doubts: Notify,
}

/// Something that is stuck, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub what: String,
    pub how: String,
}

impl Health {
    /// `stuck_after`: what has not gone on for longer than it said, and this, is stuck.
    pub fn new(stuck_after: Duration) -> Self {
        Self {
            zero: Instant::now(),
            stuck_after,
            next: AtomicU64::new(0),
            watched: Mutex::default(),
            leads: AtomicBool::new(false),
            line_told: AtomicBool::new(false),
            cluster: Mutex::default(),
            doubts: Notify::new(),
        }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<u64, Arc<Pulse>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self) -> MutexGuard<'_, Option<(Instant, ClusterTrouble)>> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches over work that ends by itself.
    pub fn visit<F: Future>(
        self: &Arc<Self>,
        what: Arc<dyn Display + Send + Sync>,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        self.over(Kind::Visit, what, work)
    }

    /// Watches over a loop that wakes by a timer of its own.
    pub fn looping<F: Future>(
        self: &Arc<Self>,
        what: &'static str,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        self.over(Kind::Loop, Arc::new(what), work)
    }

    /// Watches over what waits for others: only that it holds no thread.
    pub fn listening<F: Future>(
        self: &Arc<Self>,
        what: &'static str,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        self.over(Kind::Listener, Arc::new(what), work)
    }

    /// Boxed at once: a future that held the work twice would double what thousands of visits weigh.
    fn over<F: Future>(
        self: &Arc<Self>,
        kind: Kind,
        what: Arc<dyn Display + Send + Sync>,
        work: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let pulse = Arc::new(Pulse::new(kind, what, self.zero));
        let mut work: Pin<Box<F>> = Box::pin(work);
        let health = self.clone();
        let scoped = pulse.clone();
        let watched = async move {
            let _entry = Entry::new(health, pulse.clone());
            poll_fn(move |context| {
                pulse.enter();
                let polled = work.as_mut().poll(context);
                pulse.leave();
                polled
            })
            .await
        };
        scoped.within(watched)
    }

    /// All that is stuck.
    pub fn lost(&self) -> Vec<Lost> {
        let all: Vec<Arc<Pulse>> = self.watched().values().cloned().collect();
        let stuck = |pulse: &Arc<Pulse>| Some((pulse.clone(), pulse.stuck(self.stuck_after)?));
        let by_themselves = all.iter().filter_map(stuck);
        by_themselves.map(|(pulse, how)| told(&pulse, how)).chain(self.all_in_line(&all)).collect()
    }

    /// Places are given back by others who get on: where all stand in line, nobody will.
    fn all_in_line(&self, all: &[Arc<Pulse>]) -> Option<Lost> {
        let visits = || all.iter().filter(|pulse| pulse.kind == Kind::Visit);
        let silent = visits().map(|pulse| pulse.silent_for()).min()?;
        let stuck = silent > self.stuck_after && visits().all(|pulse| pulse.is_in_line());
        stuck.then(|| Lost {
            what: format!("all {} visits", visits().count()),
            how: format!("have waited for places that nobody gives back, for {} s", silent.as_secs()),
        })
    }

    /// Looks for what is stuck, on a thread of its own: what holds up the runtime does not hold up this. Each is told
    /// once; that the process is restarted for it is Kubernetes' part.
    pub fn keep_looking(self: &Arc<Self>) -> std::io::Result<()> {
        let health: Weak<Self> = Arc::downgrade(self);
        let looks = move || {
            while let Some(health) = health.upgrade() {
                health.tell_of_lost();
                drop(health);
                std::thread::sleep(LOOK_EVERY);
            }
        };
        std::thread::Builder::new().name("health".into()).spawn(looks).map(|_| ())
    }

    fn tell_of_lost(&self) {
        let all: Vec<Arc<Pulse>> = self.watched().values().cloned().collect();
        let tell = |Lost { what, how }: Lost| {
            tracing::error!(what, how, "something is stuck; /healthz asks for a restart");
        };
        for pulse in &all {
            if let Some(how) = pulse.stuck(self.stuck_after)
                && !pulse.told.swap(true, Ordering::Relaxed)
            {
                tell(told(pulse, how));
            }
        }
        match self.all_in_line(&all) {
            Some(lost) if !self.line_told.swap(true, Ordering::Relaxed) => tell(lost),
            Some(_) => {}
            None => self.line_told.store(false, Ordering::Relaxed),
        }
    }

    /// A term begins or ends.
    pub fn leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// A watch failed: whether the API server lacks something is to be looked at.
    pub fn doubts_cluster(&self) {
        self.doubts.notify_one();
    }

    /// Waits until there is reason to look.
    pub async fn doubted(&self) {
        self.doubts.notified().await;
    }

    /// What a look at the API server showed. True: all is well.
    pub fn saw_cluster(&self, seen: Result<(), ClusterTrouble>) -> bool {
        let mut known = self.cluster();
        match seen {
            Ok(()) => {
                if known.take().is_some() {
                    tracing::info!("the Kubernetes API server has all that is needed again");
                }
                true
            }
            Err(trouble) => {
                let since = known.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                if known.is_none() {
                    tracing::warn!(
                        error = chain(&trouble),
                        "the Kubernetes API server lacks something; it is waited for"
                    );
                }
                *known = Some((since, trouble));
                false
            }
        }
    }

    /// What `/readyz` says.
    pub fn readiness(&self, supply: &Supply) -> Readiness {
        let cluster = self.cluster();
        let trouble = cluster.as_ref().map(|(since, trouble)| (since.elapsed(), trouble));
        Readiness::of(trouble, supply, self.leads.load(Ordering::Relaxed))
    }
}

fn told(pulse: &Pulse, how: Stuck) -> Lost {
    let kind = match pulse.kind {
        Kind::Visit => "the visit to",
        Kind::Loop | Kind::Listener => "the task",
    };
    let how = match how {
        Stuck::Silent(time) => format!("has not gone on for {} s", time.as_secs()),
        Stuck::Busy(time) => format!("has held a thread for {} s", time.as_secs()),
    };
    Lost { what: format!("{kind} {}", pulse.what), how }
}

/// Known as long as the work is.
struct Entry {
    health: Arc<Health>,
    number: u64,
}

impl Entry {
    fn new(health: Arc<Health>, pulse: Arc<Pulse>) -> Self {
        let number = health.next.fetch_add(1, Ordering::Relaxed);
        health.watched().insert(number, pulse);
        Self { health, number }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.health.watched().remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
