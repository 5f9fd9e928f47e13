//! Targets that speak HTTP/2.

use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::time::Duration;

use tambat_model::{ErrorCode, HttpRules, Protocol};
use tambat_router::RouterSettings;

use super::frames::{
    CANCEL, DATA, END_STREAM, HEADERS, INTERNAL_ERROR, NO_ERROR, PING, Peer, REFUSED_STREAM, RST_STREAM, WINDOW_BYTES,
    literal,
};
use super::words::{all_is_over, errors, exactly, get, head, message, pattern, post, send};
use crate::rig::{Backend, Rig, eventually, hold, is_reset, pass, reset, serve};

/// A router for HTTP/2 with these backends. One worker, so that it is known who has which connections.
fn rig(backends: &[&Backend]) -> Rig {
    with(backends, RouterSettings::default())
}

fn with(backends: &[&Backend], settings: RouterSettings) -> Rig {
    let rig = Rig::with(Protocol::H2c, None, RouterSettings { workers: NonZeroUsize::MIN, ..settings });
    rig.publish(serve(backends));
    rig
}

/// A client whose request has come, on a connection of its own.
fn asked(rig: &Rig, backend: &Backend, request: &str) -> (TcpStream, Peer, u32) {
    let client = rig.client();
    send(&client, request);
    let mut peer = Peer::accept(backend, &[]);
    let stream = peer.request().stream;
    (client, peer, stream)
}

/// A connection that has served a request before, and is idle.
fn used(rig: &Rig, backend: &Backend) -> (TcpStream, Peer) {
    let (client, mut peer, stream) = asked(rig, backend, &get("/first"));
    peer.ok(stream, true);
    assert_eq!(message(&client).status(), 200);
    (client, peer)
}

fn chunked(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n")
}

#[test]
fn a_request_and_its_answer_are_a_stream_with_trailers_both_ways() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let client = rig.client();
    send(&client, [chunked("/a.B/C"), "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n".to_owned()].concat());
    let mut peer = Peer::accept(&backend, &[]);
    let asked = peer.request();
    assert!(!asked.ends());
    let body = peer.hear();
    assert_eq!((body.kind, body.ends(), &body.payload[..]), (DATA, false, &b"hello"[..]));
    let last = peer.hear();
    assert!(last.kind == HEADERS && last.ends(), "{last:?}");
    let stream = asked.stream;
    peer.fields(stream, &[vec![0x88], literal("content-type", "application/grpc")].concat(), false);
    peer.say(DATA, 0, stream, b"answer");
    peer.fields(stream, &literal("grpc-status", "0"), true);
    let answer = head(&client);
    assert_eq!((answer.status(), answer.field("transfer-encoding")), (200, Some("chunked")));
    let rest = b"6\r\nanswer\r\n0\r\ngrpc-status: 0\r\n\r\n";
    assert_eq!(exactly(&client, rest.len()), rest);
    all_is_over(&rig);
}

#[test]
fn the_end_comes_with_the_last_bytes_or_the_head() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (client, mut peer, stream) = asked(&rig, &backend, &post("/", "hello"));
    let body = peer.hear();
    assert_eq!((&body.payload[..], body.ends()), (&b"hello"[..], true));
    peer.fields(stream, &[vec![0x88], literal("content-length", "5")].concat(), false);
    peer.say(DATA, END_STREAM, stream, b"there");
    assert_eq!(message(&client).text(), "there");
    send(&client, get("/"));
    let asked = peer.request();
    assert!(asked.ends());
    // Interim answers, and one that is a head alone.
    peer.fields(asked.stream, &[literal(":status", "103"), literal("link", "</a>")].concat(), false);
    peer.fields(asked.stream, &[vec![0x88], literal("grpc-status", "12")].concat(), true);
    let early = head(&client);
    assert_eq!((early.status(), early.field("link")), (103, Some("</a>")));
    let answer = message(&client);
    assert_eq!((answer.field("grpc-status"), answer.field("content-length")), (Some("12"), Some("0")));
    all_is_over(&rig);
}

#[test]
fn whatever_path_the_router_takes_the_target_is_asked_for() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (client, mut peer, stream) = asked(&rig, &backend, &get("/<a>`\"{|}^?<b>`\"{|}^"));
    peer.ok(stream, true);
    assert_eq!(message(&client).status(), 200);
    all_is_over(&rig);
}

#[test]
fn many_requests_share_a_connection_as_long_as_the_target_takes_them() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    clients.iter().for_each(|client| send(client, get("/")));
    // SETTINGS_MAX_CONCURRENT_STREAMS: the third needs a connection of its own.
    let (mut first, two) = (Peer::accept(&backend, &[(3, 2)]), [(3, 2)]);
    let streams = [first.request().stream, first.request().stream];
    let mut second = Peer::accept(&backend, &two);
    let third = second.request().stream;
    streams.iter().for_each(|stream| first.ok(*stream, true));
    second.ok(third, true);
    clients.iter().for_each(|client| assert_eq!(message(client).status(), 200));
    assert!(!backend.has_a_connection());
    // A client has its answer a moment before it is counted out.
    all_is_over(&rig);
    eventually("nothing is in flight at the target", || backend.target.load.in_flight() == 0);
}

#[test]
fn each_message_passes_as_it_comes_both_ways_at_once() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (client, mut peer, stream) = asked(&rig, &backend, &chunked("/chat"));
    peer.ok(stream, false);
    assert_eq!(head(&client).status(), 200);
    for word in ["one", "two", "six"] {
        send(&client, format!("3\r\n{word}\r\n"));
        let heard = peer.hear();
        assert_eq!((heard.kind, heard.ends(), &heard.payload[..]), (DATA, false, word.as_bytes()));
        peer.say(DATA, 0, stream, word.as_bytes());
        assert_eq!(exactly(&client, 8), format!("3\r\n{word}\r\n").into_bytes());
    }
    // Each side ends on its own.
    send(&client, "0\r\n\r\n");
    let heard = peer.hear();
    assert_eq!((heard.ends(), heard.payload.len()), (true, 0));
    peer.say(DATA, 0, stream, b"bye");
    peer.say(DATA, END_STREAM, stream, b"");
    assert_eq!(exactly(&client, 13), b"3\r\nbye\r\n0\r\n\r\n");
    all_is_over(&rig);
}

#[test]
fn a_client_that_goes_away_cancels_its_stream_and_no_other() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (stays, mut peer, first) = asked(&rig, &backend, &get("/stays"));
    for begun in [false, true] {
        let client = rig.client();
        send(&client, get("/goes"));
        let stream = peer.request().stream;
        if begun {
            peer.ok(stream, false);
            head(&client);
        }
        reset(client);
        let heard = peer.hear();
        assert_eq!((heard.kind, heard.stream, heard.error()), (RST_STREAM, stream, CANCEL));
    }
    peer.ok(first, true);
    assert_eq!(message(&stays).status(), 200);
}

#[test]
fn a_stream_that_the_target_resets_is_a_fault_and_what_was_begun_is_broken_off() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (client, mut peer, stream) = asked(&rig, &backend, &post("/", "x"));
    peer.reset(stream, INTERNAL_ERROR);
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("target-closed")));
    let client = rig.client();
    send(&client, get("/"));
    // The body of the first.
    assert_eq!(peer.hear().kind, DATA);
    let stream = peer.request().stream;
    peer.ok(stream, false);
    peer.say(DATA, 0, stream, b"half");
    head(&client);
    assert_eq!(exactly(&client, 9), b"4\r\nhalf\r\n");
    peer.reset(stream, INTERNAL_ERROR);
    assert!(is_reset(&client));
    assert_eq!(errors(&rig, ErrorCode::TargetBroke), 1);
    // The connection goes on.
    let client = rig.client();
    send(&client, get("/"));
    let stream = peer.request().stream;
    peer.ok(stream, true);
    assert_eq!(message(&client).status(), 200);
}

/// How a target says that it has not looked at a request (RFC 9113 §8.7, §6.8).
const NOT_LOOKED_AT: [fn(&mut Peer, u32); 2] =
    [|peer, stream| peer.reset(stream, REFUSED_STREAM), |peer, stream| peer.goes_away(stream - 2, NO_ERROR)];

#[test]
fn what_a_target_has_not_looked_at_is_sent_again_even_if_it_does_harm_twice() {
    for says in NOT_LOOKED_AT {
        let backend = Backend::new("web.1");
        let rig = rig(&[&backend]);
        let (client, mut peer) = used(&rig, &backend);
        send(&client, post("/", "hello"));
        let refused = peer.request().stream;
        assert_eq!(peer.hear().payload, b"hello");
        says(&mut peer, refused);
        let mut fresh = Peer::accept(&backend, &[]);
        let stream = fresh.request().stream;
        let body = fresh.hear();
        assert_eq!((&body.payload[..], body.ends()), (&b"hello"[..], true));
        fresh.ok(stream, true);
        assert_eq!(message(&client).status(), 200);
        assert_eq!(rig.traffic.snapshot().retries, 1);
    }
}

#[test]
fn nothing_is_sent_again_that_may_have_been_looked_at() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    // On a connection of its own a refusal is an answer.
    let (client, mut peer, stream) = asked(&rig, &backend, &post("/", "x"));
    peer.reset(stream, REFUSED_STREAM);
    assert_eq!(message(&client).status(), 502);
    // Another error says nothing of what was done.
    let client = rig.client();
    send(&client, post("/", "x"));
    assert_eq!(peer.hear().kind, DATA);
    let stream = peer.request().stream;
    peer.reset(stream, CANCEL);
    assert_eq!(message(&client).status(), 502);
    // Nor does a connection that breaks off, of a request that does harm twice.
    let client = rig.client();
    send(&client, post("/", "x"));
    assert_eq!(peer.hear().kind, DATA);
    peer.request();
    drop(peer);
    assert_eq!(message(&client).status(), 502);
    assert_eq!(rig.traffic.snapshot().retries, 0);
    assert!(!backend.has_a_connection());
}

#[test]
fn nor_is_what_has_an_answer_already_whatever_the_target_says_of_it() {
    for says in NOT_LOOKED_AT {
        let backend = Backend::new("web.1");
        let rig = rig(&[&backend]);
        let (client, mut peer) = used(&rig, &backend);
        send(&client, post("/", "hello"));
        let stream = peer.request().stream;
        assert_eq!(peer.hear().payload, b"hello");
        peer.ok(stream, false);
        peer.say(DATA, 0, stream, b"half");
        assert_eq!(head(&client).status(), 200);
        assert_eq!(exactly(&client, 9), b"4\r\nhalf\r\n");
        says(&mut peer, stream);
        assert!(is_reset(&client));
        assert_eq!(rig.traffic.snapshot().retries, 0);
        assert!(!backend.has_a_connection());
    }
}

#[test]
fn a_connection_that_goes_away_finishes_what_it_has_and_gets_nothing_more() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (first, mut old, stream) = asked(&rig, &backend, &get("/first"));
    old.goes_away(stream, NO_ERROR);
    // A ping is answered by who has heard all that was said before.
    old.say(PING, 0, 0, &[7; 8]);
    assert_eq!(old.pong(), [7; 8]);
    let second = rig.client();
    send(&second, get("/second"));
    let mut fresh = Peer::accept(&backend, &[]);
    let next = fresh.request().stream;
    fresh.ok(next, true);
    assert_eq!(message(&second).status(), 200);
    old.ok(stream, true);
    assert_eq!(message(&first).status(), 200);
    assert!(old.is_closed());
}

#[test]
fn nothing_is_taken_from_a_client_for_which_the_target_has_no_room() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let body: Vec<u8> = pattern(8 * 1024 * 1024).collect();
    let (client, mut peer, stream) =
        asked(&rig, &backend, &format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len()));
    let sending = {
        let (client, body) = (client.try_clone().unwrap(), body.clone());
        std::thread::spawn(move || send(&client, body))
    };
    let mut heard = Vec::new();
    while heard.len() < WINDOW_BYTES {
        heard.extend(peer.hear().payload);
    }
    assert_eq!(heard.len(), WINDOW_BYTES);
    // What may wait on the way is far less than all of it.
    pass(Duration::from_millis(200));
    assert!(!sending.is_finished());
    while heard.len() < body.len() {
        peer.gives_room(stream, 100_000);
        let room = (heard.len() + 100_000).min(body.len());
        while heard.len() < room {
            heard.extend(peer.hear().payload);
        }
    }
    assert!(heard == body);
    sending.join().unwrap();
    peer.ok(stream, true);
    assert_eq!(message(&client).status(), 200);
}

#[test]
fn the_target_gets_no_more_room_than_the_client_takes() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (slow, mut peer, stream) = asked(&rig, &backend, &get("/slow"));
    peer.ok(stream, false);
    // What a client's socket and the stream take, and then no more: the room that is given is counted.
    let (mut room, mut sent) = (128 * 1024_usize, 0_usize);
    let chunk: Vec<u8> = pattern(16 * 1024).collect();
    peer.0.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let is_over = |peer: &mut Peer, room: &mut usize| {
        let heard = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| peer.hear()));
        heard.map(|frame| *room += usize::try_from(frame.error()).unwrap()).is_err()
    };
    loop {
        while room - sent >= chunk.len() {
            peer.say(DATA, 0, stream, &chunk);
            sent += chunk.len();
        }
        if is_over(&mut peer, &mut room) {
            break;
        }
        assert!(sent < 64 * 1024 * 1024, "it takes everything");
    }
    peer.0.set_read_timeout(Some(crate::rig::PATIENCE)).unwrap();
    // Another one is served meanwhile, on the same connection.
    let quick = rig.client();
    send(&quick, get("/quick"));
    let other = peer.request().stream;
    peer.ok(other, false);
    let body: Vec<u8> = pattern(64 * 1024).collect();
    peer.say(DATA, 0, other, &body[..16 * 1024]);
    peer.say(DATA, END_STREAM, other, b"");
    assert_eq!(message(&quick).body, &body[..16 * 1024]);
    drop(slow);
}

#[test]
fn who_speaks_something_else_is_named() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let client = rig.client();
    send(&client, get("/"));
    let target = backend.accept();
    send(&target, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("target-unreachable")));
    assert!(answer.text().contains("web.1: it does not speak HTTP/2"), "{}", answer.text());
}

#[test]
fn who_says_nothing_has_so_much_time() {
    let backend = Backend::new("web.1");
    let settings = RouterSettings { connect_timeout: Duration::from_secs(1), ..RouterSettings::default() };
    let rig = with(&[&backend], settings);
    let clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    clients.iter().for_each(|client| send(client, get("/")));
    for client in &clients {
        let answer = message(client);
        assert_eq!((answer.status(), answer.field("tambat-error")), (504, Some("connect-timeout")));
    }
    // All of them have waited for one and the same.
    backend.accept();
    assert!(!backend.has_a_connection());
}

#[test]
fn a_connection_ends_with_its_target_or_when_it_has_been_idle() {
    let backend = Backend::new("web.1");
    let rig = rig(&[&backend]);
    let (_client, mut peer) = used(&rig, &backend);
    backend.target.load.close();
    rig.publish(hold(None));
    assert!(peer.is_closed());
    let settings = RouterSettings { target_idle: Duration::from_millis(10), ..RouterSettings::default() };
    let backend = Backend::new("web.1");
    let rig = with(&[&backend], settings);
    let (_client, mut peer) = used(&rig, &backend);
    assert!(peer.is_closed());
}

#[test]
fn the_limits_of_a_route_hold_for_streams() {
    let backend = Backend::new("web.1");
    let mut rig = rig(&[&backend]);
    rig.rules = HttpRules { first_byte: Some(Duration::from_millis(100)), ..HttpRules::default() };
    rig.publish(serve(&[&backend]));
    let (client, mut peer, stream) = asked(&rig, &backend, &get("/"));
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (504, Some("first-byte-timeout")));
    let heard = peer.hear();
    assert_eq!((heard.kind, heard.stream, heard.error()), (RST_STREAM, stream, CANCEL));
}
