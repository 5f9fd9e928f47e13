//! Clients and servers of XMPP: the domain that their stream is for says whom they want.

use std::rc::Rc;
use std::time::Duration;

use tambat_model::{ByServerName, ErrorCode, ListenAddr};
use tambat_wire::door::xmpp::{StartTls, StartTlsStep};
use tambat_wire::peek::xmpp::{StreamError, StreamHeader};

use super::tls::shake;
use super::{Heard, Visitor, heard_within};
use crate::tls::{Alpn, Told};
use crate::wanted::Wanted;

/// Who has a domain.
enum Owner {
    /// The app, from the first byte.
    App,
    /// The app, once TLS is agreed on and ended here.
    AppBehindUs,
}

/// Leads one whose stream begins so to whom it wants.
pub(super) async fn lead(at: ListenAddr, told: Result<StreamHeader, StreamError>, visitor: Visitor) {
    let id = visitor.id();
    let header = match told {
        Ok(header) => header,
        Err(error) => {
            visitor.is_refused(None, ErrorCode::NotTold);
            return visitor.dismiss(&error.answer(None, &id)).await;
        }
    };
    match owner(at, header.asked(), &visitor) {
        Some(Owner::App) => visitor.to(Wanted::Domain(header.asked().into())),
        Some(Owner::AppBehindUs) => {
            let limit: Duration = visitor.worker.shared.settings.handshake_timeout;
            let (worker, mut visitor) = (Rc::clone(&visitor.worker), visitor);
            match heard_within(limit, &worker, offer_tls(&header, &id, &mut visitor)).await {
                // A client need not say the name again.
                Some(Offered::Taken) => {
                    let told = Told { name: Some(header.asked().into()), alpn: Alpn::Xmpp, ..Told::default() };
                    shake(told, visitor).await;
                }
                Some(Offered::Declined(words)) => visitor.dismiss(&words).await,
                Some(Offered::Gone) => {}
                None => visitor.dismiss(&StartTls::late()).await,
            }
        }
        None => {
            visitor.is_refused(Some(header.asked()).filter(|name| !name.is_empty()), ErrorCode::NoRoute);
            visitor.dismiss(&header.nobody().answer(Some(&header), &id)).await;
        }
    }
}

fn owner(at: ListenAddr, domain: &str, visitor: &Visitor) -> Option<Owner> {
    let table = visitor.worker.tables.newest();
    let entrance = table.entrance(at)?;
    let site = entrance.xmpp.first(domain)?;
    let is_ended_here = matches!(
        entrance.by_server_name(domain),
        Some(ByServerName::Terminated(ended)) if ended.route.name == site.route.name
    );
    Some(if is_ended_here && visitor.open.listener().tls().is_some() { Owner::AppBehindUs } else { Owner::App })
}

/// It has begun the header of a stream, and not come to its end in time (RFC 6120 §4.9.3.4).
pub(super) async fn is_late(visitor: Visitor) {
    visitor.is_refused(None, ErrorCode::NotTold);
    let words = StreamError::ConnectionTimeout.answer(None, &visitor.id());
    visitor.dismiss(&words).await;
}

/// What has come of the offer of TLS.
enum Offered {
    /// Its next byte begins the handshake.
    Taken,
    /// It is to be told this.
    Declined(Vec<u8>),
    Gone,
}

/// Agrees on TLS.
async fn offer_tls(header: &StreamHeader, id: &str, visitor: &mut Visitor) -> Offered {
    let (mut offer, words) = match StartTls::begin(header, id) {
        Ok(begun) => begun,
        Err(words) => {
            visitor.is_refused(Some(header.asked()), ErrorCode::NotTold);
            return Offered::Declined(words);
        }
    };
    if visitor.say(&words).await.is_err() {
        return Offered::Gone;
    }
    loop {
        match offer.on(&visitor.received[header.len..]) {
            StartTlsStep::Incomplete => {}
            StartTlsStep::Handshake(words) => {
                if visitor.say(words).await.is_err() {
                    return Offered::Gone;
                }
                visitor.received = Vec::new();
                return Offered::Taken;
            }
            StartTlsStep::Close(words) => return Offered::Declined(words),
        }
        if visitor.hear().await != Heard::More {
            return Offered::Gone;
        }
    }
}
