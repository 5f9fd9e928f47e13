//! A shared listener: the hostname and the path choose the process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use tambat_model::{Admission, ErrorCode, Protocol, Route, RouteTable, Site};
use tambat_router::{Listener, ListenerKind, RouterReport};

use crate::http::words::{Message, Server, get, message, ok, plain, send};
use crate::rig::{Backend, Rig, bounded, serve};

/// A router with a shared listener, and its address.
fn shared(sites: &[(&str, &str, bool, Admission)]) -> (Rig, SocketAddr) {
    let rig = plain(&[]);
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    rig.router.add(Listener { kind: ListenerKind::Shared, sockets: vec![socket], tls: None }).unwrap();
    rig.publish_table(table(sites));
    (rig, addr)
}

fn table(sites: &[(&str, &str, bool, Admission)]) -> RouteTable {
    let mut table = RouteTable::default();
    for (host, path, strip, admission) in sites {
        let route = Arc::new(Route::new(&format!("{host}{path}"), Protocol::Http, admission.clone()));
        let site = Site { path: path.parse().unwrap(), strip: *strip, route };
        table.hosts_mut().insert(host.parse().unwrap(), site).unwrap();
    }
    table
}

fn connect(addr: SocketAddr) -> TcpStream {
    bounded(TcpStream::connect(addr).unwrap())
}

fn ask(client: &TcpStream, host: &str, path: &str) -> Message {
    send(client, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    message(client)
}

#[test]
fn host_and_path_choose_for_each_request_of_a_connection() {
    let servers = ["web", "api", "any"].map(Server::new);
    let [web, api, any] = servers.each_ref().map(|server| serve(&[&server.backend]));
    let (rig, addr) = shared(&[
        ("shop.example", "/", false, web.clone()),
        ("shop.example", "/api", true, api.clone()),
        ("*.example", "/", false, any.clone()),
    ]);
    let client = connect(addr);
    let text = |host, path| ask(&client, host, path).text().to_owned();
    assert_eq!(text("shop.example", "/x"), "web /x");
    assert_eq!(text("SHOP.example:7080", "/api/x?y=1"), "api /x?y=1");
    assert_eq!(text("shop.example", "/api?y=1"), "api /?y=1");
    assert_eq!(text("shop.example.", "/apix"), "web /apix");
    assert_eq!(text("other.example", "/api"), "any /api");
    let unknown = ask(&client, "evil.test", "/script?secret=1");
    assert_eq!((unknown.status(), unknown.field("tambat-error")), (404, Some("no-route")));
    assert!(unknown.text().contains("no process answers to evil.test/script"), "{}", unknown.text());
    assert!(!unknown.text().contains("secret"), "{}", unknown.text());
    // The connection goes on.
    assert_eq!(ask(&client, "shop.example", "/").text(), "web /");
    let unrouted = rig.router.unrouted().snapshot();
    assert_eq!((unrouted.requests, unrouted.errors[ErrorCode::NoRoute.index()]), (1, 1));
}

#[test]
fn at_localhost_there_is_a_list_of_what_there_is() {
    let server = Server::new("web");
    let serves = serve(&[&server.backend]);
    let (_rig, addr) = shared(&[
        ("web.shop.localhost", "/", false, serves.clone()),
        ("api.shop.localhost", "/", false, Admission::Refuse { cause: "api.1 exited".into(), mend: None }),
    ]);
    let client = connect(addr);
    for host in ["localhost", "127.0.0.1:7080", "[::1]:7080"] {
        let list = ask(&client, host, "/");
        assert_eq!((list.status(), list.field("content-type")), (200, Some("application/json")));
        let url = format!("http://web.shop.localhost:{}/", addr.port());
        assert!(list.text().contains(&url) && list.text().contains("api.1 exited"), "{}", list.text());
    }
    send(&client, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
    assert!(message(&client).text().contains("<h2>shop</h2>"));
    assert_eq!(ask(&client, "localhost", "/other").status(), 404);
}

#[test]
fn an_options_for_the_router_is_answered_by_it_b8() {
    let server = Server::new("web");
    let (_rig, addr) = shared(&[("*", "/", false, serve(&[&server.backend]))]);
    let client = connect(addr);
    send(&client, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = crate::http::words::head(&client);
    assert!(answer.status() == 204 && answer.field("allow").is_some(), "{}", answer.head);
    assert_eq!(ask(&client, "a", "/").text(), "web /");
    assert_eq!(server.served(), 1);
}

#[test]
fn a_request_waits_at_a_shared_listener_for_the_route_of_its_name() {
    let server = Server::new("web");
    let hold = Admission::Hold { limit: None, cause: "web.1 is binding".into(), mend: None };
    let (mut rig, addr) = shared(&[("shop.example", "/", false, hold)]);
    let client = connect(addr);
    send(&client, "GET /x HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert_eq!(rig.report(), RouterReport::Waiting { port: None, route: "shop.example/".into() });
    rig.publish_table(table(&[("shop.example", "/", false, serve(&[&server.backend]))]));
    assert_eq!(message(&client).text(), "web /x");
}

#[test]
fn a_request_that_comes_back_is_a_circle_and_one_that_goes_on_elsewhere_is_not_d13() {
    let (web, api) = (Backend::new("web"), Backend::new("api"));
    let (_rig, addr) =
        shared(&[("web.example", "/", false, serve(&[&web])), ("api.example", "/", false, serve(&[&api]))]);
    let client = connect(addr);
    send(&client, "GET / HTTP/1.1\r\nHost: web.example\r\n\r\n");
    let target = web.accept();
    let via = message(&target).field("via").unwrap().to_owned();
    // The app asks another one, and keeps the field, as a proxy does.
    let onward = connect(addr);
    send(&onward, format!("GET / HTTP/1.1\r\nHost: api.example\r\nVia: {via}\r\n\r\n"));
    let second = api.accept();
    assert_eq!(message(&second).all("via").join(", ").matches("tambat-").count(), 2);
    send(&second, ok("api"));
    assert_eq!(message(&onward).text(), "api");
    // It asks itself.
    send(&onward, format!("GET / HTTP/1.1\r\nHost: web.example\r\nVia: {via}\r\n\r\n"));
    let answer = message(&onward);
    assert_eq!((answer.status(), answer.field("tambat-error")), (508, Some("loop")));
    assert!(!web.has_a_connection());
}

#[test]
fn a_request_that_cannot_be_read_is_answered_and_closed() {
    let server = Server::new("web");
    let (rig, addr) = shared(&[("*", "/", false, serve(&[&server.backend]))]);
    for (bad, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("PING\r\n\r\n", 400),
    ] {
        let client = connect(addr);
        send(&client, [bad, &get("/evil")].concat());
        let told = String::from_utf8(crate::rig::rest(&client)).unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{bad:?}: {told}");
        assert_eq!(told.matches("HTTP/1.1").count() - told.matches("of HTTP/1.1").count(), 1, "{told}");
    }
    assert_eq!(server.served(), 0);
    assert_eq!(rig.router.unrouted().snapshot().requests, 4);
}

#[test]
fn a_router_of_the_same_user_is_believed_and_nobody_else() {
    let backend = Backend::new("web.1");
    let settings = tambat_router::RouterSettings { hop_token: Some("s3cret".into()), ..Default::default() };
    let rules = tambat_model::HttpRules { hop_token: Some("onward".into()), ..Default::default() };
    let rig = crate::http::words::router(&[&backend], rules, settings);
    for (token, expected) in [("s3cret", "192.0.2.7, 127.0.0.1"), ("s3cre", "127.0.0.1"), ("s3creT", "127.0.0.1")] {
        let client = rig.client();
        let fields = format!("X-Forwarded-For: 192.0.2.7\r\nTambat-Hop: {token}\r\nConnection: close\r\n");
        send(&client, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let target = backend.accept();
        let seen = message(&target);
        assert_eq!(seen.field("x-forwarded-for"), Some(expected), "{token}");
        assert_eq!(seen.field("tambat-hop"), Some("onward"));
        send(&target, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
}
