//! The router's handle.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tambat_model::{RouteTable, ServicePort, Traffic};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};

use crate::addresses::Addresses;
use crate::datagram::DatagramListener;
use crate::door::Cancels;
use crate::http::router_number;
use crate::listener::{CountersSnapshot, Listener, ListenerKind, ListenerState};
use crate::pauses::Pauses;
use crate::queue::Queues;
use crate::report::{Reports, RouterReport};
use crate::settings::RouterSettings;
use crate::socket::prepare_listener;
use crate::tls::{self, HANDSHAKES_MAX, Task, TlsSettings, Unshaken};
use crate::worker::{self, Order, Scope};

/// How often a draining router looks whether all is done: connections do not tell when they end.
const DRAIN_LOOK_EVERY_MS: u64 = 10;

/// How long streams that are cut may take to end: a little longer than each of them is given.
const CUT_MS: u64 = 1_200;

/// How long the end of a router waits for its last lines to be written: a disk that works takes milliseconds.
const LOG_SYNC_MS: u64 = 1_000;

/// A running router. Dropping it closes its listeners and its connections.
#[derive(Debug)]
pub struct Router {
    shared: Arc<Shared>,
    listeners: Mutex<BTreeMap<ListenerKind, Arc<ListenerState>>>,
    /// Those that were removed, as long as a connection of theirs is there: a drain waits for it, too.
    left: Mutex<Vec<Weak<ListenerState>>>,
    /// How many connections are open.
    open: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    /// The threads that shake hands: none as long as there is no listener with TLS.
    handshakers: Mutex<Vec<JoinHandle<()>>>,
}

impl Router {
    /// Starts the router's threads, which accept from these listeners from now on. Connections and requests are routed
    /// by the newest of `tables`; what happens is told to `reports`.
    ///
    /// # Errors
    ///
    /// When a thread or its runtime cannot be made, or a socket cannot be made non-blocking: for want of file
    /// descriptors or memory.
    pub fn start(
        listeners: Vec<Listener>,
        tables: watch::Receiver<Arc<RouteTable>>,
        reports: UnboundedSender<RouterReport>,
        settings: RouterSettings,
    ) -> io::Result<Self> {
        let (orders, inboxes): (Vec<_>, Vec<_>) = (0..settings.workers.get()).map(|_| unbounded_channel()).unzip();
        let mut router = Self {
            shared: Arc::new(Shared::new(tables, reports, settings, orders)),
            listeners: Mutex::new(BTreeMap::new()),
            left: Mutex::default(),
            open: Arc::default(),
            threads: Vec::with_capacity(inboxes.len()),
            handshakers: Mutex::default(),
        };
        for (number, inbox) in inboxes.into_iter().enumerate() {
            router.threads.push(worker::start(number, inbox, Arc::clone(&router.shared))?);
        }
        for listener in listeners {
            router.add(listener)?;
        }
        Ok(router)
    }

    /// Accepts from one more listener. A second one of the same kind shares its counters, and so do all shared ones.
    ///
    /// # Errors
    ///
    /// When a socket cannot be made non-blocking, or it is the first one with TLS and a thread cannot be made.
    pub fn add(&self, listener: Listener) -> io::Result<()> {
        for socket in &listener.sockets {
            socket.set_nonblocking(true)?;
            // At once: a connection has the options that its listener had when it came.
            prepare_listener(socket);
        }
        if listener.tls.is_some() {
            self.start_handshakers()?;
            if let (ListenerKind::Shared, Some(socket)) = (listener.kind, listener.sockets.first()) {
                self.shared.https_port.store(socket.local_addr()?.port(), Ordering::Relaxed);
            }
        }
        let state = self.state(listener.kind);
        for socket in listener.sockets {
            state.is_at(socket.local_addr()?.port());
            self.shared.listen(socket, Arc::clone(&state), listener.tls.clone());
        }
        Ok(())
    }

    /// Closes the sockets of this listener. Its streams go on to their end, in its name no more, and connections of HTTP until
    /// they are idle, those of one that was taken back before as well: one that is added of the same kind counts anew. There
    /// may be none.
    pub fn remove(&self, kind: ListenerKind) {
        self.forget(kind);
        let gone: Vec<_> = self.left().iter().filter_map(Weak::upgrade).filter(|state| state.kind == kind).collect();
        if !gone.is_empty() {
            gone.iter().for_each(|state| state.goes());
            self.shared.order_all(|| Order::Unlisten(kind));
        }
    }

    /// The same, and gives back its sockets for connections, which go on listening: whoever connects meanwhile is in their
    /// queues. Those for datagrams are closed when this comes back, and their sessions are over. Cancelling it closes all of
    /// them.
    pub async fn take_back(&self, kind: ListenerKind) -> Vec<TcpListener> {
        let mut sockets = Vec::new();
        if self.forget(kind) {
            let (to, mut given) = unbounded_channel();
            self.shared.order_all(|| Order::GiveBack(kind, to.clone()));
            drop(to);
            while let Some(socket) = given.recv().await {
                sockets.push(socket);
            }
        }
        sockets
    }

    /// Takes datagrams from one more listener. One of the same kind for connections shares its counters.
    ///
    /// # Errors
    ///
    /// When a socket cannot be made non-blocking.
    pub fn add_datagrams(&self, listener: DatagramListener) -> io::Result<()> {
        for socket in &listener.sockets {
            socket.set_nonblocking(true)?;
        }
        let state = self.state(listener.kind);
        for socket in listener.sockets {
            state.is_at(socket.local_addr()?.port());
            self.shared.order(self.shared.turn(), Order::Receive(socket, Arc::clone(&state)));
        }
        Ok(())
    }

    /// There is no such listener any more. Was there one?
    fn forget(&self, kind: ListenerKind) -> bool {
        let Some(state) = self.listeners().remove(&kind) else { return false };
        let mut left = self.left();
        left.retain(|left| left.strong_count() > 0);
        left.push(Arc::downgrade(&state));
        true
    }

    /// The state of a listener, which all of this kind share.
    fn state(&self, kind: ListenerKind) -> Arc<ListenerState> {
        let fresh = || Arc::new(ListenerState::new(kind, Arc::clone(&self.open)));
        Arc::clone(self.listeners().entry(kind).or_insert_with(fresh))
    }

    /// What this service port has carried, and holds now; none: the router does not hold it.
    pub fn counters(&self, port: ServicePort) -> Option<CountersSnapshot> {
        self.listeners().get(&ListenerKind::Service(port)).map(|listener| listener.snapshot())
    }

    /// What each listener has carried, and holds now, by what the access log calls it, too: all shared ones are one.
    pub fn listener_counters(&self) -> Vec<(String, CountersSnapshot)> {
        self.listeners().values().map(|listener| (listener.label(), listener.snapshot())).collect()
    }

    /// The requests that no route was found for, or that were refused before one was looked for.
    pub fn unrouted(&self) -> Arc<Traffic> {
        Arc::clone(&self.shared.unrouted)
    }

    /// How many connections are open, at all listeners together.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Closes the listeners and idle connections, lets requests and streams come to their end, and returns when the
    /// last one has, or after `limit`. Streams that are still open then are ended: both sides are told so, and have a
    /// second for it. What is left is closed with the router. Cancelling it stops only the waiting.
    pub async fn drain(&self, limit: Duration) {
        self.drain_those(Scope::All, limit).await;
    }

    /// The same for shared listeners and those of the manifest alone. Service ports go on: an app that finishes a request
    /// may need another one meanwhile. Their connections end as soon as they are idle, too; who needs one opens another.
    pub async fn drain_shared(&self, limit: Duration) {
        self.drain_those(Scope::Shared, limit).await;
    }

    async fn drain_those(&self, scope: Scope, limit: Duration) {
        let unheard = Arc::new(());
        self.shared.order_all(|| Order::Drain(scope, Arc::clone(&unheard)));
        // Until the last worker has heard of it, connections are accepted.
        if self.empties(scope, &unheard, limit).await || limit.is_zero() {
            return;
        }
        self.shared.order_all(|| Order::Cut(scope, Arc::clone(&unheard)));
        self.empties(scope, &unheard, Duration::from_millis(CUT_MS)).await;
    }

    /// Waits until all workers have heard of an order, and nothing is open there, or `limit` has passed. Is that so?
    async fn empties(&self, scope: Scope, unheard: &Arc<()>, limit: Duration) -> bool {
        let start = Instant::now();
        let is_open = || Arc::strong_count(unheard) > 1 || self.open_at(scope) > 0;
        while is_open() && start.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(DRAIN_LOOK_EVERY_MS)).await;
        }
        !is_open()
    }

    /// How many connections are open there.
    fn open_at(&self, scope: Scope) -> usize {
        let there: Vec<_> = self.listeners().values().map(Arc::clone).collect();
        let left: Vec<_> = self.left().iter().filter_map(Weak::upgrade).collect();
        let all = there.iter().chain(&left).filter(|state| scope.has(state.kind));
        all.map(|state| state.snapshot().open).sum()
    }

    /// Closes the listeners and all connections, and waits until the threads have ended: some milliseconds at most. What
    /// was on its way is lost; to avoid that, [`Self::drain`] first.
    pub fn shutdown(self) {
        drop(self);
    }

    /// As many threads shake hands as there are workers.
    fn start_handshakers(&self) -> io::Result<()> {
        let mut threads = self.handshakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !threads.is_empty() {
            return Ok(());
        }
        let (tasks, inboxes): (Vec<_>, Vec<_>) = self.shared.orders.iter().map(|_| unbounded_channel()).unzip();
        for (number, inbox) in inboxes.into_iter().enumerate() {
            threads.push(tls::start(number, inbox, Arc::clone(&self.shared))?);
        }
        // Nobody else sets it: the threads are locked.
        let _ = self.shared.handshakers.set(tasks);
        Ok(())
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<ListenerKind, Arc<ListenerState>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Vec<Weak<ListenerState>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.order_all(|| Order::Stop);
        self.shared.stop_handshakers();
        let handshakers = self.handshakers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in self.threads.drain(..).chain(handshakers.drain(..)) {
            // One that panicked has ended, too.
            let _ = thread.join();
        }
        // What the workers noted last is on its way to the log's own thread.
        if let Some(access) = &self.shared.settings.access {
            access.sync(Duration::from_millis(LOG_SYNC_MS));
        }
    }
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tables: watch::Receiver<Arc<RouteTable>>,
    pub(crate) reports: Reports,
    pub(crate) settings: RouterSettings,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) pauses: Arc<Pauses>,
    pub(crate) unrouted: Arc<Traffic>,
    pub(crate) queues: Queues,
    /// Where sessions of `PostgreSQL` are.
    pub(crate) cancels: Arc<Cancels>,
    /// How many pipes its workers have.
    pub(crate) pipes: Arc<AtomicUsize>,
    /// Tells this router from others.
    pub(crate) number: u64,
    /// As many handshakes as have a permit are under way.
    pub(crate) handshake_room: Arc<Semaphore>,
    orders: Vec<UnboundedSender<Order>>,
    handshakers: OnceLock<Vec<UnboundedSender<Task>>>,
    /// The port of a shared listener with TLS; 0: there is none.
    https_port: AtomicU16,
    /// Which thread shakes hands next. With one turn for both, each would always deal to the same.
    handshaker_turn: AtomicUsize,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(
        tables: watch::Receiver<Arc<RouteTable>>,
        reports: UnboundedSender<RouterReport>,
        settings: RouterSettings,
        orders: Vec<UnboundedSender<Order>>,
    ) -> Self {
        Self {
            tables,
            reports: Reports(reports),
            settings,
            addresses: Arc::default(),
            pauses: Arc::default(),
            unrouted: Arc::default(),
            queues: Queues::default(),
            cancels: Arc::default(),
            pipes: Arc::default(),
            number: router_number(),
            handshake_room: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            orders,
            handshakers: OnceLock::new(),
            https_port: AtomicU16::new(0),
            handshaker_turn: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// The worker whose turn it is.
    pub(crate) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.orders.len()
    }

    /// Gives an order to a worker. One that has ended closes what it is given.
    pub(crate) fn order(&self, worker: usize, order: Order) {
        let _ = self.orders[worker].send(order);
    }

    /// Where names are served over TLS.
    pub(crate) fn https_port(&self) -> Option<u16> {
        Some(self.https_port.load(Ordering::Relaxed)).filter(|port| *port != 0)
    }

    /// Accepts from this socket.
    fn listen(&self, socket: TcpListener, state: Arc<ListenerState>, tls: Option<Arc<TlsSettings>>) {
        let tls = match (tls, state.kind) {
            // Who wants to shake hands is known once it has been heard.
            (Some(settings), ListenerKind::Named(_)) => {
                state.may_end_tls(settings);
                None
            }
            (tls, _) => tls,
        };
        self.order(self.turn(), Order::Listen(socket, state, tls));
    }

    /// Has a thread shake hands. What comes when there is none any more is closed.
    pub(crate) fn shake(&self, unshaken: Unshaken) {
        if let Some(handshakers) = self.handshakers.get() {
            let turn = self.handshaker_turn.fetch_add(1, Ordering::Relaxed) % handshakers.len();
            let _ = handshakers[turn].send(Task::Shake(unshaken));
        }
    }

    fn stop_handshakers(&self) {
        for handshaker in self.handshakers.get().into_iter().flatten() {
            let _ = handshaker.send(Task::Stop);
        }
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        for orders in &self.orders {
            let _ = orders.send(order());
        }
    }
}
