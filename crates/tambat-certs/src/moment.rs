//! The calendar: certificates count seconds since 1970, and people read days.

use std::time::{Duration, SystemTime};

/// The last second that a certificate can name (9999-12-31T23:59:59Z, RFC 5280 §4.1.2.5): later times are this one.
const SECONDS_MAX: u64 = 253_402_300_799;

/// So many seconds after 1970; before it is 1970.
pub(crate) fn from_unix(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(SECONDS_MAX))
}

/// Seconds since 1970; 0 before it.
pub(crate) fn unix(at: SystemTime) -> u64 {
    since(at, SystemTime::UNIX_EPOCH).as_secs().min(SECONDS_MAX)
}

/// How long after `earlier` this is; zero if it is before.
pub(crate) fn since(at: SystemTime, earlier: SystemTime) -> Duration {
    at.duration_since(earlier).unwrap_or_default()
}

/// So much later, or the last second that can be written.
pub(crate) fn later(at: SystemTime, by: Duration) -> SystemTime {
    from_unix(i64::try_from(unix(at).saturating_add(by.as_secs())).unwrap_or(i64::MAX))
        + Duration::from_nanos(u64::from(by.subsec_nanos()))
}

/// So much earlier, or 1970.
pub(crate) fn earlier(at: SystemTime, by: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + since(at, SystemTime::UNIX_EPOCH).saturating_sub(by)
}

/// The day in UTC: `2027-01-31`.
pub(crate) fn day(at: SystemTime) -> String {
    let days = unix(at) / 86_400;
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The minute in UTC: `2027-01-31 09:05 UTC`.
pub(crate) fn minute(at: SystemTime) -> String {
    let of_day = unix(at) % 86_400;
    format!("{} {:02}:{:02} UTC", day(at), of_day / 3_600, of_day % 3_600 / 60)
}

/// Days since 1970 as year, month and day of the Gregorian calendar. Years begin in March here, so that the day that some
/// have more is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A length of time as people say it: the largest unit that fits, rounded down.
pub(crate) fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day_of) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (1_798_761_600, "2027-01-01"),
            (4_107_542_400, "2100-03-01"),
            (i64::MAX, "9999-12-31"),
            (-1, "1970-01-01"),
        ] {
            assert_eq!(day(from_unix(seconds)), day_of, "{seconds}");
        }
        assert_eq!(minute(from_unix(1_798_761_600 + 9 * 3_600 + 65)), "2027-01-01 09:01 UTC");
    }

    #[test]
    fn no_time_is_out_of_range() {
        let end = from_unix(i64::MAX);
        assert_eq!(later(end, Duration::MAX), end + Duration::from_nanos(999_999_999));
        assert_eq!(earlier(from_unix(5), Duration::from_secs(9)), from_unix(0));
        assert_eq!(since(from_unix(1), from_unix(2)), Duration::ZERO);
    }

    #[test]
    fn lengths_are_said_in_one_unit() {
        for (seconds, text) in [(5, "5 s"), (150, "2 min"), (7_300, "2 h"), (200_000, "2 days")] {
            assert_eq!(spell(Duration::from_secs(seconds)), text);
        }
    }
}
