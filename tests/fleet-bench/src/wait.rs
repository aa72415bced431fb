//! Waiting for something to be so.
use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Looks until there is something to see.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    every: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if begun.elapsed() > patience {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        sleep(every).await;
    }
}
