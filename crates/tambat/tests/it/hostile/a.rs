//! Group A: where a request ends (RFC 9112 §6, §7, §9).

use std::net::Shutdown;

use super::client::{Client, End};
use super::recorder::{Recorder, Then};
use super::stage::{HOST, Setting, Stage};
use super::vectors;
use crate::support::until;

#[test]
fn a01_content_length_and_transfer_encoding() {
    Stage::new().refuses(&vectors::a01());
}

#[test]
fn a02_two_content_lengths() {
    Stage::new().refuses(&vectors::a02());
}

#[test]
fn a03_a_list_of_content_lengths() {
    Stage::new().refuses(&vectors::a03());
}

#[test]
fn a04_a_content_length_that_is_no_number() {
    Stage::new().refuses(&vectors::a04());
}

#[test]
fn a05_a_content_length_beyond_64_bits() {
    let stage = Stage::new();
    stage.refuses(&vectors::a05());
    // The largest there is overflows nothing: the request is passed on, and given up with its client.
    let mark = stage.mark();
    let mut client =
        stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\nhello", u64::MAX));
    let request = stage.app.arrived(&mark);
    assert_eq!(request.field("content-length"), Some(u64::MAX.to_string().as_str()));
    client.stream().shutdown(Shutdown::Both).unwrap();
    stage.app.until_closed(request.connection);
    assert!(!stage.app.request(&mark).whole);
    stage.good();
}

#[test]
fn a06_a_last_coding_that_is_not_chunked() {
    Stage::new().refuses(&vectors::a06());
}

#[test]
fn a07_codings_that_only_look_like_chunked() {
    let stage = Stage::new();
    stage.refuses(&vectors::a07());
    for request in Stage::new().passes(&vectors::a07_passed()) {
        assert_eq!(request.body, b"hello");
        assert_eq!(request.field("transfer-encoding"), Some("chunked"));
    }
}

#[test]
fn a08_transfer_encoding_in_http_1_0() {
    Stage::new().refuses(&vectors::a08());
}

#[test]
fn a09_chunk_sizes_that_are_no_numbers() {
    Stage::new().breaks(&vectors::a09());
}

#[test]
fn a10_chunk_extensions_that_are_long_or_broken() {
    let stage = Stage::new();
    stage.breaks(&vectors::a10());
    // A good one is taken and not passed on.
    let mark = stage.mark();
    let body = "5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\n\r\n";
    let text = format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    assert_eq!(stage.exchange(&text).status, 200);
    let request = stage.app.request(&mark);
    assert!(request.whole && request.body == b"hello", "{request:#?}");
    assert!(!stage.app.received("a=b") && !stage.app.received("last"));
    stage.good();
}

#[test]
fn a11_chunk_data_without_its_end() {
    Stage::new().breaks(&vectors::a11());
}

#[test]
fn a12_trailers_that_must_not_become_fields() {
    for request in Stage::new().passes(&vectors::a12()) {
        assert_eq!(request.body, b"hello");
        assert_eq!(request.trailers, ["X-Checksum: 907060870"], "{}", request.head);
        assert_eq!(request.fields("host"), [HOST]);
        assert_eq!(request.fields("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.fields("transfer-encoding"), ["chunked"]);
        assert!(!request.head.contains("evil") && !request.head.contains("6.6.6.6"), "{}", request.head);
    }
}

#[test]
fn a13_trailers_without_end_or_form() {
    Stage::new().breaks(&vectors::a13());
}

#[test]
fn a14_a_body_where_none_is_expected_is_not_the_next_request() {
    let stage = Stage::new();
    for request in stage.passes(&vectors::a14()) {
        let body = String::from_utf8(request.body).unwrap();
        assert!(body.starts_with("GET /evil/ HTTP/1.1\r\n") && body.ends_with("\r\n\r\n"), "{body:?}");
    }
    // And pipelined, with what comes after it.
    let (first, second) = (stage.mark(), stage.mark());
    let body = format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let get = |mark: &str| format!("/{mark} HTTP/1.1\r\nHost: {HOST}\r\n");
    let mut client =
        stage.send(&format!("GET {}Content-Length: {}\r\n\r\n{body}GET {}\r\n", get(&first), body.len(), get(&second)));
    assert_eq!(client.answer().text(), format!("saw GET /{first}"));
    assert_eq!(client.answer().text(), format!("saw GET /{second}"));
    assert_eq!(stage.app.request(&first).body, body.as_bytes());
    assert!(stage.app.requests("evil").is_empty());
    stage.good();
    // A request that comes with the last bytes of the body before it, and nothing behind it.
    for (framing, body) in [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")] {
        for split in 0..body.len() {
            let (first, second) = (stage.mark(), stage.mark());
            let mut client =
                stage.send(&format!("POST /{first} HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{}", &body[..split]));
            stage.app.arrived(&first);
            client.send(format!("{}GET /{second} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", &body[split..]));
            assert_eq!(client.answer().text(), format!("saw POST /{first}"), "{framing} {split}");
            assert_eq!(client.answer().text(), format!("saw GET /{second}"), "{framing} {split}");
            assert_eq!(stage.app.request(&first).body, b"hello");
        }
    }
    stage.good();
}

/// Answers before it has read the body, which it never does.
fn hasty() -> Stage {
    Stage::playing(|visit, _| {
        visit.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        visit.until_closed();
        Then::Close
    })
}

#[test]
fn a15_the_rest_of_a_body_after_an_early_answer_is_no_request() {
    let stage = hasty();
    let evil = format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let chunk = format!("{:x}\r\n{evil}\r\n", evil.len());
    let begun = format!("Content-Length: {}", evil.len() * 1000);
    // (framing, what comes before the answer, what comes after it)
    let cases = [
        (begun.as_str(), String::new(), evil.repeat(1000)),
        (begun.as_str(), evil[..7].to_owned(), evil.repeat(1000)),
        (begun.as_str(), evil.clone(), evil.clone()),
        ("Transfer-Encoding: chunked", String::new(), chunk.repeat(1000)),
        ("Transfer-Encoding: chunked", "100\r\n".to_owned(), evil.repeat(1000)),
        ("Transfer-Encoding: chunked", "5".to_owned(), evil.clone()),
        ("Transfer-Encoding: chunked", chunk.clone(), format!("0\r\n\r\n{evil}")),
    ];
    for (framing, before, after) in cases {
        let mark = stage.mark();
        let mut client = stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{before}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "early"), "{answer:?}");
        client.send_beside(after.into_bytes());
        client.must_be_closed(&format!("{framing} {before:?}"));
        let request = stage.app.request(&mark);
        stage.app.until_closed(request.connection);
        stage.good();
        assert!(stage.app.requests("evil").is_empty(), "{framing} {before:?}");
    }
}

#[test]
fn a15_an_app_that_answers_early_and_cuts_the_connection() {
    // The answer that says why is not lost, although the request can't be sent any more.
    for then in [Then::Close, Then::Reset] {
        let stage = Stage::playing(move |visit, _| {
            visit.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n\r\ntoo big");
            then
        });
        for framing in ["Content-Length: 20000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1312D00\r\n"] {
            let mut client = stage.client();
            let body = "GET /evil HTTP/1.1\r\n\r\n".repeat(20_000_000 / 22);
            client.send_beside(format!("POST /big HTTP/1.1\r\nHost: {HOST}\r\n{framing}{body}").into_bytes());
            let answer = client.answer();
            assert_eq!((answer.status, answer.text().as_str()), (413, "too big"), "{then:?} {framing}: {answer:?}");
            client.must_be_closed(framing);
            stage.good();
        }
        assert!(stage.app.requests("evil").is_empty());
    }
}

#[test]
fn a16_a_client_that_closes_in_the_middle_of_its_body() {
    let log = "access_log = \"access.log\"\naccess_log_format = \"json\"";
    let stage = Stage::set(&Setting { router: log, ..Setting::default() });
    let endings: [fn(&mut Client); 2] = [
        |client| client.stream().shutdown(Shutdown::Both).unwrap(),
        // It would still read an answer; but the request is not whole.
        |client| client.finish(),
    ];
    for framing in ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        for end in endings {
            let mark = stage.mark();
            let mut client = stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{framing}"));
            let request = stage.app.arrived(&mark);
            stage.app.until("the part that was sent", |log| {
                (log.connections[request.connection].bytes.windows(5).any(|part| part == b"hello")).then_some(())
            });
            end(&mut client);
            stage.app.until_closed(request.connection);
            let request = stage.app.request(&mark);
            assert!(!request.whole, "{request:#?}");
            let bytes = stage.app.log().connections[request.connection].bytes.clone();
            assert!(!bytes.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&bytes));
            let (_, end) = client.rest();
            assert_ne!(end, End::Open);
            let line = logged(&stage, &mark);
            assert!(line.contains("499") && line.contains("client-closed"), "{line}");
            stage.good();
        }
    }
}

#[test]
fn a16_a_client_that_goes_away_before_its_answer() {
    // Sends nothing back until the router gives up; then nobody needs the answer.
    let app = Recorder::playing(|visit, request| {
        visit.body(request);
        visit.until_closed();
        Then::Close
    });
    let stage = Stage::of(app, &Setting { router: "access_log = \"access.log\"", ..Setting::default() });
    for (method, body) in [("GET", "\r\n"), ("POST", "Content-Length: 5\r\n\r\nhello")] {
        let mark = stage.mark();
        let client = stage.send(&format!("{method} /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{body}"));
        let request = stage.app.arrived(&mark);
        client.reset();
        stage.app.until_closed(request.connection);
        assert!(logged(&stage, &mark).contains("client-closed"));
        stage.good();
    }
}

/// The line of the access log about the request with this mark.
fn logged(stage: &Stage, mark: &str) -> String {
    let path = stage.router.dir().path().join("access.log");
    until(&format!("a line about {mark} in {}", path.display()), || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.split_inclusive('\n').find(|line| line.contains(mark) && line.ends_with('\n')).map(str::to_owned)
    })
}

#[test]
fn a17_bytes_after_the_last_request_of_a_connection() {
    let stage = Stage::of(Recorder::start(), &Setting::default());
    let lasts = [
        "1.1\r\nConnection: close",
        "1.1\r\nConnection: Close",
        "1.1\r\nConnection: x, close",
        "1.1\r\nConnection: x\r\nConnection: close",
        "1.1\r\nConnection: keep-alive, close",
        "1.0",
        "1.0\r\nConnection: close",
    ];
    for last in lasts {
        let mark = stage.mark();
        let evil = format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let (version, fields) = last.split_once("\r\n").unwrap_or((last, "X: y"));
        let mut client = stage.client();
        client.send(format!("GET /{mark} HTTP/{version}\r\nHost: {HOST}\r\n{fields}\r\n\r\n{}", evil.repeat(3)));
        assert_eq!(client.answer().text(), format!("saw GET /{mark}"), "{last}");
        client.must_be_closed(last);
        stage.good();
        assert!(stage.app.requests("evil").is_empty(), "{last}");
    }
}
