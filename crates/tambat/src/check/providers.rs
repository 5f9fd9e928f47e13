//! The providers of a process that is judged: run as `tambat start` runs them, each behind its own service port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{
    Ledger, Phase, Plan, PortKey, ProcessName, Protocol, RouteTable, ServicePort, Wiring, World, route_table,
};
use tambat_os::{Pid, Spawner};
use tambat_router::{Listener, ListenerKind, Router, RouterReport};
use tambat_supervisor::{Command, Outlets, Setup, Supervisor};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::daemon;
use crate::failure::Failure;
use crate::layers::Layers;

/// Lines of providers that nobody reads wait here for a moment.
const OUTPUT_LINES_MAX: usize = 32;

/// How long providers may take to end; then they are killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Every process of this app that `process` uses, and what those use.
pub(super) fn needed(
    plan: &Plan,
    process: &ProcessName,
    attached: &BTreeMap<String, tambat_model::ResourceUrl>,
) -> Vec<ProcessName> {
    let mut found: Vec<ProcessName> = Vec::new();
    let mut next = vec![process.clone()];
    while let Some(name) = next.pop() {
        let uses = plan.process(&name).map(|p| p.uses.as_slice()).unwrap_or_default();
        for used in uses.iter().filter(|used| !attached.contains_key(&used.provider.to_string())) {
            let tambat_model::Provider::Process(key) = &used.provider else { continue };
            if key.process != *process && !found.contains(&key.process) {
                found.push(key.process.clone());
                next.push(key.process.clone());
            }
        }
    }
    found
}

/// Providers that run. Dropping this ends them.
pub(super) struct Providers {
    /// Where each of their ports is served.
    pub(super) ports: BTreeMap<PortKey, ServicePort>,
    supervisor: Supervisor,
    _router: Router,
    tasks: Vec<JoinHandle<()>>,
    world: watch::Receiver<Arc<World>>,
    plan: Arc<Plan>,
    names: Vec<ProcessName>,
    /// Before anything of them was.
    began: Instant,
}

/// What providers are started with.
pub(super) struct Wanted<'a> {
    pub(super) plan: Plan,
    pub(super) names: Vec<ProcessName>,
    pub(super) wiring: Wiring,
    pub(super) layers: &'a Layers,
}

impl Providers {
    /// Starts them in the plan's directory.
    pub(super) fn start(wanted: Wanted<'_>, spawner: Spawner) -> Result<Self, Failure> {
        let Wanted { plan, names, mut wiring, layers } = wanted;
        let began = Instant::now();
        let (ports, listeners) = hold(&plan, &names)?;
        ports.iter().for_each(|(key, port)| wiring.service_ports.insert(key.clone(), *port));
        let plan = Arc::new(plan);
        let (world_out, world) = watch::channel(Arc::new(World::default()));
        let (lines_out, mut lines) = mpsc::channel(OUTPUT_LINES_MAX);
        let (news_out, mut news) = mpsc::unbounded_channel();
        let (report_out, reports) = mpsc::unbounded_channel();
        let (tables, table) = watch::channel(Arc::<RouteTable>::default());
        let sockets = listeners.iter().map(|listener| listener.sockets.len()).sum();
        let settings = daemon::router_settings(names.len(), sockets);
        let router = Router::start(listeners, table, report_out, settings)
            .map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
        let is_needed = |name: &ProcessName| u16::from(names.contains(name));
        let setup = Setup {
            plan: Arc::clone(&plan),
            formation: plan.processes().iter().map(|p| (p.name.clone(), is_needed(&p.name))).collect(),
            wiring: wiring.clone(),
            layers: layers.all.clone(),
            raw_env: layers.raw.clone(),
            terminal: None,
            building: false,
            exit_on_end: false,
            stays: false,
            commons: Arc::default(),
        };
        let supervisor =
            Supervisor::start(setup, Arc::new(spawner), Outlets { world: world_out, lines: lines_out, news: news_out });
        let tasks = vec![
            tokio::spawn(publish(Arc::clone(&plan), wiring.clone(), world.clone(), tables)),
            tokio::spawn(report(reports, supervisor.commands(), wiring)),
            tokio::spawn(async move { while lines.recv().await.is_some() {} }),
            tokio::spawn(async move { while news.recv().await.is_some() {} }),
        ];
        Ok(Self { ports, supervisor, _router: router, tasks, world, plan, names, began })
    }

    /// Waits until all of them are ready.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let limit = self.names.iter().filter_map(|n| self.plan.process(n)).map(|p| p.ready.within()).max();
        let limit = limit.unwrap_or_default();
        let names = self.names.clone();
        let mut watched = self.world.clone();
        let settled = watched
            .wait_for(|world| names.iter().all(|name| matches!(state(world, name), State::Ready | State::Failed(_))));
        let world = match timeout_at(self.began + limit, settled).await {
            Ok(Ok(world)) => Arc::clone(&world),
            Ok(Err(_)) => return Err(Failure::new("cannot start what it uses: the supervisor has ended")),
            Err(_) => {
                let waited = names.iter().find(|name| !matches!(state(&self.world.borrow(), name), State::Ready));
                let name = waited.map(ToString::to_string).unwrap_or_default();
                return Err(Failure::timed_out(format!(
                    "cannot judge what uses `{name}`: it was not ready within {} s; `tambat start {name}` shows why",
                    limit.as_secs()
                )));
            }
        };
        for name in &self.names {
            let State::Failed(cause) = state(&world, name) else { continue };
            let why = format!("cannot judge what uses `{name}`: {cause}");
            // Whoever gives it up for being late does so at its limit, and no sooner.
            let within = self.plan.process(name).map_or(limit, |process| process.ready.within());
            let is_late = self.began.elapsed() >= within;
            return Err(if is_late { Failure::timed_out(why) } else { Failure::new(why) });
        }
        Ok(())
    }

    /// Where instances of it listen themselves.
    pub(super) fn places(&self, key: &PortKey) -> Vec<std::net::SocketAddr> {
        let world = Arc::clone(&self.world.borrow());
        let Some(view) = world.processes.get(&key.process) else { return Vec::new() };
        let endpoints = view.instances.iter().filter_map(|instance| match &instance.phase {
            Phase::Ready { endpoints, .. } => Some(Arc::clone(endpoints)),
            _ => None,
        });
        endpoints
            .flat_map(|all| all.iter().filter(|e| e.port == key.port).map(|e| e.addr).collect::<Vec<_>>())
            .collect()
    }

    /// Ends them, and returns when nothing of them is left.
    pub(super) async fn end(mut self) {
        let commands = self.supervisor.commands();
        let _ = commands.send(Command::Shutdown);
        if timeout(END_LIMIT, self.supervisor.outcome()).await.is_err() {
            let _ = commands.send(Command::Kill);
            let _ = timeout(END_LIMIT, self.supervisor.outcome()).await;
        }
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        // Where they have ended already, nobody hears it.
        let _ = self.supervisor.commands().send(Command::Kill);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

enum State {
    Coming,
    Ready,
    Failed(tambat_model::Cause),
}

fn state(world: &World, name: &ProcessName) -> State {
    let Some(view) = world.processes.get(name) else { return State::Coming };
    for instance in &view.instances {
        match &instance.phase {
            Phase::Ready { .. } => return State::Ready,
            Phase::Failed { cause } | Phase::Ended { cause } => return State::Failed(Arc::clone(cause)),
            _ => {}
        }
    }
    State::Coming
}

/// A service port for each of their ports, chosen by the kernel.
fn hold(plan: &Plan, names: &[ProcessName]) -> Result<(BTreeMap<PortKey, ServicePort>, Vec<Listener>), Failure> {
    let mut ports = BTreeMap::new();
    let mut listeners = Vec::new();
    for process in names.iter().filter_map(|name| plan.process(name)) {
        for port in process.ports.iter().filter(|port| port.protocol != Protocol::None) {
            let key = PortKey { process: process.name.clone(), port: port.name.clone() };
            let cannot = |error: std::io::Error| Failure::new(format!("cannot hold a port for {key}: {error}"));
            let sockets = tambat_os::ports::bind_localhost(0).map_err(cannot)?;
            let number = daemon::port_of(&sockets).map_err(cannot)?;
            listeners.push(Listener { kind: ListenerKind::Service(number), sockets, tls: None });
            ports.insert(key, number);
        }
    }
    Ok((ports, listeners))
}

/// A new table after every change of the world.
async fn publish(
    plan: Arc<Plan>,
    wiring: Wiring,
    mut world: watch::Receiver<Arc<World>>,
    tables: watch::Sender<Arc<RouteTable>>,
) {
    let ledger = Ledger::default();
    loop {
        let now = Arc::clone(&world.borrow_and_update());
        tables.send_replace(Arc::new(route_table(&plan, &wiring, &now, &ledger)));
        if world.changed().await.is_err() {
            return;
        }
    }
}

/// Hands on what the router reports.
async fn report(
    mut reports: mpsc::UnboundedReceiver<RouterReport>,
    commands: mpsc::UnboundedSender<Command>,
    wiring: Wiring,
) {
    while let Some(report) = reports.recv().await {
        let command = match report {
            RouterReport::Refused { generation, .. } => Some(Command::Refused { run: generation }),
            RouterReport::Waiting { port, route } => {
                let of = wiring.service_ports.iter().find(|(key, p)| Some(*p) == port || key.to_string() == route);
                of.map(|(key, _)| Command::Wanted(key.process.clone()))
            }
            _ => None,
        };
        if let Some(command) = command {
            let _ = commands.send(command);
        }
    }
}

/// Waits until nothing is left below these spawners, at most so long: after an interruption, keepers end by themselves.
pub(super) async fn nothing_left(spawners: &[Pid], limit: Duration) {
    const INTERVAL: Duration = Duration::from_millis(10);
    let gone = async {
        while spawners.iter().any(|pid| !tambat_os::descendants(*pid).is_empty()) {
            tokio::time::sleep(INTERVAL).await;
        }
    };
    let _ = timeout(limit, gone).await;
}
