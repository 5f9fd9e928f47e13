//! A worker: a thread with a runtime of its own, that carries the streams it is dealt.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::accept::accept;
use crate::carry::Scratch;
use crate::connection::serve;
use crate::port::{Open, PortState};
use crate::router::Shared;

/// What a worker is told.
pub(crate) enum Order {
    /// Accept from this socket.
    Listen(TcpListener, Arc<PortState>),
    /// Serve this connection.
    Serve(TcpStream, Open),
    /// Close everything and end.
    Stop,
}

/// A worker that has its runtime and its inbox and no thread yet.
pub(crate) struct Idle {
    runtime: Runtime,
    inbox: UnboundedReceiver<Order>,
}

/// A worker to be, and the way to give it orders.
pub(crate) fn worker() -> io::Result<(Idle, UnboundedSender<Order>)> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let (orders, inbox) = unbounded_channel();
    Ok((Idle { runtime, inbox }, orders))
}

impl Idle {
    /// Starts its thread. When it ends, all its sockets are closed.
    pub(crate) fn start(mut self, number: usize, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("router-{number}")).spawn(move || {
            self.runtime.block_on(obey(&mut self.inbox, &shared));
        })
    }
}

async fn obey(inbox: &mut UnboundedReceiver<Order>, shared: &Arc<Shared>) {
    let scratch = Arc::new(Scratch::default());
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Listen(listener, port) => {
                tokio::spawn(accept(listener, port, Arc::clone(shared)));
            }
            Order::Serve(client, open) => {
                // A socket that cannot be watched, for want of memory, is closed.
                if let Ok(client) = tokio::net::TcpStream::from_std(client) {
                    tokio::spawn(serve(client, open, Arc::clone(shared), Arc::clone(&scratch)));
                }
            }
            Order::Stop => break,
        }
    }
}
