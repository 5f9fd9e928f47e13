//! The threads that shake hands.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, thread};

use tambat_os::priority;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{spawn_local, yield_now};
use tokio::time::Instant;

use super::handshake::{Told, answer};
use super::line::Line;
use super::settings::TlsSettings;
use super::under_way::{Handshake, UnderWay};
use crate::accept::{Accepting, Taker};
use crate::arrival::Arrival;
use crate::listener::{ListenerKind, ListenerState, Open};
use crate::router::Shared;
use crate::worker::{Accepted, Scope, runtime};

/// How many handshakes may be under way at a time, at all listeners together: each holds about 8 KiB, and 64 KiB at
/// worst. Those beyond wait in the kernel's queues.
pub(crate) const HANDSHAKES_MAX: usize = 16_384;

/// By how many steps of nice(2) handshakes give way to requests: while both want all of the processor, they get a third
/// of what requests get.
const LOWER_STEPS: u8 = 5;

/// What a thread of handshakes is told.
#[derive(Debug)]
pub(crate) enum Task {
    /// Accept from this socket: each connection begins with a handshake.
    Listen(TcpListener, Arc<ListenerState>, Arc<TlsSettings>),
    /// Accept nothing more there.
    Unlisten(ListenerKind),
    /// Shake hands.
    Shake(Unshaken),
    /// Accept nothing more at these. Dropped when that has begun.
    Drain(Scope, Arc<()>),
    /// Close everything and end.
    Stop,
}

/// A connection that has been accepted and has not shaken hands.
#[derive(Debug)]
pub(crate) struct Unshaken {
    pub(crate) client: std::net::TcpStream,
    pub(crate) arrival: Arrival,
    pub(crate) open: Open,
    pub(crate) settings: Arc<TlsSettings>,
    /// It is one of those that may be under way.
    pub(crate) room: OwnedSemaphorePermit,
    /// What is known of its client; none: it was not heard yet.
    pub(crate) told: Option<Box<Told>>,
}

/// Starts a thread of handshakes. When it ends, those that are under way are closed.
pub(crate) fn start(number: usize, inbox: UnboundedReceiver<Task>, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(format!("handshake-{number}")).spawn(move || {
        // Where that is not allowed they take what they get.
        let _ = priority::lower_this_thread(LOWER_STEPS);
        // Without a runtime, for want of file descriptors, what comes here is closed.
        if let Ok(runtime) = runtime() {
            runtime.block_on(obey(number, inbox, shared));
        }
    })
}

async fn obey(number: usize, mut inbox: UnboundedReceiver<Task>, shared: Arc<Shared>) {
    let handshaker = Rc::new(Handshaker { number, shared, done: RefCell::default() });
    let mut accepting = Accepting::default();
    let mut is_draining = false;
    while let Some(task) = inbox.recv().await {
        match task {
            // One that comes too late is closed.
            Task::Listen(listener, state, settings) if !is_draining => {
                accepting.begin(listener, state, Some(settings), Taker::Handshaker(Rc::clone(&handshaker)));
            }
            Task::Listen(..) => {}
            Task::Unlisten(kind) => accepting.end(|of| of == kind),
            Task::Shake(unshaken) => handshaker.shake(unshaken),
            Task::Drain(scope, unheard) => {
                accepting.end(|kind| scope.has(kind));
                is_draining = true;
                drop(unheard);
            }
            Task::Stop => break,
        }
    }
}

/// A thread that shakes hands.
#[derive(Debug)]
pub(crate) struct Handshaker {
    number: usize,
    pub(crate) shared: Arc<Shared>,
    /// On their way to the workers: those of one turn go together, since to wake a worker for each of them would cost
    /// more than serving them.
    done: RefCell<Vec<Accepted>>,
}

impl Handshaker {
    /// Has the thread whose turn it is shake hands, which may be this one.
    pub(crate) fn deal(self: &Rc<Self>, unshaken: Unshaken) {
        match self.shared.handshaker() {
            Some((turn, other)) if turn != self.number => drop(other.send(Task::Shake(unshaken))),
            _ => self.shake(unshaken),
        }
    }

    fn shake(self: &Rc<Self>, unshaken: Unshaken) {
        spawn_local(shake(unshaken, Rc::clone(self)));
    }

    fn is_done(self: &Rc<Self>, accepted: Accepted) {
        let mut done = self.done.borrow_mut();
        if done.is_empty() {
            let this = Rc::clone(self);
            spawn_local(async move {
                // All others that are ready have had their turn then.
                yield_now().await;
                this.shared.deal(this.done.take());
            });
        }
        done.push(accepted);
    }
}

/// Shakes hands until little is left of it, and gives the connection to the worker whose turn it is.
async fn shake(unshaken: Unshaken, handshaker: Rc<Handshaker>) {
    let Unshaken { client, arrival, open, settings, room, told } = unshaken;
    let mut told = told.unwrap_or_default();
    let deadline = Instant::now() + handshaker.shared.settings.handshake_timeout;
    let under_way = UnderWay::new(open.listener(), deadline, room);
    let mut line = Line::Bare(client);
    match under_way.within_time(Box::pin(answer(&mut line, &settings, &told))).await {
        Ok(Some(answered)) => {
            let handshake = Some(Box::new(Handshake { answered, under_way, last: told.last.take() }));
            if let Some(client) = line.into_socket() {
                handshaker.is_done(Accepted { client, arrival, open, handshake });
            }
        }
        outcome => under_way.end(&outcome),
    }
}
