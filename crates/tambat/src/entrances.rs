//! The listeners that an app's files and routes ask for (`listen`): bound, and handed to the router.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use tambat_model::{EntrancePlan, ListenAddr, ServicePort, Transport};
use tambat_os::ports::{Sockets, bind_over};
use tambat_router::{DatagramListener, Listener, ListenerKind, Router, TlsSettings};

use crate::daemon::{holder_over, of_this_machine};
use crate::failure::Failure;

/// A listener that is held, and does not accept yet.
#[derive(Debug)]
pub(crate) struct BoundEntrance {
    /// As it is written.
    pub(crate) at: ListenAddr,
    /// Where it is: its port is the kernel's choice where that is written as 0.
    pub(crate) addr: SocketAddr,
    sockets: Sockets,
}

impl BoundEntrance {
    /// Listens there.
    pub(crate) fn bind(plan: &EntrancePlan) -> Result<Self, Failure> {
        Self::bind_over(plan, &transports(plan), plan.at.get())
    }

    /// Listens over what the plan needs and is not `there`, where it is; none: that is all of it.
    pub(crate) fn beside(
        there: Option<(SocketAddr, &[Transport])>,
        plan: &EntrancePlan,
    ) -> Result<Option<Self>, Failure> {
        let (addr, has) = there.unwrap_or((plan.at.get(), &[]));
        let missing: Vec<Transport> = transports(plan).into_iter().filter(|over| !has.contains(over)).collect();
        (!missing.is_empty()).then(|| Self::bind_over(plan, &missing, addr)).transpose()
    }

    fn bind_over(plan: &EntrancePlan, over: &[Transport], addr: SocketAddr) -> Result<Self, Failure> {
        let transports: Vec<tambat_os::Transport> = over.iter().copied().map(of_this_machine).collect();
        let sockets = bind_over(&transports, addr.port(), &[addr.ip()], &[])
            .map_err(|error| cannot_listen(addr, &error, over, &who(plan)))?;
        let addr = sockets.addresses().next().unwrap_or(addr);
        Ok(Self { at: plan.at, addr, sockets })
    }

    /// Over which it is held.
    pub(crate) fn transports(&self) -> Vec<Transport> {
        let over = [(Transport::Tcp, self.sockets.streams.len()), (Transport::Udp, self.sockets.datagrams.len())];
        over.into_iter().filter(|(_, count)| *count > 0).map(|(over, _)| over).collect()
    }

    /// How many sockets it has.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.streams.len() + self.sockets.datagrams.len()
    }

    /// From now on the router accepts there. `tls`: what handshakes need that end here; who has one is in the route table.
    pub(crate) fn open(self, router: &Router, tls: Option<&Arc<TlsSettings>>) -> io::Result<()> {
        let kind = ListenerKind::Named(self.at);
        let Sockets { streams, datagrams } = self.sockets;
        if !datagrams.is_empty() {
            router.add_datagrams(DatagramListener { kind, sockets: datagrams })?;
        }
        if streams.is_empty() {
            return Ok(());
        }
        router.add(Listener { kind, sockets: streams, tls: tls.cloned() })
    }
}

/// Listens where these ask for it. Nobody can listen at an address and at a part of it, so those of the `leaving` that are in
/// the way are closed first, and opened again where one of the others cannot be had; connections go on in either case. The
/// port is nobody's for a moment of that. (With `SO_REUSEPORT` it need not be, and from then on any program of the same user
/// could take a share of our clients, unseen.)
///
/// # Errors
///
/// Why one cannot be had, and which of those that were there cannot be had again.
pub(crate) async fn exchange(
    router: &Router,
    leaving: &[EntrancePlan],
    wanted: &[EntrancePlan],
    tls: Option<&Arc<TlsSettings>>,
) -> Result<Vec<BoundEntrance>, (Failure, Vec<ListenAddr>)> {
    let is_in_the_way = |old: &&EntrancePlan| wanted.iter().any(|new| new.at == old.at || new.overlaps(old));
    let in_the_way: Vec<&EntrancePlan> = leaving.iter().filter(is_in_the_way).collect();
    for old in &in_the_way {
        drop(router.take_back(ListenerKind::Named(old.at)).await);
    }
    let mut failure = match wanted.iter().map(BoundEntrance::bind).collect() {
        Ok(bound) => return Ok(bound),
        Err(failure) => failure,
    };
    let mut lost = Vec::new();
    for old in in_the_way {
        let cannot = |error: io::Error| cannot_listen(old.at.get(), &error, &transports(old), &who(old));
        let again = BoundEntrance::bind(old).and_then(|bound| bound.open(router, tls).map_err(cannot));
        if let Err(error) = again {
            failure = failure.and(&format!("; and there is no way back for that one, either: {error}"));
            lost.push(old.at);
        }
    }
    Err((failure, lost))
}

/// Over which it is listened at.
pub(crate) fn transports(plan: &EntrancePlan) -> Vec<Transport> {
    let over = [(Transport::Tcp, plan.has_streams()), (Transport::Udp, plan.has_datagrams())];
    over.into_iter().filter(|(_, there)| *there).map(|(over, _)| over).collect()
}

/// Where a process port is reached, and how: `at 0.0.0.0:6380 over TLS: cache.example`, `at 0.0.0.0:443 as its fallback`.
pub(crate) fn reached(addr: &str, tls: &str, hosts: &[String], is_fallback: bool) -> String {
    let how = match tls {
        "terminate" => " over TLS",
        "passthrough" => " over TLS, which passes through",
        _ => "",
    };
    let hosts = if hosts.is_empty() { String::new() } else { format!(": {}", hosts.join(", ")) };
    let role = if is_fallback { " as its fallback" } else { "" };
    format!("at {addr}{how}{role}{hosts}")
}

/// Everybody who is reached there, as people name them, each once.
pub(crate) fn who(plan: &EntrancePlan) -> String {
    let mut names: Vec<&str> = Vec::new();
    for claim in &plan.claims {
        if !names.contains(&claim.who.as_str()) {
            names.push(&claim.who);
        }
    }
    names.join(", ")
}

/// Why nobody can listen there, and what to do about it.
pub(crate) fn cannot_listen(addr: SocketAddr, error: &io::Error, over: &[Transport], who: &str) -> Failure {
    let why = match error.kind() {
        ErrorKind::AddrInUse => {
            let by = ServicePort::try_from(addr.port()).map(|port| holder_over(over, port)).unwrap_or_default();
            format!("the port is taken by {by}; end that, or change `listen`")
        }
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a privilege; give it to everybody on this machine with `sudo sysctl \
             net.ipv4.ip_unprivileged_port_start={}`, or to tambat (capabilities(7), CAP_NET_BIND_SERVICE); or change \
             `listen`",
            addr.port()
        ),
        ErrorKind::AddrNotAvailable => format!("this machine has no address {}; change `listen`", addr.ip()),
        // The address stands in it.
        _ => return Failure::new(error.to_string()),
    };
    let whom = if who.is_empty() { String::new() } else { format!(" for {who}") };
    Failure::new(format!("cannot listen at {addr}{whom}: {why}"))
}
