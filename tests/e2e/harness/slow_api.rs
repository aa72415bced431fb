//! A way to the API server on which lists of assignments come slowly, in small pages, and expire half-way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Assignments on a page, whatever was asked for.
const PAGE: usize = 10;
/// Each page takes so long.
const DELAY: Duration = Duration::from_millis(250);
/// This page, counted from the first, is refused: the list has expired meanwhile.
const EXPIRED: usize = 5;

/// Plain HTTP on loopback; the administrator's rights for whoever comes.
pub struct SlowApi {
    pub kubeconfig: PathBuf,
    pages: Arc<AtomicUsize>,
    server: JoinHandle<std::io::Result<()>>,
}

#[derive(Clone)]
struct Way {
    client: kube::Client,
    pages: Arc<AtomicUsize>,
}

impl SlowApi {
    /// Opens the way, with a kubeconfig for it in `directory`.
    pub async fn open(client: kube::Client, directory: &Path) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let kubeconfig = directory.join(format!("slow-{}.kubeconfig", listener.local_addr()?.port()));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "slow",
            "clusters": [{"name": "slow", "cluster": {"server": format!("http://{}", listener.local_addr()?)}}],
            "users": [{"name": "anyone", "user": {}}],
            "contexts": [{"name": "slow", "context": {"cluster": "slow", "user": "anyone"}}],
        });
        std::fs::write(&kubeconfig, config.to_string())?;
        let pages = Arc::new(AtomicUsize::new(0));
        let router = axum::Router::new().fallback(pass).with_state(Way { client, pages: pages.clone() });
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self { kubeconfig, pages, server })
    }

    /// Pages that were asked for.
    pub fn pages(&self) -> usize {
        self.pages.load(Ordering::SeqCst)
    }
}

impl Drop for SlowApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(way): State<Way>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(smaller) = list_in_small_pages(&parts.uri) {
        let page = way.pages.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(DELAY).await;
        if page == EXPIRED {
            return expired();
        }
        parts.uri = smaller;
    }
    parts.headers.remove(header::HOST);
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return refused() };
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    match way.client.send(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => refused(),
    }
}

/// The same list in pages of ours; `None` for any other request.
fn list_in_small_pages(uri: &Uri) -> Option<Uri> {
    let query = uri.query().unwrap_or_default();
    let lists = uri.path().ends_with("/identityassignments") && query.contains("limit=500");
    let smaller = query.replace("limit=500", &format!("limit={PAGE}"));
    lists.then(|| format!("{}?{smaller}", uri.path()).parse().ok()).flatten()
}

fn expired() -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "The provided continue parameter is too old to display a consistent list result.",
    });
    (StatusCode::GONE, [(header::CONTENT_TYPE, "application/json")], status.to_string()).into_response()
}

fn refused() -> Response {
    StatusCode::BAD_GATEWAY.into_response()
}
