//! How exchanges end when something goes wrong.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use tambat_model::{ErrorCode, HttpRules};
use tambat_router::{RouterReport, RouterSettings};

use crate::http::words::{
    all_is_over, asks, errors, exactly, exchange, get, head, is_closed, message, ok, plain, post, router, send,
};
use crate::rig::{Backend, Rig, eventually, is_reset, pass, reset, rest};

/// A client and a backend that have had one exchange on kept connections.
fn kept() -> (Rig, Backend, std::net::TcpStream, std::net::TcpStream) {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/first"));
    message(&target);
    send(&target, ok("first"));
    message(&client);
    (rig, backend, client, target)
}

#[test]
fn a_harmless_request_on_a_kept_connection_that_ends_is_sent_again_c3() {
    let (rig, backend, client, target) = kept();
    send(&client, get("/second"));
    message(&target);
    drop(target);
    let fresh = backend.accept();
    assert_eq!(message(&fresh).first_line(), "GET /second HTTP/1.1");
    send(&fresh, ok("second"));
    assert_eq!(message(&client).text(), "second");
    assert_eq!((rig.traffic.snapshot().retries, errors(&rig, ErrorCode::TargetClosed)), (1, 0));
}

#[test]
fn the_same_when_it_was_reset_but_not_twice() {
    let (rig, backend, client, target) = kept();
    send(&client, get("/second"));
    message(&target);
    reset(target);
    let fresh = backend.accept();
    message(&fresh);
    reset(fresh);
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("target-closed")));
    assert!(!backend.has_a_connection());
    assert_eq!(rig.traffic.snapshot().retries, 1);
}

#[test]
fn a_request_that_may_do_harm_twice_is_not_sent_again_c4() {
    let (rig, backend, client, target) = kept();
    send(&client, post("/second", "body"));
    message(&target);
    drop(target);
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("target-closed")));
    assert!(answer.text().contains("web.1: the target closed the connection without an answer"), "{}", answer.text());
    assert!(!backend.has_a_connection());
    // The client's connection is as good as before.
    send(&client, get("/third"));
    let fresh = backend.accept();
    assert_eq!(message(&fresh).first_line(), "GET /third HTTP/1.1");
    assert_eq!((rig.traffic.snapshot().retries, errors(&rig, ErrorCode::TargetClosed)), (0, 1));
}

#[test]
fn nor_is_one_whose_connection_was_fresh() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    drop(target);
    assert_eq!(message(&client).status(), 502);
    assert!(!backend.has_a_connection());
}

#[test]
fn a_kept_connection_that_has_ended_is_not_used() {
    let (rig, backend, client, target) = kept();
    target.shutdown(Shutdown::Write).unwrap();
    // The router has heard of it, and has let it go.
    assert!(is_closed(&target));
    send(&client, get("/second"));
    let fresh = backend.accept();
    assert_eq!(message(&fresh).first_line(), "GET /second HTTP/1.1");
    assert_eq!(rig.traffic.snapshot().retries, 0);
}

#[test]
fn extra_bytes_behind_an_answer_are_dropped_with_their_connection_c9() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/first"));
    message(&target);
    send(&target, [ok("first"), ok("poison")].concat());
    assert_eq!(message(&client).text(), "first");
    assert!(is_closed(&target));
    send(&client, get("/second"));
    let fresh = backend.accept();
    message(&fresh);
    send(&fresh, ok("second"));
    assert_eq!(message(&client).text(), "second");
}

#[test]
fn an_answer_that_nobody_asked_for_is_dropped_with_its_connection_c10() {
    let (_rig, backend, client, target) = kept();
    send(&target, ok("poison"));
    pass(Duration::from_millis(20));
    send(&client, get("/second"));
    let fresh = backend.accept();
    message(&fresh);
    send(&fresh, ok("second"));
    assert_eq!(message(&client).text(), "second");
    assert!(is_closed(&target));
}

#[test]
fn what_is_no_answer_is_a_502_c5() {
    for junk in
        ["HELLO\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
    {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let (client, target) = exchange(&rig, &backend, &get("/"));
        message(&target);
        send(&target, junk);
        let answer = message(&client);
        assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("bad-response")), "{junk:?}");
        assert!(answer.text().contains("the answer of web.1 breaks a rule"), "{}", answer.text());
        assert!(is_closed(&target));
        assert_eq!(errors(&rig, ErrorCode::BadResponse), 1);
    }
}

#[test]
fn an_answer_that_breaks_off_is_never_made_whole_c6_c7() {
    let beginnings = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for beginning in beginnings {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let (client, target) = exchange(&rig, &backend, &get("/"));
        message(&target);
        send(&target, beginning);
        assert_eq!(head(&client).status(), 200);
        let body = if beginning.contains("chunked") { "4\r\nhalf\r\n" } else { "half" };
        assert_eq!(exactly(&client, body.len()), body.as_bytes());
        drop(target);
        assert!(is_reset(&client));
        all_is_over(&rig);
        assert_eq!(errors(&rig, ErrorCode::TargetBroke), 1);
    }
}

#[test]
fn a_client_that_goes_away_in_its_body_takes_the_request_with_it_a16() {
    let heads = ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"];
    for head_and_half in heads {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{head_and_half}");
        let (client, target) = exchange(&rig, &backend, &request);
        head(&target);
        drop(client);
        let seen = String::from_utf8_lossy(&rest_or_reset(&target)).into_owned();
        assert!(!seen.contains("0\r\n\r\n"), "{seen}");
        all_is_over(&rig);
        assert_eq!(errors(&rig, ErrorCode::ClientClosed), 1);
        eventually("its connection is gone", || rig.counters().open == 0);
        // The target goes on.
        let other = rig.client();
        send(&other, get("/"));
        let fresh = backend.accept();
        message(&fresh);
        send(&fresh, ok("well"));
        assert_eq!(message(&other).text(), "well");
    }
}

fn rest_or_reset(mut stream: &std::net::TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut heard);
    heard
}

#[test]
fn a_client_that_breaks_off_while_it_waits_lets_the_target_go() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/long"));
    message(&target);
    reset(client);
    assert!(is_closed(&target));
    all_is_over(&rig);
    assert_eq!(errors(&rig, ErrorCode::ClientClosed), 1);
    eventually("nothing is in flight", || backend.target.load.in_flight() == 0);
}

#[test]
fn a_target_that_stops_reading_still_gets_its_answer_through() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, request);
    head(&target);
    send(&target, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    target.shutdown(Shutdown::Both).unwrap();
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..4 {
        let _ = (&client).write_all(&chunk);
    }
    let answer = message(&client);
    assert_eq!((answer.status(), answer.text()), (403, "no"));
}

#[test]
fn a_target_that_refuses_is_left_out_and_another_serves_c1() {
    let (gone, there) = (Backend::new("web.1"), Backend::new("web.2"));
    let mut rig = plain(&[&gone, &there]);
    let refusing = gone.target.clone();
    drop(gone);
    let (client, target) = exchange(&rig, &there, &get("/"));
    message(&target);
    send(&target, ok("web.2"));
    assert_eq!(message(&client).text(), "web.2");
    assert_eq!(rig.report(), RouterReport::Refused { target: "web.1".into(), generation: 1, addr: refusing.addr });
    eventually("nothing is in flight", || refusing.load.in_flight() + there.target.load.in_flight() == 0);
}

#[test]
fn when_all_refuse_the_client_is_told_at_once_or_waits_as_the_rules_say() {
    let gone = Backend::new("web.1");
    let addr = gone.target.addr;
    let mut rig = plain(&[&gone]);
    drop(gone);
    let client = rig.client();
    send(&client, get("/"));
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (502, Some("target-unreachable")));
    assert!(answer.text().contains("web cannot be reached: web.1 refused the connection"), "{}", answer.text());

    rig.rules = HttpRules { waits_when_refused: true, ..HttpRules::default() };
    let target = tambat_model::Target { name: "web.1".into(), generation: 1, addr, load: std::sync::Arc::default() };
    rig.publish(tambat_model::Admission::Serve(vec![std::sync::Arc::new(target)]));
    send(&client, get("/"));
    rig.until_one_waits();
    let back = Backend::at("web.1", addr);
    let target = back.accept();
    message(&target);
    send(&target, ok("back"));
    assert_eq!(message(&client).text(), "back");
}

#[test]
fn a_drain_lets_requests_come_to_their_end_and_closes_what_is_idle() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/long"));
    message(&target);
    let idle = rig.client();
    send(&idle, get("/"));
    let other = backend.accept();
    message(&other);
    send(&other, ok("1"));
    message(&idle);
    let addr = rig.addr();
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let start = std::time::Instant::now();
            runtime.block_on(rig.router.drain(Duration::from_secs(10)));
            start.elapsed()
        });
        assert!(is_closed(&idle));
        eventually("nobody is let in", || std::net::TcpStream::connect(addr).is_err());
        send(&target, ok("at last"));
        let answer = message(&client);
        assert_eq!((answer.text(), answer.field("connection")), ("at last", Some("close")));
        assert!(is_closed(&client));
        assert!(drained.join().unwrap() < Duration::from_secs(8));
    });
    assert_eq!(rig.counters().open, 0);
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_closed_on_either_side() {
    let backend = Backend::new("web.1");
    let short = Duration::from_millis(200);
    let settings =
        RouterSettings { keep_alive_idle: short, target_idle: Duration::from_secs(2), ..RouterSettings::default() };
    let rig = router(&[&backend], HttpRules::default(), settings);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    // Both are idle from the answer on.
    let start = std::time::Instant::now();
    send(&target, ok("1"));
    message(&client);
    assert_eq!(rest(&client), b"");
    assert!(start.elapsed() >= short, "{:?}", start.elapsed());
    assert!(is_closed(&target));
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn one_client_after_the_other_is_served_by_one_kept_connection() {
    let server = crate::http::words::Server::new("web.1");
    let rig = router(&[&server.backend], HttpRules::default(), RouterSettings::default());
    for nth in 0..20 {
        assert_eq!(asks(&rig.client(), &format!("/{nth}")), format!("web.1 /{nth}"));
    }
    all_is_over(&rig);
    let settled = server.connections.load(std::sync::atomic::Ordering::Relaxed);
    // One for each worker.
    assert!(settled <= RouterSettings::default().workers.get(), "{settled}");
}
