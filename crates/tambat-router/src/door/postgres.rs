//! Clients of `PostgreSQL`: they wish for TLS, and the name that they say in it tells whom they want. Whoever wishes that
//! the query of another session be given up says by which key, and is led to where that session is.

use std::rc::Rc;
use std::time::Instant;

use tambat_model::{ErrorCode, HostPattern, ListenAddr};
use tambat_wire::door::postgres::{CancelRequest, Door, Refusal, Step, inside};
use tambat_wire::peek::{ClientHello, Peek, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::tls::{Owner, owner, refuse_name, shake};
use super::{Heard, Visitor, heard_within};
use crate::arrival::Arrival;
use crate::listener::Open;
use crate::stream::{self, dial};
use crate::tls::{Alpn, Told};
use crate::transport::Transport;
use crate::wanted::Wanted;
use crate::worker::Worker;

/// More than a cancel takes, and less than anybody says at once.
const INSIDE_CHUNK_BYTES: usize = 4 * 1024;

/// Leads a client that has begun so to whom it wants.
pub(super) async fn lead(at: ListenAddr, visitor: Visitor) {
    let limit = visitor.worker.shared.settings.handshake_timeout;
    let worker = Rc::clone(&visitor.worker);
    // Who takes longer is closed.
    let _ = heard_within(limit, &worker, agree(at, visitor)).await;
}

async fn agree(at: ListenAddr, mut visitor: Visitor) {
    let mut door = Door::new();
    loop {
        match door.on(&visitor.received) {
            Step::Incomplete => {}
            Step::Reply(words) => {
                visitor.received.clear();
                if visitor.say(words).await.is_err() {
                    return;
                }
            }
            Step::Hello(hello) => return greet(at, &hello, visitor).await,
            Step::Cancel(request) => {
                let Visitor { client, arrival, open: _open, worker, .. } = visitor;
                return cancel(&request, &arrival, &Transport::Tcp(client), &worker).await;
            }
            Step::Refuse(refusal) => {
                visitor.is_refused(None, ErrorCode::NotTold);
                return visitor.dismiss(&refusal.message()).await;
            }
            Step::Close => return visitor.is_refused(None, ErrorCode::NotTold),
        }
        if visitor.hear().await != Heard::More {
            return;
        }
    }
}

/// Its handshake has begun.
async fn greet(at: ListenAddr, hello: &ClientHello, visitor: Visitor) {
    let name = hello.server_name.asked();
    match name.and_then(|name| owner(at, name, &visitor)) {
        Some(Owner::Us(protocol)) => shake(Told { alpn: Alpn::of(protocol), ..Told::default() }, visitor).await,
        Some(Owner::App) => visitor.to(Wanted::PassedOnRequest(name.unwrap_or_default().into())),
        None => refuse(at, hello, visitor).await,
    }
}

/// Tells it, inside of TLS, that nobody has the name: only there it reads such a message. Where there is no certificate at
/// all for that, an alert has to do.
async fn refuse(at: ListenAddr, hello: &ClientHello, visitor: Visitor) {
    let refusal = match &hello.server_name {
        ServerName::Name(name) => Refusal::UnknownName(name.clone()),
        ServerName::Absent | ServerName::Address | ServerName::Invalid => Refusal::NoName,
    };
    let name = hello.server_name.asked().unwrap_or_default();
    let borrowed = visitor.entrance(at).and_then(|entrance| {
        let sites = entrance.terminated.sites();
        sites.iter().find_map(|(pattern, _)| match pattern {
            HostPattern::Exact(name) => Some(name.clone()),
            HostPattern::Under(_) | HostPattern::Any => None,
        })
    });
    match borrowed.filter(|_| visitor.open.listener().tls().is_some()) {
        Some(borrowed) => {
            visitor.is_refused(Some(name).filter(|name| !name.is_empty()), ErrorCode::NoRoute);
            let last = Some(refusal.message());
            shake(Told { name: Some(borrowed), alpn: Alpn::Postgres, last, ..Told::default() }, visitor).await;
        }
        None => refuse_name(name, &visitor),
    }
}

/// Passes a cancel on to where its session is, if that is known here: nobody is told what came of it, and who has no key
/// learns nothing.
async fn cancel(request: &CancelRequest, arrival: &Arrival, client: &Transport, worker: &Worker) {
    let Some(place) = worker.shared.cancels.find(&request.key) else { return };
    let id = worker.clock.request_id(Instant::now());
    let mut words = place.proxy_protocol.map(|version| arrival.header(version, client, &id)).unwrap_or_default();
    words.extend(request.bytes());
    let limit = worker.shared.settings.connect_timeout;
    let Ok(mut target) = dial(place.target, Some(&words), limit).await else { return };
    // It closes when the signal is sent, which the client waits for.
    let _ = timeout(limit, target.read(&mut [0])).await;
}

/// Serves a client whose handshake has ended here: it may wish for a cancel inside of TLS, too.
pub(crate) fn begin_inside(name: Box<str>, client: Transport, arrival: Arrival, open: Open, worker: Rc<Worker>) {
    spawn_local(async move {
        let limit = worker.shared.settings.handshake_timeout;
        match heard_within(limit, &worker, begins(&client)).await.flatten() {
            Some((received, None)) => {
                let wanted = Wanted::Terminated(name);
                spawn_local(stream::serve(wanted, client, received, arrival, open, worker));
            }
            Some((_, Some(request))) => {
                cancel(&request, &arrival, &client, &worker).await;
                client.farewell();
            }
            None => {}
        }
    });
}

/// What it has said first, and whether that is a cancel; none: nothing.
async fn begins(client: &Transport) -> Option<(Vec<u8>, Option<CancelRequest>)> {
    let mut received = Vec::new();
    let mut chunk = vec![0; INSIDE_CHUNK_BYTES];
    loop {
        match client.read(&mut chunk).await.ok()? {
            0 if received.is_empty() => return None,
            // Whatever that is, it is the app's business.
            0 => return Some((received, None)),
            more => received.extend_from_slice(&chunk[..more]),
        }
        match inside(&received) {
            Peek::Incomplete => {}
            Peek::Found(request) => return Some((received, Some(request))),
            Peek::No => return Some((received, None)),
        }
    }
}
