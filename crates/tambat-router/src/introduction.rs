//! The PROXY header that a listed peer's connection begins with: read before anything else is, and nothing but it.
//!
//! What has arrived is looked at where it is, in the kernel, until the header is whole, and then exactly its bytes are
//! taken. So whoever comes next, TLS or a protocol, finds the socket as if there had been none.

use std::cell::RefMut;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};
use tambat_wire::proxy_protocol::{HEADER_BYTES_MAX, Peek, Wrong, peek};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::accept::{TooMany, arrives, count, turn_one_too_many_away};
use crate::arrival::Arrival;
use crate::connection;
use crate::listener::{First, Open};
use crate::pauses::{Arrives, Held};
use crate::report::RouterReport;
use crate::socket::receive;
use crate::tls::{TlsSettings, Unshaken};
use crate::transport::Transport;
use crate::worker::{Tools, Worker};

/// How long a header may take: long enough for a segment that is lost and sent again, as the standard has it, and too
/// short for somebody who has no header to send to keep much open (hostile case G2).
const HEADER_TIMEOUT_S: u64 = 3;

/// How often a worker reports a connection without its header: who is misconfigured makes many.
const REPORT_EVERY_S: u64 = 60;

/// Serves a connection that has to begin with a header, or closes it.
pub(crate) async fn introduce(client: TcpStream, peer: SocketAddr, open: Open, worker: Rc<Worker>) {
    let limit = Duration::from_secs(HEADER_TIMEOUT_S);
    let missing = match timeout(limit, read_header(&client, peer, &worker)).await {
        Ok(Ok(arrival)) => return welcome(client, arrival, open, worker).await,
        Ok(Err(missing)) => missing,
        Err(_) => Missing::Late,
    };
    let cause = match missing {
        // Some look only whether somebody listens.
        Missing::Gone => return,
        Missing::Late => format!("has sent no PROXY header within {HEADER_TIMEOUT_S} s"),
        Missing::Wrong(wrong) => wrong.to_string(),
    };
    open.listener().refused.fetch_add(1, Ordering::Relaxed);
    if worker.unintroduced.is_due(Instant::now(), Duration::from_secs(REPORT_EVERY_S)) {
        worker.shared.reports.send(RouterReport::Unintroduced { peer, cause });
    }
}

/// Serves a connection of which its header has told whose it is.
async fn welcome(client: TcpStream, arrival: Arrival, mut open: Open, worker: Rc<Worker>) {
    let tls = match open.first() {
        First::ProxyHeader(Some(settings)) => Some(Arc::clone(settings)),
        First::ProxyHeader(None) | First::Anything => None,
    };
    let mut turn = None;
    // The peer's own are nobody's else.
    if arrival.is_introduced() {
        turn = match arrives(&worker.shared, arrival.peer.ip(), open.listener()) {
            Arrives::Now => None,
            Arrives::Waits(turn) => Some(turn),
            Arrives::Never => return,
        };
        match count(&worker.shared, arrival.peer.ip()) {
            Ok(address) => open.is_by(address),
            Err(TooMany) => return turn_one_too_many_away(&client, open.listener(), tls.is_some(), &worker.shared),
        }
    }
    if turn.is_none() && tls.is_none() {
        return connection::begin(Transport::Tcp(client), arrival, open, &worker);
    }
    // Watched no more; only a runtime that ends fails to do so.
    let Ok(client) = client.into_std() else { return };
    match (turn, tls) {
        (Some(turn), tls) => worker.waiting_room.hold(Held { client, arrival, open, tls, turn }, &worker),
        (None, Some(settings)) => shake(client, arrival, open, settings, worker).await,
        (None, None) => {}
    }
}

/// Has the connection shake hands, as soon as one more handshake may be under way.
pub(crate) async fn shake(
    client: net::TcpStream,
    arrival: Arrival,
    open: Open,
    settings: Arc<TlsSettings>,
    worker: Rc<Worker>,
) {
    let limit = worker.shared.settings.handshake_timeout;
    let room = timeout(limit, Arc::clone(&worker.shared.handshake_room).acquire_owned()).await;
    if let Ok(Ok(room)) = room {
        worker.shared.shake(Unshaken { client, arrival, open, settings, worker: worker.number, room, told: None });
    }
}

/// Why there is no header.
enum Missing {
    /// The other end has closed the connection, or broken it off.
    Gone,
    Late,
    Wrong(Wrong),
}

impl From<io::Error> for Missing {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Takes the header, and says where the connection comes from. Cancelling it takes nothing.
async fn read_header(client: &TcpStream, peer: SocketAddr, worker: &Worker) -> Result<Arrival, Missing> {
    loop {
        let ready = client.ready(Interest::READABLE).await?;
        let mut buffer = RefMut::map(worker.tools.borrow_mut(), Tools::header);
        // Where more has to come the readiness is cleared, although something is there: the next segment sets it again,
        // and nothing spins until then (hostile case G5).
        let looked = client.try_io(Interest::READABLE, || {
            let seen = recv(client.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK)?;
            match peek(&buffer[..seen]) {
                Peek::Found(header) => Ok(Ok((Arrival::introduced(peer, &header), header.len))),
                Peek::Refused(wrong) => Ok(Err(Missing::Wrong(wrong))),
                Peek::Incomplete if seen == 0 => Ok(Err(Missing::Gone)),
                Peek::Incomplete => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match looked {
            Ok(found) => {
                let (arrival, len) = found?;
                // All of it is there.
                receive(client, &mut buffer[..len])?;
                return Ok(arrival);
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            // Nothing more comes: that stays so, and would be news again and again.
            Err(_) if ready.is_read_closed() => return Err(Missing::Gone),
            Err(_) => {}
        }
    }
}

impl Tools {
    /// Room for a header.
    fn header(&mut self) -> &mut [u8] {
        &mut self.ready().buffer[..HEADER_BYTES_MAX]
    }
}
