//! One connection of HTTP/2 to a target, and who uses it.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// So many streams one connection carries at a time, if the target takes as many: what RFC 9113 §6.5.2 asks a peer to take
/// at least. Their answers share one socket, and one connection's flow control.
const STREAMS_MAX: u32 = 100;

/// So many bytes of one answer may wait here for a client that does not take them.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// As much as all streams may hold, so that slow clients never take another's room.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX * STREAM_WINDOW_BYTES;

/// Larger frames mean fewer of them, and less to do for each byte; an exchange moves no more at once.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// So much of one request's body may wait for the socket.
const SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// As large as the exchange takes a head; a little more, for fields weigh more here (RFC 9113 §6.5.2).
const FIELDS_BYTES_MAX: u32 = 128 * 1024;

/// One connection to a target.
pub(super) struct Link {
    requests: SendRequest<Bytes>,
    streams: Cell<u32>,
    /// Its task has ended.
    is_over: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("streams", &self.streams).field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins to speak HTTP/2 on a fresh connection, and waits for the target's settings: whoever sends none speaks
    /// something else. Its frames are moved by a task, which ends with it and the last of its streams.
    ///
    /// # Errors
    ///
    /// When the target breaks off, says something else, or says nothing within `limit`.
    pub(super) async fn open(socket: TcpStream, limit: Duration) -> io::Result<Rc<Self>> {
        let (requests, connection) =
            timeout(limit, shake_hands(socket)).await.map_err(|_| late(limit))?.map_err(not_http2)?;
        let link = Rc::new(Self {
            requests,
            streams: Cell::new(0),
            is_over: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
        });
        let seen = Rc::downgrade(&link);
        spawn_local(async move {
            // What has ended it is told to each of its streams.
            drop(connection.await);
            if let Some(link) = seen.upgrade() {
                link.is_over.set(true);
            }
        });
        Ok(link)
    }

    /// For the next request.
    pub(super) fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// Does it take requests yet? Not after a `GOAWAY` (RFC 9113 §6.8), nor after its end.
    pub(super) fn is_open(&self) -> bool {
        let is_refused = || {
            let polled = self.requests.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
            matches!(polled, Poll::Ready(Err(_)))
        };
        !self.is_over.get() && !is_refused()
    }

    /// May one more stream begin at once?
    pub(super) fn has_room(&self) -> bool {
        let taken_by_target = u32::try_from(self.requests.current_max_send_streams()).unwrap_or(u32::MAX);
        self.streams.get() < STREAMS_MAX.min(taken_by_target)
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.get()
    }

    /// Since when it has none; none: it has some.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }
}

/// A stream's place on its connection.
#[derive(Debug)]
pub(super) struct Place(Rc<Link>);

impl Place {
    pub(super) fn on(link: &Rc<Link>) -> Self {
        link.streams.set(link.streams.get() + 1);
        Self(Rc::clone(link))
    }

    pub(super) fn link(&self) -> &Link {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.0.streams.get().saturating_sub(1);
        self.0.streams.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

type Opened = (SendRequest<Bytes>, Connection<TcpStream, Bytes>);

async fn shake_hands(socket: TcpStream) -> Result<Opened, h2::Error> {
    let (requests, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_header_list_size(FIELDS_BYTES_MAX)
        .enable_push(false)
        // Until its settings have come the target takes nothing: that is how they are seen to have come.
        .initial_max_send_streams(0)
        .handshake(socket)
        .await?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending if requests.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((requests, connection))
}

fn late(limit: Duration) -> io::Error {
    let said = format!("it sent no settings of HTTP/2 within {} s", limit.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, said)
}

fn not_http2(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::InvalidData, format!("it does not speak HTTP/2 ({error})"))
}
