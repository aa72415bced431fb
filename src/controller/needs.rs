//! What the process needs from outside, looked after apart from the visits: for `/readyz`, and so that a replica that
//! stands by knows before it leads.
use super::context::Parts;
use crate::health::cluster::look;
use std::sync::Arc;
use std::time::Duration;

/// How often the API server is asked that lacks something.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How often the first token is tried for. Visits try, too, as they fall due.
const SIGN_IN_AGAIN: Duration = Duration::from_secs(15);

/// Looks, whenever a watch has failed, what the API server lacks, until it has all.
pub async fn cluster(parts: Arc<Parts>) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = parts.stop.cancelled() => return Ok(()),
            () = parts.health.doubted() => {}
        }
        while !parts.health.saw_cluster(look(&parts.kubernetes.client()).await) {
            tokio::select! {
                () = parts.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }
}

/// Fetches the first token, so that a credential that does not work shows at the start, and not to the next leader.
pub async fn token(parts: Arc<Parts>) -> anyhow::Result<()> {
    while parts.arm.sign_in().await.is_err() {
        tokio::select! {
            () = parts.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(SIGN_IN_AGAIN) => {}
        }
    }
    parts.stop.cancelled().await;
    Ok(())
}
