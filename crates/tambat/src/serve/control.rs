//! The control socket of a server: what it serves. Each app has its own, as under `tambat start`.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tambat_api::{ErrorBody, ServeStatus, ServedApp};
use tambat_router::{AccessLog, Router};

use super::apps::Broken;
use super::certificates::Keeping;
use crate::control_socket::{Body, ControlSocket, json, text};
use crate::daemon::{App, figures};
use crate::metrics::{self, Figures, ProcessFigures};

/// What there is to see of a server.
pub(crate) struct View {
    /// Its directory.
    pub(crate) dir: String,
    /// Where it listens.
    pub(crate) listens: Vec<String>,
    /// What carries it all.
    pub(crate) router: Arc<Router>,
    /// The access log; none: requests are not noted.
    pub(crate) access: Option<AccessLog>,
    /// Its certificates; none: it has no TLS.
    pub(crate) keeping: Option<Keeping>,
    /// The apps that are served.
    pub(crate) apps: Vec<Arc<App>>,
    /// Those that are not, and those that are not any more.
    pub(crate) broken: Mutex<Vec<Broken>>,
}

impl View {
    /// From now on this app is not served.
    pub(crate) fn lose(&self, name: &str, why: String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.push(Broken { name: name.to_owned(), why });
    }

    /// Looks at those that are not served.
    pub(crate) fn each_broken(&self, look: impl FnMut(&Broken)) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(look);
    }

    fn status(&self) -> ServeStatus {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let served = self.apps.iter().filter(|app| !broken.iter().any(|b| b.name == app.plan.name().as_str()));
        let served = served.map(|app| ServedApp {
            name: app.plan.name().to_string(),
            dir: Some(app.plan.dir().display().to_string()),
            cause: None,
        });
        let lost = broken.iter().map(|broken| ServedApp {
            name: broken.name.clone(),
            dir: None,
            cause: Some(broken.why.clone()),
        });
        ServeStatus {
            dir: self.dir.clone(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listens: self.listens.clone(),
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
        let listeners = self.router.listener_counters().into_iter();
        metrics::render(&Figures {
            processes: self.apps.iter().flat_map(of).collect(),
            unrouted: self.router.unrouted().snapshot(),
            listeners: listeners.map(|(kind, counters)| (kind.label(), counters)).collect(),
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
            let apps: Vec<&str> = view.apps.iter().map(|app| app.plan.name().as_str()).collect();
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
