//! `/healthz`, `/readyz` and `/metrics`; and, for this machine alone, `/loglevel`.
mod admin;

pub use admin::{Admin, serve as serve_admin};

use crate::controller::Parts;
use crate::health::Supply;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Answers until the controller stops.
pub async fn serve(listener: TcpListener, parts: Arc<Parts>) -> anyhow::Result<()> {
    let stop = parts.stop.clone();
    let routes = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(parts);
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await?;
    Ok(())
}

/// Alive as long as all work gets on. Whether ARM, Entra ID or the API server do is no part of it.
async fn alive(State(parts): State<Arc<Parts>>) -> (StatusCode, String) {
    let lost = parts.health.lost();
    if lost.is_empty() {
        return (StatusCode::OK, "ok\n".into());
    }
    // Anyone may read this: which machines they are is in the log.
    let mut text = format!("stuck: {}, named in the log\n", lost.len());
    for lost in lost {
        let _ = writeln!(text, "{}", lost.how);
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Ready once all is at hand that a leader needs, until the controller stops; whether it leads or not.
async fn ready(State(parts): State<Arc<Parts>>) -> (StatusCode, String) {
    let supply = Supply {
        listed: parts.index.is_ready(),
        token: parts.arm.token_standing(),
        stopping: parts.stop.is_cancelled(),
    };
    let readiness = parts.health.readiness(&supply);
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.to_string())
}

async fn metrics(State(parts): State<Arc<Parts>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match parts.metrics.scrape(&parts.queue.depths(), &parts.arm.remaining(), &parts.index.standing()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
