//! What travels: calls in, replies out, and who handles them.
pub mod arm;
pub mod authorization;
pub mod errors;
pub mod gateway;
pub mod identities;
pub mod lists;
pub mod machines;
pub mod polls;
pub mod routes;
pub mod server;

use std::borrow::Cow;
use std::collections::BTreeMap;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    Arm,
    ArmHttp,
    Entra,
    Imds,
    /// A host that is not ARM.
    Stranger,
    Admin,
}

impl Listener {
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Arm | Self::Entra => "https",
            Self::ArmHttp | Self::Imds | Self::Stranger | Self::Admin => "http",
        }
    }
}

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct Call {
    pub listener: Listener,
    pub method: Method,
    /// Percent-decoded.
    pub path: String,
    /// As it came: an operation's URL must be polled verbatim.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.into_owned())
    }

    /// Scheme and host as the caller wrote them: links in answers lead back there.
    pub fn origin(&self) -> String {
        let host = self.header("host").unwrap_or("localhost");
        format!("{}://{host}", self.listener.scheme())
    }

    /// The headers that may be written down: a token's text may not.
    pub fn safe_headers(&self) -> BTreeMap<String, String> {
        self.headers
            .iter()
            .map(|(name, value)| {
                let text = String::from_utf8_lossy(value.as_bytes());
                let shown = match name.as_str() {
                    "authorization" => format!("{} ({} characters)", scheme_of(&text), text.len()),
                    _ => text.into_owned(),
                };
                (name.as_str().to_owned(), shown)
            })
            .collect()
    }
}

fn scheme_of(authorization: &str) -> &str {
    authorization.split_once(' ').map_or("unnamed scheme", |(scheme, _)| scheme)
}

/// An answer, or none at all.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer(Answer),
    /// The connection is closed without a word.
    Reset,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Bytes,
    /// Send half of the body, then close.
    pub cut: bool,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: Vec::new(),
            body: Bytes::new(),
            cut: false,
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        let mut answer = Self::empty(status).header("content-type", "application/json; charset=utf-8");
        answer.body = Bytes::from(body.to_string());
        answer
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn maybe_header(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.header(name, value.to_string()),
            None => self,
        }
    }

    pub fn find_header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
