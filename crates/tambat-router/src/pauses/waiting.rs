//! Connections that wait for the end of a pause: sockets that nobody reads, without a task of their own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout_at;

use super::Turn;
use crate::arrival::Arrival;
use crate::connection;
use crate::introduction::shake;
use crate::listener::Open;
use crate::tls::TlsSettings;
use crate::transport::Transport;
use crate::worker::{Accepted, Scope, Worker};

/// A connection that waits. Where it comes from is known.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) client: TcpStream,
    pub(crate) arrival: Arrival,
    pub(crate) open: Open,
    /// It begins with a handshake, by these settings.
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) turn: Turn,
}

/// The connections of one worker that wait, the next one first.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    held: RefCell<BTreeMap<(Instant, u64), Held>>,
    /// Tells those of one moment apart.
    serial: Cell<u64>,
    /// There is one that may be earlier than all others.
    earlier: Notify,
    /// Does a task wait for their turns?
    is_attended: Cell<bool>,
}

impl WaitingRoom {
    /// Keeps a connection until its turn has come.
    pub(crate) fn hold(&self, held: Held, worker: &Rc<Worker>) {
        // Nobody new is let in.
        if worker.is_draining.get() {
            return;
        }
        let serial = self.serial.get();
        self.serial.set(serial + 1);
        self.held.borrow_mut().insert((held.turn.at(), serial), held);
        if self.is_attended.replace(true) {
            self.earlier.notify_one();
        } else {
            spawn_local(attend(Rc::clone(worker)));
        }
    }

    /// Closes those at these listeners: nothing was read of them.
    pub(crate) fn dismiss(&self, scope: Scope) {
        self.held.borrow_mut().retain(|_, held| !scope.has(held.open.listener().kind));
    }

    /// When the next one is served.
    fn next(&self) -> Option<Instant> {
        self.held.borrow().first_key_value().map(|((at, _), _)| *at)
    }

    /// The next one, if its turn has come.
    fn due(&self, now: Instant) -> Option<Held> {
        let mut held = self.held.borrow_mut();
        let first = held.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}

/// Serves those who wait, each when its turn comes. Ends when nobody waits.
async fn attend(worker: Rc<Worker>) {
    let room = &worker.waiting_room;
    loop {
        while let Some(held) = room.due(Instant::now()) {
            admit(held, &worker);
        }
        let Some(at) = room.next() else { break };
        let _ = timeout_at(at.into(), room.earlier.notified()).await;
    }
    room.is_attended.set(false);
}

fn admit(held: Held, worker: &Rc<Worker>) {
    let Held { client, arrival, open, tls, turn } = held;
    drop(turn);
    if let Some(settings) = tls {
        spawn_local(shake(client, arrival, open, settings, Rc::clone(worker)));
    } else if arrival.is_introduced() {
        // Its header was read here.
        if let Ok(client) = tokio::net::TcpStream::from_std(client) {
            connection::begin(Transport::Tcp(client), arrival, open, worker);
        }
    } else {
        worker.deal(Accepted { client, arrival, open, handshake: None });
    }
}
