//! Ports: which are free, and binding those that are ours to hold.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Transport;
use crate::datagrams;

/// Connections that wait for an instance to become ready queue here first. The kernel caps it at
/// net.core.somaxconn, which is 4096 since Linux 5.4.
pub const BACKLOG_CONNECTIONS: i32 = 4096;

/// Where a service port is held unless said otherwise: what `localhost` may resolve to.
pub const DEFAULT_HOSTS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Its bit in the sets of capabilities (`linux/capability.h`).
const CAP_NET_BIND_SERVICE: u32 = 10;

/// How often the kernel may choose a number that is taken at one of the other hosts.
const KERNEL_CHOICES_MAX: usize = 64;

/// Whether a server could bind `port` on `0.0.0.0`, `127.0.0.1` and `[::]`, each without `SO_REUSEADDR`, as the least
/// careful program would: over TCP and over UDP, for a program may want both. Nothing is left behind; somebody may take it
/// right afterwards.
pub fn is_free(port: u16) -> bool {
    [Transport::Tcp, Transport::Udp].into_iter().all(|transport| is_free_over(transport, port))
}

/// The same over one transport.
pub fn is_free_over(transport: Transport, port: u16) -> bool {
    let hosts: [IpAddr; 3] = [Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
    hosts.into_iter().all(|host| match try_bind(transport, SocketAddr::new(host, port)) {
        Ok(()) => true,
        Err(e) => host.is_ipv6() && lacks_address(&e),
    })
}

/// The ports from which the kernel takes one for a client that asks for none (`ip_local_port_range`, ip(7)). `None` where
/// that cannot be read.
pub fn ephemeral() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// The first port that needs no right (`ip_unprivileged_port_start`, ip(7)). `None` where that cannot be read.
pub fn unprivileged_start() -> Option<u16> {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?.trim().parse().ok()
}

/// May this process bind the ports below that one (`CAP_NET_BIND_SERVICE`, capabilities(7))? `None` where that cannot be
/// read.
pub fn may_bind_privileged() -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    Some(effective >> CAP_NET_BIND_SERVICE & 1 == 1)
}

/// [`bind_service`] at the [`DEFAULT_HOSTS`], the second of which is left out on a machine without IPv6.
pub fn bind_localhost(port: u16) -> io::Result<Vec<TcpListener>> {
    let (v4, v6) = DEFAULT_HOSTS.split_at(1);
    bind_service(port, v4, v6)
}

/// Binds a service port at every one of `hosts` and listens, with room for [`BACKLOG_CONNECTIONS`]: [`bind_over`] TCP.
pub fn bind_service(port: u16, hosts: &[IpAddr], if_there: &[IpAddr]) -> io::Result<Vec<TcpListener>> {
    Ok(bind_over(&[Transport::Tcp], port, hosts, if_there)?.streams)
}

/// The sockets of one port.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those that listen for connections.
    pub streams: Vec<TcpListener>,
    /// Those for datagrams, as [`datagrams::bind`] makes them.
    pub datagrams: Vec<UdpSocket>,
}

impl Sockets {
    /// Where each of them is. A number at both transports is there twice.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let streams = self.streams.iter().filter_map(|socket| socket.local_addr().ok());
        streams.chain(self.datagrams.iter().filter_map(|socket| socket.local_addr().ok()))
    }
}

/// Binds a port over each of these transports at every one of `hosts`. All sockets are nonblocking and close-on-exec, and
/// those of IPv6 are for IPv6 alone; those for TCP listen, with room for [`BACKLOG_CONNECTIONS`]. Port 0: the kernel
/// chooses one number that is free at all of them. Those of `if_there` are left out where the machine has no such address,
/// as it may have no IPv6.
///
/// Otherwise all or nothing; an error keeps its kind (`AddrInUse`) and names the address.
pub fn bind_over(transports: &[Transport], port: u16, hosts: &[IpAddr], if_there: &[IpAddr]) -> io::Result<Sockets> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let all = hosts.iter().map(|host| (*host, false)).chain(if_there.iter().map(|host| (*host, true)));
    for (host, if_there) in all {
        if !wanted.iter().any(|wanted| wanted.host == host) {
            wanted.push(Wanted { host, if_there });
        }
    }
    if wanted.is_empty() || transports.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot listen at no address at all"));
    }
    if port != 0 {
        return bind_all(transports, port, &wanted);
    }
    let mut last = None;
    for _ in 0..KERNEL_CHOICES_MAX {
        match bind_all(transports, 0, &wanted) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => last = Some(e),
            done => return done,
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// An address to listen at.
struct Wanted {
    host: IpAddr,
    /// Where there is no such address, it is done without it.
    if_there: bool,
}

/// With port 0, the first host's choice is tried at the others, and over the other transports.
fn bind_all(transports: &[Transport], mut port: u16, hosts: &[Wanted]) -> io::Result<Sockets> {
    let mut sockets = Sockets::default();
    for (transport, Wanted { host, if_there }) in transports.iter().flat_map(|t| hosts.iter().map(move |h| (t, h))) {
        let addr = SocketAddr::new(*host, port);
        match bind_one(*transport, addr, &mut sockets) {
            Ok(number) => port = number,
            Err(e) if *if_there && lacks_address(&e) => {}
            Err(e) => {
                let over = if *transport == Transport::Udp { " for datagrams" } else { "" };
                return Err(io::Error::new(e.kind(), format!("cannot listen at {addr}{over}: {e}")));
            }
        }
    }
    Ok(sockets)
}

/// Gives the number.
fn bind_one(transport: Transport, addr: SocketAddr, sockets: &mut Sockets) -> io::Result<u16> {
    match transport {
        Transport::Tcp => {
            let socket = listen(addr)?;
            let at = socket.local_addr()?;
            sockets.streams.push(socket);
            Ok(at.port())
        }
        Transport::Udp => {
            let socket = datagrams::bind(addr)?;
            let at = socket.local_addr()?;
            sockets.datagrams.push(socket);
            Ok(at.port())
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(Transport::Tcp, addr)?;
    // Connections of an earlier run may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG_CONNECTIONS)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn try_bind(transport: Transport, addr: SocketAddr) -> io::Result<()> {
    open(transport, addr)?.bind(&addr.into())
}

/// socket2 opens close-on-exec.
fn open(transport: Transport, addr: SocketAddr) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The machine has no IPv6, or no such address.
fn lacks_address(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

    use super::*;

    #[test]
    fn who_is_root_may_bind_what_others_may_not() {
        let (first, may) = (unprivileged_start().unwrap(), may_bind_privileged().unwrap());
        let free = (1..first).rev().find(|port| is_free(*port));
        let Some(port) = free else { return assert!(first <= 1 || !may) };
        assert!(may, "port {port} below {first}");
    }

    #[test]
    fn one_number_at_both_hosts_nonblocking_and_not_inherited() {
        let listeners = bind_localhost(0).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        let hosts: Vec<IpAddr> = listeners.iter().map(|l| l.local_addr().unwrap().ip()).collect();
        assert_eq!(hosts, DEFAULT_HOSTS);
        for listener in &listeners {
            let addr = listener.local_addr().unwrap();
            assert_eq!(addr.port(), port);
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(fcntl(listener, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits(), 1);
            assert!(OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK));
            TcpStream::connect(addr).unwrap();
        }
    }

    #[test]
    fn one_number_over_both_transports_at_both_hosts() {
        let both = [Transport::Tcp, Transport::Udp];
        let sockets = bind_over(&both, 0, &DEFAULT_HOSTS[..1], &DEFAULT_HOSTS[1..]).unwrap();
        let addresses: Vec<SocketAddr> = sockets.addresses().collect();
        let port = addresses[0].port();
        let expected: Vec<SocketAddr> = [0, 1, 0, 1].map(|nth| SocketAddr::new(DEFAULT_HOSTS[nth], port)).to_vec();
        assert_eq!(addresses, expected);
        for transport in both {
            let error = bind_over(&[transport], port, &DEFAULT_HOSTS, &[]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert_eq!(error.to_string().contains("for datagrams"), transport == Transport::Udp, "{error}");
        }
        for socket in &sockets.datagrams {
            assert_eq!(socket.recv_from(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(fcntl(socket, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits(), 1);
        }
        assert!(bind_over(&[], 0, &DEFAULT_HOSTS, &[]).is_err());
    }

    #[test]
    fn a_taken_port_is_named_and_nothing_is_kept() {
        let is_free_after = || {
            let taken = TcpListener::bind("[::1]:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            let error = bind_localhost(port).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let is_named = error.to_string().contains(&format!("[::1]:{port}"));
            drop(taken);
            is_named && bind_localhost(port).is_ok_and(|bound| bound.len() == 2)
        };
        // Somebody else may have the number at the other address, or get it at once, but not every time.
        assert!((0..10).any(|_| is_free_after()));
    }

    #[test]
    fn addresses_are_taken_once_and_must_exist() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(bind_service(0, &[localhost, localhost], &[localhost]).unwrap().len(), 1);
        assert!(bind_service(0, &[], &[]).is_err());
        // TEST-NET-1 (RFC 5737 §3) is nobody's address.
        let nobodys = ["192.0.2.1".parse().unwrap()];
        let error = bind_service(0, &nobodys, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        let unspecified = [Ipv4Addr::UNSPECIFIED.into()];
        assert_eq!(bind_service(0, &unspecified, &nobodys).unwrap().len(), 1, "left out where it is not there");
        let twice = [nobodys[0], localhost];
        assert!(bind_service(0, &nobodys, &twice).is_err(), "what is asked for by name must be there");
    }

    #[test]
    fn a_port_is_bound_again_while_its_connections_linger() {
        let listeners = bind_service(0, &DEFAULT_HOSTS[..1], &[]).unwrap();
        let addr = listeners[0].local_addr().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let server = listeners[0].accept().unwrap().0;
        // The server closes first: its side is the one that goes to TIME_WAIT.
        drop(server);
        drop(client);
        drop(listeners);
        bind_service(addr.port(), &DEFAULT_HOSTS[..1], &[]).unwrap();
    }

    #[test]
    fn the_kernel_chooses_from_its_range() {
        let chosen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert!(ephemeral().unwrap().contains(&chosen), "{chosen} in {:?}", ephemeral());
    }

    #[test]
    fn free_means_free_over_both_transports() {
        let is_free_after = || {
            let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            assert!(!is_free(port) && !is_free_over(Transport::Udp, port));
            drop(taken);
            is_free(port)
        };
        assert!((0..10).any(|_| is_free_after()));
    }

    #[test]
    fn free_means_free_everywhere() {
        for host in ["0.0.0.0:0", "127.0.0.1:0", "127.0.0.9:0", "[::1]:0", "[::]:0"] {
            let is_free_after = || {
                let taken = TcpListener::bind(host).unwrap();
                let port = taken.local_addr().unwrap().port();
                assert!(!is_free(port), "{host}");
                drop(taken);
                is_free(port)
            };
            // The kernel may give the number to somebody else at once, but not every time.
            assert!((0..10).any(|_| is_free_after()), "{host}");
        }
    }
}
