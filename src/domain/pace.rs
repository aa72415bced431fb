//! How soon to try again, and who goes first: the class of what happened decides, and nothing else.
use std::time::Duration;

/// Who waits for the visit. The first is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// A person changed something.
    Change,
    Deletion,
    Retry,
    /// The target is not there yet.
    Waiting,
    Drift,
}

/// What a failure means for the next visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody wrote meanwhile: read and plan anew, at once.
    Replan,
    /// Time mends it: a broken connection, a busy resource, a server's error.
    Transient,
    /// A bucket is empty: it stays closed for so long.
    Throttled(Duration),
    /// A person must act: a role, a lock, a policy, the spec, the credential.
    Refused,
    /// The target is not there yet.
    Waiting,
    /// A defect of ours: said loudly, tried seldom.
    Defect,
}

/// At once, so often, before a backoff begins.
const REPLANS_AT_ONCE: u32 = 5;

const TRANSIENT_FIRST: Duration = Duration::from_secs(1);
const TRANSIENT_LONGEST: Duration = Duration::from_secs(60);
const REFUSED_FIRST: Duration = Duration::from_secs(30);
const REFUSED_LONGEST: Duration = Duration::from_secs(3 * 60);
const WAITING_FIRST: Duration = Duration::from_secs(30);
const WAITING_LONGEST: Duration = Duration::from_secs(5 * 60);
const WAITING_EAGER: Duration = Duration::from_secs(60 * 60);

/// The pause before the next try.
///
/// `failures` counts those of this class in a row, from 1. `waited` is how long the target has been waited for.
/// `jitter` lies in 0 to 1 and takes up to a quarter off, so that many targets do not come back together.
#[must_use]
pub fn pause(class: Class, failures: u32, waited: Duration, jitter: f64) -> Duration {
    let whole = match class {
        Class::Replan if failures <= REPLANS_AT_ONCE => return Duration::ZERO,
        Class::Replan => doubling(TRANSIENT_FIRST, TRANSIENT_LONGEST, failures - REPLANS_AT_ONCE),
        Class::Transient if failures <= 1 => return Duration::ZERO,
        Class::Transient => doubling(TRANSIENT_FIRST, TRANSIENT_LONGEST, failures - 1),
        Class::Throttled(pause) => return pause,
        Class::Refused => doubling(REFUSED_FIRST, REFUSED_LONGEST, failures),
        Class::Waiting if waited < WAITING_EAGER => WAITING_FIRST,
        Class::Waiting => WAITING_FIRST.max(waited / 60).min(WAITING_LONGEST),
        Class::Defect => WAITING_LONGEST,
    };
    whole.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
}

fn doubling(first: Duration, longest: Duration, nth: u32) -> Duration {
    let factor = 2u32.saturating_pow(nth.saturating_sub(1).min(16));
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::first_transient_is_at_once(Class::Transient, 1, 0)]
    #[case::second_waits_a_second(Class::Transient, 2, 1)]
    #[case::then_it_doubles(Class::Transient, 5, 8)]
    #[case::to_a_minute(Class::Transient, 400, 60)]
    #[case::a_lost_race_is_run_again(Class::Replan, 5, 0)]
    #[case::but_not_for_ever(Class::Replan, 8, 4)]
    #[case::refusals_are_slow(Class::Refused, 1, 30)]
    #[case::and_grow(Class::Refused, 9, 180)]
    fn pauses(#[case] class: Class, #[case] failures: u32, #[case] seconds: u64) {
        assert_eq!(pause(class, failures, Duration::ZERO, 0.0), Duration::from_secs(seconds));
    }

    #[test]
    fn waiting_is_eager_for_an_hour_and_then_slows() {
        let after = |minutes: u64| pause(Class::Waiting, 9, Duration::from_secs(minutes * 60), 0.0).as_secs();
        assert_eq!((after(59), after(120), after(600)), (30, 120, 300));
    }

    #[test]
    fn jitter_only_shortens() {
        assert_eq!(pause(Class::Refused, 1, Duration::ZERO, 1.0), Duration::from_millis(22_500));
    }
}
