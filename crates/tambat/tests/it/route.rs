//! `tambat route --from FILE`: where requests go, and how it starts and ends.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{AppDir, Backend, LIMIT, Routed, until};

fn route(name: &str, lines: &str, backends: &[&Backend]) -> String {
    let targets: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.addr)).collect();
    format!("[routes.{name}]\n{lines}\ntargets = [{}]\n", targets.join(", "))
}

#[test]
fn requests_go_by_hostname_and_path_whatever_the_order_in_the_file() {
    let [shop, api, below, rest] = ["shop", "api", "below", "rest"].map(Backend::start);
    let mut routes = [
        route("rest", "", &[&rest]),
        route("below", "hosts = \"*.shop.example\"", &[&below]),
        route("shop", "hosts = [\"shop.example\", \"www.example\"]", &[&shop]),
        route("api", "hosts = \"shop.example\"\npath = \"/api\"\nstrip_path = true", &[&api]),
    ];
    for _ in 0..2 {
        let routed = Routed::start(&routes.concat());
        for (host, path, body) in [
            ("shop.example", "/", "shop /"),
            ("SHOP.example.", "/x?y=1", "shop /x?y=1"),
            (&format!("www.example:{}", routed.addr.port()), "/apis", "shop /apis"),
            ("shop.example", "/api/v1?z", "api /v1?z"),
            ("shop.example", "/api", "api /"),
            ("shop.example", "/api?q", "api /?q"),
            ("a.b.shop.example", "/api", "below /api"),
            ("other.example", "/", "rest /"),
        ] {
            let answer = routed.get(host, path);
            assert_eq!((answer.status, answer.body.as_str()), (200, body), "{host}{path}");
        }
        routes.reverse();
    }
}

#[test]
fn a_name_that_nobody_answers_to_is_told_so() {
    let shop = Backend::start("shop");
    let routed = Routed::start(&route("shop", "hosts = \"shop.example\"", &[&shop]));
    let answer = routed.get("blog.example", "/");
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.head.contains("\r\nTambat-Error: no-route"), "{}", answer.head);
    assert!(shop.heads().is_empty());
}

#[test]
fn what_a_route_says_holds_for_its_requests() {
    let shop = Backend::start("shop");
    let rules = "max_body = \"10B\"\nheaders = { \"X-Frame-Options\" = \"DENY\" }";
    let routed = Routed::start(&route("shop", rules, &[&shop]));
    let answer = routed.get("shop.example", "/");
    assert!(answer.head.contains("\r\nX-Frame-Options: DENY"), "{}", answer.head);
    let answer =
        routed.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nConnection: close\r\n\r\n12345678901");
    assert_eq!(answer.status, 413, "{answer:?}");
    routed.reload(&route("shop", "timeouts = { first_byte = \"200ms\" }", &[&shop]));
    shop.takes(LIMIT);
    let answer = routed.get("shop.example", "/");
    assert_eq!(answer.status, 504, "{answer:?}");
}

#[test]
fn targets_take_turns() {
    let [one, two] = ["one", "two"].map(Backend::start);
    let routed = Routed::start_with(&route("shop", "", &[&one, &two]), &["--workers", "1"]);
    let mut bodies: Vec<String> = (0..4).map(|_| routed.get("a", "/").body).collect();
    bodies.sort();
    assert_eq!(bodies, ["one /", "one /", "two /", "two /"]);
}

#[test]
fn it_says_where_it_listens_and_nothing_else_on_standard_output() {
    let shop = Backend::start("shop");
    let listen = "listen = [\"127.0.0.1:0\", \"[::1]:0\"]\n";
    let mut routed = Routed::start(&format!("{listen}{}", route("shop", "", &[&shop])));
    let lines = routed.lines("listening ", 2);
    assert_eq!(lines, routed.stdout());
    assert!(lines[0].starts_with("listening 127.0.0.1:") && lines[1].starts_with("listening [::1]:"), "{lines:?}");
    assert_eq!(routed.get("a", "/").body, "shop /");
    assert_eq!(routed.stop(), 0);
    assert!(std::net::TcpStream::connect(routed.addr).is_err());
}

#[test]
fn a_signal_lets_requests_come_to_their_end() {
    let shop = Backend::start("shop");
    let mut routed = Routed::start(&route("shop", "", &[&shop]));
    let mut idle = routed.connect();
    shop.takes(Duration::from_millis(700));
    let mut client = routed.connect();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    until("the request to arrive", || shop.paths().contains(&"/slow".to_owned()).then_some(()));
    routed.signal(Signal::SIGTERM);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("shop /slow"), "{answer}");
    assert_eq!(routed.ended(), 0);
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "an idle connection is closed");
    assert!(routed.err_line("SIGTERM").contains("30 s at most"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let shop = Backend::start("shop");
    let mut routed = Routed::start(&route("shop", "", &[&shop]));
    shop.takes(LIMIT);
    let mut client = routed.connect();
    client.write_all(b"GET /hung HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    until("the request to arrive", || shop.paths().contains(&"/hung".to_owned()).then_some(()));
    routed.signal(Signal::SIGTERM);
    routed.err_line("SIGTERM");
    routed.signal(Signal::SIGINT);
    assert_eq!(routed.ended(), 130);
    assert!(routed.err_line("SIGINT again").contains("1 connections are cut off"));
}

#[test]
fn what_is_wrong_is_said_before_anything_listens() {
    let dir = AppDir::new().file(
        "routes.toml",
        "listen = \"127.0.0.1:0\"\n[routes.shop]\ntargets = \"db:1\"\n[routes.blog]\ntarget = \"127.0.0.1:2\"\n",
    );
    let output = dir.tambat(&["route", "--from", "routes.toml"]).must_be(2);
    assert_eq!(output.stdout, "");
    for part in [
        "error: `db:1` is not an address of a target",
        "routes.toml:3:11",
        "unknown key `target`",
        "did you mean `targets`?",
    ] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
    let output = dir.tambat(&["route", "--from", "nowhere.toml"]).must_be(2);
    assert!(output.stderr.contains("nowhere.toml: there is no such file"), "{}", output.stderr);
    let output = dir.tambat(&["route"]).must_be(2);
    assert!(output.stderr.contains("--from <FILE>"), "{}", output.stderr);
}

#[test]
fn a_busy_address_names_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!("listen = \"127.0.0.1:{port}\"\n[routes.shop]\ntargets = \"127.0.0.1:1\"\n");
    let dir = AppDir::new().file("routes.toml", text);
    let output = dir.tambat(&["route", "--from", "routes.toml"]).must_be(1);
    let by = format!("cannot listen at 127.0.0.1:{port}: the port is taken by ");
    assert!(output.stderr.contains(&by), "{}", output.stderr);
    assert!(output.stderr.contains(&format!("(pid {})", std::process::id())), "{}", output.stderr);
    // The address of nobody (RFC 5737 §3).
    let dir = dir.file("routes.toml", "listen = \"192.0.2.1:0\"\n[routes.shop]\ntargets = \"127.0.0.1:1\"\n");
    let output = dir.tambat(&["route", "--from", "routes.toml"]).must_be(1);
    assert!(output.stderr.contains("this machine has no address 192.0.2.1"), "{}", output.stderr);
}

#[test]
fn a_hundred_thousand_hostnames_are_served() {
    let [many, one] = ["many", "one"].map(Backend::start);
    let hosts: Vec<String> = (0..100_000).map(|nth| format!("\"h{nth}.example\"")).collect();
    let hosts = format!("hosts = [{}]", hosts.join(","));
    let mut routed = Routed::start(&[route("many", &hosts, &[&many]), route("one", "", &[&one])].concat());
    for nth in [0, 50_000, 99_999] {
        assert_eq!(routed.get(&format!("h{nth}.example"), "/").body, "many /");
    }
    assert_eq!(routed.get("h100000.example", "/").body, "one /");
    assert_eq!(routed.stop(), 0);
}
