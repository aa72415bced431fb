//! A long-running operation: where to ask about it, and what the answers mean.
use super::classify::{Failure, Pause};
use super::errors::ArmError;
use super::told::ErrorBody;
use super::wire;
use lanyard_domain::TargetId;
use lanyard_domain::quota::Bucket;
use serde_json::Value;
use std::fmt;
use std::time::Duration;
use url::Url;

/// An operation that a PATCH began. Its URL is signed: it is sent as it came, and never printed.
#[derive(Clone)]
pub struct Operation {
    pub(super) target: TargetId,
    /// As the header said it: absolute, or relative to the endpoint.
    pub(super) address: Box<str>,
    first_pause: Option<Duration>,
}

impl Operation {
    pub(super) fn new(target: &TargetId, address: &str, first_pause: Option<Duration>) -> Self {
        Self { target: target.clone(), address: address.into(), first_pause }
    }

    /// How long ARM asks to wait before the first poll, if it asks.
    #[must_use]
    pub fn first_pause(&self) -> Option<Duration> {
        self.first_pause
    }

    /// The URL to ask, if it is the configured endpoint's: a token goes nowhere else.
    pub(super) fn url(&self, endpoint: &Url) -> Result<Url, ArmError> {
        at_home(endpoint, &self.address)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.address.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        f.debug_struct("Operation").field("target", &self.target.as_str()).field("name", &name).finish_non_exhaustive()
    }
}

/// An address that ARM gave us, if it is the configured endpoint's: a token goes nowhere else.
pub(super) fn at_home(endpoint: &Url, address: &str) -> Result<Url, ArmError> {
    let foreign = |host: &str| ArmError::ForeignHost { host: host.into() };
    let url = endpoint.join(address).map_err(|_| foreign("no URL"))?;
    let same_place = url.scheme() == endpoint.scheme()
        && url.host() == endpoint.host()
        && url.port_or_known_default() == endpoint.port_or_known_default()
        && url.username().is_empty()
        && url.password().is_none();
    if same_place { Ok(url) } else { Err(foreign(&place(&url))) }
}

/// Scheme, host and port: what may be printed of an URL.
pub(super) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}

/// How far an operation is.
#[derive(Debug)]
pub enum Progress {
    Running {
        retry_after: Option<Duration>,
    },
    Succeeded,
    /// Failed or cancelled: an [`ArmError::OperationFailed`], whose class and reason are those of its cause.
    Failed(ArmError),
    /// ARM knows no such operation, or no more: the target itself has to tell.
    Lost,
}

/// What a poll's body says; an empty one says that it goes on.
pub(super) fn progress(target: &TargetId, body: &[u8], retry_after: Option<Duration>) -> Result<Progress, String> {
    if body.is_empty() {
        return Ok(Progress::Running { retry_after });
    }
    let document = wire::document(body)?;
    let status = wire::word(document.get("status")).ok_or("the operation has no status")?;
    Ok(match status.to_ascii_lowercase().as_str() {
        "succeeded" => Progress::Succeeded,
        "failed" | "canceled" | "cancelled" => Progress::Failed(failed(target, &status, document.get("error"))),
        _ => Progress::Running { retry_after },
    })
}

fn failed(target: &TargetId, status: &str, error: Option<&Value>) -> ArmError {
    let asked = target.as_str();
    let body = error.map(ErrorBody::of).unwrap_or_default();
    let failure = Failure { asked, status: None, body, correlation_id: None };
    // An operation's end has no HTTP status, so that no bucket is ever asked for.
    let cause = failure.classify(|_| Pause { bucket: Bucket::OperationGets, pause: Duration::ZERO });
    ArmError::OperationFailed { asked: asked.into(), status: super::told::presentable(status), cause: Box::new(cause) }
}

#[cfg(test)]
mod tests;
