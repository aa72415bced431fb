//! Who could go on and waits for a slot. As long as the line is long, little is begun.
use std::time::Duration;
use tokio::sync::watch::{Sender, channel};
use tokio::time::timeout;

/// However long the line is, one more begins in this time: somebody's single change waits no longer for everybody's.
const TRICKLE: Duration = Duration::from_millis(100);

/// The line of visits that their operation's end has found without a slot.
#[derive(Debug)]
pub struct Line {
    waiting: Sender<usize>,
    long: usize,
}

/// A place in it, until it is dropped.
pub struct InLine<'a>(&'a Line);

impl Line {
    /// `long`: so many are too many.
    pub fn new(long: usize) -> Self {
        Self { waiting: channel(0).0, long }
    }

    pub fn stand(&self) -> InLine<'_> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        InLine(self)
    }

    /// Ends when one more may begin: at once while the line is short, else soon. Where visits begin faster than they end,
    /// each that waits holds memory, and its change is told only at its end.
    pub async fn lets_begin(&self) {
        let mut waiting = self.waiting.subscribe();
        let is_short = waiting.wait_for(|waiting| *waiting < self.long);
        // Either way it has been waited for.
        let _ = timeout(TRICKLE, is_short).await;
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn little_begins_while_the_line_is_long() {
        let (line, begun) = (Line::new(2), Instant::now());
        let first = line.stand();
        line.lets_begin().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let _second = line.stand();
        line.lets_begin().await;
        assert_eq!(begun.elapsed(), TRICKLE);
        let waits = line.lets_begin();
        tokio::pin!(waits);
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        waits.await;
        assert_eq!(begun.elapsed(), TRICKLE);
    }
}
