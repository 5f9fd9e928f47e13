//! The listeners that an app's files and routes ask for (`listen`): bound, and handed to the router.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use tambat_model::{EntrancePlan, ListenAddr, ServicePort, Transport};
use tambat_os::ports::{Sockets, bind_over};
use tambat_router::{Listener, ListenerKind, Router, TlsSettings};

use crate::daemon::holder;
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
        let wanted = plan.at.get();
        let over = [(Transport::Tcp, plan.has_streams()), (Transport::Udp, plan.has_datagrams())];
        let over: Vec<Transport> = over.into_iter().filter(|(_, there)| *there).map(|(over, _)| over).collect();
        let cannot = |error: &io::Error| cannot_listen(wanted, error, &who(plan));
        let sockets = bind_over(&over, wanted.port(), &[wanted.ip()], &[]).map_err(|error| cannot(&error))?;
        let addr = sockets.addresses().next().unwrap_or(wanted);
        Ok(Self { at: plan.at, addr, sockets })
    }

    /// How many sockets it has.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.streams.len() + self.sockets.datagrams.len()
    }

    /// From now on the router accepts there. `tls`: what handshakes need that end here; who has one is in the route table.
    pub(crate) fn open(self, router: &Router, tls: Option<&Arc<TlsSettings>>) -> io::Result<()> {
        let kind = ListenerKind::Named(self.at);
        let Sockets { streams, datagrams: _ } = self.sockets;
        if !streams.is_empty() {
            router.add(Listener { kind, sockets: streams, tls: tls.cloned() })?;
        }
        Ok(())
    }
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
pub(crate) fn cannot_listen(addr: SocketAddr, error: &io::Error, who: &str) -> Failure {
    let why = match error.kind() {
        ErrorKind::AddrInUse => {
            let by = ServicePort::try_from(addr.port()).map(holder).unwrap_or_default();
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
