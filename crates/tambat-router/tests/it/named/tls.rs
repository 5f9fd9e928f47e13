//! By the name in a TLS handshake: ended here, or passed on unread.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::version::TLS13;
use rustls::{AlertDescription, Error, ServerConfig, ServerConnection, StreamOwned};
use tambat_model::{Admission, Entrance, ErrorCode, HostPattern, Opening, Protocol, ProxyProtocol, Route};
use tambat_router::{Certificate, HandshakeFailure};

use super::words::{Door, hosts, route};
use crate::http::words::{Server, exactly};
use crate::rig::{Backend, bounded, eventually, serve};
use crate::tls::words::{Client, Named, VERSIONS, ask, certificate, client, ends_in_order, settings, shake, trusting};

/// A client of this name that offers these protocols.
fn offering(door: &Door, name: &str, certificate: &Certificate, protocols: &[&str]) -> Client {
    let mut config = trusting(certificate, &VERSIONS);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    client(door.at.get(), name, &Arc::new(config))
}

/// Both say something that the other hears.
fn converse(client: &mut Client, target: &mut TcpStream) {
    client.write_all(b"question").unwrap();
    assert_eq!(exactly(target, 8), b"question");
    target.write_all(b"answer").unwrap();
    let mut heard = [0; 6];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"answer");
}

/// Shakes hands with one client by itself, says whom it was asked for, and answers everything with the same.
fn echo_over_tls(backend: &Backend, certificate: &Certificate, name: &str) -> JoinHandle<Option<String>> {
    let mut resolver = ResolvesServerCertUsingSni::new();
    resolver.add(name, (*certificate.key).clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let listener = backend.listener.try_clone().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), bounded(socket));
        let mut heard = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut heard) {
            stream.write_all(&heard[..read]).unwrap();
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
        stream.conn.server_name().map(str::to_owned)
    })
}

/// A listener where two names end here and a third does not.
struct Three {
    door: Door,
    ours: Arc<Certificate>,
    theirs: Arc<Certificate>,
    web: Server,
    cache: Backend,
    mail: Backend,
}

fn three() -> Three {
    let (ours, theirs) = (certificate(&["web.example", "cache.example"]), certificate(&["mail.example"]));
    let names = [("web.example", &ours), ("cache.example", &ours)];
    let door = Door::with_tls(&settings(Named::new(&names)));
    let (web, cache, mail) = (Server::new("web"), Backend::new("cache.1"), Backend::new("mail.1"));
    let of_web = route("web", Protocol::Http, &[&web.backend]);
    let of_cache = route("cache", Protocol::Redis, &[&cache]);
    let of_mail = route("mail", Protocol::Tls, &[&mail]);
    door.opens_to(Entrance {
        openings: vec![Opening::Tls],
        terminated: hosts(&[("web.example", &of_web), ("cache.example", &of_cache)]),
        passed: hosts(&[("mail.example", &of_mail)]),
        ..Entrance::default()
    });
    Three { door, ours, theirs, web, cache, mail }
}

#[test]
fn a_name_leads_to_its_app_which_gets_what_was_said_in_plain() {
    let three = three();
    let mut client = offering(&three.door, "Cache.Example.", &three.ours, &[]);
    shake(&mut client).unwrap();
    let mut target = three.cache.accept();
    converse(&mut client, &mut target);
    drop(target);
    assert!(ends_in_order(&mut client));
    drop(client);
    eventually("it is over", || three.door.counters().open == 0);
    assert_eq!(three.door.counters().handshakes, 1);
}

#[test]
fn http_behind_a_name_goes_by_host_and_path_and_by_its_version() {
    let three = three();
    for (offered, agreed) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
        let mut client = offering(&three.door, "web.example", &three.ours, offered);
        shake(&mut client).unwrap();
        assert_eq!(client.conn.alpn_protocol(), agreed.map(str::as_bytes));
        if agreed != Some("h2") {
            assert_eq!(ask(&mut client, "web.example", "/x").text(), "web /x");
            // The certificate is good for it, and what is there is no HTTP.
            assert_eq!(ask(&mut client, "cache.example", "/x").status(), 404);
            assert_eq!(ask(&mut client, "mail.example", "/x").status(), 421);
        }
    }
    assert_eq!(three.web.backend.target.load.in_flight(), 0);
}

#[test]
fn alpn_is_agreed_by_what_the_app_speaks() {
    let certificate = certificate(&["db.example", "chat.example", "cache.example"]);
    let names: Vec<_> = ["db.example", "chat.example", "cache.example"].map(|name| (name, &certificate)).into();
    let door = Door::with_tls(&settings(Named::new(&names)));
    let backend = Backend::new("any.1");
    let of = |protocol: Protocol| route(protocol.as_str(), protocol, &[&backend]);
    let (db, chat, cache) = (of(Protocol::Postgres), of(Protocol::Xmpp), of(Protocol::Redis));
    door.opens_to(Entrance {
        openings: vec![Opening::Tls, Opening::Postgres],
        terminated: hosts(&[("db.example", &db), ("chat.example", &chat), ("cache.example", &cache)]),
        ..Entrance::default()
    });
    let none = Err(Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    for (name, offered, agreed) in [
        ("db.example", &["postgresql"][..], Ok(Some("postgresql"))),
        ("db.example", &["h2"], none.clone()),
        ("db.example", &[], none.clone()),
        ("chat.example", &["xmpp-client"], Ok(Some("xmpp-client"))),
        ("chat.example", &["xmpp-server", "x"], Ok(Some("xmpp-server"))),
        ("chat.example", &["imap"], none),
        ("chat.example", &[], Ok(None)),
        ("cache.example", &["redis", "h2"], Ok(None)),
    ] {
        let mut client = offering(&door, name, &certificate, offered);
        let shaken = shake(&mut client).map(|()| client.conn.alpn_protocol());
        assert_eq!(shaken, agreed.map(|agreed| agreed.map(str::as_bytes)), "{name} {offered:?}");
    }
}

#[test]
fn what_is_passed_on_arrives_unread_and_whole() {
    let three = three();
    let served = echo_over_tls(&three.mail, &three.theirs, "mail.example");
    let mut client = offering(&three.door, "mail.example", &three.theirs, &["smtp"]);
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    client.conn.send_close_notify();
    client.flush().unwrap();
    assert!(ends_in_order(&mut client));
    assert_eq!(served.join().unwrap().as_deref(), Some("mail.example"));
    assert_eq!(three.door.counters().handshakes, 0);
}

#[test]
fn a_hello_in_pieces_is_heard_out_and_passed_on_g07() {
    let three = three();
    let served = echo_over_tls(&three.mail, &three.theirs, "mail.example");
    let mut whole = offering(&three.door, "mail.example", &three.theirs, &[]);
    // One record in as many as it has fours of bytes, and each byte in a segment of its own.
    let mut hello = Vec::new();
    whole.conn.write_tls(&mut hello).unwrap();
    let record =
        hello[5..].chunks(4).flat_map(|piece| [&hello[..3], &[0, u8::try_from(piece.len()).unwrap()], piece].concat());
    whole.sock.set_nodelay(true).unwrap();
    for byte in record.collect::<Vec<u8>>() {
        whole.sock.write_all(&[byte]).unwrap();
    }
    whole.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    whole.read_exact(&mut heard).unwrap();
    drop(whole);
    assert_eq!(served.join().unwrap().as_deref(), Some("mail.example"));
}

#[test]
fn a_hello_in_pieces_is_heard_out_and_ended_here_g07() {
    let three = three();
    let mut client = offering(&three.door, "cache.example", &three.ours, &[]);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    client.sock.set_nodelay(true).unwrap();
    for byte in hello {
        client.sock.write_all(&[byte]).unwrap();
    }
    shake(&mut client).unwrap();
    converse(&mut client, &mut three.cache.accept());
}

#[test]
fn who_names_nobody_or_a_stranger_is_told_so_g06() {
    let three = three();
    let alert = Err(Error::AlertReceived(AlertDescription::UnrecognisedName));
    for name in ["x.example", "web.example.x", "127.0.0.1"] {
        assert_eq!(shake(&mut offering(&three.door, name, &three.ours, &[])), alert, "{name}");
    }
    eventually("all are closed", || three.door.counters().open == 0);
    let counters = three.door.counters();
    assert_eq!((counters.refused, counters.handshakes_failed[HandshakeFailure::Name.index()]), (3, 3));
    let unrouted = three.door.rig.router.unrouted().snapshot();
    assert_eq!(unrouted.errors[ErrorCode::NoRoute.index()], 3);
}

#[test]
fn a_sole_app_takes_every_name_and_none() {
    let certificate = certificate(&["a.example", "127.0.0.1"]);
    let named = Named { default: Some(Arc::clone(&certificate)), ..Named::new(&[("a.example", &certificate)]) };
    let (door, backend) = (Door::with_tls(&settings(named)), Backend::new("cache.1"));
    let cache = route("cache", Protocol::Redis, &[&backend]);
    let terminated = hosts(&[("*", &cache)]);
    door.opens_to(Entrance { openings: vec![Opening::Tls], terminated, ..Entrance::default() });
    for name in ["a.example", "127.0.0.1"] {
        let mut client = offering(&door, name, &certificate, &[]);
        shake(&mut client).unwrap();
        converse(&mut client, &mut backend.accept());
    }
}

#[test]
fn an_app_that_cannot_be_reached_is_an_alert_to_whom_it_was_passed() {
    let three = three();
    let refuse = Admission::Refuse { cause: "mail.1 exited".into(), mend: None };
    let mail = Arc::new(Route::new("mail", Protocol::Tls, refuse));
    let passed = hosts(&[("mail.example", &mail)]);
    three.door.opens_to(Entrance { openings: vec![Opening::Tls], passed, ..Entrance::default() });
    let mut client = offering(&three.door, "mail.example", &three.theirs, &[]);
    assert_eq!(shake(&mut client), Err(Error::AlertReceived(AlertDescription::InternalError)));
    assert_eq!(mail.traffic.snapshot().errors[ErrorCode::NoTarget.index()], 1);
}

#[test]
fn the_app_is_told_where_a_connection_comes_from_before_anything_else() {
    let (ours, theirs) = (certificate(&["cache.example"]), certificate(&["mail.example"]));
    let door = Door::with_tls(&settings(Named::new(&[("cache.example", &ours)])));
    let (cache, mail) = (Backend::new("cache.1"), Backend::new("mail.1"));
    let told = |name: &str, protocol, backend: &Backend| {
        let route = Route::new(name, protocol, serve(&[backend]));
        Arc::new(Route { proxy_protocol: Some(ProxyProtocol::V1), ..route })
    };
    let (of_cache, of_mail) = (told("cache", Protocol::Redis, &cache), told("mail", Protocol::Tls, &mail));
    door.opens_to(Entrance {
        openings: vec![Opening::Tls],
        terminated: hosts(&[("cache.example", &of_cache)]),
        passed: hosts(&[("mail.example", &of_mail)]),
        ..Entrance::default()
    });
    let line = |client: &Client, target: &TcpStream| {
        let (from, at) = (client.sock.local_addr().unwrap(), door.at.get());
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), at.port());
        assert_eq!(String::from_utf8(exactly(target, expected.len())).unwrap(), expected);
    };
    let mut client = offering(&door, "cache.example", &ours, &[]);
    shake(&mut client).unwrap();
    let mut target = cache.accept();
    line(&client, &target);
    converse(&mut client, &mut target);
    let mut client = offering(&door, "mail.example", &theirs, &[]);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    client.sock.write_all(&hello).unwrap();
    let target = mail.accept();
    line(&client, &target);
    assert_eq!(exactly(&target, hello.len()), hello);
}

#[test]
fn a_name_that_comes_with_a_newer_table_is_served_at_once() {
    let three = three();
    assert!(shake(&mut offering(&three.door, "new.example", &three.ours, &[])).is_err());
    let new = route("new", Protocol::Tls, &[&three.mail]);
    let passed = hosts(&[("*.example", &new)]);
    three.door.opens_to(Entrance { openings: vec![Opening::Tls], passed, ..Entrance::default() });
    let theirs = certificate(&["new.example"]);
    let served = echo_over_tls(&three.mail, &theirs, "new.example");
    let mut client = client(three.door.at.get(), "new.example", &Arc::new(trusting(&theirs, &[&TLS13])));
    shake(&mut client).unwrap();
    drop(client);
    assert_eq!(served.join().unwrap().as_deref(), Some("new.example"));
    assert!(matches!("*.example".parse(), Ok(HostPattern::Under(_))));
}
