//! Who listens on this machine's ports.

mod netlink;
mod proc_net;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::context::cannot;
use crate::{Pid, ProcessInfo, process_info, tree};

/// What ports are numbered by: a number of one has nothing to do with the same of the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Transport {
    /// Streams (tcp(7)).
    Tcp,
    /// Datagrams (udp(7)).
    Udp,
}

/// A socket that takes what anybody sends: of TCP one in state LISTEN, of UDP one that has a port and no peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listening {
    /// Where it listens. An IPv4 address mapped into IPv6 (`::ffff:127.0.0.1`, which is what Java binds) is written
    /// as IPv4.
    pub addr: SocketAddr,
    /// The socket's number, as it stands behind `/proc/PID/fd`.
    pub inode: u64,
    /// The user who made it.
    pub uid: u32,
}

/// Who holds a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// This process.
    Known(ProcessInfo),
    /// A process whose files we may not see; only its user is known.
    Unreadable {
        /// The user who made the socket.
        uid: u32,
    },
}

/// Every listening TCP socket of this network namespace: [`listening_over`] TCP.
pub fn listening() -> io::Result<Vec<Listening>> {
    listening_over(Transport::Tcp)
}

/// Every socket of this network namespace that takes what anybody sends over this transport, IPv4 and IPv6. Asks netlink
/// (`sock_diag(7)`), and reads `/proc/net/tcp` and its kin where that is refused, as it is of UDP by a kernel without
/// `udp_diag`. A client that has sent a datagram without being connected is among those of UDP, at one of
/// [`crate::ports::ephemeral`].
pub fn listening_over(transport: Transport) -> io::Result<Vec<Listening>> {
    select(transport, None)
}

/// Every TCP connection of this network namespace that stands or is being made: the inode of the socket at one end, its
/// own address, its peer's. One between two processes of this machine is there twice. Asks as [`listening_over`] does: of a
/// machine with tens of thousands of connections that are over, text would be the work of a moment that is felt.
pub(crate) fn connections() -> io::Result<Vec<(u64, SocketAddr, SocketAddr)>> {
    netlink::connections()
        .or_else(|_| proc_net::read_connections())
        .map_err(|e| cannot("see who is connected to whom", e))
}

/// Those on one port: much cheaper, as the kernel does the selecting.
pub(crate) fn listening_on(transport: Transport, port: u16) -> io::Result<Vec<Listening>> {
    select(transport, Some(port))
}

/// Who listens on this TCP port: [`holder_over`] TCP.
pub fn holder_of(port: u16) -> Option<Holder> {
    holder_over(Transport::Tcp, port)
}

/// Who listens on `port` where a service port would be: on a loopback or the unspecified address. Looks through all
/// of `/proc`, so it is for error messages, not for polling. `None`: nobody does, as far as can be known.
pub fn holder_over(transport: Transport, port: u16) -> Option<Holder> {
    let mut there = listening_on(transport, port).ok()?;
    there.retain(|socket| in_the_way(socket.addr.ip()));
    let uid = there.first()?.uid;
    Some(find_holder(&there).map_or(Holder::Unreadable { uid }, Holder::Known))
}

/// The first process of the machine that has one of these sockets open.
pub(crate) fn find_holder(sockets: &[Listening]) -> Option<ProcessInfo> {
    let inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
    tree::all_pids()
        .into_iter()
        .filter(|pid| matches!(open_sockets(*pid), Files::Sockets(open) if open.iter().any(|i| inodes.contains(i))))
        .find_map(process_info)
}

/// What we may see of a process' files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Files {
    /// The inodes of its sockets.
    Sockets(Vec<u64>),
    /// Not ours to see (ptrace(2), "access mode checking"): another user's, setuid, or not dumpable.
    Unreadable,
    /// Ended.
    Gone,
}

pub(crate) fn open_sockets(pid: Pid) -> Files {
    let listing = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(listing) => listing,
        // The directory of a process that has ended belongs to root.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && crate::signals::is_alive(pid) => {
            return Files::Unreadable;
        }
        Err(_) => return Files::Gone,
    };
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Files::Sockets(listing.flatten().filter_map(inode).collect())
}

/// Sockets by their inode, for matching many processes against many sockets.
pub(crate) fn by_inode(sockets: &[Listening]) -> BTreeMap<u64, SocketAddr> {
    sockets.iter().map(|socket| (socket.inode, socket.addr)).collect()
}

fn in_the_way(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

fn select(transport: Transport, port: Option<u16>) -> io::Result<Vec<Listening>> {
    match netlink::dump(transport, port) {
        Ok(found) => Ok(found),
        Err(refused) => {
            let name = proc_net::name(transport);
            let mut found = proc_net::read(transport)
                .map_err(|e| cannot(format!("see who listens (netlink: {refused}) by /proc/net/{name}"), e))?;
            found.retain(|socket| port.is_none_or(|port| socket.addr.port() == port));
            Ok(found)
        }
    }
}

/// Addresses as people write them.
fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::runtime_dir::uid;

    fn inode_of(listener: &impl AsRawFd) -> u64 {
        fs::metadata(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap().ino()
    }

    #[test]
    fn netlink_and_proc_both_see_a_listener_and_not_a_connection() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        let addr = v4.local_addr().unwrap();
        let client = std::net::TcpStream::connect(addr).unwrap();
        for found in [netlink::dump(Transport::Tcp, None).unwrap(), proc_net::read(Transport::Tcp).unwrap()] {
            for listener in [&v4, &v6] {
                let (addr, inode) = (listener.local_addr().unwrap(), inode_of(listener));
                assert!(found.contains(&Listening { addr, inode, uid: uid() }), "{addr} in {found:?}");
            }
            assert!(found.iter().all(|socket| socket.addr != client.local_addr().unwrap()));
        }
        let on_port = listening_on(Transport::Tcp, addr.port()).unwrap();
        assert!(on_port.iter().all(|socket| socket.addr.port() == addr.port()));
        assert!(on_port.iter().any(|socket| socket.addr == addr));
    }

    #[test]
    fn netlink_and_proc_both_see_both_ends_of_a_connection_and_no_listener() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let expected = [(inode_of(&client), local, remote), (inode_of(&server), remote, local)];
            for found in [netlink::connections().unwrap(), proc_net::read_connections().unwrap()] {
                assert!(expected.iter().all(|end| found.contains(end)), "{expected:?} in {found:?}");
                assert!(found.iter().all(|(inode, ..)| *inode != inode_of(&listener)));
            }
            drop(client);
            // What is over, or half over, is none.
            assert!(netlink::connections().unwrap().iter().all(|found| *found != expected[0]));
        }
    }

    #[test]
    fn who_takes_datagrams_is_seen_and_who_has_a_peer_is_not() {
        let open = [UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap()];
        let paired = UdpSocket::bind("127.0.0.1:0").unwrap();
        paired.connect(open[0].local_addr().unwrap()).unwrap();
        // A kernel without `udp_diag` is asked through /proc.
        let dumped = netlink::dump(Transport::Udp, None).ok();
        for found in dumped.into_iter().chain([proc_net::read(Transport::Udp).unwrap()]) {
            for socket in &open {
                let (addr, inode) = (socket.local_addr().unwrap(), inode_of(socket));
                assert!(found.contains(&Listening { addr, inode, uid: uid() }), "{addr} in {found:?}");
            }
            assert!(found.iter().all(|socket| socket.inode != inode_of(&paired)));
        }
        let port = open[0].local_addr().unwrap().port();
        let on_port = listening_on(Transport::Udp, port).unwrap();
        assert!(on_port.iter().any(|socket| socket.inode == inode_of(&open[0])));
        assert!(on_port.iter().all(|socket| socket.addr.port() == port));
        let Some(Holder::Known(holder)) = holder_over(Transport::Udp, port) else { panic!("no holder of {port}") };
        assert_eq!(holder.pid, Pid::own());
    }

    #[test]
    fn javas_mapped_address_is_written_as_ipv4() {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:0".parse().unwrap();
        socket.bind(&mapped.into()).unwrap();
        socket.listen(1).unwrap();
        let listener = TcpListener::from(socket);
        let port = listener.local_addr().unwrap().port();
        let expected = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(listening_on(Transport::Tcp, port).unwrap().iter().map(|s| s.addr).collect::<Vec<_>>(), [expected]);
        assert!(proc_net::read(Transport::Tcp).unwrap().iter().any(|socket| socket.addr == expected));
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Some(Holder::Known(holder)) = holder_of(port) else { panic!("no holder of {port}") };
        assert_eq!(holder.pid, Pid::own());
        drop(listener);
        assert_eq!(holder_of(port), None);
    }

    #[test]
    fn a_listener_elsewhere_is_not_in_the_way() {
        for (ip, expected) in [("127.0.0.2", true), ("0.0.0.0", true), ("::", true), ("192.0.2.1", false)] {
            assert_eq!(in_the_way(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
