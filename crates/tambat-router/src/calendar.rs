//! Dates of days: for the access log, and for the field `Date`.

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that a leap day ends one.
pub(crate) fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let cases = [(0, (1970, 1, 1)), (58, (1970, 2, 28)), (11_016, (2000, 2, 29)), (11_017, (2000, 3, 1))];
        for (days, expected) in [(20_779, (2026, 11, 22)), (364, (1970, 12, 31))].into_iter().chain(cases) {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
