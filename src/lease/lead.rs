//! The right to write, as long as the lease is held.
use crate::clock::Clock;
use lanyard_domain::Moment;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep_until;

/// One term. Once it has ended it is never revived: the next term is another one.
#[derive(Clone, Debug)]
pub struct Lead(Option<Arc<Term>>);

#[derive(Debug)]
struct Term {
    clock: Clock,
    /// Nothing is written from then on.
    fenced: watch::Sender<Moment>,
}

impl Lead {
    /// Without an election: this process works, whoever else does.
    pub const fn for_ever() -> Self {
        Self(None)
    }

    pub fn until(fenced: Moment, clock: Clock) -> Self {
        Self(Some(Arc::new(Term { clock, fenced: watch::Sender::new(fenced) })))
    }

    pub fn is_held(&self) -> bool {
        self.is_held_for(Duration::ZERO)
    }

    /// Held now, and still so after this time if nobody renews it.
    pub fn is_held_for(&self, time: Duration) -> bool {
        self.0.as_ref().is_none_or(|term| term.clock.now().after(time) < *term.fenced.borrow())
    }

    /// The lease was renewed. False: too late.
    pub fn extend(&self, fenced: Moment) -> bool {
        let Some(term) = &self.0 else { return true };
        term.fenced.send_if_modified(|until| {
            let held = term.clock.now() < *until;
            if held {
                *until = fenced;
            }
            held
        })
    }

    /// Nothing more is written in this term.
    pub fn end(&self) {
        if let Some(term) = &self.0 {
            term.fenced.send_replace(Moment::default());
        }
    }

    /// Waits until the term is over.
    pub async fn lapsed(&self) {
        let Some(term) = &self.0 else { return std::future::pending().await };
        let mut changes = term.fenced.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            if term.clock.now() >= until {
                return;
            }
            tokio::select! {
                () = sleep_until(term.clock.instant(until)) => {}
                // The sender lives as long as we do.
                _ = changes.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_is_not_renewed_is_over_and_stays_so() {
        let lead = Lead::until(Moment(seconds(10)), Clock::start());
        assert!(lead.is_held_for(seconds(9)) && !lead.is_held_for(seconds(10)));
        tokio::time::sleep(seconds(9)).await;
        assert!(lead.extend(Moment(seconds(12))));
        let begun = tokio::time::Instant::now();
        lead.lapsed().await;
        assert_eq!(begun.elapsed().as_secs(), 3);
        assert!(!lead.is_held());
        assert!(!lead.extend(Moment(seconds(60))), "whoever slept does not go on as if nothing were");
        assert!(!lead.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_its_end_hears_of_it_at_once() {
        let lead = Lead::until(Moment(seconds(10)), Clock::start());
        let waiting = tokio::spawn({
            let lead = lead.clone();
            async move { lead.lapsed().await }
        });
        tokio::task::yield_now().await;
        lead.end();
        let begun = tokio::time::Instant::now();
        assert!(waiting.await.is_ok());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!lead.is_held());
        assert!(Lead::for_ever().is_held_for(seconds(1 << 40)));
    }
}
