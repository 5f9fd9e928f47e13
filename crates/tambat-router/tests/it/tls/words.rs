//! The words of these tests: certificates, a router with a TLS listener, and clients that shake hands.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tambat_router::{Certificate, Certificates, ClientAuth, Hello, Listener, ListenerKind, Lookup, TlsSettings};

use crate::http::words::Message;
use crate::rig::{Rig, bounded};

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A certificate that signs itself, for these names, and what trusts it.
pub(crate) fn certificate(names: &[&str]) -> Arc<Certificate> {
    let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let key = CertifiedKey::new(vec![made.cert.der().clone()], any_supported_type(&key).unwrap());
    Arc::new(Certificate { key: Arc::new(key), covers: names.iter().map(|name| name.parse().unwrap()).collect() })
}

pub(crate) fn der(certificate: &Certificate) -> CertificateDer<'static> {
    certificate.key.cert[0].clone()
}

/// Certificates by name, a default one for clients that name none, and what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) names: BTreeMap<String, Arc<Certificate>>,
    pub(crate) default: Option<Arc<Certificate>>,
    pub(crate) acme: Option<Arc<Certificate>>,
    pub(crate) asked: Mutex<Vec<Option<String>>>,
}

impl Named {
    pub(crate) fn new(certificates: &[(&str, &Arc<Certificate>)]) -> Self {
        let names = certificates.iter().map(|(name, certificate)| ((*name).to_owned(), Arc::clone(certificate)));
        Self { names: names.collect(), ..Self::default() }
    }
}

impl Certificates for Named {
    fn find(&self, hello: &Hello<'_>) -> Lookup {
        self.asked.lock().unwrap().push(hello.server_name.map(str::to_owned));
        let found = match hello.server_name {
            Some(_) if hello.acme => self.acme.as_ref(),
            Some(name) => self.names.get(name),
            None => self.default.as_ref(),
        };
        found.map_or(Lookup::None, |certificate| Lookup::Found(Arc::clone(certificate)))
    }
}

/// Adds a TLS listener of this kind to the router: its address.
pub(crate) fn listen(rig: &Rig, kind: ListenerKind, settings: &Arc<TlsSettings>) -> SocketAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    rig.router.add(Listener { kind, sockets: vec![socket], tls: Some(Arc::clone(settings)) }).unwrap();
    addr
}

/// The same with this certificate for `a.example`, at the service port's route.
pub(crate) fn listen_plainly(rig: &Rig) -> (SocketAddr, Arc<Certificate>) {
    let certificate = certificate(&["a.example"]);
    let settings = settings(Named::new(&[("a.example", &certificate)]));
    (listen(rig, ListenerKind::Service(rig.port), &settings), certificate)
}

pub(crate) fn settings(certificates: impl Certificates + 'static) -> Arc<TlsSettings> {
    Arc::new(TlsSettings::new(Arc::new(certificates), ClientAuth::Off).unwrap())
}

/// What a client is told that trusts this certificate. Its tickets are in it.
pub(crate) fn trusting(certificate: &Certificate, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(der(certificate)).unwrap();
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client that has connected, or shaken hands, or said a lot: rustls does each when the next is asked for.
pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;

/// A client of this name that shakes hands when it first writes.
pub(crate) fn client(addr: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Client {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(tls, bounded(TcpStream::connect(addr).unwrap()))
}

/// A client of `a.example` with TLS 1.3.
pub(crate) fn simple_client(addr: SocketAddr, certificate: &Certificate) -> Client {
    client(addr, "a.example", &Arc::new(trusting(certificate, &[&TLS13])))
}

/// Shakes hands: what the client's rustls says if it fails.
pub(crate) fn shake(client: &mut Client) -> Result<(), rustls::Error> {
    while client.conn.is_handshaking() {
        if let Err(error) = client.conn.complete_io(&mut client.sock) {
            let inner = error.into_inner().expect("an error of rustls");
            return Err(*inner.downcast::<rustls::Error>().expect("an error of rustls"));
        }
    }
    Ok(())
}

/// Asks for this path, and gets the answer.
pub(crate) fn ask(client: &mut Client, host: &str, path: &str) -> Message {
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    message(client)
}

/// The next message, which says how long it is, or has no body.
pub(crate) fn message(client: &mut Client) -> Message {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let mut message = Message { head: String::from_utf8(head).unwrap(), body: Vec::new() };
    if let Some(length) = message.field("content-length") {
        message.body = vec![0; length.parse().unwrap()];
        client.read_exact(&mut message.body).unwrap();
    }
    message
}

/// Has the router said that this is the end, and not only stopped?
pub(crate) fn ends_in_order(client: &mut Client) -> bool {
    match client.read(&mut [0; 16]) {
        Ok(read) => read == 0,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => panic!("{error}"),
    }
}
