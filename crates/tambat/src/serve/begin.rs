//! From what is held to a server at work: the router and every app are started, and everybody is let in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tambat_model::RouteTable;
use tambat_os::Spawner;
use tambat_router::{Listener, ListenerKind, Router, RouterSettings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::apps::Broken;
use super::certificates::{self, Tls};
use super::control::View;
use super::fleet::{Fleet, not_served};
use super::folder::{self, Version};
use super::joint::{Reports, Tables, Whom};
use super::listen::{Asked, Public};
use super::own_file::OwnFile;
use super::yard::{Coming, Yard};
use super::{Serve, Server};
use crate::daemon::{self, AppStart, Ground, Look, Pair, Sayer, Screen, StateDir};
use crate::failure::Failure;
use crate::router_setup;
use crate::sockets::Sockets;

/// Apps come while a server runs, and their instances need files: so many are reckoned with from the start.
const INSTANCES_TO_COME: usize = 32;

/// What is left to do before a server serves.
pub(super) struct Work {
    pub(super) starts: Vec<(String, AppStart)>,
    pub(super) broken: Vec<Broken>,
    pub(super) versions: BTreeMap<String, Version>,
    pub(super) public: Public,
    pub(super) public_tls: Option<Public>,
    pub(super) asked: Asked,
    pub(super) state: StateDir,
    pub(super) sockets: Sockets,
    pub(super) look: Look,
    pub(super) sayer: Sayer,
}

impl Work {
    /// Starts the router and every app, and listens once all of them have their routes. Comes with what ends a server: that
    /// nobody can reach it any more.
    pub(super) async fn begin(
        mut self,
        serve: &Serve,
        spawner: Spawner,
        screen: Screen,
    ) -> Result<(Server, JoinHandle<Failure>), Failure> {
        let tls = certificates::tls(&serve.file, &serve.file_dir, self.state.path(), &self.sayer)?;
        let (report_out, heard) = mpsc::unbounded_channel();
        let (tables, table) = watch::channel(Arc::default());
        let settings = self.settings(serve, tls.as_ref())?;
        let access = settings.access.clone();
        let router = Router::start(Vec::new(), table, report_out, settings)
            .map_err(|error| Failure::new(format!("cannot start the router: {error}")))?;
        let router = Arc::new(router);
        let ground = Ground { spawner: Arc::new(spawner), commons: Arc::default(), router, access, screen };
        let (starts, versions) = (std::mem::take(&mut self.starts), std::mem::take(&mut self.versions));
        let (yard, sockets) = self.yard(serve, ground, tables, tls.as_ref());
        let reports = Reports { whom: yard.whom.clone(), public: yard.public.clone(), sayer: yard.sayer.clone() };
        let lost = tokio::spawn(reports.run(heard));
        let mut fleet = Fleet::new(Arc::clone(&yard), serve.apps.clone(), serve.file.router.plan.listen.clone());
        let coming = begin_apps(&yard, starts);
        say_what_is_served(&yard.view, &yard.sayer);
        fleet.judged(versions.clone());
        let mut first_tables = Vec::new();
        for (folder, mut coming) in coming {
            // Listeners are opened below, all at once.
            first_tables.push(std::mem::replace(&mut coming.first_table, tokio::sync::oneshot::channel().1));
            let version = versions.get(&folder).copied().unwrap_or_else(|| folder::version(&serve.apps.join(&folder)));
            fleet.take_in(folder, version, coming);
        }
        for first_table in first_tables {
            // One that has ended meanwhile has none to wait for.
            let _ = first_table.await;
        }
        yard.tables.publish();
        let background = listen(&yard, sockets, tls).await?;
        let file = OwnFile::new(serve.file_path.clone(), serve.file.clone(), Instant::now());
        Ok((Server { yard, fleet, dir: serve.apps.clone(), file, background }, lost))
    }

    /// What all apps stand on, and the sockets at which all names are served: plain ones, and those with TLS.
    fn yard(
        self,
        serve: &Serve,
        ground: Ground,
        tables: watch::Sender<Arc<RouteTable>>,
        tls: Option<&Tls>,
    ) -> (Arc<Yard>, (Public, Option<Public>)) {
        let keeping = tls.map(|tls| tls.keeping.clone());
        let broken = self.broken.iter().map(|broken| (broken.name.clone(), broken.why.clone())).collect();
        let view = View::new(serve.apps.display().to_string(), &ground, keeping.clone(), broken);
        let (plain, with_tls) =
            (self.public.addrs(), self.public_tls.iter().flat_map(Public::addrs).collect::<Vec<_>>());
        let lines = plain.iter().map(ToString::to_string).chain(with_tls.iter().map(|addr| format!("{addr} tls")));
        let yard = Yard {
            ground,
            sockets: self.sockets,
            tables: Tables::new(tables, keeping.clone()),
            whom: Whom::default(),
            asked: tokio::sync::Mutex::new(self.asked),
            view: Arc::new(view),
            tls: tls.map(|tls| Arc::clone(&tls.settings)),
            public_lines: lines.collect(),
            doors: Pair { http: plain.first().map(SocketAddr::port), https: with_tls.first().map(SocketAddr::port) },
            public: plain.into_iter().chain(with_tls).collect(),
            keeping,
            port: serve.port,
            look: self.look,
            sayer: self.sayer,
        };
        (Arc::new(yard), (self.public, self.public_tls))
    }

    fn settings(&self, serve: &Serve, tls: Option<&Tls>) -> Result<RouterSettings, Failure> {
        let formations = self.starts.iter().flat_map(|(_, start)| start.formation.values());
        let instances = formations.map(|n| usize::from(*n)).sum::<usize>() + INSTANCES_TO_COME;
        let of_apps: usize = self.starts.iter().map(|(_, start)| start.bound.sockets()).sum();
        let public = self.public.sockets.len() + self.public_tls.as_ref().map_or(0, |tls| tls.sockets.len());
        let base = daemon::router_settings(instances, of_apps + public + self.asked.sockets());
        let base = RouterSettings { challenges: tls.map(|tls| Arc::clone(&tls.certificates) as _), ..base };
        let said = self.sayer.clone();
        let plan = &serve.file.router.plan;
        router_setup::settings(base, plan, &serve.router, &serve.file_dir, move |line| said.say(line))
    }
}

/// Begins the apps that there are at the start.
fn begin_apps(yard: &Yard, starts: Vec<(String, AppStart)>) -> Vec<(String, Coming)> {
    let begun = starts.into_iter().map(|(folder, start)| (yard.begin(&folder, start), folder));
    let mut coming = Vec::new();
    for (begun, folder) in begun {
        match begun {
            Ok(begun) => coming.push((folder, begun)),
            Err(failure) => drop(yard.view.lose(&folder, &failure.to_string())),
        }
    }
    coming
}

/// From now on everybody is let in. A CA is asked for nothing before, since it comes to see.
async fn listen(
    yard: &Yard,
    (plain, with_tls): (Public, Option<Public>),
    tls: Option<Tls>,
) -> Result<Vec<JoinHandle<()>>, Failure> {
    let cannot = |error: std::io::Error| Failure::new(format!("cannot listen: {error}"));
    let shared = |public: Public, tls| Listener { kind: ListenerKind::Shared, sockets: public.sockets, tls };
    let router = &yard.ground.router;
    router.add(shared(plain, None)).map_err(cannot)?;
    let mut background = Vec::new();
    if let (Some(public), Some(tls)) = (with_tls, tls) {
        router.add(shared(public, Some(tls.settings))).map_err(cannot)?;
        background.push(tokio::spawn(tls.driver.run()));
    }
    yard.open(None).await?;
    Ok(background)
}

fn say_what_is_served(view: &View, sayer: &Sayer) {
    let count = match view.count() {
        0 => "no app so far".to_owned(),
        1 => "1 app".to_owned(),
        count => format!("{count} apps"),
    };
    sayer.say(format!("serving {count} of {}", view.dir));
    view.broken().iter().for_each(|(name, why)| sayer.say(not_served(name, why)));
}
