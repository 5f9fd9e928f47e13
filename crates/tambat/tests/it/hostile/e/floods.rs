//! Floods: frames that cost their sender nothing. The connection ends in time, the app is spared, and a good client on
//! another connection is answered all the while.

use std::time::Duration;

use super::client::{Client, Next};
use super::frames::{
    DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, NEWEST,
    PRIORITY, PROTOCOL_ERROR, WHOLE, WITH_PRIORITY, block, continuation, data, frame, get, headers, length, ping, post,
    priority, pseudo, request, rst_stream, settings, window_update,
};
use crate::hostile::memory::resident_kib;
use crate::hostile::recorder::{Recorder, Then};
use crate::hostile::stage::{Setting, Stage};
use crate::support::Stopwatch;

/// A flood ends within this, from its first frame on.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// What one connection may cost in memory.
const MEMORY_KIB_MAX: u64 = 1024;

/// So many streams at a time.
const STREAMS_MAX: usize = 100;

/// `/wait…` is never answered.
fn stage() -> Stage {
    let app = Recorder::playing(|visit, request| {
        if request.path.starts_with("/wait") {
            visit.until_closed();
            return Then::Close;
        }
        visit.echo(request)
    });
    Stage::of(app, &Setting::default())
}

/// How many connections the app has open.
fn open(stage: &Stage) -> usize {
    stage.app.log().connections.iter().filter(|connection| !connection.closed && !connection.reset).count()
}

/// Sends up to so many of these from an address that has done nothing yet, with a good client beside it, until the
/// connection ends: with this code, and in time.
#[track_caller]
fn floods(stage: &Stage, what: &str, count: u32, begin: &[u8], code: u32, nth: impl Fn(u32) -> Vec<u8>) {
    let mut good = Client::open(stage.router.addr);
    let before = resident_kib(stage.router.pid());
    let mut client = Client::open_from(stage.stranger(), stage.router.addr);
    client.send(begin);
    let start = Stopwatch::begin();
    let (mut sent, mut asked, mut ended, mut most) = (0, 0, None, 0);
    while sent < count && ended.is_none() {
        let batch: Vec<u8> = (sent..sent + 20).flat_map(&nth).collect();
        sent += 20;
        if !client.try_send(&batch) {
            break;
        }
        while let Next::Frame(frame) = client.next(Duration::from_millis(1)) {
            if frame.kind == GOAWAY {
                ended = Some(frame.number(4));
            }
        }
        good.send(get(2 * asked + 1, "/good/beside"));
        assert_eq!(good.answer(2 * asked + 1).1, b"saw GET /good/beside", "{what}");
        asked += 1;
        most = most.max(resident_kib(stage.router.pid()).saturating_sub(before));
        assert!(open(stage) <= STREAMS_MAX + 10, "{what}: {} connections to the app", open(stage));
    }
    let ended = ended.unwrap_or_else(|| client.goaway(what).0);
    assert_eq!(ended, code, "{what}: after {sent}");
    assert!(start.elapsed() < ENDS_WITHIN, "{what}: {:?} and {sent} frames", start.elapsed());
    client.must_end(what);
    assert!(most < MEMORY_KIB_MAX, "{what}: {most} KiB");
    good.must_be_alive(what);
    stage.good();
    assert!(stage.app.requests("evil").is_empty(), "{what}");
}

fn stream(nth: u32) -> u32 {
    2 * nth + 1
}

#[test]
fn e05_rapid_reset() {
    let stage = stage();
    let pair = |nth| [get(stream(nth), "/wait/reset"), rst_stream(stream(nth), 8)].concat();
    floods(&stage, "one after the other", 5_000, &[], ENHANCE_YOUR_CALM, pair);
    // All at once.
    let all: Vec<u8> = (0..1_000).flat_map(pair).collect();
    let mut client = Client::open_from(stage.stranger(), stage.router.addr);
    client.send(all);
    assert_eq!(client.goaway("all at once").0, ENHANCE_YOUR_CALM);
    client.must_end("all at once");
    assert!(open(&stage) <= STREAMS_MAX + 10, "{}", open(&stage));
    stage.good();
}

#[test]
fn e06_made_you_reset() {
    let stage = stage();
    floods(&stage, "windows too large", 2_000, &[], ENHANCE_YOUR_CALM, |nth| {
        [get(stream(nth), "/wait/window"), window_update(stream(nth), 0x7fff_ffff)].concat()
    });
    floods(&stage, "bodies too long", 2_000, &[], ENHANCE_YOUR_CALM, |nth| {
        let block = request("POST", "/wait/body", &[("content-length", "1")]);
        [headers(stream(nth), END_HEADERS, &block), data(stream(nth), 0, b"too long")].concat()
    });
    floods(&stage, "on themselves", 2_000, &[], ENHANCE_YOUR_CALM, |nth| {
        [get(stream(nth), "/wait/priority"), priority(stream(nth), stream(nth))].concat()
    });
    floods(&stage, "malformed for the codec", 2_000, &[], ENHANCE_YOUR_CALM, |nth| {
        headers(stream(nth), WHOLE, &request("GET", "/evil", &[("connection", "close")]))
    });
    floods(&stage, "malformed for the router", 2_000, &[], ENHANCE_YOUR_CALM, |nth| {
        headers(stream(nth), WHOLE, &request("GET", "/evil", &[("x", " blank")]))
    });
    floods(&stage, "a window of 0", 2_000, &[], PROTOCOL_ERROR, |nth| {
        [get(stream(nth), "/wait/zero"), window_update(stream(nth), 0)].concat()
    });
}

#[test]
fn e07_continuations_without_an_end() {
    let stage = stage();
    let begin = headers(1, END_STREAM, &request("GET", "/evil", &[]));
    floods(&stage, "continuations", 10_000, &begin, ENHANCE_YOUR_CALM, |nth| {
        continuation(1, 0, &block(&[(&format!("x-{nth}"), "y")]))
    });
    floods(&stage, "empty continuations", 10_000, &begin, ENHANCE_YOUR_CALM, |_| continuation(1, 0, &[]));
    // Twenty are enough.
    let mut client = Client::open_from(stage.stranger(), stage.router.addr);
    client.send(&begin);
    (0..20).for_each(|_| client.send(continuation(1, 0, &[])));
    assert_eq!(client.goaway("twenty").0, ENHANCE_YOUR_CALM);
    client.must_end("twenty");
}

/// A field section whose fields are entries of the table: so many bytes each, so many times.
fn indexed(path: &str, bytes: usize, times: usize) -> Vec<u8> {
    let mut out = block(&pseudo("GET", path));
    out.extend_from_slice(b"\x40\x01x");
    length(bytes, 0x7f, 0, &mut out);
    out.extend_from_slice(&vec![b'y'; bytes]);
    out.extend_from_slice(&vec![NEWEST; times]);
    out
}

#[test]
fn e08_a_section_of_few_bytes_that_is_huge() {
    let stage = stage();
    floods(&stage, "a bomb", 100, &[], ENHANCE_YOUR_CALM, |nth| {
        headers(stream(nth), WHOLE, &indexed("/evil", 4_000, 10_000))
    });
    // As large as it may be, on as many streams as there may be.
    let before = resident_kib(stage.router.pid());
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..10 {
        let mut client = Client::open(stage.router.addr);
        for nth in 0..100 {
            client.send(headers(stream(nth), WHOLE, &indexed("/wait/large", 3_500, 16)));
        }
        client.must_be_alive("with large heads");
        clients.push(client);
    }
    let each = resident_kib(stage.router.pid()).saturating_sub(before) / 10;
    assert!(each < MEMORY_KIB_MAX, "{each} KiB each");
    stage.good();
}

#[test]
fn e08_four_thousand_crumbs() {
    let stage = Stage::new();
    let crumbs = vec![("cookie", "a=b"); 4_000];
    let block = request("GET", "/evil", &crumbs);
    let mut client = Client::open(stage.router.addr);
    let parts: Vec<&[u8]> = block.chunks(16_000).collect();
    client.send(headers(1, END_STREAM, parts[0]));
    for (nth, part) in parts[1..].iter().enumerate() {
        client.send(continuation(1, if nth + 2 == parts.len() { END_HEADERS } else { 0 }, part));
    }
    assert_eq!(client.answer(1).0, Some(431));
    client.must_be_alive("after the crumbs");
    stage.good();
    assert!(stage.app.requests("evil").is_empty());
}

#[test]
fn e09_frames_without_a_purpose() {
    let stage = stage();
    let opened = post(1, "/wait/open");
    floods(&stage, "SETTINGS", 20_000, &[], ENHANCE_YOUR_CALM, |_| settings(&[]));
    floods(&stage, "SETTINGS that say something", 20_000, &[], ENHANCE_YOUR_CALM, |nth| {
        settings(&[(INITIAL_WINDOW_SIZE, nth), (MAX_CONCURRENT_STREAMS, 1)])
    });
    floods(&stage, "PING", 20_000, &[], ENHANCE_YOUR_CALM, |_| ping(&[7; 8]));
    floods(&stage, "empty DATA", 20_000, &opened, ENHANCE_YOUR_CALM, |_| data(1, 0, &[]));
    floods(&stage, "DATA of padding", 20_000, &opened, ENHANCE_YOUR_CALM, |_| {
        frame(DATA, super::frames::PADDED, 1, &[0])
    });
    floods(&stage, "PRIORITY", 20_000, &[], ENHANCE_YOUR_CALM, |nth| priority(stream(nth), 0));
    floods(&stage, "PRIORITY of one stream", 20_000, &opened, ENHANCE_YOUR_CALM, |_| frame(PRIORITY, 0, 1, &[0; 5]));
    floods(&stage, "WINDOW_UPDATE", 20_000, &[], ENHANCE_YOUR_CALM, |_| window_update(0, 1));
    floods(&stage, "WINDOW_UPDATE of a stream", 20_000, &opened, ENHANCE_YOUR_CALM, |_| window_update(1, 1));
    floods(&stage, "what is not known", 20_000, &[], ENHANCE_YOUR_CALM, |_| frame(0xbe, 0, 0, b"?"));
    floods(&stage, "priorities of requests", 20_000, &[], ENHANCE_YOUR_CALM, |nth| {
        let block = [&[0, 0, 0, 0, 1][..], &request("GET", "/wait/priorities", &[])].concat();
        [headers(stream(nth), WHOLE | WITH_PRIORITY, &block), rst_stream(stream(nth), 8)].concat()
    });
}

#[test]
fn bodies_in_single_bytes() {
    let stage = stage();
    // The app takes them, so that none is kept.
    floods(&stage, "single bytes", 20_000, &post(1, "/good/crumbs"), ENHANCE_YOUR_CALM, |_| {
        data(1, 0, b"x").repeat(20)
    });
    // It does not, so that all of them are.
    let opened = post(1, "/wait/crumbs");
    floods(&stage, "single bytes that nobody takes", 20_000, &opened, ENHANCE_YOUR_CALM, |_| {
        data(1, 0, b"x").repeat(20)
    });
    // The smallest messages of gRPC, at once and more than any client has reason for.
    floods(&stage, "empty messages", 40_000, &post(1, "/good/messages"), ENHANCE_YOUR_CALM, |_| {
        data(1, 0, &[0; 5]).repeat(20)
    });
}

/// A busy client that does nothing wrong is no flood: many requests, windows for each of them, pings now and then.
#[test]
fn a_busy_client_is_no_flood() {
    let stage = Stage::new();
    let mut client = Client::open(stage.router.addr);
    for nth in 0..3_000 {
        client.send([get(stream(nth), "/good/busy"), window_update(0, 100), window_update(stream(nth), 100)].concat());
        if nth % 10 == 0 {
            client.send([ping(&[1; 8]), priority(stream(nth), 0)].concat());
        }
        assert_eq!(client.answer(stream(nth)).1, b"saw GET /good/busy");
    }
    client.must_be_alive("busy");
    // Nor is a body in small messages.
    client.send(post(9_001, "/good/messages"));
    (0..800).for_each(|_| client.send(data(9_001, 0, b"\0\0\0\0\x05hello")));
    client.send(data(9_001, END_STREAM, &[]));
    assert_eq!(client.answer(9_001).1, b"saw POST /good/messages");
    stage.good();
}
