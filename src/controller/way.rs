//! The way by which the watches ask the API server: nothing hangs for ever, and nothing is asked in a hurry.
use axum::http::{Request, Response};
use kube::Client;
use kube::client::Body;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

/// A page of a list, to its last byte, or the first word of a watch: no API server takes longer by itself. The
/// client would wait for ever on a connection that outlives its server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watch that was opened and ended at once is opened again no sooner: the watcher itself would not wait.
const BETWEEN_WATCHES: Duration = Duration::from_secs(1);

/// A client for one watcher.
pub fn of_a_watcher(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let opened = Arc::new(Mutex::new(None));
    let ask = move |request: Request<Body>| ask(client.clone(), opened.clone(), request);
    Client::new(tower::service_fn(ask), namespace)
}

async fn ask(
    client: Client,
    opened: Arc<Mutex<Option<Instant>>>,
    request: Request<Body>,
) -> Result<Response<Body>, io::Error> {
    if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        wait_for_turn(&opened).await;
        let answer = timeout(PATIENCE, client.send(request)).await;
        return answer.map_err(|_| no_answer())?.map_err(io::Error::other);
    }
    timeout(PATIENCE, whole(client, request)).await.map_err(|_| no_answer())?
}

async fn wait_for_turn(opened: &Mutex<Option<Instant>>) {
    let mut opened = opened.lock().await;
    if let Some(last) = *opened {
        sleep_until(last + BETWEEN_WATCHES).await;
    }
    *opened = Some(Instant::now());
}

async fn whole(client: Client, request: Request<Body>) -> Result<Response<Body>, io::Error> {
    let (parts, body) = client.send(request).await.map_err(io::Error::other)?.into_parts();
    let bytes = body.collect_bytes().await.map_err(io::Error::other)?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("Kubernetes did not answer within {} s", PATIENCE.as_secs()))
}
