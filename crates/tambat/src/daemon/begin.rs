//! How an app is begun, attended and let go of: what `tambat start` does for one, and `tambat serve` for many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use tambat_model::{ForeignUrl, Ledger, Manner, Plan, PortKey, ProcessName, RouteTable, ServicePort, Wiring, World};
use tambat_os::{Spawner, WinSize};
use tambat_router::{AccessLog, Checker, Router, RouterReport};
use tambat_supervisor::{Commons, Outlets, OutputLine, Setup, Supervisor, Told};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::app::App;
use super::hostnames::{NamesInTables, Pair};
use super::journal::{self, Inlets, Journal};
use super::signals::Incoming;
use super::{
    Bound, Look, Sayer, Screen, StateDir, api, build, foreign, life, logstore, routes, status, unseen_template,
};
use crate::control_socket::ControlSocket;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::run_lock::RunLock;
use crate::sockets::Sockets;

/// So many lines of the app may wait for the journal; then whoever writes waits. A line has 64 KiB at most: 2 MiB.
const OUTPUT_LINES_MAX: usize = 32;

/// Everything that an app needs to be begun, decided and held.
#[derive(Debug)]
pub(crate) struct AppStart {
    /// The app.
    pub(crate) plan: Plan,
    /// How many of each process.
    pub(crate) formation: BTreeMap<ProcessName, u16>,
    /// The environment's shared sources.
    pub(crate) layers: Layers,
    /// The service ports, held. Their listeners are the router's by the time the app is begun.
    pub(crate) bound: Bound,
    /// Proof that nobody else runs this app.
    pub(crate) lock: RunLock,
    /// Where its control socket will be.
    pub(crate) socket: PathBuf,
    /// Where others' sockets are.
    pub(crate) sockets: Sockets,
    /// What is remembered between runs; none where there is no place for it.
    pub(crate) state: Option<StateDir>,
    /// The URLs by which everybody reaches its process ports; none of them under `tambat start`.
    pub(crate) published: BTreeMap<PortKey, String>,
    /// How lines look.
    pub(crate) look: Look,
    /// The children's terminal; none: pipes.
    pub(crate) terminal: Option<WinSize>,
    /// The first end ends everything.
    pub(crate) exit_on_end: bool,
    /// Its `build` has been run.
    pub(crate) is_built: bool,
    /// These of its processes start when they are told to.
    pub(crate) later: BTreeSet<ProcessName>,
}

/// What the apps of one tambat stand on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// Starts their instances.
    pub(crate) spawner: Arc<Spawner>,
    /// What their supervisors share.
    pub(crate) commons: Arc<Commons>,
    /// Carries what arrives.
    pub(crate) router: Arc<Router>,
    /// The access log; none: requests are not noted.
    pub(crate) access: Option<AccessLog>,
    /// Where lines are shown.
    pub(crate) screen: Screen,
}

/// An app's ends of the router.
#[derive(Debug)]
pub(crate) struct Routing {
    /// Its tables go here.
    pub(crate) tables: watch::Sender<Arc<RouteTable>>,
    /// What the router reports of it comes from here.
    pub(crate) reports: UnboundedReceiver<RouterReport>,
    /// Where its names are served on this machine, so far as that is known.
    pub(crate) name_ports: Pair<Option<u16>>,
    /// The system believes the local CA by itself.
    pub(crate) ca_is_believed: bool,
}

/// An app's journal before it is begun: what is said meanwhile is shown then.
pub(crate) struct Voice {
    /// To speak.
    pub(crate) sayer: Sayer,
    inlets: Inlets,
    lines: mpsc::Sender<OutputLine>,
    news: UnboundedSender<Told>,
}

impl Voice {
    /// Of an app, or of tambat itself.
    pub(crate) fn new() -> Self {
        let (lines_out, lines) = mpsc::channel(OUTPUT_LINES_MAX);
        let (news_out, news) = mpsc::unbounded_channel();
        let (sayer, inlets) = journal::channel(lines, news);
        Self { sayer, inlets, lines: lines_out, news: news_out }
    }

    /// Of a tambat that serves many apps: what it says is shown and kept nowhere.
    pub(crate) fn alone(self, look: Look, screen: Screen) -> Journal {
        Journal::start(self.inlets, &self.sayer, (look, screen), None, Box::new(|_, _| None))
    }
}

/// An app that has been begun; nothing of it runs before [`Self::attend`].
pub(crate) struct Begun {
    /// The app.
    pub(crate) app: Arc<App>,
    routing: Routing,
    checker: Checker,
    supervisor: Supervisor,
    journal: Journal,
    foreign: watch::Receiver<foreign::Known>,
    waiting: UnboundedSender<ServicePort>,
    build: Option<build::Build>,
    socket: PathBuf,
    lock: RunLock,
}

/// An app that runs, and the tasks that look after it.
pub(crate) struct Attended {
    /// The app.
    pub(crate) app: Arc<App>,
    supervisor: Supervisor,
    journal: Journal,
    build: Option<build::Build>,
    tasks: Vec<JoinHandle<()>>,
    /// None: others answer there.
    socket: Option<PathBuf>,
    lock: RunLock,
}

impl AppStart {
    /// Begins it. Needs a runtime.
    pub(crate) fn begin(self, ground: &Ground, voice: Voice, routing: Routing) -> Result<Begun, Failure> {
        let wiring = self.first_wiring();
        let formation = self.first_formation(&wiring);
        let plan = Arc::new(self.plan);
        let (world_out, world) = watch::channel(Arc::new(World::default()));
        let (rewired, _) = watch::channel(0);
        let setup = Setup {
            plan: Arc::clone(&plan),
            formation,
            wiring: wiring.clone(),
            layers: self.layers.all,
            raw_env: self.layers.raw,
            terminal: self.terminal,
            building: true,
            exit_on_end: self.exit_on_end,
            stays: plan.manner() == Manner::Serve,
            commons: Arc::clone(&ground.commons),
        };
        let build = if self.is_built { None } else { build::Build::of(&setup, &ground.spawner)? };
        let outlets = Outlets { world: world_out, lines: voice.lines, news: voice.news };
        let supervisor = Supervisor::start(setup, Arc::clone(&ground.spawner), outlets);
        let checker = Checker::new();
        let app = Arc::new(App {
            plan,
            formation: self.formation,
            world,
            commands: supervisor.commands(),
            router: Arc::clone(&ground.router),
            ledger: Ledger::default(),
            health: checker.view(),
            tables: routing.tables.subscribe(),
            access: ground.access.clone(),
            sayer: voice.sayer.clone(),
            look: self.look.clone(),
            state: self.state,
            addresses: self.bound.addresses,
            listens: Mutex::new(self.bound.listens),
            sockets: self.sockets,
            ca_is_believed: routing.ca_is_believed,
            name_ports: Mutex::new(routing.name_ports),
            rewired,
            wiring: Mutex::new(wiring),
        });
        let store = app.state.as_ref().and_then(|state| open_log(state, &voice.sayer));
        let shown = (self.look, ground.screen.clone());
        let journal = Journal::start(voice.inlets, &voice.sayer, shown, store, status::annotate(&app));
        self.bound.notes.iter().for_each(|note| voice.sayer.say(note));
        let (foreign, waiting) = foreign::watch_all(&app);
        let (socket, lock) = (self.socket, self.lock);
        Ok(Begun { app, routing, checker, supervisor, journal, foreign, waiting, build, socket, lock })
    }

    /// Where handles point at the start: at what is held here, and at what was attached in an earlier run.
    fn first_wiring(&self) -> Wiring {
        let attached = self.state.as_ref().map(StateDir::attachments).unwrap_or_default();
        let unseen = |port| ForeignUrl { port, template: unseen_template() };
        Wiring {
            service_ports: self.bound.ports.clone(),
            foreign: self.bound.foreign.iter().map(|(provider, port)| (provider.clone(), unseen(*port))).collect(),
            attached: attached.into_iter().filter(|(name, _)| self.plan.providers().contains(name)).collect(),
            published: self.published.clone(),
        }
    }

    /// How many instances of each process run from the start: none of one in whose place something else was attached, nor of
    /// one that starts later.
    fn first_formation(&self, wiring: &Wiring) -> BTreeMap<ProcessName, u16> {
        let none = wiring.replaced(&self.plan).chain(&self.later).map(|name| (name.clone(), 0));
        self.formation.clone().into_iter().chain(none).collect()
    }
}

/// An app runs without its log, too; its user is told.
fn open_log(state: &StateDir, sayer: &Sayer) -> Option<logstore::LogStore> {
    let said =
        |error: &std::io::Error| sayer.say(format!("cannot open the log in {}: {error}", state.path().display()));
    logstore::LogStore::open(state.path()).inspect_err(said).ok()
}

impl Begun {
    /// Proof that nobody else runs it.
    pub(crate) fn lock(&self) -> RunLock {
        self.lock.clone()
    }

    /// Opens its control API (none: that comes later), and publishes its tables from now on, with the names that a shared port
    /// has, if there is one.
    pub(crate) fn attend(self, control: Option<ControlSocket>, names: Option<NamesInTables>) -> Attended {
        let Self { app, routing, checker, supervisor, journal, foreign, waiting, build, socket, lock } = self;
        let mut tasks = vec![
            tokio::spawn(routes::publish(Arc::clone(&app), routing.tables, foreign, names, checker)),
            tokio::spawn(routes::report(Arc::clone(&app), routing.reports, waiting)),
        ];
        tasks.extend(control.map(|control| answer(control, &app)));
        Attended { app, supervisor, journal, build, tasks, socket: Some(socket), lock }
    }
}

/// Answers on the app's control socket from now on.
pub(crate) fn answer(control: ControlSocket, app: &Arc<App>) -> JoinHandle<()> {
    tokio::spawn(api::serve(control, Arc::clone(app)))
}

impl Attended {
    /// Another version of it answers where it has been controlled.
    pub(crate) fn leave_socket(&mut self) {
        self.socket = None;
    }

    /// Runs it until nothing of it is left.
    pub(crate) async fn run(&mut self, incoming: &mut UnboundedReceiver<Incoming>) -> Result<ExitCode, Failure> {
        life::run_to_the_end(&self.app, &mut self.supervisor, incoming, self.build.take()).await
    }

    /// Lets go of everything that was its own. True if all that was said has been shown.
    pub(crate) async fn end(self) -> bool {
        self.tasks.iter().for_each(JoinHandle::abort);
        let _ = self.socket.as_ref().map(std::fs::remove_file);
        let shown = self.journal.finish().await;
        self.lock.end();
        shown
    }
}
