//! Group E but for its floods: frames, streams, requests that HTTP/1.1 has no words for, windows, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::client::{Client, Next, PATIENCE};
use super::frames::{
    DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, INTERNAL_ERROR,
    MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE, NO_ERROR, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, WHOLE,
    block, data, frame, get, goaway, headers, ping, post, pseudo, request, settings, window_update,
};
use super::table::{self, Row};
use crate::hostile::memory::resident_kib;
use crate::hostile::recorder::{Recorder, Request, Then, Visit};
use crate::hostile::stage::{Setting, Stage};
use crate::support::{Stopwatch, pause, until};

/// Plays those rows of the table that are like this.
fn rows_where(is_it: impl Fn(&Row) -> bool) {
    let rows: Vec<Row> =
        [table::messages::rows(), table::websocket::rows()].into_iter().flatten().filter(|row| is_it(row)).collect();
    assert!(rows.len() > 1);
    let others = table::play(&rows);
    assert!(others.is_empty(), "{others:#?}");
}

/// `/big…` has 1 MiB, `/wait…` is never answered, `/short` and `/endless` break off.
fn app() -> Recorder {
    Recorder::playing(|visit, request| match request.path.split('/').nth(1).unwrap_or_default() {
        "big" => big(visit, request),
        "wait" => {
            visit.until_closed();
            Then::Close
        }
        "short" => {
            visit.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            Then::Close
        }
        "endless" => {
            visit.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            Then::Close
        }
        "until" => {
            visit.send("HTTP/1.1 200 OK\r\n\r\nhello");
            Then::Close
        }
        _ => visit.echo(request),
    })
}

const BIG_BYTES: usize = 1024 * 1024;

/// What one connection may cost in memory.
const MEMORY_KIB_MAX: u64 = 1024;

/// The same where all windows are open: what is in the codec and what is gathered to be sent comes to it.
const UNREAD_KIB_MAX: u64 = 1280;

fn big(visit: &mut Visit, request: &Request) -> Then {
    visit.body(request);
    visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG_BYTES}\r\n\r\n"));
    if visit.send(vec![b'x'; BIG_BYTES]) { Then::Next } else { Then::Close }
}

#[test]
fn e01_what_is_no_preface_is_no_http2() {
    let stage = Stage::new();
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        b"PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /evil HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = Client::raw(stage.router.addr);
        client.send(bytes);
        let answer = client.rest();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains("version-unknown"), "{answer}");
    }
    // Nor is it the preface where another request was before it.
    let mut client = Client::raw(stage.router.addr);
    client.send(format!("GET /good/first HTTP/1.1\r\nHost: {}\r\n\r\n", super::frames::HOST));
    client.send(PREFACE);
    let answers = String::from_utf8(client.rest()).unwrap();
    assert!(answers.contains("saw GET /good/first") && answers.contains("HTTP/1.1 505 "), "{answers}");
    // In single bytes it is one.
    let mut client = Client::raw(stage.router.addr);
    for byte in PREFACE.iter().chain(&settings(&[])).chain(&get(1, "/fine")) {
        client.send([*byte]);
    }
    assert_eq!(client.answer(1), (Some(200), b"saw GET /fine".to_vec()));
    stage.good();
    assert!(stage.app.requests("evil").is_empty());
}

#[test]
fn e01_a_preface_that_stops_is_not_waited_for() {
    let stage = Stage::set(&Setting { router: "timeouts = { head = \"300ms\" }", ..Setting::default() });
    for bytes in [&PREFACE[..5], &PREFACE[..20], PREFACE, &[PREFACE, &settings(&[])].concat()] {
        let mut client = Client::raw(stage.router.addr);
        client.send(bytes);
        let start = Stopwatch::begin();
        client.rest();
        assert!(start.elapsed() < Duration::from_secs(5), "{bytes:?}");
    }
    stage.good();
}

#[test]
fn e02_a_frame_beyond_the_largest_size() {
    let stage = Stage::new();
    let mut client = Client::open(stage.router.addr);
    client.send([post(1, "/half"), data(1, END_STREAM, &vec![b'x'; 16_385])].concat());
    assert_eq!(client.goaway("a frame that is too large").0, FRAME_SIZE_ERROR);
    client.must_end("a frame that is too large");
    assert!(stage.app.requests("half").iter().all(|request| !request.whole));
    stage.good();
}

#[test]
fn e03_streams_with_numbers_that_clients_do_not_have() {
    let stage = Stage::new();
    for requests in [get(2, "/evil"), [get(5, "/fine"), get(3, "/evil")].concat(), get(0, "/evil")] {
        let mut client = Client::open(stage.router.addr);
        client.send(requests);
        assert_eq!(client.goaway("a number").0, PROTOCOL_ERROR);
        client.must_end("a number");
    }
    assert!(stage.app.requests("evil").is_empty());
    stage.good();
}

#[test]
fn e04_more_streams_than_there_may_be() {
    let stage = Stage::of(app(), &Setting::default());
    let mut client = Client::open(stage.router.addr);
    let offered = client.settings.clone().unwrap();
    assert_eq!(offered.setting(MAX_CONCURRENT_STREAMS), Some(100));
    assert_eq!(offered.setting(MAX_HEADER_LIST_SIZE), Some(64 * 1024));
    for nth in 0..100 {
        client.send(get(2 * nth + 1, &format!("/wait/{nth}e")));
    }
    (0..100).for_each(|nth| drop(stage.app.arrived(&format!("wait/{nth}e"))));
    client.send([get(201, "/evil"), get(203, "/evil")].concat());
    for stream in [201, 203] {
        let refused = client.until("a refusal", |frame| frame.kind == RST_STREAM);
        assert_eq!((refused.stream, refused.number(0)), (stream, REFUSED_STREAM));
    }
    client.must_be_alive("with as many streams as there may be");
    // One that ends makes room for another.
    client.send([super::frames::rst_stream(1, 8), get(205, "/fine")].concat());
    assert_eq!(client.answer(205).0, Some(200));
    assert!(stage.app.requests("evil").is_empty());
    stage.good();
}

#[test]
fn e10_a_client_that_opens_no_window_is_let_go() {
    let setting = Setting { router: "timeouts = { body_idle = \"1s\", keep_alive = \"1s\" }", ..Setting::default() };
    let stage = Stage::of(app(), &setting);
    // What a worker needs with its first client is none of this one's.
    stage.good();
    let before = resident_kib(stage.router.pid());
    let mut client = Client::with(stage.router.addr, &[(INITIAL_WINDOW_SIZE, 0)]);
    for nth in 0..100 {
        client.send(get(2 * nth + 1, &format!("/big/{nth}")));
    }
    // Every answer has begun, and none goes on.
    let (mut begun, mut reset) = (0, 0);
    let start = Stopwatch::begin();
    let mut most = 0;
    loop {
        match client.next(PATIENCE) {
            Next::Frame(frame) if frame.kind == HEADERS => begun += 1,
            Next::Frame(frame) if frame.kind == RST_STREAM => {
                assert_eq!(frame.number(0), INTERNAL_ERROR);
                reset += 1;
            }
            Next::Frame(frame) if frame.kind == DATA => panic!("there is no window: {frame:?}"),
            Next::Frame(_) => {}
            Next::End => break,
            Next::Nothing => panic!("it is still open, with {begun} begun and {reset} reset"),
        }
        most = most.max(resident_kib(stage.router.pid()).saturating_sub(before));
        if begun == 100 && reset == 0 {
            client.must_be_alive("while nothing is taken");
        }
    }
    assert_eq!((begun, reset), (100, 100));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(most < MEMORY_KIB_MAX, "{most} KiB for 100 answers that nobody takes");
    stage.good();
}

#[test]
fn e10_a_client_that_reads_nothing_is_let_go() {
    let setting = Setting { router: "timeouts = { body_idle = \"1s\", keep_alive = \"1s\" }", ..Setting::default() };
    let stage = Stage::of(app(), &setting);
    stage.good();
    let before = resident_kib(stage.router.pid());
    let mut client = Client::with(stage.router.addr, &[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    client.send(window_update(0, 0x7000_0000));
    for nth in 0..100 {
        client.send(get(2 * nth + 1, &format!("/big/{nth}e")));
    }
    (0..100).for_each(|nth| drop(stage.app.arrived(&format!("big/{nth}e"))));
    pause(Duration::from_millis(300));
    let kept = resident_kib(stage.router.pid()).saturating_sub(before);
    assert!(kept < UNREAD_KIB_MAX, "{kept} KiB for 100 answers that nobody reads");
    // Its targets are let go, too, whoever is to blame.
    until("that the app's connections are closed", || {
        let log = stage.app.log();
        (!log.connections.is_empty() && log.connections.iter().all(|connection| connection.closed || connection.reset))
            .then_some(())
    });
    stage.good();
}

#[test]
fn e11_names_and_values_that_none_may_have() {
    rows_where(|row| row.section == "8.2.1");
}

#[test]
fn e12_fields_of_connections() {
    rows_where(|row| row.section == "8.2.2");
}

#[test]
fn e13_pseudo_header_fields() {
    rows_where(|row| matches!(row.section, "8.3" | "8.3.1"));
}

#[test]
fn e14_authority_and_host() {
    rows_where(|row| row.section == "8.3.1" && (row.what.contains("host") || row.what.contains("authority")));
}

#[test]
fn e15_lengths_that_are_not_true_of_requests() {
    rows_where(|row| row.section == "8.1.1");
}

#[test]
fn e15_lengths_that_are_not_true_of_answers() {
    let stage = Stage::of(app(), &Setting::default());
    for path in ["/short", "/endless"] {
        let mut client = Client::open(stage.router.addr);
        client.send(get(1, path));
        let reset = client.until("a reset", |frame| {
            assert!(!frame.is(frame.kind, END_STREAM) || frame.kind == RST_STREAM, "{path}: a clean end");
            frame.kind == RST_STREAM
        });
        assert_eq!(reset.number(0), INTERNAL_ERROR, "{path}");
        client.must_be_alive(path);
        stage.good();
    }
    // One that lasts until the end of the connection is whole.
    let mut client = Client::open(stage.router.addr);
    client.send(get(1, "/until"));
    assert_eq!(client.answer(1), (Some(200), b"hello".to_vec()));
    stage.good();
}

#[test]
fn e15_a_request_that_is_reset_is_not_completed() {
    let stage = Stage::new();
    for body in [&data(1, 0, b"body")[..], &[]] {
        let mark = stage.mark();
        let mut client = Client::open(stage.router.addr);
        client.send([post(1, &format!("/{mark}")), body.to_vec()].concat());
        stage.app.arrived(&mark);
        client.send(super::frames::rst_stream(1, 8));
        let request = stage.app.requests(&mark).remove(0);
        stage.app.until_closed(request.connection);
        assert!(!stage.app.requests(&mark)[0].whole);
        client.must_be_alive("after a reset");
        stage.good();
    }
}

#[test]
fn e16_pseudo_header_fields_in_trailers() {
    rows_where(|row| row.section == "8.1" && row.what.contains("pseudo"));
}

#[test]
fn e17_ends_of_lines_in_pseudo_header_fields() {
    rows_where(|row| row.what.contains("CR LF"));
}

#[test]
fn e19_a_drain_lets_every_request_end() {
    // Nobody is answered before the client has heard of the end, and has asked once more.
    let may_answer = Arc::<AtomicBool>::default();
    let may = Arc::clone(&may_answer);
    let app = Recorder::playing(move |visit, request| {
        until("the last request", || may.load(Ordering::Relaxed).then_some(()));
        visit.echo(request)
    });
    let mut stage = Stage::of(app, &Setting::default());
    let mut client = Client::open(stage.router.addr);
    for nth in 0..99 {
        client.send(get(2 * nth + 1, &format!("/slow/{nth}e")));
    }
    (0..99).for_each(|nth| drop(stage.app.arrived(&format!("slow/{nth}e"))));
    stage.router.signal(Signal::SIGTERM);
    let (mut last, mut ended) = (Vec::new(), 0);
    loop {
        match client.next(PATIENCE) {
            Next::Frame(frame) if frame.kind == GOAWAY => {
                assert_eq!(frame.number(4), NO_ERROR);
                last.push(frame.number(0));
                if last.len() == 1 {
                    // What is on its way when it is told is served yet.
                    client.send(get(199, "/slow/late"));
                    may_answer.store(true, Ordering::Relaxed);
                }
            }
            Next::Frame(frame) if frame.is(super::frames::PING, 0) => {
                client.send(super::frames::frame(super::frames::PING, super::frames::ACK, 0, &frame.payload));
            }
            Next::Frame(frame) if frame.is(DATA, END_STREAM) => ended += 1,
            Next::Frame(frame) => assert_ne!(frame.kind, RST_STREAM, "{frame:?}"),
            Next::End => break,
            Next::Nothing => panic!("{ended} have ended, after {last:?}"),
        }
    }
    assert!(ended == 100, "{ended}");
    assert_eq!(last[0], 0x7fff_ffff, "{last:?}");
    assert!(matches!(last[1], 197 | 199) && last[1..].iter().all(|stream| *stream == last[1]), "{last:?}");
    assert_eq!(stage.router.ended(), 0);
}

#[test]
fn e20_a_protocol_that_is_not_known() {
    rows_where(|row| row.section == "WebSocket 4");
}

#[test]
fn the_end_of_one_direction_of_a_websocket_is_not_that_of_the_other() {
    let stage = Stage::playing(table::websocket::switch);
    let mut client = Client::open(stage.router.addr);
    table::websocket::open(&mut client, "/ends");
    client.until("the app's end", |frame| frame.is(DATA, END_STREAM) && frame.stream == 1);
    for words in ["after", "the end"] {
        client.send(data(1, 0, words.as_bytes()));
        until("the app to hear it", || stage.app.received(words).then_some(()));
    }
    client.send(data(1, END_STREAM, b""));
    until("the app to hear of the end", || stage.app.log().connections.iter().all(|c| c.closed).then_some(()));
    client.must_be_alive("behind a WebSocket");
}

/// Both framings meet one policy: what is refused in one is refused in the other, with the same code.
#[test]
fn limits_are_those_of_http1() {
    let stage = Stage::new();
    let many: Vec<(String, String)> = (0..100).map(|nth| (format!("x-{nth}"), "y".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    let (long_path, long_field) = (format!("/evil/{}", "y".repeat(9_000)), "y".repeat(16_400));
    let huge: Vec<(&str, &str)> = vec![("x-long", &long_field[..15_000]); 5];
    let rows = [
        ("a long line", request("GET", &long_path, &[]), 414),
        ("a hundred fields", request("GET", "/evil", &many), 431),
        ("a long field", request("GET", "/evil", &[("x-long", &long_field)]), 431),
        ("a huge head", block(&[&pseudo("GET", "/evil")[..], &huge].concat()), 431),
    ];
    for (what, block, status) in rows {
        let mut client = Client::open(stage.router.addr);
        let mut parts = block.chunks(16_000);
        let first = parts.next().unwrap();
        let rest: Vec<_> = parts.collect();
        client.send(headers(1, if rest.is_empty() { WHOLE } else { END_STREAM }, first));
        for (nth, part) in rest.iter().enumerate() {
            let flags = if nth + 1 == rest.len() { END_HEADERS } else { 0 };
            client.send(super::frames::continuation(1, flags, part));
        }
        assert_eq!(client.answer(1).0, Some(status), "{what}");
        client.must_be_alive(what);
    }
    assert!(stage.app.requests("evil").is_empty());
    stage.good();
}

/// What the app sees of a request, and what the log says.
#[test]
fn a_request_is_passed_on_as_one_of_http2() {
    let stage = Stage::set(&Setting { router: "access_log = \"access.log\"", ..Setting::default() });
    let mark = stage.mark();
    let mut client = Client::open(stage.router.addr);
    let fields =
        [("cookie", "a=b"), ("te", "trailers"), ("x-test", "one"), ("cookie", "c=d"), ("x-forwarded-for", "6.6.6.6")];
    client.send(
        [headers(1, END_HEADERS, &request("POST", &format!("/{mark}?q"), &fields)), data(1, 0, b"body")].concat(),
    );
    client.send(headers(1, WHOLE, &block(&[("x-sum", "7"), ("host", "evil.example")])));
    assert_eq!(client.answer(1), (Some(200), format!("saw POST /{mark}?q").into_bytes()));
    let seen = stage.app.request(&mark);
    assert_eq!((seen.field("host"), seen.field("x-test")), (Some(super::frames::HOST), Some("one")));
    assert_eq!((seen.fields("cookie"), seen.field("te")), (vec!["a=b; c=d"], None));
    assert_eq!(seen.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert!(seen.field("via").unwrap().starts_with("2.0 tambat"), "{seen:#?}");
    assert_eq!((&seen.body[..], &seen.trailers[..]), (&b"body"[..], &["x-sum: 7".to_owned()][..]));
    let line = until("a line in the log", || {
        let log = std::fs::read_to_string(stage.router.dir().path().join("access.log")).unwrap_or_default();
        log.split_inclusive('\n').find(|line| line.contains(&mark) && line.ends_with('\n')).map(str::to_owned)
    });
    assert!(line.contains("\"http\":\"2\"") && line.contains("\"status\":200"), "{line}");
    stage.good();
}

/// A client that goes away is no reason to go on.
#[test]
fn a_client_that_goes_away_ends_its_requests() {
    let stage = Stage::of(app(), &Setting::default());
    let mut client = Client::open(stage.router.addr);
    for nth in 0..10 {
        client.send(get(2 * nth + 1, &format!("/wait/{nth}e")));
    }
    (0..10).for_each(|nth| drop(stage.app.arrived(&format!("wait/{nth}e"))));
    drop(client);
    until("that the app's connections are closed", || {
        stage.app.log().connections.iter().all(|connection| connection.closed).then_some(())
    });
    stage.good();
}

/// Idle connections end as those of HTTP/1.1 do, whatever is pinged.
#[test]
fn an_idle_connection_ends() {
    let stage = Stage::set(&Setting { router: "timeouts = { keep_alive = \"500ms\" }", ..Setting::default() });
    let mut client = Client::open(stage.router.addr);
    client.send(get(1, "/fine"));
    client.answer(1);
    let start = Instant::now();
    let (code, last) = loop {
        client.send(ping(&[0; 8]));
        match client.next(Duration::from_millis(50)) {
            Next::Frame(frame) if frame.kind == GOAWAY => break (frame.number(4), frame.number(0)),
            Next::End => panic!("without a word"),
            Next::Frame(_) | Next::Nothing => assert!(start.elapsed() < PATIENCE),
        }
        thread::park_timeout(Duration::from_millis(20));
    };
    assert_eq!((code, last), (NO_ERROR, 1));
    client.must_end("an idle connection");
    stage.good();
}

/// The client has said that it goes: what it asked before is answered.
#[test]
fn a_goaway_of_the_client_ends_the_connection_when_it_is_answered() {
    let stage = Stage::new();
    let mut client = Client::open(stage.router.addr);
    client.send([post(1, "/fine"), goaway(0, 0, 0), frame(DATA, END_STREAM, 1, b"x")].concat());
    assert_eq!(client.answer(1).0, Some(200));
    client.must_end("after the answer");
    stage.good();
}
