//! Why no certificate came, and how long to wait before the next try.

use std::fmt;
use std::time::Duration;

use super::jitter::Jitter;

/// Why an order came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose matter it is.
    pub kind: FailureKind,
    /// When the CA wants to be asked again, by its own word.
    pub retry_after: Option<Duration>,
    /// What happened, in one line. Holds no key, token or password.
    pub text: String,
}

/// Whose matter a failure is: what is waited for depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The CA was not reached, or is out of order: nothing about this name, and the same for all others.
    Away,
    /// The CA said no to this name, most often because it could not reach this machine by it.
    Refused,
    /// Too many orders, by the CA's rules.
    Limited,
    /// Something on this machine: a setting, the disk, a hook. The CA has no part in it.
    Here,
}

/// The first pause while the CA is away: it may have been one lost packet …
const AWAY_FIRST: Duration = Duration::from_secs(10);

/// … and the longest: nobody waits much longer for a certificate than for the CA.
const AWAY_MAX: Duration = Duration::from_mins(15);

/// Each pause is so many times the last one.
const AWAY_FACTOR: u32 = 2;

/// The first pause after a refusal. With the factor below these are 4 tries in the first hour: a well-known CA allows 5.
const REFUSED_FIRST: Duration = Duration::from_mins(2);

/// The longest: whoever mends the name's DNS record should not have to wait for the next day.
const REFUSED_MAX: Duration = Duration::from_hours(6);

/// Each pause is so many times the last one.
const REFUSED_FACTOR: u32 = 3;

/// The first pause after too many orders, where the CA does not say how long: limits are counted by the hour.
const LIMITED_FIRST: Duration = Duration::from_hours(1);

/// The longest one that a CA may ask for; it is a week that limits go back to.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(7 * 24);

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, retry_after: None, text: text.into() }
    }

    /// How long to wait after so many in a row, this one counted. Never shorter than the CA asks for.
    pub(crate) fn pause(&self, in_a_row: u32, jitter: &mut Jitter) -> Duration {
        let (first, factor, longest) = match self.kind {
            FailureKind::Away => (AWAY_FIRST, AWAY_FACTOR, AWAY_MAX),
            FailureKind::Refused | FailureKind::Here => (REFUSED_FIRST, REFUSED_FACTOR, REFUSED_MAX),
            FailureKind::Limited => (LIMITED_FIRST, REFUSED_FACTOR, REFUSED_MAX),
        };
        let grown = (1..in_a_row).try_fold(first, |pause, _| {
            let next = pause.saturating_mul(factor);
            if next < longest { Ok(next) } else { Err(longest) }
        });
        let pause = jitter.around(match grown {
            Ok(pause) | Err(pause) => pause,
        });
        // Behind what the CA asks for, not around it.
        self.retry_after.map_or(pause, |asked| {
            let asked = asked.min(RETRY_AFTER_MAX);
            pause.max(asked.saturating_add(jitter.part().of(asked / 16)))
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(kind: FailureKind, retry_after: Option<Duration>) -> Vec<u64> {
        let failure = Failure { kind, retry_after, text: String::new() };
        let mut jitter = Jitter::seeded(7);
        (1..=9).map(|row| failure.pause(row, &mut jitter).as_secs()).collect()
    }

    #[test]
    fn pauses_grow_to_their_end() {
        for (kind, middles) in [
            (FailureKind::Away, [10, 20, 40, 80, 160, 320, 640, 900, 900]),
            (FailureKind::Refused, [120, 360, 1_080, 3_240, 9_720, 21_600, 21_600, 21_600, 21_600]),
            (FailureKind::Limited, [3_600, 10_800, 21_600, 21_600, 21_600, 21_600, 21_600, 21_600, 21_600]),
        ] {
            for (pause, middle) in pauses(kind, None).into_iter().zip(middles) {
                assert!((middle * 3 / 4..=middle * 5 / 4).contains(&pause), "{kind:?}: {pause} around {middle}");
            }
        }
    }

    #[test]
    fn what_the_ca_asks_for_is_waited_for() {
        let asked = Duration::from_hours(5);
        for pause in &pauses(FailureKind::Away, Some(asked)) {
            assert!((5 * 3_600..=6 * 3_600).contains(pause), "{pause}");
        }
        let absurd = pauses(FailureKind::Limited, Some(Duration::MAX));
        assert!(absurd.iter().all(|pause| *pause <= 8 * 24 * 3_600), "{absurd:?}");
        assert!(pauses(FailureKind::Refused, Some(Duration::ZERO))[8] > 3_600, "its own pause still counts");
    }

    #[test]
    fn many_failures_in_a_row_are_no_trouble() {
        let failure = Failure::new(FailureKind::Refused, "no");
        assert!(failure.pause(u32::MAX, &mut Jitter::seeded(1)) <= REFUSED_MAX * 5 / 4);
    }
}
