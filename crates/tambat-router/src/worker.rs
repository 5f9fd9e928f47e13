//! A worker: a thread with a runtime of its own, that serves the connections it is dealt.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tambat_model::{ProxyProtocol, Target};
use tambat_wire::http1::Limits;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::spawn_local;

use crate::accept::Accepting;
use crate::access::AccessBuffer;
use crate::arrival::Arrival;
use crate::connection;
use crate::cuts::{self, Cuts};
use crate::datagram::{Hub, Reception};
use crate::deadlines::Deadlines;
use crate::door::say_last;
use crate::h2c::Links;
use crate::http::{Clock, Pseudonyms, Spare};
use crate::http2::{KnownFields, SpareBytes};
use crate::listener::{ListenerKind, ListenerState, Open};
use crate::pauses::WaitingRoom;
use crate::pool::{Own, Pool};
use crate::queue::KnownQueues;
use crate::report::RouterReport;
use crate::router::Shared;
use crate::splice::Pipes;
use crate::tables::Tables;
use crate::tls::{Handshake, Here, TlsSettings};
use crate::transport::Transport;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Accept from this socket.
    Listen(TcpListener, Arc<ListenerState>, Option<Arc<TlsSettings>>),
    /// Take datagrams from this socket.
    Receive(UdpSocket, Arc<ListenerState>),
    /// Accept and take nothing more there.
    Unlisten(ListenerKind),
    /// The same at once, sessions of datagrams included, and give the sockets for connections back. Dropped when all of
    /// them are closed or given back.
    GiveBack(ListenerKind, UnboundedSender<TcpListener>),
    /// Serve these connections.
    Serve(Vec<Accepted>),
    /// Accept nothing more there, and end connections as soon as they are idle. Dropped when that has begun.
    Drain(Scope, Arc<()>),
    /// End the streams there: both sides are told. Dropped when that has begun.
    Cut(Scope, Arc<()>),
    /// Close everything and end.
    Stop,
}

/// Which listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that names share, and those of the manifest.
    Shared,
    /// All.
    All,
}

impl Scope {
    /// Is this one of them?
    pub(crate) fn has(self, kind: ListenerKind) -> bool {
        self == Self::All || kind.service_port().is_none()
    }
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) client: std::net::TcpStream,
    pub(crate) arrival: Arrival,
    pub(crate) open: Open,
    /// It has TLS on it.
    pub(crate) handshake: Option<Box<Handshake>>,
}

/// What the connections of one thread share. Nothing of it is locked.
#[derive(Debug)]
pub(crate) struct Worker {
    /// From 0.
    pub(crate) number: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tables: Tables,
    /// Borrowed within one poll, never across an `await`.
    pub(crate) tools: RefCell<Tools>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) here: Here,
    pub(crate) cuts: Cuts,
    /// Connections whose addresses pause.
    pub(crate) waiting_room: WaitingRoom,
    pub(crate) pool: Pool,
    /// Connections of HTTP/2, which many requests share.
    pub(crate) links: Rc<Links>,
    pub(crate) spare: Spare,
    /// For connections of HTTP/2 from clients.
    pub(crate) spare_bytes: SpareBytes,
    pub(crate) known_fields: KnownFields,
    pub(crate) queues: KnownQueues,
    pub(crate) clock: Clock,
    pub(crate) pseudonyms: Pseudonyms,
    /// Of heads.
    pub(crate) limits: Limits,
    pub(crate) access: Option<Rc<AccessBuffer>>,
    /// When a connection without its PROXY header was reported last.
    pub(crate) unintroduced: Seldom,
    /// When it was reported last that a client of HTTP/2 was refused something.
    pub(crate) refused_http2: Seldom,
    /// Do connections end as soon as they are idle?
    pub(crate) is_draining: Cell<bool>,
}

/// When something was done last that is not done each time.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Cell<Option<Instant>>);

impl Seldom {
    /// Has it been done for so long not any more? If so, it counts as done now.
    pub(crate) fn is_due(&self, now: Instant, every: Duration) -> bool {
        let is_due = self.0.get().is_none_or(|last| now.saturating_duration_since(last) >= every);
        if is_due {
            self.0.set(Some(now));
        }
        is_due
    }
}

/// What bytes pass through.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// What is read goes here; made at the first connection.
    pub(crate) buffer: Vec<u8>,
    /// What is to be sent before bytes of the buffer.
    pub(crate) out: Vec<u8>,
    /// For long runs of bytes.
    pub(crate) pipes: Pipes,
}

/// The thread's buffer: 64 KiB took about a third more processor time a byte.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

impl Tools {
    /// Makes the buffer, where it has not been made yet.
    pub(crate) fn ready(&mut self) -> &mut Self {
        self.buffer.resize(BUFFER_BYTES, 0);
        self
    }
}

impl Worker {
    pub(crate) fn new(number: usize, shared: Arc<Shared>) -> Rc<Self> {
        let deadlines = Deadlines::new();
        Rc::new(Self {
            number,
            tables: Tables::new(shared.tables.clone()),
            tools: RefCell::new(Tools { pipes: Pipes::new(&shared.pipes), ..Tools::default() }),
            pool: Pool::new(&deadlines, shared.settings.target_idle),
            links: Links::new(&deadlines, shared.settings.target_idle),
            deadlines,
            here: Here::default(),
            cuts: Cuts::default(),
            waiting_room: WaitingRoom::default(),
            spare: Spare::default(),
            spare_bytes: SpareBytes::default(),
            known_fields: KnownFields::default(),
            queues: KnownQueues::default(),
            clock: Clock::new(),
            pseudonyms: Pseudonyms::new(shared.number),
            limits: Limits::default(),
            access: shared.settings.access.clone().map(|log| Rc::new(AccessBuffer::new(log))),
            unintroduced: Seldom::default(),
            refused_http2: Seldom::default(),
            is_draining: Cell::new(false),
            shared,
        })
    }

    /// Deals a connection out, to this worker or another.
    pub(crate) fn deal(self: &Rc<Self>, accepted: Accepted) {
        match self.shared.turn() {
            turn if turn == self.number => self.serve(accepted),
            turn => self.shared.order(turn, Order::Serve(vec![accepted])),
        }
    }

    /// Serves a connection.
    pub(crate) fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { client, arrival, open, handshake } = accepted;
        // A socket that cannot be watched, for want of memory, is closed.
        let Ok(client) = TcpStream::from_std(client) else { return };
        match handshake {
            None => connection::spawn(client, arrival, open, self),
            Some(handshake) => drop(spawn_local(begin_secured(client, arrival, open, *handshake, Rc::clone(self)))),
        }
    }

    /// A kept connection to this target: one that anybody may use, or, where the target is told whom a connection is for,
    /// that of this client.
    pub(crate) fn kept(
        &self,
        target: &Target,
        proxy_protocol: Option<ProxyProtocol>,
        own: Option<&Own>,
    ) -> Option<TcpStream> {
        match proxy_protocol {
            None => self.pool.take(target),
            Some(_) => own?.take(target),
        }
    }

    /// Do connections at this listener end as soon as they are idle?
    pub(crate) fn dismisses(&self, listener: &ListenerState) -> bool {
        self.is_draining.get() || listener.is_gone()
    }

    /// Reports a target that could not be connected to, and says what it did.
    pub(crate) fn unreached(&self, target: &Target, error: &io::Error) -> String {
        let (name, generation, addr) = (target.name.clone(), target.generation, target.addr);
        if error.kind() == io::ErrorKind::ConnectionRefused {
            let said = format!("{name} refused the connection");
            self.shared.reports.send(RouterReport::Refused { target: name, generation, addr });
            return said;
        }
        let said = format!("cannot connect to {name}: {error}");
        if is_of_this_side(error) {
            return said;
        }
        let cause = error.to_string();
        self.shared.reports.send(RouterReport::Unreachable { target: name, generation, addr, cause });
        said
    }
}

/// Serves a connection that has almost shaken hands.
async fn begin_secured(client: TcpStream, arrival: Arrival, open: Open, mut handshake: Handshake, worker: Rc<Worker>) {
    let last = handshake.last.take();
    let Some(client) = handshake.finish(client).await else { return };
    let client = Transport::Tls(Box::new(client));
    match last {
        None => connection::begin(client, arrival, open, &worker),
        Some(words) => say_last(&client, &words, &worker).await,
    }
}

/// Is it we who cannot connect, for want of descriptors, memory or ports? The target has nothing to do with that.
pub(crate) fn is_of_this_side(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::EADDRNOTAVAIL | Errno::EAGAIN)
    )
}

/// Starts a worker's thread. When it ends, all its sockets are closed.
pub(crate) fn start(
    number: usize,
    mut inbox: UnboundedReceiver<Order>,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    // The runtime cannot leave its thread, so that only there it is known whether it could be made.
    let (made, is_made) = sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("router-{number}")).spawn(move || {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return drop(made.send(Err(error))),
        };
        let _ = made.send(Ok(()));
        runtime.block_on(obey(&mut inbox, Worker::new(number, shared)));
    })?;
    is_made.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has ended")))?;
    Ok(thread)
}

/// So many tasks have their turn before the sockets are looked at again, if all of them are ready: less than a millisecond
/// or two of work. Each look has its price, and what comes of many streams between two of them leaves in one piece.
const TASKS_PER_LOOK: u32 = 256;

/// The runtime of one thread.
pub(crate) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .event_interval(TASKS_PER_LOOK)
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
}

/// Closes kept connections that are of no use any more: those to targets that a new table has no more at once.
async fn look_after_pool(worker: Rc<Worker>) {
    let mut tables = worker.tables.subscribe();
    let forget = async {
        while tables.changed().await.is_ok() {
            worker.pool.forget_closed();
            worker.links.forget_closed();
        }
        std::future::pending::<()>().await;
    };
    tokio::join!(forget, worker.pool.run(), worker.links.run());
}

async fn obey(inbox: &mut UnboundedReceiver<Order>, worker: Rc<Worker>) {
    spawn_local(Rc::clone(&worker.deadlines).run());
    spawn_local(Rc::clone(&worker.deadlines).look_again());
    spawn_local(look_after_pool(Rc::clone(&worker)));
    spawn_local(cuts::look_after(Rc::clone(&worker)));
    if let Some(access) = &worker.access {
        spawn_local(Rc::clone(access).watch());
    }
    let mut accepting = Accepting::default();
    let mut receiving: Vec<Reception> = Vec::new();
    while let Some(order) = inbox.recv().await {
        match order {
            // One that comes too late is closed.
            Order::Listen(listener, state, tls) if !worker.is_draining.get() => {
                accepting.begin(listener, state, tls, &worker);
            }
            Order::Receive(socket, state) if !worker.is_draining.get() => {
                receiving.retain(|reception| !reception.is_over());
                receiving.extend(Hub::begin(socket, state, &worker));
            }
            Order::Listen(..) | Order::Receive(..) => {}
            Order::Unlisten(kind) => {
                accepting.end(|of| of == kind);
                receiving.extract_if(.., |reception| reception.kind() == kind).for_each(|reception| reception.close());
                worker.deadlines.wake_all();
            }
            Order::GiveBack(kind, to) => {
                accepting.give_back(kind, &to);
                for reception in receiving.extract_if(.., |reception| reception.kind() == kind) {
                    let to = to.clone();
                    spawn_local(async move {
                        reception.end().await;
                        drop(to);
                    });
                }
            }
            Order::Serve(all) => all.into_iter().for_each(|accepted| worker.serve(accepted)),
            Order::Drain(scope, unheard) => {
                accepting.end(|kind| scope.has(kind));
                Reception::drain_all(&receiving, |kind| scope.has(kind));
                worker.is_draining.set(true);
                worker.waiting_room.dismiss(scope);
                worker.deadlines.wake_all();
                drop(unheard);
            }
            Order::Cut(scope, unheard) => {
                worker.cuts.cut(scope);
                worker.deadlines.wake_all();
                drop(unheard);
            }
            Order::Stop => break,
        }
    }
}

#[cfg(test)]
impl Worker {
    /// One of a router with these routes, which change no more.
    pub(crate) fn with(table: Arc<tambat_model::RouteTable>) -> Rc<Self> {
        let (_tables, seen) = tokio::sync::watch::channel(table);
        let (reports, _seen) = tokio::sync::mpsc::unbounded_channel();
        let settings = crate::settings::RouterSettings::default();
        Self::new(0, Arc::new(Shared::new(seen, reports, settings, Vec::new())))
    }
}
