//! Targets that somebody else runs: who is in, who is out, and what becomes of requests meanwhile.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{AppDir, Backend, Base, Routed, get, until};

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], Base::find().0).into()
}

fn route(lines: &str, targets: &[SocketAddr]) -> String {
    let targets: Vec<String> = targets.iter().map(|addr| format!("\"{addr}\"")).collect();
    format!("[routes.shop]\n{lines}\ntargets = [{}]\n", targets.join(", "))
}

/// Questions so often that a test does not wait for them.
const OFTEN: &str = "health = { every = \"50ms\" }";

/// So seldom that none is asked during a test, but at its beginning.
const SELDOM: &str = "health = { every = \"1h\" }";

/// A path must answer.
const BY_PATH: &str = "hosts = \"shop.example\"\nhealth = { path = \"/healthz\", every = \"50ms\" }";

#[test]
fn a_target_that_refuses_costs_no_request() {
    let (there, gone) = (Backend::start("there"), nobody());
    let routed = Routed::start(&route(SELDOM, &[gone, there.addr]));
    for nth in 0..10 {
        let answer = routed.get("a", &format!("/{nth}"));
        assert_eq!((answer.status, answer.body), (200, format!("there /{nth}")));
    }
    let said = routed.err_line(" is out: ");
    assert!(said.ends_with(&format!("shop/{gone} is out: it refuses connections")), "{said}");
}

#[test]
fn a_target_that_dies_goes_out_and_comes_back_when_it_does() {
    let (one, two) = (Backend::at(nobody(), "one"), Backend::start("two"));
    let routed = Routed::start(&route(OFTEN, &[one.addr, two.addr]));
    assert_eq!(routed.get("a", "/").status, 200);
    let addr = one.dies();
    routed.err_line(&format!("shop/{addr} is out: "));
    for _ in 0..6 {
        assert_eq!(routed.get("a", "/").body, "two /");
    }
    let _one = Backend::at(addr, "one");
    routed.err_line(&format!("shop/{addr} is in again"));
    until("the one that came back to be chosen", || (routed.get("a", "/").body == "one /").then_some(()));
}

#[test]
fn with_all_out_requests_wait_and_are_told_why_in_the_end() {
    let (first, second) = (nobody(), nobody());
    let lines = format!("{OFTEN}\ntimeouts = {{ wait = \"300ms\" }}");
    let routed = Routed::start(&route(&lines, &[first, second]));
    routed.lines(" is out: ", 2);
    let start = Instant::now();
    let answer = routed.get("a", "/");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?}: {answer:?}");
    assert_eq!(answer.status, 503, "{answer:?}");
    for part in ["\r\nTambat-Error: no-target", "\r\nRetry-After: "] {
        assert!(answer.head.contains(part), "{part}: {}", answer.head);
    }
    for addr in [first, second] {
        assert!(answer.body.contains(&format!("shop/{addr} refuses connections")), "{}", answer.body);
    }
}

/// HOSTILE C1: refused everywhere is 502, and at once.
#[test]
fn refused_by_the_only_target_is_502_at_once() {
    let gone = nobody();
    let routed = Routed::start(&route(SELDOM, &[gone]));
    let answer = routed.get("a", "/");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.head.contains("\r\nTambat-Error: target-unreachable"), "{}", answer.head);
    assert!(answer.body.contains(&format!("shop/{gone} refused the connection")), "{}", answer.body);
}

/// HOSTILE H13: no thundering when a target comes back.
#[test]
fn those_who_waited_come_no_more_at_a_time_than_they_may() {
    const CLIENTS: usize = 12;
    let addr = nobody();
    let routed = Routed::start_with(&route(&format!("{OFTEN}\nmax_in_flight = 2"), &[addr]), &["--workers", "1"]);
    routed.err_line(" is out: ");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| routed.connect()).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    }
    let shop = Backend::at(addr, "shop");
    shop.takes(Duration::from_millis(20));
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!((shop.paths().len(), shop.peak()), (CLIENTS, 2));
}

#[test]
fn a_request_that_waits_is_served_by_whoever_comes_first() {
    let addr = nobody();
    let routed = Routed::start(&route(OFTEN, &[addr]));
    routed.err_line(" is out: ");
    let mut client = routed.connect();
    client.write_all(b"GET /waits HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let _shop = Backend::at(addr, "shop");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("shop /waits"), "{answer}");
}

#[test]
fn a_path_must_answer_2xx() {
    let [one, two] = ["one", "two"].map(Backend::start);
    let routed = Routed::start(&route(BY_PATH, &[one.addr, two.addr]));
    one.answers(503);
    let said = routed.err_line(&format!("shop/{} is out: ", one.addr));
    assert!(said.contains("503"), "{said}");
    for _ in 0..4 {
        assert_eq!(routed.get("shop.example", "/").body, "two /");
    }
    let asked: Vec<String> = one.heads().into_iter().filter(|head| head.starts_with("GET /healthz ")).collect();
    assert!(asked.len() >= 3 && asked.iter().all(|head| head.contains("\r\nHost: shop.example\r\n")), "{asked:?}");
    one.answers(204);
    routed.err_line(&format!("shop/{} is in again", one.addr));
}

#[test]
fn what_is_known_survives_a_reload() {
    let (there, gone) = (Backend::start("there"), nobody());
    let routed = Routed::start(&route(OFTEN, &[gone, there.addr]));
    routed.err_line(&format!("shop/{gone} is out: "));
    let said = routed.reload(&route(&format!("{OFTEN}\nmax_body = 5"), &[gone, there.addr]));
    assert!(said.contains("read again"), "{said}");
    let before = routed.stderr().len();
    for _ in 0..4 {
        assert_eq!(routed.get("a", "/").body, "there /");
    }
    let since = routed.stderr()[before..].to_vec();
    assert!(since.is_empty(), "it is out as before: {since:?}");
}

/// The same for instances of ours, where the manifest says so.
#[test]
fn an_instance_that_is_not_well_gets_no_requests_and_is_not_started_again() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\ninstances = 2\n\
         health = { path = \"/healthz\", every = \"50ms\" }\n",
    );
    let mut running = app.start(&[]);
    running.up();
    let is_ready = |instance: &serde_json::Value| instance["state"] == "ready";
    until("both to be ready", || app.process("web")["instances"].as_array()?.iter().all(is_ready).then_some(()));
    let first = || app.process("web")["instances"][0].clone();
    let port = first()["address"].as_str().and_then(|addr| addr.rsplit(':').next()?.parse().ok()).unwrap();
    let pid = first()["pid"].clone();
    get(port, "/status?503");
    let said = running.err_line("web.1 is not well");
    assert!(said.contains("503"), "{said}");
    for _ in 0..6 {
        assert_eq!(running.get("web", "/").body, "web.2");
    }
    let now = first();
    assert_eq!((&now["pid"], &now["restarts"], &now["state"]), (&pid, &0.into(), &"ready".into()));
    assert!(now["cause"].as_str().unwrap().contains("503"), "{now}");
    let routes = app.json(&["routes", "--json"]);
    let targets = routes["routes"][0]["targets"].as_array().unwrap();
    let ill = targets.iter().find(|target| target["name"] == "web.1").unwrap();
    assert!(ill["chosen"] == false && ill["reason"].as_str().unwrap().contains("503"), "{ill}");
    get(port, "/status?200");
    running.err_line("web.1 is well again");
    until("it to be chosen", || (running.get("web", "/").body == "web.1").then_some(()));
    assert_eq!(running.stop(), 0);
}
