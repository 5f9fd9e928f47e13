//! Connections that become something else.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tambat_model::{HttpRules, Protocol};
use tambat_router::RouterSettings;

use crate::http::words::{exactly, exchange, get, head, is_closed, message, ok, plain, send};
use crate::rig::{Backend, Rig, eventually, hold, pass, rest, says, serve};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A Close frame with the code 1001 (RFC 6455 §5.5.1, §7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

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
    let mut rig = Rig::with(Protocol::Http, Some(Duration::from_secs(3)), RouterSettings::default());
    let short = Some(Duration::from_millis(700));
    rig.rules = HttpRules { first_byte: short, response_idle: short, ..HttpRules::default() };
    rig.publish(serve(&[&backend]));
    let (client, target) = exchange(&rig, &backend, UPGRADE);
    head(&target);
    send(&target, SWITCHING);
    head(&client);
    // Each pause is longer than what is short, and all of them are longer than a tunnel may be idle.
    for _ in 0..4 {
        pass(Duration::from_millis(800));
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
        // Both are told, and nobody is reset: the client in its own words.
        assert_eq!(heard, (GOING_AWAY.to_vec(), vec![]));
        assert!(after > limit / 2, "{after:?}");
    });
    rig.router.shutdown();
    assert!(is_closed(&client) && is_closed(&target));
}

/// Its time is over: it is closed before the table without it is there, as by the supervisor, and then cut.
fn cut(rig: &Rig, backend: &Backend) {
    backend.target.load.close();
    rig.publish(hold(None));
    backend.target.load.cut();
}

#[test]
fn a_websocket_that_is_cut_ends_with_a_goodbye_between_its_frames_only() {
    let says_what = [
        // Of a frame of five bytes.
        (b"\x82\x05hello".to_vec(), true),
        (b"\x82\x05hell".to_vec(), false),
        // It has said goodbye itself.
        (GOING_AWAY.to_vec(), false),
    ];
    for (words, is_told) in says_what {
        let backend = Backend::new("web.1");
        let rig = plain(&[&backend]);
        let (client, mut target) = tunnel(&rig, &backend);
        target.write_all(&words).unwrap();
        assert!(exactly(&client, words.len()) == words);
        cut(&rig, &backend);
        let rest = rest(&client);
        assert_eq!(rest == GOING_AWAY, is_told, "{rest:?}");
        assert!(is_told || rest.is_empty(), "{rest:?}");
    }
}

#[test]
fn what_is_no_websocket_ends_without_words() {
    let backend = Backend::new("web.1");
    let rig = plain(&[&backend]);
    let (client, target) = exchange(&rig, &backend, &UPGRADE.replace("websocket", "line"));
    head(&target);
    send(&target, SWITCHING.replace("websocket", "line"));
    assert_eq!(head(&client).status(), 101);
    cut(&rig, &backend);
    assert_eq!(rest(&client), b"");
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
