//! The socket of a handshake: watched from the first time that somebody has to wait for it.
//!
//! As a rule the client's hello is there when its connection is accepted, and nothing is waited for: to watch the socket
//! and to stop it again would cost two calls for nothing.

use std::io;
use std::{mem, net};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The socket of a handshake. It never blocks.
#[derive(Debug)]
pub(super) enum Line {
    Bare(net::TcpStream),
    Watched(TcpStream),
    /// It could not be watched, for want of memory, and is closed.
    Lost,
}

impl Line {
    /// The socket, watched no more; none: it is lost.
    pub(super) fn into_socket(self) -> Option<net::TcpStream> {
        match self {
            Self::Bare(socket) => Some(socket),
            Self::Watched(socket) => socket.into_std().ok(),
            Self::Lost => None,
        }
    }

    /// Waits until there may be something to read. To be asked after a read that found nothing.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        self.watch()?.readable().await
    }

    /// The same for writing.
    pub(super) async fn writable(&mut self) -> io::Result<()> {
        self.watch()?.writable().await
    }

    fn watch(&mut self) -> io::Result<&TcpStream> {
        if let Self::Bare(_) = self
            && let Self::Bare(socket) = mem::replace(self, Self::Lost)
        {
            *self = Self::Watched(TcpStream::from_std(socket)?);
        }
        match self {
            Self::Watched(socket) => Ok(socket),
            Self::Bare(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn attempt<T>(&self, interest: Interest, call: impl FnOnce(&SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Bare(socket) => call(&SockRef::from(socket)),
            Self::Watched(socket) => socket.try_io(interest, || call(&SockRef::from(socket))),
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl io::Read for &Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.attempt(Interest::READABLE, |socket| (&**socket).read(into))
    }
}

impl io::Write for &Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(Interest::WRITABLE, |socket| (&**socket).write(bytes))
    }

    fn write_vectored(&mut self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.attempt(Interest::WRITABLE, |socket| (&**socket).write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
