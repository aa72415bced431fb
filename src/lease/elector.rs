//! The conversation with the API server about the Lease, by a client of its own: no flood of other requests delays it.
use super::lead::Lead;
use super::object;
use crate::arm::chain;
use crate::clock::Clock;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease as Object;
use kube::api::{Api, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Client, ResourceExt};
use lanyard_domain::Moment;
use lanyard_domain::lease::{Candidate, RENEW_EVERY, Step};
use std::fmt;
use std::time::Duration;
use tokio::time::{sleep, sleep_until, timeout};

/// Two renewals, and part of a third, fit into the time before the fence.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// After a request that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// A leader renews every two seconds: if the watch says nothing for so long, it or the leader has gone.
const SILENCE: Duration = Duration::from_secs(5);
/// A release that takes longer is of no use: the lease expires.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);

/// Which Lease.
#[derive(Clone, Debug)]
pub struct Place {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a term ended.
#[derive(Debug)]
pub enum Lost {
    NotRenewed,
    Taken(String),
    Emptied,
    Deleted,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRenewed => f.write_str("the lease could not be renewed in time"),
            Self::Taken(holder) => write!(f, "{holder} holds the lease"),
            Self::Emptied => f.write_str("somebody emptied the lease"),
            Self::Deleted => f.write_str("somebody deleted the lease"),
        }
    }
}

/// What became of a write.
enum Written {
    Yes,
    /// The lease is not as it was seen.
    Changed,
    Failed,
}

/// One process's part in the election.
pub struct Elector {
    leases: Api<Object>,
    place: Place,
    clock: Clock,
    candidate: Candidate,
    /// As last seen or written: what the next write is made from.
    object: Option<Object>,
    news: Option<BoxStream<'static, Result<Option<Object>, watcher::Error>>>,
    /// A write was begun whose outcome is not known.
    in_doubt: bool,
    /// One line a change.
    told: Option<String>,
    failing: bool,
}

impl Elector {
    /// `me` is this process's alone.
    pub fn new(client: Client, place: Place, me: String, clock: Clock) -> Self {
        Self {
            leases: Api::namespaced(client, &place.namespace),
            place,
            clock,
            candidate: Candidate::new(me),
            object: None,
            news: None,
            in_doubt: false,
            told: None,
            failing: false,
        }
    }

    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Sees the lease for the first time: whether that is allowed is told at the start, and not in an outage.
    ///
    /// # Errors
    /// The API server's answer.
    pub async fn first_look(&mut self) -> Result<(), kube::Error> {
        let object = self.leases.get_opt(&self.place.name).await?;
        self.saw(object);
        Ok(())
    }

    /// Waits until this process holds the lease.
    pub async fn campaign(&mut self) -> Lead {
        self.candidate.step_down();
        loop {
            match self.candidate.step(self.clock.now()) {
                Step::Look => self.look().await,
                Step::Create | Step::Take { .. } => self.take().await,
                Step::Wait { until } => {
                    self.tell_who_leads();
                    self.listen(until).await;
                }
            }
            if let Some(fenced) = self.candidate.leads_until(self.clock.now()) {
                self.told = None;
                return Lead::until(fenced, self.clock);
            }
        }
    }

    /// Renews the lease until it is ours no more.
    pub async fn hold(&mut self, lead: &Lead) -> Lost {
        let mut due = self.clock.now().after(RENEW_EVERY);
        loop {
            tokio::select! {
                // Asked first: a process that was stopped finds every timer due, and writes nothing any more.
                biased;
                () = lead.lapsed() => return Lost::NotRenewed,
                () = self.until_due(due) => {}
            }
            let began = self.clock.now();
            let lost = tokio::select! {
                biased;
                () = lead.lapsed() => return Lost::NotRenewed,
                renewed = self.renew(lead) => renewed,
            };
            match lost {
                Ok(()) => due = began.after(RENEW_EVERY),
                Err(None) => due = self.clock.now().after(AGAIN),
                Err(Some(lost)) => return lost,
            }
        }
    }

    /// Hands the lease back, if it is ours. Whoever calls this writes nothing any more.
    pub async fn release(&mut self) {
        self.candidate.step_down();
        if timeout(RELEASE_WITHIN, self.give_back()).await.is_err() {
            tracing::warn!(lease = %self.place, "the lease could not be released in time; it expires");
        }
    }

    async fn give_back(&mut self) {
        loop {
            if self.in_doubt {
                self.look().await;
            }
            if self.candidate.holder() != Some(self.candidate.me()) {
                return;
            }
            let Some(object) = self.object.clone() else { return };
            match self.write(object::released(object, self.clock.wall())).await {
                Written::Yes => return tracing::info!(lease = %self.place, "the lease is released"),
                Written::Changed => self.in_doubt = true,
                Written::Failed => sleep(AGAIN).await,
            }
        }
    }

    async fn take(&mut self) {
        match self.write_held().await {
            Written::Yes => {}
            Written::Changed => self.look().await,
            Written::Failed => {
                sleep(AGAIN).await;
                self.look().await;
            }
        }
    }

    /// An error without a loss is tried again.
    async fn renew(&mut self, lead: &Lead) -> Result<(), Option<Lost>> {
        match self.write_held().await {
            Written::Yes => {}
            // Somebody touched the lease: if it is ours still, it is renewed as it is now.
            Written::Changed => {
                self.look().await;
                if self.candidate.leads_until(self.clock.now()).is_none() {
                    return Err(Some(self.lost()));
                }
                if !matches!(self.write_held().await, Written::Yes) {
                    return Err(None);
                }
            }
            Written::Failed => return Err(None),
        }
        let fenced = self.candidate.leads_until(self.clock.now()).ok_or(Some(Lost::NotRenewed))?;
        if lead.extend(fenced) { Ok(()) } else { Err(Some(Lost::NotRenewed)) }
    }

    fn lost(&self) -> Lost {
        match (&self.object, self.candidate.holder()) {
            (None, _) => Lost::Deleted,
            (Some(_), None) => Lost::Emptied,
            (Some(_), Some(holder)) if holder == self.candidate.me() => Lost::NotRenewed,
            (Some(_), Some(holder)) => Lost::Taken(holder.into()),
        }
    }

    async fn write_held(&mut self) -> Written {
        let now = self.clock.wall();
        let me = self.candidate.me();
        let object = match &self.object {
            Some(object) => object::held(object.clone(), me, now),
            None => object::new(&self.place.name, me, now),
        };
        self.write(object).await
    }

    /// Under the `resourceVersion` that was seen; where there was none, it must not be there.
    async fn write(&mut self, object: Object) -> Written {
        let began = self.clock.now();
        self.in_doubt = true;
        let params = PostParams::default();
        let replaces = object.resource_version().is_some();
        let answer = timeout(ANSWER_WITHIN, async {
            if replaces {
                self.leases.replace(&self.place.name, &params, &object).await
            } else {
                self.leases.create(&params, &object).await
            }
        });
        match answer.await {
            Ok(Ok(stored)) => {
                self.in_doubt = false;
                self.works();
                if object::read(&stored).holder.is_some() {
                    self.candidate.wrote(object::read(&stored), began, self.clock.now());
                }
                self.object = Some(stored);
                Written::Yes
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || (replaces && status.code == 404) => {
                Written::Changed
            }
            Ok(Err(error)) => self.fails("written", &chain(&error)),
            Err(_) => self.fails("written", "no answer in time"),
        }
    }

    /// A read past every cache, after which the lease is as it is.
    async fn look(&mut self) {
        let failed = match timeout(ANSWER_WITHIN, self.leases.get_opt(&self.place.name)).await {
            Ok(Ok(object)) => {
                self.in_doubt = false;
                self.works();
                return self.saw(object);
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer in time".into(),
        };
        self.fails("read", &failed);
        sleep(AGAIN).await;
    }

    fn saw(&mut self, object: Option<Object>) {
        self.candidate.see(object.as_ref().map(object::read), self.clock.now());
        self.object = object;
    }

    /// Until then, or until there is something new.
    async fn listen(&mut self, until: Moment) {
        let until = self.clock.instant(until);
        tokio::select! {
            () = sleep_until(until) => {}
            news = timeout(SILENCE, self.news()) => if let Ok(Ok(object)) = news {
                self.saw(object);
            } else {
                self.news = None;
                self.look().await;
            }
        }
    }

    /// Until the next renewal is due, or the watch tells of a lease that is not ours: then it is due at once.
    async fn until_due(&mut self, due: Moment) {
        let due = sleep_until(self.clock.instant(due));
        tokio::pin!(due);
        loop {
            let news = tokio::select! {
                () = &mut due => return,
                news = self.news() => news,
            };
            // What the watch tells may be older than our last write: only a hint. One that fails resumes by itself.
            let holder = news.map(|object| object.and_then(|object| object::read(&object).holder));
            if holder.is_ok_and(|holder| holder.as_deref() != Some(self.candidate.me())) {
                return;
            }
        }
    }

    async fn news(&mut self) -> Result<Option<Object>, watcher::Error> {
        let news = self
            .news
            .get_or_insert_with(|| watch_object(self.leases.clone(), &self.place.name).default_backoff().boxed());
        match news.try_next().await {
            Ok(Some(object)) => Ok(object),
            Ok(None) => std::future::pending().await,
            Err(error) => Err(error),
        }
    }

    fn tell_who_leads(&mut self) {
        let holder = self.candidate.holder().unwrap_or("nobody").to_owned();
        if self.told.as_ref() != Some(&holder) {
            tracing::info!(lease = %self.place, holder, "another process leads; this one stands by");
            self.told = Some(holder);
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(lease = %self.place, "the lease can be read and written again");
        }
    }

    fn fails(&mut self, what: &str, error: &str) -> Written {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(lease = %self.place, error, "the lease could not be {what}; it is tried again");
        }
        Written::Failed
    }
}
