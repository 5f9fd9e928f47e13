//! Requests and streams on connections that have shaken hands.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tambat_model::{ErrorCode, HttpRules, Protocol};
use tambat_router::{ListenerKind, RouterSettings};

use super::words::{
    Named, VERSIONS, ask, certificate, client, ends_in_order, listen, listen_plainly, message, settings, simple_client,
    trusting,
};
use crate::http::words::{Server, errors, exactly, message as plain_message, ok, pattern, plain, router, send};
use crate::rig::{Backend, Rig, eventually, is_reset, reset, rest, serve};

#[test]
fn a_request_is_passed_on_as_one_of_https() {
    for version in VERSIONS {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let (addr, certificate) = listen_plainly(&rig);
        let mut client = client(addr, "a.example", &Arc::new(trusting(&certificate, &[version])));
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
        let target = backend.accept();
        let seen = plain_message(&target);
        assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.field("x-forwarded-port"), Some(&*addr.port().to_string()));
        assert_eq!(seen.field("x-forwarded-host"), Some("a.example"));
        send(&target, ok("hello"));
        assert_eq!(message(&mut client).text(), "hello");
        assert_eq!(client.conn.protocol_version(), Some(version.version));
        // The end is said, so that nobody can cut an answer off unnoticed.
        assert!(ends_in_order(&mut client));
        drop(client);
        eventually("it is closed", || rig.counters().open == 0);
        assert_eq!(rig.counters().handshakes, 1);
    }
}

#[test]
fn a_connection_carries_many_requests() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    for nth in 0..50 {
        assert_eq!(ask(&mut client, "a.example", &format!("/{nth}")).text(), format!("web /{nth}"));
    }
    // A pipeline, in records of a byte.
    for byte in "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n".repeat(2).bytes() {
        client.write_all(&[byte]).unwrap();
    }
    assert_eq!([message(&mut client).text(), message(&mut client).text()], ["web /x"; 2]);
    assert_eq!(rig.counters().connections, 1);
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    const BYTES: usize = 10 * 1024 * 1024;
    for version in VERSIONS {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let (addr, certificate) = listen_plainly(&rig);
        let mut client = client(addr, "a.example", &Arc::new(trusting(&certificate, &[version])));
        let body: Vec<u8> = pattern(BYTES).collect();
        let serving = std::thread::spawn(move || {
            let target = backend.accept();
            let mut seen = crate::http::words::head(&target);
            seen.body = exactly(&target, BYTES);
            send(&target, format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
            send(&target, &seen.body);
            seen.body
        });
        let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {BYTES}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&body).unwrap();
        let answer = message(&mut client);
        assert!(answer.body == body && serving.join().unwrap() == body);
    }
}

#[test]
fn a_host_that_the_connection_was_not_opened_for_is_misdirected_g09() {
    let server = Server::new("web");
    let rig = plain(&[&server.backend]);
    let certificate = certificate(&["a.example", "*.b.example"]);
    let named = Named { default: Some(Arc::clone(&certificate)), ..Named::new(&[("a.example", &certificate)]) };
    let addr = listen(&rig, ListenerKind::Service(rig.port), &settings(named));
    let mut client = simple_client(addr, &certificate);
    for host in ["a.example", "A.example.:443", "x.b.example"] {
        assert_eq!(ask(&mut client, host, "/").status(), 200, "{host}");
    }
    for host in ["c.example", "b.example", "127.0.0.1"] {
        let answer = ask(&mut client, host, "/");
        assert_eq!((answer.status(), answer.field("tambat-error")), (421, Some("misdirected")), "{host}");
    }
    assert_eq!((server.served(), errors(&rig, ErrorCode::Misdirected)), (3, 0));
    assert_eq!(rig.router.unrouted().snapshot().errors[ErrorCode::Misdirected.index()], 3);
    // The connection goes on.
    assert_eq!(ask(&mut client, "a.example", "/").status(), 200);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let backend = Backend::new("web.1");
    let settings = RouterSettings { body_idle: Duration::from_millis(300), ..RouterSettings::default() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let target = backend.accept();
    plain_message(&target);
    send(&target, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
    let flooding = std::thread::spawn(move || {
        let block = vec![0; 1024 * 1024];
        let mut target = &target;
        let mut sent = 0;
        while target.write_all(&block).is_ok() {
            sent += block.len();
        }
        sent
    });
    eventually("it is given up", || errors(&rig, ErrorCode::ClientStalled) == 1);
    // Back-pressure: what was not taken was not read from the target either.
    assert!(flooding.join().unwrap() < 50_000_000);
    eventually("it is closed", || rig.counters().open == 0);
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_it_whole() {
    const BYTES: usize = 2 * 1024 * 1024;
    let backend = Backend::new("web.1");
    let settings = RouterSettings { body_idle: Duration::from_secs(3), ..RouterSettings::default() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let target = backend.accept();
    plain_message(&target);
    let serving = std::thread::spawn(move || {
        send(&target, format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
        send(&target, pattern(BYTES).collect::<Vec<u8>>());
        target
    });
    let mut taken = Vec::new();
    let mut head_ends = None;
    while head_ends.is_none_or(|end| taken.len() < end + BYTES) {
        let mut some = vec![0; 64 * 1024];
        let read = client.read(&mut some).unwrap();
        assert!(read > 0, "{} bytes", taken.len());
        taken.extend_from_slice(&some[..read]);
        head_ends = head_ends.or_else(|| Some(taken.windows(4).position(|four| four == b"\r\n\r\n")? + 4));
        crate::rig::pass(Duration::from_millis(10));
    }
    assert!(taken[head_ends.unwrap()..] == pattern(BYTES).collect::<Vec<u8>>());
    serving.join().unwrap();
}

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_tunnel_carries_bytes_both_ways_and_its_ends() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    client.write_all(UPGRADE).unwrap();
    let target = backend.accept();
    plain_message(&target);
    send(&target, SWITCHING);
    assert_eq!(message(&mut client).status(), 101);
    client.write_all(b"ping").unwrap();
    assert_eq!(exactly(&target, 4), b"ping");
    send(&target, "pong");
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
    // The client's end, said in order, is the end of its direction alone.
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&target), b"");
    send(&target, "last");
    drop(target);
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"last");
    assert!(ends_in_order(&mut client));
}

#[test]
fn a_tunnel_that_is_cut_off_is_broken_for_the_target_too() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    client.write_all(UPGRADE).unwrap();
    let target = backend.accept();
    plain_message(&target);
    send(&target, SWITCHING);
    assert_eq!(message(&mut client).status(), 101);
    // Whoever is in between can end the socket, but say nothing.
    client.sock.shutdown(Shutdown::Write).unwrap();
    assert!(is_reset(&target));
}

#[test]
fn a_client_that_ends_its_socket_without_a_word_gets_its_answer() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    let target = backend.accept();
    plain_message(&target);
    send(&target, ok("yes"));
    assert_eq!(message(&mut client).text(), "yes");
    assert!(ends_in_order(&mut client));
}

#[test]
fn a_stream_of_any_protocol_is_carried() {
    let backend = Backend::new("db.1");
    let rig = Rig::serving(Protocol::Tcp, &[&backend]);
    let (addr, certificate) = listen_plainly(&rig);
    let mut client = simple_client(addr, &certificate);
    client.write_all(b"question").unwrap();
    let target = backend.accept();
    assert_eq!(exactly(&target, 8), b"question");
    send(&target, "answer");
    drop(target);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"answer");
}

#[test]
fn a_request_waits_for_its_target_and_a_client_that_goes_is_noticed() {
    let backend = Backend::new("web.1");
    let mut rig = plain(&[]);
    rig.publish(crate::rig::hold(None));
    let (addr, certificate) = listen_plainly(&rig);
    let [mut patient, mut impatient] = [(); 2].map(|()| simple_client(addr, &certificate));
    for client in [&mut patient, &mut impatient] {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        rig.until_one_waits();
    }
    reset(impatient.sock);
    eventually("it is noticed", || rig.counters().waiting == 1);
    rig.publish(serve(&[&backend]));
    let target = backend.accept();
    plain_message(&target);
    send(&target, ok("at last"));
    assert_eq!(message(&mut patient).text(), "at last");
}
