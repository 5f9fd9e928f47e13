//! Whether the one who listens belongs to an instance.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;

use crate::listening::{self, Files, Listening, Transport, by_inode, find_holder, listening_on, open_sockets};
use crate::{Pid, ProcessInfo, process_info, tree};

/// Who listens on a port, seen from one instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A process of the instance. Somebody else may listen on the same port at other addresses.
    Ours {
        /// The one nearest to the keeper that has the socket open.
        pid: Pid,
        /// Where the instance listens on this port, and nobody else.
        addrs: Vec<SocketAddr>,
    },
    /// Somebody else; `None` when it cannot be told who.
    Stranger(Option<ProcessInfo>),
    /// Perhaps a process of the instance: it has one whose files we may not see (setuid, or not dumpable), the socket
    /// was made by a user that this process is, and nobody else is known to have it.
    Unreadable {
        /// That process, when there is only one such.
        pid: Option<Pid>,
        /// All who listen on this port.
        addrs: Vec<SocketAddr>,
    },
}

/// A listener of an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedListener {
    /// The one nearest to the keeper that has the socket open.
    pub pid: Pid,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Who listens on this TCP port: [`owner_over`] TCP.
pub fn owner(port: u16, keeper: Pid) -> io::Result<Option<Owner>> {
    owner_over(Transport::Tcp, port, keeper)
}

/// Who listens on `port`, seen from the instance kept by `keeper`; `None`: nobody. Cheap while nobody listens (two
/// netlink dumps, selected by the kernel), so it may be polled every few milliseconds; `/proc` is read only when
/// somebody does, and all of it only for a stranger.
pub fn owner_over(transport: Transport, port: u16, keeper: Pid) -> io::Result<Option<Owner>> {
    let sockets = listening_on(transport, port)?;
    if sockets.is_empty() {
        return Ok(None);
    }
    let mut unreadable = Vec::new();
    let mut ours = None;
    let mut addrs = Vec::new();
    for pid in tree::descendants(keeper) {
        match open_sockets(pid) {
            Files::Sockets(open) => {
                for socket in sockets.iter().filter(|socket| open.contains(&socket.inode)) {
                    ours.get_or_insert(pid);
                    if !addrs.contains(&socket.addr) {
                        addrs.push(socket.addr);
                    }
                }
            }
            Files::Unreadable => unreadable.push(pid),
            Files::Gone => {}
        }
    }
    Ok(Some(match ours {
        Some(pid) => Owner::Ours { pid, addrs },
        None => outside(&sockets, &unreadable),
    }))
}

/// Every TCP listener of the instance kept by `keeper`, those of processes whose files we may not see left out.
pub fn listeners_of(keeper: Pid) -> io::Result<Vec<OwnedListener>> {
    Ok(owned(by_inode(&listening::listening()?), keeper))
}

fn owned(mut sockets: BTreeMap<u64, SocketAddr>, keeper: Pid) -> Vec<OwnedListener> {
    let mut found = Vec::new();
    for pid in tree::descendants(keeper) {
        let Files::Sockets(open) = open_sockets(pid) else { continue };
        for addr in open.iter().filter_map(|inode| sockets.remove(inode)) {
            let name = process_info(pid).map(|info| info.name).unwrap_or_default();
            found.push(OwnedListener { pid, name, addr });
        }
    }
    found
}

/// Every UDP port of the instance kept by `keeper` that takes datagrams from anybody, those of processes whose files we
/// may not see left out. A client that has sent something without being connected has such a port, too: one of
/// [`crate::ports::ephemeral`].
pub fn udp_listeners_of(keeper: Pid) -> io::Result<Vec<OwnedListener>> {
    Ok(owned(by_inode(&listening::listening_over(Transport::Udp)?), keeper))
}

/// A TCP connection of an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedConnection {
    /// The process nearest to the keeper that has the socket open.
    pub pid: Pid,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// Every TCP connection of the instance kept by `keeper` that stands or is being made, those it has accepted included.
pub fn connections_of(keeper: Pid) -> io::Result<Vec<OwnedConnection>> {
    let mut sockets: BTreeMap<u64, (SocketAddr, SocketAddr)> =
        listening::connections()?.into_iter().map(|(inode, local, remote)| (inode, (local, remote))).collect();
    let mut found = Vec::new();
    for pid in tree::descendants(keeper) {
        let Files::Sockets(open) = open_sockets(pid) else { continue };
        let ours = open.iter().filter_map(|inode| sockets.remove(inode));
        found.extend(ours.map(|(local, remote)| OwnedConnection { pid, local, remote }));
    }
    Ok(found)
}

/// Everybody outside the instance kept by `keeper` who has a socket open that listens on this TCP port: a stranger, or one whom
/// the instance has given its own. Looks through all of `/proc`.
pub fn outsiders_on(port: u16, keeper: Pid) -> io::Result<Vec<ProcessInfo>> {
    let inodes: Vec<u64> = listening_on(Transport::Tcp, port)?.iter().map(|socket| socket.inode).collect();
    let ours = tree::descendants(keeper);
    let has_one =
        |pid: &Pid| matches!(open_sockets(*pid), Files::Sockets(open) if open.iter().any(|i| inodes.contains(i)));
    let outside = tree::all_pids().into_iter().filter(|pid| !ours.contains(pid));
    Ok(outside.filter(has_one).filter_map(process_info).collect())
}

/// The processes of the instance kept by `keeper` whose files we may not see: what they listen on is not known.
pub fn hidden_of(keeper: Pid) -> Vec<Pid> {
    let hidden = |pid: &Pid| open_sockets(*pid) == Files::Unreadable;
    tree::descendants(keeper).into_iter().filter(hidden).collect()
}

/// Nobody of the instance whose files can be read has any of `sockets`.
fn outside(sockets: &[Listening], unreadable: &[Pid]) -> Owner {
    if let Some(holder) = find_holder(sockets) {
        return Owner::Stranger(Some(holder));
    }
    let made_one = |pid: &&Pid| {
        let uids = uids(**pid);
        sockets.iter().any(|socket| uids.contains(&socket.uid))
    };
    let mut candidates = unreadable.iter().filter(made_one);
    match (candidates.next(), candidates.next()) {
        (None, _) => Owner::Stranger(None),
        (Some(pid), None) => Owner::Unreadable { pid: Some(*pid), addrs: addrs(sockets) },
        (Some(_), Some(_)) => Owner::Unreadable { pid: None, addrs: addrs(sockets) },
    }
}

fn addrs(sockets: &[Listening]) -> Vec<SocketAddr> {
    sockets.iter().map(|socket| socket.addr).collect()
}

/// Real, effective, saved and file system user of a process: readable for everybody (`proc_pid_status(5)`).
fn uids(pid: Pid) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/status")).map(|status| parse_uids(&status)).unwrap_or_default()
}

fn parse_uids(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.into_iter().flat_map(str::split_ascii_whitespace).filter_map(|uid| uid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::runtime_dir::uid;

    fn socket(uid: u32) -> Listening {
        // No socket has this number, so nobody has it open.
        Listening { addr: "127.0.0.1:5000".parse().unwrap(), inode: u64::MAX, uid }
    }

    #[test]
    fn the_users_of_a_process() {
        assert_eq!(parse_uids("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), [1000, 0, 0, 0]);
        assert_eq!(parse_uids(""), []);
        assert!(uids(Pid::own()).contains(&uid()));
    }

    #[test]
    fn an_unreadable_process_may_be_it_only_if_it_could_have_made_the_socket() {
        let own = Pid::own();
        let nobodys = 4_000_000_000;
        assert_eq!(outside(&[socket(uid())], &[]), Owner::Stranger(None));
        assert_eq!(outside(&[socket(nobodys)], &[own]), Owner::Stranger(None));
        let addrs = vec!["127.0.0.1:5000".parse().unwrap()];
        assert_eq!(outside(&[socket(uid())], &[own]), Owner::Unreadable { pid: Some(own), addrs: addrs.clone() });
        assert_eq!(outside(&[socket(uid())], &[own, own]), Owner::Unreadable { pid: None, addrs });
    }

    #[test]
    fn who_takes_datagrams_is_a_stranger_to_a_childless_keeper_and_nobody_over_tcp() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let of = |transport| owner_over(transport, port, Pid::own()).unwrap();
        let Some(Owner::Stranger(Some(stranger))) = of(Transport::Udp) else { panic!("not a stranger") };
        assert_eq!(stranger.pid, Pid::own());
        // Somebody else may listen at the same number of the other transport.
        assert!(!matches!(of(Transport::Tcp), Some(Owner::Stranger(Some(info))) if info.pid == Pid::own()));
        drop(socket);
        assert_eq!(of(Transport::Udp), None);
    }

    #[test]
    fn we_are_a_stranger_to_a_childless_keeper() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Some(Owner::Stranger(Some(stranger))) = owner(port, Pid::own()).unwrap() else { panic!("not a stranger") };
        assert_eq!(stranger.pid, Pid::own());
        assert!(outsiders_on(port, Pid::own()).unwrap().iter().any(|info| info.pid == Pid::own()));
        drop(listener);
        assert_eq!(owner(port, Pid::own()).unwrap(), None);
        assert_eq!(outsiders_on(port, Pid::own()).unwrap(), []);
    }
}
