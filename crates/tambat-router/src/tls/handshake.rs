//! One handshake: the client's hello, a certificate for it, and what follows until both sides have their keys.

use std::io::{self, Write as _};
use std::sync::Arc;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{Error, PeerIncompatible, ServerConnection};
use tokio::net::TcpStream;

use super::asked::asked;
use super::config::Alpn;
use super::failure::HandshakeFailure;
use super::line::Line;
use super::secured::{Secured, TlsVersion};
use super::settings::{Certificate, Hello, Lookup, TlsSettings};
use super::stream::Wire;
use crate::socket::is_transient;

/// Fatal alerts in the clear (RFC 8446 §6).
pub(crate) mod alerts {
    /// There is nothing for this name here (RFC 6066 §3).
    pub(crate) const UNRECOGNIZED_NAME: [u8; 7] = alert(112);

    /// The client knows no version that is spoken here.
    pub(crate) const PROTOCOL_VERSION: [u8; 7] = alert(70);

    /// It says nothing that is spoken here (RFC 7301 §3.2).
    pub(crate) const NO_APPLICATION_PROTOCOL: [u8; 7] = alert(120);

    /// It is nothing that the client has done.
    pub(crate) const INTERNAL_ERROR: [u8; 7] = alert(80);

    const fn alert(description: u8) -> [u8; 7] {
        [0x15, 3, 3, 0, 2, 2, description]
    }
}

/// What is known of a client that was heard before its handshake.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What it has sent of it.
    pub(crate) before: Vec<u8>,
    /// The name that it wants, whatever it says in its handshake; none: that is said there.
    pub(crate) name: Option<Box<str>>,
    /// What is spoken inside.
    pub(crate) alpn: Alpn,
    /// What it is told as soon as it can read it, and last; none: it is served.
    pub(crate) last: Option<Vec<u8>>,
}

/// A handshake that has no more costly arithmetic before it. Of TLS 1.3 the client's last word is missing as a rule.
#[derive(Debug)]
pub(super) struct Answered {
    tls: ServerConnection,
    server_name: Option<Box<str>>,
    certificate: Arc<Certificate>,
}

/// What has shaken hands.
#[derive(Debug)]
pub(super) struct Handshaken {
    pub(super) tls: ServerConnection,
    pub(super) secured: Secured,
}

/// Answers the client's hello, and goes on until the costly part is done. None: that was all the client wanted, and its
/// connection is to be closed.
pub(super) async fn answer(
    line: &mut Line,
    settings: &TlsSettings,
    told: &Told,
) -> Result<Option<Answered>, HandshakeFailure> {
    let mut before = &told.before[..];
    let accepted = hello(line, &mut before).await?;
    let (server_name, acme) = asked(&accepted.client_hello());
    let server_name = told.name.clone().or(server_name);
    let found = settings.certificates.find(&Hello { server_name: server_name.as_deref(), acme });
    let certificate = match found {
        Lookup::Found(certificate) => Some(certificate),
        Lookup::Wait(coming) => coming.await,
        Lookup::None => None,
    };
    let Some(certificate) = certificate else {
        return Err(refuse_name(line));
    };
    let config =
        if acme { settings.configs.of_acme(&certificate) } else { settings.configs.of(&certificate, told.alpn) };
    let mut tls = accepted.into_connection(config).map_err(|(error, alert)| refuse(line, &error, alert, false))?;
    while !before.is_empty() {
        take(&mut tls, &mut Replay { before: &mut before, line })?;
    }
    let until = if acme || settings.configs.asks_clients() { is_done } else { is_answered };
    go_on(line, &mut tls, until).await?;
    Ok((!acme).then_some(Answered { tls, server_name, certificate }))
}

impl Answered {
    /// The rest: the client's last word, which takes little time to check.
    pub(super) async fn finish(self, client: &TcpStream) -> Result<Handshaken, HandshakeFailure> {
        let Self { mut tls, server_name, certificate } = self;
        while tls.is_handshaking() {
            client.readable().await.map_err(|_| HandshakeFailure::Gone)?;
            take(&mut tls, &mut Wire::new(client))?;
        }
        let secured = Secured::new(&tls, server_name, certificate);
        Ok(Handshaken { tls, secured })
    }
}

/// The client's first message, 64 KiB at most, in as many records as it likes. `before`: its beginning, of which the rest is
/// left.
async fn hello(line: &mut Line, before: &mut &[u8]) -> Result<Accepted, HandshakeFailure> {
    let mut acceptor = Acceptor::default();
    loop {
        if before.is_empty() {
            while !is_fed(acceptor.read_tls(&mut &*line))? {
                line.readable().await.map_err(|_| HandshakeFailure::Gone)?;
            }
        } else {
            is_fed(acceptor.read_tls(before))?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, alert)) => return Err(refuse(line, &error, alert, true)),
        }
    }
}

/// Goes on until so much of it is done.
async fn go_on(
    line: &mut Line,
    tls: &mut ServerConnection,
    until: fn(&ServerConnection) -> bool,
) -> Result<(), HandshakeFailure> {
    while !until(tls) {
        if !tls.wants_write() {
            if !take(tls, &mut &*line)? {
                line.readable().await.map_err(|_| HandshakeFailure::Gone)?;
            }
            continue;
        }
        match tls.write_tls(&mut &*line) {
            Ok(_) => {}
            Err(error) if is_transient(&error) => line.writable().await.map_err(|_| HandshakeFailure::Gone)?,
            Err(_) => return Err(HandshakeFailure::Gone),
        }
    }
    Ok(())
}

/// What a client has sent before, and its socket to answer on.
struct Replay<'a, 'b> {
    before: &'a mut &'b [u8],
    line: &'a Line,
}

impl io::Read for Replay<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.before.read(into)
    }
}

impl io::Write for Replay<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// May bytes of the app be sent and received?
///
/// What rustls has for the client then, its tickets, is sent with the first answer. A client of TLS 1.2 waits for it.
fn is_done(tls: &ServerConnection) -> bool {
    !tls.is_handshaking() && (!tls.wants_write() || TlsVersion::of(tls) == TlsVersion::Tls13)
}

/// Has the client, of which no certificate is asked, all that it needs? In TLS 1.3 keys are agreed on and the signature
/// is made then; in TLS 1.2 the keys are what is left.
fn is_answered(tls: &ServerConnection) -> bool {
    let is_agreed = TlsVersion::of(tls) == TlsVersion::Tls13 && tls.negotiated_key_exchange_group().is_some();
    is_done(tls) || (is_agreed && !tls.wants_write())
}

/// Takes what has come from the client. Has anything?
fn take(tls: &mut ServerConnection, client: &mut (impl io::Read + io::Write)) -> Result<bool, HandshakeFailure> {
    if !is_fed(tls.read_tls(client))? {
        return Ok(false);
    }
    tls.process_new_packets().map_err(|error| {
        // Its alert, as far as the socket takes it at once.
        let _ = tls.write_tls(client);
        HandshakeFailure::of(&error, false)
    })?;
    Ok(true)
}

/// Has a read got anything?
fn is_fed(read: io::Result<usize>) -> Result<bool, HandshakeFailure> {
    match read {
        Ok(0) => Err(HandshakeFailure::Gone),
        Ok(_) => Ok(true),
        Err(error) if is_transient(&error) => Ok(false),
        Err(error) => Err(unreadable(&error)),
    }
}

/// More than rustls takes of a handshake, or an error of the socket.
fn unreadable(error: &io::Error) -> HandshakeFailure {
    if error.kind() == io::ErrorKind::InvalidData { HandshakeFailure::Broken } else { HandshakeFailure::Gone }
}

/// Tells the client what is wrong, as far as the socket takes it at once.
fn refuse(mut line: &Line, error: &Error, mut alert: AcceptedAlert, in_hello: bool) -> HandshakeFailure {
    let failure = HandshakeFailure::of(error, in_hello);
    match error {
        _ if failure == HandshakeFailure::Name => return refuse_name(line),
        // Clients of older versions do not know that extension: they are told what is wrong with them.
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => {
            let _ = line.write(&alerts::PROTOCOL_VERSION);
        }
        _ => {
            let _ = alert.write(&mut line);
        }
    }
    failure
}

fn refuse_name(mut line: &Line) -> HandshakeFailure {
    let _ = line.write(&alerts::UNRECOGNIZED_NAME);
    HandshakeFailure::Name
}
