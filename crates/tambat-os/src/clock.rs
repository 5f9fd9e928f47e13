//! The local time of day, for log lines.

use std::time::{SystemTime, UNIX_EPOCH};

/// Hour (0–23), minute and second (0–60) of this moment in the machine's time zone; in UTC where the zone is unknown.
pub fn local_time_of_day(at: SystemTime) -> (u8, u8, u8) {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    // SAFETY: `tm` is plain numbers and one pointer, for which all-zero is valid.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type, and the call keeps neither.
    let converted = unsafe { libc::localtime_r(&raw const seconds, &raw mut broken_down) };
    if converted.is_null() {
        let of_day = seconds.rem_euclid(86_400);
        return (small(of_day / 3_600), small(of_day / 60 % 60), small(of_day % 60));
    }
    (small(broken_down.tm_hour), small(broken_down.tm_min), small(broken_down.tm_sec))
}

fn small(number: impl TryInto<u8>) -> u8 {
    number.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn seconds_and_minutes_are_the_same_in_most_of_the_world() {
        let (hour, _, second) = local_time_of_day(UNIX_EPOCH + Duration::from_secs(1_700_000_007));
        assert_eq!(second, 27);
        assert!(hour < 24);
    }
}
