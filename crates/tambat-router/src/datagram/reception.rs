//! A hub as its worker has it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, yield_now};

use super::hub::Hub;
use crate::listener::ListenerKind;

/// How long sessions at a listener that was removed may go on: somebody may want its address again.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// A hub at work, as its worker has it. Dropping it changes nothing.
#[derive(Debug)]
pub(crate) struct Reception {
    pub(super) hub: Rc<Hub>,
    pub(super) task: JoinHandle<()>,
}

impl Reception {
    pub(crate) fn kind(&self) -> ListenerKind {
        self.hub.kind()
    }

    /// Begins no more sessions there; those that are silent end.
    pub(crate) fn drain(&self) {
        self.hub.drain(None);
    }

    /// The same where the listener is to be no more: its address is free before long, whoever still talks.
    pub(crate) fn close(&self) {
        self.hub.drain(Some(Instant::now() + CLOSED_WITHIN));
    }

    /// The same at once; comes back when its socket is closed.
    pub(crate) async fn end(self) {
        let Self { hub, task } = self;
        hub.drain(Some(Instant::now()));
        let _ = task.await;
        // Those who read answers have been told to end, and have it until they have.
        let there = Rc::downgrade(&hub);
        drop(hub);
        while there.strong_count() > 0 {
            yield_now().await;
        }
    }

    /// Drains those of such listeners.
    pub(crate) fn drain_all(all: &[Self], is_one: impl Fn(ListenerKind) -> bool) {
        all.iter().filter(|reception| is_one(reception.kind())).for_each(Self::drain);
    }

    /// Has it come to its end?
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}
