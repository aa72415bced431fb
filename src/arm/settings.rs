//! Where ARM is, and how long to wait for it.
use super::versions::Versions;
use lanyard_domain::quota::Share;
use std::net::IpAddr;
use std::time::Duration;
use url::{Host, Url};

/// The api-version of `Microsoft.Compute`: the first whose every answer carries an `ETag`.
pub const API_VERSION: &str = "2024-07-01";

/// Long enough for a handshake across the world. A PATCH may have to wait for one after it was let go (5 s at most): both
/// together stay within the age of an intent (10 s), and within what the lease leaves before another may lead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// ARM itself gives up on a provider after a minute and answers 504: waiting longer tells nothing more.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How to reach one ARM endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Scheme, host and port; the only place that a token goes to.
    pub endpoint: Url,
    /// The resource that tokens are asked for, without `/.default`.
    pub audience: String,
    pub versions: Versions,
    pub user_agent: String,
    pub connect_timeout: Duration,
    /// For the whole of a request, its answer's body included.
    pub request_timeout: Duration,
    /// What is ours of each of ARM's buckets.
    pub share: Share,
}

/// Why an endpoint cannot be used, and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the ARM endpoint '{0}' is no URL: write it as https://management.azure.com")]
    NotAUrl(String),
    #[error("the ARM endpoint has the scheme '{0}': only https is spoken, and http to the local host alone")]
    Scheme(String),
    #[error("the ARM endpoint '{0}' is plain http, and not on this host: tokens travel over TLS, so write https://")]
    PlainHttp(String),
    #[error("the ARM endpoint must not hold a user name or password")]
    UserInfo,
    #[error("the ARM endpoint is scheme, host and port only: leave '{0}' out")]
    Extra(String),
    #[error("the ARM audience is empty: leave it out, or write it as https://management.azure.com")]
    NoAudience,
    #[error("the HTTP client cannot be made: install the platform's CA certificates, or name a file in SSL_CERT_FILE")]
    Client(#[source] reqwest::Error),
}

impl Settings {
    /// The settings for an endpoint; `audience` is the endpoint itself unless given.
    ///
    /// # Errors
    ///
    /// When the endpoint is no URL, or one that no token may be sent to.
    pub fn new(endpoint: &str, audience: Option<&str>) -> Result<Self, SettingsError> {
        let url = Url::parse(endpoint.trim()).map_err(|_| SettingsError::NotAUrl(endpoint.into()))?;
        let audience = audience.unwrap_or(endpoint).trim().trim_end_matches('/').to_owned();
        let settings = Self {
            endpoint: url,
            audience,
            versions: Versions::default(),
            user_agent: concat!("lanyard/", env!("CARGO_PKG_VERSION")).into(),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            share: Share::default(),
        };
        settings.validate()?;
        Ok(settings)
    }

    /// Whether a token may be sent to this endpoint.
    ///
    /// # Errors
    ///
    /// When the endpoint is not TLS and not this host, or says more than scheme, host and port.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let url = &self.endpoint;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(url) => {}
            "http" => return Err(SettingsError::PlainHttp(url.host_str().unwrap_or_default().into())),
            other => return Err(SettingsError::Scheme(other.into())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SettingsError::UserInfo);
        }
        if !matches!(url.path(), "" | "/") {
            return Err(SettingsError::Extra(url.path().into()));
        }
        if let Some(extra) = url.query().or(url.fragment()) {
            return Err(SettingsError::Extra(extra.into()));
        }
        if self.audience.is_empty() { Err(SettingsError::NoAudience) } else { Ok(()) }
    }

    /// Plain http, which `validate` allows on this host alone.
    pub(super) fn is_plain(&self) -> bool {
        self.endpoint.scheme() == "http"
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("https://management.azure.com")]
    #[case("https://management.azure.com/")]
    #[case("https://management.usgovcloudapi.net:8443")]
    #[case("http://127.0.0.1:8080")]
    #[case("http://127.9.9.9")]
    #[case("http://[::1]:8080/")]
    #[case("http://LOCALHOST:8080")]
    fn a_safe_endpoint_is_taken(#[case] endpoint: &str) {
        Settings::new(endpoint, None).expect("safe");
    }

    #[rstest]
    #[case::plain("http://management.azure.com", "plain http")]
    #[case::lookalike("http://localhost.example.com", "plain http")]
    #[case::private("http://10.0.0.1", "plain http")]
    #[case::mapped("http://[::ffff:10.0.0.1]", "plain http")]
    #[case::scheme("ftp://management.azure.com", "scheme 'ftp'")]
    #[case::no_url("management.azure.com", "no URL")]
    #[case::user("https://u:p@management.azure.com", "user name")]
    #[case::path("https://management.azure.com/x", "leave '/x' out")]
    #[case::query("https://management.azure.com/?a=b", "leave 'a=b' out")]
    #[case::fragment("https://management.azure.com/#a", "leave 'a' out")]
    fn an_unsafe_endpoint_is_refused_by_name(#[case] endpoint: &str, #[case] why: &str) {
        let error = Settings::new(endpoint, None).expect_err("refused").to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn the_audience_is_the_endpoint_unless_given() {
        let audience = |given| Settings::new("https://arm.example/", given).expect("valid").audience;
        assert_eq!(audience(None), "https://arm.example");
        assert_eq!(audience(Some("https://management.core.windows.net/")), "https://management.core.windows.net");
    }
}
