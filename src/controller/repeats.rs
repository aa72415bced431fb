//! Log lines about visits that end early: a few of a kind, then how many more there were.
//!
//! A subscription that goes wrong goes wrong for all its machines, at every try. What each suffers from is told by its
//! conditions; the log tells that it happens, and how often.
use super::context::Context;
use lanyard_domain::Moment;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines of one kind before it is counted only.
const LINES: u32 = 10;

/// When the first of those that were only counted are told.
const FIRST: Duration = Duration::from_secs(60);

/// How often they are told after that; and when a kind that has not come again is forgotten.
const THEN: Duration = Duration::from_secs(10 * 60);

const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What has happened of late, by subscription and reason.
#[derive(Debug, Default)]
pub struct Repeats {
    kinds: Mutex<HashMap<(Box<str>, &'static str), Count>>,
}

#[derive(Debug)]
struct Count {
    since: Moment,
    pace: Duration,
    lines: u32,
    untold: u32,
}

/// Visits that ended early and have no line of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    pub subscription: Box<str>,
    pub reason: &'static str,
    pub visits: u32,
    pub within: Duration,
}

impl Repeats {
    fn kinds(&self) -> MutexGuard<'_, HashMap<(Box<str>, &'static str), Count>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A visit ended early. True: it gets a line.
    pub fn is_to_be_told(&self, subscription: &str, reason: &'static str, now: Moment) -> bool {
        self.count(subscription, reason, LINES, FIRST, now)
    }

    /// One that ended early for want of a token, which has a line already, for all of them.
    pub fn without_token(&self, reason: &'static str, now: Moment) {
        self.count("", reason, 0, THEN, now);
    }

    fn count(&self, subscription: &str, reason: &'static str, lines: u32, pace: Duration, now: Moment) -> bool {
        let mut kinds = self.kinds();
        let begun = || Count { since: now, pace, lines, untold: 0 };
        let count = kinds.entry((subscription.to_lowercase().into(), reason)).or_insert_with(begun);
        let told = count.lines > 0;
        if told {
            count.lines -= 1;
        } else {
            count.untold = count.untold.saturating_add(1);
        }
        told
    }

    /// What is to be told by now of those without a line. A kind that has not come again is new when it does.
    pub fn untold(&self, now: Moment) -> Vec<Untold> {
        let mut untold = Vec::new();
        self.kinds().retain(|(subscription, reason), count| {
            let within = now.since(count.since);
            if within < count.pace {
                return true;
            }
            let visits = std::mem::take(&mut count.untold);
            if visits > 0 {
                untold.push(Untold { subscription: subscription.clone(), reason, visits, within });
            }
            // Few enough that each had its line: it may have its lines again.
            let goes_on = visits > 0;
            (count.since, count.pace, count.lines) = (now, THEN, 0);
            goes_on
        });
        untold
    }
}

/// Tells them, until the term ends.
pub async fn tell(context: &Context) {
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        for Untold { subscription, reason, visits, within } in context.repeats.untold(context.now()) {
            let subscription = Some(&*subscription).filter(|it| !it.is_empty());
            tracing::warn!(
                reason,
                subscription,
                visits,
                seconds = within.as_secs(),
                "more visits ended early for this reason; the condition of each object tells why"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn lines(repeats: &Repeats, subscription: &str, times: u32, now: Moment) -> usize {
        (0..times).filter(|_| repeats.is_to_be_told(subscription, "Throttled", now)).count()
    }

    #[test]
    fn a_storm_is_ten_lines_and_then_a_count() {
        let repeats = Repeats::default();
        assert_eq!(lines(&repeats, "A", 5000, at(0)), 10);
        assert_eq!(lines(&repeats, "a", 5000, at(30)), 0, "the same subscription in other letters");
        assert_eq!(lines(&repeats, "b", 3, at(30)), 3, "another one has its own");
        assert_eq!(repeats.untold(at(59)), []);
        let told = |visits, seconds| {
            vec![Untold { subscription: "a".into(), reason: "Throttled", visits, within: Duration::from_secs(seconds) }]
        };
        assert_eq!(repeats.untold(at(60)), told(9990, 60));
        assert_eq!(lines(&repeats, "a", 100, at(300)), 0, "it goes on: only counted");
        assert_eq!(repeats.untold(at(659)), []);
        assert_eq!(repeats.untold(at(660)), told(100, 600));
        assert_eq!(repeats.untold(at(1260)), []);
        assert_eq!(lines(&repeats, "a", 100, at(1261)), 10, "it was over, and is back");
    }

    #[test]
    fn who_has_no_token_has_no_line() {
        let repeats = Repeats::default();
        for _ in 0..5000 {
            repeats.without_token("CredentialRejected", at(0));
        }
        assert_eq!(repeats.untold(at(599)), []);
        assert_eq!(repeats.untold(at(600)).first().map(|untold| untold.visits), Some(5000));
    }
}
