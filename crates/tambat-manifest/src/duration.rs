//! Durations as people write them.

use std::time::Duration;

/// A day is longer than anything that is waited for here; more is a slip of the finger.
pub const DURATION_MAX: Duration = Duration::from_hours(24);

/// The units, in milliseconds.
const UNITS_MILLIS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No whole number in front.
    #[error("a duration is a whole number and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\"")]
    Syntax,
    /// No unit behind.
    #[error("a duration has a unit: \"{0}ms\", \"{0}s\", \"{0}m\" or \"{0}h\"")]
    NoUnit(u64),
    /// Another unit.
    #[error("`{0}` is not a unit of time known here: it is ms, s, m or h")]
    Unit(String),
    /// Longer than [`DURATION_MAX`].
    #[error("a duration is at most 24h")]
    TooLong,
}

/// Reads `500ms`, `30s`, `5m`, `1h`: a whole number and a unit, at most [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(DurationError::Syntax);
    }
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(DurationError::NoUnit(number));
    }
    if !unit.chars().all(char::is_alphabetic) {
        return Err(DurationError::Syntax);
    }
    let (_, millis) =
        UNITS_MILLIS.iter().find(|(name, _)| *name == unit).ok_or_else(|| DurationError::Unit(unit.to_owned()))?;
    let duration = Duration::from_millis(number.checked_mul(*millis).ok_or(DurationError::TooLong)?);
    if duration > DURATION_MAX { Err(DurationError::TooLong) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_a_duration() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
            (" 2 s ", 2_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_told_what_to_write() {
        let cases = [
            ("", "a duration is a whole number and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\""),
            ("soon", "a duration is a whole number and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\""),
            ("-1s", "a duration is a whole number and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\""),
            ("1.5s", "a duration is a whole number and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\""),
            ("30", "a duration has a unit: \"30ms\", \"30s\", \"30m\" or \"30h\""),
            ("30sec", "`sec` is not a unit of time known here: it is ms, s, m or h"),
            ("25h", "a duration is at most 24h"),
            ("99999999999999999999s", "a duration is at most 24h"),
            ("18446744073709551615h", "a duration is at most 24h"),
        ];
        for (text, sentence) in cases {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), sentence, "{text}");
        }
    }
}
