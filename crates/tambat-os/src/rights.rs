//! Open files over a unix socket (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::{SockRef, Type};

use crate::context::cannot;
use crate::sys;

/// As many files travel with one message: an instance has four, two shared ports a listener for each family.
pub const FILES_MAX: usize = 4;

/// Sends bytes, and duplicates of these listeners with the first of them. They never close as long as one of those who
/// have them lives, and connections that nobody has accepted yet stay where they are.
///
/// Returns how many of the bytes were taken: where that is not all of them, the rest goes without listeners.
///
/// # Errors
///
/// `WouldBlock` where a nonblocking socket takes nothing now; nothing has been sent then. `InvalidInput` for more
/// listeners than [`FILES_MAX`], or for no bytes at all.
pub fn send_listeners(socket: impl AsFd, bytes: &[u8], listeners: &[&TcpListener]) -> io::Result<usize> {
    if bytes.is_empty() || listeners.len() > FILES_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let files: Vec<RawFd> = listeners.iter().map(|listener| listener.as_raw_fd()).collect();
    Ok(send(socket.as_fd(), bytes, &files)?)
}

/// Reads bytes, and the listeners that came with them: close-on-exec, and verified to listen on TCP. 0 bytes: the other
/// side has ended.
///
/// # Errors
///
/// `WouldBlock` where a nonblocking socket has nothing. `InvalidData` where something else came along, which is closed.
pub fn receive_listeners(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<TcpListener>)> {
    let (length, files) = receive(socket.as_fd(), buffer).map_err(|error| match error {
        Errno::EBADMSG => refused("more files than a port has listeners"),
        other => other.into(),
    })?;
    let listeners = files.into_iter().map(listener).collect::<io::Result<Vec<_>>>()?;
    Ok((length, listeners))
}

fn listener(file: OwnedFd) -> io::Result<TcpListener> {
    let socket = SockRef::from(&file);
    // What is no socket at all is an error of the first question.
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let is_inet = socket.local_addr().is_ok_and(|addr| addr.as_socket().is_some());
    if is_stream && is_inet && socket.is_listener()? {
        return Ok(file.into());
    }
    Err(refused("a file that is no listening TCP socket"))
}

fn refused(what: &'static str) -> io::Error {
    cannot("take a listener from another process", io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Sends bytes with files; how many bytes were taken. Never ends the process with SIGPIPE.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], files: &[RawFd]) -> nix::Result<usize> {
    let rights = [ControlMessage::ScmRights(files)];
    let rights = if files.is_empty() { &[][..] } else { &rights };
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// As many files as Linux lets travel with one message (`SCM_MAX_FD`, unix(7)).
const FILES_SENT_MAX: usize = 253;

/// Reads bytes with the files that came along, which nobody inherits. EBADMSG: more than [`FILES_MAX`] of them; all are
/// closed then.
///
/// There is room for whatever may come: the kernel has opened those that fit, and of a message that was cut short nix
/// tells no numbers, so that nobody could close them.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; FILES_SENT_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for control in message.cmsgs().map_err(|_| Errno::EBADMSG)? {
        if let ControlMessageOwned::ScmRights(received) = control {
            files.extend(sys::adopt(&received));
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) || files.len() > FILES_MAX {
        return Err(Errno::EBADMSG);
    }
    Ok((message.bytes, files))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;
    use crate::ports::{DEFAULT_HOSTS, bind_service};

    #[test]
    fn a_port_goes_on_with_who_has_its_duplicates() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let listeners = bind_service(0, &DEFAULT_HOSTS[..1], &[]).unwrap();
        let addr = listeners[0].local_addr().unwrap();
        assert_eq!(send_listeners(&ours, b"here\n", &[&listeners[0]]).unwrap(), 5);
        let waiting = TcpStream::connect(addr).unwrap();
        drop(listeners);

        let mut buffer = [0; 16];
        let (length, received) = receive_listeners(&theirs, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"here\n");
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].local_addr().unwrap(), addr);
        assert_eq!(fcntl(&received[0], FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits(), 1);
        let (_, peer) = received[0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        TcpStream::connect(addr).unwrap();
        drop(received);
        assert!(TcpStream::connect(addr).is_err(), "the last duplicate closes it");
    }

    #[test]
    fn plain_bytes_come_without_listeners() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"x").unwrap();
        let mut buffer = [0; 16];
        let (length, received) = receive_listeners(&theirs, &mut buffer).unwrap();
        assert_eq!((length, received.len()), (1, 0));
        assert_eq!(send_listeners(&ours, b"y", &[]).unwrap(), 1);
        drop(ours);
        assert_eq!(receive_listeners(&theirs, &mut buffer).unwrap().0, 1);
        assert_eq!(receive_listeners(&theirs, &mut buffer).unwrap().0, 0, "the end");
        assert_eq!(send_listeners(&theirs, b"y", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(send_listeners(&theirs, b"", &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut buffer = [0; 16];
        let null = File::open("/dev/null").unwrap();
        send(ours.as_fd(), b"x", &[null.as_raw_fd()]).unwrap();
        assert_eq!(receive_listeners(&theirs, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);

        let listener = bind_service(0, &DEFAULT_HOSTS[..1], &[]).unwrap().remove(0);
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        send(ours.as_fd(), b"x", &[connected.as_raw_fd()]).unwrap();
        assert_eq!(receive_listeners(&theirs, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// A pipe tells when its last writer has gone.
    #[test]
    fn all_are_closed_where_there_are_too_many() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for count in [FILES_MAX + 1, FILES_SENT_MAX] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            send(ours.as_fd(), b"x", &vec![writer.as_raw_fd(); count]).unwrap();
            drop(writer);
            let error = receive_listeners(&theirs, &mut [0; 16]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{count}");
            let waiting = crate::sys::poll_readable([Some(reader.as_fd())], Some(std::time::Duration::ZERO)).unwrap();
            assert_eq!(waiting, [true], "{count}: one of them is still open");
            assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
        }
    }
}
