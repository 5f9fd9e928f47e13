//! From a start to its first answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tambat_model::Protocol;
use tambat_os::{Order, Owner as Found, signals};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::staged::{Staged, ToldPort, end_of, program};
use super::talk::{Request, find_out};
use crate::observed::{Boot, Bound, Families, Listener, Owner, Program, Start, Talk};

/// At first, ports are looked at so often.
const EAGER_INTERVAL: Duration = Duration::from_millis(5);

/// For so long.
const EAGER_FOR: Duration = Duration::from_secs(2);

/// And then so often.
const INTERVAL: Duration = Duration::from_millis(25);

/// A stranger on its port is one that is still there after this: a listener that ends between two looks at the machine
/// belongs to nobody for a moment.
const STRANGER_PATIENCE: Duration = Duration::from_millis(200);

/// A loopback address that takes no connection at once takes none.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// A start that listens, and how it is asked.
#[derive(Debug)]
pub(super) struct Booted {
    pub(super) addr: Address,
    pub(super) request: Request,
}

/// How long is waited for a start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience<'a> {
    pub(super) limit: Duration,
    pub(super) any_owner: bool,
    /// Once it has opened one of these, nothing more is waited for.
    pub(super) enough: &'a [u16],
}

impl Patience<'_> {
    fn has_seen_enough(&self, staged: &Staged) -> bool {
        let is_enough = |listener: &Listener| self.enough.contains(&listener.addr.port());
        !self.enough.is_empty() && staged.sightings().listeners().iter().any(is_enough)
    }
}

/// Waits until it listens and answers, or will not. What was seen, and where it is asked from now on.
pub(super) async fn boot(staged: &mut Staged, patience: &Patience<'_>) -> (Start, Option<Booted>) {
    let (boot, booted) = match staged.started().await {
        Err(cause) => (Boot::Impossible(cause), None),
        Ok(()) => listen(staged, patience).await,
    };
    staged.look();
    (start_of(staged, boot).await, booted)
}

/// What was seen of a start so far.
pub(super) async fn start_of(staged: &mut Staged, boot: Boot) -> Start {
    let sightings = staged.sightings();
    Start {
        port: staged.told.first().map_or(0, |told| told.number),
        told: staged.told.iter().map(|told| told.number).collect(),
        boot,
        listeners: sightings.listeners(),
        hidden: sightings.hidden.into_iter().collect(),
        last_lines: staged.last_lines().await,
    }
}

async fn listen(staged: &mut Staged, patience: &Patience<'_>) -> (Boot, Option<Booted>) {
    let (deadline, any_owner) = (staged.began + patience.limit, patience.any_owner);
    let Some(port) = staged.told.first().map(|told| told.number) else {
        return (Boot::Unbound(Duration::ZERO), None);
    };
    let mut strange_since = None;
    let (owner, addrs) = loop {
        if staged.command_ended() {
            return (ended(staged).await, None);
        }
        match who(staged, port, any_owner) {
            Who::Listens(owner, addrs) => break (owner, addrs),
            Who::Stranger(who) => {
                let since: Instant = *strange_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STRANGER_PATIENCE {
                    return (Boot::Foreign(who), None);
                }
            }
            Who::Nobody => strange_since = None,
        }
        if Instant::now() >= deadline || patience.has_seen_enough(staged) {
            return (Boot::Unbound(staged.began.elapsed()), None);
        }
        sleep(if staged.began.elapsed() < EAGER_FOR { EAGER_INTERVAL } else { INTERVAL }).await;
    };
    let after = staged.began.elapsed();
    let missing = await_others(staged, deadline, any_owner).await;
    let talks = talk(staged, &addrs, deadline).await;
    // It may have opened the other family a moment later.
    let addrs = match who(staged, port, any_owner) {
        Who::Listens(_, addrs) if !addrs.is_empty() => addrs,
        _ => addrs,
    };
    let Some((addr, request)) = talks.first().map(|(_, addr, _, request)| (*addr, request.clone())) else {
        return (Boot::Unbound(after), None);
    };
    if staged.command_ended() {
        return (ended(staged).await, None);
    }
    let outsiders = outsiders(staged, port, any_owner);
    let families = families(&addrs, port).await;
    let ips = addrs.iter().map(SocketAddr::ip).collect();
    let talks = talks.into_iter().map(|(var, _, talk, _)| (var, talk)).collect();
    let bound = Bound { owner, addrs: ips, families, after, missing, outsiders, talks };
    (Boot::Bound(bound), Some(Booted { addr, request }))
}

enum Who {
    Nobody,
    Listens(Owner, Vec<SocketAddr>),
    Stranger(Option<Program>),
}

fn who(staged: &Staged, port: u16, any_owner: bool) -> Who {
    let Some(keeper) = staged.keeper() else { return Who::Nobody };
    let is_for_datagrams = |told: &ToldPort| told.number == port && told.protocol == Some(Protocol::Udp);
    let transport =
        if staged.told.iter().any(is_for_datagrams) { tambat_os::Transport::Udp } else { tambat_os::Transport::Tcp };
    if any_owner {
        let there = tambat_os::listening_over(transport).unwrap_or_default();
        let addrs: Vec<SocketAddr> = there.iter().map(|l| l.addr).filter(|addr| addr.port() == port).collect();
        return if addrs.is_empty() { Who::Nobody } else { Who::Listens(Owner::Any, addrs) };
    }
    match tambat_os::owner_over(transport, port, keeper) {
        Ok(Some(Found::Ours { pid, addrs })) => {
            let whose = program(pid).unwrap_or_else(|| Program { name: "a process".to_owned(), pid: pid.get() });
            Who::Listens(Owner::Ours(whose), addrs)
        }
        Ok(Some(Found::Unreadable { pid, addrs })) => Who::Listens(Owner::Hidden(pid.map(tambat_os::Pid::get)), addrs),
        Ok(Some(Found::Stranger(who))) => {
            Who::Stranger(who.map(|info| Program { name: info.name, pid: info.pid.get() }))
        }
        // The machine may refuse to say now; there is a next look.
        Ok(None) | Err(_) => Who::Nobody,
    }
}

/// The variables whose ports nobody of it binds in time.
async fn await_others(staged: &Staged, deadline: Instant, any_owner: bool) -> Vec<String> {
    loop {
        let is_missing = |port: u16| !matches!(who(staged, port, any_owner), Who::Listens(..));
        let missing: Vec<String> =
            staged.told.iter().skip(1).filter(|told| is_missing(told.number)).map(|told| told.var.clone()).collect();
        if missing.is_empty() || staged.command_ended() || Instant::now() >= deadline {
            return missing;
        }
        sleep(EAGER_INTERVAL).await;
    }
}

/// What is spoken on each port that it listens on; that of `PORT` first.
async fn talk(staged: &Staged, addrs: &[SocketAddr], deadline: Instant) -> Vec<(String, Address, Talk, Request)> {
    let mut talks = Vec::new();
    let has_ended = || staged.command_ended();
    for (nth, told) in staged.told.iter().enumerate() {
        let dialled = if nth == 0 {
            dial_address(addrs, told.number)
        } else {
            match who(staged, told.number, false) {
                Who::Listens(_, addrs) => dial_address(&addrs, told.number),
                _ => None,
            }
        };
        let Some(addr) = dialled else { continue };
        let addr = Address { addr, proxy_protocol: told.proxy_protocol };
        let (talk, request) = find_out(told, addr, staged.began, deadline, &has_ended).await;
        talks.push((told.var.clone(), addr, talk, request));
    }
    talks
}

/// Who outside its tree has a socket that listens on its port, at two looks: between two of them a process may have been
/// forked that neither list had.
fn outsiders(staged: &Staged, port: u16, any_owner: bool) -> Vec<Program> {
    let Some(keeper) = staged.keeper().filter(|_| !any_owner) else { return Vec::new() };
    let look = || {
        let found = tambat_os::outsiders_on(port, keeper).unwrap_or_default();
        found.into_iter().filter(|info| signals::is_alive(info.pid)).collect::<Vec<_>>()
    };
    let first = look();
    let again = if first.is_empty() { Vec::new() } else { look() };
    let both = again.into_iter().filter(|info| first.iter().any(|other| other.pid == info.pid));
    both.map(|info| Program { name: info.name, pid: info.pid.get() }).collect()
}

async fn ended(staged: &mut Staged) -> Boot {
    let after = staged.began.elapsed();
    let left: Vec<Program> = staged.alive().into_iter().filter_map(program).collect();
    if !staged.is_over() {
        staged.order(Order::Kill);
    }
    Boot::Ended { end: end_of(staged.over().await), after, left }
}

/// Where a listener on these addresses is dialled from this machine: loopback where it can be, IPv4 first.
pub(super) fn dial_address(addrs: &[SocketAddr], port: u16) -> Option<SocketAddr> {
    let v4 = |a: &&SocketAddr| matches!(a.ip(), IpAddr::V4(ip) if ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST);
    let v6 = |a: &&SocketAddr| matches!(a.ip(), IpAddr::V6(ip) if ip.is_unspecified() || ip == Ipv6Addr::LOCALHOST);
    if addrs.iter().any(|addr| v4(&addr)) {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    if addrs.iter().any(|addr| v6(&addr)) {
        return Some((Ipv6Addr::LOCALHOST, port).into());
    }
    addrs.first().copied()
}

/// In which families others reach it: a socket of `::` may take IPv4 as well.
async fn families(addrs: &[SocketAddr], port: u16) -> Families {
    let open = |v6: bool| addrs.iter().any(|addr| addr.is_ipv6() == v6 && !addr.ip().is_loopback());
    let takes =
        async |ip: IpAddr| timeout(CONNECT_LIMIT, TcpStream::connect((ip, port))).await.is_ok_and(|s| s.is_ok());
    let v4 = open(false) || (open(true) && takes(Ipv4Addr::LOCALHOST.into()).await);
    let v6 = open(true) || TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err();
    Families { v4, v6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_dialled_at_loopback_where_it_can_be() {
        let dial = |addrs: &[&str]| {
            let addrs: Vec<SocketAddr> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
            dial_address(&addrs, 5000).map(|addr| addr.to_string())
        };
        assert_eq!(dial(&["[::]:5000", "0.0.0.0:5000"]).unwrap(), "127.0.0.1:5000");
        assert_eq!(dial(&["[::]:5000"]).unwrap(), "[::1]:5000");
        assert_eq!(dial(&["192.0.2.1:5000"]).unwrap(), "192.0.2.1:5000");
        assert_eq!(dial(&[]), None);
    }

    #[tokio::test]
    async fn a_socket_of_both_families_is_told_from_one_of_ipv4_alone() {
        let v4 = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        assert_eq!(families(&[v4.local_addr().unwrap()], port).await, Families { v4: true, v6: false });
        let both = TcpListener::bind("[::]:0").unwrap();
        let port = both.local_addr().unwrap().port();
        assert_eq!(families(&[both.local_addr().unwrap()], port).await, Families { v4: true, v6: true });
    }
}
