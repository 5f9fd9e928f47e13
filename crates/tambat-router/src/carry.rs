//! One stream: bytes both ways, until both have ended.
//!
//! Each direction reads into a buffer that its whole thread shares, and writes from there. Only what could not be
//! written is kept, for as long as it lasts, and nothing more is read meanwhile: that is the back-pressure, and an idle
//! stream owns no memory.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::port::PortState;
use crate::socket::{receive, send};

/// The thread's buffer: bigger ones cost more in cache misses than they save in calls.
const SCRATCH_BYTES: usize = 256 * 1024;

/// What is read at once at first, and after a write that was not taken whole: what a stalled stream keeps is no more.
const WINDOW_BYTES_MIN: usize = 64 * 1024;

/// The buffer of one worker thread, made at its first stream. Only that thread locks it, never across an `await`.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Mutex<Vec<u8>>);

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have ended their direction, and each was told of the other.
    Finished,
    /// One side has broken the connection off: the other must learn that it was no orderly end.
    Broken,
    /// Nothing has moved for as long as the route allows.
    Idle,
}

/// Carries bytes both ways until both directions have ended, one side breaks off, or nothing has moved for `idle`.
///
/// Cancelling it loses what has been read and not yet written.
pub(crate) async fn carry(
    client: &TcpStream,
    target: &TcpStream,
    idle: Option<Duration>,
    port: &PortState,
    scratch: &Scratch,
) -> End {
    let mut up = Direction::new(client, target, &port.bytes_in);
    let mut down = Direction::new(target, client, &port.bytes_out);
    // A side whose bytes are not being read is not asked for them, and would break off unnoticed.
    let mut client_error = pin!(client.ready(Interest::ERROR));
    let mut target_error = pin!(target.ready(Interest::ERROR));
    let mut deadline = pin!(Deadline::new(idle));
    let mut moved = true;
    poll_fn(move |cx| {
        {
            let mut buffer = scratch.0.lock().unwrap_or_else(PoisonError::into_inner);
            buffer.resize(SCRATCH_BYTES, 0);
            moved |= up.pump(cx, &mut buffer);
            moved |= down.pump(cx, &mut buffer);
        }
        // Each direction's reader and the other's writer are one socket.
        up.broken |= down.refused || (!up.broken && client_error.as_mut().poll(cx).is_ready());
        down.broken |= up.refused || (!down.broken && target_error.as_mut().poll(cx).is_ready());
        if up.is_lost() || down.is_lost() {
            return Poll::Ready(End::Broken);
        }
        if up.ended && down.ended {
            return Poll::Ready(End::Finished);
        }
        deadline.as_mut().poll(cx, std::mem::take(&mut moved)).map(|()| End::Idle)
    })
    .await
}

/// One direction of a stream.
struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    bytes: &'a AtomicU64,
    /// What was read and could not be written yet, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// How much is read at once.
    window: usize,
    /// `from` has ended this direction, and `to` has been told.
    ended: bool,
    /// `from` has broken off; there may be bytes of it left to read.
    broken: bool,
    /// `to` takes no more bytes for ever.
    refused: bool,
    /// All bytes of `from` have been read, and then came an error.
    failed: bool,
}

impl<'a> Direction<'a> {
    fn new(from: &'a TcpStream, to: &'a TcpStream, bytes: &'a AtomicU64) -> Self {
        Self {
            from,
            to,
            bytes,
            unsent: Vec::new(),
            unsent_at: 0,
            window: WINDOW_BYTES_MIN,
            ended: false,
            broken: false,
            refused: false,
            failed: false,
        }
    }

    /// Moves bytes until one of the two sockets has to be waited for, or the direction is over. Have any moved?
    fn pump(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> bool {
        let mut moved = false;
        while !(self.ended || self.refused || self.failed) {
            let step = if self.unsent.is_empty() { self.pass_on(cx, scratch) } else { self.send_unsent(cx) };
            match step {
                Poll::Ready(Ok(progress)) => moved |= progress,
                Poll::Ready(Err(_)) => self.failed = true,
                Poll::Pending => break,
            }
        }
        moved
    }

    /// Is the stream over for this direction's sake? When its reader's peer broke off, what it had sent before is
    /// passed on first, unless the other side does not take it.
    fn is_lost(&self) -> bool {
        self.failed || (self.broken && (self.ended || self.refused || !self.unsent.is_empty()))
    }

    /// One read, one write.
    fn pass_on(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<bool>> {
        std::task::ready!(self.from.poll_read_ready(cx))?;
        let window = self.window.min(scratch.len());
        let received = match receive(self.from, &mut scratch[..window]) {
            Ok(0) => {
                self.end();
                return Poll::Ready(Ok(true));
            }
            Ok(received) => received,
            Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.bytes.fetch_add(received as u64, Ordering::Relaxed);
        match send(self.to, &scratch[..received]) {
            Ok(sent) if sent == received => {
                if received == window {
                    self.window = (window * 2).min(scratch.len());
                }
            }
            Ok(sent) => self.keep(&scratch[sent..received]),
            Err(error) if is_transient(&error) => self.keep(&scratch[..received]),
            Err(_) => self.refused = true,
        }
        Poll::Ready(Ok(true))
    }

    fn send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        std::task::ready!(self.to.poll_write_ready(cx))?;
        match send(self.to, &self.unsent[self.unsent_at..]) {
            Ok(sent) => self.unsent_at += sent,
            Err(error) if is_transient(&error) => return Poll::Ready(Ok(false)),
            Err(_) => {
                self.unsent = Vec::new();
                self.refused = true;
            }
        }
        if self.unsent_at == self.unsent.len() {
            self.unsent = Vec::new();
        }
        Poll::Ready(Ok(true))
    }

    fn keep(&mut self, rest: &[u8]) {
        self.unsent = rest.to_vec();
        self.unsent_at = 0;
        self.window = WINDOW_BYTES_MIN;
    }

    /// `from` has ended its direction: so do we. All it sent before has been sent on, since nothing is read before.
    fn end(&mut self) {
        match SockRef::from(self.to).shutdown(Shutdown::Write) {
            Ok(()) => self.ended = true,
            Err(_) => self.refused = true,
        }
    }
}

/// When an idle stream ends. The timer is set again only when it goes off, not at every byte.
struct Deadline {
    idle: Option<Duration>,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(idle: Option<Duration>) -> Self {
        Self { idle, last: Instant::now(), timer: idle.map(|idle| Box::pin(sleep(idle))) }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        let this = &mut *self;
        let (Some(idle), Some(timer)) = (this.idle, &mut this.timer) else {
            return Poll::Pending;
        };
        if moved {
            this.last = Instant::now();
        }
        while timer.as_mut().poll(cx).is_ready() {
            let due = this.last + idle;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
