//! Bytes on their way from one socket to another: what the other did not take yet, and the pipe of a long run.

use std::io;
use std::task::{Context, Poll};

use crate::socket::is_transient;
use crate::splice::{Pipe, Pipes};
use crate::transport::Transport;

/// What is read at once: so much is kept at most when the other side takes nothing.
pub(crate) const WINDOW_BYTES: usize = 64 * 1024;

/// Up to so many bytes of a body are copied behind their head, which is cheaper than handing the system two pieces.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// So many big reads in a row make a long run, which goes on through a pipe: a pipe is faster for much at once, and
/// slower for messages.
const LONG_RUN_READS: u8 = 8;

/// A read of so much is a big one.
const BIG_READ_BYTES_MIN: usize = 32 * 1024;

/// What is less than this goes on by copying, for the pipe has to be got first.
const PIPED_BYTES_MIN: u64 = 128 * 1024;

/// A buffer that has grown beyond this is not kept for the next request.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Bytes that a socket has not taken yet. Those that it has taken stay until others come, so that they can be sent
/// again.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Unsent {
    /// Is nothing left?
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Was anything of it taken?
    pub(super) fn is_begun(&self) -> bool {
        self.sent > 0
    }

    /// Everything that was put in, sent or not.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empty, to be filled.
    pub(super) fn fresh(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.sent = 0;
        &mut self.bytes
    }

    /// To add to, while nothing of it was sent.
    pub(super) fn more(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// All of it is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// What is left.
    pub(super) fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Gives memory back that few need.
    pub(super) fn recycle(&mut self) {
        self.fresh();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }

    /// Sends as much as the socket takes now: all of it?
    pub(super) fn send_now(&mut self, to: &Transport) -> io::Result<bool> {
        match to.send(self.left()) {
            Ok(sent) => self.sent += sent,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.is_clear())
    }

    /// Ready when all of it is sent. As a rule it is taken at once, and nobody has to ask before.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, to: &Transport) -> Poll<io::Result<()>> {
        while !self.is_clear() && !self.send_now(to)? {
            std::task::ready!(to.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, head: &[u8], body: &[u8]) {
        let bytes = self.fresh();
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
    }
}

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) unsent: Unsent,
    pipe: Option<Pipe>,
    /// How many big reads in a row there were.
    run: u8,
    /// Bytes that came from the one side.
    pub(super) received: u64,
    /// Bytes for the other side.
    pub(super) passed_on: u64,
}

/// What came of a read.
pub(super) enum Read {
    /// So many bytes, at the beginning of the buffer.
    Bytes(usize),
    /// The other side sends no more.
    End,
}

impl Flow {
    /// Does nothing wait to be taken?
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.unsent.is_clear() && self.pipe.as_ref().is_none_or(|pipe| pipe.held() == 0)
    }

    /// How many bytes wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        self.unsent.left().len() + self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// Reads what has come, at most a window of it, and no more than the buffer holds.
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &Transport,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Read>> {
        let window = buffer.len().min(WINDOW_BYTES);
        loop {
            std::task::ready!(from.poll_read_ready(cx))?;
            match from.receive(&mut buffer[..window]) {
                Ok(0) => return Poll::Ready(Ok(Read::End)),
                Ok(received) => {
                    self.received += received as u64;
                    self.run = if received >= BIG_READ_BYTES_MIN { self.run.saturating_add(1) } else { 0 };
                    return Poll::Ready(Ok(Read::Bytes(received)));
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends `head` and then `body`, and keeps what is not taken. Nothing may wait.
    pub(super) fn pass_on(&mut self, to: &Transport, head: &mut Vec<u8>, body: &[u8]) -> io::Result<()> {
        self.passed_on += (head.len() + body.len()) as u64;
        let body = if !head.is_empty() && body.len() <= COPY_BYTES_MAX {
            head.extend_from_slice(body);
            &[]
        } else {
            body
        };
        let sent = match (head.is_empty(), body.is_empty()) {
            (true, true) => return Ok(()),
            (false, true) => to.send(head),
            (true, false) => to.send(body),
            (false, false) => to.send_both(head, body),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if is_transient(&error) => 0,
            Err(error) => return Err(error),
        };
        if sent < head.len() + body.len() {
            self.unsent.keep(&head[sent.min(head.len())..], &body[sent.saturating_sub(head.len())..]);
        }
        Ok(())
    }

    /// Ready when nothing waits any more of what came `from` there.
    pub(super) fn poll_clear(
        &mut self,
        cx: &mut Context<'_>,
        from: &Transport,
        to: &Transport,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.unsent.poll_send(cx, to))?;
        if let (Some(pipe), Some(from), Some(to)) = (&mut self.pipe, from.tcp(), to.tcp()) {
            while pipe.held() > 0 {
                std::task::ready!(to.poll_write_ready(cx))?;
                match pipe.drain(from, to) {
                    Err(error) if !is_transient(&error) => return Poll::Ready(Err(error)),
                    _ => {}
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Should what comes now go through a pipe? So many bytes may pass unread.
    #[inline]
    pub(super) fn is_long_run(&mut self, passable: u64, from: &Transport, pipes: &mut Pipes) -> bool {
        if passable < PIPED_BYTES_MIN {
            self.give_back(from, pipes);
        } else if self.pipe.is_none() && self.run >= LONG_RUN_READS {
            self.run = 0;
            self.pipe = pipes.lend();
        }
        self.pipe.is_some()
    }

    /// Fills the empty pipe, with `passable` bytes at most: how many came; 0: the other side sends no more.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &Transport,
        passable: u64,
    ) -> Poll<io::Result<usize>> {
        let (Some(pipe), Some(from)) = (&mut self.pipe, from.tcp()) else {
            return Poll::Pending;
        };
        loop {
            std::task::ready!(from.poll_read_ready(cx))?;
            match pipe.fill(from, usize::try_from(passable).unwrap_or(usize::MAX)) {
                Ok(filled) => {
                    self.received += filled as u64;
                    self.passed_on += filled as u64;
                    return Poll::Ready(Ok(filled));
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// The pipe, which was filled `from` there, goes back to the thread.
    #[inline]
    pub(super) fn give_back(&mut self, from: &Transport, pipes: &mut Pipes) {
        if let Some(pipe) = self.give_up_pipe(from) {
            pipes.give_back(pipe);
        }
    }

    fn give_up_pipe(&mut self, from: &Transport) -> Option<Pipe> {
        let mut pipe = self.pipe.take()?;
        from.tcp().into_iter().for_each(|from| pipe.unhush(from));
        Some(pipe)
    }

    /// Nothing more is sent: what waits of what came `from` there is thrown away.
    pub(super) fn clear(&mut self, from: &Transport) {
        self.give_up_pipe(from);
        self.unsent.fresh();
    }

    /// The same, where what waits is lost: it was not passed on after all.
    pub(super) fn lose(&mut self, from: &Transport) {
        self.passed_on = self.sent();
        self.clear(from);
    }

    /// How many bytes the other side has taken.
    pub(super) fn sent(&self) -> u64 {
        self.passed_on.saturating_sub(self.waiting() as u64)
    }

    /// As new, for another request.
    pub(super) fn recycle(&mut self) {
        self.pipe = None;
        self.unsent.recycle();
        (self.run, self.received, self.passed_on) = (0, 0, 0);
    }
}
