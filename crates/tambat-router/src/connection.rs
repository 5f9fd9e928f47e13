//! Where an accepted connection goes: HTTP is served request by request, streams seek their target, and at a listener of
//! the manifest that several share a client first has to tell whom it wants.

use std::rc::Rc;
use std::sync::Arc;

use tambat_model::{Admission, ByServerName, ListenAddr, Protocol, RouteTable};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::arrival::Arrival;
use crate::choice::Told;
use crate::door::{self, Visitor};
use crate::http;
use crate::http2;
use crate::introduction::introduce;
use crate::listener::{First, ListenerKind, Open};
use crate::stream;
use crate::transport::Transport;
use crate::wanted::{Wanted, is_plain_http};
use crate::worker::Worker;

/// Serves one accepted connection to its end, in a task of its own.
pub(crate) fn spawn(client: TcpStream, arrival: Arrival, open: Open, worker: &Rc<Worker>) {
    match open.first() {
        First::Anything => begin(Transport::Tcp(client), arrival, open, worker),
        First::ProxyHeader(_) => drop(spawn_local(introduce(client, arrival.peer, open, Rc::clone(worker)))),
    }
}

/// The same for one of which it is known where it comes from: what is read now is the client's.
pub(crate) fn begin(client: Transport, arrival: Arrival, open: Open, worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    match open.listener().kind {
        kind if is_http(kind, &worker.tables.newest()) => {
            serve_http(client, Vec::new(), arrival, open, worker, None);
        }
        ListenerKind::Named(at) => begin_at(at, client, arrival, open, worker),
        ListenerKind::Service(_) => serve(Wanted::Whoever, client, Vec::new(), arrival, open, worker),
        ListenerKind::Shared => {}
    }
}

/// The same at a listener of the manifest.
fn begin_at(at: ListenAddr, client: Transport, arrival: Arrival, open: Open, worker: Rc<Worker>) {
    let table = worker.tables.newest();
    let entrance = table.entrance(at);
    match client {
        Transport::Tcp(client) => match entrance.filter(|entrance| !entrance.openings.is_empty()).map(Arc::clone) {
            None => {
                drop(table);
                serve(Wanted::Whoever, Transport::Tcp(client), Vec::new(), arrival, open, worker);
            }
            Some(entrance) => {
                drop(table);
                door::enter(at, entrance, Visitor { client, received: Vec::new(), arrival, open, worker });
            }
        },
        client => {
            let name: Box<str> = client.secured().and_then(|s| s.server_name.as_deref()).unwrap_or_default().into();
            let spoken = match entrance.and_then(|entrance| entrance.by_server_name(&name)) {
                Some(ByServerName::Terminated(site)) => Some(site.route.protocol),
                Some(ByServerName::Passed(_)) | None => None,
            };
            drop(table);
            match spoken {
                Some(protocol) if protocol.is_http() => serve_http(client, Vec::new(), arrival, open, worker, None),
                Some(Protocol::Postgres) => door::begin_inside(name, client, arrival, open, worker),
                _ => serve(Wanted::Terminated(name), client, Vec::new(), arrival, open, worker),
            }
        }
    }
}

/// Serves a connection that wants somebody, in a task of its own.
fn serve(wanted: Wanted, client: Transport, before: Vec<u8>, arrival: Arrival, open: Open, worker: Rc<Worker>) {
    spawn_local(stream::serve(wanted, client, before, arrival, open, worker));
}

/// Serves a client of HTTP, in a task of its own. Without TLS it turns out later which it speaks. `before`: what it has sent
/// already.
pub(crate) fn serve_http(
    client: Transport,
    before: Vec<u8>,
    arrival: Arrival,
    open: Open,
    worker: Rc<Worker>,
    told: Option<Told>,
) {
    if client.secured().is_some_and(|secured| secured.is_http2) {
        spawn_local(http2::serve(Rc::new(client), before, arrival, open, worker, told));
    } else {
        spawn_local(http::serve(client, &before, arrival, open, worker, told));
    }
}

/// Is it known that HTTP is spoken here? Of a port that nobody serves something else may turn out yet.
pub(crate) fn is_http(kind: ListenerKind, table: &RouteTable) -> bool {
    let is_held = |admission: &Admission| matches!(admission, Admission::Hold { .. });
    match kind {
        ListenerKind::Shared => true,
        ListenerKind::Service(port) => {
            table.get(port).is_some_and(|route| route.protocol.is_http() && !is_held(&route.admission))
        }
        ListenerKind::Named(at) => is_plain_http(table, at),
    }
}
