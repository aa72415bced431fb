//! Durations as people write them: `45s`, `10m`, `1h30m`.
use std::time::Duration;

/// The shortest time between two drift checks that an assignment may ask for.
pub const SHORTEST: Duration = Duration::from_secs(30);

/// The longest.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Units in the order in which they are written, with their seconds and the digits that are allowed.
const UNITS: [(char, u64, usize); 3] = [('h', 3600, 4), ('m', 60, 4), ('s', 1, 5)];

/// Why a text is no drift interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("'{0}' is no duration: write hours, minutes and seconds as in 45s, 10m or 1h30m")]
    NotADuration(String),
    #[error("'{0}' is out of bounds: write a duration from 30s to 24h")]
    OutOfBounds(String),
}

/// Reads hours, minutes and seconds, in this order, each at most once.
///
/// # Errors
/// A text of another form, and durations below 30 s or above 24 h.
pub fn drift_interval(text: &str) -> Result<Duration, DurationError> {
    let duration = parse(text).ok_or_else(|| DurationError::NotADuration(text.into()))?;
    if (SHORTEST..=LONGEST).contains(&duration) { Ok(duration) } else { Err(DurationError::OutOfBounds(text.into())) }
}

/// Reads hours, minutes and seconds, in this order, each at most once, whatever they come to.
///
/// # Errors
/// A text of another form.
pub fn any(text: &str) -> Result<Duration, DurationError> {
    parse(text).ok_or_else(|| DurationError::NotADuration(text.into()))
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0;
    for (unit, length, digits) in UNITS {
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        if let Some(after) = rest.get(count..).and_then(|tail| tail.strip_prefix(unit)) {
            if count > digits {
                return None;
            }
            seconds += rest.get(..count)?.parse::<u64>().ok()? * length;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then_some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::seconds("45s", 45)]
    #[case::minutes("10m", 600)]
    #[case::hours_and_minutes("1h30m", 5400)]
    #[case::all("1h1m1s", 3661)]
    #[case::many_seconds("5400s", 5400)]
    #[case::zero_hours("0h45s", 45)]
    #[case::shortest("30s", 30)]
    #[case::longest("24h", 86_400)]
    fn a_duration_is_read(#[case] text: &str, #[case] seconds: u64) {
        assert_eq!(drift_interval(text), Ok(Duration::from_secs(seconds)));
    }

    #[rstest]
    #[case::empty("")]
    #[case::bare("10")]
    #[case::word("ten minutes")]
    #[case::order("30m1h")]
    #[case::twice("1m1m")]
    #[case::blank("1h 30m")]
    #[case::fraction("1.5h")]
    #[case::sign("-10m")]
    #[case::days("1d")]
    #[case::milliseconds("60000ms")]
    #[case::unit_alone("m")]
    #[case::huge("99999999999999999999h")]
    fn what_is_none_is_refused(#[case] text: &str) {
        assert_eq!(drift_interval(text), Err(DurationError::NotADuration(text.into())));
    }

    #[rstest]
    #[case::short("29s")]
    #[case::zero("0s")]
    #[case::long("24h1s")]
    #[case::longer("9999h")]
    fn what_is_out_of_bounds_is_refused(#[case] text: &str) {
        assert_eq!(drift_interval(text), Err(DurationError::OutOfBounds(text.into())));
    }
}
