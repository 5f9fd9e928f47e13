//! The threads that shake hands.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::{io, thread};

use tambat_os::priority;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use super::failure::HandshakeFailure;
use super::handshake::shake;
use super::settings::TlsSettings;
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
    /// It is one of those that may be under way.
    pub(crate) room: OwnedSemaphorePermit,
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
        spawn_local(serve(unshaken, Rc::clone(&done)));
    }
}

/// Connections that have shaken hands, on their way to the workers: those of one turn go together, since to wake a worker
/// for each of them would cost more than serving them.
struct Done {
    shared: Arc<Shared>,
    waiting: RefCell<Vec<Accepted>>,
}

impl Done {
    fn push(self: &Rc<Self>, accepted: Accepted) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            let done = Rc::clone(self);
            spawn_local(async move {
                // All others that are ready have had their turn then.
                yield_now().await;
                done.deal();
            });
        }
        waiting.push(accepted);
    }

    fn deal(&self) {
        for accepted in self.waiting.take() {
            self.shared.order(self.shared.turn(), Order::Serve(accepted));
        }
    }
}

/// Shakes hands, and gives the connection to the worker whose turn it is.
async fn serve(unshaken: Unshaken, done: Rc<Done>) {
    let Unshaken { client, arrival, open, settings, room } = unshaken;
    // A socket that cannot be watched, for want of memory, is closed.
    let Ok(client) = TcpStream::from_std(client) else { return };
    let counters = &open.listener().handshakes;
    counters.under_way.fetch_add(1, Ordering::Relaxed);
    let shaken = timeout(done.shared.settings.handshake_timeout, Box::pin(shake(&client, &settings))).await;
    counters.under_way.fetch_sub(1, Ordering::Relaxed);
    drop(room);
    let outcome = shaken.unwrap_or(Err(HandshakeFailure::Timeout));
    counters.count(&outcome);
    if let Ok(Some(handshaken)) = outcome
        && let Ok(client) = client.into_std()
    {
        let accepted = Accepted { client, arrival, open, handshaken: Some(Box::new(handshaken)) };
        done.push(accepted);
    }
}
