//! What a request and its answer look like on either side.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tambat_model::HttpRules;
use tambat_router::RouterSettings;

use crate::http::words::{
    Server, all_is_over, asks, exchange, get, head, is_closed, message, ok, plain, post, router, send,
};
use crate::rig::{Backend, pass, rest};

#[test]
fn requests_share_a_connection_on_either_side() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/0"));
    for nth in 0..5 {
        let request = message(&target);
        assert_eq!(request.first_line(), format!("GET /{nth} HTTP/1.1"));
        send(&target, ok(&format!("answer {nth}")));
        assert_eq!(message(&client).text(), format!("answer {nth}"));
        send(&client, get(&format!("/{}", nth + 1)));
    }
    assert!(!backend.has_a_connection());
    // Another client gets the same connection, when it is free.
    message(&target);
    send(&target, ok(""));
    message(&client);
    let other = rig.client();
    send(&other, get("/other"));
    assert_eq!(message(&target).first_line(), "GET /other HTTP/1.1");
    send(&target, ok("for you"));
    assert_eq!(message(&other).text(), "for you");
    all_is_over(&rig);
    let seen = rig.traffic.snapshot();
    assert_eq!((seen.requests, seen.answers[1], seen.retries), (7, 7, 0));
}

#[test]
fn the_target_is_told_where_the_request_comes_from() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let request = "GET /a/../b?x=%2e HTTP/1.1\r\nHost: A.example:80\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
                   Connection: X-Secret\r\nX-Secret: 1\r\nTambat-Hop: x\r\nAccept: */*\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, request);
    let seen = message(&target);
    assert_eq!(seen.first_line(), "GET /b?x=%2e HTTP/1.1");
    assert_eq!(seen.field("host"), Some("A.example:80"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-port"), Some(rig.port.get().to_string().as_str()));
    assert!(seen.field("via").unwrap().starts_with("1.1 tambat-"), "{}", seen.head);
    assert!(seen.field("tambat-hop").is_none() && seen.field("x-secret").is_none(), "{}", seen.head);
    let id = seen.field("x-request-id").unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "7"));
    send(&target, ok("1"));
    assert_eq!(message(&client).field("x-request-id"), Some(id));
}

#[test]
fn pipelined_requests_are_answered_in_their_order_bodies_included_a14() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let many = [get("/1"), post("/2", "GET /evil HTTP/1.1\r\n\r\n"), get("/3")].concat();
    let (client, target) = exchange(&rig, &backend, &many);
    for nth in 1..=3 {
        let request = message(&target);
        assert!(request.first_line().contains(&format!(" /{nth} ")), "{}", request.head);
        // The next one comes when this is answered.
        target.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(target.peek(&mut [0]).is_err());
        target.set_read_timeout(Some(crate::rig::PATIENCE)).unwrap();
        send(&target, ok(&nth.to_string()));
        assert_eq!(message(&client).text(), nth.to_string());
    }
}

#[test]
fn a_long_pipeline_is_answered_in_order_and_keeps_nobody_out_b25() {
    const REQUESTS: usize = 10_000;
    let server = Server::new("web.1");
    let rig = plain(&[&server.backend]);
    let client = rig.client();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let all: String = (0..REQUESTS).map(|nth| get(&format!("/{nth}"))).collect();
            send(&client, all);
        });
        scope.spawn(|| {
            for nth in 0..REQUESTS {
                assert_eq!(message(&client).text(), format!("web.1 /{nth}"));
            }
        });
        for _ in 0..5 {
            assert_eq!(asks(&rig.client(), "/other"), "web.1 /other");
        }
    });
    assert_eq!(server.served(), REQUESTS + 5);
    assert!(server.connections.load(Ordering::Relaxed) <= 6);
}

#[test]
fn a_pipeline_of_refusals_keeps_nobody_out() {
    let rig = plain(&[]);
    rig.publish(tambat_model::Admission::Refuse { cause: "web.1 exited".into(), mend: None });
    let client = rig.client();
    send(&client, (0..500).map(|nth| get(&format!("/{nth}"))).collect::<String>());
    for _ in 0..500 {
        assert_eq!(message(&client).status(), 503);
    }
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let client = rig.client();
    for byte in post("/slow", "body").bytes() {
        send(&client, [byte]);
        pass(Duration::from_micros(200));
    }
    let target = backend.accept();
    let request = message(&target);
    assert_eq!((request.first_line(), request.text()), ("POST /slow HTTP/1.1", "body"));
    for byte in ok("slow, too").bytes() {
        send(&target, [byte]);
        pass(Duration::from_micros(200));
    }
    assert_eq!(message(&client).text(), "slow, too");
    // And both connections go on.
    send(&client, get("/next"));
    assert_eq!(message(&target).first_line(), "GET /next HTTP/1.1");
}

#[test]
fn a_small_request_and_its_body_go_to_the_target_in_one_piece() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (_client, target) = exchange(&rig, &backend, &post("/", "together"));
    let mut piece = [0; 4096];
    let mut stream = &target;
    let read = std::io::Read::read(&mut stream, &mut piece).unwrap();
    assert!(piece[..read].ends_with(b"\r\n\r\ntogether"));
}

#[test]
fn a_client_that_waits_for_it_gets_the_targets_100_d4() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, request);
    assert_eq!(head(&target).field("expect"), Some("100-continue"));
    send(&target, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(head(&client).status(), 100);
    send(&client, "body");
    assert_eq!(crate::http::words::exactly(&target, 4), b"body");
    send(&target, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(head(&client).field("link"), Some("</a>"));
    send(&target, ok("done"));
    assert_eq!(message(&client).text(), "done");
}

#[test]
fn an_early_answer_ends_the_exchange_and_the_body_is_no_request_a15() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let request = "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, request);
    head(&target);
    send(&target, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nNo.\n");
    let answer = message(&client);
    assert_eq!((answer.status(), answer.text()), (413, "No.\n"));
    // What it still sends is thrown away until it closes, or so much time has passed.
    send(&client, get("/evil").repeat(100));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client), b"");
    assert!(is_closed(&target));
    assert!(!backend.has_a_connection());
    all_is_over(&rig);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    client.shutdown(Shutdown::Write).unwrap();
    message(&target);
    pass(Duration::from_millis(20));
    send(&target, ok("still there"));
    let all = String::from_utf8(rest(&client)).unwrap();
    assert!(all.ends_with("\r\n\r\nstill there"), "{all}");
}

#[test]
fn an_old_client_gets_an_answer_that_it_understands() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, "GET / HTTP/1.0\r\n\r\n");
    let request = message(&target);
    assert_eq!(request.first_line(), "GET / HTTP/1.1");
    assert!(request.field("host").is_some());
    send(&target, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let all = String::from_utf8(rest(&client)).unwrap();
    assert!(all.ends_with("\r\n\r\nabcde") && !all.contains("chunked"), "{all}");
}

#[test]
fn what_comes_after_the_last_request_is_ignored_a17() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (client, target) = exchange(&rig, &backend, &[last, &get("/evil")].concat());
    message(&target);
    send(&target, ok("the last"));
    let all = String::from_utf8(rest(&client)).unwrap();
    assert!(all.ends_with("\r\n\r\nthe last") && all.contains("\r\nConnection: close\r\n"), "{all}");
    // The target's connection is free for others.
    let other = rig.client();
    send(&other, get("/other"));
    assert_eq!(message(&target).first_line(), "GET /other HTTP/1.1");
}

#[test]
fn many_connections_share_the_router() {
    let server = Server::new("web.1");
    let rig = router(&[&server.backend], HttpRules::default(), RouterSettings::default());
    let clients: Vec<_> = (0..300).map(|_| rig.client()).collect();
    for round in 0..3 {
        for client in &clients {
            send(client, get(&format!("/{round}")));
        }
        for client in &clients {
            assert_eq!(message(client).text(), format!("web.1 /{round}"));
        }
    }
    assert_eq!(rig.counters().open, 300);
    all_is_over(&rig);
}
