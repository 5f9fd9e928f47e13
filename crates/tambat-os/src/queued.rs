//! What a socket has been given and its peer does not have yet.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockRef;

/// How many bytes of a TCP connection were sent and have not been acknowledged by the other end: a number that shrinks
/// while nothing more is sent says that the other end reads (`SIOCOUTQ`, tcp(7)).
///
/// # Errors
///
/// When it is no TCP connection.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while `socket` is borrowed, and TIOCOUTQ, which is SIOCOUTQ, writes one int.
    let outcome = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(bytes).unwrap_or_default())
}

/// How many bytes more a connection's send buffer has room for: about, since the kernel counts what its own bookkeeping
/// takes, too (`SO_MEMINFO`, `linux/sock_diag.h`). 0: it takes nothing now.
///
/// # Errors
///
/// When it is no socket.
pub fn room(socket: &impl AsFd) -> io::Result<usize> {
    let mut figures = [0_u32; FIGURES];
    let mut length = libc::socklen_t::try_from(size_of_val(&figures)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel writes `length` bytes at most, all of
    // which `figures` has.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    let [size, queued] = [figures[SIZE_OF_SEND_BUFFER], figures[QUEUED_FOR_SENDING]];
    Ok(usize::try_from(size.saturating_sub(queued)).unwrap_or(usize::MAX))
}

/// What `SO_MEMINFO` tells: so many figures, and where two of them are (`SK_MEMINFO_*`).
const FIGURES: usize = 9;
const SIZE_OF_SEND_BUFFER: usize = 3;
const QUEUED_FOR_SENDING: usize = 5;

/// Sends as much as the socket takes, and keeps the end of it back until what follows at once leaves with it: more bytes,
/// or the end of the direction (`MSG_MORE`, send(2)). Where nothing follows the kernel waits for 200 ms.
///
/// # Errors
///
/// What send(2) lists.
pub fn send_before_more(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_MORE)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_the_other_end_takes_is_no_longer_on_its_way() {
        const BYTES: usize = 32 * 1024;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&client).unwrap(), 0);
        assert!(room(&client).unwrap() > BYTES);
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        // More than both ends of the connection hold.
        while let Ok(more) = client.write(&vec![0; BYTES]) {
            sent += more;
        }
        let full = unacknowledged(&client).unwrap();
        assert!(full > 0 && full <= sent);
        assert_eq!(room(&client).unwrap(), 0);
        server.read_exact(&mut vec![0; sent]).unwrap();
        while unacknowledged(&client).unwrap() > 0 {
            std::thread::yield_now();
        }
        assert!(room(&client).unwrap() > BYTES);
        assert!(room(&std::fs::File::open("/dev/null").unwrap()).is_err());
        assert!(unacknowledged(&listener).is_err() || unacknowledged(&listener).unwrap() == 0);
    }

    /// Has it been kept back until the end of the direction came?
    fn is_kept_back() -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(send_before_more(&client, b"the end").unwrap(), 7);
        // Within this machine it would be there by now.
        server.set_nonblocking(true).unwrap();
        let so_far = server.read(&mut [0; 9]).map_err(|error| error.kind());
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.set_nonblocking(false).unwrap();
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).unwrap();
        assert_eq!(so_far.unwrap_or(0) + rest.len(), 7);
        so_far == Err(io::ErrorKind::WouldBlock)
    }

    #[test]
    fn what_is_sent_before_more_leaves_with_it() {
        // The kernel waits for 200 ms, which a busy machine may take over one of them.
        assert!((0..5).any(|_| is_kept_back()));
    }
}
