//! What follows from TLS for requests: redirects to it, HSTS, ACME challenges, client certificates.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tambat_model::{HttpRules, HttpsRedirect, Protocol, Route, RouteTable, Site};
use tambat_router::{
    Certificate, Challenges, ClientAuth, HandshakeFailure, Listener, ListenerKind, RouterSettings, TlsSettings,
};

use super::words::{Client, Named, ask, certificate, client, der, listen, settings, shake, simple_client, trusting};
use crate::http::words::{Message, Server, message as plain_message, router, send};
use crate::rig::{Backend, Rig, bounded, eventually, serve};

/// One challenge, and one public name.
#[derive(Debug)]
struct Known;

impl Challenges for Known {
    fn answer(&self, host: &str, token: &str) -> Option<String> {
        ((host, token) == ("a.example", "to-ken_1")).then(|| "to-ken_1.print".to_owned())
    }

    fn is_public(&self, host: &str) -> bool {
        host == "public.example"
    }
}

fn challenges() -> RouterSettings {
    RouterSettings { challenges: Some(Arc::new(Known)), ..RouterSettings::default() }
}

/// A router with shared listeners, without TLS and with it, where everybody is served by this server under these rules.
fn shared(
    server: &Server,
    rules: HttpRules,
    settings_: RouterSettings,
) -> (Rig, SocketAddr, SocketAddr, Arc<Certificate>) {
    let rig = router(&[], HttpRules::default(), settings_);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let plain = socket.local_addr().unwrap();
    rig.router.add(Listener { kind: ListenerKind::Shared, sockets: vec![socket], tls: None }).unwrap();
    let certificate = certificate(&["a.example"]);
    let secured = listen(&rig, ListenerKind::Shared, &settings(Named::new(&[("a.example", &certificate)])));
    let mut table = RouteTable::default();
    let route = Route { http: Arc::new(rules), ..Route::new("web", Protocol::Http, serve(&[&server.backend])) };
    let site = Site { path: "/".parse().unwrap(), strip: false, route: Arc::new(route) };
    table.hosts_mut().insert("*".parse().unwrap(), site).unwrap();
    rig.publish_table(table);
    (rig, plain, secured, certificate)
}

fn ask_plainly(addr: SocketAddr, request: &str) -> Message {
    let client = bounded(TcpStream::connect(addr).unwrap());
    send(&client, request);
    plain_message(&client)
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn who_comes_without_tls_is_sent_there() {
    let server = Server::new("web");
    let rules = HttpRules {
        https_redirect: HttpsRedirect::Always,
        health_path: Some("/healthz".to_owned()),
        ..HttpRules::default()
    };
    let (rig, plain, secured, certificate) = shared(&server, rules, challenges());
    let url = format!("https://a.example:{}/b?c=%2f", secured.port());
    let sent = ask_plainly(plain, &get("A.example.:8080", "/x/../b?c=%2f"));
    assert_eq!((sent.status(), sent.field("location")), (308, Some(&*url)));
    assert_eq!((sent.field("content-length"), sent.field("cache-control")), (Some("0"), Some("no-store")));
    // The body of a request that is sent elsewhere is nobody's.
    let posted = ask_plainly(plain, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((posted.status(), posted.field("connection")), (308, Some("close")));
    assert_eq!(server.served(), 0);
    // Whoever asks for its health is answered.
    assert_eq!(ask_plainly(plain, &get("a.example", "/healthz")).text(), "web /healthz");
    // And over TLS everybody is.
    assert_eq!(ask(&mut simple_client(secured, &certificate), "a.example", "/").text(), "web /");
    drop(rig);
}

#[test]
fn unless_said_only_public_names_are_sent_there() {
    let server = Server::new("web");
    let (_rig, plain, ..) = shared(&server, HttpRules::default(), challenges());
    assert_eq!(ask_plainly(plain, &get("public.example", "/")).status(), 308);
    assert_eq!(ask_plainly(plain, &get("a.example", "/")).text(), "web /");
    let never = HttpRules { https_redirect: HttpsRedirect::Never, ..HttpRules::default() };
    let (_rig, plain, ..) = shared(&server, never, challenges());
    assert_eq!(ask_plainly(plain, &get("public.example", "/")).text(), "web /");
}

#[test]
fn who_came_over_tls_to_a_trusted_proxy_is_not_sent_round_in_circles() {
    let server = Server::new("web");
    let always = HttpRules { https_redirect: HttpsRedirect::Always, ..HttpRules::default() };
    let trusting = RouterSettings { trusted: ["127.0.0.1/32".parse().unwrap()].into_iter().collect(), ..challenges() };
    let (_rig, plain, ..) = shared(&server, always.clone(), trusting);
    let forwarded = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_eq!(ask_plainly(plain, forwarded).text(), "web /");
    assert_eq!(ask_plainly(plain, &get("a.example", "/")).status(), 308);
    let (_rig, plain, ..) = shared(&server, always, challenges());
    assert_eq!(ask_plainly(plain, forwarded).status(), 308);
}

#[test]
fn without_a_listener_for_tls_nobody_is_sent_to_one() {
    let server = Server::new("web");
    let rules = HttpRules { https_redirect: HttpsRedirect::Always, ..HttpRules::default() };
    let rig = router(&[&server.backend], rules, challenges());
    assert_eq!(ask_plainly(rig.addr(), &get("a.example", "/")).text(), "web /");
}

#[test]
fn hsts_is_told_over_tls_alone() {
    let server = Server::new("web");
    let headers = vec![("X-A".to_owned(), "b".to_owned())];
    let https_headers = Some("1d".parse::<tambat_model::Hsts>().unwrap().added_to(&headers));
    let rules = HttpRules { headers, https_headers, ..HttpRules::default() };
    let (_rig, plain, secured, certificate) = shared(&server, rules, RouterSettings::default());
    let plainly = ask_plainly(plain, &get("a.example", "/"));
    assert_eq!((plainly.field("x-a"), plainly.field("strict-transport-security")), (Some("b"), None));
    let securely = ask(&mut simple_client(secured, &certificate), "a.example", "/");
    assert_eq!(securely.field("strict-transport-security"), Some("max-age=86400"));
    assert_eq!(securely.field("x-a"), Some("b"));
}

#[test]
fn the_proof_of_a_challenge_wins_over_the_app_and_the_redirect_h15() {
    let server = Server::new("web");
    let rules = HttpRules { https_redirect: HttpsRedirect::Always, ..HttpRules::default() };
    for rules in [HttpRules::default(), rules] {
        let (_rig, plain, secured, certificate) = shared(&server, rules, challenges());
        let proof = ask_plainly(plain, &get("a.example", "/.well-known/acme-challenge/to-ken_1"));
        assert_eq!((proof.status(), proof.text()), (200, "to-ken_1.print"));
        assert_eq!(proof.field("content-type"), Some("application/octet-stream"));
        let head = bounded(TcpStream::connect(plain).unwrap());
        send(
            &head,
            "HEAD /.well-known/acme-challenge/to-ken_1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        );
        assert!(String::from_utf8(crate::rig::rest(&head)).unwrap().ends_with("\r\n\r\n"));
        assert_eq!(server.served(), 0);
        // Over TLS the path is the app's, and so is every other.
        let path = "/.well-known/acme-challenge/to-ken_1";
        assert_eq!(ask(&mut simple_client(secured, &certificate), "a.example", path).text(), format!("web {path}"));
        server.requests.store(0, std::sync::atomic::Ordering::Relaxed);
    }
    let (_rig, plain, ..) = shared(&server, HttpRules::default(), challenges());
    for (host, token) in [("b.example", "to-ken_1"), ("a.example", "other"), ("a.example", "a/b"), ("a.example", "")] {
        let path = format!("/.well-known/acme-challenge/{token}");
        assert_eq!(ask_plainly(plain, &get(host, &path)).text(), format!("web {path}"), "{host}");
    }
}

/// A CA for clients, and a certificate that it has signed.
struct ClientCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl ClientCa {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    fn signs(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

/// A client of `a.example` with a certificate of its own.
fn client_with(
    addr: SocketAddr,
    trusted: &Certificate,
    own: (CertificateDer<'static>, PrivateKeyDer<'static>),
) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(der(trusted)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own.0], own.1)
        .unwrap();
    client(addr, "a.example", &Arc::new(config))
}

/// What a backend is told of a client that asks through this listener.
fn told(client: &mut Client, backend: &Backend) -> Message {
    let forged = "Client-Cert: :AAAA:\r\nX-Client-Cert-Subject: CN=root\r\nX-Client-Cert-SHA256: 00\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{forged}\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let target = backend.accept();
    let seen = plain_message(&target);
    send(&target, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", "ok"].concat());
    seen
}

#[test]
fn a_client_certificate_is_proved_and_passed_on() {
    let backend = Backend::new("web.1");
    let rig = router(&[&backend], HttpRules::default(), RouterSettings::default());
    let (ours, theirs) = (ClientCa::new(), ClientCa::new());
    let certificate = certificate(&["a.example"]);
    let kind = ListenerKind::Service(rig.port);
    let with = |auth| {
        let named = Arc::new(Named::new(&[("a.example", &certificate)]));
        listen(&rig, kind, &Arc::new(TlsSettings::new(named, auth).unwrap()))
    };
    let (required, optional) = (with(ClientAuth::Required(ours.roots())), with(ClientAuth::Optional(ours.roots())));
    for addr in [required, optional] {
        let (own, key) = ours.signs("alice");
        let mut client = client_with(addr, &certificate, (own.clone(), key));
        let seen = told(&mut client, &backend);
        assert!(seen.field("x-client-cert-subject").unwrap().contains("CN=alice"), "{}", seen.head);
        let passed_on = seen.field("client-cert").unwrap();
        assert!(passed_on.len() > 100 && passed_on.starts_with(":MII") && passed_on.ends_with(':'), "{passed_on}");
        assert_eq!(seen.field("x-client-cert-sha256").unwrap().len(), 64);
        // One that another CA has signed is refused.
        let mut stranger = client_with(addr, &certificate, theirs.signs("alice"));
        let _ = shake(&mut stranger);
        assert!(stranger.read(&mut [0; 16]).is_err());
    }
    eventually("both are counted", || {
        rig.counters().handshakes_failed[HandshakeFailure::ClientCertificate.index()] == 2
    });
    // Without a certificate nobody is let in where one is required, and nothing is said of it where it is not.
    let mut nobody = simple_client(required, &certificate);
    let _ = shake(&mut nobody);
    assert!(nobody.read(&mut [0; 16]).is_err());
    let seen = told(&mut simple_client(optional, &certificate), &backend);
    assert!(!seen.head.to_ascii_lowercase().contains("client-cert"), "{}", seen.head);
}

#[test]
fn a_ticket_of_a_listener_without_client_certificates_opens_none_with() {
    let server = Server::new("web");
    let rig = router(&[&server.backend], HttpRules::default(), RouterSettings::default());
    let certificate = certificate(&["a.example"]);
    let named = || Arc::new(Named::new(&[("a.example", &certificate)]));
    let kind = ListenerKind::Service(rig.port);
    let open = listen(&rig, kind, &Arc::new(TlsSettings::new(named(), ClientAuth::Off).unwrap()));
    let required = ClientAuth::Required(ClientCa::new().roots());
    let closed = listen(&rig, kind, &Arc::new(TlsSettings::new(named(), required).unwrap()));
    // Both are the same name for the client, so that it offers what it got from the one to the other.
    let config = Arc::new(trusting(&certificate, &[&TLS13]));
    assert_eq!(ask(&mut client(open, "a.example", &config), "a.example", "/").text(), "web /");
    let mut resuming = client(closed, "a.example", &config);
    let _ = shake(&mut resuming);
    assert!(resuming.read(&mut [0; 16]).is_err());
    let mut resuming = client(open, "a.example", &config);
    assert_eq!(ask(&mut resuming, "a.example", "/").text(), "web /");
}
