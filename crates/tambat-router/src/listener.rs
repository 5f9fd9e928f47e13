//! A listener as the router has it: its cursor and its counters, which outlive every route table.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tambat_model::{ListenAddr, ServicePort, Traffic};

use crate::addresses::AddressCount;
use crate::tls::{HandshakeCounters, HandshakeFailure, TlsSettings};

/// What decides where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerKind {
    /// The service port it arrives at: the key into the route table. (With `-p 0` the sockets' numbers are the kernel's
    /// choice; this is that number.)
    Service(ServicePort),
    /// The hostname and path of each request: HTTP only.
    Shared,
    /// How its client begins, and the name that it says, at this listener of the manifest: the key into the route table.
    /// (As it is written: where that is port 0 the socket's number is the kernel's choice.)
    Named(ListenAddr),
}

impl ListenerKind {
    /// As metrics and the access log call it: where it is to be found, or, of shared ones, by what. `port`: the one of its
    /// sockets, which is the kernel's choice where it is written as 0.
    pub(crate) fn label(self, port: u16) -> String {
        match self {
            Self::Service(port) => format!("localhost:{port}"),
            Self::Shared => "names".to_owned(),
            Self::Named(at) if at.get().port() == 0 => SocketAddr::new(at.get().ip(), port).to_string(),
            Self::Named(at) => at.to_string(),
        }
    }

    /// The service port, where it is one.
    pub fn service_port(self) -> Option<ServicePort> {
        match self {
            Self::Service(port) => Some(port),
            Self::Shared | Self::Named(_) => None,
        }
    }
}

impl fmt::Display for ListenerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(port) => write!(f, "port {port}"),
            Self::Shared => f.write_str("a shared listener"),
            Self::Named(at) => write!(f, "{at}"),
        }
    }
}

/// An address the router accepts on, with the sockets that hold it.
#[derive(Debug)]
pub struct Listener {
    /// What decides where its connections go.
    pub kind: ListenerKind,
    /// Bound and listening: as a rule one on 127.0.0.1 and one on `::1`.
    pub sockets: Vec<TcpListener>,
    /// Its connections begin with a TLS handshake, by these settings; none: they do not. At a listener of the manifest
    /// (`Named`) some of them may: the route table says which.
    pub tls: Option<Arc<TlsSettings>>,
}

/// What a listener has carried since the router started, and holds now. The figures are read one by one: while
/// connections come and go they need not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountersSnapshot {
    /// Connections accepted.
    pub connections: u64,
    /// Of these, open now, waiting ones included.
    pub open: usize,
    /// Connections and requests that wait for a target now.
    pub waiting: usize,
    /// Connections and requests turned away with a cause.
    pub refused: u64,
    /// Bytes received from clients.
    pub bytes_in: u64,
    /// Bytes received from targets.
    pub bytes_out: u64,
    /// Connections that had to wait because others of their address had flooded the router.
    pub paused: u64,
    /// How often accepting was put off for want of file descriptors or memory, or of room.
    pub accept_pauses: u64,
    /// TLS handshakes that came to their end.
    pub handshakes: u64,
    /// TLS handshakes that came to nothing, in the order of [`HandshakeFailure::ALL`].
    pub handshakes_failed: [u64; HandshakeFailure::ALL.len()],
    /// TLS handshakes that are under way.
    pub handshakes_under_way: usize,
}

/// A listener's cursor and counters. All of it is relaxed: no figure says anything about another.
#[derive(Debug)]
pub(crate) struct ListenerState {
    pub(crate) kind: ListenerKind,
    /// That of its sockets.
    port: OnceLock<u16>,
    /// There is no such listener any more.
    is_gone: AtomicBool,
    pub(crate) refused: AtomicU64,
    pub(crate) paused: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) accept_pauses: AtomicU64,
    pub(crate) handshakes: HandshakeCounters,
    /// By what handshakes end at a listener of the manifest, where they may.
    tls: OnceLock<Arc<TlsSettings>>,
    connections: AtomicU64,
    open: AtomicUsize,
    waiting: AtomicUsize,
    /// Open at all listeners together.
    all_open: Arc<AtomicUsize>,
}

impl ListenerState {
    pub(crate) fn new(kind: ListenerKind, all_open: Arc<AtomicUsize>) -> Self {
        Self {
            kind,
            port: OnceLock::new(),
            is_gone: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            paused: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            accept_pauses: AtomicU64::new(0),
            handshakes: HandshakeCounters::default(),
            tls: OnceLock::new(),
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            all_open,
        }
    }

    pub(crate) fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            connections: self.connections.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            paused: self.paused.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            accept_pauses: self.accept_pauses.load(Ordering::Relaxed),
            handshakes: self.handshakes.done.load(Ordering::Relaxed),
            handshakes_failed: self.handshakes.failed.each_ref().map(|failed| failed.load(Ordering::Relaxed)),
            handshakes_under_way: self.handshakes.under_way.load(Ordering::Relaxed),
        }
    }

    /// One of its sockets is at this port, and so are all others.
    pub(crate) fn is_at(&self, port: u16) {
        let _ = self.port.set(port);
    }

    /// Is there no such listener any more? Then nobody is routed to by whatever comes on its connections.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// From now on there is none.
    pub(crate) fn goes(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    /// As metrics call it.
    pub(crate) fn label(&self) -> String {
        self.kind.label(self.port.get().copied().unwrap_or_default())
    }

    /// By what handshakes end, where only some of its connections begin with one.
    pub(crate) fn tls(&self) -> Option<&Arc<TlsSettings>> {
        self.tls.get()
    }

    /// From now on, and for good, they end by these.
    pub(crate) fn may_end_tls(&self, settings: Arc<TlsSettings>) {
        let _ = self.tls.set(settings);
    }

    /// How many connections are open at all listeners together.
    pub(crate) fn all_open(&self) -> usize {
        self.all_open.load(Ordering::Relaxed)
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub(crate) fn opened(self: &Arc<Self>, port: u16, address: Option<AddressCount>) -> Open {
        self.open(port, First::Anything, address)
    }

    /// The same, of one that has to begin with a PROXY header: whose it is stands there.
    /// Behind it comes TLS, where there are settings for that.
    pub(crate) fn opened_by_proxy(self: &Arc<Self>, port: u16, tls: Option<Arc<TlsSettings>>) -> Open {
        self.open(port, First::ProxyHeader(tls), None)
    }

    fn open(self: &Arc<Self>, port: u16, first: First, address: Option<AddressCount>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.all_open.fetch_add(1, Ordering::Relaxed);
        Open { listener: Arc::clone(self), port, is_counted: true, first, address }
    }

    /// A connection waits until the guard is dropped; none: `max` of them wait already.
    pub(crate) fn waits(self: &Arc<Self>, max: usize) -> Option<Waits> {
        let waits = Waits { listener: Arc::clone(self), traffic: None };
        (self.waiting.fetch_add(1, Ordering::Relaxed) < max).then_some(waits)
    }

    /// A request waits for this process port; none: `max` of its requests wait already. Those for another one at the same
    /// listener are none of its business.
    pub(crate) fn waits_for(self: &Arc<Self>, traffic: &Arc<Traffic>, max: usize) -> Option<Waits> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waits = Waits { listener: Arc::clone(self), traffic: Some(Arc::clone(traffic)) };
        (traffic.wait() < max).then_some(waits)
    }
}

/// An open connection, counted: at its listener, and at its client's address where that is limited.
#[derive(Debug)]
pub(crate) struct Open {
    listener: Arc<ListenerState>,
    port: u16,
    /// Is it a connection, and not one of the streams on it?
    is_counted: bool,
    first: First,
    address: Option<AddressCount>,
}

/// What a connection has to begin with. Decided before its first byte: nothing is guessed.
#[derive(Debug)]
pub(crate) enum First {
    /// What its client says.
    Anything,
    /// A PROXY header, from whoever has connected for the client, and then perhaps TLS.
    ProxyHeader(Option<Arc<TlsSettings>>),
}

impl Open {
    pub(crate) fn listener(&self) -> &Arc<ListenerState> {
        &self.listener
    }

    /// The number it was accepted at.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it has to begin with.
    pub(crate) fn first(&self) -> &First {
        &self.first
    }

    /// Its client is known now, and counted at its address where that is limited.
    pub(crate) fn is_by(&mut self, address: Option<AddressCount>) {
        self.address = address;
    }

    /// The same for a stream on it, which is no connection of its own.
    pub(crate) fn of_a_stream(&self) -> Self {
        Self {
            listener: Arc::clone(&self.listener),
            port: self.port,
            is_counted: false,
            first: First::Anything,
            address: None,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.all_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A waiting connection or request, counted.
#[derive(Debug)]
pub(crate) struct Waits {
    listener: Arc<ListenerState>,
    /// Of the process port that it waits for, where there is one to choose.
    traffic: Option<Arc<Traffic>>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.listener.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(traffic) = &self.traffic {
            traffic.wait_no_more();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_wait_for_one_process_port_leave_room_for_others() {
        let listener = Arc::new(ListenerState::new(ListenerKind::Shared, Arc::default()));
        let (dead, well) = (Arc::<Traffic>::default(), Arc::<Traffic>::default());
        let waiting: Vec<Waits> = (0..3).map(|_| listener.waits_for(&dead, 3).unwrap()).collect();
        assert!(listener.waits_for(&dead, 3).is_none());
        let other = listener.waits_for(&well, 3).unwrap();
        assert_eq!(listener.snapshot().waiting, 4);
        drop((waiting, other));
        assert_eq!(listener.snapshot().waiting, 0);
        assert!(listener.waits_for(&dead, 1).is_some());
    }

    #[test]
    fn what_waits_and_what_is_open_is_counted_and_bounded() {
        let all = Arc::new(AtomicUsize::new(0));
        let new = |kind| Arc::new(ListenerState::new(kind, Arc::clone(&all)));
        let port = new(ListenerKind::Service(5_000_u16.try_into().unwrap()));
        let other = new(ListenerKind::Shared);
        let elsewhere = other.opened(7_080, None);
        let open = port.opened(5_000, None);
        let first = port.waits(1);
        assert!(first.is_some() && port.waits(1).is_none());
        let now = port.snapshot();
        assert_eq!((now.connections, now.open, now.waiting), (1, 1, 1));
        assert_eq!((port.all_open(), other.all_open()), (2, 2));
        drop((open, first));
        let now = port.snapshot();
        assert_eq!((now.connections, now.open, now.waiting, port.all_open()), (1, 0, 0, 1));
        drop(elsewhere);
        assert_eq!(port.all_open(), 0);
        assert!(port.waits(1).is_some());
    }
}
