//! One handshake: the client's hello, a certificate for it, and what follows until both sides have their keys.

use std::io;
use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{Error, PeerIncompatible, ServerConnection};
use tokio::net::TcpStream;

use super::config::ACME_PROTOCOL;
use super::failure::HandshakeFailure;
use super::secured::{Secured, TlsVersion};
use super::settings::{Certificate, Hello, Lookup, TlsSettings};
use super::stream::Wire;
use crate::socket::{is_transient, send};

/// A fatal alert in the clear (RFC 8446 §6): there is nothing for this name here (RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = alert(112);

/// The same: the client knows no version that is spoken here.
const PROTOCOL_VERSION: [u8; 7] = alert(70);

const fn alert(description: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, description]
}

/// What has shaken hands.
#[derive(Debug)]
pub(crate) struct Handshaken {
    pub(super) tls: ServerConnection,
    pub(super) secured: Secured,
}

/// Shakes hands. None: that was all the client wanted, and its connection is to be closed.
pub(super) async fn shake(client: &TcpStream, settings: &TlsSettings) -> Result<Option<Handshaken>, HandshakeFailure> {
    let accepted = hello(client).await?;
    let (server_name, acme) = asked(&accepted);
    let found = settings.certificates.find(&Hello { server_name: server_name.as_deref(), acme });
    let certificate = match found {
        Lookup::Found(certificate) => Some(certificate),
        Lookup::Wait(coming) => coming.await,
        Lookup::None => None,
    };
    let Some(certificate) = certificate else {
        return Err(refuse_name(client));
    };
    let config = if acme { settings.configs.of_acme(&certificate) } else { settings.configs.of(&certificate) };
    let tls = accepted.into_connection(config).map_err(|(error, alert)| refuse(client, &error, alert, false))?;
    let tls = finish(client, tls).await?;
    Ok((!acme).then(|| handshaken(tls, server_name, certificate)))
}

fn handshaken(tls: ServerConnection, server_name: Option<Box<str>>, certificate: Arc<Certificate>) -> Handshaken {
    let secured = Secured::new(&tls, server_name, certificate);
    Handshaken { tls, secured }
}

/// The client's first message, 64 KiB at most, in as many records as it likes.
async fn hello(client: &TcpStream) -> Result<Accepted, HandshakeFailure> {
    let mut acceptor = Acceptor::default();
    loop {
        client.readable().await.map_err(|_| HandshakeFailure::Gone)?;
        match acceptor.read_tls(&mut Wire::new(client)) {
            Ok(0) => return Err(HandshakeFailure::Gone),
            Ok(_) => {}
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(unreadable(&error)),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, alert)) => return Err(refuse(client, &error, alert, true)),
        }
    }
}

/// The name that is asked for, and whether it is asked for the proof of a challenge.
fn asked(accepted: &Accepted) -> (Option<Box<str>>, bool) {
    let hello = accepted.client_hello();
    // In lower case already.
    let name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name).into());
    let acme = hello.alpn().is_some_and(|mut all| all.next() == Some(ACME_PROTOCOL) && all.next().is_none());
    (name, acme)
}

/// The rest, until bytes of the app may be sent and received.
///
/// What rustls has for the client then, its tickets, is sent with the first answer. A client of TLS 1.2 waits for it.
async fn finish(client: &TcpStream, mut tls: ServerConnection) -> Result<ServerConnection, HandshakeFailure> {
    loop {
        let is_done = !tls.is_handshaking();
        if is_done && (!tls.wants_write() || TlsVersion::of(&tls) == TlsVersion::Tls13) {
            return Ok(tls);
        }
        while tls.wants_write() {
            client.writable().await.map_err(|_| HandshakeFailure::Gone)?;
            match tls.write_tls(&mut Wire::new(client)) {
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(_) => return Err(HandshakeFailure::Gone),
            }
        }
        if is_done {
            return Ok(tls);
        }
        client.readable().await.map_err(|_| HandshakeFailure::Gone)?;
        match tls.read_tls(&mut Wire::new(client)) {
            Ok(0) => return Err(HandshakeFailure::Gone),
            Ok(_) => {}
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(unreadable(&error)),
        }
        if let Err(error) = tls.process_new_packets() {
            // Its alert, as far as the socket takes it at once.
            let _ = tls.write_tls(&mut Wire::new(client));
            return Err(HandshakeFailure::of(&error, false));
        }
    }
}

/// More than rustls takes of a handshake, or an error of the socket.
fn unreadable(error: &io::Error) -> HandshakeFailure {
    if error.kind() == io::ErrorKind::InvalidData { HandshakeFailure::Broken } else { HandshakeFailure::Gone }
}

/// Tells the client what is wrong, as far as the socket takes it at once.
fn refuse(client: &TcpStream, error: &Error, mut alert: AcceptedAlert, in_hello: bool) -> HandshakeFailure {
    let failure = HandshakeFailure::of(error, in_hello);
    match error {
        _ if failure == HandshakeFailure::Name => return refuse_name(client),
        // Clients of older versions do not know that extension: they are told what is wrong with them.
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => {
            let _ = send(client, &PROTOCOL_VERSION);
        }
        _ => {
            let _ = alert.write(&mut Wire::new(client));
        }
    }
    failure
}

fn refuse_name(client: &TcpStream) -> HandshakeFailure {
    let _ = send(client, &UNRECOGNIZED_NAME);
    HandshakeFailure::Name
}
