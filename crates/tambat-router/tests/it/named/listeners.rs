//! Listeners come and go, and those that nobody shares need no telling.

use std::time::Duration;

use tambat_model::{Admission, Entrance, Protocol, Route};
use tambat_router::RouterReport;

use super::words::{Door, hosts, listen, refuses, route, sole};
use crate::http::words::{Server, exactly, message, send};
use crate::rig::{Backend, eventually, hold, rest, says};

#[test]
fn who_is_alone_at_a_listener_gets_whatever_comes() {
    let (door, backend) = (Door::new(), Backend::new("cache.1"));
    door.opens_to(sole(&route("cache", Protocol::Redis, &[&backend])));
    let client = door.client();
    let target = backend.accept();
    // The server may speak first.
    says(&target, &client, "hello");
    says(&client, &target, "PING");
    drop(target);
    assert_eq!(rest(&client), b"");
    drop(client);
    eventually("it is over", || door.counters().open == 0);
    let counters = door.counters();
    assert_eq!((counters.connections, counters.bytes_in, counters.bytes_out), (1, 4, 5));
}

#[test]
fn a_connection_waits_for_its_route_and_for_its_target() {
    let (mut door, backend) = (Door::new(), Backend::new("db.1"));
    let client = door.client();
    let is_waiting =
        |report, name: &str| matches!(report, RouterReport::Waiting { port: None, route } if route == name);
    assert!(is_waiting(door.rig.report(), ""));
    let held = Route::new("db", Protocol::Tcp, hold(None));
    door.opens_to(sole(&held.into()));
    let second = door.client();
    assert!(is_waiting(door.rig.report(), "db"));
    eventually("both wait", || door.counters().waiting == 2);
    door.opens_to(sole(&route("db", Protocol::Tcp, &[&backend])));
    let (one, other) = (backend.accept(), backend.accept());
    for client in [&client, &second] {
        // Which is whose shows when it is closed.
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    assert_eq!((rest(&one), rest(&other)), (vec![], vec![]));
}

#[test]
fn a_connection_that_comes_before_its_route_counts_with_it() {
    let (door, backend) = (Door::new(), Backend::new("db.1"));
    let client = door.client();
    eventually("it waits", || door.counters().waiting == 1);
    let route = route("db", Protocol::Tcp, &[&backend]);
    door.opens_to(sole(&route));
    says(&client, &backend.accept(), "hello");
    let traffic = route.traffic.snapshot();
    assert_eq!((traffic.streams, traffic.streams_open(), traffic.bytes_in), (1, 1, 5));
}

#[test]
fn a_route_that_refuses_says_so_in_its_protocol() {
    let door = Door::new();
    let refuse = Admission::Refuse { cause: "cache.1 exited".into(), mend: None };
    door.opens_to(sole(&Route::new("cache", Protocol::Redis, refuse).into()));
    let client = door.client();
    send(&client, "PING\r\n");
    let said = String::from_utf8(rest(&client)).unwrap();
    assert!(said.starts_with("-ERR ") && said.contains("cache cannot be reached: cache.1 exited"), "{said}");
    assert_eq!(door.counters().refused, 1);
}

#[test]
fn plain_http_is_routed_by_host_and_path() {
    let (door, web, api) = (Door::new(), Server::new("web"), Server::new("api"));
    let [of_web, of_api] =
        [("web", &web), ("api", &api)].map(|(name, server)| route(name, Protocol::Http, &[&server.backend]));
    let sites = [("a.example", &of_web), ("a.example/api", &of_api), ("*.b.example", &of_api)];
    door.opens_to(Entrance { http: hosts(&sites), ..Entrance::default() });
    let client = door.client();
    for (host, path, by) in
        [("a.example", "/x", "web /x"), ("a.example", "/api/x", "api /api/x"), ("x.b.example", "/", "api /")]
    {
        send(&client, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(message(&client).text(), by);
    }
    // Nobody's: and what there is here is no business of this listener's.
    for host in ["b.example", "localhost"] {
        send(&client, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = message(&client);
        assert_eq!((answer.status(), answer.field("tambat-error")), (404, Some("no-route")), "{answer:?}");
    }
}

#[test]
fn a_listener_that_is_removed_refuses_and_its_connections_go_on() {
    let (door, backend) = (Door::new(), Backend::new("cache.1"));
    let other = listen(&door.rig, None);
    door.opens_to(sole(&route("cache", Protocol::Tcp, &[&backend])));
    let client = door.client();
    let target = backend.accept();
    says(&client, &target, "before");
    door.rig.router.remove(door.kind());
    eventually("it is closed", || refuses(door.at.get()));
    assert!(!refuses(other.get()));
    says(&client, &target, "after");
    // What a removal removes may be added again, and removed once more.
    let socket = std::net::TcpListener::bind(door.at.get()).unwrap();
    let listener = tambat_router::Listener { kind: door.kind(), sockets: vec![socket], tls: None };
    door.rig.router.add(listener).unwrap();
    let again = door.client();
    says(&again, &backend.accept(), "again");
    assert_eq!((door.counters().connections, door.rig.router.open()), (1, 2));
    door.rig.router.remove(door.kind());
    door.rig.router.remove(door.kind());
    eventually("it is closed again", || refuses(door.at.get()));
    drop((client, target));
    eventually("one is over", || door.rig.router.open() == 1);
}

#[test]
fn connections_of_http_end_with_their_listener() {
    /// An empty SETTINGS, and what a GOAWAY has behind its length (RFC 9113 §6.5, §6.8).
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const GOAWAY: &[u8] = b"\x07\0\0\0\0\0";
    let (door, web) = (Door::new(), Server::new("web"));
    let sites = [("a.example", &route("web", Protocol::Http, &[&web.backend]))];
    door.opens_to(Entrance { http: hosts(&sites), ..Entrance::default() });
    let (kept, fresh, http2) = (door.client(), door.client(), door.client());
    send(&kept, "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(message(&kept).text(), "web /x");
    send(&http2, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat());
    exactly(&http2, SETTINGS.len());
    door.rig.router.remove(door.kind());
    assert_eq!((rest(&kept), rest(&fresh)), (vec![], vec![]));
    let said = rest(&http2);
    assert!(said.windows(GOAWAY.len()).any(|bytes| bytes == GOAWAY), "{said:?}");
    eventually("all are over", || door.rig.router.open() == 0);
}

#[tokio::test]
async fn a_drain_of_shared_listeners_closes_these_too() {
    let (door, backend) = (Door::new(), Backend::new("cache.1"));
    door.opens_to(sole(&route("cache", Protocol::Tcp, &[&backend])));
    let client = door.client();
    says(&client, &backend.accept(), "hello");
    door.rig.router.drain_shared(Duration::from_millis(50)).await;
    assert!(refuses(door.at.get()) && !refuses(door.rig.addr()));
}
