//! Everything that a start has open, looked at again and again: what was open once counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tambat_os::{OwnedListener, Pid};
use tokio::task::JoinHandle;

use crate::observed::{Listener, Program, Transport};

/// A port that is open for a shorter time than this may be missed; reading the files of a tree takes about a millisecond.
const INTERVAL: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Sightings {
    listeners: BTreeMap<(Transport, SocketAddr), Program>,
    /// Addresses that were dialled.
    pub(super) dialled: BTreeSet<SocketAddr>,
    /// Processes whose files may not be seen.
    pub(super) hidden: BTreeSet<i32>,
    /// How many processes there were at most.
    pub(super) processes: usize,
}

impl Sightings {
    /// Every port that was open, the lowest first.
    pub(super) fn listeners(&self) -> Vec<Listener> {
        let listener = |((transport, addr), program): (&(Transport, SocketAddr), &Program)| Listener {
            transport: *transport,
            addr: *addr,
            program: program.clone(),
        };
        self.listeners.iter().map(listener).collect()
    }

    fn listens_on(&self, port: u16) -> bool {
        self.listeners.keys().any(|(transport, addr)| *transport == Transport::Tcp && addr.port() == port)
    }

    fn add(&mut self, transport: Transport, found: Vec<OwnedListener>) {
        for listener in found {
            let program = Program { name: listener.name, pid: listener.pid.get() };
            self.listeners.entry((transport, listener.addr)).or_insert(program);
        }
    }

    fn look(&mut self, keeper: Pid) {
        self.processes = self.processes.max(tambat_os::descendants(keeper).len());
        self.hidden.extend(tambat_os::hidden_of(keeper).into_iter().map(Pid::get));
        // The machine may refuse to say now; there is a next time.
        self.add(Transport::Tcp, tambat_os::listeners_of(keeper).unwrap_or_default());
        let ephemeral = tambat_os::ports::ephemeral();
        let mut udp = tambat_os::udp_listeners_of(keeper).unwrap_or_default();
        udp.retain(|listener| ephemeral.as_ref().is_none_or(|range| !range.contains(&listener.addr.port())));
        self.add(Transport::Udp, udp);
        // Whom it has accepted it has not dialled.
        let mut connections = tambat_os::connections_of(keeper).unwrap_or_default();
        connections.retain(|connection| !self.listens_on(connection.local.port()));
        self.dialled.extend(connections.into_iter().map(|connection| connection.remote));
    }
}

/// A watch over one start. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Watch {
    keeper: Pid,
    seen: Arc<Mutex<Sightings>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn begin(keeper: Pid) -> Self {
        let seen = Arc::<Mutex<Sightings>>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                lock(&shared).look(keeper);
            }
        });
        Self { keeper, seen, task }
    }

    /// Looks now.
    pub(super) fn look(&self) {
        lock(&self.seen).look(self.keeper);
    }

    pub(super) fn sightings(&self) -> Sightings {
        lock(&self.seen).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Sightings>) -> std::sync::MutexGuard<'_, Sightings> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
