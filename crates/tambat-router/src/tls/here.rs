//! The handshakes that a worker does itself.
//!
//! To hand a connection to another thread and to take it back costs a third of what the arithmetic does, where both
//! threads want the same core. So a worker does at most one handshake in each of its turns, and no request waits longer
//! for it than it takes: about 0.1 ms. All others are for the threads, and all of them for a while where one took longer
//! here, whatever the reason: a big RSA key, a certificate that had to be made, a slow machine.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::threads::{Unshaken, shake};
use crate::worker::Worker;

/// A handshake that keeps a worker longer at a time is one for the threads: ECDSA with X25519 takes 0.1 ms, and 0.2 ms
/// with ML-KEM on a slow core.
const STEP_MAX_US: u64 = 400;

/// So many connections go to the threads then.
const REST: u32 = 256;

/// Whether a worker shakes hands itself.
#[derive(Debug, Default)]
pub(crate) struct Here {
    /// So many handshakes more are for the threads.
    rest: Cell<u32>,
}

impl Here {
    /// May this one be done here? Certificates of clients are checked by the threads.
    pub(crate) fn takes(&self, unshaken: &Unshaken, worker: usize) -> bool {
        self.is_quick() && unshaken.worker == worker && !unshaken.settings.configs.asks_clients()
    }

    /// Asked once for each.
    fn is_quick(&self) -> bool {
        let rest = self.rest.get();
        self.rest.set(rest.saturating_sub(1));
        rest == 0
    }

    fn has_taken(&self, time: Duration) {
        if time > Duration::from_micros(STEP_MAX_US) {
            self.rest.set(REST);
        }
    }
}

/// Shakes hands and serves the connection, in a task of its own.
pub(crate) fn shake_here(unshaken: Unshaken, worker: Rc<Worker>) {
    spawn_local(async move {
        let accepted = {
            let mut shaking = pin!(shake(unshaken, worker.shared.settings.handshake_timeout));
            poll_fn(|cx| {
                let start = Instant::now();
                let polled = shaking.as_mut().poll(cx);
                worker.here.has_taken(start.elapsed());
                polled
            })
            .await
        };
        if let Some(accepted) = accepted {
            worker.serve(accepted);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_long_leaves_many_to_the_threads() {
        let here = Here::default();
        here.has_taken(Duration::from_micros(STEP_MAX_US));
        assert!(here.is_quick() && here.is_quick());
        here.has_taken(Duration::from_micros(STEP_MAX_US + 1));
        assert!((0..REST).all(|_| !here.is_quick()));
        assert!(here.is_quick());
    }
}
