//! The words of these tests: a router with one service port, backends behind it, clients in front.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tambat_model::{Admission, HttpRules, Load, Protocol, Route, RouteTable, ServicePort, Target, Traffic};
use tambat_router::{CountersSnapshot, Listener, ListenerKind, Router, RouterReport, RouterSettings};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

/// Nothing here takes so long unless it is broken, on a machine that stands still for some seconds, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) port: ServicePort,
    pub(crate) protocol: Protocol,
    pub(crate) idle: Option<Duration>,
    /// What holds for the requests of its route, and what that has carried.
    pub(crate) rules: HttpRules,
    pub(crate) traffic: Arc<Traffic>,
    tables: watch::Sender<Arc<RouteTable>>,
    reports: UnboundedReceiver<RouterReport>,
}

impl Rig {
    /// A router without a route, for an app that speaks `protocol`.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self::with(protocol, None, RouterSettings::default())
    }

    pub(crate) fn with(protocol: Protocol, idle: Option<Duration>, settings: RouterSettings) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = ServicePort::try_from(socket.local_addr().unwrap().port()).unwrap();
        let (tables, seen) = watch::channel(Arc::default());
        let (sender, reports) = unbounded_channel();
        let router = Router::start(
            vec![Listener { kind: ListenerKind::Service(port), sockets: vec![socket], tls: None }],
            seen,
            sender,
            settings,
        )
        .unwrap();
        let (rules, traffic) = (HttpRules::default(), Arc::default());
        Self { router, port, protocol, idle, rules, traffic, tables, reports }
    }

    /// With these backends behind it from the start.
    pub(crate) fn serving(protocol: Protocol, backends: &[&Backend]) -> Self {
        let rig = Self::new(protocol);
        rig.publish(serve(backends));
        rig
    }

    pub(crate) fn publish(&self, admission: Admission) {
        let mut table = RouteTable::default();
        let (http, traffic) = (Arc::new(self.rules.clone()), Arc::clone(&self.traffic));
        table
            .insert(self.port, Route { idle: self.idle, http, traffic, ..Route::new("web", self.protocol, admission) });
        self.publish_table(table);
    }

    pub(crate) fn publish_table(&self, table: RouteTable) {
        self.tables.send_replace(Arc::new(table));
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.get()).into()
    }

    pub(crate) fn client(&self) -> TcpStream {
        bounded(TcpStream::connect(self.addr()).unwrap())
    }

    pub(crate) fn counters(&self) -> CountersSnapshot {
        self.router.counters(self.port).unwrap()
    }

    /// The next report; there must be one.
    pub(crate) fn report(&mut self) -> RouterReport {
        let mut report = None;
        eventually("a report", || {
            report = self.reports.try_recv().ok();
            report.is_some()
        });
        report.unwrap()
    }

    /// All reports that nobody has read yet.
    pub(crate) fn reports_so_far(&mut self) -> Vec<RouterReport> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }

    /// Skips reports up to the one that a connection waits.
    pub(crate) fn until_one_waits(&mut self) {
        while !matches!(self.report(), RouterReport::Waiting { port: Some(port), .. } if port == self.port) {}
    }
}

/// An instance's listener.
pub(crate) struct Backend {
    pub(crate) listener: TcpListener,
    pub(crate) target: Arc<Target>,
}

impl Backend {
    pub(crate) fn new(name: &str) -> Self {
        Self::at(name, (Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(crate) fn at(name: &str, addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        Self {
            listener,
            target: Arc::new(Target { name: name.to_owned(), generation: 1, addr, load: Arc::new(Load::default()) }),
        }
    }

    pub(crate) fn accept(&self) -> TcpStream {
        self.listener.set_nonblocking(true).unwrap();
        let mut accepted = None;
        eventually("a connection at the backend", || {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        });
        let (stream, _) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        bounded(stream)
    }

    pub(crate) fn has_a_connection(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        self.listener.accept().is_ok()
    }
}

pub(crate) fn serve(backends: &[&Backend]) -> Admission {
    Admission::Serve(backends.iter().map(|b| b.target.clone()).collect())
}

pub(crate) fn hold(limit: Option<Duration>) -> Admission {
    Admission::Hold { limit, cause: "web.1 is binding".into(), mend: None }
}

/// A stream through the router, both ends of it.
pub(crate) fn stream(rig: &Rig, backend: &Backend) -> (TcpStream, TcpStream) {
    let client = rig.client();
    (client, backend.accept())
}

/// `from` says this, and `to` hears it.
pub(crate) fn says(mut from: &TcpStream, mut to: &TcpStream, words: &str) {
    from.write_all(words.as_bytes()).unwrap();
    let mut heard = vec![0; words.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words.as_bytes());
}

/// All that is heard until the other side ends.
pub(crate) fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    heard
}

/// Breaks a connection off.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

pub(crate) fn is_reset(mut stream: &TcpStream) -> bool {
    stream.read(&mut [0; 64]).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        pass(Duration::from_millis(1));
    }
}

/// Lets so much time pass: for durations that are under test, and between looks.
pub(crate) fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

pub(crate) fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
