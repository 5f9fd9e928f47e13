//! How a target is asked whether it is well.

use std::num::NonZeroU32;
use std::time::Duration;

/// How often a target is asked, unless `health.every` says otherwise.
pub const HEALTH_EVERY_DEFAULT: Duration = Duration::from_secs(2);

/// How long its answer may take, unless `health.within` says otherwise.
pub const HEALTH_WITHIN_DEFAULT: Duration = Duration::from_secs(1);

/// So many right answers in a row take it in again, unless `health.up` says otherwise.
pub const HEALTH_UP_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// So many wrong answers in a row take it out, unless `health.down` says otherwise.
pub const HEALTH_DOWN_DEFAULT: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

/// What a target is asked, and how its answers count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthRules {
    /// The path that must answer 2xx; none: it must take a TCP connection.
    pub path: Option<String>,
    /// From one question to the next.
    pub every: Duration,
    /// How long an answer may take.
    pub within: Duration,
    /// So many right answers in a row take it in.
    pub up: NonZeroU32,
    /// So many wrong ones in a row take it out.
    pub down: NonZeroU32,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            path: None,
            every: HEALTH_EVERY_DEFAULT,
            within: HEALTH_WITHIN_DEFAULT,
            up: HEALTH_UP_DEFAULT,
            down: HEALTH_DOWN_DEFAULT,
        }
    }
}
