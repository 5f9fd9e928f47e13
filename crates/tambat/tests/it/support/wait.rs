//! Waiting for an event, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that is waited for here takes nearly as long, on a busy machine too: two Erlang machines at once boot in half of it.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// How often a condition is looked at that nothing tells us about.
const INTERVAL: Duration = Duration::from_millis(5);

/// What a stopwatch counts.
const TICK: Duration = Duration::from_millis(10);

/// Time as the machine gives it to this process: while it gives none, none passes. For limits from above, which the time of
/// day would break on a machine that stood still for some seconds, although nobody was late.
#[derive(Debug)]
pub(crate) struct Stopwatch(Arc<AtomicU32>);

impl Stopwatch {
    pub(crate) fn begin() -> Self {
        let ticks = Arc::<AtomicU32>::default();
        let counted = Arc::downgrade(&ticks);
        thread::spawn(move || {
            while let Some(ticks) = counted.upgrade() {
                pause(TICK);
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self(ticks)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        TICK * self.0.load(Ordering::Relaxed)
    }
}

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
