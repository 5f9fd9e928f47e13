//! A session's way to its target: a connected socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;

use socket2::SockRef;
use tambat_model::{Admitted, Target, Traffic};
use tokio::task::AbortHandle;

/// A session's way to its target. When it is dropped, the target counts the session no more.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: Rc<tokio::net::UdpSocket>,
    pub(super) target: Arc<Target>,
    pub(super) traffic: Arc<Traffic>,
    /// Stands before each datagram: where it comes from.
    header: Option<Box<[u8]>>,
    reader: Option<AbortHandle>,
    _admitted: Admitted,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, or lost, as datagrams may be.
    Away,
    /// Nobody takes it there.
    Refused,
}

impl Link {
    /// # Errors
    ///
    /// What the system says: for want of file descriptors or ports.
    pub(super) fn open(
        target: Arc<Target>,
        admitted: Admitted,
        traffic: Arc<Traffic>,
        header: Option<Box<[u8]>>,
    ) -> io::Result<Self> {
        let any: SocketAddr = match target.addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target.addr)?;
        socket.set_nonblocking(true)?;
        let socket = Rc::new(tokio::net::UdpSocket::from_std(socket)?);
        Ok(Self { socket, target, traffic, header, reader: None, _admitted: admitted })
    }

    /// Who reads its answers: as long as this is there.
    pub(super) fn read_by(&mut self, reader: AbortHandle) {
        self.reader = Some(reader);
    }

    /// Sends a datagram. On one machine it is known at once whether somebody takes it there.
    pub(super) fn send(&self, datagram: &[u8]) -> Sent {
        let socket = SockRef::from(&*self.socket);
        let sent = match &self.header {
            None => socket.send(datagram),
            Some(header) => socket.send(&[header, datagram].concat()),
        };
        let trouble = match sent {
            Ok(_) => socket.take_error().ok().flatten(),
            Err(error) => Some(error),
        };
        match trouble {
            Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => Sent::Refused,
            _ => Sent::Away,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}
