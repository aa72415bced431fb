//! The HTTP clients: who trusts whom, and what is never done twice.
use std::time::Duration;

/// Below the idle timeouts of the usual load balancers: a request is not sent on a connection that the other side
/// is about to close, which would leave a PATCH without a known outcome.
const IDLE: Duration = Duration::from_secs(30);

/// Whether `HTTPS_PROXY` and its kin apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxies {
    /// As the environment says. Only for https, where a proxy sees a tunnel and never a token.
    FromEnvironment,
    /// None: plain http to this host or to the instance metadata service stays on this machine.
    Never,
}

pub(crate) struct Limits {
    pub connect: Duration,
    pub whole: Duration,
}

/// A client that follows no redirect, sends nothing twice, and trusts what the platform trusts.
///
/// - Trust: the platform's store, or the file that `SSL_CERT_FILE` names in its place. It is read here, once.
/// - Redirects: none, since a token goes to one host only.
/// - Retries: reqwest's own are off. What remains is hyper's second try of a request that a dead pooled connection
///   handed back before its first byte was written; nothing can arrive twice by that.
/// - HTTP/1.1: a broken connection then leaves one request without a known outcome, not all that share it.
pub(crate) fn client(proxies: Proxies, limits: &Limits) -> Result<reqwest::Client, reqwest::Error> {
    // Err when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .connect_timeout(limits.connect)
        .timeout(limits.whole)
        .pool_idle_timeout(IDLE);
    match proxies {
        Proxies::FromEnvironment => builder.https_only(true).build(),
        // Speaks no TLS, and so must not fail where no certificates are installed.
        Proxies::Never => builder.no_proxy().tls_certs_only([]).build(),
    }
}
