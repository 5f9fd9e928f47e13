use std::{
    future::{self, Future},
    pin::Pin,
    time::Duration,
};

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
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
pub struct Draining(watch::Receiver<Phase>);

impl Draining {
    /// Completes when the app was told to stop, or at once if it was already. Cancelling it loses nothing.
    pub async fn begun(&mut self) {
        // An error means that the server is gone, which closes its connections.
        drop(self.0.wait_for(|phase| *phase == Phase::Draining).await);
    }

    /// Whether the app was told to stop.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow() == Phase::Draining
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
}

/// The other end of every [`Draining`].
pub(crate) struct Drain(watch::Sender<Phase>);

impl Drain {
    pub(crate) fn new() -> (Self, Draining) {
        let (phase, phases) = watch::channel(Phase::Serving);
        (Self(phase), Draining(phases))
    }

    pub(crate) fn begin(&self) {
        self.0.send_replace(Phase::Draining);
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
