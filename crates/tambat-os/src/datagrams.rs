//! Sockets for datagrams at addresses of ours: who sent one, and which of our addresses it was sent to.
//!
//! A client takes an answer from the address that it has dialled and from no other. A socket at the unspecified address
//! has all addresses of the machine, so that it has to be told with each datagram which of them was dialled
//! (`IP_PKTINFO`, ip(7); RFC 3542 §6), and says with each answer from which of them it comes.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// A datagram has no more bytes than this, whatever the family (RFC 768: 16 bits for the length).
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// What the kernel is asked to keep until it is read: a burst of datagrams, while the router's thread has other things
/// to do. The kernel grants what `net.core.rmem_max` allows.
const RECEIVE_BUFFER_BYTES: usize = 1024 * 1024;

/// Binds one address for datagrams. The socket is nonblocking and close-on-exec, and one of IPv6 is for IPv6 alone. At an
/// unspecified address it is ready for [`Receiver`] and [`send_from`] to tell its addresses apart.
///
/// # Errors
///
/// What the system says; it keeps its kind (`AddrInUse`).
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Less than that is no reason to do without.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => setsockopt(&socket, Ipv4PacketInfo, &true)?,
        IpAddr::V6(ip) if ip.is_unspecified() => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A datagram that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its length.
    pub bytes: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, where the socket has all of them.
    pub to: Option<IpAddr>,
}

/// Receives from one socket of [`bind`].
#[derive(Debug)]
pub struct Receiver {
    /// Room for what is told beside the datagram; none: the socket has one address.
    notes: Option<Vec<u8>>,
}

impl Receiver {
    /// For a socket that is bound here.
    pub fn new(at: IpAddr) -> Self {
        Self { notes: at.is_unspecified().then(|| cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo)) }
    }

    /// The next datagram; what is longer than the buffer is cut off there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none now, and what the system says.
    pub fn receive(&mut self, socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Received> {
        let mut pieces = [IoSliceMut::new(buffer)];
        let room = self.notes.as_deref_mut();
        let told = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut pieces, room, MsgFlags::empty())?;
        let to = if told.cmsgs().is_ok() { told.cmsgs()?.find_map(|note| local_of(&note)) } else { None };
        let from = told.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Received { bytes: told.bytes, from, to })
    }
}

fn local_of(note: &ControlMessageOwned) -> Option<IpAddr> {
    match note {
        // Not the address in its header: that may be one that many have, and nobody can answer from it.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr)).filter(|to| !to.is_multicast()).map(IpAddr::from)
        }
        _ => None,
    }
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddrV4::from(*v4).into()),
        (None, Some(v6)) => Some(SocketAddrV6::from(*v6).into()),
        (None, None) => None,
    }
}

/// Sends a datagram `to` there, `from` this one of our addresses (none: the socket has but one, or the kernel chooses).
///
/// # Errors
///
/// `WouldBlock` when the socket takes nothing now, and what the system says.
pub fn send_from(socket: &impl AsRawFd, bytes: &[u8], from: Option<IpAddr>, to: SocketAddr) -> io::Result<()> {
    let send = |notes: &[ControlMessage<'_>]| {
        let to = SockaddrStorage::from(to);
        sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], notes, MsgFlags::empty(), Some(&to))
    };
    match from {
        None => send(&[]),
        Some(IpAddr::V4(ip)) => {
            let spec = libc::in_addr { s_addr: u32::from(ip).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: libc::in_addr { s_addr: 0 } };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(IpAddr::V6(ip)) => {
            let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
            send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 })])
        }
    }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(at: &str, dial: &str) -> (Received, SocketAddr) {
        let server = bind(at.parse().unwrap()).unwrap();
        let addr = server.local_addr().unwrap();
        let client = UdpSocket::bind((if addr.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let dialled = SocketAddr::new(dial.parse().unwrap(), addr.port());
        client.send_to(b"question", dialled).unwrap();
        let mut receiver = Receiver::new(addr.ip());
        let mut buffer = [0; 64];
        // Over the loopback interface it is there when it has been sent.
        let datagram = receiver.receive(&server, &mut buffer).unwrap();
        assert_eq!((&buffer[..datagram.bytes], datagram.from), (&b"question"[..], client.local_addr().unwrap()));
        let nothing = receiver.receive(&server, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        send_from(&server, b"answer", datagram.to, datagram.from).unwrap();
        let (bytes, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..bytes], b"answer");
        assert_eq!(from, dialled, "the client takes it from whom it has asked alone");
        (datagram, dialled)
    }

    #[test]
    fn an_answer_comes_from_the_address_that_was_dialled() {
        for (at, dial) in [("0.0.0.0:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "::1")] {
            let (datagram, dialled) = exchange(at, dial);
            assert_eq!(datagram.to, Some(dialled.ip()), "{at} {dial}");
        }
        for (at, dial) in [("127.0.0.9:0", "127.0.0.9"), ("[::1]:0", "::1")] {
            assert_eq!(exchange(at, dial).0.to, None, "{at}");
        }
    }

    #[test]
    fn the_longest_datagram_is_received_whole() {
        let server = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        // The most that IPv4 has room for (RFC 791: 65,535 bytes with both headers).
        let longest = vec![7; 65_507];
        client.send_to(&longest, server.local_addr().unwrap()).unwrap();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let received = Receiver::new([127, 0, 0, 9].into()).receive(&server, &mut buffer).unwrap();
        assert_eq!(&buffer[..received.bytes], longest);
    }

    #[test]
    fn a_port_belongs_to_one_socket() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
