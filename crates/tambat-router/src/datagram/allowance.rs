//! How often the router itself answers a datagram.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How often a question of DNS is answered by us a second: more questions without a target are none that anybody needs
/// answered, and may come from somebody who says he is somebody else.
const ANSWERS_PER_SECOND_MAX: u32 = 100;

/// How many of them there were in this second.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    since: Cell<Option<Instant>>,
    taken: Cell<u32>,
}

impl Allowance {
    /// May one more be answered? Then it counts.
    pub(super) fn take(&self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if self.since.get().is_none_or(is_over) {
            self.since.set(Some(now));
            self.taken.set(0);
        }
        let taken = self.taken.get();
        if taken >= ANSWERS_PER_SECOND_MAX {
            return false;
        }
        self.taken.set(taken + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_then_as_many_again() {
        let (allowance, now) = (Allowance::default(), Instant::now());
        let taken = |at| (0..500).filter(|_| allowance.take(at)).count();
        assert_eq!(taken(now), 100);
        assert_eq!(taken(now + Duration::from_millis(999)), 0);
        assert_eq!(taken(now + Duration::from_secs(1)), 100);
    }
}
