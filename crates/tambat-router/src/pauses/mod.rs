//! Pauses of client addresses whose connections were closed for a flood of HTTP/2 (RFC 9113 §10.5).
//!
//! To close a connection costs a flood nothing: it comes back at once, and what it makes the router do before it is closed
//! again it makes it do some thousand times a second. So its address pauses: what comes from there is accepted and waits,
//! unread and without a handshake, until the pause is over. Connections that are there already go on.
//!
//! ```text
//! http2 ── offends ──► PauseTable (pure, shared) ◄── arrives ── accept, introduction
//!                                                                  │
//!                                                          WaitingRoom (of each worker)
//! ```

#[cfg(test)]
mod simulation;
mod table;
mod waiting;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::table::{Entry, PauseTable};
use crate::report::RouterReport;
use crate::router::Shared;

pub(crate) use self::table::Offence;
pub(crate) use self::waiting::{Held, WaitingRoom};

/// How often it is reported that an address pauses: a flood may come from many.
const REPORT_EVERY_S: u64 = 1;

/// Which addresses pause, for all workers. While there are none, a connection that comes costs one look at a number.
#[derive(Debug)]
pub(crate) struct Pauses {
    /// How many addresses are known.
    known: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: PauseTable,
    /// When a pause was reported last.
    reported: Option<Instant>,
}

/// What becomes of a connection that has come.
#[derive(Debug)]
pub(crate) enum Arrives {
    /// It is served.
    Now,
    /// It has to wait for its turn.
    Waits(Turn),
    /// It is closed: as many wait as may.
    Never,
}

/// When a connection that waits is served. It counts as waiting until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    at: Instant,
    client: IpAddr,
    pauses: Arc<Pauses>,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { known: AtomicUsize::new(0), inner: Mutex::new(Inner { table: PauseTable::new(), reported: None }) }
    }
}

impl Pauses {
    /// A connection of this client has come.
    pub(crate) fn arrives(self: &Arc<Self>, client: IpAddr) -> Arrives {
        // Whoever has just offended may get in once more: that is no reason to wait for each other here.
        if self.known.load(Ordering::Relaxed) == 0 {
            return Arrives::Now;
        }
        match self.with(|inner| inner.table.arrives(client, Instant::now())) {
            Entry::Now => Arrives::Now,
            Entry::At(at) => Arrives::Waits(Turn { at, client, pauses: Arc::clone(self) }),
            Entry::Never => Arrives::Never,
        }
    }

    /// A connection of this client was closed for this. A pause that begins now and is to be reported: how long it is.
    fn offends(&self, client: IpAddr, offence: Offence, now: Instant) -> Option<Duration> {
        self.with(|inner| {
            let pause = inner.table.offends(client, offence, now)?;
            let every = Duration::from_secs(REPORT_EVERY_S);
            let is_due = inner.reported.is_none_or(|last| now.saturating_duration_since(last) >= every);
            if !(pause.is_news && is_due) {
                return None;
            }
            inner.reported = Some(now);
            Some(pause.length)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner: MutexGuard<'_, Inner> = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = act(&mut inner);
        self.known.store(inner.table.len(), Ordering::Relaxed);
        outcome
    }
}

/// A connection of this client was closed for this: its address pauses, where that is due.
pub(crate) fn offends(shared: &Shared, client: IpAddr, offence: Offence) {
    let client = client.to_canonical();
    if let Some(pause) = shared.pauses.offends(client, offence, Instant::now()) {
        shared.reports.send(RouterReport::AddressPaused { client, pause });
    }
}

impl Turn {
    /// The moment.
    fn at(&self) -> Instant {
        self.at
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pauses.with(|inner| inner.table.leaves(self.client));
    }
}
