//! `/loglevel`, on an address that only this machine reaches: in a cluster, whoever may forward a port to the pod.
use crate::api::duration;
use crate::telemetry::LogLevel;
use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Where it is served if nobody says otherwise.
const USUAL: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 8081));

/// A filter is a line.
const LONGEST: usize = 4096;

/// Nobody remembers to turn it down again.
const LASTS: Duration = Duration::from_secs(60 * 60);
const LASTS_AT_MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where `/loglevel` is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    At(SocketAddr),
    Off,
}

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address: SocketAddr = text.parse().map_err(|_| "write an address such as 127.0.0.1:8081, or off")?;
        // Whoever reaches it may change what is logged, and asks for no permission.
        if address.ip().is_loopback() {
            Ok(Self::At(address))
        } else {
            Err("it must be a loopback address, or off".into())
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

impl Admin {
    /// Listens there. Where nobody asked for it, and the usual address is taken, the process goes without.
    ///
    /// # Errors
    /// An address that was asked for and cannot be had.
    pub async fn listen(asked: Option<Self>) -> anyhow::Result<Option<TcpListener>> {
        match asked {
            Some(Self::Off) => Ok(None),
            Some(Self::At(address)) => {
                let listener = TcpListener::bind(address).await;
                Ok(Some(listener.with_context(|| format!("cannot listen on {address} (--admin-listen)"))?))
            }
            None => match TcpListener::bind(USUAL).await {
                Ok(listener) => Ok(Some(listener)),
                Err(error) => {
                    tracing::warn!(address = %USUAL, %error, "the address is taken: /loglevel is not served (--admin-listen)");
                    Ok(None)
                }
            },
        }
    }
}

/// Answers until the controller stops.
pub async fn serve(listener: TcpListener, level: LogLevel, stop: CancellationToken) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/loglevel", get(shown).put(set).delete(take_back))
        .layer(DefaultBodyLimit::max(LONGEST))
        .layer(from_fn(from_this_machine))
        .with_state(level);
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await?;
    Ok(())
}

/// A page in a browser on this machine could ask, too: it names itself, or a host of its own choice.
async fn from_this_machine(request: Request, next: Next) -> Response {
    let headers: &HeaderMap = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|it| it.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    if headers.contains_key(header::ORIGIN) || !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return (StatusCode::FORBIDDEN, "not from a page, nor under another name than localhost\n").into_response();
    }
    next.run(request).await
}

async fn shown(State(level): State<LogLevel>) -> String {
    format!("{}\n", level.filter())
}

/// For how long.
#[derive(Debug, Deserialize)]
struct Lasting {
    r#for: Option<String>,
}

impl Lasting {
    fn time(&self) -> Result<Duration, &'static str> {
        let Some(text) = &self.r#for else { return Ok(LASTS) };
        let time = duration::any(text).map_err(|_| "for: write a number and s, m or h, such as 30m\n")?;
        if time > LASTS_AT_MOST { Err("for: 7 days at most\n") } else { Ok(time) }
    }
}

async fn set(State(level): State<LogLevel>, Query(lasting): Query<Lasting>, filter: String) -> Response {
    let filter = filter.trim();
    let time = match lasting.time() {
        Ok(time) => time,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    if filter.is_empty() {
        return (StatusCode::BAD_REQUEST, "write a filter as the body: info, or lanyard=debug\n").into_response();
    }
    let change = match level.set(filter, time) {
        Ok(change) => change,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        if let Err(error) = level.take_back(change) {
            tracing::error!(%error, "what is logged could not be set back");
        }
    });
    format!("{filter} for {} s\n", time.as_secs()).into_response()
}

async fn take_back(State(level): State<LogLevel>) -> Response {
    match level.reset() {
        Ok(()) => shown(State(level)).await.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_be_let_in() {
        assert_eq!("127.0.0.1:0".parse(), Ok(Admin::At(([127, 0, 0, 1], 0).into())));
        assert!("[::1]:8081".parse::<Admin>().is_ok() && "off".parse() == Ok(Admin::Off));
        for open in ["0.0.0.0:8081", "[::]:8081", "10.0.0.1:8081", "localhost", "8081"] {
            assert!(open.parse::<Admin>().is_err(), "{open}");
        }
    }

    #[test]
    fn a_change_lasts_an_hour_unless_somebody_says_how_long() {
        let lasts = |text: Option<&str>| Lasting { r#for: text.map(str::to_owned) }.time();
        assert_eq!(lasts(None), Ok(Duration::from_secs(3600)));
        assert_eq!(lasts(Some("90s")), Ok(Duration::from_secs(90)));
        assert!(lasts(Some("soon")).is_err() && lasts(Some("200h")).is_err());
    }
}
