//! Tokens: one at a time is fetched, early enough, and a failure is remembered for a moment.
use super::chain::chain;
use super::credential::Anew;
use super::told::presentable;
use crate::clock::wall;
use crate::health::may_take;
use crate::telemetry::traces::step;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, Context};
use reqwest::header::HeaderValue;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// A token is replaced when less than this is left of it. The library's own caches use the same five minutes, so
/// that a token asked for by then is a new one.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// A token just issued is good for so long, whatever the clock says of it, and no longer than ARM's are.
const SHORTEST_LIFE: Duration = Duration::from_secs(6 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a failure is answered from memory: thousands of targets must not ask the authority once each.
const REMEMBER_FAILURE: Duration = Duration::from_secs(5);

/// How soon after a token was replaced for a 401 the next 401 replaces it again. In between the credential itself is
/// held to be at fault.
const REPLACE_AGAIN: Duration = Duration::from_secs(10);

/// A fetch takes no longer, the library's own retries included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// What is wrong with the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenProblem {
    /// No answer, or none that speaks about the credential.
    Unavailable,
    Rejected,
    WrongTenant,
}

/// Why there is no token; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", hint.map(|hint| format!("{hint}: ")).unwrap_or_default())]
pub struct TokenError {
    pub problem: TokenProblem,
    hint: Option<&'static str>,
    message: String,
}

/// The value of an `Authorization` header; never printed.
#[derive(Clone, PartialEq)]
pub(super) struct Bearer(HeaderValue);

impl Bearer {
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

struct Held {
    bearer: Bearer,
    since: Instant,
    expires: Instant,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failure: Option<(Instant, TokenError)>,
    replaced: Option<Instant>,
    had_one: bool,
    failing: Option<Failing>,
}

/// Fetches that failed in a row.
struct Failing {
    since: Instant,
    times: u32,
    /// What was told of them: the same again is not told again.
    told: (TokenProblem, Option<&'static str>),
    /// In words that hold nothing of what the authority answered.
    why: &'static str,
}

/// Whether tokens can be had, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStanding {
    /// None was asked for yet.
    Untried,
    Good,
    Failing {
        /// There was one before.
        had_one: bool,
        since: Duration,
        why: String,
    },
}

impl State {
    /// Counts a failure. True: it is news.
    fn failed(&mut self, failure: &TokenError) -> bool {
        let now = Instant::now();
        self.failure = Some((now, failure.clone()));
        let what = (failure.problem, failure.hint);
        let why = failure.hint.unwrap_or(match failure.problem {
            TokenProblem::Unavailable => {
                "the authority does not answer, or the credential is not set up; the log says more"
            }
            TokenProblem::Rejected => "the credential is rejected; the log says more",
            TokenProblem::WrongTenant => "the tenant is wrong; the log says more",
        });
        if let Some(failing) = &mut self.failing {
            failing.times = failing.times.saturating_add(1);
            failing.why = why;
            return std::mem::replace(&mut failing.told, what) != what;
        }
        self.failing = Some(Failing { since: now, times: 1, told: what, why });
        true
    }
}

/// What became of a token that ARM refused.
pub(super) enum Replacement {
    New,
    /// It was replaced a moment ago already: the credential is at fault.
    TooSoon,
}

pub(super) struct Tokens {
    credential: Arc<dyn TokenCredential>,
    scope: String,
    state: Mutex<State>,
    /// Held by whoever fetches.
    flight: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub fn new(credential: Arc<dyn TokenCredential>, audience: &str) -> Self {
        Self {
            credential,
            scope: format!("{audience}/.default"),
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        }
    }

    /// A token that is good for some minutes more.
    pub async fn bearer(&self) -> Result<Bearer, TokenError> {
        let (good, usable) = self.held();
        if let Some(bearer) = good {
            return Ok(bearer);
        }
        may_take(FETCH_TIMEOUT * 2);
        let _flight = match usable {
            // Somebody fetches the next one: what is left of this one will do meanwhile.
            Some(bearer) => match self.flight.try_lock() {
                Ok(flight) => flight,
                Err(_) => return Ok(bearer),
            },
            None => self.flight.lock().await,
        };
        let (good, usable) = self.held();
        match (good, self.remembered_failure(), usable) {
            (Some(bearer), _, _) | (None, Some(_), Some(bearer)) => Ok(bearer),
            (None, Some(failure), None) => Err(failure),
            (None, None, usable) => self.fetch(false).await.or_else(|error| usable.ok_or(error)),
        }
    }

    /// Fetches a new token in place of one that ARM refused, unless that was just done.
    pub async fn replace(&self, refused: &Bearer) -> Result<Replacement, TokenError> {
        let _flight = self.flight.lock().await;
        if self.held().1.is_some_and(|bearer| bearer != *refused) {
            return Ok(Replacement::New);
        }
        let again = self.with(|state| state.replaced.is_some_and(|at| at.elapsed() < REPLACE_AGAIN));
        if again {
            return Ok(Replacement::TooSoon);
        }
        if let Some(failure) = self.remembered_failure() {
            return Err(failure);
        }
        // The old one is held meanwhile: where one subscription refuses it, others need not wait for the new one.
        self.fetch(true).await?;
        self.with(|state| state.replaced = Some(Instant::now()));
        Ok(Replacement::New)
    }

    /// Lets go of a token of this age: roles granted since then are told to ARM by a new one only.
    pub async fn renew_if_older(&self, age: Duration) -> Result<(), TokenError> {
        let _flight = self.flight.lock().await;
        let old = self.with(|state| state.held.as_ref().is_some_and(|held| held.since.elapsed() >= age));
        if old && self.remembered_failure().is_none() {
            self.fetch(true).await?;
        }
        Ok(())
    }

    /// The token held, if it is good for long, and if it is good at all.
    fn held(&self) -> (Option<Bearer>, Option<Bearer>) {
        self.with(|state| {
            let left = |held: &&Held| held.expires.saturating_duration_since(Instant::now());
            let good = state.held.as_ref().filter(|held| left(held) > EARLY).map(|held| held.bearer.clone());
            let usable = state.held.as_ref().filter(|held| !left(held).is_zero()).map(|held| held.bearer.clone());
            (good, usable)
        })
    }

    fn remembered_failure(&self) -> Option<TokenError> {
        self.with(|state| {
            let (at, failure) = state.failure.as_ref()?;
            (at.elapsed() < REMEMBER_FAILURE).then(|| failure.clone())
        })
    }

    async fn fetch(&self, anew: bool) -> Result<Bearer, TokenError> {
        may_take(FETCH_TIMEOUT);
        let mut context = Context::new();
        if anew {
            context.insert(Anew);
        }
        let options = TokenRequestOptions { method_options: ClientMethodOptions { context } };
        let scopes = [self.scope.as_str()];
        let asking = self.credential.get_token(&scopes, Some(options)).instrument(step!("token", otel.kind = "client"));
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, asking).await;
        let held = match fetched {
            Ok(Ok(token)) => held(&token),
            Ok(Err(error)) => Err(TokenError::of(&error)),
            Err(_) => Err(TokenError::unavailable(format!("no answer within {} s", FETCH_TIMEOUT.as_secs()))),
        };
        self.remember(held)
    }

    fn remember(&self, fetched: Result<Held, TokenError>) -> Result<Bearer, TokenError> {
        match fetched {
            Ok(held) => {
                let bearer = held.bearer.clone();
                let failed = self.with(|state| {
                    state.held = Some(held);
                    (state.failure, state.had_one) = (None, true);
                    state.failing.take()
                });
                if let Some(Failing { since, times, .. }) = failed {
                    let seconds = since.elapsed().as_secs();
                    tracing::info!(failures = times, seconds, "there is a token for ARM again");
                }
                Ok(bearer)
            }
            Err(failure) => {
                // One line: what it keeps from being done is told by the condition of every object.
                if self.with(|state| state.failed(&failure)) {
                    tracing::warn!(problem = ?failure.problem, "no token for ARM: {failure}");
                } else {
                    tracing::debug!(problem = ?failure.problem, "no token for ARM: {failure}");
                }
                Err(failure)
            }
        }
    }

    /// Whether tokens can be had, as far as is known.
    pub fn standing(&self) -> TokenStanding {
        self.with(|state| match &state.failing {
            Some(failing) => TokenStanding::Failing {
                had_one: state.had_one,
                since: failing.since.elapsed(),
                why: failing.why.into(),
            },
            None if state.had_one => TokenStanding::Good,
            None => TokenStanding::Untried,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // Every step leaves the state whole: a panic elsewhere while it was held leaves it usable.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn held(token: &AccessToken) -> Result<Held, TokenError> {
    let unusable = |_| TokenError::unavailable("the token cannot be sent in a header".into());
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.token.secret())).map_err(unusable)?;
    header.set_sensitive(true);
    let now = Instant::now();
    let seconds = token.expires_on.unix_timestamp().saturating_sub(wall().as_second());
    let left = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    if left.is_zero() {
        tracing::warn!("by this computer's clock the token for ARM had expired when it came: check the clock");
    }
    // It was issued just now: if the clock is wrong, ARM knows better, and refuses what is too old.
    Ok(Held { bearer: Bearer(header), since: now, expires: now + left.clamp(SHORTEST_LIFE, LONGEST_LIFE) })
}

impl TokenError {
    fn unavailable(message: String) -> Self {
        Self { problem: TokenProblem::Unavailable, hint: None, message }
    }

    fn of(error: &azure_core::Error) -> Self {
        let message = presentable(&without_link(&chain(error)));
        match aadsts(&message).or_else(|| error_code(error)) {
            Some(code) => {
                let (problem, hint) = meaning(&code);
                Self { problem, hint, message }
            }
            None if answered_no(error) => Self { problem: TokenProblem::Rejected, hint: None, message },
            None => Self::unavailable(message),
        }
    }
}

/// Without the library's pointer to its own guide, which stands between the reader and the cause.
fn without_link(text: &str) -> String {
    let Some((before, rest)) = text.split_once("\nTo troubleshoot, visit ") else {
        return text.to_owned();
    };
    let link_ends = rest.find([' ', '\n']).unwrap_or(rest.len());
    let (link, rest) = rest.split_at(link_ends);
    let colon = if link.ends_with(':') { ":" } else { "" };
    format!("{before}{colon}{rest}")
}

/// The digits of the first `AADSTS…`.
fn aadsts(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("AADSTS")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// The HTTP answer at the bottom of the chain.
fn http_kind(error: &azure_core::Error) -> Option<&ErrorKind> {
    let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = layer {
        let kind = this.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind);
        if let Some(kind @ ErrorKind::HttpResponse { .. }) = kind {
            return Some(kind);
        }
        layer = this.source();
    }
    None
}

fn error_code(error: &azure_core::Error) -> Option<String> {
    match http_kind(error)? {
        ErrorKind::HttpResponse { error_code, .. } => {
            let first = error_code.as_deref()?.split(',').next()?.trim().to_owned();
            first.chars().all(|c| c.is_ascii_digit()).then_some(first)
        }
        _ => None,
    }
}

fn answered_no(error: &azure_core::Error) -> bool {
    matches!(http_kind(error), Some(ErrorKind::HttpResponse { status, .. }) if matches!(u16::from(*status), 400 | 401))
}

/// What Entra ID's codes mean, in plain words.
fn meaning(code: &str) -> (TokenProblem, Option<&'static str>) {
    use TokenProblem::{Rejected, Unavailable, WrongTenant};
    match code {
        "90033" | "90006" | "90024" | "50196" | "50058" => (Unavailable, Some("Entra ID asks to try again")),
        "90002" | "900023" | "900021" => (WrongTenant, Some("there is no such tenant: check AZURE_TENANT_ID")),
        "700016" => {
            (WrongTenant, Some("the application is not in this tenant: check AZURE_CLIENT_ID and AZURE_TENANT_ID"))
        }
        "7000215" => (Rejected, Some("the client secret is wrong: check AZURE_CLIENT_SECRET (its value, not its id)")),
        "7000222" => (Rejected, Some("the client secret has expired: make a new one")),
        "700027" => (
            Rejected,
            Some(
                "the application does not know this certificate: upload it there, or check AZURE_CLIENT_CERTIFICATE_PATH",
            ),
        ),
        "7000112" => (Rejected, Some("the application is disabled in its tenant")),
        "70021" | "700211" | "700212" | "700213" => (
            Rejected,
            Some(
                "no federated credential of the application matches this service account: check issuer, subject and audience",
            ),
        ),
        "700024" => (
            Rejected,
            Some("the service account's token has expired: check that it is projected and the clock is right"),
        ),
        "500011" => (Rejected, Some("the tenant does not know the audience: check AZURE_RESOURCE_MANAGER_AUDIENCE")),
        _ => (Rejected, None),
    }
}

#[cfg(test)]
mod tests;
