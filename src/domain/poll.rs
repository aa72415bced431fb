//! How often an operation is asked about: soon for what usually takes seconds, seldom for what lasts.
use std::time::Duration;

/// When an operation is polled, in milliseconds after ARM accepted it. Afterwards every [`SLOWEST`].
///
/// Half of the operations of VMs end within 4.7 s, 95% within 12.6 s; half of those of scale sets within 7.5 s, 95% within
/// 77 s; the longest seen took 296 s. So: one poll at once for what is done by then, then every two and a half seconds
/// around what is usual, one right after ten seconds, and gaps that grow with the operation. Its end is seen within
/// three seconds up to ten, and within 85% of its own time or 30 s after that. An operation of a minute costs eight polls.
const POLLS: [u64; 8] = [500, 2_500, 5_000, 7_500, 10_400, 18_000, 33_000, 61_000];

/// When others wait for the same budget: what would most likely show that it goes on is left out.
const SELDOM: [u64; 5] = [5_000, 10_400, 18_000, 33_000, 61_000];

/// Until then a machine may be read in place of its operation, where its end would show there: most have ended by then.
pub const READ_UNTIL: Duration = Duration::from_millis(18_500);

/// The gap between polls in the end.
pub const SLOWEST: Duration = Duration::from_secs(30);

/// No poll comes sooner after another, though its time may have passed while ARM was slow to answer.
const SHORTEST: Duration = Duration::from_millis(250);

/// What Retry-After may ask for: a sleep for the day is not one of them.
pub const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);

/// How long to wait before the next poll of an operation that was accepted so long ago. Never less than ARM asks for.
///
/// `scarce`: others wait for the budget that polls draw on.
#[must_use]
pub fn pause(elapsed: Duration, asked: Option<Duration>, scarce: bool) -> Duration {
    let times: &[u64] = if scarce { &SELDOM } else { &POLLS };
    let next = times.iter().copied().map(Duration::from_millis).find(|at| *at >= elapsed + SHORTEST);
    let ours = next.map_or(SLOWEST, |at| at.saturating_sub(elapsed));
    ours.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// The pause between two reads of a machine on which an operation runs that nobody polls, be it somebody else's or one
/// that outlasted us: half of the time that it has been known to run, so that its end is seen within half of its time.
const LOOK_FIRST: Duration = Duration::from_secs(2);
const LOOK_SLOWEST: Duration = Duration::from_secs(2 * 60);

/// `jitter` lies in 0 to 1 and takes up to a quarter off, so that many machines are not read together.
#[must_use]
pub fn look(known_for: Duration, jitter: f64) -> Duration {
    (known_for / 2).clamp(LOOK_FIRST, LOOK_SLOWEST).mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// When polls leave and when the last, which sees the end, does, if each takes so long to be answered.
    fn polls(lasts: Duration, answer: Duration, asked: Option<Duration>) -> Vec<Duration> {
        polls_while(false, lasts, answer, asked)
    }

    fn polls_while(scarce: bool, lasts: Duration, answer: Duration, asked: Option<Duration>) -> Vec<Duration> {
        let (mut now, mut polls) = (Duration::ZERO, Vec::new());
        loop {
            now += pause(now, asked, scarce);
            polls.push(now);
            if now >= lasts {
                return polls;
            }
            now += answer;
        }
    }

    fn seen(lasts: Duration, answer: Duration) -> Duration {
        polls(lasts, answer, None).last().copied().unwrap_or_default().saturating_sub(lasts)
    }

    #[test]
    fn an_operation_of_up_to_a_minute_costs_eight_polls_at_most() {
        for millis in (1_000..=60_000).step_by(100) {
            for answer in [0, 20, 400, 2_000] {
                let polls = polls(ms(millis), ms(answer), None);
                assert!(polls.len() <= 8, "{millis} ms: {polls:?}");
            }
        }
    }

    #[test]
    fn the_end_of_an_operation_of_ten_seconds_is_seen_within_six_tenths() {
        for answer in [0, 20, 100, 300] {
            assert!(seen(ms(10_000), ms(answer)) <= ms(600), "answers take {answer} ms");
        }
    }

    #[test]
    fn the_end_is_seen_soon_for_what_is_usual_and_within_its_own_time_for_all() {
        for millis in (1_000..=300_000).step_by(100) {
            let (lasts, late) = (ms(millis), seen(ms(millis), ms(20)));
            let bound = if millis <= 10_000 { ms(3_000) } else { lasts.mul_f64(0.85).min(SLOWEST) };
            assert!(late <= bound, "{millis} ms: seen {late:?} after its end");
        }
        assert!(seen(ms(4_700), ms(20)) <= ms(350), "half of the VMs' operations");
        assert!(polls(ms(296_000), ms(20), None).len() <= 16, "the longest seen");
    }

    #[test]
    fn while_others_wait_for_the_budget_fewer_polls_see_what_is_usual_end() {
        let seldom = |lasts| polls_while(true, ms(lasts), ms(20), None);
        assert_eq!(seldom(100).len(), 1);
        assert_eq!(seldom(4_700).len(), 1, "half of the VMs' operations");
        assert_eq!(seldom(10_000).last(), Some(&ms(10_400)));
        for lasts in (1_000..=300_000).step_by(1_000) {
            assert!(seldom(lasts).len() <= polls(ms(lasts), ms(20), None).len(), "{lasts} ms");
        }
    }

    #[test]
    fn retry_after_is_obeyed_whatever_is_usual() {
        for asked in [0, 1, 10, 20, 60, 299] {
            let asked = Duration::from_secs(asked);
            let polls = polls(ms(300_000), ms(20), Some(asked));
            let gaps = polls
                .iter()
                .scan(Duration::ZERO, |last, poll| Some(poll.saturating_sub(std::mem::replace(last, *poll))));
            assert!(gaps.min() >= Some(asked), "{asked:?}: {polls:?}");
        }
        assert_eq!(pause(ms(0), Some(Duration::from_secs(86_400)), false), LONGEST_ASKED);
    }

    #[test]
    fn an_operation_of_hours_is_looked_at_ever_less() {
        let (mut now, mut looks) = (Duration::ZERO, Vec::new());
        while now < Duration::from_secs(3 * 3_600) {
            now += look(now, 1.0);
            looks.push(now);
        }
        let within = |seconds| looks.iter().filter(|look| **look <= Duration::from_secs(seconds)).count();
        assert!(within(10) <= 6 && within(60) <= 11 && within(3_600) <= 55, "{looks:?}");
        let last: Vec<_> = looks.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).skip(20).collect();
        assert!(last.iter().all(|gap| *gap >= Duration::from_secs(60)), "{last:?}");
    }
}
