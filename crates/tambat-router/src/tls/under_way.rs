//! A handshake that is under way: counted, and bounded in time, on whichever thread it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::failure::HandshakeFailure;
use super::handshake::Answered;
use super::stream::TlsStream;
use crate::listener::ListenerState;

/// A handshake without its end, on its way to a worker.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(super) answered: Answered,
    pub(super) under_way: UnderWay,
    /// What the client is told then, and last; none: it is served.
    pub(crate) last: Option<Vec<u8>>,
}

impl Handshake {
    /// Shakes hands to the end. None: it came to nothing, and the connection is closed.
    pub(crate) async fn finish(self, client: TcpStream) -> Option<TlsStream> {
        let Self { answered, under_way, .. } = self;
        let outcome = under_way.within_time(answered.finish(&client)).await;
        under_way.end(&outcome);
        Some(TlsStream::new(client, outcome.ok()?))
    }
}

/// It counts as one until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    listener: Arc<ListenerState>,
    deadline: Instant,
    _room: OwnedSemaphorePermit,
}

impl UnderWay {
    pub(super) fn new(listener: &Arc<ListenerState>, deadline: Instant, room: OwnedSemaphorePermit) -> Self {
        listener.handshakes.under_way.fetch_add(1, Ordering::Relaxed);
        Self { listener: Arc::clone(listener), deadline, _room: room }
    }

    /// A step of it, given up at its deadline.
    pub(super) async fn within_time<T>(
        &self,
        step: impl Future<Output = Result<T, HandshakeFailure>>,
    ) -> Result<T, HandshakeFailure> {
        timeout_at(self.deadline, step).await.unwrap_or(Err(HandshakeFailure::Timeout))
    }

    /// It has come to an end.
    pub(super) fn end<T>(self, outcome: &Result<T, HandshakeFailure>) {
        self.listener.handshakes.count(outcome);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.listener.handshakes.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
