//! What carries a connection's bytes: one type for both sides of an exchange, whatever is between it and the wire.
//!
//! Who moves bytes asks no more of it than of a non-blocking socket, and gets the same answers: what is read or taken is
//! said at once, `WouldBlock` says that nothing is, and a poll says when to try again. All of it takes `&self`, since the
//! two directions of a connection are moved independently.

use std::future::{pending, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tambat_os::queued;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::h2c;
use crate::http2::Stream;
use crate::socket::{self, is_transient};
use crate::tls::{Secured, TlsStream};

/// What carries a connection's bytes.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A socket, and nothing between.
    Tcp(TcpStream),
    /// A socket with TLS on it.
    Tls(Box<TlsStream>),
    /// A stream of an HTTP/2 connection, as a client of HTTP/1.1.
    Stream(Box<Stream>),
    /// A stream of HTTP/2 to a target, which carries the bytes of HTTP/1.1. Boxed: most transports are sockets.
    H2c(Box<h2c::Stream>),
}

impl Transport {
    /// The socket, where nothing is between: its bytes may go through a pipe.
    #[inline]
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(_) | Self::Stream(_) | Self::H2c(_) => None,
        }
    }

    /// This end of the connection; none: it has no address of its own.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Tls(stream) => stream.local_addr().ok(),
            Self::Stream(stream) => stream.carrier().local_addr(),
            Self::H2c(_) => None,
        }
    }

    /// The protocol that was agreed on in a TLS handshake.
    pub(crate) fn alpn(&self) -> Option<Box<[u8]>> {
        match self {
            Self::Tcp(_) | Self::H2c(_) => None,
            Self::Tls(stream) => stream.alpn(),
            Self::Stream(stream) => stream.carrier().alpn(),
        }
    }

    /// Is it a stream of an HTTP/2 connection? It serves one request, and its end needs no patience: what was sent is
    /// there before the end is.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Ready when bytes, the end of them or an error may be had from [`Self::receive`].
    #[inline]
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
            Self::Stream(stream) => stream.poll_read_ready(cx),
            Self::H2c(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Ready when [`Self::send`] may take something.
    #[inline]
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Tls(stream) => stream.poll_write_ready(cx),
            Self::Stream(stream) => stream.poll_write_ready(cx),
            Self::H2c(stream) => stream.poll_write_ready(cx),
        }
    }

    /// How many bytes should be read at once of what goes here: what is not taken has to be kept. None: as many as one
    /// likes. A stream reserves room for them, until they are sent or it [rests](Self::rests).
    pub(crate) fn window(&self) -> Option<usize> {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::H2c(_) => None,
            Self::Stream(stream) => Some(stream.window()),
        }
    }

    /// Does the kernel take so many bytes of what goes here, about? A stream says so by its window.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        let room = match self {
            Self::Tcp(stream) => queued::room(stream),
            Self::Tls(stream) => stream.room(),
            Self::Stream(_) | Self::H2c(_) => return true,
        };
        room.is_ok_and(|room| room >= bytes)
    }

    /// There is nothing that goes here now: what is reserved for it is given back to others.
    #[inline]
    pub(crate) fn rests(&self) {
        if let Self::Stream(stream) = self {
            stream.rests();
        }
    }

    /// Takes what has arrived, up to the length of `into`; 0: the peer has ended its direction.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing has arrived; else what has broken the connection.
    #[inline]
    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => socket::receive(stream, into),
            Self::Tls(stream) => stream.receive(into),
            Self::Stream(stream) => stream.receive(into),
            Self::H2c(stream) => stream.receive(into),
        }
    }

    /// Sends as much as is taken, at least one byte. Bytes that were not taken must be offered again before any others:
    /// they may have been encrypted already.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is taken now; else what has broken the connection.
    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => socket::send(stream, bytes),
            Self::Tls(stream) => stream.send(bytes),
            Self::Stream(stream) => stream.send(bytes),
            Self::H2c(stream) => stream.send(bytes),
        }
    }

    /// The same for two pieces, one behind the other.
    #[inline]
    pub(crate) fn send_both(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => socket::send_both(stream, first, second),
            Self::Tls(stream) => stream.send_both(first, second),
            Self::Stream(stream) => stream.send_both(first, second),
            Self::H2c(stream) => {
                let sent = stream.send(first)?;
                // What the second comes to when the first was taken is said the next time.
                Ok(sent + if sent == first.len() { stream.send(second).unwrap_or(0) } else { 0 })
            }
        }
    }

    /// Takes what has arrived, as soon as something has. Cancelling it loses nothing.
    pub(crate) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            loop {
                std::task::ready!(self.poll_read_ready(cx))?;
                match self.receive(into) {
                    Err(error) if is_transient(&error) => {}
                    received => return Poll::Ready(received),
                }
            }
        })
        .await
    }

    /// Sends all of it. When it is cancelled, how much was sent is not known.
    pub(crate) async fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        poll_fn(|cx| {
            while sent < bytes.len() {
                std::task::ready!(self.poll_write_ready(cx))?;
                match self.send(&bytes[sent..]) {
                    Ok(more) => sent += more,
                    Err(error) if is_transient(&error) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ready when the peer was told that nothing more comes. Everything before must have been taken. It may still send.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Poll::Ready(SockRef::from(stream).shutdown(Shutdown::Write)),
            Self::Tls(stream) => stream.poll_end(cx),
            Self::Stream(stream) => Poll::Ready(stream.end()),
            // The end of the request is the end of its direction.
            Self::H2c(_) => Poll::Ready(Ok(())),
        }
    }

    /// Tells the peer that this is the end, where that takes more than closing, if it can be told at once. To be dropped
    /// then: everything before must have been taken.
    pub(crate) fn farewell(&self) {
        match self {
            Self::Tcp(_) | Self::Stream(_) | Self::H2c(_) => {}
            Self::Tls(stream) => stream.farewell(),
        }
    }

    /// Has the peer's direction been cut off, although nothing has broken? Then what came last need not be all that it
    /// has sent: where the end of a message is the connection's end, it is none.
    pub(crate) fn is_truncated(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Stream(_) | Self::H2c(_) => false,
            Self::Tls(stream) => stream.is_truncated(),
        }
    }

    /// What is known of a connection with TLS.
    pub(crate) fn secured(&self) -> Option<&Secured> {
        match self {
            Self::Tcp(_) | Self::H2c(_) => None,
            Self::Tls(stream) => Some(stream.secured()),
            Self::Stream(stream) => stream.carrier().secured(),
        }
    }

    /// Is there something to receive, as far as is known without a system call?
    pub(crate) fn has_unread(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Tls(stream) => stream.has_unread(),
            Self::Stream(stream) => stream.has_unread(),
            Self::H2c(stream) => stream.has_unread(),
        }
    }

    /// From now on, dropping it tells the peer that something went wrong, and what is still unsent is thrown away.
    pub(crate) fn reset_on_close(&self) {
        match self {
            Self::Tcp(stream) => socket::reset_on_close(stream),
            Self::Tls(stream) => stream.reset_on_close(),
            Self::Stream(stream) => stream.reset_on_close(),
            Self::H2c(stream) => stream.reset(),
        }
    }

    /// How many bytes the peer has not acknowledged yet; none: that cannot be known. Of a stream, a number that becomes
    /// smaller with what is taken of all streams of its connection.
    pub(crate) fn unacknowledged(&self) -> Option<usize> {
        match self {
            Self::Tcp(stream) => queued::unacknowledged(stream).ok(),
            Self::Tls(stream) => stream.unacknowledged(),
            Self::Stream(stream) => Some(stream.unacknowledged()),
            Self::H2c(_) => None,
        }
    }

    /// Is it its turn that a stream waits for, since its connection takes no more of any? Then what is taken of others
    /// brings it nearer. Others have their connection for themselves.
    pub(crate) fn waits_its_turn(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Tls(_) | Self::H2c(_) => true,
            Self::Stream(stream) => stream.waits_its_turn(),
        }
    }

    /// Ends when the connection has broken off; its bytes and the end of them are no news.
    pub(crate) async fn broken(&self) {
        match self {
            Self::Tcp(stream) => {
                let _ = stream.ready(Interest::ERROR).await;
            }
            Self::Tls(stream) => stream.broken().await,
            Self::Stream(stream) => stream.broken().await,
            Self::H2c(_) => pending().await,
        }
    }

    /// Has the client gone before anything came of its connection? Ends when it has.
    ///
    /// A reset says so. So does the end of its direction when not a byte came before it. When bytes came it may be a
    /// half-closed client that waits for its answer, and is served: whether it closed altogether cannot be seen then, but
    /// after a minute or so its system answers a keep-alive question with a reset.
    pub(crate) async fn gone(&self) {
        match self {
            Self::Tcp(stream) => socket::gone(stream).await,
            Self::Tls(stream) => stream.gone().await,
            Self::Stream(stream) => stream.broken().await,
            // No client comes by one.
            Self::H2c(_) => pending().await,
        }
    }
}

/// The same as [`Transport::broken`], of a connection that others hold, too.
pub(crate) async fn broken(transport: Rc<Transport>) {
    transport.broken().await;
}
