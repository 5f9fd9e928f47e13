//! RFC 9113 §3.4, §4, §6 and §7: the beginning, frames, and each kind of them.

use super::super::client::Client;
use super::super::frames::{
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, PADDED, PING,
    PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, WITH_PRIORITY, block,
    continuation, data, frame, get, goaway, headers, ping, post, priority, request, rst_stream, settings,
    window_update, with_length,
};
use super::{Row, Want, row};
use Want::{Alive, Answer, Goaway, Reset};

/// So many of these rows are answered otherwise than their section says.
pub(in super::super) const OTHERWISE: usize = 2;

/// The largest payload that the router takes.
const FRAME_BYTES_MAX: usize = 16 * 1024;

fn big(bytes: usize) -> Vec<u8> {
    vec![b'x'; bytes]
}

/// The block of a GET in so many parts.
fn parts(path: &str, count: usize) -> Vec<Vec<u8>> {
    let block = request("GET", path, &[("x-long", &"y".repeat(200))]);
    block.chunks(block.len().div_ceil(count)).map(<[u8]>::to_vec).collect()
}

/// Sends the first part of a GET, then these bytes.
fn interrupted(client: &mut Client, bytes: &[u8]) {
    let block = parts("/evil", 2);
    client.send([headers(1, END_STREAM, &block[0]), bytes.to_vec(), continuation(1, END_HEADERS, &block[1])].concat());
}

pub(in super::super) fn rows() -> Vec<Row> {
    [format(), data_and_headers(), small(), settings_rows(), windows(), continuations()].into_iter().flatten().collect()
}

/// §4.
fn format() -> Vec<Row> {
    vec![
        row("4.1", "a frame of a kind that is not known", Alive, |c| c.send(frame(0x16, 0, 0, b"whatever"))),
        row("4.1", "one of a stream", Alive, |c| c.send(frame(0xff, 0xff, 1, b""))),
        row("4.1", "flags that are not known", Alive, |c| c.send(frame(PING, 0x16, 0, &[1; 8]))),
        row("4.1", "the reserved bit of a stream", Answer(200), |c| {
            c.send(headers(0x8000_0001, WHOLE, &request("GET", "/fine", &[])));
        }),
        row("4.1", "the reserved bit of no stream", Alive, |c| c.send(frame(PING, 0, 0x8000_0000, &[2; 8]))),
        row("4.2", "DATA of the largest size", Answer(200), |c| {
            c.send([post(1, "/fine"), data(1, END_STREAM, &big(FRAME_BYTES_MAX))].concat());
        }),
        row("4.2", "DATA beyond the largest size", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send([post(1, "/half"), data(1, END_STREAM, &big(FRAME_BYTES_MAX + 1))].concat());
        }),
        row("4.2", "HEADERS beyond the largest size", Goaway(FRAME_SIZE_ERROR), |c| {
            let long = "y".repeat(FRAME_BYTES_MAX);
            c.send(headers(1, WHOLE, &request("GET", "/evil", &[("x-long", &long)])));
        }),
        row("4.2", "an unknown frame beyond the largest size", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send(frame(0x16, 0, 0, &big(FRAME_BYTES_MAX + 1)));
        }),
        row("4.2", "a frame that says it has 16 MiB", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send(with_length(0xff_ffff, DATA, 0, 1, b""));
        }),
        row("4.3", "a field section that is none", Goaway(COMPRESSION_ERROR), |c| {
            c.send(headers(1, WHOLE, &[0xff; 8]));
        })
        .but(Goaway(PROTOCOL_ERROR), "the codec has one code for both; the connection ends"),
        row("4.3", "a field section that is cut off", Goaway(COMPRESSION_ERROR), |c| {
            let block = request("GET", "/evil", &[]);
            c.send(headers(1, WHOLE, &block[..block.len() - 3]));
        })
        .but(Goaway(PROTOCOL_ERROR), "as above"),
        row("4.3", "PRIORITY in a field section", Goaway(PROTOCOL_ERROR), |c| interrupted(c, &priority(1, 0))),
        row("4.3", "PING in a field section", Goaway(PROTOCOL_ERROR), |c| interrupted(c, &ping(&[0; 8]))),
        row("4.3", "SETTINGS in a field section", Goaway(PROTOCOL_ERROR), |c| interrupted(c, &settings(&[]))),
        row("4.3", "HEADERS in a field section", Goaway(PROTOCOL_ERROR), |c| interrupted(c, &get(3, "/evil"))),
        row("4.3", "DATA in a field section", Goaway(PROTOCOL_ERROR), |c| interrupted(c, &data(1, 0, b"x"))),
        row("4.3", "RST_STREAM in a field section", Goaway(PROTOCOL_ERROR), |c| interrupted(c, &rst_stream(1, 8))),
        row("5.5", "an unknown frame in a field section", Goaway(PROTOCOL_ERROR), |c| {
            interrupted(c, &frame(0x16, 0, 1, b"x"));
        }),
    ]
}

/// §6.1, §6.2.
fn data_and_headers() -> Vec<Row> {
    vec![
        row("6.1", "DATA of no stream", Goaway(PROTOCOL_ERROR), |c| c.send(data(0, END_STREAM, b"x"))),
        row("6.1", "DATA with padding", Answer(200), |c| {
            c.send([post(1, "/fine"), data(1, END_STREAM | PADDED, b"\x03body\0\0\0")].concat());
        }),
        row("6.1", "DATA of padding alone", Answer(200), |c| {
            c.send([post(1, "/fine"), data(1, END_STREAM | PADDED, b"\x03\0\0\0")].concat());
        }),
        row("6.1", "DATA of nothing that ends the stream", Answer(200), |c| {
            c.send([post(1, "/fine"), data(1, 0, b"body"), data(1, END_STREAM, b"")].concat());
        }),
        row("6.1", "DATA with more padding than it has bytes", Goaway(PROTOCOL_ERROR), |c| {
            c.send([post(1, "/half"), data(1, END_STREAM | PADDED, b"\x06body")].concat());
        }),
        row("6.1", "DATA with padding as long as it is", Goaway(PROTOCOL_ERROR), |c| {
            c.send([post(1, "/half"), data(1, END_STREAM | PADDED, b"\x05body")].concat());
        }),
        row("6.1", "DATA with padding and no length of it", Goaway(PROTOCOL_ERROR), |c| {
            c.send([post(1, "/half"), data(1, END_STREAM | PADDED, b"")].concat());
        }),
        row("6.2", "HEADERS of no stream", Goaway(PROTOCOL_ERROR), |c| c.send(get(0, "/evil"))),
        row("6.2", "HEADERS with padding", Answer(200), |c| {
            let block = [&[2][..], &request("GET", "/fine", &[]), &[0, 0]].concat();
            c.send(headers(1, WHOLE | PADDED, &block));
        }),
        row("6.2", "HEADERS with a priority", Answer(200), |c| {
            let block = [&[0, 0, 0, 0, 15][..], &request("GET", "/fine", &[])].concat();
            c.send(headers(1, WHOLE | WITH_PRIORITY, &block));
        }),
        row("6.2", "HEADERS with padding and a priority", Answer(200), |c| {
            let block = [&[1, 0, 0, 0, 0, 15][..], &request("GET", "/fine", &[]), &[0]].concat();
            c.send(headers(1, WHOLE | PADDED | WITH_PRIORITY, &block));
        }),
        row("6.2", "HEADERS with more padding than they have bytes", Goaway(PROTOCOL_ERROR), |c| {
            let block = [&[255][..], &block(&[(":method", "GET")])].concat();
            c.send(headers(1, WHOLE | PADDED, &block));
        }),
        row("6.2", "HEADERS with padding and no length of it", Goaway(PROTOCOL_ERROR), |c| {
            c.send(headers(1, WHOLE | PADDED, b""));
        }),
        row("6.2", "HEADERS with half a priority", Goaway(PROTOCOL_ERROR), |c| {
            c.send(headers(1, WHOLE | WITH_PRIORITY, &[0, 0]));
        }),
    ]
}

/// §6.3, §6.4, §6.6 to §6.8, §7.
fn small() -> Vec<Row> {
    vec![
        row("6.3", "PRIORITY of no stream", Goaway(PROTOCOL_ERROR), |c| c.send(priority(0, 1))),
        row("6.3", "PRIORITY of four bytes", Reset(FRAME_SIZE_ERROR), |c| c.send(frame(PRIORITY, 0, 1, &[0; 4]))),
        row("6.3", "PRIORITY of six bytes", Reset(FRAME_SIZE_ERROR), |c| c.send(frame(PRIORITY, 0, 1, &[0; 6]))),
        row("6.4", "RST_STREAM of no stream", Goaway(PROTOCOL_ERROR), |c| c.send(rst_stream(0, 8))),
        row("6.4", "RST_STREAM of three bytes", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send([get(1, "/wait"), frame(RST_STREAM, 0, 1, &[0; 3])].concat());
        }),
        row("6.4", "RST_STREAM of five bytes", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send([get(1, "/wait"), frame(RST_STREAM, 0, 1, &[0; 5])].concat());
        }),
        row("6.4", "RST_STREAM of a request", Alive, |c| c.send([get(1, "/wait"), rst_stream(1, 8)].concat())),
        row("6.6", "PUSH_PROMISE of a client", Goaway(PROTOCOL_ERROR), |c| {
            let block = [&2_u32.to_be_bytes()[..], &request("GET", "/evil", &[])].concat();
            c.send([get(1, "/wait"), frame(PUSH_PROMISE, END_HEADERS, 1, &block)].concat());
        }),
        row("6.7", "PING of a stream", Goaway(PROTOCOL_ERROR), |c| c.send(frame(PING, 0, 1, &[0; 8]))),
        row("6.7", "PING of seven bytes", Goaway(FRAME_SIZE_ERROR), |c| c.send(ping(&[0; 7]))),
        row("6.7", "PING of nine bytes", Goaway(FRAME_SIZE_ERROR), |c| c.send(ping(&[0; 9]))),
        row("6.7", "PING of nothing", Goaway(FRAME_SIZE_ERROR), |c| c.send(ping(&[]))),
        row("6.7", "the answer to a PING that was not sent", Alive, |c| c.send(frame(PING, ACK, 0, b"unasked!"))),
        row("6.8", "GOAWAY of a stream", Goaway(PROTOCOL_ERROR), |c| c.send(goaway(1, 0, 0))),
        row("6.8", "GOAWAY of seven bytes", Goaway(FRAME_SIZE_ERROR), |c| c.send(frame(GOAWAY, 0, 0, &[0; 7]))),
        row("7", "RST_STREAM with a code that is not known", Alive, |c| {
            c.send([get(1, "/wait"), rst_stream(1, 0xff)].concat());
        }),
        row("7", "GOAWAY with a code that is not known", Goaway(0), |c| c.send(goaway(0, 0, 0xff))),
        // Nothing more may be asked on it, so that it ends when that has come.
        row("6.8", "GOAWAY of a client that waits for its answer", Goaway(0), |c| {
            c.send([post(1, "/fine"), goaway(0, 0, 0), data(1, END_STREAM, b"x")].concat());
            assert_eq!(c.answer(1).0, Some(200));
        }),
    ]
}

/// §6.5.
fn settings_rows() -> Vec<Row> {
    fn asked(c: &mut Client, all: &[(u16, u32)]) {
        c.send(settings(all));
    }
    vec![
        row("6.5", "SETTINGS of a stream", Goaway(PROTOCOL_ERROR), |c| c.send(frame(SETTINGS, 0, 1, &[]))),
        row("6.5", "an ACK with something in it", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send(frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1]));
        }),
        row("6.5", "half a setting", Goaway(FRAME_SIZE_ERROR), |c| c.send(frame(SETTINGS, 0, 0, &[0, 3, 0]))),
        row("6.5", "a setting and a half", Goaway(FRAME_SIZE_ERROR), |c| c.send(frame(SETTINGS, 0, 0, &[0; 9]))),
        row("6.5.2", "ENABLE_PUSH of 2", Goaway(PROTOCOL_ERROR), |c| asked(c, &[(ENABLE_PUSH, 2)])),
        row("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", Goaway(FLOW_CONTROL_ERROR), |c| {
            asked(c, &[(INITIAL_WINDOW_SIZE, 1 << 31)]);
        }),
        row("6.5.2", "INITIAL_WINDOW_SIZE of 2^32 - 1 behind others", Goaway(FLOW_CONTROL_ERROR), |c| {
            asked(c, &[(MAX_CONCURRENT_STREAMS, 1), (INITIAL_WINDOW_SIZE, u32::MAX)]);
        }),
        row("6.5.2", "MAX_FRAME_SIZE below 2^14", Goaway(PROTOCOL_ERROR), |c| asked(c, &[(MAX_FRAME_SIZE, 16_383)])),
        row("6.5.2", "MAX_FRAME_SIZE above 2^24 - 1", Goaway(PROTOCOL_ERROR), |c| {
            asked(c, &[(MAX_FRAME_SIZE, 1 << 24)]);
        }),
        row("6.5.2", "MAX_FRAME_SIZE of 2^24 - 1", Alive, |c| asked(c, &[(MAX_FRAME_SIZE, (1 << 24) - 1)])),
        row("6.5.2", "a setting that is not known", Alive, |c| asked(c, &[(0xff, 0xff)])),
        row("6.5.3", "every SETTINGS is acknowledged", Alive, |c| {
            for _ in 0..3 {
                asked(c, &[(MAX_CONCURRENT_STREAMS, 10)]);
                c.until("an ACK", |frame| frame.is(SETTINGS, ACK));
            }
        }),
        row("6.5.3", "of a setting that stands twice the last counts", Answer(200), |c| {
            asked(c, &[(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 100_000)]);
            c.send(get(1, "/fine"));
        }),
    ]
}

/// §6.9.
fn windows() -> Vec<Row> {
    vec![
        row("6.9", "WINDOW_UPDATE of 0", Goaway(PROTOCOL_ERROR), |c| c.send(window_update(0, 0))),
        row("6.9", "WINDOW_UPDATE of 0 of a stream", Reset(PROTOCOL_ERROR), |c| {
            c.send([get(1, "/wait"), window_update(1, 0)].concat());
        }),
        row("6.9", "WINDOW_UPDATE of three bytes", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send(frame(WINDOW_UPDATE, 0, 0, &[0; 3]));
        }),
        row("6.9", "WINDOW_UPDATE of five bytes", Goaway(FRAME_SIZE_ERROR), |c| {
            c.send([get(1, "/wait"), frame(WINDOW_UPDATE, 0, 1, &[0; 5])].concat());
        }),
        row("6.9.1", "a window of one byte is kept to", Alive, |c| {
            c.send([settings(&[(INITIAL_WINDOW_SIZE, 1)]), get(1, "/fine?one"), get(3, "/fine?three")].concat());
            let first = c.until("the first byte", |frame| frame.kind == DATA && frame.stream == 3);
            assert_eq!(first.payload.len(), 1, "{first:?}");
            c.send([settings(&[(INITIAL_WINDOW_SIZE, 65_535)]), get(5, "/fine")].concat());
            c.until("the rest", |frame| frame.is(DATA, END_STREAM) && frame.stream == 3);
            c.until("the last", |frame| frame.is(DATA, END_STREAM) && frame.stream == 5);
            c.send(get(7, "/fine"));
            c.until("one more", |frame| frame.is(DATA, END_STREAM) && frame.stream == 7);
        }),
        row("6.9.1", "the connection's window beyond 2^31 - 1", Goaway(FLOW_CONTROL_ERROR), |c| {
            c.send(window_update(0, 0x7fff_ffff));
        }),
        row("6.9.1", "a stream's window beyond 2^31 - 1", Reset(FLOW_CONTROL_ERROR), |c| {
            c.send([get(1, "/wait"), window_update(1, 0x7fff_ffff)].concat());
        }),
        row("6.9.1", "more of a body than its window", Reset(FLOW_CONTROL_ERROR), |c| {
            c.send(post(1, "/wait"));
            for _ in 0..9 {
                c.send(data(1, 0, &big(FRAME_BYTES_MAX)));
            }
        }),
        row("6.9.2", "SETTINGS that make a stream's window too large", Goaway(FLOW_CONTROL_ERROR), |c| {
            c.send([get(1, "/wait"), window_update(1, 0x7fff_0000)].concat());
            c.send(settings(&[(INITIAL_WINDOW_SIZE, 0x7fff_ffff)]));
        }),
        row("6.9.2", "SETTINGS that make a stream's window negative", Alive, |c| {
            c.send(
                [settings(&[(INITIAL_WINDOW_SIZE, 3)]), get(1, "/wait/3"), settings(&[(INITIAL_WINDOW_SIZE, 2)])]
                    .concat(),
            );
            c.send([settings(&[(INITIAL_WINDOW_SIZE, 100)]), get(3, "/fine")].concat());
            c.until("an answer", |frame| frame.is(DATA, END_STREAM) && frame.stream == 3);
        }),
    ]
}

/// §6.10.
fn continuations() -> Vec<Row> {
    vec![
        row("6.10", "a field section in four frames", Answer(200), |c| {
            let parts = parts("/fine", 4);
            c.send(headers(1, END_STREAM, &parts[0]));
            c.send([continuation(1, 0, &parts[1]), continuation(1, 0, &parts[2])].concat());
            c.send(continuation(1, END_HEADERS, &parts[3]));
        }),
        row("6.10", "an empty one at the end", Answer(200), |c| {
            c.send([headers(1, END_STREAM, &request("GET", "/fine", &[])), continuation(1, END_HEADERS, b"")].concat());
        }),
        row("6.10", "CONTINUATION of no stream", Goaway(PROTOCOL_ERROR), |c| {
            interrupted(c, &continuation(0, END_HEADERS, b""));
        }),
        row("6.10", "CONTINUATION of another stream", Goaway(PROTOCOL_ERROR), |c| {
            interrupted(c, &continuation(3, END_HEADERS, b""));
        }),
        row("6.10", "CONTINUATION behind a whole field section", Goaway(PROTOCOL_ERROR), |c| {
            c.send([get(1, "/wait"), continuation(1, END_HEADERS, &block(&[("a", "b")]))].concat());
        }),
        row("6.10", "CONTINUATION behind the end of its field section", Goaway(PROTOCOL_ERROR), |c| {
            let parts = parts("/wait", 2);
            c.send([headers(1, END_STREAM, &parts[0]), continuation(1, END_HEADERS, &parts[1])].concat());
            c.send(continuation(1, END_HEADERS, &block(&[("a", "b")])));
        }),
        row("6.10", "CONTINUATION behind DATA", Goaway(PROTOCOL_ERROR), |c| {
            c.send([post(1, "/wait"), data(1, 0, b"x"), continuation(1, END_HEADERS, &block(&[("a", "b")]))].concat());
        }),
        row("6.10", "CONTINUATION before anything", Goaway(PROTOCOL_ERROR), |c| {
            c.send(frame(CONTINUATION, END_HEADERS, 1, &block(&[("a", "b")])));
        }),
        row("6.10", "HEADERS without an end, and another request", Goaway(PROTOCOL_ERROR), |c| {
            c.send([frame(HEADERS, END_STREAM, 1, &request("GET", "/evil", &[])), get(3, "/evil")].concat());
        }),
    ]
}
