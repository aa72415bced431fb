//! Waiting for parts, and telling why one does not come.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, ListParams, Request};

use super::{ControlPlane, ControlPlaneError, Result, hold};
use crate::guardian::Guarded;

/// Ready in 3 s on an idle machine; a loaded one takes many times that.
const PATIENCE: Duration = Duration::from_secs(120);
const PACE: Duration = Duration::from_millis(25);
/// A request that hangs is one more "not yet".
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Lines of a log that an error shows.
const SHOWN: usize = 8;

/// Until `/readyz` says so. etcd is watched as well: without it the server only waits.
pub(super) async fn api_server(plane: &ControlPlane) -> Result<()> {
    let mut config = plane.config().await?;
    config.default_retry = false; // with growing pauses: the loop here is quicker
    let client = kube::Client::try_from(config)?;
    let begun = Instant::now();
    loop {
        // A list of nothing in particular is a plain GET.
        let request = Request::new("/readyz").list(&ListParams::default()).map_err(kube::Error::BuildRequest)?;
        let answer = tokio::time::timeout(ANSWER_WITHIN, client.request_text(request)).await;
        if matches!(answer, Ok(Ok(_))) {
            return Ok(());
        }
        check(plane)?;
        pause(plane, "kube-apiserver", begun).await?;
    }
}

/// Until it has made the first service account: it serves no endpoint that could be asked.
pub(super) async fn controller_manager(plane: &ControlPlane) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client().await?, "default");
    let begun = Instant::now();
    loop {
        let answer = tokio::time::timeout(ANSWER_WITHIN, accounts.get_opt("default")).await;
        if matches!(answer, Ok(Ok(Some(_)))) {
            return Ok(());
        }
        check(plane)?;
        pause(plane, "kube-controller-manager", begun).await?;
    }
}

/// Whether every part that was started and not stopped still runs.
pub(super) fn check(plane: &ControlPlane) -> Result<()> {
    let parts = [
        ("etcd", &plane.etcd),
        ("kube-apiserver", &plane.api_server),
        ("kube-controller-manager", &plane.controller_manager),
    ];
    match parts.into_iter().find(|(_, part)| has_ended(part)) {
        None => Ok(()),
        Some((part, _)) => {
            let (log, last) = last_words(plane, part);
            Err(ControlPlaneError::Ended { part, log, last })
        }
    }
}

fn has_ended(part: &Mutex<Option<Guarded>>) -> bool {
    let mut part = hold(part);
    part.as_mut().is_some_and(|part| !part.ended().is_ok_and(|end| end.is_none()))
}

async fn pause(plane: &ControlPlane, part: &'static str, begun: Instant) -> Result<()> {
    if begun.elapsed() < PATIENCE {
        tokio::time::sleep(PACE).await;
        return Ok(());
    }
    let (log, last) = last_words(plane, part);
    Err(ControlPlaneError::Late { part, seconds: PATIENCE.as_secs(), log, last })
}

/// The end of a part's log, and where all of it can be read: not in the control plane's directory, which
/// goes when the start has failed.
fn last_words(plane: &ControlPlane, part: &str) -> (PathBuf, String) {
    let log = plane.directory().join(part).with_extension("log");
    let text = fs::read(&log).unwrap_or_default();
    let kept = plane.parts.cache.join(format!("{part}.failed.log"));
    let copied = fs::create_dir_all(&plane.parts.cache).and_then(|()| fs::write(&kept, &text));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    (copied.map_or(log, |()| kept), last)
}
