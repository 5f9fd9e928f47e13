//! Who keeps others waiting for too long, or has too many connections.

use std::io::Read as _;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tambat_model::{ErrorCode, HttpRules};
use tambat_router::RouterSettings;

use crate::http::words::{
    Server, all_is_over, asks, client_at, errors, exchange, get, head, is_closed, message, ok, pattern, router, send,
};
use crate::rig::{Backend, Rig, eventually, is_reset, pass, rest};

const SHORT: Duration = Duration::from_millis(200);

/// So long that nobody who sends thrice in that time is late on a busy machine.
const LONG: Duration = Duration::from_millis(1_500);

fn impatient(backends: &[&Backend], rules: HttpRules) -> Rig {
    let settings = RouterSettings { head_timeout: SHORT, body_idle: LONG, ..RouterSettings::default() };
    router(backends, rules, settings)
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_answered_408_f1() {
    let rig = impatient(&[], HttpRules::default());
    let (client, start) = (rig.client(), Instant::now());
    send(&client, "GET / HTTP/1.1\r\nHost:");
    let told = String::from_utf8(rest(&client)).unwrap();
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("\r\nTambat-Error: head-timeout\r\n"), "{told}");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    // One byte now and then is no progress.
    let client = rig.client();
    let start = Instant::now();
    for byte in get("/").bytes() {
        if start.elapsed() > SHORT * 4 {
            break;
        }
        let _ = std::io::Write::write(&mut &client, &[byte]);
        pass(SHORT / 5);
    }
    assert!(String::from_utf8(rest(&client)).unwrap().starts_with("HTTP/1.1 408 "));
    assert_eq!(rig.router.unrouted().snapshot().errors[ErrorCode::HeadTimeout.index()], 2);
}

#[test]
fn a_client_that_says_nothing_is_closed_on_without_a_word() {
    let rig = impatient(&[], HttpRules::default());
    let (client, start) = (rig.client(), Instant::now());
    assert_eq!(rest(&client), b"");
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    eventually("it is closed", || rig.counters().open == 0);
}

#[test]
fn a_body_that_stands_still_is_answered_408_and_one_that_moves_is_not_f2() {
    let backend = Backend::new("web.1");
    let rig = impatient(&[&backend], HttpRules::default());
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, request);
    head(&target);
    for _ in 0..5 {
        pass(LONG / 3);
        send(&client, "x");
    }
    pass(LONG / 3);
    let last = Instant::now();
    send(&client, "x");
    let told = String::from_utf8(rest(&client)).unwrap();
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("body-timeout"), "{told}");
    assert!(last.elapsed() >= LONG, "{:?}", last.elapsed());
    let mut seen = Vec::new();
    let _ = (&target).read_to_end(&mut seen);
    assert_eq!(seen, b"xxxxxx");
}

#[test]
fn a_target_that_does_not_begin_its_answer_is_given_up_c2() {
    let backend = Backend::new("web.1");
    let rules = HttpRules { first_byte: Some(LONG), ..HttpRules::default() };
    let rig = router(&[&backend], rules, RouterSettings::default());
    let start = Instant::now();
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    let answer = message(&client);
    assert_eq!((answer.status(), answer.field("tambat-error")), (504, Some("first-byte-timeout")));
    assert!(start.elapsed() >= LONG, "{:?}", start.elapsed());
    assert!(is_closed(&target));
    // The client goes on, and an interim answer is a beginning.
    send(&client, get("/again"));
    let target = backend.accept();
    message(&target);
    for _ in 0..4 {
        pass(LONG / 3);
        send(&target, "HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(head(&client).status(), 102);
    }
    send(&target, ok("at last"));
    assert_eq!(message(&client).text(), "at last");
}

#[test]
fn an_answer_that_stands_still_is_cut_off_and_one_that_moves_is_not_c17() {
    let backend = Backend::new("web.1");
    let rules = HttpRules { response_idle: Some(SHORT), ..HttpRules::default() };
    let rig = router(&[&backend], rules, RouterSettings::default());
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    // The first byte has no limit here.
    pass(SHORT * 2);
    send(&target, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(head(&client).status(), 200);
    for _ in 0..6 {
        pass(SHORT / 3);
        send(&target, "x");
    }
    let mut six = [0; 6];
    (&client).read_exact(&mut six).unwrap();
    assert!(is_reset(&client));
    assert!(is_closed(&target));
    assert_eq!(errors(&rig, ErrorCode::ResponseTimeout), 1);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off_f3() {
    let backend = Backend::new("web.1");
    let rig = impatient(&[&backend], HttpRules::default());
    let (client, target) = exchange(&rig, &backend, &get("/"));
    message(&target);
    let body: Vec<u8> = pattern(32 * 1024 * 1024).collect();
    let _ = std::io::Write::write_all(
        &mut &target,
        &[format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat(),
    );
    all_is_over(&rig);
    assert_eq!(errors(&rig, ErrorCode::ClientStalled), 1);
    eventually("its connection is gone", || rig.counters().open == 0);
    drop(client);
}

#[test]
fn one_address_has_so_many_connections_and_others_theirs_f6() {
    let server = Server::new("web.1");
    let settings = RouterSettings { connections_per_address_max: NonZeroU32::new(3), ..RouterSettings::default() };
    let rig = router(&[&server.backend], HttpRules::default(), settings);
    let mut kept: Vec<_> = (0..3).map(|_| client_at(&rig, [127, 0, 0, 1])).collect();
    kept.iter().for_each(|client| assert_eq!(asks(client, "/"), "web.1 /"));
    let beyond = client_at(&rig, [127, 0, 0, 1]);
    let told = String::from_utf8(rest(&beyond)).unwrap();
    assert!(told.starts_with("HTTP/1.1 429 ") && told.contains("\r\nRetry-After: 1\r\n"), "{told}");
    assert_eq!(asks(&client_at(&rig, [127, 0, 0, 2]), "/"), "web.1 /");
    drop(kept.pop());
    eventually("there is room again", || {
        let client = client_at(&rig, [127, 0, 0, 1]);
        send(&client, get("/"));
        let mut first = [0; 12];
        (&client).read_exact(&mut first).is_ok() && &first == b"HTTP/1.1 200"
    });
    kept.iter().for_each(|client| assert_eq!(asks(client, "/"), "web.1 /"));
}

#[test]
fn a_trusted_peer_has_as_many_as_it_likes() {
    let server = Server::new("web.1");
    let settings = RouterSettings {
        connections_per_address_max: NonZeroU32::new(1),
        trusted: ["127.0.0.0/8".parse().unwrap()].into_iter().collect(),
        ..RouterSettings::default()
    };
    let rig = router(&[&server.backend], HttpRules::default(), settings);
    let clients: Vec<_> = (0..3).map(|_| rig.client()).collect();
    clients.iter().for_each(|client| assert_eq!(asks(client, "/"), "web.1 /"));
}
