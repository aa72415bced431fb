//! Waiting for what another process does.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
