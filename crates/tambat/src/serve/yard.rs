//! What all apps of a server stand on, and how one is begun there, kept waiting for and cleared away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tambat_manifest::Loaded;
use tambat_model::{EntrancePlan, HostPattern, Plan, PortKey, RouteTable, ServicePort};
use tambat_router::{ListenerKind, RouterReport, TlsSettings};
use tokio::sync::{mpsc, oneshot, watch};

use super::apps::{self, Workshop};
use super::certificates::Keeping;
use super::change::workers;
use super::control::View;
use super::joint::{Tables, Whom};
use super::listen::{Asked, Site};
use super::published;
use crate::control_socket::ControlSocket;
use crate::daemon::{
    App, AppStart, Begun, Ground, HeldPort, Kept, Look, Pair, Routing, Sayer, StateDir, Voice, of_this_machine,
};
use crate::failure::Failure;
use crate::output;
use crate::run_lock::RunLock;
use crate::sockets::Sockets;

/// What all apps of a server stand on.
pub(crate) struct Yard {
    /// Spawner, router and screen.
    pub(crate) ground: Ground,
    /// Where control sockets are.
    pub(crate) sockets: Sockets,
    /// Their tables.
    pub(crate) tables: Tables,
    /// Who is told what the router reports.
    pub(crate) whom: Whom,
    /// The listeners that they ask for.
    pub(crate) asked: tokio::sync::Mutex<Asked>,
    /// What there is to see.
    pub(crate) view: Arc<View>,
    /// What handshakes need that end here; none: they cannot.
    pub(crate) tls: Option<Arc<TlsSettings>>,
    /// Where all names are served, in words and by address.
    pub(crate) public_lines: Vec<String>,
    pub(crate) public: Vec<SocketAddr>,
    /// Their ports.
    pub(crate) doors: Pair<Option<u16>>,
    /// The certificates; none: there are none.
    pub(crate) keeping: Option<Keeping>,
    /// Where service ports begin; 0: the kernel chooses; none: as each app remembers it.
    pub(crate) port: Option<u16>,
    /// How lines look.
    pub(crate) look: Look,
    /// To the server's user.
    pub(crate) sayer: Sayer,
}

/// An app on its way: its ends of the router, and the socket it is controlled at.
pub(crate) struct Coming {
    /// What has been begun.
    pub(crate) begun: Begun,
    /// Open, and not answering yet.
    pub(crate) control: ControlSocket,
    /// Comes when others can reach it.
    pub(crate) first_table: oneshot::Receiver<()>,
}

/// The other ends of what a version has that nobody reaches yet.
pub(crate) struct Ends {
    /// Its routes.
    table: watch::Receiver<Arc<RouteTable>>,
    /// Where it is told what the router reports.
    reports: mpsc::UnboundedSender<RouterReport>,
    /// Where it is to be controlled.
    socket: PathBuf,
}

impl Yard {
    /// Begins an app that has its ports. Needs a runtime.
    pub(crate) fn begin(&self, folder: &str, start: AppStart) -> Result<Coming, Failure> {
        let control = ControlSocket::open(&self.sockets, start.socket.clone())?;
        let (begun, ends) = self.bring(start, |_| false)?;
        self.whom.insert(begun.app.plan.name().as_str(), ends.reports, begun.app.addresses.keys().copied());
        self.view.serve(folder, Arc::clone(&begun.app));
        let first_table = self.tables.insert(begun.app.plan.name().clone(), ends.table);
        Ok(Coming { begun, control, first_table })
    }

    /// The same, reached by nobody yet. `is_held`: the router has this service port for another version.
    fn bring(&self, mut start: AppStart, is_held: impl Fn(u16) -> bool) -> Result<(Begun, Ends), Failure> {
        start.published = self.published(&start.plan);
        let (ports, socket) = (start.bound.addresses.keys().copied().collect::<Vec<_>>(), start.socket.clone());
        let (tables, table) = watch::channel(Arc::default());
        let (out, reports) = mpsc::unbounded_channel::<RouterReport>();
        let routing = Routing { tables, reports, name_ports: Pair::default(), ca_is_believed: false };
        let begun = self.accept(&mut start).and_then(|()| start.begin(&self.ground, Voice::new(), routing));
        let begun = begun.inspect_err(|_| self.unlisten(ports.into_iter().filter(|port| !is_held(*port))))?;
        Ok((begun, Ends { table, reports: out, socket }))
    }

    /// Nobody new comes by these service ports.
    fn unlisten(&self, ports: impl Iterator<Item = u16>) {
        let ports = ports.filter_map(|port| ServicePort::try_from(port).ok());
        ports.for_each(|port| self.ground.router.remove(ListenerKind::Service(port)));
    }

    /// The router has its service ports from now on.
    fn accept(&self, start: &mut AppStart) -> Result<(), Failure> {
        let router = &self.ground.router;
        let (listeners, datagrams) = (start.bound.take_listeners(), start.bound.take_datagrams());
        let accepted = listeners.into_iter().try_for_each(|listener| router.add(listener));
        let accepted = accepted.and_then(|()| datagrams.into_iter().try_for_each(|of| router.add_datagrams(of)));
        accepted.map_err(|error| Failure::new(format!("cannot listen at its service ports: {error}")))
    }

    /// The same from its files: its service ports are bound first.
    pub(crate) async fn begin_new(&self, folder: &str, loaded: Loaded, kept: Kept) -> Result<Coming, Failure> {
        let workshop =
            Workshop { spawner: &self.ground.spawner, sockets: &self.sockets, port: self.port, look: &self.look };
        let mut start = apps::prepare_later(loaded, &workshop, kept).await?;
        start.bound.listens = self.asked.lock().await.addrs();
        self.begin(folder, start)
    }

    /// Begins a version of an app beside the one `before`, with the service ports that this has: reached by nobody but its own
    /// processes.
    pub(crate) async fn begin_beside(
        &self,
        loaded: Loaded,
        (before, lock): (&App, &RunLock),
    ) -> Result<(Begun, Ends), Failure> {
        let site = Site { public: &self.public, tls: self.tls.as_ref() };
        self.asked.lock().await.look(loaded.plan.entrances(), site)?;
        let workshop =
            Workshop { spawner: &self.ground.spawner, sockets: &self.sockets, port: self.port, look: &self.look };
        let is_here = before.plan.dir() == loaded.plan.dir();
        let kept = Kept {
            ports: before.wiring().service_ports,
            base: before.state.as_ref().and_then(StateDir::base),
            is_built: true,
            held: held_ports(before),
            lock: is_here.then(|| lock.clone()),
            ..Kept::default()
        };
        let mut start = apps::prepare_later(loaded, &workshop, kept).await?;
        start.later = workers(&start.plan);
        let (begun, ends) = self.bring(start, |port| before.addresses.contains_key(&port))?;
        self.tables.beside(before.plan.name(), ends.table.clone());
        Ok((begun, ends))
    }

    /// From now on everybody reaches this version in place of the one `before`; it is controlled by the socket that comes back.
    /// Nothing has changed where it cannot have what it asks for. `waiting`: who is for one of these process ports waits.
    pub(crate) async fn take_over(
        &self,
        folder: &str,
        before: &App,
        (app, ends): (&Arc<App>, &Ends),
        waiting: BTreeSet<String>,
    ) -> Result<ControlSocket, Failure> {
        let (old, new) = (before.plan.entrances(), app.plan.entrances());
        self.exchange(folder, old, new).await?;
        let control = match ControlSocket::open(&self.sockets, ends.socket.clone()) {
            Ok(control) => control,
            Err(failure) => {
                self.exchange(folder, new, old).await.unwrap_or_else(|lost| self.sayer.say(lost.to_string()));
                return Err(failure);
            }
        };
        app.set_listens(self.asked.lock().await.addrs());
        self.whom.insert(app.plan.name().as_str(), ends.reports.clone(), app.addresses.keys().copied());
        self.view.serve(folder, Arc::clone(app));
        self.tables.exchange(before.plan.name(), app.plan.name(), ends.table.clone(), waiting);
        self.open(Some(folder)).await.unwrap_or_else(|failure| self.sayer.say(failure.to_string()));
        Ok(control)
    }

    /// Of two versions one has ended: clears away what it had and the one that stays has not.
    pub(crate) fn part(&self, ended: &App, stays: &App) {
        self.tables.alone(stays.plan.name());
        if ended.plan.name() != stays.plan.name() {
            self.whom.remove(ended.plan.name().as_str());
        }
        self.unlisten(ended.addresses.keys().copied().filter(|port| !stays.addresses.contains_key(port)));
    }

    /// Listens where a version of an app asks for it, in place of where the one before did.
    pub(crate) async fn exchange(
        &self,
        folder: &str,
        before: &[EntrancePlan],
        plans: &[EntrancePlan],
    ) -> Result<(), Failure> {
        let site = Site { public: &self.public, tls: self.tls.as_ref() };
        self.asked.lock().await.exchange(folder, (before, plans), &self.ground.router, site).await
    }

    /// Everybody is let in where this app is reached (none: where any is), from now on.
    pub(crate) async fn open(&self, folder: Option<&str>) -> Result<(), Failure> {
        let opened = self.asked.lock().await.open(folder, &self.ground.router, self.tls.as_ref());
        self.tell_listens().await;
        opened.map_err(|error| Failure::new(format!("cannot listen: {error}")))
    }

    /// Nobody new reaches this app at a listener of its own.
    pub(crate) async fn release(&self, folder: &str) {
        self.asked.lock().await.release(folder, &self.ground.router, |_| false);
        self.tell_listens().await;
    }

    /// Clears away what an app had that has ended; gives what it leaves to its next version.
    pub(crate) async fn clear(&self, app: &App) -> Kept {
        let mut kept = Kept {
            ports: app.wiring().service_ports,
            base: app.state.as_ref().and_then(StateDir::base),
            ..Kept::default()
        };
        self.whom.remove(app.plan.name().as_str());
        for port in app.addresses.keys().filter_map(|port| ServicePort::try_from(*port).ok()) {
            kept.sockets.extend(self.ground.router.take_back(ListenerKind::Service(port)).await);
        }
        kept
    }

    /// Says where the server listens that has not been said before.
    async fn tell_listens(&self) {
        let lines = self.public_lines.iter().cloned().chain(self.asked.lock().await.lines()).collect();
        self.view.listens(lines).iter().for_each(|line| output::print(&format!("listening {line}")));
    }

    /// By which URLs everybody reaches it.
    fn published(&self, plan: &Plan) -> BTreeMap<PortKey, String> {
        let is_certified = |host: &HostPattern| self.keeping.as_ref().is_some_and(|keeping| keeping.will_serve(host));
        let Some(http) = self.doors.http else { return BTreeMap::new() };
        published::urls(plan, &published::Doors { http, https: self.doors.https, is_certified: &is_certified })
    }
}

/// The service ports that the router holds for this version.
fn held_ports(app: &App) -> BTreeMap<u16, HeldPort> {
    let held = |(key, port): (&PortKey, ServicePort)| {
        let process = app.plan.process(&key.process)?;
        let plan = process.ports.iter().find(|plan| plan.name == key.port)?;
        let over = plan.protocol.transports().iter().copied().map(of_this_machine).collect();
        let addresses = app.addresses.get(&port.get())?.clone();
        Some((port.get(), HeldPort { over, addresses }))
    };
    app.wiring().service_ports.iter().filter_map(held).collect()
}
