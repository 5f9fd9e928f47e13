//! Accepting a connection that blocks nobody.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use socket2::SockAddr;

/// The next connection of a listener, non-blocking from the start and not inherited by what is executed (accept4(2)): of
/// two calls for each connection one.
///
/// # Errors
///
/// `WouldBlock` when there is none and the listener does not block; else what accept(2) lists.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    // SAFETY: the descriptor is open while `listener` is borrowed; accept4 writes an address, of no more bytes than `length`
    // says that there is room for, and its real length there; what it returns is a descriptor that nobody else has.
    let (client, peer) = unsafe {
        SockAddr::try_init(|address, length| {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            match libc::accept4(listener.as_raw_fd(), address.cast(), length, flags) {
                -1 => Err(io::Error::last_os_error()),
                client => Ok(OwnedFd::from_raw_fd(client)),
            }
        })
    }?;
    let peer = peer.as_socket().ok_or_else(|| io::Error::other("the client has no internet address"))?;
    Ok((client.into(), peer))
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use socket2::SockRef;

    use super::*;

    #[test]
    fn what_is_accepted_blocks_nobody_and_is_not_inherited() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, peer) = accept(&listener).unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            assert_eq!(accepted.peer_addr().unwrap(), peer);
            assert!(SockRef::from(&accepted).nonblocking().unwrap());
            let flags = FdFlag::from_bits_truncate(fcntl(&accepted, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
            listener.set_nonblocking(true).unwrap();
            assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }
}
