//! What a target's connection has behind it when it serves again: nothing of a request that it did not take whole.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tambat_model::ErrorCode;

use crate::http::words::{all_is_over, errors, exchange, get, head, is_closed, message, ok, plain, send};
use crate::rig::{Backend, pass, reset};

/// So long nothing moves when every buffer on the way is full.
const STANDSTILL: Duration = Duration::from_millis(150);

/// What a client puts into a body that it wants to be taken for a request.
const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Writes as much of it as anybody takes: how much.
fn fill(mut to: &TcpStream, bytes: &[u8]) -> usize {
    to.set_nonblocking(true).unwrap();
    let (mut taken, mut last) = (0, Instant::now());
    while last.elapsed() < STANDSTILL && taken < bytes.len() {
        match to.write(&bytes[taken..]) {
            Ok(more) => (taken, last) = (taken + more, Instant::now()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                pass(Duration::from_millis(1));
            }
        }
    }
    to.set_nonblocking(false).unwrap();
    taken
}

#[test]
fn the_middle_of_a_body_in_chunks_goes_to_no_other_connection() {
    let evil = EVIL.repeat(500_000).into_bytes();
    for method in ["POST", "PUT"] {
        let backend = Backend::new("web.1");
        SockRef::from(&backend.listener).set_recv_buffer_size(8 * 1024).unwrap();
        let rig = plain(&[&backend]);
        let (client, target) = exchange(&rig, &backend, &get("/first"));
        message(&target);
        send(&target, ok("first"));
        message(&client);
        let framing = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", evil.len());
        send(&client, format!("{method} /once HTTP/1.1\r\nHost: a.example\r\n{framing}"));
        assert!(fill(&client, &evil) < evil.len(), "no back-pressure");
        reset(target);
        let answer = message(&client);
        assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("target-closed")), "{method}");
        all_is_over(&rig);
        assert_eq!((rig.traffic.snapshot().retries, errors(&rig, ErrorCode::TargetClosed)), (0, 1));
        // The next connection is for the next request, from its first byte on.
        let (_other, fresh) = exchange(&rig, &backend, &get("/next"));
        assert_eq!(message(&fresh).first_line(), "GET /next HTTP/1.1");
        assert!(!backend.has_a_connection());
    }
}

/// What comes at a target that reads on: so many bytes of a body, and then the end, or the next request's first byte.
fn read_on(mut target: &TcpStream) -> (usize, Option<u8>) {
    let (mut body, mut chunk) = (0, vec![0; 256 * 1024]);
    loop {
        match target.read(&mut chunk[..]) {
            Ok(0) => return (body, None),
            Ok(read) => match chunk[..read].iter().position(|byte| *byte != b'x') {
                Some(at) => return (body + at, Some(chunk[at])),
                None => body += read,
            },
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "nothing happens after {body}");
                return (body, None);
            }
        }
    }
}

/// A target answers before it has read a body of so many bytes, and reads on. Did the router have all of the body
/// by then, and not the target? Whatever the sizes of the buffers on the way: a target that has not got all of a body gets
/// no other request behind it.
fn answered_early(bytes: usize) -> bool {
    let backend = Backend::new("web.1");
    SockRef::from(&backend.listener).set_recv_buffer_size(8 * 1024).unwrap();
    let rig = plain(&[&backend]);
    let request = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {bytes}\r\n\r\n");
    let (client, target) = exchange(&rig, &backend, &request);
    head(&target);
    fill(&client, &vec![b'x'; bytes]);
    pass(STANDSTILL);
    send(&target, ok("early"));
    let answer = message(&client);
    assert_eq!((answer.status(), answer.text()), (200, "early"));
    all_is_over(&rig);
    let other = rig.client();
    send(&other, get("/next"));
    let (body, next) = read_on(&target);
    if next.is_some() {
        assert_eq!(body, bytes, "the next request is part of a body");
        return false;
    }
    let fresh = backend.accept();
    assert_eq!(message(&fresh).first_line(), "GET /next HTTP/1.1");
    send(&fresh, ok("next"));
    assert_eq!(message(&other).text(), "next");
    assert!(body < bytes || is_closed(&target));
    // The client's own connection is kept where its request was read to its end.
    body < bytes && answer.field("connection") != Some("close")
}

#[test]
fn a_target_that_answers_early_and_reads_on_gets_no_other_request() {
    // Buffers are as big as the system likes: one of these sizes is more than they hold, and less than what the router
    // holds besides.
    const STEP: usize = 256 * 1024;
    let mut sizes = (1..=3).flat_map(|_| (1..=40).map(|nth| nth * STEP));
    assert!(sizes.any(answered_early), "the router never held the end of a body");
}
