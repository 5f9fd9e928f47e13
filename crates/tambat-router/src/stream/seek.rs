//! In search of a stream's target: one is dialled, another is tried, or one is waited for.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tambat_model::{ErrorCode, Route, RouteTable, Target};
use tambat_wire::door::postgres::{SSL_REQUEST, SslAnswer, ssl_answer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use crate::arrival::Arrival;
use crate::choice::{Choice, Chosen, FULL_LIMIT_S, Hold, Patience, Told, Tried, What, choose};
use crate::listener::ListenerState;
use crate::queue::{Counted, Ticket};
use crate::report::RouterReport;
use crate::socket::prepare;
use crate::transport::Transport;
use crate::wanted::Wanted;
use crate::worker::Worker;

/// How often the targets are tried again that did not take a connection while the table says that they serve: the
/// table changes as a rule, but a target that comes back before anybody looked changes nothing.
pub(crate) const RETRY_EVERY_MS: u64 = 1_000;

/// What a search came to.
pub(super) enum Found {
    Target(Upstream),
    /// HTTP is spoken: each of its requests finds its own target. Or all of them are told that there was none in time.
    Http(Option<Told>),
    Nobody(Told),
    ClientGone,
}

/// A connection to a target.
pub(super) struct Upstream {
    pub(super) stream: Transport,
    pub(super) route: Arc<Route>,
    pub(super) target: Arc<Target>,
    /// The proof that the stream is counted there.
    _counted: Counted,
}

/// A connection in search of its target.
pub(super) struct Seeker<'a> {
    pub(super) client: &'a Transport,
    pub(super) arrival: &'a Arrival,
    pub(super) wanted: &'a Wanted,
    pub(super) listener: &'a Arc<ListenerState>,
    pub(super) worker: &'a Worker,
}

/// What a look at the table says.
enum Look {
    Serve(Chosen, Counted),
    Http,
    Refuse(Told),
    Wait(Hold),
}

impl Seeker<'_> {
    pub(super) async fn seek(&self) -> Found {
        let mut tried = Tried::default();
        loop {
            match self.look(&tried, false) {
                Look::Serve(chosen, counted) => {
                    if let Some(upstream) = self.dial(chosen, counted, &mut tried).await {
                        return Found::Target(upstream);
                    }
                }
                Look::Http => return Found::Http(None),
                Look::Refuse(told) => return Found::Nobody(told),
                // Boxed: few connections come to this, and none should be as big as if it did.
                Look::Wait(hold) => return Box::pin(self.wait(hold, tried)).await,
            }
        }
    }

    /// Who serves it now. Who stands in the queue comes before who has just come.
    fn look(&self, tried: &Tried, stands_in_queue: bool) -> Look {
        let client = self.arrival.peer.ip();
        match choose(&self.worker.tables.newest(), self.listener.kind, self.wanted, tried, client) {
            Choice::Serve(chosen, admitted) => {
                let queue = self.worker.queues.of(&chosen.route, &self.worker.shared.queues);
                if !stands_in_queue && queue.as_ref().is_some_and(|queue| queue.is_waited_in()) {
                    let cause = format!("{} cannot be reached: others wait for it already", chosen.route.name);
                    let told = Told { protocol: chosen.route.protocol, code: ErrorCode::QueueFull, cause };
                    let limit = chosen.route.http.wait.unwrap_or(Duration::from_secs(FULL_LIMIT_S));
                    return Look::Wait(Hold { limit: Some(limit), what: What::Room, told });
                }
                Look::Serve(chosen, Counted::new(admitted, queue.as_ref()))
            }
            Choice::Http => Look::Http,
            Choice::Refuse(told) => Look::Refuse(told),
            Choice::Wait(hold) => Look::Wait(hold),
        }
    }

    /// The target's side of the connection; none: it was not to be had, and that is noted.
    async fn dial(&self, chosen: Chosen, counted: Counted, tried: &mut Tried) -> Option<Upstream> {
        let Chosen { route, target } = chosen;
        let id = || self.worker.clock.request_id(Instant::now());
        let header = route.proxy_protocol.map(|version| match self.wanted {
            // Of a handshake that is not ours this is all that is known.
            Wanted::Passed(name) | Wanted::PassedOnRequest(name) if !name.is_empty() => {
                self.arrival.calling(name).header(version, self.client, &id())
            }
            _ => self.arrival.header(version, self.client, &id()),
        });
        let limit = route.connect.unwrap_or(self.worker.shared.settings.connect_timeout);
        let dialled = match self.wanted {
            Wanted::PassedOnRequest(_) => dial_for_tls(target.addr, header.as_deref(), limit).await,
            _ => dial(target.addr, header.as_deref(), limit).await,
        };
        match dialled {
            Ok(stream) => Some(Upstream { stream: Transport::Tcp(stream), route, target, _counted: counted }),
            Err(error) => {
                let what = self.worker.unreached(&target, &error);
                match error.kind() {
                    io::ErrorKind::Unsupported => tried.push_hopeless(target.addr, what),
                    _ => tried.push(target.addr, what),
                }
                counted.for_nothing();
                None
            }
        }
    }

    /// Waits for a table that has a target for it, or for one of its targets.
    async fn wait(&self, first: Hold, mut tried: Tried) -> Found {
        let max = self.worker.shared.settings.waiting_max;
        let Some(_waits) = self.listener.waits(max) else {
            let cause = format!("{} (and {max} connections wait for it already)", first.told.cause);
            return nobody(Told { code: ErrorCode::QueueFull, cause, ..first.told });
        };
        if first.what != What::Room {
            let route = self.route().map(|route| route.name.clone()).unwrap_or_default();
            let port = self.listener.kind.service_port();
            self.worker.shared.reports.send(RouterReport::Waiting { port, route });
        }
        let mut wait = Wait {
            tables: self.worker.tables.subscribe(),
            patience: Patience::default(),
            gone: Box::pin(self.client.gone()),
            ticket: None,
        };
        loop {
            wait.tables.mark_unchanged();
            let hold = match self.look(&tried, wait.ticket.is_some()) {
                Look::Serve(chosen, counted) => match self.dial(chosen, counted, &mut tried).await {
                    Some(upstream) => {
                        wait.ticket.into_iter().for_each(Ticket::served);
                        return Found::Target(upstream);
                    }
                    None => continue,
                },
                Look::Http => return Found::Http(None),
                Look::Refuse(told) => return Found::Nobody(told),
                Look::Wait(hold) => hold,
            };
            if hold.what == What::Room && wait.ticket.is_none() {
                let Some(ticket) = self.enter_queue() else {
                    let cause = format!("{} (and as many connections wait for it as may)", hold.told.cause);
                    return nobody(Told { code: ErrorCode::QueueFull, cause, ..hold.told });
                };
                // Something may have been freed while nobody was in the queue.
                if wait.ticket.insert(ticket).is_first() {
                    continue;
                }
            }
            match wait.until_news(&hold).await {
                News::TryAgain => tried.clear(),
                News::Freed => {}
                News::ClientGone => return Found::ClientGone,
                News::TooLate => return nobody(too_late(&hold)),
            }
        }
    }

    /// The route by which it is found now.
    pub(super) fn route(&self) -> Option<Arc<Route>> {
        self.wanted.route(&self.worker.tables.newest(), self.listener.kind).map(Arc::clone)
    }

    fn enter_queue(&self) -> Option<Ticket> {
        let route = self.route()?;
        self.worker.queues.of(&route, &self.worker.shared.queues)?.enter(&route)
    }
}

/// HTTP is answered when it has asked.
fn nobody(told: Told) -> Found {
    if told.protocol.is_http() { Found::Http(Some(told)) } else { Found::Nobody(told) }
}

/// What ends one round of waiting.
enum News {
    TryAgain,
    /// One of those that were full has room.
    Freed,
    ClientGone,
    TooLate,
}

struct Wait<G> {
    tables: watch::Receiver<Arc<RouteTable>>,
    patience: Patience,
    gone: G,
    ticket: Option<Ticket>,
}

impl<G: Future<Output = ()> + Unpin> Wait<G> {
    async fn until_news(&mut self, hold: &Hold) -> News {
        let deadline = self.patience.deadline(hold.limit, Instant::now());
        let (tables, ticket) = (&mut self.tables, &mut self.ticket);
        let freed = async {
            match ticket {
                Some(ticket) => ticket.freed().await,
                None => pending().await,
            }
        };
        // The deadline comes before what could go on for ever.
        tokio::select! {
            biased;
            () = &mut self.gone => News::ClientGone,
            () = until(deadline) => News::TooLate,
            () = change(tables) => News::TryAgain,
            () = freed => News::Freed,
            // Of requests that end at a full target of another route nobody is told.
            () = sleep(Duration::from_millis(RETRY_EVERY_MS)), if hold.what != What::Table => News::TryAgain,
        }
    }
}

/// Ends with the next table; never when there will be none.
pub(crate) async fn change(tables: &mut watch::Receiver<Arc<RouteTable>>) {
    if tables.changed().await.is_err() {
        pending::<()>().await;
    }
}

pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

fn too_late(hold: &Hold) -> Told {
    let waited = hold.limit.unwrap_or_default();
    Told { cause: format!("{} (after a wait of {} s)", hold.told.cause, waited.as_secs_f32()), ..hold.told }
}

/// The same to a `PostgreSQL` server, that has agreed to a handshake.
///
/// # Errors
///
/// Also what it said in place of that: `Unsupported`, if it has no TLS.
async fn dial_for_tls(addr: SocketAddr, header: Option<&[u8]>, limit: Duration) -> io::Result<TcpStream> {
    let mut stream = dial(addr, header, limit).await?;
    let agree = async {
        stream.write_all(&SSL_REQUEST).await?;
        let mut answer = [0];
        stream.read_exact(&mut answer).await?;
        match ssl_answer(&answer) {
            SslAnswer::Yes => Ok(stream),
            SslAnswer::No(said) => Err(io::Error::new(io::ErrorKind::Unsupported, format!("it {said}"))),
            SslAnswer::Else(said) => Err(io::Error::other(format!("it {said}"))),
            SslAnswer::Incomplete => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    timeout(limit, agree).await.map_err(|_| {
        let cause = format!("no answer to its wish for TLS within {} s", limit.as_secs_f32());
        io::Error::new(io::ErrorKind::TimedOut, cause)
    })?
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
    prepare(&stream, addr);
    Ok(stream)
}
