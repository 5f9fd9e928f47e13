//! One name: what it has, and when its next order is due.

use std::time::{Duration, SystemTime};

use super::Tried;
use crate::acme::failure::Failure;
use crate::acme::jitter::{Jitter, Part};
use crate::certificate::Lifetime;
use crate::moment;

/// Renewals are spread over the twelfth of the lifetime that lies before its two thirds: 7 days of 90.
const SPREAD_PART: u32 = 12;

/// Whatever a CA suggests, at least this part of the lifetime is left for failures.
const LEFT_PART: u32 = 10;

/// Why a name has a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// A route names it.
    Named,
    /// Somebody connected to it, and was allowed to.
    Demanded,
}

/// No order for so long after this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) since: SystemTime,
    pub(crate) length: Duration,
}

impl Pause {
    /// Its end.
    pub(crate) fn end(self) -> SystemTime {
        moment::later(self.since, self.length)
    }
}

/// One name.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) why: Why,
    phase: Phase,
    held: Option<Held>,
    pause: Option<Pause>,
    failures: u32,
    failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What is on the disk is not known yet.
    Loading,
    /// Nothing runs.
    Resting,
    /// An order runs.
    Ordering,
    /// There will be no further order.
    GivenUp,
}

/// The certificate that it has.
#[derive(Debug)]
struct Held {
    lifetime: Lifetime,
    spread: Part,
    window: Window,
}

/// What the CA suggests.
#[derive(Debug)]
enum Window {
    /// Nothing is known yet.
    Unknown,
    /// It is being asked.
    Asking { last: Option<Suggested> },
    /// It has suggested something, and is asked again after the pause.
    Known { suggested: Suggested, again: Pause },
    /// It has not.
    None { again: Pause },
}

#[derive(Debug, Clone, Copy)]
struct Suggested {
    start: SystemTime,
    end: SystemTime,
    spread: Part,
}

impl Entry {
    pub(super) fn new(why: Why) -> Self {
        Self { why, phase: Phase::Loading, held: None, pause: None, failures: 0, failure: None }
    }

    /// From when until when its certificate is good, if it has one.
    pub(crate) fn lifetime(&self) -> Option<Lifetime> {
        self.held.as_ref().map(|held| held.lifetime)
    }

    /// Does an order run?
    pub(crate) fn is_ordering(&self) -> bool {
        self.phase == Phase::Ordering
    }

    /// Is there nothing more to wait for: neither the disk nor an order?
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Resting | Phase::GivenUp)
    }

    /// Has it been given up, and has what it had expired?
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        self.phase == Phase::GivenUp && self.lifetime().is_none_or(|lifetime| lifetime.not_after < now)
    }

    /// So many orders have failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the last one did.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// When the next order is due; none while one runs, or is not known to be needed.
    pub(crate) fn order_at(&self) -> Option<SystemTime> {
        if self.phase != Phase::Resting {
            return None;
        }
        let wanted = self.held.as_ref().map_or(SystemTime::UNIX_EPOCH, Held::renew_at);
        Some(self.pause.map_or(wanted, |pause| wanted.max(pause.end())))
    }

    /// When the CA is to be asked what it suggests.
    pub(crate) fn window_at(&self) -> Option<SystemTime> {
        match &self.held.as_ref().filter(|_| self.phase == Phase::Resting)?.window {
            Window::Unknown => Some(SystemTime::UNIX_EPOCH),
            Window::Asking { .. } => None,
            Window::Known { again, .. } | Window::None { again } => Some(again.end()),
        }
    }

    /// What was on the disk.
    pub(super) fn found(&mut self, lifetime: Option<Lifetime>, tried: Option<Tried>, spread: Part) {
        if self.phase != Phase::Loading {
            return;
        }
        self.phase = Phase::Resting;
        self.held = lifetime.map(|lifetime| Held { lifetime, spread, window: Window::Unknown });
        if let Some(tried) = tried {
            (self.pause, self.failures, self.failure) = (Some(tried.pause), tried.failures, Some(tried.failure));
        }
    }

    /// An order begins. Is the CA to be told what the new certificate replaces? Not after a failure: that may be the cause.
    pub(super) fn order(&mut self) -> bool {
        self.phase = Phase::Ordering;
        self.failures == 0 && self.held.as_ref().is_some_and(|held| held.suggested().is_some())
    }

    pub(super) fn issued(&mut self, lifetime: Lifetime, pause: Pause, spread: Part) {
        self.phase = Phase::Resting;
        self.held = Some(Held { lifetime, spread, window: Window::Unknown });
        (self.pause, self.failures, self.failure) = (Some(pause), 0, None);
    }

    /// An order succeeded, and yet what came of it is not good now: that counts as one that failed.
    pub(super) fn issued_in_vain(
        &mut self,
        lifetime: Lifetime,
        failure: Failure,
        now: SystemTime,
        jitter: &mut Jitter,
    ) -> Tried {
        self.held = Some(Held { lifetime, spread: jitter.part(), window: Window::Unknown });
        self.failed(failure, now, jitter)
    }

    /// An order failed, and it was about this name.
    pub(super) fn failed(&mut self, failure: Failure, now: SystemTime, jitter: &mut Jitter) -> Tried {
        self.phase = Phase::Resting;
        self.failures = self.failures.saturating_add(1);
        let pause = Pause { since: now, length: failure.pause(self.failures, jitter) };
        (self.pause, self.failure) = (Some(pause), Some(failure.clone()));
        Tried { pause, failures: self.failures, failure }
    }

    /// An order failed, and it was not about this name.
    pub(super) fn not_reached(&mut self, failure: Failure) {
        self.phase = Phase::Resting;
        self.failure = Some(failure);
    }

    pub(super) fn give_up(&mut self) {
        self.phase = Phase::GivenUp;
    }

    pub(super) fn ask_window(&mut self) {
        if let Some(held) = &mut self.held {
            held.window = Window::Asking { last: held.suggested().copied() };
        }
    }

    pub(super) fn suggested(&mut self, (start, end): (SystemTime, SystemTime), again: Pause, spread: Part) {
        let Some(held) = &mut self.held else { return };
        if end <= start {
            // RFC 9773 §4.2: such a window is as none.
            held.window = Window::None { again };
            return;
        }
        // The moment in a window is chosen once, or asking often would choose an early one.
        let last = held.suggested().filter(|last| (last.start, last.end) == (start, end));
        let suggested = last.copied().unwrap_or(Suggested { start, end, spread });
        held.window = Window::Known { suggested, again };
    }

    pub(super) fn not_suggested(&mut self, again: Pause) {
        let Some(held) = &mut self.held else { return };
        held.window = match held.suggested().copied() {
            Some(suggested) => Window::Known { suggested, again },
            None => Window::None { again },
        };
    }

    pub(super) fn not_ahead_of(&mut self, now: SystemTime) {
        if let Some(pause) = &mut self.pause {
            pause.since = pause.since.min(now);
        }
        if let Some(held) = &mut self.held
            && let Window::Known { again, .. } | Window::None { again } = &mut held.window
        {
            again.since = again.since.min(now);
        }
    }
}

impl Held {
    fn suggested(&self) -> Option<&Suggested> {
        match &self.window {
            Window::Known { suggested, .. } | Window::Asking { last: Some(suggested) } => Some(suggested),
            Window::Unknown | Window::Asking { last: None } | Window::None { .. } => None,
        }
    }

    /// When it is to be renewed: as the CA suggests, else at two thirds of its lifetime or a little before.
    fn renew_at(&self) -> SystemTime {
        let length = self.lifetime.length();
        match self.suggested() {
            Some(Suggested { start, end, spread }) => {
                let chosen = moment::later(*start, spread.of(moment::since(*end, *start)));
                chosen.min(moment::earlier(self.lifetime.not_after, length / LEFT_PART))
            }
            None => moment::earlier(self.lifetime.two_thirds(), self.spread.of(length / SPREAD_PART)),
        }
    }
}
