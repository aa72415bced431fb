//! A way to the API server on which things go wrong to order.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Uri, header};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// How long a small page takes.
const PAGE: Duration = Duration::from_millis(250);

/// A request that came this way. `GET` is split: `get`, `list`, `stream` (a watch that begins with a list), `watch`.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub verb: &'static str,
    /// With the query.
    pub path: String,
}

impl Asked {
    fn of(request: &Request<Vec<u8>>) -> Self {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        let collection = uri.path().ends_with("identityassignments") || uri.path().ends_with("identitytargets");
        let verb = match request.method().as_str() {
            "GET" if query.contains("sendInitialEvents=true") => "stream",
            "GET" if query.contains("watch=true") => "watch",
            // Whether the kinds can be listed at all: nobody goes by what is in it.
            "GET" if collection && query.split('&').any(|it| it == "limit=1") => "probe",
            "GET" if collection => "list",
            "GET" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            _ => "delete",
        };
        Self { at: Instant::now(), verb, path: uri.to_string() }
    }

    /// About assignments or targets, what machines' visits rest on.
    pub fn is_about_machines(&self) -> bool {
        self.path.contains("/identityassignments") || self.path.contains("/identitytargets")
    }

    pub fn is(&self, verb: &str, part: &str) -> bool {
        self.verb == verb && self.path.contains(part)
    }

    pub fn writes_status(&self) -> bool {
        self.is("patch", "/status?")
    }

    pub fn writes_finalizers(&self) -> bool {
        self.is("patch", "/identityassignments/") && !self.writes_status()
    }

    /// The record of a target, written or made.
    pub fn writes_record(&self) -> bool {
        self.is("update", "/identitytargets") || self.is("create", "/identitytargets")
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// This answer, and nothing is done.
    Refused(u16, &'static str),
    /// The connection ends, and nothing is done.
    LoseRequest,
    /// It is done, and the connection ends.
    LoseAnswer,
    /// The connection ends, and it is done when this is told so.
    Late(Arc<Notify>),
    /// It is done, and half of the answer comes.
    Truncate,
    /// Taken to the server after a while.
    Slow(Duration),
    /// No answer, and no end of the connection.
    Hang,
    /// This body, with 200: an old list, or something else altogether.
    Body(String),
    /// Pages of this size, whatever was asked for, and each takes a while.
    SmallPages(usize),
    /// An event `ERROR` with this code, as the first and last of a watch.
    WatchError(u16),
    /// A watch that begins well and ends at once.
    WatchEnds,
    /// A watch that ends after so many events.
    EndsAfter(usize),
}

struct Rule {
    number: u64,
    when: Box<dyn Fn(&Asked) -> bool + Send>,
    /// Requests that pass first.
    skip: usize,
    /// Meets one in so many.
    every: usize,
    left: usize,
    /// Those that it met or let pass.
    seen: usize,
    then: Trouble,
}

impl Rule {
    fn strike(&mut self, asked: &Asked) -> Option<Trouble> {
        if self.left == 0 || !(self.when)(asked) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.seen += 1;
        let met = (self.seen - 1).is_multiple_of(self.every);
        self.left -= usize::from(met);
        met.then(|| self.then.clone())
    }
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    numbers: u64,
    journal: Vec<Asked>,
    /// Watches may begin with a list; else this is a server from before they could.
    streams_lists: bool,
    /// Late requests that the server has answered.
    landed: usize,
}

/// Plain HTTP on loopback; the administrator's rights for whoever comes.
pub struct ApiProxy {
    pub kubeconfig: PathBuf,
    address: SocketAddr,
    way: Way,
    server: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Way {
    client: kube::Client,
    state: Arc<Mutex<State>>,
}

impl ApiProxy {
    /// Opens the way, with a kubeconfig for it in `directory`.
    pub async fn open(client: kube::Client, directory: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let kubeconfig = directory.join(format!("proxy-{}.kubeconfig", address.port()));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "anyone", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "anyone"}}],
        });
        std::fs::write(&kubeconfig, config.to_string())?;
        let way = Way { client, state: Arc::default() };
        let server = Mutex::new(Some(tokio::spawn(serve(listener, way.clone()))));
        Ok(Self { kubeconfig, address, way, server })
    }

    /// From now on as a server of today: lists come as the beginning of a watch.
    pub fn stream_lists(&self) {
        self.way.state().streams_lists = true;
    }

    /// One trouble for the next request that is so; a number to end it by.
    pub fn once(&self, when: impl Fn(&Asked) -> bool + Send + 'static, then: Trouble) -> u64 {
        self.trouble(when, 1, 1, then)
    }

    /// For all such requests until it is ended.
    pub fn always(&self, when: impl Fn(&Asked) -> bool + Send + 'static, then: Trouble) -> u64 {
        self.trouble(when, 1, usize::MAX, then)
    }

    /// For one in `every` of them, the first among these, `times` in all.
    pub fn trouble(
        &self,
        when: impl Fn(&Asked) -> bool + Send + 'static,
        every: usize,
        times: usize,
        then: Trouble,
    ) -> u64 {
        let mut state = self.way.state();
        state.numbers += 1;
        let number = state.numbers;
        state.rules.push(Rule { number, when: Box::new(when), skip: 0, every, left: times, seen: 0, then });
        number
    }

    /// For one such request, after so many.
    pub fn after(&self, skip: usize, when: impl Fn(&Asked) -> bool + Send + 'static, then: Trouble) -> u64 {
        let number = self.once(when, then);
        let mut state = self.way.state();
        state.rules.iter_mut().filter(|rule| rule.number == number).for_each(|rule| rule.skip = skip);
        number
    }

    pub fn end(&self, number: u64) {
        self.way.state().rules.retain(|rule| rule.number != number);
    }

    /// How often this trouble has been met.
    pub fn met(&self, number: u64) -> usize {
        let state = self.way.state();
        state.rules.iter().find(|rule| rule.number == number).map_or(0, |rule| rule.seen)
    }

    /// How many requests have come late.
    pub fn landed(&self) -> usize {
        self.way.state().landed
    }

    /// What came this way.
    pub fn asked(&self) -> Vec<Asked> {
        self.way.state().journal.clone()
    }

    pub fn count(&self, when: impl Fn(&Asked) -> bool) -> usize {
        self.way.state().journal.iter().filter(|asked| when(asked)).count()
    }

    /// How often each thing was asked for since then.
    pub fn told_since(&self, since: Instant) -> String {
        let mut counts = std::collections::BTreeMap::<(String, &str), usize>::new();
        for asked in self.asked().into_iter().filter(|asked| asked.at >= since) {
            let path = asked.path.split('?').next().unwrap_or_default().to_owned();
            *counts.entry((path, asked.verb)).or_default() += 1;
        }
        counts.into_iter().fold(String::new(), |mut told, ((path, verb), count)| {
            let _ = writeln!(told, "{count} {verb} {path}");
            told
        })
    }

    /// Ends all connections, and refuses new ones.
    pub async fn cut(&self) {
        let server = self.server().take();
        if let Some(server) = server {
            server.abort();
            let _ = server.await;
        }
    }

    /// Listens again where it did.
    pub async fn heal(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        *self.server() = Some(tokio::spawn(serve(listener, self.way.clone())));
        Ok(())
    }

    /// Ends all connections: every watch breaks.
    pub async fn break_watches(&self) -> Result<()> {
        self.cut().await;
        self.heal().await
    }

    fn server(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        if let Some(server) = self.server().take() {
            server.abort();
        }
    }
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, asked: Asked) -> Option<Trouble> {
        let mut state = self.state();
        let unknown = asked.verb == "stream" && !state.streams_lists;
        let struck = state.rules.iter_mut().find_map(|rule| rule.strike(&asked));
        let struck = struck.or_else(|| unknown.then_some(Trouble::Refused(422, "Invalid")));
        state.journal.push(asked);
        struck
    }

    async fn pass(&self, request: Request<Vec<u8>>) -> io::Result<Response<Body>> {
        let asked = Asked::of(&request);
        match self.strike(asked) {
            None => self.take(request).await,
            Some(Trouble::Refused(code, reason)) => Ok(refused(code, reason)),
            Some(Trouble::LoseRequest) => Err(lost()),
            Some(Trouble::LoseAnswer) => {
                self.take(request).await?;
                Err(lost())
            }
            Some(Trouble::Late(told)) => {
                let way = self.clone();
                tokio::spawn(async move {
                    told.notified().await;
                    let _ = way.take(request).await;
                    way.state().landed += 1;
                });
                Err(lost())
            }
            Some(Trouble::Truncate) => truncated(self.take(request).await?).await,
            Some(Trouble::Slow(wait)) => {
                tokio::time::sleep(wait).await;
                self.take(request).await
            }
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Body(text)) => Ok(as_json(StatusCode::OK, text)),
            Some(Trouble::SmallPages(size)) => {
                tokio::time::sleep(PAGE).await;
                self.take(in_small_pages(request, size)).await
            }
            Some(Trouble::WatchError(code)) => {
                let event = json!({"type": "ERROR", "object": status(code, "Expired")});
                Ok(as_json(StatusCode::OK, format!("{event}\n")))
            }
            Some(Trouble::EndsAfter(events)) => first_events(self.take(request).await?, events).await,
            Some(Trouble::WatchEnds) => Ok(as_json(StatusCode::OK, String::new())),
        }
    }

    async fn take(&self, request: Request<Vec<u8>>) -> io::Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(header::HOST);
        let request = Request::from_parts(parts, kube::client::Body::from(body));
        let answer = self.client.send(request).await.map_err(io::Error::other)?;
        Ok(answer.map(Body::new))
    }
}

/// Serves until it is aborted; its connections end with it.
async fn serve(listener: TcpListener, way: Way) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let way = way.clone();
        let answer = move |request: Request<Incoming>| {
            let way = way.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.map_err(io::Error::other)?;
                way.pass(Request::from_parts(parts, body.to_vec())).await
            }
        };
        let _ = stream.set_nodelay(true);
        connections.spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer)),
        );
        while connections.try_join_next().is_some() {}
    }
}

/// What ends a connection without a word.
fn lost() -> io::Error {
    io::Error::other("lost")
}

/// Half of the body, and then the connection ends: where the head says how long all of it is, that stays as it was.
async fn truncated(answer: Response<Body>) -> io::Result<Response<Body>> {
    let (parts, body) = answer.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.map_err(io::Error::other)?;
    let half = whole.slice(..whole.len() / 2);
    let ends = futures::stream::iter([Ok(half), Err(lost())]);
    Ok(Response::from_parts(parts, Body::from_stream(ends)))
}

async fn first_events(answer: Response<Body>, events: usize) -> io::Result<Response<Body>> {
    let (parts, body) = answer.into_parts();
    let (mut stream, mut text) = (body.into_data_stream(), Vec::new());
    while text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count() < events {
        let Some(chunk) = stream.next().await else { break };
        text.extend_from_slice(&chunk.map_err(io::Error::other)?);
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').take(events).collect();
    Ok(Response::from_parts(parts, Body::from(lines.concat())))
}

/// The same list in pages of ours.
fn in_small_pages(mut request: Request<Vec<u8>>, size: usize) -> Request<Vec<u8>> {
    let smaller = request.uri().to_string().replace("limit=500", &format!("limit={size}"));
    if let Ok(smaller) = smaller.parse::<Uri>() {
        *request.uri_mut() = smaller;
    }
    request
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("the test says {reason}"),
    })
}

fn refused(code: u16, reason: &str) -> Response<Body> {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    as_json(code, status(code.as_u16(), reason).to_string())
}

fn as_json(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
