//! Is a target in or out? A pure machine: what its answers and its connections say, and how long ago.
//!
//! A target is in until something speaks against it, so that nobody waits for a first question. Answers put it out and
//! bring it in by so many in a row. A connection for a request that fails puts it out at once, for a while: that is
//! dearer evidence than a question, since somebody waited for it.

mod ask;
mod checker;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tambat_model::{Cause, HealthRules};

pub use checker::{Check, Checker, HealthView, QUESTIONS_MAX};

/// A target stays out for so long after a connection to it has failed, unless its answers bring it in before: as long as
/// a restart takes, and a few requests a minute at most find out that it was none.
pub const REST: Duration = Duration::from_secs(5);

/// What is known of one target's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It takes requests.
    In { asked: bool, wrong: u32, last: Option<Cause> },
    /// Its answers put it out, and so many of them in a row were right since.
    Out { right: u32, cause: Cause },
    /// A connection to it failed.
    Resting { until: Instant, right: u32, wrong: u32, cause: Cause },
}

/// What happened to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// It answered as it should.
    Well,
    /// It did not: the end of a sentence that begins with its name: `answers 503 Service Unavailable`.
    Ill(Cause),
    /// A connection for a request failed; the same.
    Unreachable(Cause),
    /// Nothing: time has passed.
    Time,
}

/// One target of a route, and why it is in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// Its name: `shop/127.0.0.1:3000`, `web.1`.
    pub name: String,
    /// Where it is dialled.
    pub addr: SocketAddr,
    /// Does it take requests?
    pub is_in: bool,
    /// Why: the end of a sentence that begins with its name.
    pub reason: String,
}

impl Default for Health {
    /// Nothing is known: it takes requests.
    fn default() -> Self {
        Self(State::In { asked: false, wrong: 0, last: None })
    }
}

impl Health {
    /// Does it take requests?
    pub fn is_in(&self) -> bool {
        matches!(self.0, State::In { .. })
    }

    /// When time alone changes something; none: never.
    pub fn due(&self) -> Option<Instant> {
        if let State::Resting { until, .. } = &self.0 { Some(*until) } else { None }
    }

    /// What it is after this.
    #[must_use]
    pub fn on(self, sign: Sign, rules: &HealthRules, now: Instant) -> Self {
        let state = rested(self.0, now);
        Self(match sign {
            Sign::Well => well(state, rules),
            Sign::Ill(cause) => ill(&state, cause, rules),
            Sign::Unreachable(cause) => unreachable(&state, cause, now),
            Sign::Time => state,
        })
    }

    /// Why it is in or out: the end of a sentence that begins with its name.
    pub fn reason(&self, rules: &HealthRules) -> String {
        match &self.0 {
            State::In { asked: false, .. } => "has not been asked yet".to_owned(),
            State::In { wrong: 0, .. } => "answers".to_owned(),
            State::In { wrong, last, .. } => {
                let last = last.as_deref().unwrap_or("did not answer");
                format!("{last} ({wrong} of {} in a row that put it out)", rules.down)
            }
            State::Out { right: 0, cause } => cause.to_string(),
            State::Out { right, cause } => {
                format!("{cause}; since then it has answered ({right} of {} in a row that bring it in)", rules.up)
            }
            State::Resting { cause, .. } => {
                format!("{cause}; it is tried again within {} s of that", REST.as_secs())
            }
        }
    }

    /// Why it is out, in short: the end of a sentence that begins with its name.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.0 {
            State::In { .. } => None,
            State::Out { cause, .. } | State::Resting { cause, .. } => Some(cause),
        }
    }
}

/// A rest that is over: who has given a wrong answer meanwhile has to give right ones first.
fn rested(state: State, now: Instant) -> State {
    match state {
        State::Resting { until, wrong: 0, .. } if now >= until => State::In { asked: true, wrong: 0, last: None },
        State::Resting { until, right, cause, .. } if now >= until => State::Out { right, cause },
        state => state,
    }
}

fn well(state: State, rules: &HealthRules) -> State {
    let back = State::In { asked: true, wrong: 0, last: None };
    let is_enough = |right: u32| right >= rules.up.get();
    match state {
        State::In { .. } => back,
        State::Out { right, .. } | State::Resting { right, .. } if is_enough(right.saturating_add(1)) => back,
        State::Out { right, cause } => State::Out { right: right + 1, cause },
        State::Resting { until, right, cause, .. } => State::Resting { until, right: right + 1, wrong: 0, cause },
    }
}

fn ill(state: &State, cause: Cause, rules: &HealthRules) -> State {
    match *state {
        State::In { wrong, .. } | State::Resting { wrong, .. } if wrong.saturating_add(1) >= rules.down.get() => {
            State::Out { right: 0, cause }
        }
        State::In { wrong, .. } => State::In { asked: true, wrong: wrong + 1, last: Some(cause) },
        State::Out { .. } => State::Out { right: 0, cause },
        State::Resting { until, wrong, .. } => State::Resting { until, right: 0, wrong: wrong + 1, cause },
    }
}

fn unreachable(state: &State, cause: Cause, now: Instant) -> State {
    let until = now + REST;
    match *state {
        State::In { wrong, .. } | State::Resting { wrong, .. } => State::Resting { until, right: 0, wrong, cause },
        // One that was on its way when the answers put it out.
        State::Out { .. } => State::Out { right: 0, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs, one a second, from a target about which nothing is known: `+` well, `-` ill, `x` unreachable, `.` time.
    /// What it is after each: `I`n, `O`ut, `R`esting.
    fn after(signs: &str) -> String {
        let (start, rules) = (Instant::now(), HealthRules::default());
        let mut health = Health::default();
        let mut seen = String::new();
        for (second, sign) in (0..).zip(signs.chars()) {
            let sign = match sign {
                '+' => Sign::Well,
                '-' => Sign::Ill("did not answer".into()),
                'x' => Sign::Unreachable("refused the connection".into()),
                _ => Sign::Time,
            };
            health = health.on(sign, &rules, start + Duration::from_secs(second));
            assert_eq!(health.is_in(), health.cause().is_none());
            seen.push(match health.0 {
                State::In { .. } => 'I',
                State::Out { .. } => 'O',
                State::Resting { .. } => 'R',
            });
        }
        seen
    }

    #[test]
    fn the_table_of_states() {
        for (signs, states) in [
            // Nothing known: in.
            ("....", "IIII"),
            // Three wrong ones in a row put it out, two right ones bring it in.
            ("---", "IIO"),
            ("--+--+---", "IIIIIIIIO"),
            ("---+-+-++-", "IIOOOOOOII"),
            // For ever: it is asked on while it is out.
            ("--------------------++", "IIOOOOOOOOOOOOOOOOOOOI"),
            // A failed connection puts it out at once, for 5 s.
            ("x....", "RRRRR"),
            ("x.....", "RRRRRI"),
            ("+x.....", "IRRRRRI"),
            // Right answers bring it in before.
            ("x++", "RRI"),
            ("x+....", "RRRRRI"),
            // One whose last answer meanwhile was wrong stays out until its answers bring it in.
            ("x-....", "RRRRRO"),
            ("x-+....", "RRRRRII"),
            ("x-....+", "RRRRROO"),
            ("x-....++", "RRRRROOI"),
            ("x---", "RRRO"),
            ("--x-", "IIRO"),
            // Another failed one, of those on their way, begins the rest anew.
            ("x...x....", "RRRRRRRRR"),
            ("x...x.....", "RRRRRRRRRI"),
            // And says nothing new of one that is out, but that its right answers were not enough.
            ("---+x+", "IIOOOO"),
            ("---+x++", "IIOOOOI"),
        ] {
            assert_eq!(after(signs), states, "{signs}");
        }
    }

    #[test]
    fn a_rest_ends_by_itself_and_nothing_else_does() {
        let (now, rules) = (Instant::now(), HealthRules::default());
        let fresh = Health::default();
        assert_eq!(fresh.due(), None);
        let resting = fresh.on(Sign::Unreachable("refused the connection".into()), &rules, now);
        assert_eq!(resting.due(), Some(now + REST));
        let just_before = REST.checked_sub(Duration::from_nanos(1)).unwrap();
        assert!(!resting.clone().on(Sign::Time, &rules, now + just_before).is_in());
        let back = resting.on(Sign::Time, &rules, now + REST);
        assert!(back.is_in() && back.due().is_none());
    }

    #[test]
    fn each_state_has_its_sentence() {
        let (now, rules) = (Instant::now(), HealthRules::default());
        let ill = || Sign::Ill("answers 503 Service Unavailable".into());
        let mut health = Health::default();
        assert_eq!(health.reason(&rules), "has not been asked yet");
        for (sign, sentence) in [
            (Sign::Well, "answers"),
            (ill(), "answers 503 Service Unavailable (1 of 3 in a row that put it out)"),
            (ill(), "answers 503 Service Unavailable (2 of 3 in a row that put it out)"),
            (ill(), "answers 503 Service Unavailable"),
            (
                Sign::Well,
                "answers 503 Service Unavailable; since then it has answered (1 of 2 in a row that bring it in)",
            ),
            (Sign::Well, "answers"),
            (
                Sign::Unreachable("refused the connection".into()),
                "refused the connection; it is tried again within 5 s of that",
            ),
        ] {
            health = health.on(sign, &rules, now);
            assert_eq!(health.reason(&rules), sentence);
        }
        assert_eq!(health.cause().map(|cause| &**cause), Some("refused the connection"));
    }
}
