//! Time as the machines see it: how long the supervisor has been there.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the supervisor's own clock, which only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// So long after the beginning.
    pub(crate) const fn after(duration: Duration) -> Self {
        Self(duration)
    }

    /// How long after the beginning.
    pub(crate) fn since_start(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Moment {
    type Output = Duration;

    /// None before: the clock only goes forward.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
