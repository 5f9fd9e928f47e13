//! How the CA is, as far as orders tell.

use std::time::{Duration, SystemTime};

use super::entry::Pause;
use crate::acme::failure::{Failure, FailureKind};
use crate::acme::jitter::Jitter;

/// After a "too many" to one name the others wait for so long, too: most limits count per name, some per account.
const LIMITED_PAUSE: Duration = Duration::from_mins(1);

/// What orders have shown.
#[derive(Debug, Default)]
pub(crate) struct Ca {
    away: Option<Away>,
    pause: Option<Pause>,
}

/// It was not reached, or is out of order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Away {
    /// Since when.
    pub(crate) since: SystemTime,
    /// So many orders in a row have shown it.
    pub(crate) failures: u32,
    /// The last of them.
    pub(crate) failure: Failure,
}

impl Ca {
    /// No order before this moment.
    pub(super) fn until(&self) -> Option<SystemTime> {
        self.pause.map(Pause::end)
    }

    /// Was the last that is known of it that it was away?
    pub(crate) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// How it is away.
    pub(crate) fn away(&self) -> Option<&Away> {
        self.away.as_ref()
    }

    /// It has done what was asked.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// An order has failed.
    pub(super) fn failed(&mut self, failure: &Failure, now: SystemTime, jitter: &mut Jitter) {
        match failure.kind {
            FailureKind::Away => {
                let (since, before) = self.away.as_ref().map_or((now, 0), |away| (away.since, away.failures));
                // Orders that ran at the same moment say the same thing, not one more.
                let is_news = self.pause.is_none_or(|pause| pause.end() <= now);
                let failures = if is_news { before.saturating_add(1) } else { before.max(1) };
                if is_news {
                    self.pause = Some(Pause { since: now, length: failure.pause(failures, jitter) });
                }
                self.away = Some(Away { since, failures, failure: failure.clone() });
            }
            FailureKind::Refused => self.answered(),
            FailureKind::Here => {}
            FailureKind::Limited => {
                self.away = None;
                self.pause = Some(Pause { since: now, length: LIMITED_PAUSE });
            }
        }
    }

    pub(super) fn not_ahead_of(&mut self, now: SystemTime) {
        if let Some(pause) = &mut self.pause {
            pause.since = pause.since.min(now);
        }
        if let Some(away) = &mut self.away {
            away.since = away.since.min(now);
        }
    }
}
