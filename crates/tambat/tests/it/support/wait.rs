//! Waiting for an event, bounded.

use std::time::{Duration, Instant};

/// Nothing that is waited for here takes nearly as long, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nothing tells us about.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks until there is something; panics with `what` after [`LIMIT`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}");
        pause(INTERVAL);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that polls: for what no event tells")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
