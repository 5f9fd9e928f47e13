//! The control socket of a router alone: its table and its metrics, for `tambat routes --from FILE` and whoever collects.

use std::path::Path;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tambat_api::{ErrorBody, RoutesReport, TargetStatus};
use tambat_os::Lock;

use super::Handle;
use crate::control_socket::{Body, ControlSocket, json, text};
use crate::failure::Failure;
use crate::metrics::{self, Figures, ProcessFigures};
use crate::routes_view;
use crate::sockets::Sockets;

/// Where a router alone answers, held.
#[derive(Debug)]
pub(crate) struct Control {
    socket: ControlSocket,
    /// Nobody else has the socket of this file.
    _lock: Lock,
}

impl Control {
    /// Opens the socket of this canonical file; none: another router with the same file has it.
    pub(crate) fn open(sockets: &Sockets, file: &Path) -> Result<Option<Self>, Failure> {
        let path = sockets.lock(file);
        let lock = Lock::try_exclusive(&path)
            .map_err(|error| Failure::new(format!("cannot lock {}: {error}", path.display())))?;
        let Some(lock) = lock else { return Ok(None) };
        Ok(Some(Self { socket: ControlSocket::open(sockets, sockets.socket(file))?, _lock: lock }))
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self, handle: Handle) {
        let answer = move |request| {
            let response = answer(&handle, &request);
            async move { response }
        };
        self.socket.serve(answer).await;
    }
}

fn answer(handle: &Handle, request: &Request<Incoming>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/routes") => json(&routes(handle)),
        (&Method::GET, "/metrics") => text(metrics::MEDIA_TYPE, figures(handle)),
        (_, path) => {
            let mut response =
                json(&ErrorBody { error: format!("there is nothing at {path}: ask for /routes, /metrics") });
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

/// The route table as it is now.
fn routes(handle: &Handle) -> RoutesReport {
    let (table, seen) = (handle.tables.borrow().clone(), handle.seen());
    routes_view::report(&table, &handle.router.unrouted().snapshot(), |route| {
        let of = seen.targets(&route.name).into_iter().map(|target| TargetStatus {
            name: target.name,
            address: Some(target.addr.to_string()),
            chosen: false,
            reason: target.reason,
            in_flight: 0,
        });
        of.collect()
    })
}

/// The metrics as they are now.
pub(super) fn figures(handle: &Handle) -> String {
    let seen = handle.seen();
    let processes = seen.routes().map(|(name, traffic)| {
        let targets = seen.targets(name);
        let targets_in = targets.iter().filter(|target| target.is_in).count();
        let targets_out = targets.len() - targets_in;
        ProcessFigures { name: name.to_owned(), traffic: traffic.snapshot(), targets_in, targets_out }
    });
    metrics::render(&Figures {
        processes: processes.collect(),
        unrouted: handle.router.unrouted().snapshot(),
        listeners: handle.router.listener_counters(),
        access_lines_lost: handle.access.as_ref().map_or(0, tambat_router::AccessLog::lost),
        ..Figures::default()
    })
}
