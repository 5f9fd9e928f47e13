//! What `tambat start` runs: supervisor, router, control API and journal, put together.

mod api;
mod attach;
mod build;
mod foreign;
mod health;
mod hostnames;
mod journal;
mod limits;
mod logstore;
mod routes;
mod seen;
mod service;
mod state;
mod status;
mod terminal;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::sockets::Sockets;
use tambat_model::{Ledger, Plan, ProcessName, RouteTable, Wiring, World};
use tambat_os::{Signal, Spawner, WinSize};
use tambat_router::{AccessLog, Checker, HealthView, Router, RouterSettings};
use tambat_supervisor::{Command, Outcome, Outlets, Setup, Supervisor};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::control_socket::ControlSocket;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::metrics::MetricsListener;
use crate::router_setup::{self, RouterArgs};
use crate::run_lock::RunLock;

use build::Wish;

pub(crate) use api::is_of;
pub(crate) use hostnames::HTTP_PORT_DEFAULT;
pub(crate) use journal::Sayer;
pub(crate) use limits::router_settings;
pub(crate) use logstore::Past;
pub(crate) use service::{Bound, bind, holder, unseen_template, wanted_base};
pub(crate) use state::StateDir;
pub(crate) use terminal::Look;

/// So many lines of the app may wait for the journal; then whoever writes waits. A line has 64 KiB at most: 2 MiB.
const OUTPUT_LINES_MAX: usize = 32;

/// What others were asked by way of us is answered by then, or cut off: nobody who stops an app waits longer for it.
const HANDOVER_LIMIT: Duration = Duration::from_secs(1);

/// Everything that a start needs, decided and held.
#[derive(Debug)]
pub(crate) struct Start {
    /// The app.
    pub(crate) plan: Plan,
    /// How many of each process.
    pub(crate) formation: BTreeMap<ProcessName, u16>,
    /// The environment's shared sources.
    pub(crate) layers: Layers,
    /// The service ports, held.
    pub(crate) bound: Bound,
    /// Proof that nobody else runs this app.
    pub(crate) lock: RunLock,
    /// Where its control socket will be.
    pub(crate) socket: PathBuf,
    /// Where others' sockets are.
    pub(crate) sockets: Sockets,
    /// What is remembered between runs; none where there is no place for it.
    pub(crate) state: Option<StateDir>,
    /// How lines look.
    pub(crate) look: Look,
    /// The children's terminal; none: pipes.
    pub(crate) terminal: Option<WinSize>,
    /// The first end ends everything.
    pub(crate) exit_on_end: bool,
    /// Where names are to be served; 0: the kernel chooses.
    pub(crate) http_port: u16,
    /// A busy port is an error.
    pub(crate) strict_port: bool,
    /// What the command line says about the router.
    pub(crate) router: RouterArgs,
}

/// What the parts of the daemon share.
pub(crate) struct App {
    /// The app.
    pub(crate) plan: Arc<Plan>,
    /// How many of each process were asked for at the start.
    pub(crate) formation: BTreeMap<ProcessName, u16>,
    /// What runs.
    pub(crate) world: watch::Receiver<Arc<World>>,
    /// To the supervisor.
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    /// The router.
    pub(crate) router: Router,
    /// What each process port has carried.
    pub(crate) ledger: Ledger,
    /// The newest route table.
    pub(crate) tables: watch::Receiver<Arc<RouteTable>>,
    /// The access log; none: requests are not noted.
    pub(crate) access: Option<AccessLog>,
    /// How the instances are that are asked.
    pub(crate) health: HealthView,
    /// To the user.
    pub(crate) sayer: Sayer,
    /// How lines look.
    pub(crate) look: Look,
    /// What is remembered.
    pub(crate) state: Option<StateDir>,
    /// The addresses of each service port.
    pub(crate) addresses: BTreeMap<u16, Vec<std::net::SocketAddr>>,
    /// Others' sockets.
    pub(crate) sockets: Sockets,
    /// Where the app's names are served, by this tambat or by another of this user.
    http_port: OnceLock<u16>,
    /// Changes whenever handles do.
    pub(crate) rewired: watch::Sender<u64>,
    wiring: Mutex<Wiring>,
}

impl App {
    /// Where the app's names are served, by this tambat or by another of this user; none: nowhere, so far.
    pub(crate) fn http_port(&self) -> Option<u16> {
        self.http_port.get().copied()
    }

    /// From now on the app's names are served at this port.
    pub(crate) fn names_are_at(&self, port: u16) {
        // They are tried for at one port only, whenever that comes to something.
        let _ = self.http_port.set(port);
        self.rewired.send_modify(|count| *count += 1);
    }

    /// Where handles point now.
    pub(crate) fn wiring(&self) -> Wiring {
        self.wiring.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Points handles elsewhere: for the next start of each consumer, and for everybody who shows them.
    pub(crate) fn rewire(&self, change: impl FnOnce(&mut Wiring)) {
        let wiring = {
            let mut wiring = self.wiring.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut wiring);
            wiring.clone()
        };
        self.command(Command::Rewire(wiring));
        self.rewired.send_modify(|count| *count += 1);
    }

    /// Starts anew who has a handle to this provider, as `uses` names it; returns who that is. Who was stopped stays so.
    pub(crate) fn restart_consumers(&self, provider: &str) -> Vec<ProcessName> {
        let world = self.world.borrow().clone();
        let wanted = |name: &ProcessName| world.processes.get(name).is_some_and(tambat_model::ProcessView::is_wanted);
        let consumers: Vec<ProcessName> =
            self.plan.consumers_of(provider).map(|p| p.name.clone()).filter(|name| wanted(name)).collect();
        consumers.iter().for_each(|name| self.command(Command::Restart(name.clone())));
        consumers
    }

    /// Tells the supervisor; one that has ended needs no telling.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

/// Runs the app until nothing of it is left.
pub(crate) fn run(start: Start, spawner: Spawner) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(serve(start, spawner));
    // Nobody waits for a name that is still being looked up (tokio does so in threads), nor for a log that is being read.
    runtime.shutdown_background();
    outcome
}

async fn serve(start: Start, spawner: Spawner) -> Result<ExitCode, Failure> {
    let signals = Signals::install().map_err(|error| Failure::new(format!("cannot watch signals: {error}")))?;
    let names = hostnames::claim(&start.plan, &start.sockets, start.http_port, start.strict_port).await?;
    let control = ControlSocket::open(&start.sockets, start.socket.clone())?;
    let parts = assemble(start, spawner, &names)?;
    let app = Arc::clone(&parts.app);
    let (names, serving) = names.serve(&app);
    let background = [
        tokio::spawn(api::serve(control, Arc::clone(&app))),
        tokio::spawn(routes::publish(Arc::clone(&app), parts.tables, parts.foreign, names, parts.checker)),
        tokio::spawn(routes::report(Arc::clone(&app), parts.reports, parts.waiting)),
    ];
    let metrics = parts.metrics.map(|listener| {
        let app = Arc::clone(&app);
        tokio::spawn(listener.serve(move || seen::metrics(&app)))
    });
    let mut supervisor = parts.supervisor;
    let outcome = run_to_the_end(&app, &mut supervisor, signals, parts.build).await;
    if serving.end().await {
        // Whoever has the port now accepts at once; what others were asked by way of us is answered.
        app.router.drain(HANDOVER_LIMIT).await;
    }
    background.iter().chain(&metrics).for_each(tokio::task::JoinHandle::abort);
    let _ = std::fs::remove_file(&parts.socket);
    parts.journal.finish().await;
    parts.lock.end();
    outcome
}

/// The daemon's parts, started.
struct Parts {
    app: Arc<App>,
    checker: Checker,
    supervisor: Supervisor,
    journal: journal::Journal,
    tables: watch::Sender<Arc<RouteTable>>,
    reports: mpsc::UnboundedReceiver<tambat_router::RouterReport>,
    foreign: watch::Receiver<foreign::Known>,
    waiting: mpsc::UnboundedSender<tambat_model::ServicePort>,
    build: Option<build::Build>,
    metrics: Option<MetricsListener>,
    socket: PathBuf,
    lock: RunLock,
}

fn assemble(start: Start, spawner: Spawner, names: &hostnames::Claimed) -> Result<Parts, Failure> {
    let wiring = first_wiring(&start);
    let formation = first_formation(&start, &wiring);
    let plan = Arc::new(start.plan);
    let (world_out, world) = watch::channel(Arc::new(World::default()));
    let (lines_out, lines) = mpsc::channel(OUTPUT_LINES_MAX);
    let (news_out, news) = mpsc::unbounded_channel();
    let (report_out, reports) = mpsc::unbounded_channel();
    let (tables, table) = watch::channel(Arc::default());
    let newest = table.clone();
    let (rewired, _) = watch::channel(0);
    let (sayer, inlets) = journal::channel(lines, news);
    let addresses = addresses(&start.bound);
    let instances = formation.values().map(|count| usize::from(*count)).sum();
    let settings = router_settings_of(&plan, &start.router, &start.bound, names, instances, &sayer)?;
    let access = settings.access.clone();
    let metrics = start.router.metrics.map(MetricsListener::bind).transpose()?;
    let router = Router::start(start.bound.listeners, table, report_out, settings)
        .map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
    let setup = Setup {
        plan: Arc::clone(&plan),
        formation,
        wiring: wiring.clone(),
        layers: start.layers.all,
        raw_env: start.layers.raw,
        terminal: start.terminal,
        building: true,
        exit_on_end: start.exit_on_end,
    };
    let build = build::Build::of(&setup, &spawner)?;
    let supervisor = Supervisor::start(setup, spawner, Outlets { world: world_out, lines: lines_out, news: news_out });
    let checker = Checker::new();
    let app = Arc::new(App {
        plan,
        formation: start.formation,
        world,
        commands: supervisor.commands(),
        router,
        ledger: Ledger::default(),
        health: checker.view(),
        tables: newest,
        access,
        sayer: sayer.clone(),
        look: start.look.clone(),
        state: start.state,
        addresses,
        sockets: start.sockets,
        http_port: names.port.map_or_else(OnceLock::new, OnceLock::from),
        rewired,
        wiring: Mutex::new(wiring),
    });
    let store = app.state.as_ref().and_then(|state| open_log(state, &sayer));
    let journal = journal::Journal::start(inlets, &sayer, start.look, store, status::annotate(&app));
    start.bound.notes.iter().chain(&names.note).for_each(|note| sayer.say(note));
    let (foreign, waiting) = foreign::watch_all(&app);
    Ok(Parts {
        app,
        checker,
        supervisor,
        journal,
        tables,
        reports,
        foreign,
        waiting,
        build,
        metrics,
        socket: start.socket,
        lock: start.lock,
    })
}

/// The addresses of each service port.
fn addresses(bound: &Bound) -> BTreeMap<u16, Vec<std::net::SocketAddr>> {
    let ports = bound.listeners.iter().filter_map(|l| l.kind.service_port().map(|port| (port.get(), l)));
    ports.map(|(port, l)| (port, l.sockets.iter().filter_map(|s| s.local_addr().ok()).collect())).collect()
}

fn router_settings_of(
    plan: &Plan,
    args: &RouterArgs,
    bound: &Bound,
    names: &hostnames::Claimed,
    instances: usize,
    sayer: &Sayer,
) -> Result<RouterSettings, Failure> {
    let sockets = bound.listeners.iter().map(|l| l.sockets.len()).sum::<usize>() + names.files();
    let hop_token = Some(Arc::clone(names.token.reveal()));
    let base = RouterSettings { hop_token, ..limits::router_settings(instances, sockets) };
    let said = sayer.clone();
    router_setup::settings(base, plan.router(), args, plan.dir(), move |line| said.say(line))
}

/// Where handles point at the start: at what is held here, and at what was attached in an earlier run.
fn first_wiring(start: &Start) -> Wiring {
    let attached = start.state.as_ref().map(StateDir::attachments).unwrap_or_default();
    let unseen = |port| tambat_model::ForeignUrl { port, template: unseen_template() };
    Wiring {
        service_ports: start.bound.ports.clone(),
        foreign: start.bound.foreign.iter().map(|(provider, port)| (provider.clone(), unseen(*port))).collect(),
        attached: attached.into_iter().filter(|(name, _)| start.plan.providers().contains(name)).collect(),
    }
}

/// How many instances of each process run from the start: none of one in whose place something else was attached.
fn first_formation(start: &Start, wiring: &Wiring) -> BTreeMap<ProcessName, u16> {
    let replaced = wiring.replaced(&start.plan);
    start.formation.clone().into_iter().chain(replaced.into_iter().map(|name| (name.clone(), 0))).collect()
}

/// An app runs without its log, too; its user is told.
fn open_log(state: &StateDir, sayer: &Sayer) -> Option<logstore::LogStore> {
    let said =
        |error: &std::io::Error| sayer.say(format!("cannot open the log in {}: {error}", state.path().display()));
    logstore::LogStore::open(state.path()).inspect_err(said).ok()
}

/// From the build to the last instance's end.
async fn run_to_the_end(
    app: &Arc<App>,
    supervisor: &mut Supervisor,
    mut signals: Signals,
    build: Option<build::Build>,
) -> Result<ExitCode, Failure> {
    status::headlines(app).into_iter().for_each(|line| app.sayer.say(line));
    if let Some(build) = build
        && building(app, supervisor, &mut signals, build).await? == Built::Stopped
    {
        return Ok(ExitCode::SUCCESS);
    }
    foreign::settle(app).await;
    app.command(Command::Built);
    let mut asked = false;
    loop {
        tokio::select! {
            outcome = supervisor.outcome() => {
                return Ok(match outcome {
                    Outcome::Stopped => ExitCode::SUCCESS,
                    Outcome::Ended { code } => ended(app, code).await,
                });
            }
            event = signals.next() => match event {
                Incoming::Stop(signal) if asked => {
                    app.sayer.say(format!("SIG{} again: killing what is left", signal.name()));
                    app.command(Command::Kill);
                }
                Incoming::Stop(signal) => {
                    asked = true;
                    app.sayer.say(format!("SIG{}: stopping (once more kills)", signal.name()));
                    app.command(Command::Shutdown);
                }
                Incoming::Forward(signal) => app.command(Command::Signal(signal)),
                Incoming::Resize => {
                    if let Some(size) = size_of_child(app) {
                        app.command(Command::Resize(size));
                    }
                }
            },
        }
    }
}

/// What follows a build.
#[derive(PartialEq, Eq)]
enum Built {
    /// The app.
    Done,
    /// Nothing: its user has stopped it meanwhile, and nothing of it is left.
    Stopped,
}

/// Until nothing of the build is left, however it ends.
async fn building(
    app: &App,
    supervisor: &mut Supervisor,
    signals: &mut Signals,
    build: build::Build,
) -> Result<Built, Failure> {
    let (wishes, wished) = mpsc::unbounded_channel();
    let wish = |wish: Wish| {
        // A build that has just ended needs no telling.
        let _ = wishes.send(wish);
    };
    let mut run = std::pin::pin!(build.run(&app.sayer, wished));
    let (mut asked, mut supervised) = (false, true);
    loop {
        tokio::select! {
            // A build that is told to end may end as it likes.
            built = &mut run => return if asked { Ok(Built::Stopped) } else { built.map(|()| Built::Done) },
            // `tambat stop`: nothing has been started yet, so the supervisor has ended at once.
            _ = supervisor.outcome(), if supervised => {
                supervised = false;
                if !std::mem::replace(&mut asked, true) {
                    wish(Wish::Stop);
                }
            }
            event = signals.next() => match event {
                Incoming::Stop(signal) if asked => {
                    app.sayer.say(format!("SIG{} again: killing what is left of the build", signal.name()));
                    wish(Wish::Kill);
                }
                Incoming::Stop(signal) => {
                    asked = true;
                    app.sayer.say(format!("SIG{}: stopping the build (once more kills)", signal.name()));
                    wish(Wish::Stop);
                }
                Incoming::Resize => {
                    if let Some(size) = size_of_child(app) {
                        app.command(Command::Resize(size));
                        wish(Wish::Resize(size));
                    }
                }
                // Who is to hear it has not been started yet.
                Incoming::Forward(_) => {}
            },
        }
    }
}

/// The terminal of a child in our own as it is now; none where we have none.
fn size_of_child(app: &App) -> Option<WinSize> {
    tambat_os::terminal::size(std::io::stdout()).map(|size| app.look.of_child(size))
}

/// Every process has come to its end.
async fn ended(app: &App, code: u8) -> ExitCode {
    app.sayer.say(match code {
        0 => "every process has ended".to_owned(),
        code => format!("every process has ended; the first code that is not 0: {code}"),
    });
    routes::last_words(app).await;
    ExitCode::from(code)
}

/// A signal that arrived.
enum Incoming {
    Stop(Signal),
    Forward(Signal),
    Resize,
}

/// The signals that mean something here: INT, TERM and HUP stop (HUP not under `nohup`); USR1 and USR2 are handed on; WINCH resizes.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: Option<tokio::signal::unix::Signal>,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    resize: tokio::signal::unix::Signal,
}

/// Has nobody asked for this signal to be ignored?
fn heeded(signal: Signal) -> bool {
    !tambat_os::signals::is_ignored(signal)
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: heeded(Signal::HUP).then(|| signal(SignalKind::hangup())).transpose()?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Incoming {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Incoming::Stop(Signal::INT),
            _ = self.terminate.recv() => Incoming::Stop(Signal::TERM),
            _ = hang_up => Incoming::Stop(Signal::HUP),
            _ = self.user1.recv() => Incoming::Forward(Signal::USR1),
            _ = self.user2.recv() => Incoming::Forward(Signal::USR2),
            _ = self.resize.recv() => Incoming::Resize,
        }
    }
}
