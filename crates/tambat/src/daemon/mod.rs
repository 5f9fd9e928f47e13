//! What `tambat start` runs: supervisor, router, control API and journal, put together.

mod api;
mod app;
mod attach;
mod begin;
mod build;
mod foreign;
mod health;
mod hostnames;
mod https;
mod journal;
mod life;
mod limits;
mod logstore;
mod routes;
mod screen;
mod seen;
mod service;
mod signals;
mod state;
mod status;
mod terminal;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::Plan;
use tambat_os::Spawner;
use tambat_router::{DatagramListener, Router, RouterSettings};
use tokio::sync::{mpsc, watch};

use crate::control_socket::ControlSocket;
use crate::failure::Failure;
use crate::local_ca::Roots;
use crate::metrics::MetricsListener;
use crate::router_setup::{self, RouterArgs};

pub(crate) use api::is_of;
pub(crate) use app::App;
pub(crate) use begin::{AppStart, Attended, Begun, Ground, Routing, Voice, answer};
pub(crate) use build::build_beside;
pub(crate) use foreign::running as running_foreign;
pub(crate) use hostnames::{Asked as AskedNames, HTTP_PORT_DEFAULT, Pair};
pub(crate) use journal::{Journal, Sayer};
pub(crate) use limits::router_settings;
pub(crate) use logstore::Past;
pub(crate) use screen::{Screen, ScreenEnd};
pub(crate) use seen::figures;
pub(crate) use service::{
    Bound, HeldPort, Kept, bind, bind_kept, holder, holder_over, of_this_machine, port_of, unseen_template, wanted_base,
};
pub(crate) use signals::{Incoming, listen, next};
pub(crate) use state::StateDir;
pub(crate) use terminal::Look;

/// What others were asked by way of us is answered by then, or cut off: nobody who stops an app waits longer for it.
const HANDOVER_LIMIT: Duration = Duration::from_secs(1);

/// Everything that a start needs, decided and held.
#[derive(Debug)]
pub(crate) struct Start {
    /// The app.
    pub(crate) app: AppStart,
    /// Where names are to be served.
    pub(crate) names: AskedNames,
    /// What says over https who we are; none: there is no local CA.
    pub(crate) local_ca: Option<LocalCa>,
    /// What the command line says about the router.
    pub(crate) router: RouterArgs,
}

/// The local CA, and who is told of it.
#[derive(Debug)]
pub(crate) struct LocalCa {
    /// What signs.
    pub(crate) ca: tambat_certs::LocalCa,
    /// What instances are told to believe.
    pub(crate) roots: Roots,
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

async fn serve(mut start: Start, spawner: Spawner) -> Result<ExitCode, Failure> {
    let mut incoming = listen().map_err(|error| Failure::new(format!("cannot watch signals: {error}")))?;
    let plan = &start.app.plan;
    let names = hostnames::claim(plan, (&start.app.sockets, start.app.state.as_ref()), start.names.clone()).await?;
    let control = ControlSocket::open(&start.app.sockets, start.app.socket.clone())?;
    let (voice, (screen, shown)) = (Voice::new(), Screen::start());
    let (tables, table) = watch::channel(Arc::default());
    let (report_out, reports) = mpsc::unbounded_channel();
    let (listeners, datagrams) = (start.app.bound.take_listeners(), start.app.bound.take_datagrams());
    let settings = router_settings_of(&start, &names, &voice.sayer)?;
    let access = settings.access.clone();
    let metrics = start.router.metrics.map(MetricsListener::bind).transpose()?;
    let router = Router::start(listeners, table, report_out, settings)
        .and_then(|router| receive(router, datagrams))
        .map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
    let commons = Arc::default();
    let ground = Ground { spawner: Arc::new(spawner), commons, router: Arc::new(router), access, screen };
    let local_ca = start.local_ca.take();
    let roots = local_ca.as_ref().map(|local| local.roots.clone());
    let tls_plan = (&plan.router().tls, plan.dir());
    let tls = https::settings(local_ca.map(|local| local.ca), tls_plan, tables.subscribe(), &voice.sayer)?;
    let mut first_table = tables.subscribe();
    let entrances = start.app.bound.take_entrances();
    let ca_is_believed = roots.as_ref().is_some_and(Roots::is_in_system);
    let routing = Routing { tables, reports, name_ports: names.ports, ca_is_believed };
    let begun = start.app.begin(&ground, voice, routing)?;
    drop(ground);
    let app = Arc::clone(&begun.app);
    names.notes.iter().for_each(|note| app.sayer.say(note));
    tls.nameless(&app.plan).into_iter().for_each(|line| app.sayer.say(line));
    let (names, serving) = names.serve(&app, tls.names);
    let keeping = roots.map(|roots| {
        let sayer = app.sayer.clone();
        tokio::spawn(roots.keep(move |line| sayer.say(line)))
    });
    let metrics = metrics.map(|listener| {
        let app = Arc::clone(&app);
        tokio::spawn(listener.serve(move || seen::metrics(&app)))
    });
    let driven = tokio::spawn(tls.driver.run());
    let mut running = begun.attend(Some(control), Some(names));
    // Whoever comes is told by the table whom they reach. One that ends at once has none.
    let _ = first_table.changed().await;
    let opened = entrances.into_iter().try_for_each(|entrance| entrance.open(&app.router, tls.entrances.as_ref()));
    if let Err(error) = opened {
        app.sayer.say(format!("cannot listen: {error}"));
    }
    let outcome = running.run(&mut incoming).await;
    if serving.end().await {
        // Whoever has the port now accepts at once; what others were asked by way of us is answered.
        app.router.drain(HANDOVER_LIMIT).await;
    }
    driven.abort();
    metrics.iter().chain(&keeping).for_each(tokio::task::JoinHandle::abort);
    if running.end().await {
        shown.finish();
    }
    outcome
}

/// The router, taking datagrams from these as well.
pub(crate) fn receive(router: Router, datagrams: Vec<DatagramListener>) -> std::io::Result<Router> {
    datagrams.into_iter().try_for_each(|listener| router.add_datagrams(listener))?;
    Ok(router)
}

fn router_settings_of(start: &Start, names: &hostnames::Claimed, sayer: &Sayer) -> Result<RouterSettings, Failure> {
    let plan: &Plan = &start.app.plan;
    let sockets = start.app.bound.sockets() + names.files();
    let instances = start.app.formation.values().map(|count| usize::from(*count)).sum();
    let hop_token = Some(Arc::clone(names.token.reveal()));
    let base = RouterSettings { hop_token, ..limits::router_settings(instances, sockets) };
    let said = sayer.clone();
    router_setup::settings(base, plan.router(), &start.router, plan.dir(), move |line| said.say(line))
}
