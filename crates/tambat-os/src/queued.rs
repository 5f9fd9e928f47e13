//! What a socket has been given and its peer does not have yet.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

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
        client.set_nonblocking(true).unwrap();
        let mut sent = 0;
        // More than both ends of the connection hold.
        while let Ok(more) = client.write(&vec![0; BYTES]) {
            sent += more;
        }
        let full = unacknowledged(&client).unwrap();
        assert!(full > 0 && full <= sent);
        server.read_exact(&mut vec![0; sent]).unwrap();
        while unacknowledged(&client).unwrap() > 0 {
            std::thread::yield_now();
        }
        assert!(unacknowledged(&listener).is_err() || unacknowledged(&listener).unwrap() == 0);
    }
}
