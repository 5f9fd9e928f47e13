//! `sock_diag(7)`: the kernel's own list of sockets, without a line of text.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::{Listening, Transport, canonical};

/// The kernel fills at most 32 KiB at a time (`netlink_dump`).
const BUFFER_BYTES: usize = 32 * 1024;

/// More than a million listeners: no machine has them, so this bounds a kernel that would never say "done".
const DATAGRAMS_MAX: usize = 4096;

const HEADER_BYTES: usize = 16;
/// struct `inet_diag_req_v2`.
const REQUEST_BYTES: usize = 56;
/// struct `inet_diag_msg`.
const ANSWER_BYTES: usize = 72;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// States (`include/net/tcp_states.h`); a UDP socket without a peer is in the last one.
const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_LISTEN: u32 = 10;
const TCP_CLOSE: u32 = 7;

/// What is asked for.
#[derive(Clone, Copy)]
struct Asked {
    protocol: i32,
    /// A bit for each state.
    states: u32,
    /// Zero selects every port.
    port: u16,
}

/// A socket, as the kernel tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    local: SocketAddr,
    remote: SocketAddr,
    inode: u64,
    uid: u32,
}

/// All sockets that take what anybody sends, or those on one port.
pub(super) fn dump(transport: Transport, port: Option<u16>) -> io::Result<Vec<Listening>> {
    let (protocol, state) = match transport {
        Transport::Tcp => (libc::IPPROTO_TCP, TCP_LISTEN),
        Transport::Udp => (libc::IPPROTO_UDP, TCP_CLOSE),
    };
    let told = ask(Asked { protocol, states: 1 << state, port: port.unwrap_or(0) })?.into_iter();
    Ok(told.map(|socket| Listening { addr: socket.local, inode: socket.inode, uid: socket.uid }).collect())
}

/// TCP connections that stand or are being made, by the socket at this end: its inode, its own address, its peer's.
pub(super) fn connections() -> io::Result<Vec<(u64, SocketAddr, SocketAddr)>> {
    let states = 1 << TCP_ESTABLISHED | 1 << TCP_SYN_SENT;
    let told = ask(Asked { protocol: libc::IPPROTO_TCP, states, port: 0 })?.into_iter();
    Ok(told.map(|socket| (socket.inode, socket.local, socket.remote)).collect())
}

/// Of both families.
fn ask(asked: Asked) -> io::Result<Vec<Told>> {
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask_family(u8::try_from(family).map_err(io::Error::other)?, asked, &mut buffer, &mut found)?;
    }
    Ok(found)
}

fn ask_family(family: u8, asked: Asked, buffer: &mut [u8], found: &mut Vec<Told>) -> io::Result<()> {
    let kind = (AddressFamily::Netlink, SockType::Datagram, SockProtocol::NetlinkSockDiag);
    let netlink = socket(kind.0, kind.1, SockFlag::SOCK_CLOEXEC, kind.2)?;
    send(netlink.as_raw_fd(), &request(family, asked), MsgFlags::empty())?;
    for _ in 0..DATAGRAMS_MAX {
        // With MSG_TRUNC the length is the datagram's, even when the buffer is too small for it.
        let length = recv(netlink.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?;
        let datagram = buffer.get(..length).ok_or_else(|| io::Error::other("an answer that is too long"))?;
        match parse(datagram, found)? {
            Progress::More => {}
            Progress::Done => return Ok(()),
        }
    }
    Err(io::Error::other("an answer without an end"))
}

fn request(family: u8, asked: Asked) -> [u8; HEADER_BYTES + REQUEST_BYTES] {
    let mut bytes = [0; HEADER_BYTES + REQUEST_BYTES];
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or(0);
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[16] = family;
    bytes[17] = u8::try_from(asked.protocol).unwrap_or(0);
    bytes[20..24].copy_from_slice(&asked.states.to_ne_bytes());
    bytes[24..26].copy_from_slice(&asked.port.to_be_bytes());
    bytes
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    More,
    Done,
}

/// Reads one datagram of messages (netlink(7)).
fn parse(mut datagram: &[u8], found: &mut Vec<Told>) -> io::Result<Progress> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "an answer that ends early");
    while !datagram.is_empty() {
        let length = u32::from_ne_bytes(array(datagram, 0).ok_or_else(short)?);
        let kind = i32::from(u16::from_ne_bytes(array(datagram, 4).ok_or_else(short)?));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let content = datagram.get(HEADER_BYTES..length).ok_or_else(short)?;
        if kind == libc::NLMSG_DONE {
            return Ok(Progress::Done);
        } else if kind == libc::NLMSG_ERROR {
            let errno = i32::from_ne_bytes(array(content, 0).ok_or_else(short)?);
            return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
        } else if kind == i32::from(SOCK_DIAG_BY_FAMILY) {
            found.push(socket_of(content).ok_or_else(short)?);
        }
        // Messages begin at multiples of four; the last one needs no padding.
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

fn socket_of(answer: &[u8]) -> Option<Told> {
    let answer = answer.get(..ANSWER_BYTES)?;
    let is_v4 = i32::from(answer[0]) == libc::AF_INET;
    let end = |port: usize, ip: usize| {
        let port = u16::from_be_bytes(array(answer, port)?);
        let ip = if is_v4 {
            IpAddr::from(Ipv4Addr::from(array::<4>(answer, ip)?))
        } else {
            IpAddr::from(Ipv6Addr::from(array::<16>(answer, ip)?))
        };
        Some(canonical(ip, port))
    };
    let uid = u32::from_ne_bytes(array(answer, 64)?);
    let inode = u64::from(u32::from_ne_bytes(array(answer, 68)?));
    Some(Told { local: end(4, 8)?, remote: end(6, 24)?, inode, uid })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + content.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer() -> Vec<u8> {
        let mut answer = vec![0; ANSWER_BYTES];
        answer[0] = 2;
        answer[4..6].copy_from_slice(&5000_u16.to_be_bytes());
        answer[6..8].copy_from_slice(&6000_u16.to_be_bytes());
        answer[8..12].copy_from_slice(&[127, 0, 0, 1]);
        answer[24..28].copy_from_slice(&[127, 0, 0, 2]);
        answer[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        answer[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        answer
    }

    #[test]
    fn answers_and_their_end() {
        // Attributes after the fixed part are passed over.
        let with_attribute = [answer(), vec![1; 5]].concat();
        let datagram =
            [message(SOCK_DIAG_BY_FAMILY, &with_attribute), message(SOCK_DIAG_BY_FAMILY, &answer())].concat();
        let mut found = Vec::new();
        assert_eq!(parse(&datagram, &mut found).unwrap(), Progress::More);
        let [local, remote] = ["127.0.0.1:5000", "127.0.0.2:6000"].map(|addr| addr.parse().unwrap());
        let expected = Told { local, remote, inode: 77, uid: 1000 };
        assert_eq!(found, [expected, expected]);
        assert_eq!(parse(&message(3, &[0; 4]), &mut found).unwrap(), Progress::Done);
    }

    #[test]
    fn an_error_is_the_kernels() {
        let refused = message(2, &(-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&refused, &mut Vec::new()).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        assert!(parse(&message(2, &i32::MIN.to_ne_bytes()), &mut Vec::new()).is_err());
    }

    #[test]
    fn cut_and_crooked_datagrams_are_refused() {
        let datagram = message(SOCK_DIAG_BY_FAMILY, &answer());
        for end in 1..datagram.len() {
            assert!(parse(&datagram[..end], &mut Vec::new()).is_err(), "cut at {end}");
        }
        for length in [0, 1, 15, u32::MAX] {
            let mut crooked = datagram.clone();
            crooked[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(parse(&crooked, &mut Vec::new()).is_err(), "length {length}");
        }
    }
}
