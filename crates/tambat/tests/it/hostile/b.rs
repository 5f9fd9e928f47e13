//! Group B: the request line and the fields (RFC 9112 §2, §3, §5).

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use super::client::{Client, PATIENCE};
use super::memory::resident_kib;
use super::recorder::Recorder;
use super::stage::{HOST, Setting, Stage, file, must_be_one_of};
use super::vectors;
use crate::support::Routed;

#[test]
fn b01_no_host() {
    Stage::new().refuses(&vectors::b01());
    // HTTP/1.0 did without: such a request goes where every name goes.
    let stage = Stage::set(&Setting { route: "", ..Setting::default() });
    let mark = stage.mark();
    let answer = stage.exchange(&format!("GET /{mark} HTTP/1.0\r\n\r\n"));
    must_be_one_of(&answer, &[(404, "no-route")], "no host, and no route for all");
    assert!(stage.app.strangers().is_empty());
    stage.good();
    let app = Recorder::start();
    let router = Routed::start(&format!("[routes.any]\ntargets = [\"{}\"]\n", app.addr));
    let mut client = Client::connect(router.addr);
    client.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "saw GET /old");
    let request = app.request("/old");
    assert_eq!(request.field("host"), Some(format!("localhost:{}", router.addr.port()).as_str()), "{}", request.head);
}

#[test]
fn b02_two_hosts() {
    Stage::new().refuses(&vectors::b02());
}

#[test]
fn b03_a_host_that_is_no_host() {
    Stage::new().refuses(&vectors::b03());
}

#[test]
fn b04_two_names_in_one_request() {
    Stage::new().refuses(&vectors::b04());
    for request in Stage::new().passes(&vectors::b04_passed()) {
        assert!(request.path.starts_with('/'), "{}", request.head);
        assert_eq!(request.field("host").unwrap().to_ascii_lowercase(), HOST);
    }
}

#[test]
fn b05_a_user_in_the_target() {
    Stage::new().refuses(&vectors::b05());
}

#[test]
fn b06_connect() {
    let stage = Stage::new();
    stage.refuses(&vectors::b06());
    let answer = stage.exchange(&format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"));
    assert_eq!(answer.status, 405);
    assert!(!answer.field("allow").unwrap_or("CONNECT").contains("CONNECT"), "{answer:?}");
}

#[test]
fn b07_trace() {
    let stage = Stage::new();
    stage.refuses(&vectors::b07());
    let answer = stage.exchange(&format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\nCookie: secret=1\r\n\r\n"));
    assert!(!answer.text().contains("secret"), "{answer:?}");
    assert!(!answer.field("allow").unwrap_or("TRACE").contains("TRACE"), "{answer:?}");
}

#[test]
fn b08_options_asterisk() {
    let stage = Stage::new();
    // It asks the router itself, whatever host it names: no app sees it.
    for target in ["*", "http://shop.example"] {
        for host in [HOST, "other.example"] {
            let mut client = stage.send(&format!("OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let answer = client.answer();
            if target != "*" && host != HOST {
                must_be_one_of(&answer, &[(400, "bad-request")], "two names");
                continue;
            }
            assert!(
                [200, 204].contains(&answer.status) && answer.field("allow").is_some(),
                "{target} {host}: {answer:?}"
            );
            // The connection goes on.
            client.send(format!("GET /good/behind HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            assert_eq!(client.answer().text(), "saw GET /good/behind");
        }
    }
    for method in ["GET", "POST", "HEAD", "DELETE", "options"] {
        let mut client = stage.send(&format!("{method} * HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
        must_be_one_of(&answer, &[(400, "bad-request")], method);
    }
    stage.good();
    assert_eq!(stage.app.strangers(), Vec::<String>::new());
}

#[test]
fn b09_http_0_9() {
    Stage::new().refuses(&vectors::b09());
}

#[test]
fn b10_versions_that_are_not_1_0_or_1_1() {
    Stage::new().refuses(&vectors::b10());
}

#[test]
fn b11_methods_that_are_no_tokens() {
    Stage::new().refuses(&vectors::b11());
}

#[test]
fn b12_bytes_that_no_target_has() {
    Stage::new().refuses(&vectors::b12());
}

#[test]
fn b13_a_request_line_that_is_too_long() {
    let stage = Stage::new();
    stage.refuses(&vectors::b13());
    // What fits goes through.
    let mark = stage.mark();
    let path = format!("/{mark}{}", "a".repeat(8 * 1024 - 100));
    let answer = stage.exchange(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.app.request(&mark).path, path);
}

#[test]
fn b14_fields_that_are_too_long_or_too_many() {
    let stage = Stage::new();
    stage.refuses(&vectors::b14());
    let many = (0..99).map(|nth| format!("X-{nth}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("X-Filler: {}\r\n", "a".repeat(15 * 1024));
    for fields in [many, long.clone(), long.repeat(3)] {
        let mark = stage.mark();
        let answer = stage.exchange(&format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let request = stage.app.request(&mark);
        let sent = request.head.split("\r\n").filter(|line| line.starts_with("X-Filler") || line.ends_with(": y"));
        assert_eq!(sent.count(), fields.lines().count());
    }
}

#[test]
fn b15_a_space_before_the_colon() {
    Stage::new().refuses(&vectors::b15());
}

#[test]
fn b16_a_folded_field() {
    Stage::new().refuses(&vectors::b16());
}

#[test]
fn b17_a_blank_before_the_first_field() {
    Stage::new().refuses(&vectors::b17());
}

#[test]
fn b18_a_field_without_name_or_colon() {
    Stage::new().refuses(&vectors::b18());
}

#[test]
fn b19_control_characters_in_a_value() {
    Stage::new().refuses(&vectors::b19());
}

#[test]
fn b20_bare_line_feeds() {
    Stage::new().refuses(&vectors::b20());
}

#[test]
fn b21_an_empty_line_before_a_request() {
    Stage::new().passes(&vectors::b21());
    Stage::new().refuses(&vectors::b21_refused());
}

#[test]
fn b22_a_field_name_that_is_no_token() {
    Stage::new().refuses(&vectors::b22());
}

#[test]
fn b23_names_with_an_underscore() {
    for request in Stage::new().passes(&vectors::b23()) {
        let names = request.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let dropped: Vec<_> = names.filter(|(name, _)| name.contains('_')).collect();
        assert!(dropped.is_empty(), "{}", request.head);
        assert_eq!(request.fields("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.fields("x-forwarded-proto"), ["http"]);
    }
}

/// What is asked for, and what is matched and sent. `/admin` is another app's.
const PATHS: &[(&str, &str)] = &[
    ("/a/%2e%2e/admin", "/admin"),
    ("/a/../admin", "/admin"),
    ("/a/.%2e/admin", "/admin"),
    ("/a/%2E./admin/x", "/admin/x"),
    ("/../admin", "/admin"),
    ("/../../../admin", "/admin"),
    ("/./admin", "/admin"),
    ("/%2e/admin", "/admin"),
    ("/%61dmin", "/admin"),
    ("/adm%69n/%78", "/admin/x"),
    ("/a/b/../../admin?x=/../y", "/admin?x=/../y"),
    ("/admin/../a", "/a"),
    ("/admin/..", "/"),
    ("/admin/%2e%2e/a", "/a"),
    ("/admin/.", "/admin/"),
    ("/adminx", "/adminx"),
    ("/Admin", "/Admin"),
    ("/a//b", "/a//b"),
    ("//admin", "//admin"),
    ("/a%2fb", "/a%2fb"),
    ("/a%2Fb", "/a%2Fb"),
    ("/%2fadmin", "/%2fadmin"),
    ("/a%5cb", "/a%5cb"),
    ("/a%5c..%5cadmin", "/a%5c..%5cadmin"),
    ("/a;x", "/a;x"),
    ("/a;/../admin", "/admin"),
    ("/a/..;/admin", "/a/..;/admin"),
    ("/a?%2e%2e/%61", "/a?%2e%2e/%61"),
    ("/a?../admin", "/a?../admin"),
    ("/%7euser", "/~user"),
    ("/a%20b", "/a%20b"),
    ("/%c3%a9", "/%c3%a9"),
    ("/...", "/..."),
    ("/a/.../b", "/a/.../b"),
    ("/%252e%252e/admin", "/%252e%252e/admin"),
];

#[test]
fn b24_what_is_matched_is_what_is_sent() {
    let (shop, admin) = (Recorder::start(), Recorder::start());
    let router = Routed::start(&format!(
        "[routes.shop]\nhosts = [\"{HOST}\"]\ntargets = [\"{}\"]\n\
         [routes.admin]\nhosts = [\"{HOST}\"]\npath = \"/admin\"\ntargets = [\"{}\"]\n",
        shop.addr, admin.addr
    ));
    for (asked, sent) in PATHS {
        let mut client = Client::connect(router.addr);
        client.send(format!("GET {asked} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.text(), format!("saw GET {sent}"), "{asked}: {answer:?}");
        let path = sent.split('?').next().unwrap();
        let of_admin = path == "/admin" || path.starts_with("/admin/");
        let app = if of_admin { &admin } else { &shop };
        assert_eq!(app.log().requests.last().map(|r| r.path.clone()).as_deref(), Some(*sent), "{asked}");
    }
    for asked in ["/a%00b", "/%00", "/a/%00/../admin", "/%2e%2e%00/admin"] {
        let mut client = Client::connect(router.addr);
        client.send(format!("GET {asked} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        must_be_one_of(&client.answer(), &[(400, "bad-request")], asked);
        client.must_be_closed(asked);
    }
    let seen = shop.log().requests.len() + admin.log().requests.len();
    assert_eq!(seen, PATHS.len(), "the app saw nothing of the refused ones");
}

const PIPELINED: usize = 100_000;

/// What a router may hold of a client that sends on and on: its own buffers, and those are of KiB.
const READ_AHEAD_KIB: u64 = 2 * 1024;

/// Answers `/N` with `N`, and panics if the next one is not `/N+1`.
fn counting_app() -> (std::net::SocketAddr, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut next = 0;
        // Health probes are connections without a byte.
        while next < PIPELINED {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(path) = line.strip_prefix("GET /") {
                    assert_eq!(path.split(' ').next(), Some(next.to_string().as_str()));
                } else if line == "\r\n" {
                    let body = next.to_string();
                    next += 1;
                    let length = body.len();
                    stream
                        .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
                        .unwrap();
                }
                line.clear();
            }
        }
        next
    });
    (addr, thread)
}

#[test]
fn b25_a_hundred_thousand_pipelined_requests() {
    let (addr, app) = counting_app();
    let router = Routed::start(&file(addr, &Setting::default()));
    let before = resident_kib(router.pid());
    let client = Client::connect(router.addr);
    let requests: Vec<String> =
        (0..PIPELINED).map(|nth| format!("GET /{nth} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).collect();
    let sending = client.send_beside(requests.concat().into_bytes());
    let (mut answers, mut line) = (client.reader(), String::new());
    for nth in 0..PIPELINED {
        assert_eq!(Client::quick_answer(&mut answers, &mut line), (200, nth.to_string()));
        if nth % 10_000 == 0 {
            let grown = resident_kib(router.pid()).saturating_sub(before);
            assert!(grown < READ_AHEAD_KIB, "{grown} KiB more after {nth} requests");
        }
    }
    sending.join().unwrap();
    // The app ends with the router's connection to it.
    drop(router);
    assert_eq!(app.join().unwrap(), PIPELINED);
}

#[test]
fn b25_a_client_that_sends_and_never_reads() {
    let stage = Stage::new();
    let before = resident_kib(stage.router.pid());
    let mut client = stage.client();
    client.stream().set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    // Refused by nobody, so that each is an answer that is not read: the kernel's buffers fill, then the router stops reading.
    let request = format!("GET /unread HTTP/1.1\r\nHost: other.example\r\nX: {}\r\n\r\n", "y".repeat(4000));
    let mut sent = 0_usize;
    while client.stream().write_all(request.as_bytes()).is_ok() {
        sent += 1;
        assert!(sent < 100_000, "the router reads on and on");
    }
    let grown = resident_kib(stage.router.pid()).saturating_sub(before);
    assert!(grown < READ_AHEAD_KIB, "{grown} KiB more after {sent} requests");
    stage.good();
    assert!(stage.app.strangers().is_empty());
}
