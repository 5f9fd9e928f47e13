//! Whether a TCP connection says that something has arrived.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// From now on this TCP connection says nothing of what arrives until its receive window is all but full; it grows no bigger
/// for that (`SO_RCVLOWAT`, socket(7)). The end of the other side's direction, an error and urgent data are told all the same,
/// and reading takes what is there, however little. For whoever cannot read now and would be woken by each arrival.
///
/// # Errors
///
/// When it is no TCP connection.
pub fn hush(socket: &impl AsFd) -> io::Result<()> {
    announce_from(socket, window(socket)?)
}

/// From now on it tells of each arrival again, as every socket does at first. What is there already is told of now.
///
/// # Errors
///
/// When it is no socket that can.
pub fn announce(socket: &impl AsFd) -> io::Result<()> {
    announce_from(socket, 1)
}

fn announce_from(socket: &impl AsFd, bytes: u32) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let size = libc::socklen_t::try_from(size_of_val(&bytes)).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel reads one int, which outlives the call.
    let outcome = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, (&raw const bytes).cast(), size) };
    Ok(Errno::result(outcome).map(drop)?)
}

/// How much it lets its peer send at most while nobody reads. For more than that the kernel would make its buffer bigger.
fn window(socket: &impl AsFd) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel writes `size` bytes at most.
    let outcome =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size) };
    Errno::result(outcome)?;
    // SAFETY: it consists of integers, and all of them were zero before.
    Ok(unsafe { info.assume_init() }.tcpi_rcv_ssthresh)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// What is certain to come comes within this.
    const SOON_MS: u16 = 10_000;

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        (sender, receiver)
    }

    fn tells(socket: &TcpStream, within_ms: u16) -> bool {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(within_ms)).unwrap() == 1
    }

    /// Until so much is there to be read.
    fn wait_for(socket: &TcpStream, bytes: usize) {
        while socket.peek(&mut vec![0; bytes]).unwrap() < bytes {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_hushed_socket_is_silent_and_gives_what_is_there() {
        let (mut sender, mut receiver) = connection();
        hush(&receiver).unwrap();
        sender.write_all(&[7; 1000]).unwrap();
        receiver.set_nonblocking(true).unwrap();
        while receiver.peek(&mut [0; 1000]).unwrap_or(0) < 1000 {
            std::thread::yield_now();
        }
        assert!(!tells(&receiver, 0));
        let mut heard = [0; 400];
        receiver.read_exact(&mut heard).unwrap();
        assert!(!tells(&receiver, 0));
        announce(&receiver).unwrap();
        assert!(tells(&receiver, 0));
    }

    #[test]
    fn the_end_and_a_reset_and_a_full_buffer_are_told_all_the_same() {
        let (mut sender, receiver) = connection();
        hush(&receiver).unwrap();
        sender.write_all(b"last words").unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        assert!(tells(&receiver, SOON_MS));

        let (sender, receiver) = connection();
        hush(&receiver).unwrap();
        socket2::SockRef::from(&sender).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(sender);
        assert!(tells(&receiver, SOON_MS));

        let (mut sender, receiver) = connection();
        hush(&receiver).unwrap();
        sender.set_nonblocking(true).unwrap();
        let much = vec![7; 64 * 1024];
        while sender.write(&much).is_ok() {}
        assert!(tells(&receiver, SOON_MS));
    }

    #[test]
    fn a_socket_that_is_hushed_again_and_again_holds_no_more_for_that() {
        let (mut sender, receiver) = connection();
        let before = socket2::SockRef::from(&receiver).recv_buffer_size().unwrap();
        for _ in 0..100 {
            hush(&receiver).unwrap();
            announce(&receiver).unwrap();
        }
        assert_eq!(socket2::SockRef::from(&receiver).recv_buffer_size().unwrap(), before);
        // Nor when it has grown by what came.
        sender.write_all(&[7; 256]).unwrap();
        wait_for(&receiver, 256);
        hush(&receiver).unwrap();
        let held = socket2::SockRef::from(&receiver).recv_buffer_size().unwrap();
        (0..100).for_each(|_| hush(&receiver).unwrap());
        assert_eq!(socket2::SockRef::from(&receiver).recv_buffer_size().unwrap(), held);
    }

    #[test]
    fn what_is_no_connection_cannot_be_hushed() {
        assert!(hush(&std::fs::File::open("/dev/null").unwrap()).is_err());
        assert!(announce(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
