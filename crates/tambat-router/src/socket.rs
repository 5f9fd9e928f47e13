//! What is set on sockets, and how one byte-moving call is made on them.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tambat_os::queued::send_before_more;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A peer that has been silent for so long is asked whether it is still there.
const KEEPALIVE_AFTER_S: u64 = 60;

/// How long until it is asked again.
const KEEPALIVE_EVERY_S: u64 = 15;

/// After so many questions without an answer the connection is dead: two minutes after the last byte in all.
const KEEPALIVE_QUESTIONS: u32 = 4;

/// A connection to this address, and whether it is there already: within this machine it is, unless more wait there than
/// may. Who has no connection yet waits until the socket is writable, and asks it for its error then.
///
/// # Errors
///
/// What the system says.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    let mut is_there = is_done(socket.connect(&addr.into()))?;
    if !is_there && addr.ip().is_loopback() {
        // Its answer came while the call went on, which cannot tell; the second does, and saves a turn of the event loop.
        is_there = is_done(socket.connect(&addr.into()))?;
    }
    let stream = TcpStream::from_std(socket.into())?;
    prepare(&stream, addr);
    Ok((stream, is_there))
}

/// Is it done, or under way?
fn is_done(connected: io::Result<()>) -> io::Result<bool> {
    match connected {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EINPROGRESS | Errno::EALREADY) => Ok(false),
            // As a second call may say, too (connect(2)).
            Some(Errno::EISCONN) => Ok(true),
            _ => Err(error),
        },
    }
}

/// Makes the socket of a connection to a target fit: small messages leave at once, and a dead peer is found.
///
/// Errors are no reason to turn the connection away: it works without, only worse.
fn prepare(stream: &TcpStream, target: SocketAddr) {
    let socket = SockRef::from(stream);
    if target.ip().is_loopback() {
        // Of this machine the kernel itself tells: four calls less for each connection.
        set_common_options(&socket);
    } else {
        set_options(&socket);
    }
}

/// The same for all connections that are accepted from this listener: on Linux they inherit these options, which saves
/// five calls each.
pub(crate) fn prepare_listener(listener: &TcpListener) {
    set_options(&SockRef::from(listener));
}

fn set_options(socket: &SockRef<'_>) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(KEEPALIVE_AFTER_S))
        .with_interval(Duration::from_secs(KEEPALIVE_EVERY_S))
        .with_retries(KEEPALIVE_QUESTIONS);
    let _ = socket.set_tcp_keepalive(&keepalive);
    set_common_options(socket);
}

fn set_common_options(socket: &SockRef<'_>) {
    // What is urgent stays where it was said (RFC 6093 §3.4): taken out it would be missing there, as in telnet's.
    let _ = socket.set_out_of_band_inline(true);
    let _ = socket.set_tcp_nodelay(true);
}

/// From now on, closing this socket sends a reset, and what is still unsent is thrown away.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Takes what has arrived, up to the length of `into`; 0: the peer has ended its direction.
///
/// A read that does not fill `into` has emptied the socket, and the readiness is cleared right away, which saves the
/// read that would only say so. (Where urgent data, RFC 9293 §3.8.5, splits what has arrived, the rest comes with the
/// next segment: neither TLS nor HTTP uses it. Streams look again a moment later, see `looks`.)
pub(crate) fn receive(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut received = 0;
    let outcome = stream.try_io(Interest::READABLE, || {
        received = (&*SockRef::from(stream)).read(into)?;
        if received > 0 && received < into.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if received > 0 { Ok(received) } else { outcome.map(|()| 0) }
}

/// The same, whatever is known of the socket's readiness, which stays as it is.
pub(crate) fn receive_unasked(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(stream)).read(into)
}

/// Has the peer ended its direction, as far as events have told? Its bytes may not have been read yet.
pub(crate) fn is_closing(stream: &TcpStream) -> bool {
    let ready = pin!(stream.ready(Interest::READABLE));
    let ready = ready.poll(&mut Context::from_waker(Waker::noop()));
    matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

/// Has anything come, whatever is known of the socket's readiness?
pub(crate) fn is_something_there(stream: &TcpStream) -> bool {
    SockRef::from(stream).peek(&mut [std::mem::MaybeUninit::uninit()]).is_ok_and(|bytes| bytes > 0)
}

/// Sends as much as the socket takes, at least one byte.
///
/// A write that is not taken whole has filled the socket; as above.
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    let outcome = stream.try_io(Interest::WRITABLE, || {
        sent = (&*SockRef::from(stream)).write(bytes)?;
        if sent < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if sent > 0 { Ok(sent) } else { outcome.map(|()| 0) }
}

/// The same, of a socket that may not have been waited for: no event has told yet of one that has just been connected.
/// `is_last`: the end follows at once, and leaves in the same segment.
pub(crate) fn send_unasked(stream: &TcpStream, bytes: &[u8], is_last: bool) -> io::Result<usize> {
    let send = || if is_last { send_before_more(stream, bytes) } else { SockRef::from(stream).send(bytes) };
    let mut is_asked = false;
    let mut sent = 0;
    let outcome = stream.try_io(Interest::WRITABLE, || {
        is_asked = true;
        sent = send()?;
        if sent < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match outcome {
        _ if sent > 0 => Ok(sent),
        _ if !is_asked => send(),
        outcome => outcome.map(|()| 0),
    }
}

/// The same for two pieces, one behind the other.
pub(crate) fn send_both(stream: &TcpStream, first: &[u8], second: &[u8]) -> io::Result<usize> {
    send_pieces(stream, &[IoSlice::new(first), IoSlice::new(second)])
}

/// The same for any number of pieces.
pub(crate) fn send_pieces(stream: &TcpStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let all: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut sent = 0;
    let outcome = stream.try_io(Interest::WRITABLE, || {
        sent = (&*SockRef::from(stream)).write_vectored(pieces)?;
        if sent < all { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if sent > 0 { Ok(sent) } else { outcome.map(|()| 0) }
}

/// Will the same call do its work a moment later?
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Has the client gone before anything came of its connection? Ends when it has. See `Transport::gone`.
pub(crate) async fn gone(client: &TcpStream) {
    loop {
        if client.readable().await.is_err() {
            return;
        }
        let mut first = [std::mem::MaybeUninit::uninit()];
        match client.try_io(Interest::READABLE, || SockRef::from(client).peek(&mut first)) {
            Ok(0) => return,
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    // Its bytes stay where they are; only an error is news now.
    let _ = client.ready(Interest::ERROR).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_connection_within_this_machine_is_there_at_once_or_refused_or_waited_for() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let refused = connect(addr).map_err(|error| error.kind());
        assert!(matches!(refused, Err(io::ErrorKind::ConnectionRefused)), "{refused:?}");
        listener.listen(2).unwrap();
        let (first, is_there) = connect(addr).unwrap();
        assert!(is_there && first.peer_addr().unwrap() == addr && SockRef::from(&first).tcp_nodelay().unwrap());
        let (accepted, _) = listener.accept().unwrap();
        // As many as may wait there, and one more.
        let waiting: Vec<_> = (0..8).map(|_| connect(addr).unwrap()).collect();
        let (last, is_there) = waiting.last().unwrap();
        assert!(!is_there && last.take_error().unwrap().is_none());
        // Nobody has waited for it: it is written to all the same, and what is last leaves with the end.
        assert_eq!(send_unasked(&first, b"the", false).unwrap() + send_unasked(&first, b" end", true).unwrap(), 7);
        SockRef::from(&first).shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        std::net::TcpStream::from(accepted).read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"the end");
    }

    #[test]
    fn an_accepted_connection_has_the_options_of_its_listener() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        prepare_listener(&listener);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(KEEPALIVE_AFTER_S));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(KEEPALIVE_EVERY_S));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_QUESTIONS);
    }
}
