//! A stream as a virtual client of HTTP/1.1.
//!
//! What is read from it is one request, its body framed as the head says. What is sent to it is the answer to that: its
//! parts become frames. When the answer is over the client has ended, as far as whoever serves it can see. A stream that
//! is reset is a connection that has broken off; one that is dropped before its answer is whole is reset, so that nobody
//! takes what was sent for all of it.

mod inbound;
mod outbound;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tambat_wire::http2::Translated;

use self::inbound::Inbound;
use self::outbound::Outbound;
use super::answers::Piece;
use super::session::Session;
use crate::socket::is_transient;
use crate::transport::Transport;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    session: Rc<Session>,
    inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
    resets: Cell<bool>,
    /// So much of its answer waits.
    kept: Cell<usize>,
    head_bytes: usize,
}

impl Stream {
    /// For a request with this head. `body`: where it has one.
    pub(super) fn new(
        session: &Rc<Session>,
        head: Vec<u8>,
        translated: Translated,
        body: Option<RecvStream>,
        respond: SendResponse<Piece>,
    ) -> Self {
        let head_bytes = head.len();
        session.begins(head_bytes);
        Self {
            session: Rc::clone(session),
            inbound: RefCell::new(Inbound::new(head, translated, body)),
            outbound: RefCell::new(Outbound::new(translated, respond)),
            resets: Cell::new(false),
            kept: Cell::new(0),
            head_bytes,
        }
    }

    /// The connection that it is a stream of.
    pub(crate) fn carrier(&self) -> &Transport {
        &self.session.carrier
    }

    /// See [`Transport::poll_read_ready`].
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbound = self.outbound.borrow_mut();
        if outbound.is_answered() {
            return Poll::Ready(Ok(()));
        }
        match self.inbound.borrow_mut().poll_ready(cx) {
            Poll::Ready(Some(ready)) => {
                if ready.is_err() {
                    outbound.fail();
                }
                Poll::Ready(ready)
            }
            // Its request is whole: what can be news is that nobody waits for the answer any more.
            Poll::Ready(None) => outbound.poll_reset(cx).map(Err),
            Poll::Pending => Poll::Pending,
        }
    }

    /// See [`Transport::poll_write_ready`].
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.borrow_mut().poll_room(cx, &self.session)
    }

    /// See [`Transport::window`].
    pub(crate) fn window(&self) -> usize {
        self.outbound.borrow_mut().window(&self.session)
    }

    /// See [`Transport::rests`].
    pub(crate) fn rests(&self) {
        self.outbound.borrow_mut().rests();
    }

    /// See [`Transport::receive`].
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut inbound = self.inbound.borrow_mut();
        match inbound.take(into) {
            0 if inbound.has_ended_tunnel() || self.outbound.borrow().is_answered() => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    /// See [`Transport::send`].
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.outbound.borrow_mut().send(bytes, &self.session);
        self.keeps(bytes.len() - sent.as_ref().map_or(0, |sent| *sent));
        sent
    }

    /// See [`Transport::send_both`].
    pub(crate) fn send_both(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let sent = self.send(first)?;
        if sent < first.len() {
            self.keeps(first.len() - sent + second.len());
            return Ok(sent);
        }
        match self.send(second) {
            Ok(more) => Ok(sent + more),
            Err(error) if is_transient(&error) => Ok(sent),
            Err(error) => Err(error),
        }
    }

    fn keeps(&self, bytes: usize) {
        self.session.answers.keeps(bytes, self.kept.replace(bytes));
    }

    /// See [`Transport::unacknowledged`].
    pub(crate) fn unacknowledged(&self) -> usize {
        self.session.unacknowledged()
    }

    /// See [`Transport::waits_its_turn`].
    pub(crate) fn waits_its_turn(&self) -> bool {
        self.session.is_used_up()
    }

    /// See [`Transport::poll_end`]. Answers say themselves where they end.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.outbound.borrow_mut().end_tunnel(&self.session)
    }

    /// Is there something to receive, as far as is known?
    pub(crate) fn has_unread(&self) -> bool {
        self.inbound.borrow().has_bytes()
    }

    /// See [`Transport::reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        self.resets.set(true);
    }

    /// Ends when it was reset, or its connection has broken off.
    pub(crate) async fn broken(&self) {
        poll_fn(|cx| self.outbound.borrow_mut().poll_reset(cx).map(drop)).await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let outbound = self.outbound.get_mut();
        if (self.resets.get() || std::thread::panicking()) && !outbound.is_over() {
            // A tunnel that breaks off is reset as a connection would be (RFC 8441 §5).
            outbound.reset(if outbound.is_tunnel() { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
        }
        self.keeps(0);
        self.session.ends(self.head_bytes);
    }
}
