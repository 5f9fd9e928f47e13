//! The control socket of a server: what it serves. Each app has its own, as under `tambat start`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tambat_api::{ErrorBody, ServeStatus, ServedApp};
use tambat_router::{AccessLog, Router};

use super::certificates::Keeping;
use crate::control_socket::{Body, ControlSocket, json, text};
use crate::daemon::{App, Ground, figures};
use crate::metrics::{self, Figures, ProcessFigures};

/// What there is to see of a server.
pub(crate) struct View {
    /// Its directory.
    pub(crate) dir: String,
    /// What there is now.
    now: Mutex<Now>,
    /// What carries it all.
    pub(crate) router: Arc<Router>,
    /// The access log; none: requests are not noted.
    pub(crate) access: Option<AccessLog>,
    /// Its certificates; none: it has no TLS.
    pub(crate) keeping: Option<Keeping>,
}

/// What changes while a server runs.
#[derive(Default)]
struct Now {
    /// Where it listens.
    listens: Vec<String>,
    /// The apps that are served, by the names of their folders.
    apps: BTreeMap<String, Arc<App>>,
    /// Those that are not, and why.
    broken: BTreeMap<String, String>,
    /// Those of which another version was refused, and why.
    kept: BTreeMap<String, String>,
}

impl View {
    /// Of a server with this directory, of which these apps are not served.
    pub(crate) fn new(
        dir: String,
        ground: &Ground,
        keeping: Option<Keeping>,
        broken: BTreeMap<String, String>,
    ) -> Self {
        let (router, access) = (Arc::clone(&ground.router), ground.access.clone());
        Self { dir, now: Mutex::new(Now { broken, ..Now::default() }), router, access, keeping }
    }

    /// It listens there, in words. Gives those that are new.
    pub(crate) fn listens(&self, lines: Vec<String>) -> Vec<String> {
        let mut now = self.now();
        let fresh = lines.iter().filter(|line| !now.listens.contains(line)).cloned().collect();
        now.listens = lines;
        fresh
    }

    /// From now on this app is served.
    pub(crate) fn serve(&self, folder: &str, app: Arc<App>) {
        let mut now = self.now();
        now.broken.remove(folder);
        now.kept.remove(folder);
        now.apps.insert(folder.to_owned(), app);
    }

    /// It goes on as it was, whatever its files say now.
    pub(crate) fn keep(&self, folder: &str, why: &str) {
        self.now().kept.insert(folder.to_owned(), why.to_owned());
    }

    /// Its files say what is served. Is that news?
    pub(crate) fn is_as_written(&self, folder: &str) -> bool {
        self.now().kept.remove(folder).is_some()
    }

    /// From now on this app is not served. Is that news?
    pub(crate) fn lose(&self, folder: &str, why: &str) -> bool {
        let mut now = self.now();
        now.apps.remove(folder);
        now.kept.remove(folder);
        now.broken.insert(folder.to_owned(), why.to_owned()).is_none_or(|before| before != why)
    }

    /// Nothing is known of it any more.
    pub(crate) fn forget(&self, folder: &str) {
        let mut now = self.now();
        now.apps.remove(folder);
        now.kept.remove(folder);
        now.broken.remove(folder);
    }

    /// How many apps are served.
    pub(crate) fn count(&self) -> usize {
        self.now().apps.len()
    }

    /// Those that are not served, and why.
    pub(crate) fn broken(&self) -> BTreeMap<String, String> {
        self.now().broken.clone()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apps(&self) -> Vec<Arc<App>> {
        self.now().apps.values().map(Arc::clone).collect()
    }

    fn status(&self) -> ServeStatus {
        let now = self.now();
        let served = now.apps.iter().map(|(folder, app)| ServedApp {
            name: app.plan.name().to_string(),
            dir: Some(app.plan.dir().display().to_string()),
            cause: now.kept.get(folder).cloned(),
        });
        let lost =
            now.broken.iter().map(|(name, why)| ServedApp { name: name.clone(), dir: None, cause: Some(why.clone()) });
        ServeStatus {
            dir: self.dir.clone(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listens: now.listens.clone(),
            apps: served.chain(lost).collect(),
            certificates: self.keeping.as_ref().map(Keeping::status).unwrap_or_default(),
            ca_away: self.keeping.as_ref().and_then(Keeping::ca_away),
        }
    }

    /// The metrics of all apps.
    pub(crate) fn metrics(&self) -> String {
        let of = |app: &Arc<App>| {
            let named = |of: ProcessFigures| ProcessFigures { name: format!("{}/{}", app.plan.name(), of.name), ..of };
            figures(app).into_iter().map(named).collect::<Vec<_>>()
        };
        metrics::render(&Figures {
            processes: self.apps().iter().flat_map(of).collect(),
            unrouted: self.router.unrouted().snapshot(),
            listeners: self.router.listener_counters(),
            access_lines_lost: self.access.as_ref().map_or(0, AccessLog::lost),
            certificates: self.keeping.as_ref().map(Keeping::figures).unwrap_or_default(),
            ca_away: self.keeping.as_ref().map(|keeping| keeping.ca_away().is_some()),
        })
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(socket: ControlSocket, view: Arc<View>) {
    let answer = move |request| {
        let response = answer(&view, &request);
        async move { response }
    };
    socket.serve(answer).await;
}

fn answer(view: &View, request: &Request<Incoming>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/serve") => json(&view.status()),
        (&Method::GET, "/metrics") => text(metrics::MEDIA_TYPE, view.metrics()),
        _ => {
            let apps = view.apps();
            let apps: Vec<&str> = apps.iter().map(|app| app.plan.name().as_str()).collect();
            let error = format!(
                "{} is the directory of a server's apps: name one of them with -d ({})",
                view.dir,
                apps.join(", ")
            );
            let mut response = json(&ErrorBody { error });
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
