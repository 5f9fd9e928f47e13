//! Connections that become something else.

use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tambat_model::{HttpRules, Protocol};
use tambat_router::RouterSettings;

use crate::http::words::{exactly, exchange, get, head, is_closed, message, ok, plain, send};
use crate::rig::{Backend, Rig, eventually, pass, rest, says, serve};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn tunnel(rig: &Rig, backend: &Backend) -> (TcpStream, TcpStream) {
    let (client, target) = exchange(rig, backend, UPGRADE);
    assert_eq!(head(&target).field("upgrade"), Some("websocket"));
    send(&target, SWITCHING);
    assert_eq!(head(&client).status(), 101);
    (client, target)
}

#[test]
fn after_a_101_bytes_are_carried_both_ways() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = tunnel(&rig, &backend);
    says(&client, &target, "GET /not HTTP/1.1\r\n\r\n");
    says(&target, &client, "\0\u{1}\u{2}");
    let seen = rig.traffic.snapshot();
    assert_eq!((seen.tunnels, seen.answers[0], seen.in_flight()), (1, 1, 0));
    assert_eq!(backend.target.load.in_flight(), 1);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&target), b"");
    says(&target, &client, "bye");
    drop(target);
    assert_eq!(rest(&client), b"");
    eventually("it is over", || rig.counters().open == 0 && backend.target.load.in_flight() == 0);
}

#[test]
fn what_either_side_said_too_early_arrives_first() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &[UPGRADE, "early client "].concat());
    head(&target);
    send(&target, [SWITCHING, "early target "].concat());
    assert_eq!(head(&client).status(), 101);
    send(&client, "late client");
    send(&target, "late target");
    assert_eq!(exactly(&target, 24), b"early client late client");
    assert_eq!(exactly(&client, 24), b"early target late target");
}

#[test]
fn without_a_101_what_follows_is_a_request_d1() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &[UPGRADE, &get("/a/../second")].concat());
    head(&target);
    send(&target, ok("no tunnel"));
    assert_eq!(message(&client).text(), "no tunnel");
    assert_eq!(message(&target).first_line(), "GET /second HTTP/1.1");
}

#[test]
fn a_101_that_nobody_asked_for_is_a_502_c13() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &get("/"));
    head(&target);
    send(&target, SWITCHING);
    assert_eq!(message(&client).status(), 502);
    assert!(is_closed(&target));
}

#[test]
fn a_tunnel_has_limits_of_its_own() {
    let backend = Backend::new("web.1");
    let mut rig = Rig::with(Protocol::Http, Some(Duration::from_millis(400)), RouterSettings::default());
    let short = Some(Duration::from_millis(50));
    rig.rules = HttpRules { first_byte: short, response_idle: short, ..HttpRules::default() };
    rig.publish(serve(&[&backend]));
    let (client, target) = exchange(&rig, &backend, UPGRADE);
    head(&target);
    send(&target, SWITCHING);
    head(&client);
    for _ in 0..3 {
        pass(Duration::from_millis(150));
        says(&client, &target, "tick");
    }
    assert!(is_closed(&client) && is_closed(&target));
}

#[test]
fn a_drain_waits_for_tunnels_up_to_its_limit_and_the_end_closes_them() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = tunnel(&rig, &backend);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let limit = Duration::from_millis(300);
    std::thread::scope(|scope| {
        let ends = scope.spawn(|| {
            says(&client, &target, "still here");
            let start = std::time::Instant::now();
            let heard = (rest(&client), rest(&target));
            (heard, start.elapsed())
        });
        runtime.block_on(rig.router.drain(limit));
        let (heard, after) = ends.join().unwrap();
        // Both are told, and nobody is reset.
        assert_eq!(heard, (vec![], vec![]));
        assert!(after > limit / 2, "{after:?}");
    });
    rig.router.shutdown();
    assert!(is_closed(&client) && is_closed(&target));
}

#[test]
fn a_hundred_tunnels_at_once() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let tunnels: Vec<_> = (0..100).map(|_| tunnel(&rig, &backend)).collect();
    for (nth, (client, target)) in tunnels.iter().enumerate() {
        says(client, target, &format!("to {nth}"));
        says(target, client, &format!("from {nth}"));
    }
    assert_eq!(rig.traffic.snapshot().tunnels, 100);
    drop(tunnels);
    eventually("all are over", || rig.counters().open == 0);
}
