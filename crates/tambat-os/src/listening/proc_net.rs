//! `/proc/net/tcp`, `udp` and their like for IPv6 (`proc_net_tcp(5)`): the kernel's lists as text. Those of listeners are
//! read where netlink is refused.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Listening, Transport, canonical};

/// The sockets that take what anybody sends: of TCP those that listen, of UDP those that have a port and no peer.
pub(super) fn read(transport: Transport) -> io::Result<Vec<Listening>> {
    let open = match transport {
        Transport::Tcp => State::Listen,
        Transport::Udp => State::Closed,
    };
    let sockets = table(name(transport))?.into_iter();
    Ok(sockets.filter(|socket| socket.state == open).map(Socket::listening).collect())
}

/// The name of its file; that of IPv6 has a 6 behind it.
pub(super) fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// TCP connections that stand or are being made, by the socket at this end: its inode, its own address, its peer's.
pub(super) fn read_connections() -> io::Result<Vec<(u64, SocketAddr, SocketAddr)>> {
    let connections = table("tcp")?.into_iter().filter(|socket| socket.state == State::Connected);
    Ok(connections.map(|socket| (socket.inode, socket.local, socket.remote)).collect())
}

/// The states that are told apart (`include/net/tcp_states.h`); a UDP socket without a peer is in the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connected,
    Listen,
    Closed,
}

struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    state: State,
    inode: u64,
    uid: u32,
}

impl Socket {
    fn listening(self) -> Listening {
        Listening { addr: self.local, inode: self.inode, uid: self.uid }
    }
}

/// Both families; a machine without IPv6 has no file for it.
fn table(name: &str) -> io::Result<Vec<Socket>> {
    let mut found: Vec<_> = fs::read_to_string(format!("/proc/net/{name}"))?.lines().filter_map(parse).collect();
    match fs::read_to_string(format!("/proc/net/{name}6")) {
        Ok(text) => found.extend(text.lines().filter_map(parse)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok(found)
}

/// One line; `None` for the heading and for sockets in any other state.
fn parse(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [_slot, local, remote, state, _queues, _timer, _retransmits, uid, _timeout, inode] = fields[..] else {
        return None;
    };
    let state = match state {
        "01" | "02" => State::Connected,
        "0A" => State::Listen,
        "07" => State::Closed,
        _ => return None,
    };
    let (local, remote) = (endpoint(local)?, endpoint(remote)?);
    Some(Socket { local, remote, state, inode: inode.parse().ok()?, uid: uid.parse().ok()? })
}

fn endpoint(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    Some(canonical(address(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// Groups of four bytes, each written as a number of this machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_files() {
        let v4 = "   1: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0";
        let expected = Listening { addr: "127.0.0.1:5000".parse().unwrap(), inode: 4711, uid: 1000 };
        assert_eq!(parse(v4).unwrap().listening(), expected);
        let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
                  00000000:00000000 00:00000000 00000000     0        0 12 1 0";
        assert_eq!(parse(v6).unwrap().local, "[::1]:80".parse().unwrap());
        let mapped = v6.replace("00000000000000000000000001000000", "0000000000000000FFFF00000100007F");
        assert_eq!(parse(&mapped).unwrap().local, "127.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn a_connection_and_a_port_for_datagrams_are_told_from_a_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert!(read_connections().unwrap().iter().any(|(_, from, to)| (*from, *to) == (local, remote)));
        let open = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let paired = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        paired.connect(open.local_addr().unwrap()).unwrap();
        let udp: Vec<SocketAddr> = read(Transport::Udp).unwrap().iter().map(|socket| socket.addr).collect();
        assert!(udp.contains(&open.local_addr().unwrap()) && !udp.contains(&paired.local_addr().unwrap()), "{udp:?}");
    }

    #[test]
    fn all_else_is_passed_over() {
        for line in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "   1: 0100007F:1388 00000000:0000 06 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0",
            "   1: 0100007:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0",
            "   1: 0100007F:1388 00000000:0000 0A 0:0 0:0 0  1000",
            "   1: ääää:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
