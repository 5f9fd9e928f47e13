//! Clients that begin with TLS: who has the name that they say ends the handshake here, or has it itself.

use tambat_model::{ByServerName, ErrorCode, ListenAddr, Opening, Protocol};
use tambat_wire::peek::ClientHello;
use tokio::time::timeout;

use super::Visitor;
use crate::socket::send_unasked;
use crate::tls::{ACME_PROTOCOL, Alpn, HandshakeFailure, Told, Unshaken, alerts};
use crate::wanted::Wanted;

/// What ALPN calls the `PostgreSQL` protocol.
const POSTGRES_PROTOCOL: &[u8] = b"postgresql";

/// Who has a name.
#[derive(Clone, Copy)]
pub(super) enum Owner {
    /// The handshake ends here; this is spoken inside.
    Us(Protocol),
    /// It is the app's.
    App,
}

/// Who has this name here.
pub(super) fn owner(at: ListenAddr, name: &str, visitor: &Visitor) -> Option<Owner> {
    let table = visitor.worker.tables.newest();
    Some(match table.entrance(at)?.by_server_name(name)? {
        ByServerName::Terminated(site) => Owner::Us(site.route.protocol),
        ByServerName::Passed(_) => Owner::App,
    })
}

/// Leads a client whose hello is this to whom it wants.
pub(super) async fn lead(at: ListenAddr, hello: ClientHello, visitor: Visitor) {
    let is_challenge = matches!(&*hello.alpn, [protocol] if **protocol == *ACME_PROTOCOL);
    if is_challenge && visitor.open.listener().tls().is_some() {
        return shake(Told { alpn: Alpn::Http, ..Told::default() }, visitor).await;
    }
    let Some(name) = hello.server_name.asked() else {
        return refuse_name("", &visitor);
    };
    match owner(at, name, &visitor) {
        Some(Owner::Us(Protocol::Postgres)) if is_unsure(at, &hello, &visitor) => {
            visitor.is_refused(Some(name), ErrorCode::NotTold);
            let _ = visitor.say(&alerts::NO_APPLICATION_PROTOCOL).await;
        }
        Some(Owner::Us(protocol)) => shake(Told { alpn: Alpn::of(protocol), ..Told::default() }, visitor).await,
        Some(Owner::App) => visitor.to(Wanted::Passed(name.into())),
        None => refuse_name(name, &visitor),
    }
}

/// Does a client of `PostgreSQL` that begins with TLS at once not say that it is one? Servers ask for that, too: what else
/// might be meant by these bytes is never passed on to a database ("SSL Session Encryption" in its manual).
fn is_unsure(at: ListenAddr, hello: &ClientHello, visitor: &Visitor) -> bool {
    let tells = visitor.entrance(at).is_some_and(|entrance| entrance.tells(Opening::Postgres));
    tells && !hello.offers(POSTGRES_PROTOCOL)
}

/// Nobody has this name: an alert says so (RFC 6066 §3).
pub(super) fn refuse_name(name: &str, visitor: &Visitor) {
    visitor.open.listener().handshakes.count::<()>(&Err(HandshakeFailure::Name));
    visitor.is_refused(Some(name).filter(|name| !name.is_empty()), ErrorCode::NoRoute);
    let _ = send_unasked(&visitor.client, &alerts::UNRECOGNIZED_NAME, false);
}

/// Has a thread shake hands, as soon as one more handshake may be under way. What was received is its beginning.
pub(super) async fn shake(told: Told, visitor: Visitor) {
    let Visitor { client, received, arrival, open, worker } = visitor;
    // Nobody who has a name here is to be had without certificates.
    let Some(settings) = open.listener().tls().cloned() else { return };
    let limit = worker.shared.settings.handshake_timeout;
    let room = timeout(limit, worker.shared.handshake_room.clone().acquire_owned()).await;
    if let (Ok(Ok(room)), Ok(client)) = (room, client.into_std()) {
        let told = Some(Box::new(Told { before: received, ..told }));
        worker.shared.shake(Unshaken { client, arrival, open, settings, worker: worker.number, room, told });
    }
}
