//! Words that several sentences share.

use std::fmt::Display;
use std::time::Duration;

/// A time as people read it: `340 ms`, `2.5 s`.
pub(crate) fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else if duration.subsec_millis() < 50 && duration.as_secs() >= 1 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// `a`, `a and b`, `a, b and c`; after so many, how many more there are.
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    const SHOWN_MAX: usize = 6;
    let mut words: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if words.len() > SHOWN_MAX {
        let more = words.len() - SHOWN_MAX + 1;
        words.truncate(SHOWN_MAX - 1);
        words.push(format!("{more} more"));
    }
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The last line that an app wrote, as the end of a sentence; nothing where it wrote nothing.
pub(crate) fn last_words(lines: &[String]) -> String {
    const CHARS_MAX: usize = 160;
    let Some(line) = lines.iter().rev().find(|line| !line.trim().is_empty()) else { return String::new() };
    let mut shown: String = line.trim().chars().take(CHARS_MAX).collect();
    if line.trim().chars().count() > CHARS_MAX {
        shown.push('…');
    }
    format!("; its last words: {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lists_and_last_words() {
        assert_eq!(
            [0, 999, 1_000, 2_460, 60_000].map(|ms| time(Duration::from_millis(ms))),
            ["0 ms", "999 ms", "1 s", "2.5 s", "60 s"]
        );
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b", "c"]), "a, b and c");
        assert_eq!(list(1..=9), "1, 2, 3, 4, 5 and 4 more");
        assert_eq!(last_words(&["x".to_owned(), "boom ".to_owned(), " ".to_owned()]), "; its last words: boom");
        assert_eq!(last_words(&[]), "");
    }
}
