//! The router's handle.

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tambat_model::{RouteTable, ServicePort};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::port::{CountersSnapshot, Open, PortState};
use crate::report::{Reports, RouterReport};
use crate::settings::RouterSettings;
use crate::worker::{Order, worker};

/// A service port with the sockets that hold it.
#[derive(Debug)]
pub struct Listener {
    /// The service port: the key into the route table. (With `-p 0` the sockets' numbers are the kernel's choice; this
    /// is that number.)
    pub port: ServicePort,
    /// Bound and listening: as a rule one on 127.0.0.1 and one on `::1`.
    pub sockets: Vec<TcpListener>,
}

/// A running router. Dropping it closes its listeners and its streams.
#[derive(Debug)]
pub struct Router {
    shared: Arc<Shared>,
    ports: Mutex<BTreeMap<ServicePort, Arc<PortState>>>,
    /// How many connections are open.
    open: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Router {
    /// Starts the router's threads, which accept from these listeners from now on. Connections are routed by the
    /// newest of `tables`; what happens is told to `reports`.
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
        let (idle, orders): (Vec<_>, Vec<_>) =
            (0..settings.workers.get()).map(|_| worker()).collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let shared = Shared { tables, reports: Reports(reports), settings, orders, turn: AtomicUsize::new(0) };
        let mut router = Self {
            shared: Arc::new(shared),
            ports: Mutex::new(BTreeMap::new()),
            open: Arc::default(),
            threads: Vec::with_capacity(idle.len()),
        };
        for (number, worker) in idle.into_iter().enumerate() {
            router.threads.push(worker.start(number, Arc::clone(&router.shared))?);
        }
        for listener in listeners {
            router.add(listener)?;
        }
        Ok(router)
    }

    /// Accepts from one more listener. A second one for the same service port shares its counters and its turns.
    ///
    /// # Errors
    ///
    /// When a socket cannot be made non-blocking.
    pub fn add(&self, listener: Listener) -> io::Result<()> {
        for socket in &listener.sockets {
            socket.set_nonblocking(true)?;
        }
        let port = {
            let mut ports = self.ports();
            let fresh = || Arc::new(PortState::new(listener.port, Arc::clone(&self.open)));
            Arc::clone(ports.entry(listener.port).or_insert_with(fresh))
        };
        for socket in listener.sockets {
            self.shared.order(Order::Listen(socket, Arc::clone(&port)));
        }
        Ok(())
    }

    /// What this service port has carried, and holds now; none: the router does not hold it.
    pub fn counters(&self, port: ServicePort) -> Option<CountersSnapshot> {
        self.ports().get(&port).map(|port| port.snapshot())
    }

    /// Closes the listeners and all streams, and waits until the threads have ended: some milliseconds at most. What
    /// was on its way is lost; to avoid that, wait until nothing is in flight first.
    pub fn shutdown(self) {
        drop(self);
    }

    fn ports(&self) -> MutexGuard<'_, BTreeMap<ServicePort, Arc<PortState>>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for orders in &self.shared.orders {
            let _ = orders.send(Order::Stop);
        }
        for thread in self.threads.drain(..) {
            // One that panicked has ended, too.
            let _ = thread.join();
        }
    }
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tables: watch::Receiver<Arc<RouteTable>>,
    pub(crate) reports: Reports,
    pub(crate) settings: RouterSettings,
    orders: Vec<UnboundedSender<Order>>,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl Shared {
    /// Deals a connection out to a worker.
    pub(crate) fn deal(&self, client: TcpStream, open: Open) {
        self.order(Order::Serve(client, open));
    }

    /// Gives an order to the worker whose turn it is. One that has ended closes what it is given.
    fn order(&self, order: Order) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.orders.len();
        let _ = self.orders[turn].send(order);
    }
}
