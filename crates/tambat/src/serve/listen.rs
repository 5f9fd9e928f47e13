//! Where a server listens for everybody.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tambat_model::{ListenAddr, ServicePort};
use tambat_router::{Router, TlsSettings};

use super::apps::{Broken, Good};
use crate::daemon::holder;
use crate::entrances::{BoundEntrance, who};
use crate::failure::Failure;

/// The sockets of one public port.
#[derive(Debug)]
pub(crate) struct Public {
    /// Bound and listening.
    pub(crate) sockets: Vec<TcpListener>,
}

impl Public {
    /// Where they are.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

/// The listeners that apps ask for, each once.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Held, with those who are reached there.
    all: BTreeMap<ListenAddr, (Vec<BoundEntrance>, Vec<String>)>,
}

impl Asked {
    /// Listens wherever one of these apps asks for it. Apps of which one address cannot be had are not served: they come
    /// back with the reason. `has_tls`: can handshakes end here?
    pub(crate) fn bind(good: Vec<Good>, public: &[SocketAddr], has_tls: bool) -> (Self, Vec<Good>, Vec<Broken>) {
        let (mut asked, mut kept, mut broken) = (Self::default(), Vec::new(), Vec::new());
        for app in good {
            match asked.bind_for(&app, public, has_tls) {
                Ok(()) => kept.push(app),
                Err(failure) => broken.push(Broken { name: app.name().to_owned(), why: failure.to_string() }),
            }
        }
        (asked, kept, broken)
    }

    /// All that one app asks for, or nothing.
    fn bind_for(&mut self, app: &Good, public: &[SocketAddr], has_tls: bool) -> Result<(), Failure> {
        let mut fresh = Vec::new();
        for plan in app.entrances() {
            let at = plan.at;
            if plan.ends_tls() && !has_tls {
                return Err(Failure::new(format!(
                    "TLS ends at {at} for {}, and serve.toml does not say where certificates come from: write \
                     [router.acme] or [router.tls] there",
                    who(plan)
                )));
            }
            if let Some(addr) = public.iter().find(|addr| plan.has_streams() && at.takes_room_of(**addr)) {
                return Err(Failure::new(format!(
                    "{at} and {addr}, where this server serves all names, cannot both be listened at: leave out `listen` \
                     for those, or give it another port"
                )));
            }
            let there = self.all.get(&at).map_or(&[][..], |(bound, _)| bound);
            fresh.push((at, BoundEntrance::beside(there, plan)?, format!("{}/{}", app.name(), who(plan))));
        }
        for (at, bound, name) in fresh {
            let (all, names) = self.all.entry(at).or_default();
            all.extend(bound);
            names.push(name);
        }
        Ok(())
    }

    /// How many sockets that is.
    pub(crate) fn sockets(&self) -> usize {
        self.all.values().flat_map(|(bound, _)| bound).map(BoundEntrance::sockets).sum()
    }

    /// Where each is.
    pub(crate) fn addrs(&self) -> BTreeMap<ListenAddr, SocketAddr> {
        self.all.iter().filter_map(|(at, (bound, _))| Some((*at, bound.first()?.addr))).collect()
    }

    /// What is said of each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.all.values().filter_map(|(bound, names)| Some(format!("{} {}", bound.first()?.addr, names.join(", "))))
    }

    /// From now on the router accepts there.
    pub(crate) fn open(self, router: &Router, tls: Option<&Arc<TlsSettings>>) -> io::Result<()> {
        self.all.into_values().flat_map(|(bound, _)| bound).try_for_each(|bound| bound.open(router, tls))
    }
}

/// Listens at this port of these addresses (none: of all that the machine has; port 0: any). `option` chooses another.
pub(crate) fn bind(hosts: &[IpAddr], port: u16, option: &str) -> Result<Public, Failure> {
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let (asked, if_there): (&[IpAddr], &[IpAddr]) =
        if hosts.is_empty() { (&everywhere, &[IpAddr::V6(Ipv6Addr::UNSPECIFIED)]) } else { (hosts, &[]) };
    let sockets = tambat_os::ports::bind_service(port, asked, if_there).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            let by = ServicePort::try_from(port).map(holder).unwrap_or_default();
            Failure::new(format!(
                "cannot serve at port {port}: it is taken by {by}; end that, or choose another with {option}"
            ))
        }
        ErrorKind::PermissionDenied => Failure::new(format!(
            "cannot serve at port {port}: ports below 1024 need a right; give it to everybody on this machine with \
             `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`, or to tambat with `AmbientCapabilities=\
             CAP_NET_BIND_SERVICE` in its systemd unit; or choose another port with {option}"
        )),
        // The address stands in it.
        _ => Failure::new(format!("{error}; choose others with --address")),
    })?;
    Ok(Public { sockets })
}
