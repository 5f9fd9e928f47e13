//! The client's bytes on their way to and from the codec.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tambat_wire::http2::PREFACE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;
use crate::socket::is_transient;

/// A connection as the codec knows it.
#[derive(Debug)]
pub(super) struct Wire {
    session: Rc<Session>,
    /// What came before it was known that it is HTTP/2, from `replayed` on.
    before: Vec<u8>,
    replayed: usize,
    /// So much of the preface is to come: no frames are looked for in it.
    preface_left: usize,
}

impl Wire {
    pub(super) fn new(session: Rc<Session>, before: Vec<u8>) -> Self {
        Self { session, before, replayed: 0, preface_left: PREFACE.len() }
    }

    /// Bytes for `into`: how many; 0: the client sends no more.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        if self.replayed < self.before.len() {
            let bytes = (self.before.len() - self.replayed).min(into.remaining());
            into.put_slice(&self.before[self.replayed..self.replayed + bytes]);
            self.replayed += bytes;
            if self.replayed == self.before.len() {
                (self.before, self.replayed) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(bytes));
        }
        loop {
            std::task::ready!(self.session.carrier.poll_read_ready(cx))?;
            let mut tools = self.session.worker.tools.borrow_mut();
            let buffer = &mut tools.ready().buffer;
            let room = into.remaining().min(buffer.len());
            match self.session.carrier.receive(&mut buffer[..room]) {
                Ok(received) => {
                    into.put_slice(&buffer[..received]);
                    return Poll::Ready(Ok(received));
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Looks at bytes that have come: how many of them are good.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let skipped = bytes.len().min(self.preface_left);
        self.preface_left -= skipped;
        match self.session.watch.borrow_mut().look(&bytes[skipped..], || self.session.passed()) {
            Ok(()) => bytes.len(),
            Err(broke) => {
                self.session.broke.set(Some(broke.reason));
                skipped + broke.good_bytes
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever polls the codec looks after this, and ends the connection.
        if self.session.broke.get().is_some() {
            return Poll::Pending;
        }
        if self.session.turn_bytes() == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        match std::task::ready!(self.poll_bytes(cx, into))? {
            0 => return Poll::Ready(Ok(())),
            read => self.session.has_read(read),
        }
        let good = self.look(&into.filled()[before..]);
        into.set_filled(before + good);
        if good == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl Wire {
    /// Takes bytes to be sent. More than enough are sent before others are taken: that is the back-pressure.
    fn poll_gather<'b>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'b [u8]>,
    ) -> Poll<io::Result<usize>> {
        if self.session.gathered.borrow().is_full() {
            std::task::ready!(self.session.poll_send(cx))?;
        }
        let pieces = pieces.inspect(|piece| self.session.sees(piece));
        Poll::Ready(Ok(self.session.gathered.borrow_mut().add(pieces, &self.session.worker.spare_bytes)))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_gather(cx, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_gather(cx, pieces.iter().map(|piece| &**piece))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is sent yet: the codec asks for it behind every piece of a body, and would wait for it before it looked at
    /// the next. Who drives the codec sends what was gathered, see [`Session::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.session.poll_send(cx))?;
        self.session.carrier.poll_end(cx)
    }
}
