//! A connection that has shaken hands, asked no more than a non-blocking socket is.
//!
//! Bytes are decrypted and encrypted in as large pieces as they come and go: a read of the socket gives all records that
//! it brings, a write takes up to 64 KiB as four records and one call. What of these the socket does not take stays here,
//! and is not reported as taken: whoever sends is told `WouldBlock`, offers the same bytes again, and they are taken when
//! the last of their records is. So nobody who looks at what was taken (back-pressure, deadlines) has to know of TLS.
//!
//! What clients may do without end rustls bounds: 32 key updates without data between them, 32 empty records in a row,
//! four warning alerts. There is no renegotiation.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll};

use rustls::ServerConnection;
use socket2::SockRef;
use tambat_os::queued;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::handshake::Handshaken;
use super::secured::Secured;
use crate::socket::{self, is_transient};

/// A record has at most so many bytes (RFC 8446 §5.2), with its header: so much of one rustls may hold, and give as
/// plaintext with the next bytes of the socket.
const RECORD_BYTES_MAX: usize = 18 * 1024;

/// A read into less than this, behind the room for a record, is not worth its call.
const READ_BYTES_MIN: usize = 4 * 1024;

/// A connection that has shaken hands.
#[derive(Debug)]
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: RefCell<Session>,
    secured: Secured,
}

#[derive(Debug)]
struct Session {
    tls: ServerConnection,
    /// So many bytes were encrypted and not reported as taken: the socket has not taken all of their records.
    owed: usize,
    /// So many bytes of records the socket has not taken.
    kept: usize,
    /// There is plaintext that nobody has taken.
    has_plaintext: bool,
    /// The peer sends no more.
    ended: Option<Ended>,
}

/// How a peer has ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It has said so.
    Orderly,
    /// Its socket has ended, and it has not said so: somebody on the way may have cut off the rest (RFC 8446 §6.1).
    Truncated,
    /// What it sent makes no sense, or its socket has broken.
    Failed(io::ErrorKind),
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, handshaken: Handshaken) -> Self {
        let Handshaken { mut tls, secured } = handshaken;
        let state = tls.process_new_packets();
        let (has_plaintext, ended) = match state {
            Ok(state) => (state.plaintext_bytes_to_read() > 0, state.peer_has_closed().then_some(Ended::Orderly)),
            Err(_) => (false, Some(Ended::Failed(io::ErrorKind::InvalidData))),
        };
        Self { socket, session: RefCell::new(Session { tls, owed: 0, kept: 0, has_plaintext, ended }), secured }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The protocol that was agreed on (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<Box<[u8]>> {
        self.session.borrow().tls.alpn_protocol().map(Into::into)
    }

    /// What is known of it.
    pub(crate) fn secured(&self) -> &Secured {
        &self.secured
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.session.borrow();
        if session.has_plaintext || session.ended.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.session.borrow_mut().receive(&self.socket, into)
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.session.borrow_mut().send(&self.socket, &[IoSlice::new(bytes)])
    }

    pub(crate) fn send_both(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.session.borrow_mut().send(&self.socket, &[IoSlice::new(first), IoSlice::new(second)])
    }

    /// Ready when `close_notify` was sent, and the end of the socket's direction after it.
    pub(crate) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        session.tls.send_close_notify();
        while let Err(error) = session.flush(&self.socket) {
            if !is_transient(&error) {
                return Poll::Ready(Err(error));
            }
            std::task::ready!(self.socket.poll_write_ready(cx))?;
        }
        Poll::Ready(SockRef::from(&self.socket).shutdown(Shutdown::Write))
    }

    /// Says that nothing more comes, if the socket takes that at once.
    pub(crate) fn farewell(&self) {
        let mut session = self.session.borrow_mut();
        if session.owed == 0 {
            session.tls.send_close_notify();
            let _ = session.flush(&self.socket);
        }
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.session.borrow().has_plaintext || self.socket.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// Has the peer's direction ended without a word of it?
    pub(crate) fn is_truncated(&self) -> bool {
        self.session.borrow().ended == Some(Ended::Truncated)
    }

    pub(crate) fn reset_on_close(&self) {
        socket::reset_on_close(&self.socket);
    }

    pub(crate) fn room(&self) -> io::Result<usize> {
        queued::room(&self.socket)
    }

    pub(crate) fn unacknowledged(&self) -> Option<usize> {
        Some(queued::unacknowledged(&self.socket).ok()? + self.session.borrow().kept)
    }

    pub(crate) async fn broken(&self) {
        let _ = self.socket.ready(Interest::ERROR).await;
    }

    /// As [`socket::gone`]. The alert that ends a connection is not a byte of what it carries.
    pub(crate) async fn gone(&self) {
        let is_gone = poll_fn(|cx| {
            loop {
                let mut session = self.session.borrow_mut();
                match session.ended {
                    _ if session.has_plaintext => return Poll::Ready(false),
                    Some(_) => return Poll::Ready(true),
                    None => {}
                }
                if std::task::ready!(self.socket.poll_read_ready(cx)).is_err() {
                    return Poll::Ready(true);
                }
                session.read_little(&self.socket);
            }
        });
        if !is_gone.await {
            self.broken().await;
        }
    }
}

impl Session {
    fn receive(&mut self, socket: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = self.take(into);
        let mut comes_more = !self.has_plaintext;
        let mut is_first = true;
        while comes_more && filled < into.len() && self.ended.is_none() {
            comes_more = if is_first || into.len() - filled < RECORD_BYTES_MAX + READ_BYTES_MIN {
                let comes_more = self.read_little(socket);
                filled += self.take(&mut into[filled..]);
                comes_more && !self.has_plaintext
            } else {
                self.read_much(socket, into, &mut filled)
            };
            is_first = false;
        }
        match self.ended {
            _ if filled > 0 => Ok(filled),
            None if into.is_empty() => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Ended::Orderly | Ended::Truncated) => Ok(0),
            Some(Ended::Failed(kind)) => Err(kind.into()),
        }
    }

    /// One read of the socket as rustls does it, 4 KiB: a request as a rule. Is there more?
    fn read_little(&mut self, socket: &TcpStream) -> bool {
        let mut wire = Wire::new(socket);
        match self.tls.read_tls(&mut wire) {
            Ok(0) => self.end(Ended::Truncated),
            Ok(_) => self.process(socket),
            Err(error) if is_transient(&error) => return error.kind() == io::ErrorKind::Interrupted,
            Err(error) => self.end(Ended::Failed(error.kind())),
        }
        wire.is_filled
    }

    /// One read of the socket behind what is filled, with room for a record's plaintext between: that of which rustls
    /// holds the beginning. So plaintext never comes to where there are still bytes of the socket. Is there more?
    fn read_much(&mut self, socket: &TcpStream, into: &mut [u8], filled: &mut usize) -> bool {
        let start = *filled + RECORD_BYTES_MAX;
        let received = match socket::receive(socket, &mut into[start..]) {
            Ok(0) => {
                self.end(Ended::Truncated);
                return false;
            }
            Ok(received) => received,
            Err(error) if is_transient(&error) => return error.kind() == io::ErrorKind::Interrupted,
            Err(error) => {
                self.end(Ended::Failed(error.kind()));
                return false;
            }
        };
        let (mut at, end) = (start, start + received);
        while at < end && self.ended.is_none() {
            match self.tls.read_tls(&mut &into[at..end]) {
                Ok(0) => break,
                Ok(used) => at += used,
                Err(error) => self.end(Ended::Failed(error.kind())),
            }
            self.process(socket);
            *filled += self.take(&mut into[*filled..at]);
        }
        end == into.len()
    }

    /// Decrypts what has come whole. What rustls answers by itself, such as an alert, is sent if the socket takes it.
    fn process(&mut self, socket: &TcpStream) {
        let had_something_to_send = self.tls.wants_write();
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.has_plaintext = state.plaintext_bytes_to_read() > 0;
                if state.peer_has_closed() {
                    self.end(Ended::Orderly);
                }
            }
            Err(_) => self.end(Ended::Failed(io::ErrorKind::InvalidData)),
        }
        if self.tls.wants_write() && !had_something_to_send {
            let _ = self.flush(socket);
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }

    /// Takes plaintext.
    fn take(&mut self, into: &mut [u8]) -> usize {
        if !self.has_plaintext {
            return 0;
        }
        let taken = self.tls.reader().read(into).unwrap_or_default();
        // One that has filled the room may have left something; a look costs no system call.
        self.has_plaintext =
            taken == into.len() && self.tls.reader().into_first_chunk().is_ok_and(|more| !more.is_empty());
        taken
    }

    fn send(&mut self, socket: &TcpStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.owed > 0 {
            self.flush(socket)?;
            return Ok(std::mem::take(&mut self.owed));
        }
        let taken = self.tls.writer().write_vectored(pieces)?;
        match self.flush(socket) {
            // Its keys are used up, or what is kept fills its room.
            Ok(()) if taken == 0 && pieces.iter().any(|piece| !piece.is_empty()) => {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            Ok(()) => Ok(taken),
            Err(error) => {
                self.owed = taken;
                Err(error)
            }
        }
    }

    /// Sends all records there are.
    fn flush(&mut self, socket: &TcpStream) -> io::Result<()> {
        while self.tls.wants_write() {
            let mut wire = Wire::new(socket);
            let sent = self.tls.write_tls(&mut wire);
            self.kept = wire.left;
            sent?;
        }
        Ok(())
    }
}

/// The socket as rustls wants it.
pub(super) struct Wire<'a> {
    socket: &'a TcpStream,
    /// The read got as much as it asked for.
    is_filled: bool,
    /// The write left so much.
    left: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn new(socket: &'a TcpStream) -> Self {
        Self { socket, is_filled: false, left: 0 }
    }
}

impl io::Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let received = socket::receive(self.socket, into)?;
        self.is_filled = received == into.len();
        Ok(received)
    }
}

impl io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.left = pieces.iter().map(|piece| piece.len()).sum();
        let sent = socket::send_pieces(self.socket, pieces)?;
        self.left -= sent;
        Ok(sent)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
