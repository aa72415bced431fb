//! One request and its answer: what goes out, how much may come back, and what it means when it is no success.
use super::classify::{Failure, Pause};
use super::client::Arm;
use super::errors::ArmError;
use super::exchange::Exchange;
use super::limiter::Taken;
use super::operation::place;
use super::permits::Permit;
use super::remaining::remaining;
use super::reservation::throttled;
use super::token::{Bearer, Replacement, TokenError, TokenProblem};
use super::told::{ErrorBody, presentable};
use crate::clock::milliseconds;
use crate::health::{in_line, may_take};
use crate::telemetry::traces::step;
use lanyard_domain::quota::{Bucket, Key, Left};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Method, Response};
use std::time::{Duration, Instant};
use tracing::{Instrument as _, Span, field};
use url::Url;

/// A machine with 150 identities takes some 60 KiB, a scale set's model rarely more than a few hundred.
const LONGEST_BODY: usize = 8 * 1024 * 1024;

pub(super) struct Call<'a> {
    pub method: Method,
    pub url: Url,
    /// The id that errors speak of.
    pub asked: &'a str,
    /// What it draws on: ARM's own bucket first, the narrowest last.
    pub keys: Vec<Key>,
    pub body: Option<&'a str>,
    pub condition: Option<HeaderValue>,
    pub request_id: String,
    pub leaves_within: Option<Duration>,
}

impl<'a> Call<'a> {
    pub fn get(asked: &'a str, url: Url, keys: Vec<Key>) -> Self {
        Self {
            method: Method::GET,
            url,
            asked,
            keys,
            body: None,
            condition: None,
            request_id: uuid::Uuid::new_v4().to_string(),
            leaves_within: None,
        }
    }

    fn bucket(&self) -> Bucket {
        self.keys.last().map_or(Bucket::SubscriptionReads, |key| key.bucket)
    }

    /// The bucket that a 429 is about: ARM's own where the code says so, the one that the provider's policy names, else
    /// the narrowest.
    fn refused_by(&self, body: &ErrorBody) -> Option<&Key> {
        if body.code.eq_ignore_ascii_case("SubscriptionRequestsThrottled") {
            return self.keys.first();
        }
        let of_provider = |key: &&Key| key.bucket.is_shared() && !key.bucket.is_arms_own();
        let named = body.policies().find_map(|policy| match Bucket::of_policy(policy) {
            Some(bucket) => self.keys.iter().find(|key| key.bucket == bucket),
            // One that we do not know, of the whole subscription by its name.
            None if policy.ends_with("SubscriptionMaximum") => self.keys.iter().find(of_provider),
            None => None,
        });
        named.or(self.keys.last())
    }

    fn method_name(&self) -> &'static str {
        match self.method {
            Method::PATCH => "PATCH",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "GET",
        }
    }

    /// Its part in a trace. Without the URL, since an operation's is signed.
    fn span(&self, endpoint: &Url, attempt: u32) -> Span {
        step!(
            "ARM",
            otel.name = format!("ARM {}", self.method_name()),
            otel.kind = "client",
            http.request.method = self.method_name(),
            server.address = endpoint.host_str().unwrap_or_default(),
            lanyard.resource = self.asked,
            lanyard.bucket = self.bucket().as_str(),
            lanyard.attempt = attempt,
            lanyard.client_request_id = self.request_id,
            lanyard.waited_ms = field::Empty,
            http.response.status_code = field::Empty,
            lanyard.correlation_id = field::Empty,
            otel.status_code = field::Empty,
            error.type = field::Empty,
        )
    }

    fn headers(&self, bearer: &Bearer, user_agent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer.header());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("x-ms-return-client-request-id", HeaderValue::from_static("true"));
        let texts = [("x-ms-client-request-id", self.request_id.as_str()), (USER_AGENT.as_str(), user_agent)];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        if let Some(condition) = &self.condition {
            headers.insert(IF_MATCH, condition.clone());
        }
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers
    }
}

pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub etag: Option<String>,
    pub operation: Option<String>,
    pub retry_after: Option<Duration>,
    pub correlation_id: Option<String>,
    location: Option<String>,
    remaining: Vec<(Bucket, Left)>,
}

impl Answer {
    fn of(response: &Response, call: &Call<'_>) -> Self {
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        Self {
            status: response.status().as_u16(),
            body: Vec::new(),
            etag: header(ETAG.as_str()).filter(|etag| !etag.is_empty()),
            operation: header("azure-asyncoperation").filter(|url| !url.is_empty()),
            retry_after: header(RETRY_AFTER.as_str()).as_deref().and_then(seconds),
            correlation_id: header("x-ms-correlation-request-id").or_else(|| header("x-ms-request-id")),
            location: header(LOCATION.as_str()),
            remaining: remaining(response.headers(), &call.keys),
        }
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Seconds, as ARM writes them. The form with a date is ignored: it would need both clocks to agree.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A token, and the right to send.
struct Ready<'a> {
    bearer: Bearer,
    taken: Taken,
    _permit: Permit<'a>,
}

impl Arm {
    /// Sends, and reads the answer; everything but a 2xx is an error.
    ///
    /// After a 401 a GET is asked once more with a new token. A write is not: its record must be written anew first.
    /// What was reserved before is spent on the first of them.
    pub(super) async fn send(&self, call: &Call<'_>, reserved: Option<Taken>) -> Result<Answer, ArmError> {
        let (answer, bearer) = self.attempt(call, reserved, 1).await?;
        let answer = if answer.status == 401 { self.with_new_token(call, &bearer, answer).await? } else { answer };
        if answer.is_success() { Ok(answer) } else { Err(self.failure(call, answer)) }
    }

    async fn with_new_token(&self, call: &Call<'_>, refused: &Bearer, answer: Answer) -> Result<Answer, ArmError> {
        match self.inner.tokens.replace(refused).await.map_err(no_token)? {
            Replacement::TooSoon => Ok(answer),
            Replacement::New if call.method != Method::GET => {
                let told = ErrorBody::read(&answer.body).told(call.asked, Some(401), answer.correlation_id);
                Err(ArmError::TokenReplaced { told: Box::new(told) })
            }
            Replacement::New => Ok(self.attempt(call, None, 2).await?.0),
        }
    }

    /// One request, with the wait before it. Tells the answer, and the token that it was asked with.
    async fn attempt(
        &self,
        call: &Call<'_>,
        reserved: Option<Taken>,
        attempt: u32,
    ) -> Result<(Answer, Bearer), ArmError> {
        let span = call.span(&self.inner.settings.endpoint, attempt);
        let began = Instant::now();
        let asked = async {
            let ready = self.ready(call, reserved).await?;
            span.record("lanyard.waited_ms", milliseconds(began.elapsed()));
            let bearer = ready.bearer.clone();
            Ok((self.exchange(call, ready, attempt).await?, bearer))
        };
        let result = asked.instrument(span.clone()).await;
        tell(&span, &result);
        result
    }

    /// Waits for what a request needs, within the time that it may take to leave.
    async fn ready(&self, call: &Call<'_>, reserved: Option<Taken>) -> Result<Ready<'_>, ArmError> {
        let getting_ready = self.get_ready(call, reserved);
        match call.leaves_within {
            None => getting_ready.await,
            Some(after) => tokio::time::timeout(after, getting_ready).await.unwrap_or(Err(ArmError::NotSent { after })),
        }
    }

    async fn get_ready(&self, call: &Call<'_>, reserved: Option<Taken>) -> Result<Ready<'_>, ArmError> {
        let bearer = self.inner.tokens.bearer().await.map_err(no_token)?;
        let taken = match reserved {
            Some(taken) => taken,
            None => self.inner.limiter.spend(&call.keys, self.urgency).await.map_err(throttled)?,
        };
        // None only if the semaphore were closed, which it never is.
        let subscription = call.keys.first().map_or("", lanyard_domain::quota::Key::of);
        let permit = in_line(self.inner.permits.acquire(subscription)).await;
        Ok(Ready { bearer, taken, _permit: permit })
    }

    async fn exchange(&self, call: &Call<'_>, ready: Ready<'_>, attempt: u32) -> Result<Answer, ArmError> {
        let Ready { bearer, mut taken, _permit } = ready;
        may_take(self.inner.settings.request_timeout);
        let began = Instant::now();
        taken.leaves();
        let result = self.request(call, &bearer).await;
        match &result {
            Ok(answer) => taken.answered(&answer.remaining),
            Err(ArmError::Unreachable(_)) => taken.never_left(),
            Err(_) => drop(taken),
        }
        let status = result.as_ref().ok().map(|answer| answer.status);
        let exchange =
            Exchange { method: call.method_name(), bucket: call.bucket(), status, duration: began.elapsed() };
        self.inner.observer.exchanged(&exchange);
        tracing::debug!(
            method = exchange.method,
            resource = call.asked,
            status,
            milliseconds = exchange.duration.as_millis(),
            attempt,
            client_request_id = call.request_id,
            correlation_id = result.as_ref().ok().and_then(|answer| answer.correlation_id.as_deref()),
            "asked ARM"
        );
        result
    }

    async fn request(&self, call: &Call<'_>, bearer: &Bearer) -> Result<Answer, ArmError> {
        let headers = call.headers(bearer, &self.inner.settings.user_agent);
        let request = self.inner.http.request(call.method.clone(), call.url.clone()).headers(headers);
        let request = match call.body {
            Some(body) => request.body(body.to_owned()),
            None => request,
        };
        let mut response = request.send().await.map_err(|error| broken(call.asked, error))?;
        let mut answer = Answer::of(&response, call);
        answer.body = body(&mut response).await.map_err(|why| ArmError::unreadable(call.asked, why))?;
        Ok(answer)
    }

    fn failure(&self, call: &Call<'_>, answer: Answer) -> ArmError {
        if (300..400).contains(&answer.status) {
            return redirected(call, &answer);
        }
        let retry_after = answer.retry_after;
        let failure = Failure {
            asked: call.asked,
            status: Some(answer.status),
            body: ErrorBody::read(&answer.body),
            correlation_id: answer.correlation_id,
        };
        failure.classify(|body| self.close(call, body, retry_after))
    }

    /// Closes the bucket that a 429 is about.
    fn close(&self, call: &Call<'_>, body: &ErrorBody, retry_after: Option<Duration>) -> Pause {
        let Some(key) = call.refused_by(body) else {
            return Pause { bucket: call.bucket(), pause: retry_after.unwrap_or_default() };
        };
        self.inner.observer.throttled(key.bucket);
        Pause { bucket: key.bucket, pause: self.inner.limiter.close(key, retry_after) }
    }
}

/// What came of a request, in a trace: neither the body nor what an error quotes of it.
fn tell(span: &Span, result: &Result<(Answer, Bearer), ArmError>) {
    if span.is_disabled() {
        return;
    }
    let failed = match result {
        Ok((answer, _)) => {
            span.record("http.response.status_code", answer.status);
            if let Some(id) = &answer.correlation_id {
                span.record("lanyard.correlation_id", id.as_str());
            }
            (!answer.is_success()).then(|| answer.status.to_string())
        }
        Err(error) => Some(error.reason().as_str().to_owned()),
    };
    if let Some(kind) = failed {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", kind);
    }
}

/// A redirect is not followed, wherever it leads.
fn redirected(call: &Call<'_>, answer: &Answer) -> ArmError {
    let url = answer.location.as_deref().and_then(|location| call.url.join(location).ok());
    ArmError::ForeignHost { host: url.map_or_else(|| "nowhere".into(), |url| presentable(&place(&url))) }
}

/// The whole body, if it is of a bearable length.
async fn body(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > LONGEST_BODY => {
                return Err(format!("it is longer than {LONGEST_BODY} bytes"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(format!("it broke off: {}", super::chain::chain(&error.without_url()))),
        }
    }
}

/// The URL is left out: an operation's is signed.
fn broken(asked: &str, error: reqwest::Error) -> ArmError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        ArmError::Unreachable(Box::new(error))
    } else {
        ArmError::Unanswered { asked: asked.into(), source: Box::new(error) }
    }
}

pub(super) fn no_token(error: TokenError) -> ArmError {
    match error.problem {
        TokenProblem::Unavailable => ArmError::CredentialUnavailable(error),
        TokenProblem::Rejected => ArmError::CredentialRejected(Box::new(error)),
        TokenProblem::WrongTenant => ArmError::WrongTenant(Box::new(error)),
    }
}
