//! How a target's health is found out.

use std::num::NonZeroU16;
use std::time::Duration;

/// How often a target is asked: a dead one is found within three of these.
const EVERY: Duration = Duration::from_secs(2);

/// How long an answer may take: on one machine it takes milliseconds unless the target is overloaded.
const WITHIN: Duration = Duration::from_secs(1);

/// So many good answers in a row bring a target in: one may be luck.
const UP: NonZeroU16 = NonZeroU16::MIN.saturating_add(1);

/// So many bad ones in a row put it out: one or two are a pause of its own.
const DOWN: NonZeroU16 = NonZeroU16::MIN.saturating_add(2);

/// How a target is asked whether it can serve, and what follows from its answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// An HTTP path that must answer 2xx; none: that it accepts a connection is enough.
    pub path: Option<String>,
    /// How often it is asked, from the beginning of one question to that of the next.
    pub every: Duration,
    /// How long an answer may take.
    pub within: Duration,
    /// So many good answers in a row bring it in.
    pub up: NonZeroU16,
    /// So many bad ones in a row put it out.
    pub down: NonZeroU16,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { path: None, every: EVERY, within: WITHIN, up: UP, down: DOWN }
    }
}
