//! What a user is told about an instance.

use std::fmt;
use std::time::Duration;

use tambat_model::{Cause, ClauseId, Elsewhere};

use crate::exit::Exit;

/// One thing that a user is told about an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// It runs.
    Started {
        /// Its process id.
        pid: i32,
    },
    /// It is ready.
    Ready {
        /// How long it took.
        after: Duration,
    },
    /// It has bound its port again, after a reload.
    ReadyAgain,
    /// Something is wrong that may yet come right.
    Trouble(Cause),
    /// Whoever listens on its port could not be looked into.
    OwnerUnreadable,
    /// A worker has bound its port after all.
    WorkerBound,
    /// A worker listens somewhere.
    WorkerBoundElsewhere {
        /// Where.
        elsewhere: Vec<Elsewhere>,
    },
    /// It ended after it had been told to.
    StopEnded(Exit),
    /// It came to its end by itself.
    Ended(Cause),
    /// It failed and is started again.
    Again {
        /// Why.
        cause: Cause,
        /// That has been told before.
        is_told: bool,
        /// In how long.
        pause: Duration,
    },
    /// It failed and is not started again.
    Failed {
        /// Why.
        cause: Cause,
        /// That has been told before.
        is_told: bool,
        /// How often within a minute.
        times: usize,
    },
    /// It was to replace one that runs, and failed.
    NotReplaced {
        /// Why.
        cause: Cause,
    },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { pid } => write!(f, "started with pid {pid}"),
            Self::Ready { after } => write!(f, "ready after {:.2} s", after.as_secs_f64()),
            Self::ReadyAgain => f.write_str("ready again"),
            Self::Trouble(cause) | Self::Ended(cause) => f.write_str(cause),
            Self::OwnerUnreadable => f.write_str(
                "cannot see who listens on its PORT (a setuid program, or another user's): taken for this instance, since the port was free just before",
            ),
            Self::WorkerBound => f.write_str("has bound its PORT; say `protocol = \"…\"` in tambat.toml so that it is waited for"),
            Self::WorkerBoundElsewhere { elsewhere } => {
                let ports: Vec<String> = elsewhere.iter().map(|e| e.port.to_string()).collect();
                let (ports, clause) = (ports.join(", "), ClauseId::UNDECLARED);
                write!(f, "listens on {ports}, which no variable told it ({clause}); if it serves there, let it bind PORT")
            }
            Self::StopEnded(exit) if exit.killed => {
                write!(
                    f,
                    "did not stop within its grace and was killed ({}); raise stop.grace, or let it end on its stop signal",
                    ClauseId::STOPS
                )
            }
            Self::StopEnded(exit) => f.write_str(&exit.phrase()),
            Self::Again { cause, is_told, pause } => {
                write!(f, "{}started again in {:.2} s", Why(cause, *is_told), pause.as_secs_f64())
            }
            Self::NotReplaced { cause } => write!(f, "{cause}; the one that it was to replace goes on"),
            Self::Failed { cause, is_told, times: 1 } => write!(f, "{}not started again", Why(cause, *is_told)),
            Self::Failed { cause, is_told, times } => {
                let why = Why(cause, *is_told);
                write!(f, "{why}it failed {times} times within a minute and is not started again: `tambat restart` tries anew")
            }
        }
    }
}

/// Why it failed, before what follows from that; nothing where that has been told.
struct Why<'a>(&'a Cause, bool);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(cause, is_told) = self;
        if *is_told { Ok(()) } else { write!(f, "{cause}; ") }
    }
}

impl News {
    /// Is something wrong?
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Trouble(_)
            | Self::Again { .. }
            | Self::Failed { .. }
            | Self::NotReplaced { .. }
            | Self::OwnerUnreadable => true,
            Self::StopEnded(exit) => exit.killed,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::How;

    #[test]
    fn every_sentence_a_user_is_told() {
        let cause = || -> Cause { "web.1 exited with code 1".into() };
        let exit = |how, killed| Exit { how, left_behind: Vec::new(), killed, last_lines: Vec::new() };
        let at = |port| Elsewhere { program: "node".to_owned(), pid: 7, port };
        let all = [
            News::Started { pid: 7 },
            News::Ready { after: Duration::from_millis(1_234) },
            News::ReadyAgain,
            News::Trouble(cause()),
            News::OwnerUnreadable,
            News::WorkerBound,
            News::WorkerBoundElsewhere { elsewhere: vec![at(3000), at(3001)] },
            News::StopEnded(exit(How::Code(0), false)),
            News::StopEnded(exit(How::Signal(9, "KILL".to_owned()), true)),
            News::Ended(cause()),
            News::Again { cause: cause(), is_told: false, pause: Duration::from_millis(250) },
            News::Again { cause: cause(), is_told: true, pause: Duration::from_millis(250) },
            News::Failed { cause: cause(), is_told: false, times: 1 },
            News::Failed { cause: cause(), is_told: false, times: 5 },
            News::Failed { cause: cause(), is_told: true, times: 5 },
            News::NotReplaced { cause: cause() },
        ];
        let lines = all.iter().map(|news| format!("{}{news}\n", if news.is_trouble() { "! " } else { "  " }));
        insta::assert_snapshot!(lines.collect::<String>(), @r#"
          started with pid 7
          ready after 1.23 s
          ready again
        ! web.1 exited with code 1
        ! cannot see who listens on its PORT (a setuid program, or another user's): taken for this instance, since the port was free just before
          has bound its PORT; say `protocol = "…"` in tambat.toml so that it is waited for
          listens on 3000, 3001, which no variable told it (PB-05); if it serves there, let it bind PORT
          exited with code 0
        ! did not stop within its grace and was killed (PB-11); raise stop.grace, or let it end on its stop signal
          web.1 exited with code 1
        ! web.1 exited with code 1; started again in 0.25 s
        ! started again in 0.25 s
        ! web.1 exited with code 1; not started again
        ! web.1 exited with code 1; it failed 5 times within a minute and is not started again: `tambat restart` tries anew
        ! it failed 5 times within a minute and is not started again: `tambat restart` tries anew
        ! web.1 exited with code 1; the one that it was to replace goes on
        "#);
    }
}
