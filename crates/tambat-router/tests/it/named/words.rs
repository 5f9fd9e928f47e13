//! The words of these tests: a listener of the manifest, and routes behind it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use tambat_model::{Entrance, HostTable, ListenAddr, Protocol, Route, RouteTable, Site};
use tambat_router::{CountersSnapshot, Listener, ListenerKind, RouterSettings, TlsSettings};

use crate::rig::{Backend, Rig, bounded, serve};

/// A router with a listener of the manifest.
pub(crate) struct Door {
    pub(crate) rig: Rig,
    pub(crate) at: ListenAddr,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self::with(None, RouterSettings::default())
    }

    /// One where handshakes may end.
    pub(crate) fn with_tls(tls: &Arc<TlsSettings>) -> Self {
        Self::with(Some(Arc::clone(tls)), RouterSettings::default())
    }

    pub(crate) fn with(tls: Option<Arc<TlsSettings>>, settings: RouterSettings) -> Self {
        let rig = Rig::with(Protocol::Tcp, None, settings);
        let at = listen(&rig, tls);
        Self { rig, at }
    }

    pub(crate) fn kind(&self) -> ListenerKind {
        ListenerKind::Named(self.at)
    }

    pub(crate) fn opens_to(&self, entrance: Entrance) {
        let mut table = RouteTable::default();
        table.set_entrance(self.at, entrance);
        self.rig.publish_table(table);
    }

    pub(crate) fn client(&self) -> TcpStream {
        bounded(TcpStream::connect(self.at.get()).unwrap())
    }

    pub(crate) fn counters(&self) -> CountersSnapshot {
        let all = self.rig.router.listener_counters();
        all.into_iter().find(|(label, _)| *label == self.at.to_string()).map(|(_, counters)| counters).unwrap()
    }
}

/// One more listener of the manifest.
pub(crate) fn listen(rig: &Rig, tls: Option<Arc<TlsSettings>>) -> ListenAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = ListenAddr::from(socket.local_addr().unwrap());
    rig.router.add(Listener { kind: ListenerKind::Named(at), sockets: vec![socket], tls }).unwrap();
    at
}

pub(crate) fn route(name: &str, protocol: Protocol, backends: &[&Backend]) -> Arc<Route> {
    Arc::new(Route::new(name, protocol, serve(backends)))
}

/// A table of hosts: each pattern with its route.
pub(crate) fn hosts(sites: &[(&str, &Arc<Route>)]) -> HostTable {
    let mut table = HostTable::default();
    for (pattern, route) in sites {
        let (pattern, path) =
            pattern.split_once('/').map_or((*pattern, "/".to_owned()), |(p, path)| (p, format!("/{path}")));
        let site = Site { path: path.parse().unwrap(), strip: false, route: Arc::clone(route) };
        table.insert(pattern.parse().unwrap(), site).unwrap();
    }
    table
}

/// All at this listener are for it.
pub(crate) fn sole(route: &Arc<Route>) -> Entrance {
    Entrance { other: Some(Arc::clone(route)), ..Entrance::default() }
}

/// Is nobody there?
pub(crate) fn refuses(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}
