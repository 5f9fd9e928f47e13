//! Where a server listens for everybody.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use tambat_model::{EntrancePlan, ListenAddr, ServicePort, Transport};
use tambat_router::{ListenerKind, Router, TlsSettings};

use super::apps::{Broken, Good};
use crate::daemon::holder;
use crate::entrances::{self, BoundEntrance, transports, who};
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
    all: BTreeMap<ListenAddr, Held>,
}

/// A listener that apps ask for.
#[derive(Debug)]
struct Held {
    /// Where it is.
    addr: SocketAddr,
    /// Over which it is held.
    over: Vec<Transport>,
    /// What does not accept yet.
    unopened: Vec<BoundEntrance>,
    /// Who is reached there: the processes of each app, which goes by its folder.
    by: BTreeMap<String, String>,
}

impl Held {
    fn is_of(&self, app: &str) -> bool {
        self.by.keys().eq([app])
    }

    fn take_in(&mut self, bound: BoundEntrance) {
        self.over.extend(bound.transports());
        self.unopened.push(bound);
    }
}

/// Where a server listens anyway, and what it needs to listen elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// Where it serves all names.
    pub(crate) public: &'a [SocketAddr],
    /// What handshakes need that end here; none: they cannot.
    pub(crate) tls: Option<&'a Arc<TlsSettings>>,
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
        app.entrances().iter().try_for_each(|plan| check(plan, public, has_tls))?;
        let bound = app.entrances().iter().map(|plan| self.missing(plan)).collect::<Result<Vec<_>, _>>()?;
        self.enter(app.name(), app.entrances(), bound.into_iter().flatten().collect());
        Ok(())
    }

    /// What this plan needs and nobody has asked for yet, held; none: it has all of it.
    fn missing(&self, plan: &EntrancePlan) -> Result<Option<BoundEntrance>, Failure> {
        let there = self.all.get(&plan.at);
        BoundEntrance::beside(there.map(|held| (held.addr, &held.over[..])), plan)
    }

    /// Notes that this app is reached there.
    fn enter(&mut self, app: &str, plans: &[EntrancePlan], bound: Vec<BoundEntrance>) {
        for bound in bound {
            let fresh = || Held { addr: bound.addr, over: Vec::new(), unopened: Vec::new(), by: BTreeMap::new() };
            self.all.entry(bound.at).or_insert_with(fresh).take_in(bound);
        }
        for plan in plans {
            if let Some(held) = self.all.get_mut(&plan.at) {
                held.by.insert(app.to_owned(), format!("{app}/{}", who(plan)));
            }
        }
    }

    /// Listens where this version of an app asks for it, in place of where the one `before` did; nothing changes where one
    /// address cannot be had. What is new accepts only when it is [opened](Self::open): whoever comes before waits.
    pub(crate) async fn exchange(
        &mut self,
        app: &str,
        (before, plans): (&[EntrancePlan], &[EntrancePlan]),
        router: &Router,
        site: Site<'_>,
    ) -> Result<(), Failure> {
        plans.iter().try_for_each(|plan| check(plan, site.public, site.tls.is_some()))?;
        let stays = |plan: &EntrancePlan| {
            let held = self.all.get(&plan.at);
            held.is_some_and(|held| !held.is_of(app) || held.over == transports(plan))
        };
        let (there, fresh): (Vec<&EntrancePlan>, Vec<&EntrancePlan>) = plans.iter().partition(|plan| stays(plan));
        let goes = |plan: &&EntrancePlan| {
            self.all.get(&plan.at).is_some_and(|held| held.is_of(app)) && there.iter().all(|stays| stays.at != plan.at)
        };
        let leaving: Vec<EntrancePlan> = before.iter().filter(goes).cloned().collect();
        let beside = there.iter().map(|plan| self.missing(plan)).collect::<Result<Vec<_>, _>>()?;
        // Who asks for nothing there is told of it all the same: the server's own file may name it as a fallback.
        let fresh: Vec<EntrancePlan> = fresh.into_iter().filter(|plan| !transports(plan).is_empty()).cloned().collect();
        let bound = match entrances::exchange(router, &leaving, &fresh, site.tls).await {
            Ok(bound) => bound,
            Err((failure, lost)) => {
                lost.iter().for_each(|at| drop(self.all.remove(at)));
                return Err(failure);
            }
        };
        for plan in &leaving {
            router.remove(ListenerKind::Named(plan.at));
            self.all.remove(&plan.at);
        }
        self.release(app, router, |at| plans.iter().any(|plan| plan.at == at));
        self.enter(app, plans, beside.into_iter().flatten().chain(bound).collect());
        Ok(())
    }

    /// Could all that a version asks for be had, as far as can be seen before it is listened at?
    pub(crate) fn look(&self, plans: &[EntrancePlan], site: Site<'_>) -> Result<(), Failure> {
        plans.iter().try_for_each(|plan| check(plan, site.public, site.tls.is_some()))?;
        // Where one of ours is there is told by the exchange.
        let is_ours = |plan: &&EntrancePlan| self.all.keys().any(|at| at.get().port() == plan.at.get().port());
        plans.iter().filter(|plan| !is_ours(plan)).try_for_each(|plan| BoundEntrance::bind(plan).map(drop))
    }

    /// This app is reached at no others than these any more. Listeners of nobody are closed; connections go on.
    pub(crate) fn release(&mut self, app: &str, router: &Router, stays: impl Fn(ListenAddr) -> bool) {
        for (at, _) in
            self.all.extract_if(.., |at, held| !stays(*at) && held.by.remove(app).is_some() && held.by.is_empty())
        {
            router.remove(ListenerKind::Named(at));
        }
    }

    /// How many sockets that is.
    pub(crate) fn sockets(&self) -> usize {
        self.all.values().map(|held| held.over.len()).sum()
    }

    /// Where each is.
    pub(crate) fn addrs(&self) -> BTreeMap<ListenAddr, SocketAddr> {
        self.all.iter().map(|(at, held)| (*at, held.addr)).collect()
    }

    /// What is said of each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |held: &Held| {
            let names: Vec<&str> = held.by.values().map(String::as_str).collect();
            format!("{} {}", held.addr, names.join(", "))
        };
        self.all.values().map(line).collect()
    }

    /// From now on the router accepts there. `app`: only where this one is reached.
    pub(crate) fn open(
        &mut self,
        app: Option<&str>,
        router: &Router,
        tls: Option<&Arc<TlsSettings>>,
    ) -> io::Result<()> {
        let of_app = self.all.values_mut().filter(|held| app.is_none_or(|app| held.by.contains_key(app)));
        of_app.flat_map(|held| held.unopened.drain(..)).try_for_each(|bound| bound.open(router, tls))
    }
}

/// Can a server listen there at all?
fn check(plan: &EntrancePlan, public: &[SocketAddr], has_tls: bool) -> Result<(), Failure> {
    let at = plan.at;
    if plan.ends_tls() && !has_tls {
        return Err(Failure::new(format!(
            "TLS ends at {at} for {}, and serve.toml does not say where certificates come from: write [router.acme] or \
             [router.tls] there",
            who(plan)
        )));
    }
    if let Some(addr) = public.iter().find(|addr| plan.has_streams() && at.takes_room_of(**addr)) {
        return Err(Failure::new(format!(
            "{at} and {addr}, where this server serves all names, cannot both be listened at: leave out `listen` for \
             those, or give it another port"
        )));
    }
    Ok(())
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
