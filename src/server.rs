//! `/healthz`, `/readyz` and `/metrics`.
use crate::controller::Parts;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Answers until the controller stops.
pub async fn serve(listener: TcpListener, parts: Arc<Parts>) -> anyhow::Result<()> {
    let stop = parts.stop.clone();
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(parts);
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await?;
    Ok(())
}

/// Ready once the lists of assignments and targets are in, until the controller stops.
async fn ready(State(parts): State<Arc<Parts>>) -> (StatusCode, &'static str) {
    if parts.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if parts.index.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the lists of assignments and targets are not in yet\n")
    }
}

async fn metrics(State(parts): State<Arc<Parts>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match parts.metrics.scrape(&parts.queue.depths(), &parts.arm.remaining(), &parts.index.standing()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
