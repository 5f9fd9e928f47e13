//! What `tambat serve` runs: every app of a directory behind one router, at its public names, until it is stopped.
//!
//! ```text
//! apps      which of the directory's apps can be served, and what each of them needs
//! listen    the public ports
//! joint     many apps, one router: their tables become one, and its reports reach whom they are about
//! control   the server's own socket
//! certificates   from files and from a CA, for the names of all apps
//! ```
//!
//! Each app is begun and attended as under `tambat start`, with a supervisor, a journal and a control socket of its own: see
//! `daemon::begin`.

mod apps;
mod certificates;
mod control;
mod joint;
mod listen;
mod published;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tambat_manifest::ServeFile;
use tambat_os::{Signal, Spawner};
use tambat_router::{Listener, ListenerKind, Router, RouterReport, RouterSettings};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::cli;
use crate::control_socket::ControlSocket;
use crate::daemon::{
    self, AppStart, Begun, Ground, Incoming, Look, Routing, Sayer, Screen, ScreenEnd, StateDir, Voice,
    listen as signals, next,
};
use crate::failure::{CODE_SIGNALLED, Failure};
use crate::metrics::MetricsListener;
use crate::output;
use crate::router_setup::{self, RouterArgs};
use crate::run_lock::RunLock;
use crate::sockets::Sockets;

pub(crate) use apps::entries;
use apps::{Broken, Workshop};
pub(crate) use certificates::kept as kept_certificates;
use certificates::{Keeping, Tls};
use control::View;
use joint::{Reports, Tables};
use listen::{Asked, Public};

/// Where names are served by HTTP unless something says otherwise.
pub(crate) const HTTP_PORT_PUBLIC: u16 = 80;

/// The same by TLS.
pub(crate) const HTTPS_PORT_PUBLIC: u16 = 443;

/// How long requests have to come to their end once the server has been asked to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What is to be served.
#[derive(Debug)]
pub(crate) struct Serve {
    /// The directory of the apps, canonical.
    pub(crate) apps: PathBuf,
    /// Where to listen; none: everywhere.
    pub(crate) addresses: Vec<IpAddr>,
    /// The server's file, and the folder that files in it are seen from.
    pub(crate) file: ServeFile,
    pub(crate) file_dir: PathBuf,
    /// Where names are served by HTTP; 0: the kernel chooses.
    pub(crate) http_port: u16,
    /// The same by TLS.
    pub(crate) https_port: u16,
    /// Where service ports begin; 0: the kernel chooses; none: as each app remembers it.
    pub(crate) port: Option<u16>,
    /// What the command line says about the router.
    pub(crate) router: RouterArgs,
    /// How lines look.
    pub(crate) look: Look,
}

/// What a server needs, decided and held.
struct Prepared {
    starts: Vec<AppStart>,
    broken: Vec<Broken>,
    public: Public,
    /// With TLS; none: there are no certificates.
    public_tls: Option<Public>,
    /// Where else apps ask to be reached.
    asked: Asked,
    /// What is remembered.
    state: StateDir,
    metrics: Option<MetricsListener>,
    sockets: Sockets,
    lock: RunLock,
    look: Look,
}

/// Serves until it is stopped.
pub(crate) fn run(serve: &Serve, spawner: Spawner) -> Result<ExitCode, Failure> {
    let prepared = prepare(serve, &spawner)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(attend(serve, prepared, spawner));
    // As under `tambat start`: nobody waits for what a thread of the runtime still does.
    runtime.shutdown_background();
    outcome
}

fn prepare(serve: &Serve, spawner: &Spawner) -> Result<Prepared, Failure> {
    let entries = apps::entries(&serve.apps)?;
    let sockets = cli::sockets()?;
    let state = state(serve)?;
    let lock = lock(serve, &state, &sockets)?;
    lock.note(spawner.pid(), &sockets.socket(&serve.apps));
    let public = listen::bind(&serve.addresses, serve.http_port, "--http-port")?;
    let bind_tls = || listen::bind(&serve.addresses, serve.https_port, "--https-port");
    let public_tls = certificates::wanted(&serve.file).then(bind_tls).transpose()?;
    let metrics = serve.router.metrics.or(serve.file.router.metrics).map(MetricsListener::bind).transpose()?;
    let (good, mut broken) = apps::judge(entries, &serve.file.router.plan.listen);
    let taken: Vec<_> = public.addrs().into_iter().chain(public_tls.iter().flat_map(Public::addrs)).collect();
    // Before the service ports of apps, which move away from what is taken.
    let (asked, good, others) = Asked::bind(good, &taken, public_tls.is_some());
    broken.extend(others);
    let look = Look { width: apps::width(&good), ..serve.look.clone() };
    let workshop = Workshop { spawner, sockets: &sockets, port: serve.port, look: &look };
    let (mut starts, others) = apps::prepare(good, &workshop);
    starts.iter_mut().for_each(|start| start.bound.listens = asked.addrs());
    broken.extend(others);
    Ok(Prepared { starts, broken, public, public_tls, asked, state, metrics, sockets, lock, look })
}

/// Where account and certificates are kept.
fn state(serve: &Serve) -> Result<StateDir, Failure> {
    StateDir::of(&serve.apps).and_then(|state| state.create().map(|()| state)).map_err(|error| {
        Failure::new(format!(
            "cannot keep what a server has to remember: {error}; set XDG_STATE_HOME to a folder for it"
        ))
    })
}

/// Two servers of one directory would run its apps twice.
fn lock(serve: &Serve, state: &StateDir, sockets: &Sockets) -> Result<RunLock, Failure> {
    let taken = cli::block_on(RunLock::take(Some(state), sockets, &serve.apps))?;
    taken.ok_or_else(|| {
        Failure::new(format!(
            "the apps in {} are served already: `tambat doctor` says by whom; --apps serves those of another directory",
            serve.apps.display()
        ))
    })
}

/// A server at work.
struct Server {
    view: Arc<View>,
    router: Arc<Router>,
    sayer: Sayer,
    /// What each app is asked goes here.
    orders: Vec<UnboundedSender<Incoming>>,
    /// Each app's end, and its name.
    apps: JoinSet<(String, Result<ExitCode, Failure>)>,
    background: Vec<JoinHandle<()>>,
}

async fn attend(serve: &Serve, prepared: Prepared, spawner: Spawner) -> Result<ExitCode, Failure> {
    let mut incoming = signals().map_err(|error| Failure::new(format!("cannot watch signals: {error}")))?;
    let control_path = prepared.sockets.socket(&serve.apps);
    let control = ControlSocket::open(&prepared.sockets, control_path.clone())?;
    let (screen, shown) = Screen::start();
    let voice = Voice::new();
    let sayer = voice.sayer.clone();
    let journal = voice.alone(prepared.look.clone(), screen.clone());
    let (lock, metrics) = (prepared.lock, prepared.metrics);
    let work = Work {
        starts: prepared.starts,
        broken: prepared.broken,
        public: prepared.public,
        public_tls: prepared.public_tls,
        asked: prepared.asked,
        state: prepared.state,
        sockets: prepared.sockets,
        sayer,
    };
    let (mut server, lost) = match work.begin(serve, spawner, screen).await {
        Ok(begun) => begun,
        Err(failure) => return Err(failure),
    };
    server.background.push(tokio::spawn(control::serve(control, Arc::clone(&server.view))));
    if let Some(metrics) = metrics {
        metrics.addr().into_iter().for_each(|addr| output::print(&format!("metrics {addr}")));
        let view = Arc::clone(&server.view);
        server.background.push(tokio::spawn(metrics.serve(move || view.metrics())));
    }
    let outcome = server.run(&mut incoming, lost).await;
    let _ = std::fs::remove_file(&control_path);
    drop(server);
    end(journal, shown).await;
    lock.end();
    outcome
}

async fn end(journal: daemon::Journal, shown: ScreenEnd) {
    if journal.finish().await {
        shown.finish();
    }
}

/// What is left to do before a server serves.
struct Work {
    starts: Vec<AppStart>,
    broken: Vec<Broken>,
    public: Public,
    public_tls: Option<Public>,
    asked: Asked,
    state: StateDir,
    sockets: Sockets,
    sayer: Sayer,
}

/// An app on its way: its ends of the router, and the sockets it is controlled at.
struct Coming {
    name: String,
    begun: Begun,
    control: ControlSocket,
}

impl Work {
    /// Starts the router and every app, and listens once all of them have their routes. Comes with what ends a server: that
    /// nobody can reach it any more.
    async fn begin(
        mut self,
        serve: &Serve,
        spawner: Spawner,
        screen: Screen,
    ) -> Result<(Server, JoinHandle<Failure>), Failure> {
        let tls = certificates::tls(&serve.file, &serve.file_dir, self.state.path(), &self.sayer)?;
        let keeping = tls.as_ref().map(|tls| tls.keeping.clone());
        let (report_out, heard) = mpsc::unbounded_channel();
        let (tables, table) = watch::channel(Arc::default());
        let settings = self.settings(serve, tls.as_ref())?;
        let access = settings.access.clone();
        self.publish(keeping.as_ref());
        let listeners = self.starts.iter_mut().flat_map(|start| start.bound.take_listeners()).collect();
        let datagrams = self.starts.iter_mut().flat_map(|start| start.bound.take_datagrams()).collect();
        let router = Router::start(listeners, table, report_out, settings)
            .and_then(|router| daemon::receive(router, datagrams))
            .map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
        let router = Arc::new(router);
        let spawner = Arc::new(spawner);
        let ground =
            Ground { spawner, commons: Arc::default(), router: Arc::clone(&router), access: access.clone(), screen };
        let public = self.public.addrs().into_iter().chain(self.public_tls.iter().flat_map(Public::addrs)).collect();
        let sayer = self.sayer.clone();
        let mut reports = Reports { of_apps: BTreeMap::new(), ports: BTreeMap::new(), public, sayer: sayer.clone() };
        let (coming, of_apps) = self.begin_apps(&ground, &mut reports);
        let view = Arc::new(View {
            dir: serve.apps.display().to_string(),
            listens: self.listens(),
            router: Arc::clone(&router),
            access,
            keeping: keeping.clone(),
            apps: coming.iter().map(|coming| Arc::clone(&coming.begun.app)).collect(),
            broken: Mutex::new(std::mem::take(&mut self.broken)),
        });
        let mut server =
            Server { view, router, sayer, orders: Vec::new(), apps: JoinSet::new(), background: Vec::new() };
        server.say_what_is_served();
        coming.into_iter().for_each(|coming| server.attend(coming));
        let lost = tokio::spawn(reports.run(heard));
        let mut joint = Tables::new(of_apps, tables, keeping);
        joint.first().await;
        server.background.push(tokio::spawn(joint.run()));
        self.listen(&mut server, tls)?;
        Ok((server, lost))
    }

    /// Each app knows by which URLs everybody reaches it.
    fn publish(&mut self, keeping: Option<&Keeping>) {
        let port = |public: &Public| public.addrs().first().map(std::net::SocketAddr::port);
        let Some(http) = port(&self.public) else { return };
        let is_certified = |host: &tambat_model::HostPattern| keeping.is_some_and(|keeping| keeping.will_serve(host));
        let https = self.public_tls.as_ref().and_then(port);
        let doors = published::Doors { http, https, is_certified: &is_certified };
        for start in &mut self.starts {
            start.published = published::urls(&start.plan, &doors);
        }
    }

    /// From now on everybody is let in. A CA is asked for nothing before, since it comes to see.
    fn listen(self, server: &mut Server, tls: Option<Tls>) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| Failure::new(format!("cannot listen: {error}"));
        let lines = self.listens();
        let shared = |public: Public, tls| Listener { kind: ListenerKind::Shared, sockets: public.sockets, tls };
        server.router.add(shared(self.public, None)).map_err(cannot)?;
        self.asked.open(&server.router, tls.as_ref().map(|tls| &tls.settings)).map_err(cannot)?;
        if let (Some(public), Some(tls)) = (self.public_tls, tls) {
            server.router.add(shared(public, Some(tls.settings))).map_err(cannot)?;
            server.background.push(tokio::spawn(tls.driver.run()));
        }
        lines.iter().for_each(|line| output::print(&format!("listening {line}")));
        Ok(())
    }

    /// Where it listens for everybody.
    fn listens(&self) -> Vec<String> {
        let plain = self.public.addrs().into_iter().map(|addr| addr.to_string());
        let tls = self.public_tls.iter().flat_map(Public::addrs).map(|addr| format!("{addr} tls"));
        plain.chain(tls).chain(self.asked.lines()).collect()
    }

    fn settings(&self, serve: &Serve, tls: Option<&Tls>) -> Result<RouterSettings, Failure> {
        let instances = self.starts.iter().flat_map(|start| start.formation.values()).map(|n| usize::from(*n)).sum();
        let of_apps: usize = self.starts.iter().map(|start| start.bound.sockets()).sum();
        let public = self.public.sockets.len() + self.public_tls.as_ref().map_or(0, |tls| tls.sockets.len());
        let base = daemon::router_settings(instances, of_apps + public + self.asked.sockets());
        let base = RouterSettings { challenges: tls.map(|tls| Arc::clone(&tls.certificates) as _), ..base };
        let said = self.sayer.clone();
        let plan = &serve.file.router.plan;
        router_setup::settings(base, plan, &serve.router, &serve.file_dir, move |line| said.say(line))
    }

    #[expect(clippy::type_complexity, reason = "what joins an app's table and the router's is looked at nowhere else")]
    fn begin_apps(
        &mut self,
        ground: &Ground,
        reports: &mut Reports,
    ) -> (Vec<Coming>, Vec<(tambat_model::AppName, watch::Receiver<Arc<tambat_model::RouteTable>>)>) {
        let (mut coming, mut of_apps) = (Vec::new(), Vec::new());
        for start in std::mem::take(&mut self.starts) {
            let app = start.plan.name().clone();
            let (tables, table) = watch::channel(Arc::default());
            let (out, heard) = mpsc::unbounded_channel::<RouterReport>();
            let ports: Vec<u16> = start.bound.addresses.keys().copied().collect();
            let begun = ControlSocket::open(&self.sockets, start.socket.clone()).and_then(|control| {
                let routing = Routing {
                    tables,
                    reports: heard,
                    name_ports: crate::daemon::Pair::default(),
                    ca_is_believed: false,
                };
                Ok(Coming { name: app.to_string(), begun: start.begin(ground, Voice::new(), routing)?, control })
            });
            match begun {
                Ok(begun) => {
                    coming.push(begun);
                    of_apps.push((app.clone(), table));
                    reports.ports.extend(ports.into_iter().map(|port| (port, app.to_string())));
                    reports.of_apps.insert(app.to_string(), out);
                }
                Err(failure) => self.broken.push(Broken { name: app.to_string(), why: failure.to_string() }),
            }
        }
        (coming, of_apps)
    }
}

impl Server {
    fn say_what_is_served(&self) {
        let count = match self.view.apps.len() {
            0 => "no app so far".to_owned(),
            1 => "1 app".to_owned(),
            count => format!("{count} apps"),
        };
        self.sayer.say(format!("serving {count} of {}", self.view.dir));
        self.view.each_broken(|broken| self.sayer.say(not_served(&broken.name, &broken.why)));
    }

    /// Runs an app from now on.
    fn attend(&mut self, coming: Coming) {
        let Coming { name, begun, control } = coming;
        let (orders, mut asked) = mpsc::unbounded_channel();
        self.orders.push(orders);
        self.apps.spawn(async move {
            let mut running = begun.attend(control, None);
            let outcome = running.run(&mut asked).await;
            running.end().await;
            (name, outcome)
        });
    }

    fn order(&self, incoming: Incoming) {
        // One that has ended needs no telling.
        for orders in &self.orders {
            let _ = orders.send(incoming);
        }
    }

    /// Until it is stopped and nothing of its apps is left.
    async fn run(
        &mut self,
        incoming: &mut UnboundedReceiver<Incoming>,
        mut lost: JoinHandle<Failure>,
    ) -> Result<ExitCode, Failure> {
        let outcome = loop {
            tokio::select! {
                event = next(incoming) => match event {
                    Incoming::Stop(signal) => break self.drain(signal, incoming).await,
                    Incoming::Forward(signal) => self.order(Incoming::Forward(signal)),
                    Incoming::Resize => {}
                },
                Some(Ok((name, outcome))) = self.apps.join_next() => self.ended(&name, outcome),
                failure = &mut lost => {
                    self.order(Incoming::Stop(Signal::TERM));
                    break Err(failure.unwrap_or_else(|_| Failure::new("the router has ended")));
                }
            }
        };
        self.last_ends(incoming).await;
        lost.abort();
        self.background.iter().for_each(JoinHandle::abort);
        outcome
    }

    /// Lets requests come to their end, which may need other apps; then the apps are told to stop.
    async fn drain(&self, signal: Signal, incoming: &mut UnboundedReceiver<Incoming>) -> Result<ExitCode, Failure> {
        let limit = DRAIN_LIMIT.as_secs();
        self.sayer.say(format!(
            "SIG{}: finishing what is on its way ({limit} s at most; once more ends it at once)",
            signal.name()
        ));
        let code = tokio::select! {
            () = self.router.drain_shared(DRAIN_LIMIT) => {
                self.order(Incoming::Stop(signal));
                ExitCode::SUCCESS
            }
            again = next_stop(incoming) => {
                self.sayer.say(format!("SIG{} again: killing what is left", again.name()));
                self.order(Incoming::Stop(signal));
                self.order(Incoming::Stop(again));
                ExitCode::from(CODE_SIGNALLED + u8::try_from(again.number()).unwrap_or_default())
            }
        };
        Ok(code)
    }

    /// Every app has been told to stop: waits for their ends. Whoever cannot wait kills them.
    async fn last_ends(&mut self, incoming: &mut UnboundedReceiver<Incoming>) {
        loop {
            tokio::select! {
                end = self.apps.join_next() => if end.is_none() { return },
                again = next_stop(incoming) => self.order(Incoming::Stop(again)),
            }
        }
    }

    /// An app has ended without being told to: its build failed. The others go on.
    fn ended(&self, name: &str, outcome: Result<ExitCode, Failure>) {
        let why = outcome.err().map_or_else(|| "it has ended".to_owned(), |failure| failure.to_string());
        self.sayer.say(not_served(name, &why));
        self.view.lose(name, why);
    }
}

async fn next_stop(incoming: &mut UnboundedReceiver<Incoming>) -> Signal {
    loop {
        if let Incoming::Stop(signal) = next(incoming).await {
            return signal;
        }
    }
}

fn not_served(name: &str, why: &str) -> String {
    format!("{name} is not served: {why}")
}
