//! The client's bytes on their way to and from the codec.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tambat_wire::http2::PREFACE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::Session;
use crate::socket::is_transient;

/// So much is gathered at most before it is sent: four of the largest frames, which fill TLS records and a socket's
/// buffer well. A client that takes nothing has so much of our memory, and one frame more.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// A connection as the codec knows it.
#[derive(Debug)]
pub(super) struct Wire {
    session: Rc<Session>,
    /// What came before it was known that it is HTTP/2, from `replayed` on.
    before: Vec<u8>,
    replayed: usize,
    /// So much of the preface is to come: no frames are looked for in it.
    preface_left: usize,
    /// Frames that are to be sent together.
    gathered: Gathered,
}

/// Frames of one turn, which leave in one piece: what all streams of a connection have to say costs one record of TLS
/// and one call then.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    sent: usize,
    /// Those who are ready now have had their turn since the first of them came.
    is_due: bool,
}

impl Gathered {
    fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }
}

impl Wire {
    pub(super) fn new(session: Rc<Session>, before: Vec<u8>) -> Self {
        Self { session, before, replayed: 0, preface_left: PREFACE.len(), gathered: Gathered::default() }
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
        let before = into.filled().len();
        if std::task::ready!(self.poll_bytes(cx, into))? == 0 {
            return Poll::Ready(Ok(()));
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
        if self.gathered.left().len() >= GATHERED_BYTES_MAX {
            std::task::ready!(self.poll_send(cx))?;
        }
        let before = self.gathered.bytes.len();
        pieces.for_each(|piece| self.gathered.bytes.extend_from_slice(piece));
        Poll::Ready(Ok(self.gathered.bytes.len() - before))
    }

    /// Ready when everything that was gathered is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.left().is_empty() {
            match self.session.carrier.send(self.gathered.left()) {
                Ok(sent) => {
                    self.gathered.sent += sent;
                    self.session.moves();
                    continue;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match self.session.carrier.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.session.blocks();
                    return Poll::Pending;
                }
            }
        }
        // An idle connection keeps no memory for it.
        let bytes = if self.session.is_idle() { Vec::new() } else { std::mem::take(&mut self.gathered.bytes) };
        self.gathered = Gathered { bytes, ..Gathered::default() };
        self.gathered.bytes.clear();
        Poll::Ready(Ok(()))
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

    /// Sends what was gathered, not at once but after the streams that are ready have had their turn: they have frames,
    /// too.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.left().is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !self.gathered.is_due {
            self.gathered.is_due = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_send(cx))?;
        self.session.carrier.poll_end(cx)
    }
}
