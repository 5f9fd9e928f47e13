//! Service ports: bound here, from before the first instance starts until the end.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use tambat_model::{
    BASE_DEFAULT, Base, Layer, ListenAddr, Manner, Plan, PortKey, Protocol, Provider, ServicePort, ServicePorts,
    Transport, UrlTemplate, Wanted, next_base,
};
use tambat_os::Holder;
use tambat_os::ports::Sockets;
use tambat_router::{DatagramListener, Listener, ListenerKind};

use super::state::{RememberedBase, StateDir};
use crate::cli::PortArgs;
use crate::entrances::BoundEntrance;
use crate::failure::Failure;
use crate::run_lock::RunLock;

/// Everything that was bound.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// For the router, unless it has them.
    listeners: Vec<Listener>,
    /// The same for datagrams.
    datagrams: Vec<DatagramListener>,
    /// How many sockets that is.
    sockets: usize,
    /// Which process port has which number.
    pub(crate) ports: ServicePorts,
    /// The listeners that the app's files ask for, unless the router has them.
    entrances: Vec<BoundEntrance>,
    /// Where each of those is.
    pub(crate) listens: BTreeMap<ListenAddr, SocketAddr>,
    /// The ports held for providers in other apps.
    pub(crate) foreign: Vec<(Provider, ServicePort)>,
    /// The addresses of each service port.
    pub(crate) addresses: BTreeMap<u16, Vec<SocketAddr>>,
    /// What the user should know: which port was busy and who held it, which process stays on loopback.
    pub(crate) notes: Vec<String>,
}

/// Why ports could not be bound.
enum Unbound {
    /// A default port is busy.
    Busy { key: PortKey, port: ServicePort, holder: String },
    /// Anything else.
    Failed(Failure),
}

/// Where service ports should begin: `-p`, else `PORT` of `.env`, else of the shell, else 5000.
pub(crate) fn wanted_base(args: &PortArgs, port: Option<&Layer>) -> Result<Base, Failure> {
    // `PORT=` says nothing.
    let port = port.filter(|layer| !layer.value.trim().is_empty());
    let number = match (args.port, port) {
        (Some(0), _) => return Ok(Base::Kernel),
        (Some(port), _) => port,
        (None, Some(layer)) => layer.value.trim().parse().map_err(|_| {
            let what = format!("PORT is `{}`", layer.value);
            Failure::usage(format!(
                "{what} ({}), which is not a port: it says where service ports begin, 1 to 65535",
                layer.source
            ))
        })?,
        (None, None) => BASE_DEFAULT,
    };
    match ServicePort::try_from(number) {
        Ok(port) => Ok(Base::At(port)),
        Err(_) => Ok(Base::Kernel),
    }
}

/// Binds the listeners that the app's files ask for (on a server they are the server's), and one for each process port.
pub(crate) fn bind(
    plan: &Plan,
    args: &PortArgs,
    port: Option<&Layer>,
    hosts: &[IpAddr],
    state: Option<&StateDir>,
) -> Result<Bound, Failure> {
    let own = plan.entrances().iter().filter(|_| plan.manner() == Manner::Start);
    // Before the service ports: these move away from what is taken.
    let entrances = own.map(BoundEntrance::bind).collect::<Result<Vec<_>, _>>()?;
    let mut bound = bind_services(plan, args, port, hosts, state, &mut Kept::default())?;
    bound.listens = entrances.iter().map(|entrance| (entrance.at, entrance.addr)).collect();
    bound.entrances = entrances;
    Ok(bound)
}

/// The same for an app of a server, which may take the place of an earlier version.
pub(crate) fn bind_kept(
    plan: &Plan,
    args: &PortArgs,
    port: Option<&Layer>,
    state: Option<&StateDir>,
    mut kept: Kept,
) -> Result<Bound, Failure> {
    bind_services(plan, args, port, &[], state, &mut kept)
}

/// What an earlier version of an app has left to the next one.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The sockets of its service ports: they listen.
    pub(crate) sockets: Vec<TcpListener>,
    /// Which process port had which number.
    pub(crate) ports: ServicePorts,
    /// Where its service ports began.
    pub(crate) base: Option<RememberedBase>,
    /// The next one has been built.
    pub(crate) is_built: bool,
    /// The service ports of one that still runs: the router has them, and keeps them.
    pub(crate) held: BTreeMap<u16, HeldPort>,
    /// Proof that nobody else runs the app, where that still runs in the same folder.
    pub(crate) lock: Option<RunLock>,
}

/// A service port that the router has.
#[derive(Debug, Clone)]
pub(crate) struct HeldPort {
    /// Over which.
    pub(crate) over: Vec<tambat_os::Transport>,
    /// Where.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Kept {
    /// The sockets of this port, those that are kept among them.
    fn bind(&mut self, over: &[tambat_os::Transport], number: u16, hosts: &Hosts) -> io::Result<Sockets> {
        if let Some(held) = self.held.get(&number) {
            let missing: Vec<_> = over.iter().copied().filter(|over| !held.over.contains(over)).collect();
            if missing.is_empty() {
                return Ok(Sockets { streams: Vec::new(), datagrams: Vec::new() });
            }
            return tambat_os::ports::bind_over(&missing, number, &hosts.asked, &hosts.if_there);
        }
        let takes = number != 0 && over.contains(&tambat_os::Transport::Tcp);
        let is_it = |socket: &TcpListener| socket.local_addr().is_ok_and(|addr| addr.port() == number);
        let streams: Vec<TcpListener> = self.sockets.extract_if(.., |socket| takes && is_it(socket)).collect();
        if streams.is_empty() {
            return tambat_os::ports::bind_over(over, number, &hosts.asked, &hosts.if_there);
        }
        let mut sockets = Sockets { streams, datagrams: Vec::new() };
        if over.contains(&tambat_os::Transport::Udp) {
            let udp = [tambat_os::Transport::Udp];
            sockets.datagrams = tambat_os::ports::bind_over(&udp, number, &hosts.asked, &hosts.if_there)?.datagrams;
        }
        Ok(sockets)
    }
}

/// Binds a listener for each process port. A busy default port moves the base up by 100, until all fit.
fn bind_services(
    plan: &Plan,
    args: &PortArgs,
    port: Option<&Layer>,
    hosts: &[IpAddr],
    state: Option<&StateDir>,
    kept: &mut Kept,
) -> Result<Bound, Failure> {
    let wanted = wanted_base(args, port)?;
    let Base::At(first) = wanted else {
        return match bind_at(plan, wanted, hosts, kept) {
            Ok(bound) => Ok(bound),
            Err(Unbound::Failed(failure)) => Err(failure),
            Err(Unbound::Busy { key, port, holder }) => Err(busy_explicit(&key, port, &holder)),
        };
    };
    let mut base = remembered_base(args, first, state).unwrap_or(first);
    let mut notes = Vec::new();
    loop {
        match bind_at(plan, Base::At(base), hosts, kept) {
            Ok(mut bound) => {
                remember(plan, args, first, base, state);
                if base != first {
                    notes.push(format!("service ports begin at {base} in place of {first}"));
                }
                // On a server each app has ports of its own, wherever these begin.
                if plan.manner() == Manner::Serve {
                    notes.clear();
                }
                notes.append(&mut bound.notes);
                return Ok(Bound { notes, ..bound });
            }
            Err(Unbound::Failed(failure)) => return Err(failure),
            Err(Unbound::Busy { key, port, holder }) => {
                let busy = format!("port {port} for {key} is taken by {holder}");
                if args.strict_port {
                    return Err(Failure::new(format!(
                        "cannot serve {key} at port {port}: it is taken by {holder}; end that, or leave out --strict-port"
                    )));
                }
                notes.push(busy);
                base = next_base(base).filter(|next| fits(plan, *next)).ok_or_else(|| {
                    Failure::new(format!(
                        "cannot find free service ports from {first} up: {}; choose others with -p",
                        notes.join("; ")
                    ))
                })?;
            }
        }
    }
}

fn fits(plan: &Plan, base: ServicePort) -> bool {
    ServicePorts::wanted(plan, Base::At(base)).is_ok()
}

/// `-p` and `--strict-port` ask anew; otherwise the block that was found last time keeps bookmarks true.
fn remembered_base(args: &PortArgs, wanted: ServicePort, state: Option<&StateDir>) -> Option<ServicePort> {
    let remembered = state.filter(|_| args.port.is_none() && !args.strict_port)?.base()?;
    (remembered.wanted == wanted.get()).then(|| ServicePort::try_from(remembered.taken).ok()).flatten()
}

/// A state folder that cannot be written costs the memory of the base and nothing else. On a server the base that was
/// wanted is remembered, too, lest the next app that comes takes it.
fn remember(plan: &Plan, args: &PortArgs, wanted: ServicePort, taken: ServicePort, state: Option<&StateDir>) {
    let base = RememberedBase { wanted: wanted.get(), taken: taken.get() };
    let is_worth_it = base.wanted != base.taken || plan.manner() == Manner::Serve;
    if let Some(state) = state {
        let _ = state.set_base((args.port.is_none() && is_worth_it).then_some(base));
    }
}

fn bind_at(plan: &Plan, base: Base, hosts: &[IpAddr], kept: &mut Kept) -> Result<Bound, Unbound> {
    let wanted = ServicePorts::wanted(plan, base).map_err(|process| {
        Unbound::Failed(Failure::usage(format!(
            "the service port of `{process}` would be past 65535: choose a lower base with -p"
        )))
    })?;
    let mut bound = Bound::default();
    for (key, port) in wanted {
        // What the kernel chose before it may as well have chosen now.
        let port = port.or_else(|| kept.ports.get(&key));
        bound.bind_one(plan, (key, port), hosts, kept)?;
    }
    for provider in foreign_providers(plan) {
        // What that process speaks turns out when its app runs.
        let both = [Transport::Tcp, Transport::Udp].map(of_this_machine);
        let sockets = tambat_os::ports::bind_over(&both, 0, &[IpAddr::V4(Ipv4Addr::LOCALHOST)], &[])
            .map_err(|error| Unbound::Failed(Failure::new(format!("cannot hold a port for {provider}: {error}"))))?;
        let port =
            number_of(sockets.addresses().next()).map_err(|error| Unbound::Failed(Failure::new(error.to_string())))?;
        bound.foreign.push((provider, port));
        bound.hold(port, sockets, Vec::new());
    }
    Ok(bound)
}

impl Bound {
    fn bind_one(&mut self, plan: &Plan, (key, port): Wanted, extra: &[IpAddr], kept: &mut Kept) -> Result<(), Unbound> {
        let process = plan.process(&key.process);
        let protocol = process.and_then(|p| p.ports.iter().find(|p| p.name == key.port)).map(|p| p.protocol);
        let may = process.is_some_and(|p| p.expose) || protocol.is_some_and(Protocol::carries_client_address);
        let transports = protocol.map_or(Protocol::Tcp.transports(), Protocol::transports);
        let mut hosts = Hosts::default();
        if may {
            extra.iter().for_each(|host| hosts.widen(*host));
        } else if extra.iter().any(|host| !host.is_loopback()) {
            self.notes.push(format!(
                "{key} stays on loopback: behind the router it would take every client for a local one; if it guards itself \
                 with a password, say `expose = true` in [processes.{}]",
                key.process
            ));
        }
        let number = port.map_or(0, ServicePort::get);
        let explicit = process.is_some_and(|p| p.ports.iter().any(|p| p.name == key.port && p.service.is_some()));
        let over: Vec<tambat_os::Transport> = transports.iter().copied().map(of_this_machine).collect();
        let sockets = kept.bind(&over, number, &hosts).map_err(|error| match (error.kind(), port) {
            (ErrorKind::AddrInUse, Some(port)) if explicit => {
                Unbound::Failed(busy_explicit(&key, port, &holder_over(transports, port)))
            }
            (ErrorKind::AddrInUse, Some(port)) => {
                Unbound::Busy { key: key.clone(), port, holder: holder_over(transports, port) }
            }
            (ErrorKind::PermissionDenied, Some(port)) => Unbound::Failed(Failure::new(format!(
                "cannot serve {key} at port {port}: ports below 1024 need a privilege; choose another with -p or `port`"
            ))),
            _ => Unbound::Failed(Failure::new(format!("cannot serve {key} at port {number}: {error}"))),
        })?;
        let held = kept.held.get(&number).map(|held| held.addresses.clone()).unwrap_or_default();
        let first = sockets.addresses().next().or(held.first().copied());
        let port = number_of(first).map_err(|error| Unbound::Failed(Failure::new(error.to_string())))?;
        self.ports.insert(key, port);
        self.hold(port, sockets, held);
        Ok(())
    }

    /// `addresses`: where the router holds this port already.
    fn hold(&mut self, port: ServicePort, sockets: Sockets, mut addresses: Vec<SocketAddr>) {
        for address in sockets.addresses() {
            self.sockets += 1;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        self.addresses.insert(port.get(), addresses);
        let kind = ListenerKind::Service(port);
        let Sockets { streams, datagrams } = sockets;
        if !streams.is_empty() {
            self.listeners.push(Listener { kind, sockets: streams, tls: None });
        }
        if !datagrams.is_empty() {
            self.datagrams.push(DatagramListener { kind, sockets: datagrams });
        }
    }

    /// How many sockets listen.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets + self.entrances.iter().map(BoundEntrance::sockets).sum::<usize>()
    }

    /// The listeners of the app's files, for the router.
    pub(crate) fn take_entrances(&mut self) -> Vec<BoundEntrance> {
        std::mem::take(&mut self.entrances)
    }

    /// The listeners for datagrams, for the router.
    pub(crate) fn take_datagrams(&mut self) -> Vec<DatagramListener> {
        std::mem::take(&mut self.datagrams)
    }

    /// The listeners, for the router.
    pub(crate) fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }
}

/// Where a service port is held.
#[derive(Debug, PartialEq, Eq)]
struct Hosts {
    /// There, or it is an error.
    asked: Vec<IpAddr>,
    /// There as well, unless the machine has no such address: nobody has asked for it.
    if_there: Vec<IpAddr>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { asked: vec![Ipv4Addr::LOCALHOST.into()], if_there: vec![Ipv6Addr::LOCALHOST.into()] }
    }
}

impl Hosts {
    /// An address of all interfaces takes in all others of its family.
    fn widen(&mut self, host: IpAddr) {
        let is_covered = |by: &IpAddr, h: &IpAddr| by == h || (by.is_unspecified() && by.is_ipv4() == h.is_ipv4());
        if self.asked.iter().any(|asked| is_covered(asked, &host)) {
            return;
        }
        self.asked.retain(|h| !is_covered(&host, h));
        self.if_there.retain(|h| !is_covered(&host, h));
        self.asked.push(host);
    }
}

pub(crate) fn port_of(sockets: &[TcpListener]) -> io::Result<ServicePort> {
    number_of(sockets.first().map(TcpListener::local_addr).transpose()?)
}

fn number_of(first: Option<SocketAddr>) -> io::Result<ServicePort> {
    let port = first.and_then(|a| ServicePort::try_from(a.port()).ok());
    port.ok_or_else(|| io::Error::other("cannot hold a service port: neither 127.0.0.1 nor ::1 is there"))
}

fn busy_explicit(key: &PortKey, port: ServicePort, holder: &str) -> Failure {
    Failure::new(format!(
        "cannot serve {key} at port {port}, which tambat.toml asks for: it is taken by {holder}; end that, or change `port`"
    ))
}

pub(crate) fn of_this_machine(transport: Transport) -> tambat_os::Transport {
    match transport {
        Transport::Tcp => tambat_os::Transport::Tcp,
        Transport::Udp => tambat_os::Transport::Udp,
    }
}

/// Who listens at this port, as people name it.
pub(crate) fn holder(port: ServicePort) -> String {
    holder_over(&[Transport::Tcp], port)
}

/// The same over any of these transports.
pub(crate) fn holder_over(transports: &[Transport], port: ServicePort) -> String {
    let find = |transport: &Transport| tambat_os::holder_over(of_this_machine(*transport), port.get());
    match transports.iter().find_map(find) {
        Some(Holder::Known(info)) => format!("{} (pid {})", info.name, info.pid),
        Some(Holder::Unreadable { uid }) => format!("a process of user {uid}"),
        None => "a process that cannot be seen from here".to_owned(),
    }
}

/// Every provider in another app that a handle points at, once.
pub(crate) fn foreign_providers(plan: &Plan) -> Vec<Provider> {
    let all = plan.processes().iter().flat_map(|p| &p.uses).map(|used| used.provider.clone());
    let mut foreign: Vec<Provider> = all.filter(|p| matches!(p, Provider::Foreign { .. })).collect();
    foreign.sort();
    foreign.dedup();
    foreign
}

/// How the handles to another app are written until it has been seen.
pub(crate) fn unseen_template() -> UrlTemplate {
    UrlTemplate::of(super::foreign::PROTOCOL_UNSEEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widened(extra: &[&str]) -> String {
        let mut hosts = Hosts::default();
        extra.iter().for_each(|host| hosts.widen(host.parse().unwrap()));
        format!("{:?} {:?}", hosts.asked, hosts.if_there)
    }

    #[test]
    fn what_is_kept_is_taken_and_not_bound_again() {
        use tambat_os::Transport::{Tcp, Udp};
        let hosts = Hosts::default();
        let bound = Kept::default().bind(&[Tcp, Udp], 0, &hosts).unwrap();
        let (number, count) = (bound.addresses().next().unwrap().port(), bound.streams.len());
        assert_eq!(Kept::default().bind(&[Tcp], number, &hosts).unwrap_err().kind(), ErrorKind::AddrInUse);
        let mut kept = Kept { sockets: bound.streams, ..Kept::default() };
        // Those for datagrams are not kept.
        drop(bound.datagrams);
        let again = kept.bind(&[Tcp, Udp], number, &hosts).unwrap();
        assert_eq!((again.streams.len(), again.datagrams.len(), kept.sockets.len()), (count, count, 0));
        assert!(again.addresses().all(|addr| addr.port() == number));
    }

    #[test]
    fn what_the_router_has_already_is_bound_over_what_is_missing_only() {
        use tambat_os::Transport::{Tcp, Udp};
        let hosts = Hosts::default();
        let bound = Kept::default().bind(&[Tcp], 0, &hosts).unwrap();
        let addresses: Vec<SocketAddr> = bound.addresses().collect();
        let number = addresses[0].port();
        let held = BTreeMap::from([(number, HeldPort { over: vec![Tcp], addresses })]);
        let mut kept = Kept { held, ..Kept::default() };
        assert_eq!(kept.bind(&[Tcp], number, &hosts).unwrap().addresses().count(), 0);
        let both = kept.bind(&[Tcp, Udp], number, &hosts).unwrap();
        assert!(both.streams.is_empty() && !both.datagrams.is_empty());
    }

    /// On a machine without IPv6 only who asks for an address of IPv6 is told that there is none.
    #[test]
    fn what_nobody_has_asked_for_may_be_missing() {
        assert_eq!(widened(&[]), "[127.0.0.1] [::1]");
        assert_eq!(widened(&["0.0.0.0"]), "[0.0.0.0] [::1]");
        assert_eq!(widened(&["0.0.0.0", "192.0.2.1"]), "[0.0.0.0] [::1]");
        assert_eq!(widened(&["192.0.2.1", "0.0.0.0"]), "[0.0.0.0] [::1]");
        assert_eq!(widened(&["::1"]), "[127.0.0.1, ::1] []");
        assert_eq!(widened(&["::"]), "[127.0.0.1, ::] []");
        assert_eq!(widened(&["0.0.0.0", "::"]), "[0.0.0.0, ::] []");
    }
}
