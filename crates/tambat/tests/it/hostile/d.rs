//! Group D: upgrades, expectations, fields, and whom to trust (RFC 9110 §7.6, §7.8, §10.1.1; RFC 7239).

use std::collections::HashSet;
use std::time::Duration;

use super::client::{Answer, Client, End};
use super::recorder::{Recorder, Request, Then, Visit};
use super::stage::{HOST, Setting, Stage, must_be_one_of};
use crate::support::{Base, Routed, pause, until};

/// A GET with these lines after Host, each with its end; the answer is the app's, and what the app saw is given.
#[track_caller]
fn seen(stage: &Stage, lines: &str) -> Request {
    let mark = stage.mark();
    let mut client = stage.send(&format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"));
    let answer = client.final_answer();
    assert_eq!((answer.status, answer.text()), (200, format!("saw GET /{mark}")), "{lines:?}: {answer:?}");
    stage.good();
    stage.app.request(&mark)
}

/// Switches when it is asked to, and then sends back what it gets.
fn switching(visit: &mut Visit, request: &Request) -> Then {
    let Some(protocol) = request.field("upgrade") else { return visit.echo(request) };
    visit.send(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"));
    while let Some(bytes) = visit.more() {
        if !visit.send(bytes) {
            break;
        }
    }
    Then::Close
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\n";

#[test]
fn d01_an_upgrade_that_the_app_does_not_make() {
    // The app goes on with HTTP: so does everything that the client has sent behind it.
    let stage = Stage::new();
    let (mark, next) = (stage.mark(), stage.mark());
    let behind = [
        (format!("GET /{next} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 200, None),
        ("GET /evil HTTP/1.1\r\nHost: other.example\r\n\r\n".to_owned(), 404, Some("no-route")),
        (format!("TRACE /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 405, Some("method-refused")),
        (format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n"), 400, Some("bad-request")),
        ("\u{81}\u{85}evil".to_owned(), 400, Some("bad-request")),
    ];
    for (nth, (text, status, code)) in behind.into_iter().enumerate() {
        let mut client = stage.send(&format!("GET /{mark}/{nth} HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\n{text}"));
        assert_eq!(client.answer().text(), format!("saw GET /{mark}/{nth}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.code()), (status, code), "{text}: {answer:?}");
        assert_eq!(stage.app.request(&format!("{mark}/{nth}")).field("upgrade"), Some("websocket"));
        stage.good();
    }
    // On its own merits, with fields of its own.
    let next = stage.app.request(&next);
    assert_eq!(next.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert!(stage.app.requests("evil").is_empty());
    assert_eq!(stage.app.log().junk, Vec::<String>::new());
}

#[test]
fn d01_nothing_goes_through_before_the_app_has_switched() {
    let stage = Stage::playing(|visit, request| {
        if request.field("upgrade").is_none() {
            return visit.echo(request);
        }
        if !visit.is_quiet(Duration::from_millis(300)) {
            visit.send("HTTP/1.1 500 Too Early\r\nContent-Length: 0\r\n\r\n");
            return Then::Close;
        }
        switching(visit, request)
    });
    let mut client = stage.send(&format!("GET /switch HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}\r\nearly "));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("websocket")), "{answer:?}");
    assert!(answer.field("connection").unwrap().eq_ignore_ascii_case("upgrade"), "{answer:?}");
    // From here on it is a tunnel, for bytes of any kind.
    client.send("GET /evil HTTP/1.1\r\n\r\n");
    assert_eq!(client.bytes(28), b"early GET /evil HTTP/1.1\r\n\r\n");
    client.finish();
    client.must_be_closed("after the tunnel");
    assert_eq!(stage.app.log().requests.len(), 1);
    stage.good();
}

#[test]
fn d02_h2c_is_not_asked_of_the_app() {
    let stage = Stage::playing(switching);
    let upgrades = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: H2C\r\n",
        "Connection: upgrade\r\nUpgrade: \th2c \r\n",
        "Connection: upgrade\r\nUpgrade: h2c, h2c\r\n",
        "Connection: upgrade\r\nUpgrade: h2\r\nConnection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n",
    ];
    for lines in upgrades {
        let mark = stage.mark();
        let mut client = stage.send(&format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"));
        let answer = client.answer();
        let request = stage.app.request(&mark);
        let asked = request.fields("upgrade").join(",").to_ascii_lowercase();
        assert!(
            !asked.contains("h2c") && !asked.split(',').any(|name| name.trim() == "h2"),
            "{lines}: {}",
            request.head
        );
        assert_eq!(request.fields("http2-settings"), Vec::<&str>::new(), "{}", request.head);
        if !lines.contains("HTTP/2.0") {
            assert_eq!(answer.text(), format!("saw GET /{mark}"), "{lines}");
            assert_eq!(request.fields("connection"), Vec::<&str>::new(), "{}", request.head);
        }
        stage.good();
    }
    // Beside another one it may not slip through.
    for names in ["websocket, h2c", "h2c, websocket", "websocket\r\nUpgrade: h2c", "h2c\r\nUpgrade: websocket"] {
        let mark = stage.mark();
        let mut client = stage
            .send(&format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: {names}\r\n\r\n"));
        assert!([101, 200, 400].contains(&client.answer().status), "{names}");
        for request in stage.app.requests(&mark) {
            assert!(!request.head.to_ascii_lowercase().contains("h2c"), "{}", request.head);
        }
        stage.good();
    }
    // An app that switches to it all the same has misunderstood.
    let stage = Stage::playing(|visit, _| {
        visit.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
        visit.until_closed();
        Then::Close
    });
    let answer = stage.exchange(&format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", upgrades[0]));
    must_be_one_of(&answer, &[(502, "bad-response")], "a switch to h2c");
    stage.good();
}

#[test]
fn d03_an_upgrade_that_does_not_count() {
    let stage = Stage::playing(switching);
    let requests = [
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket"),
        ("1.0", "Connection: upgrade, keep-alive\r\nUpgrade: websocket"),
        ("1.1", "Upgrade: websocket"),
        ("1.1", "Connection: keep-alive\r\nUpgrade: websocket"),
        ("1.1", "Connection: upgrade"),
        ("1.1", "Connection: upgrades\r\nUpgrade: websocket"),
    ];
    for (version, lines) in requests {
        let mark = stage.mark();
        let mut client = stage.send(&format!("GET /{mark} HTTP/{version}\r\nHost: {HOST}\r\n{lines}\r\n\r\n"));
        assert_eq!(client.answer().text(), format!("saw GET /{mark}"), "{version} {lines}");
        let request = stage.app.request(&mark);
        assert_eq!((request.fields("upgrade").len(), request.fields("connection").len()), (0, 0), "{}", request.head);
        stage.good();
    }
    // With a body behind it, where it ends and where the tunnel begins can be read in two ways.
    let mark = stage.mark();
    let mut client =
        stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{UPGRADE}Content-Length: 5\r\n\r\nhello"));
    assert_eq!(client.answer().text(), format!("saw POST /{mark}"));
    assert_eq!(stage.app.request(&mark).field("upgrade"), None);
    stage.good();
}

const EXPECT: &str = "Expect: 100-continue\r\nContent-Length: 5\r\n";

#[test]
fn d04_an_expectation_of_100_continue() {
    // The app's own 100, when it comes; and the body goes on after it.
    let stage = Stage::playing(|visit, request| {
        pause(Duration::from_millis(200));
        visit.send("HTTP/1.1 100 Continue\r\n\r\n");
        visit.echo(request)
    });
    let mut client = stage.send(&format!("POST /slow HTTP/1.1\r\nHost: {HOST}\r\n{EXPECT}\r\n"));
    assert_eq!(client.answer().status, 100);
    client.send("hello");
    assert_eq!(client.answer().text(), "saw POST /slow");
    let request = stage.app.request("/slow");
    assert_eq!((request.field("expect"), request.body.as_slice()), (Some("100-continue"), &b"hello"[..]));
    stage.good();
    // A body that is sent without waiting is taken as well.
    let mut client = stage.send(&format!("POST /hasty HTTP/1.1\r\nHost: {HOST}\r\n{EXPECT}\r\nhello"));
    assert_eq!(client.final_answer().text(), "saw POST /hasty");
    stage.good();
    // A final answer ends it: what comes after it is no request's body.
    let stage = Stage::playing(|visit, _| {
        visit.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        visit.until_closed();
        Then::Close
    });
    for _ in 0..3 {
        let mark = stage.mark();
        let mut client = stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{EXPECT}\r\n"));
        assert_eq!(client.answer().status, 403);
        client.send_what_goes(format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        client.must_be_closed("its body was not sent");
        stage.app.until_closed(stage.app.request(&mark).connection);
        stage.good();
    }
    assert!(stage.app.requests("evil").is_empty());
    // An app that says nothing: the router answers in its place, in time.
    let app = Recorder::playing(|visit, _| {
        visit.until_closed();
        Then::Close
    });
    let limits = Setting {
        route: "timeouts = { first_byte = \"300ms\" }",
        router: "timeouts = { body_idle = \"1s\" }",
        top: "",
    };
    let stage = Stage::of(app, &limits);
    let mut client = stage.send(&format!("POST /never HTTP/1.1\r\nHost: {HOST}\r\n{EXPECT}\r\n"));
    let answer = client.final_answer();
    must_be_one_of(&answer, &[(504, "first-byte-timeout"), (408, "body-timeout")], "nobody says 100");
    client.must_be_closed("its body was not sent");
    stage.good();
}

#[test]
fn d05_an_expectation_of_something_else() {
    let stage = Stage::new();
    for expect in ["200-ok", "100-continue, x", "x", "100", "101-continue", "\"100-continue\"", "100-continue;q=1"] {
        let text = format!("POST /evil HTTP/1.1\r\nHost: {HOST}\r\nExpect: {expect}\r\nContent-Length: 5\r\n\r\nhello");
        let mut client = stage.send(&text);
        must_be_one_of(&client.answer(), &[(417, "expectation-unknown")], expect);
        client.must_be_closed(expect);
        stage.good();
        assert_eq!(stage.app.strangers(), Vec::<String>::new(), "{expect}");
    }
}

#[test]
fn d06_connection_names_fields_that_are_ours() {
    let stage = Stage::new();
    let connections = [
        "Host",
        "X-Forwarded-For, X-Real-IP",
        "X-Forwarded-For",
        "x-forwarded-proto,x-forwarded-host,x-forwarded-port",
        "Forwarded, Via, X-Request-ID",
        "close, Host",
        "keep-alive, Host, X-Forwarded-For",
        "Content-Length",
        "Transfer-Encoding",
    ];
    for connection in connections {
        let lines = format!("Connection: {connection}\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n");
        let request = seen(&stage, &lines);
        assert_eq!(request.field("host"), Some(HOST), "{connection}");
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"), "{connection}");
        assert_eq!(request.field("x-forwarded-proto"), Some("http"), "{connection}");
        assert_eq!(request.field("x-forwarded-host"), Some(HOST), "{connection}");
        assert_eq!(request.field("x-forwarded-port"), Some(stage.router.addr.port().to_string().as_str()));
        assert!(request.field("forwarded").unwrap().contains("127.0.0.1"), "{connection}");
        assert_eq!((request.fields("via").len(), request.fields("x-request-id").len()), (1, 1), "{connection}");
    }
    for framing in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let mark = stage.mark();
        let lines = "Connection: Content-Length, Transfer-Encoding, Trailer";
        let mut client = stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{framing}"));
        assert_eq!(client.answer().text(), format!("saw POST /{mark}"));
        assert_eq!(stage.app.request(&mark).body, b"hello");
    }
    // What it may name is gone.
    let request = seen(&stage, "Connection: X-Secret, X-Real-IP\r\nX-Secret: y\r\nX-Real-IP: 6.6.6.6\r\nX-Kept: y\r\n");
    assert_eq!(
        (request.fields("x-secret").len(), request.fields("x-real-ip").len(), request.fields("x-kept").len()),
        (0, 0, 1)
    );
    stage.good();
}

#[test]
fn d07_fields_of_one_connection() {
    let request = seen(
        &Stage::new(),
        "Keep-Alive: timeout=1000\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nProxy-Authorization: Basic eA==\r\n\
         Upgrade: websocket\r\nConnection: keep-alive\r\nTambat-Hop: 0123456789abcdef\r\nX-Kept: yes\r\n",
    );
    for name in ["keep-alive", "proxy-connection", "te", "proxy-authorization", "upgrade", "connection", "tambat-hop"] {
        assert_eq!(request.fields(name), Vec::<&str>::new(), "{}", request.head);
    }
    assert_eq!(request.field("x-kept"), Some("yes"));
}

const CLAIMS: &str = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 443\r\nForwarded: for=6.6.6.6;proto=https\r\n";

#[test]
fn d08_forwarding_fields_of_a_stranger() {
    let stage = Stage::new();
    let request = seen(&stage, CLAIMS);
    let port = stage.router.addr.port().to_string();
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some(HOST));
    assert_eq!(request.field("x-forwarded-port"), Some(port.as_str()));
    assert_eq!(request.field("forwarded"), Some(format!("for=127.0.0.1;host=\"{HOST}\";proto=http").as_str()));
    assert!(!request.head.contains("6.6.6.6") && !request.head.contains("7.7.7.7"), "{}", request.head);
}

/// A router that believes this machine and one network, and logs.
fn trusting() -> Stage {
    let router = "trusted = [\"127.0.0.1\", \"10.0.0.0/8\"]\naccess_log = \"access.log\"\naccess_log_format = \"json\"";
    Stage::set(&Setting { router, ..Setting::default() })
}

/// The client's address in the line of the access log about this path.
fn logged_client(stage: &Stage, path: &str) -> String {
    let file = stage.router.dir().path().join("access.log");
    let line = until(&format!("a line about {path}"), || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.split_inclusive('\n').find(|line| line.contains(path) && line.ends_with('\n')).map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    line["client"].as_str().unwrap().to_owned()
}

#[test]
fn d09_a_chain_of_trusted_proxies() {
    let stage = trusting();
    // (what the peer says, who the client is, what the app is told)
    let chains = [
        ("6.6.6.6, 203.0.113.7, 10.0.0.2", "203.0.113.7", "203.0.113.7, 10.0.0.2, 127.0.0.1"),
        ("203.0.113.7", "203.0.113.7", "203.0.113.7, 127.0.0.1"),
        (
            "10.0.0.9, 6.6.6.6, 203.0.113.7, 10.0.0.2, 10.0.0.3",
            "203.0.113.7",
            "203.0.113.7, 10.0.0.2, 10.0.0.3, 127.0.0.1",
        ),
        ("6.6.6.6, rubbish", "127.0.0.1", "127.0.0.1"),
        ("rubbish, 203.0.113.7, 10.0.0.2", "203.0.113.7", "203.0.113.7, 10.0.0.2, 127.0.0.1"),
        ("203.0.113.7:4711, 10.0.0.2", "203.0.113.7", "203.0.113.7, 10.0.0.2, 127.0.0.1"),
        (
            "6.6.6.6\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2",
            "203.0.113.7",
            "203.0.113.7, 10.0.0.2, 127.0.0.1",
        ),
    ];
    let mut paths = Vec::new();
    for (said, client, told) in chains {
        let request = seen(&stage, &format!("X-Forwarded-For: {said}\r\n"));
        assert_eq!(request.field("x-forwarded-for"), Some(told), "{said}");
        paths.push((request.path, client));
    }
    for (path, client) in paths {
        assert_eq!(logged_client(&stage, &path), client);
    }
    let request =
        seen(&stage, "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.public.example\r\nX-Forwarded-Port: 443\r\n");
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-host"), Some("shop.public.example"));
    assert_eq!(request.field("x-forwarded-port"), Some("443"));
}

#[test]
fn d10_a_forwarded_field_with_broken_quoting() {
    let stage = trusting();
    let broken = [
        "for=\"203.0.113.7",
        "for=\"203.0.113.7\\\"",
        "for=203.0.113.7;proto=\"https",
        "for=\"[2001:db8::7]",
        "for=6.6.6.6\", for=203.0.113.7",
        "for=203.0.113.7;for=6.6.6.6",
        "for==203.0.113.7",
        "for 203.0.113.7",
        "=203.0.113.7",
        "for=203.0.113.7;;x y",
        "\"for\"=203.0.113.7",
    ];
    let mut paths = Vec::new();
    for said in broken {
        let request = seen(&stage, &format!("Forwarded: {said}\r\n"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"), "{said}");
        assert_eq!(
            request.field("forwarded"),
            Some(format!("for=127.0.0.1;host=\"{HOST}\";proto=http").as_str()),
            "{said}"
        );
        paths.push(request.path);
    }
    for path in paths {
        assert_eq!(logged_client(&stage, &path), "127.0.0.1");
    }
    let request = seen(&stage, "Forwarded: for=6.6.6.6, for=203.0.113.7;proto=https, for=10.0.0.2\r\n");
    assert_eq!(request.field("x-forwarded-for"), Some("203.0.113.7, 10.0.0.2, 127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
}

#[test]
fn d11_a_request_id_that_is_none() {
    let stages = [Stage::new(), trusting()];
    let long = "a".repeat(10_000);
    let mut ids = HashSet::new();
    let bad = [
        &long,
        "\u{1f6a2}\u{1f6a2}\u{1f6a2}\u{1f6a2}\u{1f6a2}",
        "short",
        &"a".repeat(19),
        &"a".repeat(201),
        "0123456789 0123456789",
        "0123456789;0123456789",
        "0123456789/0123456789",
        "0123456789\"0123456789",
        "",
        "0123456789.0123456789",
    ];
    for stage in &stages {
        for id in bad {
            let request = seen(stage, &format!("X-Request-ID: {id}\r\n"));
            let made = request.field("x-request-id").unwrap();
            assert_eq!((made.len(), made.as_bytes()[14]), (36, b'7'), "{id:.40}: a UUID of version 7: {made}");
            assert!(ids.insert(made.to_owned()), "{made} twice");
        }
        let twice = seen(stage, "X-Request-ID: 0123456789012345678901\r\nX-Request-ID: 9876543210987654321098\r\n");
        assert_eq!(twice.field("x-request-id").unwrap().len(), 36);
        // A line end in it is the end of a line, or a broken request.
        let answer =
            stage.exchange(&format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nX-Request-ID: 0123456789\n0123456789\r\n\r\n"));
        must_be_one_of(&answer, &[(400, "bad-request")], "a LF in it");
    }
    // A good one is kept, and only if the peer is trusted; the client is told which it is.
    let good = "0123456789-abcdefghij_KLMNOP";
    for (stage, kept) in stages.iter().zip([false, true]) {
        let mark = stage.mark();
        let answer = stage.exchange(&format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\nX-Request-ID: {good}\r\n\r\n"));
        let request = stage.app.request(&mark);
        assert_eq!(request.field("x-request-id") == Some(good), kept);
        assert_eq!(answer.field("x-request-id"), request.field("x-request-id"));
        stage.good();
    }
}

#[test]
fn d12_max_forwards() {
    let stage = Stage::new();
    let send = |method: &str, count: &str| -> Answer {
        stage.exchange(&format!("{method} /evil HTTP/1.1\r\nHost: {HOST}\r\nMax-Forwards: {count}\r\n\r\n"))
    };
    let answer = send("OPTIONS", "0");
    assert!([200, 204].contains(&answer.status) && answer.field("allow").is_some(), "{answer:?}");
    must_be_one_of(&send("TRACE", "0"), &[(405, "method-refused")], "TRACE");
    for bad in ["-1", "x", "", "1, 1", "99999999999999999999999"] {
        must_be_one_of(&send("OPTIONS", bad), &[(400, "bad-request")], bad);
    }
    stage.good();
    assert_eq!(stage.app.strangers(), Vec::<String>::new());
    // One hop fewer with each that it passes.
    for (given, left) in [("1", "0"), ("10", "9")] {
        let mark = stage.mark();
        let text = format!("OPTIONS /{mark} HTTP/1.1\r\nHost: {HOST}\r\nMax-Forwards: {given}\r\n\r\n");
        assert_eq!(stage.exchange(&text).text(), format!("saw OPTIONS /{mark}"));
        assert_eq!(stage.app.request(&mark).field("max-forwards"), Some(left));
    }
    // It says nothing to others.
    assert_eq!(seen(&stage, "Max-Forwards: 0\r\n").field("max-forwards"), Some("0"));
}

#[test]
fn d13_a_request_that_comes_back() {
    let app = Recorder::start();
    let base = Base::find().0;
    let route = |name: &str, target: u16| {
        format!("[routes.{name}]\nhosts = [\"{name}.example\"]\ntargets = [\"127.0.0.1:{target}\"]\n")
    };
    // Each asks the other, for two names; and what the second one asks its own app for does not come back.
    let first = Routed::start(&format!(
        "listen = [\"127.0.0.1:{base}\"]\n{}{}{}",
        route("round", base + 1),
        route("chain", base + 1),
        route("shop", app.addr.port())
    ));
    let second = Routed::start(&format!(
        "listen = [\"127.0.0.1:{}\"]\n{}{}",
        base + 1,
        route("round", base),
        route("chain", app.addr.port())
    ));
    for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE"] {
        let mut client = Client::connect(first.addr);
        client.send(format!("{method} /round HTTP/1.1\r\nHost: round.example\r\n\r\n"));
        let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
        must_be_one_of(&answer, &[(508, "loop")], method);
    }
    assert!(second.stderr().is_empty(), "{:?}", second.stderr());
    assert!(app.log().requests.is_empty());
    let mut client = Client::connect(first.addr);
    for (host, vias) in [("shop.example", 1), ("chain.example", 2)] {
        client.send(format!("GET /good/{host} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer().text(), format!("saw GET /good/{host}"));
        assert_eq!(app.request(host).fields("via").len(), vias, "two tambats in a row are no circle");
    }
    // Others' names in Via are nothing to us.
    let request = seen(&Stage::new(), "Via: 1.1 proxy.example, 1.0 tambat (x)\r\nVia: 1.1 other\r\n");
    let via = request.fields("via").join(", ");
    assert!(via.starts_with("1.1 proxy.example, 1.0 tambat (x), 1.1 other, 1.1 "), "{via}");
}

#[test]
fn d14_a_thousand_ranges() {
    let ranges: Vec<String> = (0..1000).map(|nth| format!("{nth}-{nth}")).collect();
    let value = format!("bytes={}", ranges.join(","));
    let request = seen(&Stage::new(), &format!("Range: {value}\r\nIf-Range: \"x\"\r\n"));
    assert_eq!(request.field("range"), Some(value.as_str()));
    assert_eq!(request.field("if-range"), Some("\"x\""));
}

#[test]
fn d15_early_data() {
    // There is none without TLS; the field of whoever stands before us is the app's to judge, and must not be removed
    // (RFC 8470 §5.1). So is the app's 425.
    let stage = Stage::new();
    assert_eq!(seen(&stage, "Early-Data: 1\r\n").field("early-data"), Some("1"));
    let refusing = Stage::playing(|visit, request| {
        visit.body(request);
        visit.send("HTTP/1.1 425 Too Early\r\nContent-Length: 0\r\n\r\n");
        Then::Next
    });
    let mut client = refusing
        .send(&format!("POST /early HTTP/1.1\r\nHost: {HOST}\r\nEarly-Data: 1\r\nContent-Length: 5\r\n\r\nhello"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.code()), (425, None), "{answer:?}");
    assert_eq!(refusing.app.requests("/early").len(), 1);
    refusing.good();
    let (_, end) = client.rest_within(Duration::from_millis(50));
    assert_eq!(end, End::Open);
}
