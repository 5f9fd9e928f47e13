//! The accept loop of one listening socket.
//!
//! Each socket is accepted by one worker, which deals the connections out to all of them in turn. Workers that accepted
//! from duplicates of one socket would all be woken by each connection, and whichever is awake most would end up with
//! most of them; and there would be as many pauses to keep when descriptors run out.

use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, mem};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinHandle, spawn_local};

use crate::addresses::AddressCount;
use crate::arrival::Arrival;
use crate::connection::is_http;
use crate::http::too_many_connections;
use crate::listener::{ListenerKind, ListenerState};
use crate::pauses::{Arrives, Held};
use crate::report::RouterReport;
use crate::router::Shared;
use crate::tls::{TlsSettings, Unshaken, shake_here};
use crate::worker::{Accepted, Worker};

/// How long accepting rests when descriptors or memory have run out: nothing tells when there are some again.
const PAUSE_MS: u64 = 100;

/// How often a pause is reported for one listener.
const PAUSE_REPORT_EVERY_S: u64 = 60;

/// How many connections are accepted in one go, so that a flood of them leaves the streams of this thread their turn.
const BATCH: usize = 64;

/// The accept loops of one thread.
#[derive(Debug, Default)]
pub(crate) struct Accepting(Vec<Loop>);

/// The accept loop of one socket.
#[derive(Debug)]
struct Loop {
    kind: ListenerKind,
    socket: Rc<TcpListener>,
    task: JoinHandle<()>,
}

impl Accepting {
    /// Accepts from one more socket.
    pub(crate) fn begin(
        &mut self,
        listener: TcpListener,
        state: Arc<ListenerState>,
        tls: Option<Arc<TlsSettings>>,
        worker: &Rc<Worker>,
    ) {
        let (kind, socket) = (state.kind, Rc::new(listener));
        let task = spawn_local(accept(Rc::clone(&socket), state, tls, Rc::clone(worker)));
        self.0.push(Loop { kind, socket, task });
    }

    /// Accepts nothing more at these.
    pub(crate) fn end(&mut self, is_one: impl Fn(ListenerKind) -> bool) {
        self.0.extract_if(.., |of| is_one(of.kind)).for_each(|of| of.task.abort());
    }

    /// The same, and gives the sockets back, listening on.
    pub(crate) fn give_back(&mut self, kind: ListenerKind, to: &UnboundedSender<TcpListener>) {
        for Loop { socket, task, .. } in self.0.extract_if(.., |of| of.kind == kind) {
            let to = to.clone();
            task.abort();
            spawn_local(async move {
                // Its loop has let go of it then. One that was lost has ended before.
                let _ = task.await;
                if let Some(socket) = Rc::into_inner(socket) {
                    // Whoever does not want it any more has it closed.
                    let _ = to.send(socket);
                }
            });
        }
    }
}

/// Accepts connections and deals them out until it is cancelled or the socket is no listener any more.
async fn accept(
    listener: Rc<TcpListener>,
    state: Arc<ListenerState>,
    tls: Option<Arc<TlsSettings>>,
    worker: Rc<Worker>,
) {
    // Of a socket without an address, which is none of ours, every connection fails.
    let addr = listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    #[expect(
        deprecated,
        reason = "its replacement is unsafe to call; a listener keeps its descriptor, which is what that asks for"
    )]
    let listener = AsyncFd::with_interest(listener, Interest::READABLE);
    let cause = match listener {
        Ok(listener) => {
            let (state, worker) = (&state, &worker);
            Acceptor { listener, addr, state, tls, worker, reported: None, is_new_turn: true }.run().await
        }
        Err(error) => error,
    };
    worker.shared.reports.send(RouterReport::ListenerLost { addr, cause: cause.to_string() });
}

struct Acceptor<'a> {
    listener: AsyncFd<Rc<TcpListener>>,
    addr: SocketAddr,
    state: &'a Arc<ListenerState>,
    tls: Option<Arc<TlsSettings>>,
    worker: &'a Rc<Worker>,
    reported: Option<Instant>,
    /// Has nobody been taken since this thread looked last for what has come?
    is_new_turn: bool,
}

/// What an error of `accept` means.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// This one connection went away again.
    Passing,
    /// There is nothing to make a connection of.
    Exhausted,
    /// The socket is of no use.
    Fatal,
}

impl Acceptor<'_> {
    async fn run(&mut self) -> io::Error {
        loop {
            for _ in 0..BATCH {
                let max = self.worker.shared.settings.connections_max;
                if self.state.all_open() >= max {
                    self.pause(&format!("{max} connections are open, which is as many as there may be")).await;
                    continue;
                }
                let room = self.room().await;
                match self.next().await {
                    Ok((client, peer)) => self.take(client, peer, room),
                    Err(error) => match trouble(&error) {
                        Trouble::Passing => {}
                        Trouble::Exhausted => self.pause(&error.to_string()).await,
                        Trouble::Fatal => return error,
                    },
                }
            }
            tokio::task::yield_now().await;
            self.is_new_turn = true;
        }
    }

    /// The next connection.
    async fn next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match self.listener.try_io(Interest::READABLE, |listener| listener.accept()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ready = self.listener.readable().await?;
                    self.is_new_turn = true;
                }
                accepted => return accepted,
            }
        }
    }

    /// Waits until one more handshake may be under way; none: there is no handshake here.
    async fn room(&self) -> Option<(Arc<TlsSettings>, OwnedSemaphorePermit)> {
        let settings = Arc::clone(self.tls.as_ref()?);
        let room = Arc::clone(&self.worker.shared.handshake_room).acquire_owned().await;
        // Nobody closes it.
        Some((settings, room.ok()?))
    }

    fn take(&mut self, client: TcpStream, peer: SocketAddr, tls: Option<(Arc<TlsSettings>, OwnedSemaphorePermit)>) {
        // It is not to block anybody.
        if client.set_nonblocking(true).is_err() {
            return;
        }
        let (shared, port, arrival) = (&self.worker.shared, self.addr.port(), Arrival::of(peer));
        // Whose connection it is, and whom it counts for, the header says.
        if shared.settings.introduces(peer.ip(), self.state.kind) {
            let open = self.state.opened_by_proxy(port, tls.map(|(settings, _)| settings));
            return self.worker.deal(Accepted { client, arrival, open, handshake: None });
        }
        let turn = match arrives(shared, peer.ip(), self.state) {
            Arrives::Now => None,
            Arrives::Waits(turn) => Some(turn),
            Arrives::Never => return,
        };
        let open = match count(shared, peer.ip()) {
            Ok(count) => self.state.opened(port, count),
            Err(TooMany) => return turn_one_too_many_away(&client, self.state, tls.is_some(), shared),
        };
        if let Some(turn) = turn {
            let held = Held { client, arrival, open, tls: tls.map(|(settings, _)| settings), turn };
            return self.worker.waiting_room.hold(held, self.worker);
        }
        match tls {
            None => self.worker.deal(Accepted { client, arrival, open, handshake: None }),
            Some((settings, room)) => {
                let worker = shared.turn();
                self.shake(Unshaken { client, arrival, open, settings, worker, room, told: None });
            }
        }
    }

    /// Here, or on a thread of those that do nothing else.
    fn shake(&mut self, unshaken: Unshaken) {
        if mem::take(&mut self.is_new_turn) && self.worker.here.takes(&unshaken, self.worker.number) {
            shake_here(unshaken, Rc::clone(self.worker));
        } else {
            self.worker.shared.shake(unshaken);
        }
    }

    async fn pause(&mut self, cause: &str) {
        self.state.accept_pauses.fetch_add(1, Ordering::Relaxed);
        let every = Duration::from_secs(PAUSE_REPORT_EVERY_S);
        if self.reported.is_none_or(|at| at.elapsed() >= every) {
            self.reported = Some(Instant::now());
            self.worker.shared.reports.send(RouterReport::AcceptPaused { addr: self.addr, cause: cause.to_owned() });
        }
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

/// The client has as many connections as it may.
pub(crate) struct TooMany;

/// Counts a connection at its client's address, where that is limited.
///
/// Hostile case F6: one client's connections do not keep others out.
pub(crate) fn count(shared: &Shared, client: IpAddr) -> Result<Option<AddressCount>, TooMany> {
    let (settings, client) = (&shared.settings, client.to_canonical());
    match settings.connections_per_address_max {
        Some(max) if !settings.trusted.contains(client) => shared.addresses.count(client, max).map(Some).ok_or(TooMany),
        _ => Ok(None),
    }
}

/// Does a connection of this client have to wait, for its address has flooded the router? Counts those that do.
pub(crate) fn arrives(shared: &Shared, client: IpAddr, at: &ListenerState) -> Arrives {
    if shared.settings.never_pauses(client, at.kind) {
        return Arrives::Now;
    }
    let arrives = shared.pauses.arrives(client);
    match arrives {
        Arrives::Now => {}
        Arrives::Waits(_) => drop(at.paused.fetch_add(1, Ordering::Relaxed)),
        // In silence: what it might be told would cost as much as to serve it.
        Arrives::Never => drop(at.refused.fetch_add(1, Ordering::Relaxed)),
    }
    arrives
}

/// Tells a client that has as many connections as it may, where it would understand that.
pub(crate) fn turn_one_too_many_away(client: &impl AsFd, state: &ListenerState, speaks_tls: bool, shared: &Shared) {
    state.refused.fetch_add(1, Ordering::Relaxed);
    if !speaks_tls && is_http(state.kind, &shared.tables.borrow()) {
        // As much as the socket takes at once: a flood is not to keep anybody busy.
        let socket = SockRef::from(client);
        let _ = socket.send(&too_many_connections()).and_then(|_| socket.shutdown(Shutdown::Write));
    }
}

/// What is not known (`EMFILE` and its kin have no kind of their own, nor have most errors of the network that accept(2)
/// passes on) is met with a pause: whatever it is, it cannot make the loop spin.
fn trouble(error: &io::Error) -> Trouble {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::InvalidInput | Kind::Unsupported | Kind::NotConnected => Trouble::Fatal,
        Kind::ConnectionAborted | Kind::Interrupted | Kind::ConnectionReset => Trouble::Passing,
        _ => Trouble::Exhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_are_told_apart() {
        let of = |code| trouble(&io::Error::from_raw_os_error(code));
        // ECONNABORTED, EINTR
        assert_eq!((of(103), of(4)), (Trouble::Passing, Trouble::Passing));
        // EMFILE, ENFILE, ENOBUFS, ENOMEM
        assert_eq!([24, 23, 105, 12].map(of), [const { Trouble::Exhausted }; 4]);
        // EINVAL (no listener any more), EOPNOTSUPP
        assert_eq!((of(22), of(95)), (Trouble::Fatal, Trouble::Fatal));
    }
}
