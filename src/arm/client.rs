//! The client: one method for each thing that the controller asks of ARM.
use super::errors::ArmError;
use super::exchange::Observer;
use super::http::{self, Limits, Proxies};
use super::limiter::{Limiter, Taken};
use super::operation::{Operation, Progress, progress};
use super::permits::Permits;
use super::reservation::{Owed, Reservation};
use super::send::{Answer, Call, no_token};
use super::settings::{Settings, SettingsError};
use super::token::{TokenStanding, Tokens};
use super::wire;
use azure_core::credentials::TokenCredential;
use lanyard_domain::pace::Urgency;
use lanyard_domain::quota::{Bucket, Key};
use lanyard_domain::{ETag, IdentityId, Live, Principal, TargetId};
use reqwest::Method;
use reqwest::header::HeaderValue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use url::Url;

/// An `ETag` of ARM's own form that no machine reaches.
const NEVER_MATCHES: &str = "\"9223372036854775807\"";

/// So many requests are under way at once. ARM refills 25 reads a second and answers within one or two, so that more
/// would only wait there; each may hold an answer of some MiB.
const IN_FLIGHT: usize = 64;

/// A PATCH that could not leave by then is given up: it must follow the record of its intent closely.
pub const PATCH_LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Whether an endpoint refuses a PATCH whose If-Match does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    Honoured,
    Ignored,
}

/// What ARM says of a user-assigned identity, asked for by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    There(Principal),
    /// Not there, in ARM's own error shape.
    Missing,
    /// We may not look at it: 403, or a 404 that does not say what is missing.
    Hidden,
}

/// ARM took a PATCH.
#[derive(Debug)]
pub struct Accepted {
    /// The machine as the answer shows it, if it shows it.
    pub live: Option<Live>,
    pub etag: Option<ETag>,
    /// What is still to be followed; none when the change is done.
    pub operation: Option<Operation>,
    pub correlation_id: Option<String>,
    /// To be kept until the end was read.
    pub owed: Owed,
}

/// A conversation with one ARM endpoint. Clones share connections, tokens and limits.
#[derive(Clone)]
pub struct Arm {
    pub(super) inner: Arc<Inner>,
    /// Who waits for what is asked.
    pub(super) urgency: Urgency,
}

pub(super) struct Inner {
    pub settings: Settings,
    pub http: reqwest::Client,
    pub tokens: Tokens,
    pub limiter: Arc<Limiter>,
    pub permits: Permits,
    pub observer: Box<dyn Observer>,
    /// What the endpoint said that it supports.
    pub compute: OnceCell<String>,
    /// Whether the last machine that showed identities listed them.
    pub lists_ids: AtomicBool,
}

impl fmt::Debug for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arm").field("endpoint", &self.inner.settings.endpoint.as_str()).finish_non_exhaustive()
    }
}

impl Arm {
    /// A client of the endpoint in `settings`.
    ///
    /// # Errors
    ///
    /// When no token may be sent to that endpoint, or the platform's certificates cannot be read.
    pub fn new(
        settings: Settings,
        credential: Arc<dyn TokenCredential>,
        observer: impl Observer,
    ) -> Result<Self, SettingsError> {
        settings.validate()?;
        let proxies = if settings.is_plain() { Proxies::Never } else { Proxies::FromEnvironment };
        let limits = Limits { connect: settings.connect_timeout, whole: settings.request_timeout };
        let inner = Inner {
            http: http::client(proxies, &limits).map_err(SettingsError::Client)?,
            tokens: Tokens::new(credential, &settings.audience),
            limiter: Limiter::new(settings.share),
            permits: Permits::new(IN_FLIGHT),
            observer: Box::new(observer),
            compute: OnceCell::new(),
            lists_ids: AtomicBool::new(false),
            settings,
        };
        Ok(Self { inner: Arc::new(inner), urgency: Urgency::Change })
    }

    /// The same client for callers of another urgency: the less urgent leave more of each budget to the others. Without
    /// it everything is as urgent as a person's change, and so are the polls that follow one.
    #[must_use]
    pub fn at(&self, urgency: Urgency) -> Self {
        Self { inner: self.inner.clone(), urgency }
    }

    /// What is left for a person's change, by kind of bucket: in the emptiest of each kind.
    #[must_use]
    pub fn remaining(&self) -> Vec<(Bucket, f64)> {
        self.inner.limiter.lowest()
    }

    /// The machine as it is now.
    ///
    /// # Errors
    ///
    /// Whatever ARM says instead, and an answer that cannot be read or is about another machine.
    pub async fn machine(&self, target: &TargetId) -> Result<Live, ArmError> {
        let keys = Key::get(target);
        let answer = self.send(&Call::get(target.as_str(), self.machine_url(target).await?, keys), None).await?;
        self.live(target, &answer)
    }

    /// Changes the machine that was reserved, once: a PATCH is never repeated here, whatever becomes of it.
    ///
    /// # Errors
    ///
    /// [`ArmError::refused`] says whether it certainly did not happen.
    pub async fn patch_identity(
        &self,
        reservation: Reservation,
        body: &str,
        if_match: Option<&ETag>,
        client_request_id: &str,
    ) -> Result<Accepted, ArmError> {
        let Reservation { target, taken, owed } = reservation;
        let target = &target;
        let condition = if_match.map(|etag| condition(target, etag)).transpose()?;
        let answer = self.patch(target, body, condition, client_request_id, Some(taken)).await?;
        let live = if answer.body.is_empty() { None } else { Some(self.live(target, &answer)?) };
        let etag = live.as_ref().and_then(|live| live.etag.clone()).or_else(|| answer.etag.clone().map(ETag));
        let operation = answer.operation.as_deref().map(|url| Operation::new(target, url, answer.retry_after));
        Ok(Accepted { live, etag, operation, correlation_id: answer.correlation_id, owed })
    }

    /// Asks whether a PATCH under a false If-Match is refused, by one that changes nothing.
    ///
    /// # Errors
    ///
    /// When the endpoint answers neither with a success nor with 412.
    pub async fn probe(&self, target: &TargetId) -> Result<Precondition, ArmError> {
        let condition = HeaderValue::from_static(NEVER_MATCHES);
        let id = uuid::Uuid::new_v4().to_string();
        match self.patch(target, "{}", Some(condition), &id, None).await {
            Ok(_) => Ok(Precondition::Ignored),
            Err(ArmError::PreconditionFailed { .. }) => Ok(Precondition::Honoured),
            Err(error) => Err(error),
        }
    }

    /// How far an operation is.
    ///
    /// # Errors
    ///
    /// When the question fails, not when the operation does. [`ArmError::ForeignHost`] when its URL is not the
    /// endpoint's: then nothing is sent.
    pub async fn poll(&self, operation: &Operation) -> Result<Progress, ArmError> {
        let target = &operation.target;
        let url = operation.url(&self.inner.settings.endpoint)?;
        let keys = Key::poll(target.subscription(), url.path());
        match self.send(&Call::get(target.as_str(), url, keys), None).await {
            Ok(answer) => progress(target, &answer.body, answer.retry_after)
                .map_err(|why| ArmError::unreadable(target.as_str(), why)),
            // Whatever is missing, it is not there to be asked any more.
            Err(error) if error.told().is_some_and(|told| told.status == Some(404)) => Ok(Progress::Lost),
            Err(error) => Err(error),
        }
    }

    /// Who manages the target's resource group, if anyone does.
    ///
    /// # Errors
    ///
    /// Whatever ARM says instead of the group.
    pub async fn group_managed_by(&self, target: &TargetId) -> Result<Option<String>, ArmError> {
        let segments = ["subscriptions", target.subscription(), "resourceGroups", target.group()];
        let url = self.url(&segments, self.inner.settings.versions.groups);
        let answer = self.send(&Call::get(target.as_str(), url, Key::reads(target.subscription())), None).await?;
        wire::managed_by(&answer.body).map_err(|why| ArmError::unreadable(target.as_str(), why))
    }

    /// Whether a user-assigned identity exists, and which principal it has now.
    ///
    /// # Errors
    ///
    /// When the question fails: neither "missing" nor "hidden" follows from it.
    pub async fn identity(&self, id: &IdentityId) -> Result<Asked, ArmError> {
        // What ARM lists on a machine may have any form: only a path of the known one is asked for.
        let Ok(known) = id.as_str().parse::<IdentityId>() else { return Ok(Asked::Hidden) };
        let segments: Vec<&str> = known.as_str().split('/').skip(1).collect();
        let subscription = segments.get(1).copied().unwrap_or_default();
        let url = self.url(&segments, self.inner.settings.versions.identities);
        match self.send(&Call::get(id.as_str(), url, Key::reads(subscription)), None).await {
            Ok(answer) => wire::identity_resource(&known, &answer.body)
                .map(Asked::There)
                .map_err(|why| ArmError::unreadable(id.as_str(), why)),
            Err(ArmError::NotFound { .. } | ArmError::IdentityNotFound { .. }) => Ok(Asked::Missing),
            Err(ArmError::NotShown { .. } | ArmError::SubscriptionNotFound { .. } | ArmError::Forbidden { .. }) => {
                Ok(Asked::Hidden)
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches a new token if the one in use is this old: ARM learns of some grants by a new token only.
    ///
    /// # Errors
    ///
    /// When no token can be had.
    pub async fn renew_token(&self, older_than: Duration) -> Result<(), ArmError> {
        self.inner.tokens.renew_if_older(older_than).await.map_err(no_token)
    }

    /// Fetches a token, if there is none that is good.
    ///
    /// # Errors
    ///
    /// When no token can be had.
    pub async fn sign_in(&self) -> Result<(), ArmError> {
        self.inner.tokens.bearer().await.map(|_| ()).map_err(no_token)
    }

    /// Whether tokens can be had, as far as is known.
    #[must_use]
    pub fn token_standing(&self) -> TokenStanding {
        self.inner.tokens.standing()
    }

    async fn patch(
        &self,
        target: &TargetId,
        body: &str,
        condition: Option<HeaderValue>,
        client_request_id: &str,
        reserved: Option<Taken>,
    ) -> Result<Answer, ArmError> {
        let call = Call {
            method: Method::PATCH,
            url: self.machine_url(target).await?,
            asked: target.as_str(),
            keys: Key::update(target),
            body: Some(body),
            condition,
            request_id: client_request_id.into(),
            leaves_within: Some(PATCH_LEAVES_WITHIN),
        };
        self.send(&call, reserved).await
    }

    fn live(&self, target: &TargetId, answer: &Answer) -> Result<Live, ArmError> {
        let mut live = wire::machine(target, &answer.body, answer.etag.as_deref())
            .map_err(|why| ArmError::unreadable(target.as_str(), why))?;
        live.lists_ids = self.lists_ids(&live);
        Ok(live)
    }

    /// Whether a write would replace the whole list: a machine that shows no identity tells nothing of the form, and
    /// what others showed last counts for it.
    fn lists_ids(&self, live: &Live) -> bool {
        let seen = &self.inner.lists_ids;
        if live.lists_ids || !live.user.is_empty() {
            seen.store(live.lists_ids, Ordering::Relaxed);
        }
        live.lists_ids || self.asks_for_lists() || (live.user.is_empty() && seen.load(Ordering::Relaxed))
    }

    async fn machine_url(&self, target: &TargetId) -> Result<Url, ArmError> {
        let (kind, name) = (target.kind().arm_type(), target.name());
        let group = ["subscriptions", target.subscription(), "resourceGroups", target.group()];
        let machine = ["providers", "Microsoft.Compute", kind, name];
        Ok(self.url(&[group, machine].concat(), self.compute_version(target.subscription()).await?))
    }

    /// Each segment is encoded, so that no name can reach beyond its own.
    pub(super) fn url(&self, segments: &[&str], api_version: &str) -> Url {
        let mut url = self.inner.settings.endpoint.clone();
        // Err for an URL that has no path, which `validate` refuses.
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        url.query_pairs_mut().append_pair("api-version", api_version);
        url
    }
}

/// An If-Match's value: as ARM wrote the `ETag`, in quotes where it left them out.
fn condition(target: &TargetId, etag: &ETag) -> Result<HeaderValue, ArmError> {
    let written = etag.0.trim();
    let quoted = written.starts_with('"') || written.starts_with("W/\"");
    let value = if quoted { written.to_owned() } else { format!("\"{written}\"") };
    // An ETag that no header can hold came with an answer that cannot be right.
    HeaderValue::try_from(value).map_err(|_| ArmError::unreadable(target.as_str(), "its ETag is no header value"))
}

#[cfg(test)]
mod tests;
