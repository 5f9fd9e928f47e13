//! What `tambat serve` runs: every app of a directory behind one router, at its public names, until it is stopped.
//!
//! ```text
//! begin     from what is held to a server at work
//! apps      which of the directory's apps can be served, and what each of them needs
//! listen    the public ports
//! joint     many apps, one router: their tables become one, and its reports reach whom they are about
//! yard      what all apps stand on, and how one is begun there
//! stay      one app, from its beginning to its end, with the versions that replace each other
//! run       a version that runs
//! farewell  how a version ends: what is on its way is finished
//! folder    what the directory is like, and which of its folders have come to rest
//! change    what follows when it has changed
//! fleet     all apps: looks at the directory are decided on and acted upon
//! own_file  what is told when the server's own file has changed
//! control   the server's own socket
//! certificates   from files and from a CA, for the names of all apps
//! ```
//!
//! Each app is begun and attended as under `tambat start`, with a supervisor, a journal and a control socket of its own: see
//! `daemon::begin`.

mod apps;
mod begin;
mod certificates;
mod change;
mod control;
mod farewell;
mod fleet;
mod folder;
mod joint;
mod listen;
mod own_file;
mod published;
mod run;
mod stay;
mod yard;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tambat_manifest::ServeFile;
use tambat_os::{Signal, Spawner};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::cli;
use crate::control_socket::ControlSocket;
use crate::daemon::{
    self, AppStart, Incoming, Look, Sayer, Screen, ScreenEnd, StateDir, Voice, listen as signals, next,
};
use crate::failure::{CODE_SIGNALLED, Failure};
use crate::metrics::MetricsListener;
use crate::output;
use crate::router_setup::RouterArgs;
use crate::run_lock::RunLock;
use crate::sockets::Sockets;

pub(crate) use apps::entries;
use apps::{Broken, Workshop};
use begin::Work;
pub(crate) use certificates::kept as kept_certificates;
use fleet::Fleet;
use folder::{LOOK_EVERY, Version};
use listen::{Asked, Public};
use own_file::OwnFile;
use yard::Yard;

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
    /// The server's file, where it is, and the folder that files in it are seen from.
    pub(crate) file: ServeFile,
    pub(crate) file_path: PathBuf,
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
    /// By the names of their folders.
    starts: Vec<(String, AppStart)>,
    broken: Vec<Broken>,
    /// Of each folder, seen before it was read.
    versions: BTreeMap<String, Version>,
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
    let versions = entries.iter().map(|entry| (entry.name.clone(), folder::version(&entry.path))).collect();
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
    starts.iter_mut().for_each(|(_, start)| start.bound.listens = asked.addrs());
    broken.extend(others);
    Ok(Prepared { starts, broken, versions, public, public_tls, asked, state, metrics, sockets, lock, look })
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
    yard: Arc<Yard>,
    fleet: Fleet,
    /// Where its apps are.
    dir: PathBuf,
    file: OwnFile,
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
    let (lock, metrics, work) = prepared.work(sayer);
    let (mut server, lost) = work.begin(serve, spawner, screen).await?;
    server.background.push(tokio::spawn(control::serve(control, Arc::clone(&server.yard.view))));
    if let Some(metrics) = metrics {
        metrics.addr().into_iter().for_each(|addr| output::print(&format!("metrics {addr}")));
        let view = Arc::clone(&server.yard.view);
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

impl Prepared {
    fn work(self, sayer: Sayer) -> (RunLock, Option<MetricsListener>, Work) {
        let Self { starts, broken, versions, public, public_tls, asked, state, metrics, sockets, lock, look } = self;
        let work = Work { starts, broken, versions, public, public_tls, asked, state, sockets, look, sayer };
        (lock, metrics, work)
    }
}

impl Server {
    /// Until it is stopped and nothing of its apps is left.
    async fn run(
        &mut self,
        incoming: &mut UnboundedReceiver<Incoming>,
        mut lost: JoinHandle<Failure>,
    ) -> Result<ExitCode, Failure> {
        let mut looks = Looks::new();
        let outcome = loop {
            tokio::select! {
                event = next(incoming) => match event {
                    Incoming::Stop(Signal::HUP) => looks.is_asked = true,
                    Incoming::Stop(signal) => break self.drain(signal, incoming).await,
                    Incoming::Forward(signal) => self.fleet.order(Incoming::Forward(signal)),
                    Incoming::Resize => {}
                },
                at_once = looks.next() => self.look(at_once),
                event = self.fleet.next() => self.fleet.on(event),
                failure = &mut lost => {
                    self.fleet.order(Incoming::Stop(Signal::TERM));
                    break Err(failure.unwrap_or_else(|_| Failure::new("the router has ended")));
                }
            }
        };
        self.last_ends(incoming).await;
        lost.abort();
        self.background.iter().for_each(JoinHandle::abort);
        outcome
    }

    fn look(&mut self, at_once: bool) {
        let look = folder::look(&self.dir, &self.fleet.known());
        let count = self.fleet.looked(look, Instant::now(), at_once);
        let of_file = self.file.look(Instant::now(), at_once);
        let why = if at_once { "SIGHUP: " } else { "" };
        if at_once {
            let what = match count {
                0 => "nothing has changed".to_owned(),
                1 => "1 app is new, gone, changed or tried again".to_owned(),
                count => format!("{count} apps are new, gone, changed or tried again"),
            };
            self.yard.sayer.say(format!("{why}looked at {}: {what}", self.yard.view.dir));
        }
        of_file.into_iter().for_each(|told| self.yard.sayer.say(format!("{why}{told}")));
    }

    /// Lets requests come to their end, which may need other apps; then the apps are told to stop.
    async fn drain(&self, signal: Signal, incoming: &mut UnboundedReceiver<Incoming>) -> Result<ExitCode, Failure> {
        let limit = DRAIN_LIMIT.as_secs();
        self.yard.sayer.say(format!(
            "SIG{}: finishing what is on its way ({limit} s at most; once more ends it at once)",
            signal.name()
        ));
        let code = tokio::select! {
            () = self.yard.ground.router.drain_shared(DRAIN_LIMIT) => {
                self.fleet.order(Incoming::Stop(signal));
                ExitCode::SUCCESS
            }
            again = next_stop(incoming) => {
                self.yard.sayer.say(format!("SIG{} again: killing what is left", again.name()));
                self.fleet.order(Incoming::Stop(signal));
                self.fleet.order(Incoming::Stop(again));
                ExitCode::from(CODE_SIGNALLED + u8::try_from(again.number()).unwrap_or_default())
            }
        };
        Ok(code)
    }

    /// Every app has been told to stop: waits for their ends. Whoever cannot wait kills them.
    async fn last_ends(&mut self, incoming: &mut UnboundedReceiver<Incoming>) {
        loop {
            tokio::select! {
                is_one = self.fleet.next_end() => if !is_one { return },
                again = next_stop(incoming) => self.fleet.order(Incoming::Stop(again)),
            }
        }
    }
}

/// When the directory is looked at.
struct Looks {
    every: Interval,
    /// Somebody says that all is ready: a look is due, and all of it is taken as it is.
    is_asked: bool,
}

impl Looks {
    fn new() -> Self {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { every, is_asked: false }
    }

    /// Comes back when the next one is due; true: what it finds is taken as it is. Cancel safe.
    async fn next(&mut self) -> bool {
        if !self.is_asked {
            self.every.tick().await;
        }
        std::mem::take(&mut self.is_asked)
    }
}

async fn next_stop(incoming: &mut UnboundedReceiver<Incoming>) -> Signal {
    loop {
        match next(incoming).await {
            // It has had its last look.
            Incoming::Stop(Signal::HUP) | Incoming::Forward(_) | Incoming::Resize => {}
            Incoming::Stop(signal) => return signal,
        }
    }
}
