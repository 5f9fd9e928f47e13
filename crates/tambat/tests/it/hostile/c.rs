//! Group C: the app misbehaves (RFC 9112 §6, §8, §9; RFC 9110 §9.2.2, §15).

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::client::{Answer, Broken, Client, End};
use super::memory::resident_kib;
use super::recorder::{Recorder, Request, Then, Visit};
use super::stage::{HOST, Setting, Stage, must_be_one_of};
use crate::support::{Base, Routed, Stopwatch, pause, until};

/// An app that sends these bytes for an answer, and then waits for the next request, or closes.
fn answering(bytes: impl Into<Vec<u8>>, then: Then) -> Stage {
    let bytes = bytes.into();
    Stage::playing(move |visit, _| {
        visit.send(&bytes);
        then
    })
}

fn get(stage: &Stage, path: &str) -> Client {
    stage.send(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
}

/// The answer is this error of the router's own, and the app's connection is not used again.
#[track_caller]
fn must_fail(stage: &Stage, codes: &[(u16, &str)], what: &str) {
    let mark = stage.mark();
    let answer = get(stage, &format!("/{mark}")).answer();
    let fits = |code: &(u16, &str)| answer.status == code.0 && answer.code() == Some(code.1);
    assert!(codes.iter().any(fits), "{what}: not one of {codes:?}: {answer:?}");
    let request = stage.app.request(&mark);
    stage.app.until_closed(request.connection);
    stage.good();
    assert_eq!(stage.app.log().connections[request.connection].pending, 0, "{what}");
}

const BAD: &[(u16, &str)] = &[(502, "bad-response")];
/// Which of the two it is depends on how much had come.
const CLOSED: &[(u16, &str)] = &[(502, "target-closed"), (502, "bad-response")];

/// A port at which nobody listens.
fn nobody() -> std::net::SocketAddr {
    ([127, 0, 0, 1], Base::find().0).into()
}

#[test]
fn c01_an_app_that_refuses_connections() {
    let app = Recorder::start();
    let router = Routed::start(&format!(
        "[routes.shop]\nhosts = [\"{HOST}\"]\ntargets = [\"{}\", \"{}\", \"{}\"]\n\
         [routes.gone]\nhosts = [\"gone.example\"]\ntargets = [\"{}\"]\ntimeouts = {{ wait = \"300ms\" }}\n",
        nobody(),
        app.addr,
        nobody(),
        nobody()
    ));
    for nth in 0..10 {
        let mut client = Client::connect(router.addr);
        let text = format!("POST /{nth} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello");
        client.send(text);
        assert_eq!(client.answer().text(), format!("saw POST /{nth}"));
    }
    let begun = Stopwatch::begin();
    let mut client = Client::connect(router.addr);
    client.send("GET / HTTP/1.1\r\nHost: gone.example\r\n\r\n");
    must_be_one_of(&client.answer(), &[(502, "target-unreachable")], "the only target refuses");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // The connection goes on, and so does everything else.
    client.send(format!("GET /after HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.answer().text(), "saw GET /after");
    assert_eq!(app.log().requests.len(), 11);
}

#[test]
fn c02_an_app_that_never_answers() {
    let app = Recorder::playing(|visit, _| {
        visit.until_closed();
        Then::Close
    });
    let stage = Stage::of(app, &Setting { route: "timeouts = { first_byte = \"1s\" }", ..Setting::default() });
    must_fail(&stage, &[(504, "first-byte-timeout")], "silence");
    // With a body it has all of.
    let mark = stage.mark();
    let text = format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello");
    must_be_one_of(&stage.exchange(&text), &[(504, "first-byte-timeout")], "silence after a body");
    stage.app.until_closed(stage.app.request(&mark).connection);
    assert_eq!(stage.app.requests(&mark).len(), 1, "what was sent is not sent again");
    stage.good();
}

/// An app that closes without a byte when a second request comes on one connection.
fn closes_when_reused(how: Then) -> Stage {
    Stage::playing(move |visit, request| if request.nth == 0 { visit.echo(request) } else { how })
}

#[test]
fn c03_an_idempotent_request_on_a_connection_that_closes() {
    for how in [Then::Close, Then::Reset] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            let stage = closes_when_reused(how);
            let mut client = get(&stage, "/first");
            assert_eq!(client.answer().status, 200);
            client.send(format!("{method} /again HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            let answer = if method == "HEAD" { client.answer_to_head() } else { client.answer() };
            assert_eq!(answer.status, 200, "{method} {how:?}: {answer:?}");
            let seen: Vec<(usize, usize)> =
                stage.app.requests("/again").iter().map(|request| (request.connection, request.nth)).collect();
            assert_eq!(seen.len(), 2, "once again, on another connection: {method} {seen:?}");
            assert!(seen[0].0 != seen[1].0 && seen[0].1 == 1 && seen[1].1 == 0, "{method}: {seen:?}");
            stage.good();
        }
    }
}

#[test]
fn c03_a_fresh_connection_that_closes_is_not_tried_again() {
    for how in [Then::Close, Then::Reset] {
        let stage = Stage::playing(move |_, _| how);
        let mark = stage.mark();
        let answer = get(&stage, &format!("/{mark}")).answer();
        must_be_one_of(&answer, &[(502, "target-closed")], "a fresh connection");
        assert_eq!(stage.app.requests(&mark).len(), 1);
        stage.good();
    }
}

#[test]
fn c04_a_post_on_a_connection_that_closes() {
    for how in [Then::Close, Then::Reset] {
        for request in ["POST", "PATCH", "LOCK"] {
            for body in ["", "Content-Length: 0\r\n\r\n", "Content-Length: 5\r\n\r\nhello"] {
                let stage = closes_when_reused(how);
                let mut client = get(&stage, "/first");
                assert_eq!(client.answer().status, 200);
                let body = if body.is_empty() { "\r\n" } else { body };
                client.send(format!("{request} /once HTTP/1.1\r\nHost: {HOST}\r\n{body}"));
                must_be_one_of(&client.answer(), &[(502, "target-closed")], request);
                assert_eq!(stage.app.requests("/once").len(), 1, "{request} {how:?}");
                stage.good();
            }
        }
    }
    // The same for what would be idempotent, once a byte of its body has been sent.
    let stage = closes_when_reused(Then::Close);
    let mut client = get(&stage, "/first");
    assert_eq!(client.answer().status, 200);
    client.send(format!("PUT /once HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"));
    must_be_one_of(&client.answer(), &[(502, "target-closed")], "PUT with a body");
    assert_eq!(stage.app.requests("/once").len(), 1);
    stage.good();
}

#[test]
fn c04_a_connection_that_breaks_in_the_middle_of_a_body() {
    // What waits to be sent by then is the middle of a body: on another connection it would be a request of its own.
    let evil = format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(300_000);
    let framings = [
        format!("Content-Length: {}\r\n\r\n", evil.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", evil.len()),
    ];
    for (method, framing) in ["POST", "PUT"].into_iter().flat_map(|method| framings.iter().map(move |f| (method, f))) {
        let stage = Stage::playing(|visit, request| {
            if request.nth == 0 {
                return visit.echo(request);
            }
            // Takes nothing, until every buffer on the way is full.
            pause(Duration::from_millis(300));
            Then::Reset
        });
        let mut client = get(&stage, "/first");
        assert_eq!(client.answer().status, 200);
        client.send_beside(format!("{method} /once HTTP/1.1\r\nHost: {HOST}\r\n{framing}{evil}").into_bytes());
        must_be_one_of(&client.answer(), &[(502, "target-closed")], framing);
        assert_eq!(stage.app.requests("/once").len(), 1, "{method} {framing}");
        stage.good();
        assert!(stage.app.requests("evil").is_empty(), "{method} {framing}");
        assert_eq!(stage.app.log().junk, Vec::<String>::new(), "{method} {framing}");
    }
}

#[test]
fn c05_a_head_that_ends_early_or_is_none() {
    let junk = [
        "HELLO\r\n\r\n",
        "HELLO",
        "HELLO\r\n",
        "\r\n\r\n",
        "\0\0\0\0",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "<html>hello</html>\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for text in junk {
        must_fail(&answering(text, Then::Close), CLOSED, text);
    }
    let early = [
        "H",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ];
    for text in early {
        for then in [Then::Close, Then::Reset] {
            must_fail(&answering(text, then), CLOSED, text);
        }
    }
    // After an interim answer, too.
    must_fail(&answering("HTTP/1.1 100 Continue\r\n\r\n", Then::Close), CLOSED, "an unasked 100 only");
}

/// The body of an answer that must not look complete.
#[track_caller]
fn cut_off(stage: &Stage, path: &str) -> Broken {
    let mut client = get(stage, path);
    let Err(broken) = client.try_answer(false) else { panic!("{path}: an answer that looks complete") };
    assert_ne!(broken.end, End::Open, "{broken:?}");
    assert!(!broken.part.ends_with("0\r\n\r\n"), "{broken:?}");
    stage.good();
    broken
}

#[test]
fn c06_an_app_that_closes_in_the_middle_of_its_body() {
    for then in [Then::Close, Then::Reset] {
        let part = "x".repeat(10_000);
        let stage = answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n{part}"), then);
        let broken = cut_off(&stage, "/half");
        assert!(broken.part.len() < 20_000, "{}", broken.part.len());
        let long = "x".repeat(10_000_000);
        let stage = answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n{long}"), then);
        assert!(cut_off(&stage, "/long").part.len() < 20_000_000);
        let stage = answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", then);
        assert_eq!(cut_off(&stage, "/none").part, "");
    }
    // A body without a length is cut by an RST only: a FIN is its end.
    for version in ["1.0", "1.1"] {
        let request = format!("GET /until-close HTTP/{version}\r\nHost: {HOST}\r\n\r\n");
        let stage = answering("HTTP/1.1 200 OK\r\n\r\nhello", Then::Close);
        assert_eq!(stage.send(&request).answer().text(), "hello");
        stage.good();
        let stage = answering(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000)), Then::Reset);
        let broken = stage.send(&request).try_answer(false).unwrap_err();
        assert!(broken.end == End::Reset && !broken.part.ends_with("0\r\n\r\n"), "{version}: {:?}", broken.end);
        stage.good();
    }
}

#[test]
fn c07_a_chunked_body_without_its_last_chunk() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies = [
        "",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n",
    ];
    for then in [Then::Close, Then::Reset] {
        for body in bodies {
            cut_off(&answering(format!("{head}{body}"), then), "/cut");
            // To HTTP/1.0 the end of the connection would be the end of the body: it is cut with an RST.
            let stage = answering(format!("{head}{body}"), then);
            let mut old = stage.send(&format!("GET /cut HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
            let broken = old.try_answer(false).unwrap_err();
            assert_eq!(broken.end, End::Reset, "{body:?}: {broken:?}");
            stage.good();
        }
    }
    // What is no chunk ends it in the same way.
    let bodies =
        ["5\r\nhello\r\nx\r\n", "5\r\nhelloX", "5\r\nhello\n", "+5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n"];
    for body in bodies {
        let stage = answering(format!("{head}{body}"), Then::Next);
        let mark = stage.mark();
        let mut client = get(&stage, &format!("/{mark}"));
        // Nothing of it may have been sent when the break was found.
        match client.try_answer(false) {
            Ok(answer) => must_be_one_of(&answer, BAD, body),
            Err(broken) => {
                assert!(broken.end != End::Open && !broken.part.ends_with("0\r\n\r\n"), "{body}: {broken:?}");
            }
        }
        stage.app.until_closed(stage.app.request(&mark).connection);
        stage.good();
    }
}

#[test]
fn c08_an_answer_whose_framing_has_two_readings() {
    let framings = [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
    ];
    for framing in framings {
        let stage = answering(format!("HTTP/1.1 200 OK\r\n{framing}\r\n5\r\nhello\r\n0\r\n\r\n"), Then::Next);
        must_fail(&stage, BAD, framing);
    }
    must_fail(&answering("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Then::Next), BAD, "1.0");
    must_fail(
        &answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Next),
        BAD,
        "also where there is no body",
    );
}

/// Two requests on one connection of the client's; the second one's answer is its own, over a connection of its own.
#[track_caller]
fn not_reused(stage: &Stage, client: &mut Client, first: &Request) {
    let mark = stage.mark();
    client.send(format!("GET /good/{mark} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.answer().text(), format!("saw GET /good/{mark}"));
    assert_ne!(stage.app.request(&mark).connection, first.connection);
    stage.app.until_closed(first.connection);
    stage.good();
}

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

#[test]
fn c09_bytes_after_a_body() {
    let bodies = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        for extra in ["x", "\r\n", EVIL, &"x".repeat(100_000)] {
            let stage = answering(format!("{body}{extra}"), Then::Next);
            let mark = stage.mark();
            let mut client = get(&stage, &format!("/{mark}"));
            assert_eq!(client.answer().text(), "hello");
            not_reused(&stage, &mut client, &stage.app.request(&mark));
        }
    }
}

#[test]
fn c10_an_answer_that_nobody_asked_for() {
    // 1: the client has its answer, and the connection is idle. 2: the stray answer is there.
    let step = Arc::new(AtomicUsize::new(0));
    let steps = Arc::clone(&step);
    let stage = Stage::playing(move |visit, request| {
        visit.echo(request);
        until("the answer's arrival", || (steps.load(Ordering::SeqCst) == 1).then_some(()));
        visit.send(EVIL);
        steps.store(2, Ordering::SeqCst);
        visit.until_closed();
        Then::Close
    });
    for _ in 0..3 {
        let mark = stage.mark();
        let mut client = get(&stage, &format!("/{mark}"));
        assert_eq!(client.answer().text(), format!("saw GET /{mark}"));
        let first = stage.app.request(&mark);
        step.store(1, Ordering::SeqCst);
        until("the stray answer", || (step.load(Ordering::SeqCst) == 2).then_some(()));
        not_reused(&stage, &mut client, &first);
    }
}

#[test]
fn c11_a_body_where_there_is_none() {
    let evil = format!("{EVIL}{EVIL}");
    let answers = [
        ("HEAD", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{evil}", evil.len())),
        ("HEAD", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n{evil}")),
        ("GET", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{evil}", evil.len())),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\n\r\n{evil}")),
    ];
    for (method, answer) in answers {
        let stage = answering(answer.clone(), Then::Next);
        let mark = stage.mark();
        let mut client = stage.send(&format!("{method} /{mark} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let got = client.answer_to_head();
        assert_eq!(got.status, answer[9..12].parse::<u16>().unwrap(), "{got:?}");
        not_reused(&stage, &mut client, &stage.app.request(&mark));
    }
    // A 204 with a length of something: two readings.
    let text = "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil";
    let stage = answering(text, Then::Next);
    let mark = stage.mark();
    let mut client = get(&stage, &format!("/{mark}"));
    let answer = client.answer_to_head();
    assert!([204, 502].contains(&answer.status), "{answer:?}");
    if answer.status == 204 {
        assert_eq!(answer.fields("content-length"), Vec::<&str>::new(), "RFC 9110 §8.6: {answer:?}");
        not_reused(&stage, &mut client, &stage.app.request(&mark));
    }
}

const HINTS: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: y\r\n\r\n";
const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn c12_interim_answers() {
    let stage = answering(format!("{HINTS}{HINTS}{FINAL}"), Then::Next);
    let mut client = get(&stage, "/hints");
    for _ in 0..2 {
        let hints = client.answer();
        assert_eq!((hints.status, hints.field("link")), (103, Some("</style.css>; rel=preload")), "{hints:?}");
        assert_eq!(hints.field("x-hop"), None, "{hints:?}");
    }
    assert_eq!(client.answer().text(), "hello");
    stage.good();
    // HTTP/1.0 knows none (RFC 9110 §15.2).
    let mut old = stage.send(&format!("GET /old HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(old.answer().status, 200);
    // A 100 goes to who asked for it.
    let stage = answering(format!("HTTP/1.1 100 Continue\r\n\r\n{FINAL}"), Then::Next);
    assert_eq!(get(&stage, "/unasked").answer().status, 200);
    stage.good();
    // Without end there are none.
    for interim in
        ["HTTP/1.1 102 Processing\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"]
    {
        let stage = answering(format!("{}{FINAL}", interim.repeat(1000)), Then::Next);
        let mark = stage.mark();
        let mut client = get(&stage, &format!("/{mark}"));
        let (mut count, mut answer) = (0, client.answer());
        while answer.status < 200 {
            (count, answer) = (count + 1, client.answer());
        }
        assert!(count <= 16, "{count} of {interim:?}");
        must_be_one_of(&answer, BAD, interim);
        stage.app.until_closed(stage.app.request(&mark).connection);
        stage.good();
    }
}

#[test]
fn c13_a_switch_that_nobody_asked_for() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    must_fail(&answering(switch, Then::Next), BAD, switch);
    let bare = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    must_fail(&answering(bare, Then::Next), BAD, bare);
    // Asked for in a way that does not count.
    for (version, fields) in [("1.0", "Connection: upgrade\r\nUpgrade: websocket"), ("1.1", "Upgrade: websocket")] {
        let stage = answering(switch, Then::Next);
        let answer = stage.exchange(&format!("GET /x HTTP/{version}\r\nHost: {HOST}\r\n{fields}\r\n\r\n"));
        must_be_one_of(&answer, BAD, fields);
        stage.good();
    }
}

#[test]
fn c14_a_head_of_ten_mebibytes() {
    let mib = 1024 * 1024;
    let one = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(10 * mib));
    let many =
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(10 * mib / 40));
    let reason = format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(10 * mib));
    let more =
        format!("HTTP/1.1 200 OK\r\n{}\r\n", (0..200).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat());
    let trailers =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: {}\r\n\r\n", "a".repeat(10 * mib));
    for answer in [one, many, reason, more] {
        let stage = answering(answer.clone(), Then::Next);
        stage.good();
        let before = resident_kib(stage.router.pid());
        must_fail(&stage, BAD, &answer[..40]);
        let grown = resident_kib(stage.router.pid()).saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB more");
    }
    let stage = answering(trailers, Then::Next);
    let mut client = get(&stage, "/trailers");
    match client.try_answer(false) {
        Ok(answer) => must_be_one_of(&answer, BAD, "trailers"),
        Err(broken) => assert_ne!(broken.end, End::Open, "{broken:?}"),
    }
    stage.good();
}

#[test]
fn c15_fields_of_one_connection() {
    let stage = answering(
        "HTTP/1.1 200 OK\r\nConnection: close, X-Forwarded-Proto, x-secret\r\nX-Forwarded-Proto: https\r\n\
         X-Secret: of the app\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\n\
         X-Kept: yes\r\nContent-Length: 5\r\n\r\nhello",
        Then::Next,
    );
    let mut client = get(&stage, "/hop");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{answer:?}");
    for name in ["x-forwarded-proto", "x-secret", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(answer.fields(name), Vec::<&str>::new(), "{answer:?}");
    }
    assert_eq!(answer.field("x-kept"), Some("yes"));
    // The app closes its connection; the client's goes on.
    assert!(!answer.fields("connection").iter().any(|value| value.contains("close")), "{answer:?}");
    not_reused(&stage, &mut client, &stage.app.request("/hop"));
}

#[test]
fn c16_control_characters_in_an_answer() {
    let values = [
        "a\rb",
        "a\nb",
        "a\0b",
        "\0",
        "a\r",
        "a\nSet-Cookie: evil=1",
        "a\rSet-Cookie: evil=1",
        "a\u{1}b",
        "a\u{7f}",
        "\u{b}",
    ];
    for value in values {
        let stage = answering(format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 0\r\n\r\n"), Then::Next);
        must_fail(&stage, BAD, value);
    }
    for name in ["X\0", "X\r", "X\n", "X y", "", "X("] {
        let stage = answering(format!("HTTP/1.1 200 OK\r\n{name}: y\r\nContent-Length: 0\r\n\r\n"), Then::Next);
        must_fail(&stage, BAD, name);
    }
}

/// Sends a letter at a time, so far apart.
fn dripping(head: &'static str, letters: usize, apart: Duration) -> Recorder {
    Recorder::playing(move |visit, _| {
        visit.send(head);
        for _ in 0..letters {
            pause(apart);
            if !visit.send("x") {
                return Then::Close;
            }
        }
        Then::Next
    })
}

#[test]
fn c17_a_slow_body() {
    let set = |idle| Setting { route: idle, ..Setting::default() };
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n";
    // In all it takes longer than it may between two bytes.
    let patient = Stage::of(
        dripping(head, 8, Duration::from_millis(500)),
        &set("timeouts = { response_idle = \"3s\", first_byte = \"3s\" }"),
    );
    let begun = Instant::now();
    assert_eq!(get(&patient, "/slow").answer().text(), "xxxxxxxx");
    assert!(begun.elapsed() >= Duration::from_secs(4));
    patient.good();
    let impatient = Stage::of(
        dripping(head, 8, Duration::from_secs(3)),
        &set("timeouts = { response_idle = \"300ms\", first_byte = \"1s\" }"),
    );
    let broken = cut_off(&impatient, "/still");
    assert!(broken.part.len() < 8, "{broken:?}");
}

const STREAMS: usize = 20;

/// What a stream that nobody reads may cost: one read of 64 KiB that was not taken, and what goes with it.
const STREAM_KIB_MAX: u64 = 96;

/// Sends without end until it is not taken any more; counts what was.
fn pour(visit: &mut Visit, head: &str, piece: &[u8], poured: &AtomicUsize) -> Then {
    visit.send(head);
    while visit.stream().write_all(piece).is_ok() {
        poured.fetch_add(piece.len(), Ordering::Relaxed);
    }
    Then::Reset
}

#[test]
fn c18_an_endless_answer_to_a_client_that_does_not_read() {
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, piece) in
        [(length, "x".repeat(0x10000)), (chunked, chunk), ("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(0x10000))]
    {
        let poured = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&poured);
        let app = Recorder::playing(move |visit, _| pour(visit, head, piece.as_bytes(), &counter));
        let stage = Stage::of(app, &Setting::default());
        stage.good();
        let before = resident_kib(stage.router.pid());
        let clients: Vec<Client> = (0..STREAMS).map(|nth| get(&stage, &format!("/endless/{nth}"))).collect();
        // Until nothing moves any more: every buffer on the way is full.
        let mut last = 0;
        until("the streams to stand still", || {
            pause(Duration::from_millis(300));
            let now = poured.load(Ordering::Relaxed);
            (std::mem::replace(&mut last, now) == now && now > 0).then_some(())
        });
        let grown = resident_kib(stage.router.pid()).saturating_sub(before);
        assert!(grown < STREAM_KIB_MAX * STREAMS as u64, "{head:?}: {grown} KiB for {STREAMS} streams");
        stage.good();
        drop(clients);
    }
}

#[test]
fn what_an_answer_of_the_routers_own_looks_like() {
    // One for all the above: complete, not to be stored, and named.
    let stage = answering("HELLO\r\n\r\n", Then::Close);
    let answer: Answer = get(&stage, "/x").answer();
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["error"], "bad-response");
    assert_eq!(json["status"], 502);
    assert!(!json["cause"].as_str().unwrap().is_empty(), "{json}");
}
