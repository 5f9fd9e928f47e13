//! What `tambat route` runs: the router alone, its routes from a file, and the health of their targets.
//!
//! One loop owns everything that changes: the routes of the file, what is known of their targets, and the tables that are
//! made of both. [`Handle`] is for whoever wants to look.

mod control;
mod listen;
mod table;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_manifest::{LoadError, RouteFile};
use tambat_model::{EntrancePlan, ListenAddr, RouteTable, Transport};
use tambat_os::Signal;
use tambat_router::{
    AccessLog, Checker, HealthView, Listener, ListenerKind, QUESTIONS_MAX, Router, RouterReport, TlsSettings,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::cli::sockets;
use crate::daemon::router_settings;
use crate::entrances::{self, BoundEntrance, transports, who};
use crate::failure::{CODE_SIGNALLED, Failure};
use crate::metrics::MetricsListener;
use crate::output;
use crate::router_setup::{self, RouterArgs, address_paused, refused_http2, unintroduced};

use control::Control;
use listen::{Bound, bind};
use table::{Memory, Routes};
use tls::tls;

pub(crate) use table::Seen;
pub(crate) use tls::client_auth;

/// How long requests have to come to their end once the router has been asked to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// A table is made of all routes. Where that takes long, it is not done more often than so that it takes this part of
/// the time: the loop has other things to do.
const TABLE_SHARE: u32 = 10;

/// Tables that connections may still be using. The last who lets go of one frees it, and that takes long for a large
/// one: rather this loop than a thread that carries requests.
const TABLES_KEPT: usize = 2;

/// So many targets that came in or went out are named at once; more are counted.
const NAMED_MAX: usize = 20;

/// A way to look at a router that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    /// The router.
    pub(crate) router: Arc<Router>,
    /// The newest route table.
    pub(crate) tables: watch::Receiver<Arc<RouteTable>>,
    /// The access log; none: requests are not noted.
    pub(crate) access: Option<AccessLog>,
    routes: watch::Receiver<Arc<Routes>>,
    health: HealthView,
}

impl Handle {
    /// What is known of the targets now.
    pub(crate) fn seen(&self) -> Seen {
        Seen::new(Arc::clone(&self.routes.borrow()), &self.health)
    }
}

/// Runs the router with the routes of this file until it is told to stop. Paths in the file are seen from `dir`.
pub(crate) fn run(path: &Path, dir: &Path, args: &RouterArgs) -> Result<ExitCode, Failure> {
    let file = RouteFile::load(path)?;
    let listeners = [bind(file.listen())?, bind(file.listen_tls())?];
    let entrances = file.entrances().iter().map(BoundEntrance::bind).collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(async {
        let signals = Signals::install().map_err(|error| Failure::new(format!("cannot watch signals: {error}")))?;
        serve(path, dir, args, file, (listeners, entrances), signals).await
    })
}

async fn serve(
    path: &Path,
    dir: &Path,
    args: &RouterArgs,
    file: RouteFile,
    ([plain, with_tls], bound): ([Vec<Bound>; 2], Vec<BoundEntrance>),
    mut signals: Signals,
) -> Result<ExitCode, Failure> {
    let (reports, heard) = mpsc::unbounded_channel();
    let (tables, table) = watch::channel(Arc::default());
    let sockets = plain.len() + with_tls.len() + bound.iter().map(BoundEntrance::sockets).sum::<usize>();
    let mut listening = [lines(&plain, ""), lines(&with_tls, " tls")].concat();
    listening.extend(bound.iter().zip(file.entrances()).map(|(bound, plan)| line(bound, plan)));
    let mut routing = Routing::new(path, file, tables, heard, sockets);
    let questions = routing.checker.count().min(QUESTIONS_MAX);
    let base = router_settings(0, sockets + questions);
    let plan = &routing.file.router().plan;
    let mut settings = router_setup::settings(base, plan, args, dir, |line| say(&line))?;
    let tls = tls(&plan.tls, dir, say)?;
    settings.challenges = tls.as_ref().map(|tls| Arc::clone(&tls.certificates) as _);
    let access = settings.access.clone();
    let metrics = args.metrics.or(routing.file.router().metrics).map(MetricsListener::bind).transpose()?;
    let control = control(path)?;
    let settings_of_tls = tls.as_ref().map(|tls| Arc::clone(&tls.settings));
    let listeners = vec![shared(plain, None), shared(with_tls, settings_of_tls.clone())];
    let router = Router::start(listeners, table.clone(), reports, settings)
        .map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
    let opened = bound.into_iter().try_for_each(|bound| bound.open(&router, settings_of_tls.as_ref()));
    opened.map_err(|error| Failure::new(format!("cannot listen: {error}")))?;
    routing.tls = settings_of_tls;
    let (routes, health) = (routing.routes.subscribe(), routing.checker.view());
    let handle = Handle { router: Arc::new(router), tables: table, access, routes, health };
    listening.iter().for_each(|line| output::print(line));
    let mut background = Vec::new();
    background.extend(tls.map(|tls| tokio::spawn(tls.driver.run())));
    if let Some(metrics) = metrics {
        metrics.addr().into_iter().for_each(|addr| output::print(&format!("metrics {addr}")));
        let seen = handle.clone();
        background.push(tokio::spawn(metrics.serve(move || control::figures(&seen))));
    }
    background.extend(control.map(|control| tokio::spawn(control.serve(handle.clone()))));
    let outcome = routing.run(&handle, &mut signals).await;
    background.iter().for_each(tokio::task::JoinHandle::abort);
    outcome
}

/// What is printed of these listeners.
fn lines(all: &[Bound], how: &str) -> Vec<String> {
    all.iter().map(|bound| format!("listening {}{how}", bound.addr)).collect()
}

/// The same of a listener that routes have of their own.
fn line(bound: &BoundEntrance, plan: &EntrancePlan) -> String {
    format!("listening {} {}", bound.addr, who(plan))
}

fn shared(all: Vec<Bound>, tls: Option<Arc<TlsSettings>>) -> Listener {
    Listener { kind: ListenerKind::Shared, sockets: all.into_iter().map(|bound| bound.socket).collect(), tls }
}

/// Where `tambat routes --from` finds this router. It routes without such a place, too.
fn control(path: &Path) -> Result<Option<Control>, Failure> {
    let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let control = Control::open(&sockets()?, &file)?;
    if control.is_none() {
        say(&format!("another router runs with {}: `tambat routes --from` shows that one", file.display()));
    }
    Ok(control)
}

/// Words to people.
fn say(line: &str) {
    output::say(&format!("tambat: {line}"));
}

/// The loop's own things.
struct Routing {
    path: PathBuf,
    /// As it was read last; its routes are in `routes`.
    file: RouteFile,
    routes: watch::Sender<Arc<Routes>>,
    memory: Memory,
    checker: Checker,
    tables: watch::Sender<Arc<RouteTable>>,
    /// Tables that somebody may still use.
    old: Vec<Arc<RouteTable>>,
    /// No table is made before.
    next_table: Instant,
    /// The newest table does not have all that is known.
    stale: bool,
    reports: mpsc::UnboundedReceiver<RouterReport>,
    /// How many sockets accept.
    sockets: usize,
    /// The listeners that routes have of their own, and over what; each is one socket.
    entrances: BTreeMap<ListenAddr, Vec<Transport>>,
    /// What handshakes need that end here; none: there is no certificate.
    tls: Option<Arc<TlsSettings>>,
}

impl Routing {
    fn new(
        path: &Path,
        mut file: RouteFile,
        tables: watch::Sender<Arc<RouteTable>>,
        reports: mpsc::UnboundedReceiver<RouterReport>,
        sockets: usize,
    ) -> Self {
        let mut memory = Memory::default();
        let entrances = file.entrances().iter().map(|plan| (plan.at, transports(plan))).collect();
        let (routes, _) = watch::channel(Arc::new(memory.routes(file.take_routes(), file.take_entrances())));
        let mut routing = Self {
            path: path.to_owned(),
            file,
            routes,
            memory,
            checker: Checker::new(),
            tables,
            old: Vec::new(),
            next_table: Instant::now(),
            stale: false,
            reports,
            sockets,
            entrances,
            tls: None,
        };
        routing.checker.watch(routing.routes.borrow().checks());
        routing.publish();
        routing
    }

    /// Until the router is told to stop and has done so.
    async fn run(&mut self, handle: &Handle, signals: &mut Signals) -> Result<ExitCode, Failure> {
        let router = &handle.router;
        let asked = loop {
            tokio::select! {
                incoming = signals.next() => match incoming {
                    Incoming::Reload => self.reload(router).await,
                    Incoming::Stop(signal) => break signal,
                },
                failure = self.look_after() => return Err(failure),
            }
        };
        let open = router.open();
        if open > 0 {
            let (name, limit) = (asked.name(), DRAIN_LIMIT.as_secs());
            say(&format!("SIG{name}: finishing what is on its way ({limit} s at most; once more ends it at once)"));
        }
        tokio::select! {
            () = router.drain(DRAIN_LIMIT) => {}
            again = signals.next_stop() => {
                say(&format!("SIG{} again: {} connections are cut off", again.name(), router.open()));
                return Ok(ExitCode::from(CODE_SIGNALLED + u8::try_from(again.number()).unwrap_or_default()));
            }
            failure = self.look_after() => return Err(failure),
        }
        match router.open() {
            0 => {}
            left => say(&format!("{left} connections are cut off after {} s", DRAIN_LIMIT.as_secs())),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Takes in what happens, for ever; comes back only when nothing accepts any more. Cancel safe.
    async fn look_after(&mut self) -> Failure {
        loop {
            if self.sockets == 0 {
                return Failure::new("nothing accepts connections any more");
            }
            let next = self.next_table;
            tokio::select! {
                Some(report) = self.reports.recv() => self.heard(report),
                () = self.checker.changed() => self.stale = true,
                () = tokio::time::sleep_until(next.into()), if self.stale => self.publish(),
            }
        }
    }

    fn heard(&mut self, report: RouterReport) {
        match report {
            RouterReport::Refused { addr, generation, .. } => {
                self.checker.unreachable(addr, generation, &"refuses connections".into());
            }
            RouterReport::Unreachable { addr, generation, cause, .. } => {
                self.checker.unreachable(addr, generation, &format!("cannot be reached: {cause}").into());
            }
            RouterReport::Waiting { .. } => {}
            RouterReport::Unintroduced { peer, cause } => say(&unintroduced(peer, &cause)),
            RouterReport::RefusedHttp2 { peer, cause } => say(&refused_http2(peer, &cause)),
            RouterReport::AddressPaused { client, pause } => say(&address_paused(client, pause)),
            RouterReport::AcceptPaused { addr, cause } => say(&format!(
                "cannot take more connections at {addr} for now: {cause}; those there are go on (is ulimit -n reached?)"
            )),
            RouterReport::ListenerLost { addr, cause } => {
                self.sockets = self.sockets.saturating_sub(1);
                say(&format!("{addr} is lost: {cause}; start tambat route again to have it back"));
            }
        }
    }

    fn seen(&self) -> Seen {
        Seen::new(Arc::clone(&self.routes.borrow()), &self.checker.view())
    }

    /// Makes a table of what is known now.
    fn publish(&mut self) {
        let start = Instant::now();
        let seen = self.seen();
        self.old.retain(|table| Arc::strong_count(table) > 1);
        self.old.drain(..self.old.len().saturating_sub(TABLES_KEPT));
        self.old.push(self.tables.send_replace(Arc::new(seen.table())));
        // Said when it is so.
        self.memory.news(&seen, NAMED_MAX).iter().for_each(|line| say(line));
        self.stale = false;
        self.next_table = Instant::now() + start.elapsed() * (TABLE_SHARE - 1);
    }

    /// Listens where routes want it that were not there before, or nowhere; says which of those that are there nobody wants
    /// any more. Some of those may be closed by then: they were in the way.
    async fn bind_new(
        &mut self,
        router: &Router,
        plans: &[EntrancePlan],
    ) -> Result<(Vec<BoundEntrance>, Vec<ListenAddr>), Failure> {
        if let Some(plan) = plans.iter().find(|plan| plan.ends_tls() && self.tls.is_none()) {
            return Err(Failure::new(format!(
                "there was no certificate at the start, and TLS ends at {}; start tambat route again for that",
                plan.at
            )));
        }
        let is_there =
            |plan: &&EntrancePlan| self.entrances.get(&plan.at).is_some_and(|over| *over == transports(plan));
        let wanted: Vec<EntrancePlan> = plans.iter().filter(|plan| !is_there(plan)).cloned().collect();
        let stays = |at: &ListenAddr| plans.iter().any(|plan| plan.at == *at && is_there(&plan));
        let gone: Vec<ListenAddr> = self.entrances.keys().filter(|at| !stays(at)).copied().collect();
        let routes = Arc::clone(&self.routes.borrow());
        let leaving: Vec<EntrancePlan> = routes.entrances().filter(|plan| gone.contains(&plan.at)).cloned().collect();
        match entrances::exchange(router, &leaving, &wanted, self.tls.as_ref()).await {
            Ok(bound) => Ok((bound, gone)),
            Err((failure, lost)) => {
                self.close(router, lost);
                Err(failure)
            }
        }
    }

    /// Those that nobody wants any more do not accept from now on; connections go on.
    fn close(&mut self, router: &Router, gone: Vec<ListenAddr>) {
        for at in gone {
            router.remove(ListenerKind::Named(at));
            self.sockets = self.sockets.saturating_sub(self.entrances.remove(&at).unwrap_or_default().len());
        }
    }

    /// New listeners accept from now on.
    fn open(&mut self, router: &Router, bound: Vec<BoundEntrance>) {
        for bound in bound {
            let (at, over) = (bound.at, bound.transports());
            match bound.open(router, self.tls.as_ref()) {
                Ok(()) => {
                    self.sockets += over.len();
                    self.entrances.insert(at, over);
                }
                Err(error) => say(&format!("cannot listen at {at}: {error}")),
            }
        }
    }

    /// Reads the file again. What is wrong with it is said, and the old routes stay.
    async fn reload(&mut self, router: &Router) {
        let shown = self.path.display().to_string();
        match RouteFile::load(&self.path) {
            Ok(mut file) => {
                let (routes, entrances) = (file.take_routes(), file.take_entrances());
                let note = if file.differs_in_routes_alone(&self.file) {
                    ""
                } else {
                    "; `[router]`, and `listen` and `listen_tls` of all routes, are read at the start only: start tambat \
                     route again for those"
                };
                if self.routes.borrow().are_of(&routes, &entrances) {
                    return say(&format!("SIGHUP: {shown} has the same routes as before{note}"));
                }
                let (bound, gone) = match self.bind_new(router, &entrances).await {
                    Ok(done) => done,
                    Err(failure) => return say(&format!("SIGHUP: {failure}: the old routes stay")),
                };
                let plan_of = |bound: &BoundEntrance| entrances.iter().find(|plan| plan.at == bound.at);
                let lines: Vec<String> = bound.iter().filter_map(|of| Some(line(of, plan_of(of)?))).collect();
                let routes = Arc::new(self.memory.routes(routes, entrances));
                self.checker.watch(routes.checks());
                self.routes.send_replace(Arc::clone(&routes));
                self.publish();
                self.close(router, gone);
                self.open(router, bound);
                lines.iter().for_each(|line| output::print(line));
                say(&format!("SIGHUP: {shown} read again: {}{note}", routes.in_words()));
            }
            Err(error) => {
                if let LoadError::Invalid(all) = &error {
                    let color = output::color_on_stderr();
                    all.iter().for_each(|diagnostic| output::say(&diagnostic.render(color)));
                    say(&format!("SIGHUP: {shown} is wrong: the old routes stay"));
                } else {
                    say(&format!("SIGHUP: {error}: the old routes stay"));
                }
            }
        }
    }
}

/// A signal that arrived.
enum Incoming {
    Stop(Signal),
    Reload,
}

/// INT and TERM stop, HUP reads the file again.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Incoming {
        tokio::select! {
            _ = self.interrupt.recv() => Incoming::Stop(Signal::INT),
            _ = self.terminate.recv() => Incoming::Stop(Signal::TERM),
            _ = self.hang_up.recv() => Incoming::Reload,
        }
    }

    /// Cancel safe.
    async fn next_stop(&mut self) -> Signal {
        loop {
            if let Incoming::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
