//! The life of one connection: a target is found or waited for, then bytes are carried; or it is turned away.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tambat_model::{Admission, Admitted, RouteTable, ServicePort};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, sleep_until, timeout};

use crate::arrival::Arrival;
use crate::carry::{End, Leftovers, carry};
use crate::choice::{Choice, Chosen, Hold, Patience, Told, Tried, choose};
use crate::http;
use crate::http2;
use crate::introduction::introduce;
use crate::listener::{First, ListenerKind, ListenerState, Open};
use crate::report::RouterReport;
use crate::socket::prepare;
use crate::transport::Transport;
use crate::turn_away::turn_away;
use crate::worker::Worker;

/// How often the targets are tried again that did not take a connection while the table says that they serve: the
/// table changes as a rule, but a target that comes back before anybody looked changes nothing.
pub(crate) const RETRY_EVERY_MS: u64 = 1_000;

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
        kind if is_http(kind, &worker.tables.newest()) => serve_http(client, arrival, open, worker, None),
        ListenerKind::Service(port) => drop(spawn_local(serve_at(port, client, arrival, open, worker))),
        ListenerKind::Shared => {}
    }
}

/// Serves a client of HTTP, in a task of its own. Without TLS it turns out later which it speaks.
fn serve_http(client: Transport, arrival: Arrival, open: Open, worker: Rc<Worker>, told: Option<Told>) {
    if client.secured().is_some_and(|secured| secured.is_http2) {
        spawn_local(http2::serve(Rc::new(client), Vec::new(), arrival, open, worker, told));
    } else {
        spawn_local(http::serve(client, arrival, open, worker, told));
    }
}

/// Is it known that HTTP is spoken here? Of a port that nobody serves something else may turn out yet.
pub(crate) fn is_http(kind: ListenerKind, table: &RouteTable) -> bool {
    let ListenerKind::Service(port) = kind else {
        return true;
    };
    let is_held = |admission: &Admission| matches!(admission, Admission::Hold { .. });
    table.get(port).is_some_and(|route| route.protocol.is_http() && !is_held(&route.admission))
}

/// Serves a connection at a service port: a stream, or one that waits to learn what it is.
async fn serve_at(port: ServicePort, client: Transport, arrival: Arrival, open: Open, worker: Rc<Worker>) {
    let listener = open.listener();
    match (Seeker { client: &client, arrival: &arrival, port, listener, worker: &worker }).seek().await {
        Found::Target { stream, idle, admitted } => {
            let carried = carry(&client, &stream, idle, Leftovers::default(), listener, &worker.tools).await;
            if carried.end == End::Broken {
                client.reset_on_close();
                stream.reset_on_close();
            }
            drop(admitted);
        }
        Found::Http(told) => {
            serve_http(client, arrival, open, worker, told);
        }
        Found::Nobody(told) => {
            listener.refused.fetch_add(1, Ordering::Relaxed);
            // Boxed: few connections come to this, and none should be as big as if it did.
            Box::pin(turn_away(client, told)).await;
        }
        Found::ClientGone => {}
    }
}

enum Found {
    /// A connection to it, and the proof that it counts this one.
    Target {
        stream: Transport,
        idle: Option<Duration>,
        admitted: Admitted,
    },
    /// HTTP is spoken: each of its requests finds its own target. Or all of them are told that there was none in time.
    Http(Option<Told>),
    Nobody(Told),
    ClientGone,
}

/// A connection in search of its target.
struct Seeker<'a> {
    client: &'a Transport,
    arrival: &'a Arrival,
    port: ServicePort,
    listener: &'a Arc<ListenerState>,
    worker: &'a Worker,
}

impl Seeker<'_> {
    async fn seek(&self) -> Found {
        let mut tried = Tried::default();
        loop {
            match self.choose(&tried) {
                Choice::Serve(chosen) => {
                    if let Some(found) = self.dial(chosen, &mut tried).await {
                        return found;
                    }
                }
                Choice::Http => return Found::Http(None),
                Choice::Refuse(told) => return Found::Nobody(told),
                // Boxed: as above.
                Choice::Wait(hold) => return Box::pin(self.wait(hold, tried)).await,
            }
        }
    }

    fn choose(&self, tried: &Tried) -> Choice {
        choose(&self.worker.tables.newest(), self.port, &self.listener.cursor, tried)
    }

    /// The target's side of the connection; none: it was not to be had, and that is noted.
    async fn dial(&self, chosen: Chosen, tried: &mut Tried) -> Option<Found> {
        let addr = chosen.target.addr;
        let id = || self.worker.clock.request_id(Instant::now());
        let header = chosen.proxy_protocol.map(|version| self.arrival.header(version, self.client, &id()));
        match dial(addr, header.as_deref(), self.worker.shared.settings.connect_timeout).await {
            Ok(stream) => {
                Some(Found::Target { stream: Transport::Tcp(stream), idle: chosen.idle, admitted: chosen.admitted })
            }
            Err(error) => {
                tried.push(addr, self.worker.unreached(&chosen.target, &error));
                None
            }
        }
    }

    /// Waits for a table that has a target for it.
    async fn wait(&self, first: Hold, mut tried: Tried) -> Found {
        let max = self.worker.shared.settings.waiting_max;
        let Some(_waits) = self.listener.waits(max) else {
            let cause = format!("{} (and {max} connections wait for it already)", first.told.cause);
            return nobody(Told { cause, ..first.told });
        };
        let route = self.worker.tables.newest().get(self.port).map(|route| route.name.clone()).unwrap_or_default();
        self.worker.shared.reports.send(RouterReport::Waiting { port: Some(self.port), route });
        let mut wait = Wait {
            tables: self.worker.tables.subscribe(),
            patience: Patience::default(),
            gone: Box::pin(self.client.gone()),
        };
        loop {
            wait.tables.mark_unchanged();
            let hold = match self.choose(&tried) {
                Choice::Serve(chosen) => match self.dial(chosen, &mut tried).await {
                    Some(found) => return found,
                    None => continue,
                },
                Choice::Http => return Found::Http(None),
                Choice::Refuse(told) => return Found::Nobody(told),
                Choice::Wait(hold) => hold,
            };
            match wait.until_news(&hold).await {
                News::TryAgain => tried.clear(),
                News::ClientGone => return Found::ClientGone,
                News::TooLate => return nobody(too_late(&hold)),
            }
        }
    }
}

/// HTTP is answered when it has asked.
fn nobody(told: Told) -> Found {
    if told.protocol.is_http() { Found::Http(Some(told)) } else { Found::Nobody(told) }
}

/// What ends one round of waiting.
enum News {
    TryAgain,
    ClientGone,
    TooLate,
}

struct Wait<G> {
    tables: watch::Receiver<Arc<RouteTable>>,
    patience: Patience,
    gone: G,
}

impl<G: Future<Output = ()> + Unpin> Wait<G> {
    async fn until_news(&mut self, hold: &Hold) -> News {
        let deadline = self.patience.deadline(hold.limit, Instant::now());
        let tables = &mut self.tables;
        tokio::select! {
            biased;
            () = &mut self.gone => News::ClientGone,
            () = change(tables) => News::TryAgain,
            () = until(deadline) => News::TooLate,
            () = sleep(Duration::from_millis(RETRY_EVERY_MS)), if hold.retry => News::TryAgain,
        }
    }
}

/// Ends with the next table; never when there will be none.
pub(crate) async fn change(tables: &mut watch::Receiver<Arc<RouteTable>>) {
    if tables.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn too_late(hold: &Hold) -> Told {
    let waited = hold.limit.unwrap_or_default();
    Told {
        cause: format!("{} (after a wait of {} s)", hold.told.cause, waited.as_secs_f32()),
        protocol: hold.told.protocol,
    }
}

/// A connection to a target. It begins with this header, where there is one.
///
/// # Errors
///
/// What the system says, or `TimedOut` after `limit`.
pub(crate) async fn dial(addr: SocketAddr, header: Option<&[u8]>, limit: Duration) -> io::Result<TcpStream> {
    let connect = async {
        let mut stream = TcpStream::connect(addr).await?;
        if let Some(header) = header {
            // It is shorter than what a socket takes at first: one segment, as the standard asks for.
            stream.write_all(header).await?;
        }
        io::Result::Ok(stream)
    };
    let stream = timeout(limit, connect).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", limit.as_secs_f32()))
    })??;
    prepare(&stream);
    Ok(stream)
}
