//! Group G, as far as PROXY headers go: who may send one, who has to, and what is wrong with them.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::client::{Client, End};
use super::f::processor_time;
use super::stage::{HOST, Setting, Stage, must_be_one_of};
use crate::support::{Stopwatch, connect_from, pause};

/// Who has to begin with a header. The good client of every stage comes from another address, and must not.
const LISTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The client that headers name, and what it has dialled.
const TCP4: &str = "PROXY TCP4 192.0.2.7 198.51.100.2 4711 8443\r\n";

/// What begins each header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The limit for a header, and what a busy machine may add.
const HEADER_S: std::ops::Range<u64> = 3..5;

/// Time that has passed, and time that the machine has had for it.
struct Start(Instant, Stopwatch);

impl Start {
    fn now() -> Self {
        Self(Instant::now(), Stopwatch::begin())
    }

    /// It took less than the limit.
    fn is_early(&self) -> bool {
        self.1.elapsed() < Duration::from_secs(HEADER_S.start)
    }

    /// It took all of the limit, and not much more.
    fn is_in_time(&self) -> bool {
        self.0.elapsed() >= Duration::from_secs(HEADER_S.start) && self.1.elapsed() < Duration::from_secs(HEADER_S.end)
    }
}

fn stage() -> Stage {
    Stage::set(&Setting { router: &format!("proxy_protocol = \"{LISTED}\""), ..Setting::default() })
}

/// A connection of the peer that is listed.
fn listed(stage: &Stage) -> Client {
    Client::of(connect_from(LISTED, stage.router.addr))
}

fn request(mark: &str) -> Vec<u8> {
    format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()
}

/// Command, family and the rest.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

/// The same client as that of the line, with these entries.
fn tcp4(entries: &[u8]) -> Vec<u8> {
    v2(
        0x21,
        0x11,
        &[&[192, 0, 2, 7, 198, 51, 100, 2], &4711_u16.to_be_bytes()[..], &8443_u16.to_be_bytes(), entries].concat(),
    )
}

/// Each of these, followed by a good request, ends the connection without an answer, and the app sees nothing.
#[track_caller]
fn aborts(headers: &[Vec<u8>]) {
    let stage = stage();
    for header in headers {
        for by_bytes in [false, true] {
            let shown = String::from_utf8_lossy(header);
            let bytes = [&header[..], &request(&stage.mark())].concat();
            let mut client = listed(&stage);
            if by_bytes && bytes.len() < 2048 {
                client.send_by_bytes(&bytes);
            } else {
                client.send_what_goes(&bytes);
            }
            let start = Start::now();
            client.must_be_closed(&shown);
            assert!(start.is_early(), "{shown}: only its time was over");
            assert_eq!(stage.app.strangers(), Vec::<String>::new(), "{shown}");
        }
    }
    stage.good();
    let said = stage.router.err_line("PROXY");
    assert!(said.contains(&format!("a connection of {LISTED}:")) && said.contains("so it was closed"), "{said}");
}

#[test]
fn g01_a_header_from_who_may_not_send_one_is_garbage() {
    for stage in [stage(), Stage::new()] {
        for header in [TCP4.as_bytes().to_vec(), b"PROXY UNKNOWN\r\n".to_vec(), tcp4(&[]), v2(0x20, 0, &[])] {
            for by_bytes in [false, true] {
                let bytes = [&header[..], &request(&stage.mark())].concat();
                let mut client = stage.client();
                if by_bytes {
                    client.send_by_bytes(&bytes);
                } else {
                    client.send(&bytes);
                }
                must_be_one_of(&client.answer(), &[(400, "bad-request")], &String::from_utf8_lossy(&header));
                client.must_be_closed("after a header");
                stage.good();
                assert_eq!(stage.app.strangers(), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn g02_who_has_to_begin_with_a_header_and_does_not_is_closed() {
    let stage = stage();
    // Something else is seen at once.
    for other in [request("none"), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), b"\0".to_vec()] {
        let start = Start::now();
        let mut client = listed(&stage);
        client.send(&other);
        client.must_be_closed("no header");
        assert!(start.is_early());
    }
    let said = stage.router.err_line("does not begin with a PROXY header");
    assert!(said.contains("take it out of `proxy_protocol` of [router]"), "{said}");
    // Silence, and half a header, have their time.
    let start = Start::now();
    let parts = [&b""[..], b"PROXY TCP4 192.0.2.7", SIGNATURE, &tcp4(&[])[..20]];
    let clients = parts.map(|part| {
        let mut client = listed(&stage);
        client.send(part);
        client
    });
    for mut client in clients {
        client.must_be_closed("half a header");
        assert!(start.is_in_time(), "{:?}", start.0.elapsed());
    }
    stage.good();
    assert_eq!(stage.app.strangers(), Vec::<String>::new());
}

#[test]
fn g03_lines_that_are_not_right() {
    let lines = [
        "PROXY TCP4 192.0.2.7 198.51.100.2 4711 8443\n".to_owned(),
        "PROXY TCP4 192.0.2.7 198.51.100.2 4711 8443\r".to_owned(),
        format!("PROXY UNKNOWN {}\r\n", "f".repeat(92)),
        "PROXY TCP4 192.0.2.256 198.51.100.2 4711 8443\r\n".to_owned(),
        "PROXY TCP4 192.0.2.07 198.51.100.2 4711 8443\r\n".to_owned(),
        "PROXY TCP4 192.0.2.7 198.51.100.2 04711 8443\r\n".to_owned(),
        "PROXY TCP4 192.0.2.7 198.51.100.2 4711 65536\r\n".to_owned(),
        "PROXY TCP4 192.0.2.7 198.51.100.2 4711\r\n".to_owned(),
        "PROXY TCP4 192.0.2.7  198.51.100.2 4711 8443\r\n".to_owned(),
        "PROXY TCP6 192.0.2.7 198.51.100.2 4711 8443\r\n".to_owned(),
        "PROXY TCP4 2001:db8::1 ::1 4711 8443\r\n".to_owned(),
        "PROXY UDP4 192.0.2.7 198.51.100.2 4711 8443\r\n".to_owned(),
        "proxy TCP4 192.0.2.7 198.51.100.2 4711 8443\r\n".to_owned(),
    ];
    aborts(&lines.map(String::into_bytes));
}

#[test]
fn g04_binary_headers_that_are_not_right() {
    let whole = tcp4(&[]);
    aborts(&[
        // Shorter than its addresses; an entry past the end; a checksum of something else.
        v2(0x21, 0x11, &[1; 11]),
        v2(0x21, 0x21, &[1; 35]),
        tcp4(&[4, 0, 9, b'x']),
        tcp4(&[0x20, 0, 3, 1, 0, 0]),
        tcp4(&[3, 0, 4, 1, 2, 3, 4]),
        // Another version, command, family; longer than any.
        v2(0x11, 0x11, &whole[16..]),
        v2(0x22, 0x11, &whole[16..]),
        v2(0x21, 0x41, &whole[16..]),
        tcp4(&[&[4, 0x10, 0][..], &[0; 4096]].concat()),
    ]);
}

#[test]
fn g04_what_names_nobody_comes_from_where_it_comes_from() {
    let stage = stage();
    let names_nobody = [
        v2(0x20, 0, &[]),
        // The rest of these is not looked at.
        v2(0x20, 0x11, &tcp4(&[])[16..]),
        v2(0x20, 0xff, &[0xff; 40]),
        v2(0x21, 0, &[]),
        v2(0x21, 0x31, &[b'/'; 216]),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 192.0.2.7 198.51.100.2 4711 8443\r\n".to_vec(),
    ];
    for header in names_nobody {
        let mark = stage.mark();
        let mut client = listed(&stage);
        client.send([&header[..], &request(&mark)].concat());
        assert_eq!(client.answer().status, 200, "{:?}", String::from_utf8_lossy(&header));
        let seen = stage.app.request(&mark);
        assert_eq!(seen.fields("x-forwarded-for"), [LISTED.to_string()], "{:?}", String::from_utf8_lossy(&header));
        assert_eq!(seen.fields("x-forwarded-port"), [stage.router.addr.port().to_string()]);
    }
    stage.good();
}

/// What the app is told of the client that the header names: its address, and where it has dialled.
#[track_caller]
fn names_the_client(stage: &Stage, mark: &str) {
    let seen = stage.app.request(mark);
    assert_eq!(seen.fields("x-forwarded-for"), ["192.0.2.7"], "{seen:?}");
    assert_eq!(seen.fields("x-forwarded-port"), ["8443"], "{seen:?}");
    assert!(seen.field("forwarded").unwrap().starts_with("for=192.0.2.7;"), "{seen:?}");
}

#[test]
fn g05_a_header_and_what_follows_in_one_segment_or_in_many() {
    let stage = stage();
    for header in [TCP4.as_bytes().to_vec(), tcp4(&[]), tcp4(&[4, 0, 2, b'x', b'y', 5, 0, 1, b'i'])] {
        for by_bytes in [false, true] {
            let (first, second) = (stage.mark(), stage.mark());
            let bytes = [&header[..], &request(&first), &request(&second)].concat();
            let mut client = listed(&stage);
            if by_bytes {
                client.send_by_bytes(&bytes);
            } else {
                client.send(&bytes);
            }
            // Not a byte of what follows is lost, and the header holds for all of it.
            assert_eq!(client.answer().text(), format!("saw GET /{first}"));
            assert_eq!(client.answer().text(), format!("saw GET /{second}"));
            names_the_client(&stage, &first);
            names_the_client(&stage, &second);
        }
    }
    // A second header is no header.
    let mut client = listed(&stage);
    client.send([TCP4.as_bytes(), TCP4.as_bytes(), &request("twice")].concat());
    must_be_one_of(&client.answer(), &[(400, "bad-request")], "twice");
    assert!(stage.app.requests("twice").is_empty());
    stage.good();
}

#[test]
fn g05_half_headers_cost_nothing_while_they_wait() {
    let stage = stage();
    stage.good();
    let mut clients: Vec<Client> = (0..40).map(|_| listed(&stage)).collect();
    for (nth, client) in clients.iter_mut().enumerate() {
        client.send(&TCP4.as_bytes()[..TCP4.len() - 1 - nth]);
    }
    // One that sends no more is gone with that.
    let mut ended = listed(&stage);
    ended.send("PROXY TCP4 1").finish();
    let start = Start::now();
    ended.must_be_closed("half a header and the end");
    assert!(start.is_early());
    let before = processor_time(stage.router.pid());
    pause(Duration::from_millis(500));
    let spent = processor_time(stage.router.pid()).saturating_sub(before);
    assert!(spent <= Duration::from_millis(50), "{spent:?}");
    // The rest comes in time.
    for (nth, mut client) in clients.into_iter().enumerate() {
        let mark = stage.mark();
        client.send(&TCP4.as_bytes()[TCP4.len() - 1 - nth..]).send(request(&mark));
        assert_eq!(client.answer().text(), format!("saw GET /{mark}"));
        names_the_client(&stage, &mark);
    }
}

#[test]
fn g01_the_client_that_a_header_names_is_the_peer_for_all_that_follows() {
    let router =
        format!("proxy_protocol = \"{LISTED}\"\ntrusted = \"{LISTED}\"\nmax_connections = 2\naccess_log = \"-\"");
    let stage = Stage::set(&Setting { router: &router, ..Setting::default() });
    // What it says of others is not believed, although its proxy would be.
    let mark = stage.mark();
    let forged = format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    let mut client = listed(&stage);
    client.send([TCP4.as_bytes(), forged.as_bytes()].concat());
    assert_eq!(client.answer().status, 200);
    names_the_client(&stage, &mark);
    let line = stage.router.lines(&mark, 1).remove(0);
    assert!(line.contains("\"192.0.2.7\"") && !line.contains("6.6.6.6"), "{line}");
    // Nor when it cannot be named: somebody stands behind the proxy.
    let mark = stage.mark();
    let unnamed = forged.replace("/m", &format!("/{mark}?m"));
    let mut nobody = listed(&stage);
    nobody.send([b"PROXY UNKNOWN\r\n", unnamed.as_bytes()].concat());
    assert_eq!(nobody.answer().status, 200);
    assert_eq!(stage.app.request(&mark).fields("x-forwarded-for"), [LISTED.to_string()]);
    // A proxy's own connection is believed like any other of its address.
    let mark = stage.mark();
    let own = forged.replace("/m", &format!("/{mark}?m"));
    let mut local = listed(&stage);
    local.send([&v2(0x20, 0, &[])[..], own.as_bytes()].concat());
    assert_eq!(local.answer().status, 200);
    assert_eq!(stage.app.request(&mark).fields("x-forwarded-for"), [format!("6.6.6.6, {LISTED}")]);
    // Connections count for the client, not for its proxy, which has three of them already.
    let mut second = listed(&stage);
    second.send([TCP4.as_bytes(), &request("second")].concat());
    assert_eq!(second.answer().status, 200);
    let mut third = listed(&stage);
    third.send(TCP4);
    must_be_one_of(&third.answer(), &[(429, "too-many-connections")], "the third of one client");
    let (_, end) = third.rest();
    assert_ne!(end, End::Open);
    let mut other = listed(&stage);
    other.send([TCP4.replace("192.0.2.7", "192.0.2.8").as_bytes(), &request("other")].concat());
    assert_eq!(other.answer().status, 200);
    drop((client, second));
    stage.good();
}

#[test]
fn g01_a_header_says_whether_the_client_speaks_tls() {
    let stage = stage();
    let proto = |entries: &[u8]| {
        let mark = stage.mark();
        let mut client = listed(&stage);
        client.send([tcp4(entries), request(&mark)].concat());
        assert_eq!(client.answer().status, 200);
        stage.app.request(&mark).field("x-forwarded-proto").unwrap().to_owned()
    };
    assert_eq!(proto(&[]), "http");
    assert_eq!(proto(&[0x20, 0, 5, 0, 0, 0, 0, 1]), "http");
    assert_eq!(proto(&[0x20, 0, 5, 1, 0, 0, 0, 1]), "https");
    stage.good();
}
