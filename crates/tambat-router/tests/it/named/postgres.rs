//! `PostgreSQL`: by the name in the handshake that its client wishes for, and cancels by their keys.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::version::TLS13;
use rustls::{ClientConnection, StreamOwned};
use tambat_model::{Entrance, ErrorCode, Opening, Protocol, ProxyProtocol, Route};
use tambat_router::Certificate;

use super::words::{Door, hosts, route};
use crate::http::words::{exactly, send};
use crate::rig::{Backend, eventually, pass, rest, serve};
use crate::tls::words::{Client, Named, certificate, client, settings, shake, trusting};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0me\0\0";

/// `AuthenticationOk`, `BackendKeyData` with pid 7, `ReadyForQuery`.
const BEGUN: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x07\xde\xad\xbe\xefZ\0\0\0\x05I";

/// The cancel for it.
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\xde\xad\xbe\xef";

struct Two {
    door: Door,
    ours: Arc<Certificate>,
    db: Backend,
    vault: Backend,
}

/// A listener where the handshakes of one database end here, and another has its own.
fn two() -> Two {
    let ours = certificate(&["db.example"]);
    let door = Door::with_tls(&settings(Named::new(&[("db.example", &ours)])));
    let (db, vault) = (Backend::new("db.1"), Backend::new("vault.1"));
    let (of_db, of_vault) = (route("db", Protocol::Postgres, &[&db]), route("vault", Protocol::Postgres, &[&vault]));
    door.opens_to(Entrance {
        openings: vec![Opening::Postgres, Opening::Tls],
        terminated: hosts(&[("db.example", &of_db)]),
        passed: hosts(&[("vault.example", &of_vault)]),
        ..Entrance::default()
    });
    Two { door, ours, db, vault }
}

/// A client that was answered `S`, and begins its handshake when it next writes.
fn wishing(door: &Door, name: &str, certificate: &Certificate) -> Client {
    let socket = door.client();
    send(&socket, SSL_REQUEST);
    assert_eq!(exactly(&socket, 1), b"S");
    let config = Arc::new(trusting(certificate, &[&TLS13]));
    StreamOwned::new(ClientConnection::new(config, name.to_owned().try_into().unwrap()).unwrap(), socket)
}

/// Begins a session, and gets its key.
fn session(mut client: Client, db: &Backend) -> (Client, TcpStream) {
    client.write_all(STARTUP).unwrap();
    let mut target = db.accept();
    assert_eq!(exactly(&target, STARTUP.len()), STARTUP);
    for byte in BEGUN {
        target.write_all(&[*byte]).unwrap();
    }
    let mut begun = [0; BEGUN.len()];
    client.read_exact(&mut begun).unwrap();
    assert_eq!(begun, BEGUN);
    (client, target)
}

/// Does a cancel come to this database?
fn is_cancelled(db: &Backend) -> bool {
    let mut target = db.accept();
    let heard = exactly(&target, CANCEL.len());
    target.flush().unwrap();
    heard == CANCEL
}

#[test]
fn who_wishes_for_tls_is_led_by_its_name_and_the_app_hears_it_in_plain() {
    let two = two();
    let (mut client, mut target) = session(wishing(&two.door, "db.example", &two.ours), &two.db);
    client.write_all(b"Q").unwrap();
    assert_eq!(exactly(&target, 1), b"Q");
    target.write_all(b"T").unwrap();
    let mut answer = [0];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"T");
}

#[test]
fn direct_tls_and_a_wish_for_kerberos_before_it_lead_there_too_g11() {
    let two = two();
    let mut config = trusting(&two.ours, &[&TLS13]);
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    drop(session(client(two.door.at.get(), "db.example", &Arc::new(config)), &two.db));
    let socket = two.door.client();
    send(&socket, GSSENC_REQUEST);
    assert_eq!(exactly(&socket, 1), b"N");
    send(&socket, SSL_REQUEST);
    assert_eq!(exactly(&socket, 1), b"S");
    let config = Arc::new(trusting(&two.ours, &[&TLS13]));
    let tls = ClientConnection::new(config, "db.example".try_into().unwrap()).unwrap();
    drop(session(StreamOwned::new(tls, socket), &two.db));
}

#[test]
fn an_app_that_has_the_handshake_is_asked_for_it_first() {
    let two = two();
    let mut client = wishing(&two.door, "vault.example", &two.ours);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    client.sock.write_all(&hello).unwrap();
    let mut target = two.vault.accept();
    assert_eq!(exactly(&target, 8), SSL_REQUEST);
    // Nothing of the client's before the answer.
    pass(std::time::Duration::from_millis(20));
    target.write_all(b"S").unwrap();
    assert_eq!(exactly(&target, hello.len()), hello);
    target.write_all(b"its answer").unwrap();
    assert_eq!(exactly(&client.sock, 10), b"its answer");
    // Direct TLS is passed on as it is.
    let mut config = trusting(&two.ours, &[&TLS13]);
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let mut direct = crate::tls::words::client(two.door.at.get(), "vault.example", &Arc::new(config));
    let mut hello = Vec::new();
    direct.conn.write_tls(&mut hello).unwrap();
    direct.sock.write_all(&hello).unwrap();
    assert_eq!(exactly(&two.vault.accept(), hello.len()), hello);
}

/// The fields of an `ErrorResponse`.
fn error(said: &[u8]) -> String {
    assert_eq!(said.first(), Some(&b'E'), "{said:?}");
    String::from_utf8_lossy(said).into_owned()
}

#[test]
fn who_wants_no_tls_or_names_nobody_is_told_so_in_its_protocol_g11() {
    let two = two();
    let plain = two.door.client();
    send(&plain, STARTUP);
    assert!(error(&rest(&plain)).contains("sslmode=require"));
    // Behind the answer to its wish.
    let socket = two.door.client();
    send(&socket, SSL_REQUEST);
    assert_eq!(exactly(&socket, 1), b"S");
    send(&socket, STARTUP);
    error(&rest(&socket));
    // A message in place of the session, inside of the handshake that it began.
    for (name, words) in [("x.example", "x.example"), ("127.0.0.1", "sslsni=0")] {
        let socket = two.door.client();
        send(&socket, SSL_REQUEST);
        assert_eq!(exactly(&socket, 1), b"S");
        // One that does not look at certificates, as with sslmode=require.
        let config = Arc::new(trusting(&two.ours, &[&TLS13]));
        let mut config = Arc::unwrap_or_clone(config);
        config.dangerous().set_certificate_verifier(anybody());
        let tls = ClientConnection::new(Arc::new(config), name.to_owned().try_into().unwrap()).unwrap();
        let mut client = StreamOwned::new(tls, socket);
        shake(&mut client).unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).unwrap();
        assert!(error(&said).contains(words), "{}", error(&said));
    }
    assert!(!two.db.has_a_connection() && !two.vault.has_a_connection());
    eventually("all are counted", || two.door.counters().refused == 4);
    let unrouted = two.door.rig.router.unrouted().snapshot();
    assert_eq!(unrouted.errors[ErrorCode::NoRoute.index()], 2);
}

#[test]
fn what_stands_behind_the_wish_for_tls_is_refused_g12() {
    let two = two();
    for injected in [STARTUP, b"\x16\x03\x01"] {
        let socket = two.door.client();
        send(&socket, [&SSL_REQUEST, injected].concat());
        let said = rest(&socket);
        assert!(!said.contains(&b'S') || said[0] == b'E', "{said:?}");
        error(&said);
    }
    assert!(!two.db.has_a_connection());
}

#[test]
fn a_server_without_tls_ends_its_clients_handshake_at_once() {
    const INTERNAL_ERROR: [u8; 2] = [2, 80];
    let two = two();
    let mut client = wishing(&two.door, "vault.example", &two.ours);
    client.conn.write_tls(&mut client.sock).unwrap();
    let mut target = two.vault.accept();
    assert_eq!(exactly(&target, SSL_REQUEST.len()), SSL_REQUEST);
    target.write_all(b"N").unwrap();
    // While others that do not answer are waited for.
    let said = rest(&client.sock);
    assert!(said.starts_with(&[21, 3]) && said.ends_with(&INTERNAL_ERROR), "{said:?}");
    eventually("it is closed", || two.door.counters().open == 0);
    assert_eq!(two.door.counters().refused, 1);
}

#[test]
fn a_cancel_finds_its_session_in_clear_and_inside_of_tls_and_nobody_elses() {
    let two = two();
    let cancel_in_clear = |bytes: &[u8]| {
        let socket = two.door.client();
        send(&socket, bytes);
        socket
    };
    // Before there is such a session it comes to nobody.
    assert_eq!(rest(&cancel_in_clear(CANCEL)), b"");
    let kept = session(wishing(&two.door, "db.example", &two.ours), &two.db);
    let socket = cancel_in_clear(CANCEL);
    assert!(is_cancelled(&two.db));
    // It is closed when the server has closed, which tells the client that the signal was sent.
    assert_eq!(rest(&socket), b"");
    let mut wrong = CANCEL.to_vec();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(rest(&cancel_in_clear(&wrong)), b"");
    let mut inside = wishing(&two.door, "db.example", &two.ours);
    inside.write_all(CANCEL).unwrap();
    assert!(is_cancelled(&two.db));
    let mut said = Vec::new();
    inside.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"");
    drop(kept);
    eventually("the session is over", || two.door.counters().open == 0);
    assert_eq!(rest(&cancel_in_clear(CANCEL)), b"");
    assert!(!two.db.has_a_connection() && !two.vault.has_a_connection());
}

#[test]
fn a_cancel_is_introduced_where_its_session_is() {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    let two = two();
    let of_db =
        Route { proxy_protocol: Some(ProxyProtocol::V2), ..Route::new("db", Protocol::Postgres, serve(&[&two.db])) };
    two.door.opens_to(Entrance {
        openings: vec![Opening::Postgres],
        terminated: hosts(&[("db.example", &of_db.into())]),
        ..Entrance::default()
    });
    // The header, and what stands behind it.
    let introduced = |words: &[u8]| {
        let target = two.db.accept();
        let header = exactly(&target, SIGNATURE.len() + 2);
        assert!(header.starts_with(SIGNATURE), "{header:?}");
        exactly(&target, usize::from(u16::from_be_bytes([header[14], header[15]])));
        assert_eq!(exactly(&target, words.len()), words);
        target
    };
    let mut client = wishing(&two.door, "db.example", &two.ours);
    client.write_all(STARTUP).unwrap();
    let mut target = introduced(STARTUP);
    target.write_all(BEGUN).unwrap();
    client.read_exact(&mut [0; BEGUN.len()]).unwrap();
    let socket = two.door.client();
    send(&socket, CANCEL);
    drop(introduced(CANCEL));
    assert_eq!(rest(&socket), b"");
    let mut inside = wishing(&two.door, "db.example", &two.ours);
    inside.write_all(CANCEL).unwrap();
    drop(introduced(CANCEL));
}

/// It is looked at which of the targets that have streams drain, when there is a new table: this one has none then.
#[test]
fn a_stream_that_begins_at_a_target_that_drains_already_is_cut_with_the_others() {
    let two = two();
    let mut client = wishing(&two.door, "vault.example", &two.ours);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    client.sock.write_all(&hello).unwrap();
    let mut target = two.vault.accept();
    assert_eq!(exactly(&target, 8), SSL_REQUEST);
    two.vault.target.load.close();
    two.door.opens_to(Entrance::default());
    pass(std::time::Duration::from_millis(20));
    target.write_all(b"S").unwrap();
    assert_eq!(exactly(&target, hello.len()), hello);
    target.write_all(b"its answer").unwrap();
    assert_eq!(exactly(&client.sock, 10), b"its answer");
    // It looks once more after a read, and finds out by that.
    pass(std::time::Duration::from_millis(200));
    two.vault.target.load.cut();
    assert_eq!((rest(&client.sock), rest(&target)), (vec![], vec![]));
}

/// Trusts whoever answers.
fn anybody() -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    struct Anybody;

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    Arc::new(Anybody)
}
