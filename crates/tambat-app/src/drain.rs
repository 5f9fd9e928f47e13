use std::{
    future::{self, Future},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use crate::Error;

/// How long requests in flight may take after the app was told to stop. Deployments wait 30 s for a process before
/// they kill it; a drain that is longer would be cut by them.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight got its answer.
    Whole,
    /// The grace was over, or a second `INT` came, before every request had its answer.
    Cut {
        /// How many connections were closed under a request: 1 or more.
        connections: usize,
    },
}

/// Tells the handler of a connection that the app was told to stop: finish what is begun, begin nothing, and return.
#[derive(Clone, Debug)]
pub struct Draining(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    begun: AtomicBool,
    told: Notify,
}

impl Draining {
    /// Completes when the app was told to stop, or at once if it was already. Cancelling it loses nothing.
    pub async fn begun(&self) {
        // It hears of what is told from when it exists, so that nothing is missed between the look and the wait.
        let told = self.0.told.notified();
        if !self.has_begun() {
            told.await;
        }
    }

    /// Whether the app was told to stop.
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }
}

/// The other end of every [`Draining`]. When it goes, the drain has begun.
pub(crate) struct Drain(Arc<Shared>);

impl Drain {
    pub(crate) fn new() -> (Self, Draining) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), Draining(shared))
    }

    pub(crate) fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.begin();
    }
}

/// What ends a server, step by step.
pub(crate) struct Stops<'a, D, C> {
    /// Begins the drain.
    pub(crate) drain: Pin<&'a mut D>,
    /// Ends it early. Not polled before `drain` is complete.
    pub(crate) cut: Pin<&'a mut C>,
}

/// The signals that stop an app. They are seen from when this exists.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    pub(crate) fn watch() -> Result<Self, Error> {
        let watch = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self { term: watch(SignalKind::terminate())?, int: watch(SignalKind::interrupt())? })
    }

    /// The first of them.
    pub(crate) async fn stop(mut self) {
        select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// The next `INT` from when this is first polled: a stream that begins then does not see the one before.
    pub(crate) async fn second_int() {
        match signal(SignalKind::interrupt()) {
            Ok(mut int) => drop(int.recv().await),
            Err(_) => future::pending().await,
        }
    }
}

/// Never: for servers whose drain nobody cuts.
pub(crate) fn never() -> impl Future<Output = ()> {
    future::pending()
}

#[cfg(test)]
mod tests {
    use tokio::{task::yield_now, time::timeout};

    use super::*;

    /// What takes longer than this has failed.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn who_waits_is_told_and_who_asks_later_knows() {
        let (drain, draining) = Drain::new();
        let waiting = tokio::spawn({
            let draining = draining.clone();
            async move { draining.begun().await }
        });
        yield_now().await;
        assert!(!waiting.is_finished() && !draining.has_begun());
        drain.begin();
        timeout(PATIENCE, waiting).await.expect("told").expect("no panic");
        timeout(PATIENCE, draining.begun()).await.expect("known");
        assert!(draining.has_begun());
    }

    #[tokio::test]
    async fn a_server_that_is_dropped_drains() {
        let (drain, draining) = Drain::new();
        drop(drain);
        timeout(PATIENCE, draining.begun()).await.expect("told");
    }
}
