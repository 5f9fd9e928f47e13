//! How connections shake hands, or do not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{AlertDescription, Error, HandshakeKind, NamedGroup};
use tambat_model::HttpRules;
use tambat_router::{
    Certificates, ClientAuth, HandshakeFailure, Hello, ListenerKind, Lookup, RouterSettings, TlsSettings,
};

use super::words::{
    Named, VERSIONS, ask, certificate, client, ends_in_order, listen, listen_plainly, settings, shake, simple_client,
    trusting,
};
use crate::http::words::{Server, plain, router};
use crate::rig::{Rig, bounded, eventually};

fn failed(rig: &Rig, failure: HandshakeFailure) -> u64 {
    rig.counters().handshakes_failed[failure.index()]
}

#[test]
fn the_name_chooses_the_certificate_whatever_its_case_and_last_dot_g06() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let [a, b] = ["a.example", "b.example"].map(|name| certificate(&[name]));
    let settings = settings(Named::new(&[("a.example", &a), ("b.example", &b)]));
    let addr = listen(&rig, ListenerKind::Service(rig.port), &settings);
    for (name, certificate, other) in [("a.example", &a, &b), ("B.Example", &b, &a), ("a.example.", &a, &b)] {
        let mut well = client(addr, name, &Arc::new(trusting(certificate, &[&TLS13])));
        assert_eq!(ask(&mut well, name, "/").text(), "web /", "{name}");
        let mut ill = client(addr, name, &Arc::new(trusting(other, &[&TLS13])));
        assert!(matches!(shake(&mut ill), Err(Error::InvalidCertificate(_))), "{name}");
        // Its alert is to be seen before it goes.
        let _ = ill.flush();
    }
    eventually("three did not trust us", || failed(&rig, HandshakeFailure::Alert) == 3);
    let mut unknown = client(addr, "c.example", &Arc::new(trusting(&a, &VERSIONS)));
    assert_eq!(shake(&mut unknown), Err(Error::AlertReceived(AlertDescription::UnrecognisedName)));
    // An address is no name (RFC 6066 §3), and without a name there is nothing here.
    let mut nameless = client(addr, "127.0.0.1", &Arc::new(trusting(&a, &VERSIONS)));
    assert_eq!(shake(&mut nameless), Err(Error::AlertReceived(AlertDescription::UnrecognisedName)));
    eventually("two are counted", || failed(&rig, HandshakeFailure::Name) == 2);
}

#[test]
fn who_names_nobody_gets_the_default_certificate_g06() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let certificate = certificate(&["127.0.0.1"]);
    let named = Named { default: Some(Arc::clone(&certificate)), ..Named::default() };
    let addr = listen(&rig, ListenerKind::Service(rig.port), &settings(named));
    let mut client = client(addr, "127.0.0.1", &Arc::new(trusting(&certificate, &[&TLS13])));
    // Whatever it asks for: it has said of nobody that it wants to talk to them.
    assert_eq!(ask(&mut client, "a.example", "/").text(), "web /");
}

#[test]
fn what_is_spoken_is_agreed_or_there_is_an_alert_g14() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    for version in VERSIONS {
        for (offered, agreed) in
            [(vec![], None), (vec!["http/1.1"], Some("http/1.1")), (vec!["http/1.0", "http/1.1"], Some("http/1.1"))]
        {
            let mut config = trusting(&certificate, &[version]);
            config.alpn_protocols = offered.iter().map(|name: &&str| name.as_bytes().to_vec()).collect();
            let mut client = client(addr, "a.example", &Arc::new(config));
            assert_eq!(ask(&mut client, "a.example", "/").text(), "web /");
            assert_eq!(client.conn.alpn_protocol(), agreed.map(str::as_bytes));
        }
        let mut config = trusting(&certificate, &[version]);
        config.alpn_protocols = vec![b"imap".to_vec(), b"acme-tls/1".to_vec()];
        let mut client = client(addr, "a.example", &Arc::new(config));
        assert_eq!(shake(&mut client), Err(Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
    }
    eventually("both are counted", || failed(&rig, HandshakeFailure::Protocol) == 2);
}

#[test]
fn the_proof_of_a_challenge_is_a_handshake_and_nothing_else() {
    let rig = plain(&[]);
    let proof = certificate(&["a.example"]);
    let named = Named { acme: Some(Arc::clone(&proof)), ..Named::default() };
    let addr = listen(&rig, ListenerKind::Service(rig.port), &settings(named));
    let mut config = trusting(&proof, &[&TLS13]);
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let mut client = client(addr, "a.example", &Arc::new(config));
    shake(&mut client).unwrap();
    assert_eq!(client.conn.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    eventually("it is closed", || rig.counters().open == 0);
    let _ = ends_in_order(&mut client);
    assert_eq!(rig.counters().handshakes, 1);
}

/// One that gets its certificate later.
#[derive(Debug)]
struct Later(Named, Duration);

impl Certificates for Later {
    fn find(&self, hello: &Hello<'_>) -> Lookup {
        let (Lookup::Found(certificate), after) = (self.0.find(hello), self.1) else { return Lookup::None };
        Lookup::Wait(Box::pin(async move {
            tokio::time::sleep(after).await;
            Some(certificate)
        }))
    }
}

#[test]
fn a_certificate_may_come_later_but_not_too_late() {
    let server = Server::new("web");
    let short = RouterSettings { handshake_timeout: Duration::from_secs(3), ..RouterSettings::default() };
    let rig = router(&[&server.backend], HttpRules::default(), short);
    let certificate = certificate(&["a.example"]);
    let named = || Named::new(&[("a.example", &certificate)]);
    let soon = listen(&rig, ListenerKind::Service(rig.port), &settings(Later(named(), Duration::from_millis(100))));
    let late = listen(&rig, ListenerKind::Service(rig.port), &settings(Later(named(), Duration::from_mins(1))));
    assert_eq!(ask(&mut simple_client(soon, &certificate), "a.example", "/").text(), "web /");
    let mut client = simple_client(late, &certificate);
    client.conn.complete_io(&mut client.sock).expect_err("it is closed");
    eventually("it is counted", || failed(&rig, HandshakeFailure::Timeout) == 1);
}

#[test]
fn a_handshake_that_does_not_go_on_is_ended_f04() {
    let limit = Duration::from_millis(300);
    let short = RouterSettings { handshake_timeout: limit, ..RouterSettings::default() };
    let rig = router(&[], HttpRules::default(), short);
    let (addr, certificate) = listen_plainly(&rig);
    let hello = hello(&certificate);
    // Nothing, the first byte, and all but the last.
    for sent in [0, 1, hello.len() - 1] {
        let start = Instant::now();
        let mut client = bounded(TcpStream::connect(addr).unwrap());
        client.write_all(&hello[..sent]).unwrap();
        assert_eq!(client.read(&mut [0; 16]).unwrap_or_default(), 0);
        assert!(start.elapsed() >= limit, "{:?}", start.elapsed());
    }
    eventually("all are closed", || rig.counters().open == 0);
    eventually("all are counted", || failed(&rig, HandshakeFailure::Timeout) == 3);
}

/// The first bytes of a client of `a.example`.
fn hello(certificate: &tambat_router::Certificate) -> Vec<u8> {
    let name = "a.example".try_into().unwrap();
    let config = Arc::new(trusting(certificate, &VERSIONS));
    let mut bytes = Vec::new();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

/// A hello in pieces.
type Reshape = fn(&[u8]) -> Vec<Vec<u8>>;

/// Gives a client's hello to the wire in another shape.
struct Reshaping<'a> {
    stream: &'a TcpStream,
    reshape: Option<Reshape>,
}

impl std::io::Write for Reshaping<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.reshape.take() {
            Some(reshape) => reshape(bytes).iter().try_for_each(|piece| self.stream.write_all(piece))?,
            None => self.stream.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A handshake message of one record as one of records with so many bytes each (RFC 8446 §5.1).
fn in_records(record: &[u8], bytes: usize) -> Vec<u8> {
    let (header, message) = record.split_at(5);
    let records = message.chunks(bytes).map(|part| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&header[..3], &length, part].concat()
    });
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_hello_may_come_in_pieces_g07() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let shapes: [Reshape; 3] = [
        |hello| hello.chunks(1).map(<[u8]>::to_vec).collect(),
        |hello| vec![in_records(hello, hello.len() / 5)],
        |hello| vec![in_records(hello, 1)],
    ];
    for shape in shapes {
        let mut client = simple_client(addr, &certificate);
        client.sock.set_nodelay(true).unwrap();
        client.conn.write_tls(&mut Reshaping { stream: &client.sock, reshape: Some(shape) }).unwrap();
        assert_eq!(ask(&mut client, "a.example", "/").text(), "web /");
    }
}

#[test]
fn a_hello_may_be_long_but_not_endless_g07() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut long = trusting(&certificate, &[&TLS13]);
    // Names of protocols have 255 bytes at most.
    long.alpn_protocols = (0..80_u8).map(|nth| vec![nth; 250]).chain([b"http/1.1".to_vec()]).collect();
    let mut well = client(addr, "a.example", &Arc::new(long));
    assert_eq!(ask(&mut well, "a.example", "/").text(), "web /");
    // A message that says it has 16 MiB, of which nobody keeps more than 64 KiB.
    let mut endless = bounded(TcpStream::connect(addr).unwrap());
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut taken = 0;
    while endless.write_all(&record).is_ok() && taken < 8 * 1024 * 1024 {
        taken += record.len();
        record[5..9].fill(0);
    }
    eventually("it is refused", || {
        failed(&rig, HandshakeFailure::NotTls) + failed(&rig, HandshakeFailure::Broken) == 1
    });
    assert!(taken < 8 * 1024 * 1024, "{taken}");
}

#[test]
fn what_is_no_tls_is_told_so() {
    let rig = plain(&[]);
    let (addr, _certificate) = listen_plainly(&rig);
    let mut client = bounded(TcpStream::connect(addr).unwrap());
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard[0], 0x15, "an alert: {heard:?}");
    eventually("it is counted", || failed(&rig, HandshakeFailure::NotTls) == 1);
}

#[test]
fn tickets_resume_for_their_own_name_alone() {
    let server = Server::new("web");
    for version in VERSIONS {
        let rig = plain(&[&server.backend]);
        // One certificate for both, so that nothing but the name keeps them apart.
        let both = certificate(&["a.example", "b.example"]);
        let certificates = || Named::new(&[("a.example", &both), ("b.example", &both)]);
        let kind = ListenerKind::Service(rig.port);
        let (here, there) = (settings(certificates()), settings(certificates()));
        let (addr, same, other) = (listen(&rig, kind, &here), listen(&rig, kind, &here), listen(&rig, kind, &there));
        let config = Arc::new(trusting(&both, &[version]));
        let kind_of = |addr, name: &str| {
            let mut client = client(addr, name, &config);
            assert_eq!(ask(&mut client, name, "/").text(), "web /");
            client.conn.handshake_kind().unwrap()
        };
        assert_eq!(kind_of(addr, "a.example"), HandshakeKind::Full);
        assert_eq!(kind_of(addr, "a.example"), HandshakeKind::Resumed);
        assert_eq!(kind_of(same, "a.example"), HandshakeKind::Resumed);
        // Another listener's settings have keys of their own.
        assert_eq!(kind_of(other, "a.example"), HandshakeKind::Full);
        // The tickets of one name, offered under the other.
        let mut thief = trusting(&both, &[version]);
        thief.resumption = Resumption::store(Arc::<Stolen>::default());
        let thief = Arc::new(thief);
        let steal = |name: &str| {
            let mut client = client(addr, name, &thief);
            assert_eq!(ask(&mut client, name, "/").text(), "web /");
            client.conn.handshake_kind().unwrap()
        };
        assert_eq!(steal("a.example"), HandshakeKind::Full);
        assert_eq!(steal("a.example"), HandshakeKind::Resumed);
        assert_eq!(steal("b.example"), HandshakeKind::Full);
    }
}

/// A client's store of tickets that gives those of one name to all.
#[derive(Debug, Default)]
struct Stolen {
    session: Mutex<Option<Tls12ClientSessionValue>>,
    tickets: Mutex<Vec<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for Stolen {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.session.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.session.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.session.lock().unwrap() = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.tickets.lock().unwrap().push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tickets.lock().unwrap().pop()
    }
}

#[test]
fn old_versions_are_refused() {
    let rig = plain(&[]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut hello = hello(&certificate);
    // Without its list of versions, and with TLS 1.1 as the best it knows (RFC 8446 §4.2.1, §D.2).
    let list = hello.windows(4).position(|four| four[..2] == [0, 43] && four[2] == 0).unwrap();
    hello[list] = 0xfa;
    hello[list + 1] = 0xfa;
    hello[9..11].copy_from_slice(&[3, 2]);
    let mut client = bounded(TcpStream::connect(addr).unwrap());
    client.write_all(&hello).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, [0x15, 3, 3, 0, 2, 2, u8::from(AlertDescription::ProtocolVersion)]);
    eventually("it is counted", || failed(&rig, HandshakeFailure::Incompatible) == 1);
}

#[test]
fn many_handshakes_that_do_not_go_on_keep_no_request_waiting() {
    const MANY: usize = 1_000;
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut running = simple_client(addr, &certificate);
    assert_eq!(ask(&mut running, "a.example", "/").text(), "web /");
    let hello = hello(&certificate);
    let slow: Vec<TcpStream> = (0..MANY)
        .map(|_| {
            let mut client = TcpStream::connect(addr).unwrap();
            client.write_all(&hello[..hello.len() / 2]).unwrap();
            client
        })
        .collect();
    eventually("all are under way", || rig.counters().handshakes_under_way == MANY);
    assert_eq!(ask(&mut running, "a.example", "/").text(), "web /");
    assert_eq!(ask(&mut simple_client(addr, &certificate), "a.example", "/").text(), "web /");
    // All of them at once.
    for mut client in &slow {
        client.write_all(&hello[hello.len() / 2..]).unwrap();
    }
    assert_eq!(ask(&mut running, "a.example", "/").text(), "web /");
    drop(slow);
    eventually("none is under way", || rig.counters().handshakes_under_way == 0);
}

#[test]
fn a_router_ends_with_handshakes_under_way() {
    let rig = plain(&[]);
    let (addr, _certificate) = listen_plainly(&rig);
    let mut client = bounded(TcpStream::connect(addr).unwrap());
    eventually("it is under way", || rig.counters().handshakes_under_way == 1);
    drop(rig);
    assert_eq!(client.read(&mut [0; 16]).unwrap_or_default(), 0);
}

#[test]
fn client_certificates_need_somebody_who_signs_them() {
    let nobody = ClientAuth::Required(Arc::new(rustls::RootCertStore::empty()));
    let error = TlsSettings::new(Arc::new(Named::default()), nobody).unwrap_err();
    assert!(error.to_string().starts_with("cannot check client certificates: "), "{error}");
}
