//! What counts as progress, and what does not: of whom the router waits for, and of nobody else.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tambat_model::{ErrorCode, HttpRules};
use tambat_router::RouterSettings;

use crate::http::words::{
    Server, all_is_over, asks, errors, exactly, exchange, get, head, is_closed, message, ok, plain, post, router, send,
};
use crate::rig::{Backend, Rig, bounded, eventually, hold, pass, reset, rest, serve};

const SHORT: Duration = Duration::from_millis(200);

fn one_worker() -> RouterSettings {
    RouterSettings { workers: NonZeroUsize::MIN, ..RouterSettings::default() }
}

/// One byte of a request that is not whole for long: an error is its reader's matter.
fn dribble(mut client: &TcpStream) {
    let _ = client.write(b"G");
}

#[test]
fn bytes_of_the_next_request_do_not_put_off_the_first_byte() {
    let backend = Backend::new("web.1");
    let rules = HttpRules { first_byte: Some(SHORT), ..HttpRules::default() };
    let rig = router(&[&backend], rules, RouterSettings::default());
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    eventually("the target is given up", || {
        dribble(&client);
        errors(&rig, ErrorCode::FirstByteTimeout) == 1
    });
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (504, Some("first-byte-timeout")));
    assert!(is_closed(&target));
}

#[test]
fn nor_the_rest_of_an_answer() {
    let backend = Backend::new("web.1");
    let rules = HttpRules { response_idle: Some(SHORT), ..HttpRules::default() };
    let rig = router(&[&backend], rules, RouterSettings::default());
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    send(&target, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(head(&client).status(), 200);
    assert_eq!(exactly(&client, 4), b"half");
    eventually("the answer is cut off", || {
        dribble(&client);
        errors(&rig, ErrorCode::ResponseTimeout) == 1
    });
    // Whether the reset shows here or has shown at a byte that was sent: nothing more comes.
    assert_eq!((&client).read(&mut [0; 64]).unwrap_or(0), 0);
    assert!(is_closed(&target));
}

/// Sends an answer that is longer than what all buffers hold, as far as it is taken.
fn send_long_answer(mut target: &TcpStream) {
    const BYTES: usize = 64 * 1024 * 1024;
    send(target, format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
    // It breaks off when its client is given up.
    let _ = target.write_all(&vec![b'x'; BYTES]);
}

#[test]
fn nor_the_end_of_a_client_that_takes_nothing() {
    let backend = Backend::new("web.1");
    let settings = RouterSettings { body_idle: SHORT, ..RouterSettings::default() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    std::thread::scope(|scope| {
        scope.spawn(|| send_long_answer(&target));
        eventually("the client is given up", || {
            dribble(&client);
            errors(&rig, ErrorCode::ClientStalled) == 1
        });
    });
    all_is_over(&rig);
    eventually("its connection is gone", || rig.counters().open == 0);
}

/// A client that has room for so little at a time.
fn small_client(rig: &Rig, receives_bytes: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receives_bytes).unwrap();
    socket.connect(&rig.addr().into()).unwrap();
    bounded(socket.into())
}

#[test]
fn a_client_that_takes_its_answer_slowly_and_steadily_gets_on_and_one_that_stops_does_not() {
    const IDLE: Duration = Duration::from_secs(2);
    const PERIODS: u32 = 2;
    let backend = Backend::new("web.1");
    let settings = RouterSettings { body_idle: IDLE, ..RouterSettings::default() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    let client = small_client(&rig, 16 * 1024);
    send(&client, get("/"));
    let target = backend.accept();
    message(&target);
    std::thread::scope(|scope| {
        scope.spawn(|| send_long_answer(&target));
        assert_eq!(head(&client).status(), 200);
        let start = Instant::now();
        while start.elapsed() < IDLE * PERIODS {
            // No socket says of so little that it takes more.
            assert!(exactly(&client, 8 * 1024).iter().all(|byte| *byte == b'x'), "after {:?}", start.elapsed());
            pass(Duration::from_millis(25));
        }
        assert_eq!(errors(&rig, ErrorCode::ClientStalled), 0);
        eventually("the client is given up", || errors(&rig, ErrorCode::ClientStalled) == 1);
        // What it had not read is no whole answer.
        assert!((&client).read_to_end(&mut Vec::new()).is_err());
    });
    all_is_over(&rig);
}

#[test]
fn a_client_that_sends_no_more_and_then_breaks_off_lets_the_target_go() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/long"));
    message(&target);
    client.shutdown(Shutdown::Write).unwrap();
    // Its end alone, which the router has read by then, as a rule, is no reason to let go.
    pass(Duration::from_millis(50));
    assert_eq!(backend.target.load.in_flight(), 1);
    reset(client);
    assert!(is_closed(&target));
    all_is_over(&rig);
    assert_eq!(errors(&rig, ErrorCode::ClientClosed), 1);
    eventually("nothing is in flight", || backend.target.load.in_flight() == 0 && rig.counters().open == 0);
}

#[test]
fn a_client_that_sends_no_more_is_served_when_there_is_room() {
    let backend = Backend::new("web.1");
    let rules = HttpRules { in_flight_max: NonZeroU32::new(1), ..HttpRules::default() };
    let rig = router(&[&backend], rules, one_worker());
    let (client, target) = exchange(&rig, &backend, &get("/first"));
    message(&target);
    let waits = rig.client();
    send(&waits, get("/second"));
    waits.shutdown(Shutdown::Write).unwrap();
    eventually("it waits", || rig.counters().waiting == 1);
    // Its end has been seen by then, as a rule.
    pass(Duration::from_millis(50));
    assert_eq!(rig.counters().waiting, 1);
    send(&target, ok("first"));
    assert_eq!(message(&client).text(), "first");
    assert_eq!(message(&target).first_line(), "GET /second HTTP/1.1");
    send(&target, ok("second"));
    assert_eq!(message(&waits).text(), "second");
    assert_eq!(rest(&waits), b"");
}

#[test]
fn or_when_there_is_a_target() {
    let server = Server::new("web.1");
    let mut rig = plain(&[&server.backend]);
    // Before a connection's first request the connection itself waits, and later the request does.
    for has_been_served in [false, true] {
        let client = rig.client();
        if has_been_served {
            assert_eq!(asks(&client, "/early"), "web.1 /early");
        }
        rig.publish(hold(None));
        send(&client, get("/late"));
        client.shutdown(Shutdown::Write).unwrap();
        rig.until_one_waits();
        pass(Duration::from_millis(50));
        assert_eq!(rig.counters().waiting, 1);
        rig.publish(serve(&[&server.backend]));
        assert_eq!(message(&client).text(), "web.1 /late");
        assert_eq!(rest(&client), b"");
        all_is_over(&rig);
    }
}

#[test]
fn one_that_pipelines_without_end_leaves_others_their_turn() {
    const ASK: &str = "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let server = Server::new("web.1");
    // One worker for both.
    let rig = plain(&[&server.backend]);
    let (many, other) = (rig.client(), rig.client());
    let (answered, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let goes_on = |by: usize| {
        let before = answered.load(Ordering::Relaxed);
        eventually("the pipeline goes on", || answered.load(Ordering::Relaxed) > before + by);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let asks = ASK.repeat(2_000);
            while !enough.load(Ordering::Relaxed) {
                send(&many, &asks);
            }
            many.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            let mut chunk = vec![0; 256 * 1024];
            loop {
                match (&many).read(&mut chunk).unwrap() {
                    0 => break,
                    more => answered.fetch_add(more, Ordering::Relaxed),
                };
            }
        });
        // Should anything fail here, the others must come to their end.
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            goes_on(1_000_000);
            for nth in 0..20 {
                assert_eq!(asks(&other, &format!("/{nth}")), format!("web.1 /{nth}"));
            }
            goes_on(1_000_000);
        }));
        enough.store(true, Ordering::Relaxed);
        tried.unwrap();
    });
    assert_eq!(asks(&other, "/after"), "web.1 /after");
}

#[test]
fn an_empty_line_behind_a_request_begins_nothing() {
    let server = Server::new("web.1");
    let settings = RouterSettings { head_timeout: SHORT, ..one_worker() };
    let rig = router(&[&server.backend], HttpRules::default(), settings);
    let client = rig.client();
    assert_eq!(asks(&client, "/1"), "web.1 /1");
    send(&client, "\r\n");
    pass(SHORT * 3);
    assert_eq!(asks(&client, "/2"), "web.1 /2");
    // In one piece with the next.
    send(&client, format!("\r\n{}", get("/3")));
    assert_eq!(message(&client).text(), "web.1 /3");
    assert_eq!(rig.router.unrouted().snapshot().errors[ErrorCode::HeadTimeout.index()], 0);
}

#[test]
fn nor_does_one_that_comes_with_the_body() {
    let backend = Backend::new("web.1");
    let settings = RouterSettings { head_timeout: SHORT, ..one_worker() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    let (client, target) = exchange(&rig, &backend, &format!("{}\r\n", post("/1", "body")));
    assert_eq!(message(&target).text(), "body");
    send(&target, ok("one"));
    assert_eq!(message(&client).text(), "one");
    pass(SHORT * 3);
    send(&client, get("/2"));
    assert_eq!(message(&target).first_line(), "GET /2 HTTP/1.1");
    send(&target, ok("two"));
    assert_eq!(message(&client).text(), "two");
}
