//! The threads that shake hands.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
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
use crate::arrival::Arrival;
use crate::listener::Open;
use crate::router::Shared;
use crate::worker::{Accepted, Order, runtime};

/// How many handshakes may be under way at a time, at all listeners together: each holds about 8 KiB, and 64 KiB at
/// worst. Those beyond wait in the kernel's queues.
pub(crate) const HANDSHAKES_MAX: usize = 16_384;

/// By how many steps of nice(2) handshakes give way to requests: while both want all of the processor, they get a third
/// of what requests get.
const LOWER_STEPS: u8 = 5;

/// What a thread of handshakes is told.
#[derive(Debug)]
pub(crate) enum Task {
    /// Shake hands.
    Shake(Unshaken),
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
    /// Which worker serves it then.
    pub(crate) worker: usize,
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
            runtime.block_on(obey(inbox, shared));
        }
    })
}

async fn obey(mut inbox: UnboundedReceiver<Task>, shared: Arc<Shared>) {
    let done = Rc::new(Done { shared, waiting: RefCell::default() });
    while let Some(Task::Shake(unshaken)) = inbox.recv().await {
        let done = Rc::clone(&done);
        spawn_local(async move {
            let worker = unshaken.worker;
            if let Some(accepted) = shake(unshaken, done.shared.settings.handshake_timeout).await {
                done.push(worker, accepted);
            }
        });
    }
}

/// Connections that have shaken hands, on their way to the workers: those of one turn go together, since to wake a worker
/// for each of them would cost more than serving them.
struct Done {
    shared: Arc<Shared>,
    /// With the numbers of their workers.
    waiting: RefCell<Vec<(usize, Accepted)>>,
}

impl Done {
    fn push(self: &Rc<Self>, worker: usize, accepted: Accepted) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            let done = Rc::clone(self);
            spawn_local(async move {
                // All others that are ready have had their turn then.
                yield_now().await;
                done.deal();
            });
        }
        waiting.push((worker, accepted));
    }

    /// Each worker is woken once.
    fn deal(&self) {
        let mut all = self.waiting.take();
        while let Some((worker, _)) = all.first() {
            let worker = *worker;
            let hand = all.extract_if(.., |(of, _)| *of == worker).map(|(_, accepted)| accepted).collect();
            self.shared.order(worker, Order::Serve(hand));
        }
    }
}

/// Shakes hands until little is left of it. None: it has come to nothing, or that was all the client wanted.
pub(super) async fn shake(unshaken: Unshaken, limit: Duration) -> Option<Accepted> {
    let Unshaken { client, arrival, open, settings, room, told, .. } = unshaken;
    let mut told = told.unwrap_or_default();
    let under_way = UnderWay::new(open.listener(), Instant::now() + limit, room);
    let mut line = Line::Bare(client);
    match under_way.within_time(Box::pin(answer(&mut line, &settings, &told))).await {
        Ok(Some(answered)) => {
            let handshake = Some(Box::new(Handshake { answered, under_way, last: told.last.take() }));
            Some(Accepted { client: line.into_socket()?, arrival, open, handshake })
        }
        outcome => {
            under_way.end(&outcome);
            None
        }
    }
}
