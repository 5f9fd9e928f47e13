//! A service port as the router has it: its cursor and its counters, which outlive every route table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tambat_model::ServicePort;

/// What a service port has carried since the router started, and holds now. The figures are read one by one: while
/// connections come and go they need not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountersSnapshot {
    /// Connections accepted.
    pub connections: u64,
    /// Of these, open now, waiting ones included.
    pub open: usize,
    /// Of these, waiting for a target now.
    pub waiting: usize,
    /// Connections turned away with a cause.
    pub refused: u64,
    /// Bytes received from clients.
    pub bytes_in: u64,
    /// Bytes received from targets.
    pub bytes_out: u64,
    /// How often accepting was put off for want of file descriptors or memory, or of room.
    pub accept_pauses: u64,
}

/// A service port's cursor and counters. All of it is relaxed: no figure says anything about another.
#[derive(Debug)]
pub(crate) struct PortState {
    pub(crate) number: ServicePort,
    /// How often a target was chosen here. Kept across route tables, so that a new table skews nothing.
    pub(crate) cursor: AtomicUsize,
    pub(crate) refused: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) accept_pauses: AtomicU64,
    connections: AtomicU64,
    open: AtomicUsize,
    waiting: AtomicUsize,
    /// Open at all ports together.
    all_open: Arc<AtomicUsize>,
}

impl PortState {
    pub(crate) fn new(number: ServicePort, all_open: Arc<AtomicUsize>) -> Self {
        Self {
            number,
            cursor: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            accept_pauses: AtomicU64::new(0),
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
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            accept_pauses: self.accept_pauses.load(Ordering::Relaxed),
        }
    }

    /// How many connections are open at all ports together.
    pub(crate) fn all_open(&self) -> usize {
        self.all_open.load(Ordering::Relaxed)
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub(crate) fn opened(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.all_open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// A connection waits until the guard is dropped; none: `max` of them wait already.
    pub(crate) fn waits(self: &Arc<Self>, max: usize) -> Option<Waits> {
        let waits = Waits(Arc::clone(self));
        (self.waiting.fetch_add(1, Ordering::Relaxed) < max).then_some(waits)
    }
}

/// An open connection, counted.
#[derive(Debug)]
pub(crate) struct Open(Arc<PortState>);

impl Open {
    pub(crate) fn port(&self) -> &Arc<PortState> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.all_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A waiting connection, counted.
#[derive(Debug)]
pub(crate) struct Waits(Arc<PortState>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_what_is_open_is_counted_and_bounded() {
        let all = Arc::new(AtomicUsize::new(0));
        let new = |number: u16| Arc::new(PortState::new(ServicePort::try_from(number).unwrap(), Arc::clone(&all)));
        let (port, other) = (new(5_000), new(5_100));
        let elsewhere = other.opened();
        let open = port.opened();
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
