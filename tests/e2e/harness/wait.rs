//! Waiting for what other processes do: the one place that looks again and again.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Far longer than anything here takes on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
pub const STEP: Duration = Duration::from_millis(50);

/// Looks until there is something to see. `None`: there never was.
pub async fn until_some<T>(mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(Some(seen));
        }
        if begun.elapsed() > PATIENCE {
            return Ok(None);
        }
        tokio::time::sleep(STEP).await;
    }
}
