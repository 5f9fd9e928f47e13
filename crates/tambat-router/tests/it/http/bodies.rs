//! Bodies: whole both ways, held by nobody, stopped by who does not read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tambat_model::{ErrorCode, HttpRules};
use tambat_router::RouterSettings;

use crate::http::words::{
    all_is_over, chunks, errors, exactly, exchange, get, head, is_closed, message, ok, pattern, plain, router, send,
};
use crate::rig::{Backend, pass, rest};

const MIB: usize = 1024 * 1024;

fn write_pattern(mut to: &TcpStream, bytes: usize) {
    let block: Vec<u8> = pattern(251 * 1_000).collect();
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        to.write_all(&block[..now]).unwrap();
        left -= now;
    }
}

/// Reads so many bytes of the pattern.
fn expect_pattern(mut from: &TcpStream, bytes: usize) {
    let block: Vec<u8> = pattern(251 * 1_000).collect();
    let (mut got, mut chunk) = (0, vec![0; 256 * 1024]);
    while got < bytes {
        let want = chunk.len().min(bytes - got);
        let read = from.read(&mut chunk[..want]).unwrap();
        assert!(read > 0, "ended after {got}");
        for (at, byte) in chunk[..read].iter().enumerate() {
            assert_eq!(*byte, block[(got + at) % 251], "at {}", got + at);
        }
        got += read;
    }
}

#[test]
fn a_long_answer_arrives_whole_and_the_connections_go_on() {
    const BYTES: usize = 100 * MIB;
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send(&target, format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
            write_pattern(&target, BYTES);
        });
        assert_eq!(head(&client).field("content-length"), Some(BYTES.to_string().as_str()));
        expect_pattern(&client, BYTES);
    });
    send(&client, get("/next"));
    assert_eq!(message(&target).first_line(), "GET /next HTTP/1.1");
    send(&target, ok("small again"));
    assert_eq!(message(&client).text(), "small again");
    assert!(rig.traffic.snapshot().bytes_out > BYTES as u64);
}

#[test]
fn a_long_request_arrives_whole_and_the_connections_go_on() {
    const BYTES: usize = 40 * MIB;
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) =
        exchange(&rig, &backend, &format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"));
    std::thread::scope(|scope| {
        scope.spawn(|| write_pattern(&client, BYTES));
        assert_eq!(head(&target).field("content-length"), Some(BYTES.to_string().as_str()));
        expect_pattern(&target, BYTES);
    });
    send(&target, ok("got it"));
    assert_eq!(message(&client).text(), "got it");
    send(&client, get("/next"));
    assert_eq!(message(&target).first_line(), "GET /next HTTP/1.1");
}

#[test]
fn chunks_arrive_whole_both_ways_at_the_same_time() {
    const CHUNKS: usize = 300;
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, request);
    SockRef::from(&client).set_recv_buffer_size(32 * 1024).unwrap();
    let write = |to: &TcpStream| {
        for nth in 1..=CHUNKS {
            let size = nth * 97 % 40_000 + 1;
            let chunk: Vec<u8> = pattern(size).collect();
            send(to, [format!("{size:x};x=y\r\n").into_bytes(), chunk, b"\r\n".to_vec()].concat());
        }
    };
    let expected: Vec<u8> = (1..=CHUNKS).flat_map(|nth| pattern(nth * 97 % 40_000 + 1)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            write(&client);
            send(&client, "0\r\n\r\n");
        });
        let heard = scope.spawn(|| {
            head(&target);
            assert!(chunks(&target) == expected);
        });
        scope.spawn(|| {
            send(&target, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            write(&target);
            // An answer that ends before the request would end that, too.
            heard.join().unwrap();
            send(&target, "0\r\n\r\n");
        });
        head(&client);
        assert!(chunks(&client) == expected);
    });
    send(&client, get("/next"));
    assert_eq!(message(&target).first_line(), "GET /next HTTP/1.1");
}

#[test]
fn an_answer_that_ends_with_its_connection_gets_an_end_of_its_own() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    send(&target, "HTTP/1.0 200 OK\r\n\r\nold ");
    send(&target, "school");
    drop(target);
    assert_eq!(message(&client).text(), "old school");
    send(&client, get("/next"));
    let fresh = backend.accept();
    message(&fresh);
    send(&fresh, ok("well"));
    assert_eq!(message(&client).text(), "well");
}

/// What this process has in memory, bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// Writes until nothing more is taken for a while: how much was.
fn fill(mut to: &TcpStream) -> usize {
    to.set_nonblocking(true).unwrap();
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        match to.write(&[b'x'; 16 * 1024]) {
            Ok(more) => (taken, last) = (taken + more, Instant::now()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                pass(Duration::from_millis(1));
            }
        }
        assert!(taken < 256 * MIB, "no back-pressure");
    }
    to.set_nonblocking(false).unwrap();
    taken
}

#[test]
fn a_client_that_does_not_read_stops_an_endless_answer_and_loses_nothing_c18() {
    for kind in ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"] {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let (client, target) = exchange(&rig, &backend, &get("/"));
        message(&target);
        let is_chunked = kind.starts_with("Transfer");
        send(&target, format!("HTTP/1.1 200 OK\r\n{kind}\r\n\r\n{}", if is_chunked { "e8d4a51000\r\n" } else { "" }));
        let before = memory();
        let taken = fill(&target);
        // All of it is in the system's buffers, but for one window or pipe.
        let grown = memory().saturating_sub(before);
        assert!(grown < 8 * MIB, "{grown} of {taken}");
        assert_eq!(head(&client).status(), 200);
        let mut read = 0;
        while read < taken / 2 {
            read += (&client).read(&mut vec![0; 64 * 1024]).unwrap();
        }
        drop(client);
        assert!(is_closed(&target));
        all_is_over(&rig);
    }
}

#[test]
fn a_target_that_does_not_read_stops_a_long_request() {
    let backend = Backend::new("web.1");
    SockRef::from(&backend.listener).set_recv_buffer_size(64 * 1024).unwrap();
    let rig = plain(&[&backend]);
    let (client, target) =
        exchange(&rig, &backend, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n");
    head(&target);
    let before = memory();
    let taken = fill(&client);
    let grown = memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} of {taken}");
    let heard = exactly(&target, taken);
    assert!(heard.iter().all(|byte| *byte == b'x'));
    send(&target, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(head(&client).status(), 200);
    drop(client);
    assert!(is_closed(&target));
}

#[test]
fn a_body_that_is_too_big_is_refused_before_the_target_hears_of_it_f7() {
    let backend = Backend::new("web.1");
    let rules = HttpRules { body_bytes_max: Some(10), ..HttpRules::default() };
    let rig = router(&[&backend], rules, RouterSettings::default());
    let client = rig.client();
    send(&client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n01234567890");
    let told = String::from_utf8(rest(&client)).unwrap();
    assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("body-too-big"), "{told}");
    assert!(!backend.has_a_connection());

    // In chunks that is known when it comes.
    let (client, target) =
        exchange(&rig, &backend, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n");
    head(&target);
    send(&client, "6\r\n567890\r\n0\r\n\r\n");
    assert_eq!(message(&client).status(), 413);
    // What it has got is no whole request.
    let mut seen = Vec::new();
    let _ = (&target).read_to_end(&mut seen);
    assert_eq!(String::from_utf8_lossy(&seen), "5\r\n01234\r\n");
    assert_eq!(errors(&rig, ErrorCode::BodyTooBig), 2);

    let (client, target) =
        exchange(&rig, &backend, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_eq!(message(&target).text(), "0123456789");
    send(&target, ok("just right"));
    assert_eq!(message(&client).text(), "just right");
}
