//! RFC 9113 §5: the states of streams, their numbers, and how many there may be.

use super::super::client::Client;
use super::super::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, WHOLE, WITH_PRIORITY, block,
    data, frame, get, headers, post, priority, request, rst_stream, window_update,
};
use super::{Row, Want, row};
use Want::{Alive, Answer, Goaway, Reset};

/// So many of these rows are answered otherwise than their section says.
pub(in super::super) const OTHERWISE: usize = 5;

const INSTEAD: Want = Goaway(PROTOCOL_ERROR);
const WHY: &str = "the codec ends the connection with its general code: no client that keeps count sends it";

const TRAILER: &[(&str, &str)] = &[("x-sum", "1")];

/// A stream that is half closed: its request is whole, and it has no answer.
fn half_closed(c: &mut Client) {
    c.send(get(1, "/wait"));
}

/// One that the client has reset.
fn reset(c: &mut Client) {
    c.send([get(1, "/wait"), rst_stream(1, 8)].concat());
}

/// One that has its answer.
fn answered(c: &mut Client) {
    c.send(get(1, "/fine"));
    c.answer(1);
}

pub(in super::super) fn rows() -> Vec<Row> {
    [idle(), half_closed_rows(), closed(), numbers()].into_iter().flatten().collect()
}

fn idle() -> Vec<Row> {
    vec![
        row("5.1", "idle: DATA", Goaway(PROTOCOL_ERROR), |c| c.send(data(1, END_STREAM, b"x"))),
        row("5.1", "idle: RST_STREAM", Goaway(PROTOCOL_ERROR), |c| c.send(rst_stream(1, 8))),
        row("5.1", "idle: WINDOW_UPDATE", Goaway(PROTOCOL_ERROR), |c| c.send(window_update(1, 100))),
        row("5.1", "idle: CONTINUATION", Goaway(PROTOCOL_ERROR), |c| {
            c.send(frame(CONTINUATION, END_HEADERS, 1, &request("GET", "/evil", &[])));
        }),
        row("5.1", "idle: PRIORITY", Alive, |c| c.send(priority(1, 0))),
        row("5.1", "idle: PRIORITY, and then the request", Answer(200), |c| {
            c.send([priority(1, 0), get(1, "/fine")].concat());
        }),
        row("5.1", "idle, of the router's: DATA", Goaway(PROTOCOL_ERROR), |c| c.send(data(2, END_STREAM, b"x"))),
        row("5.1", "idle, of the router's: RST_STREAM", Goaway(PROTOCOL_ERROR), |c| c.send(rst_stream(2, 8))),
    ]
}

fn half_closed_rows() -> Vec<Row> {
    vec![
        row("5.1", "half closed: DATA", Reset(STREAM_CLOSED), |c| {
            half_closed(c);
            c.send(data(1, END_STREAM, b"x"));
        })
        .but(INSTEAD, WHY),
        row("5.1", "half closed: DATA behind a body", Reset(STREAM_CLOSED), |c| {
            c.send([post(1, "/wait"), data(1, END_STREAM, b"x"), data(1, END_STREAM, b"evil")].concat());
        })
        .but(INSTEAD, WHY),
        row("5.1", "half closed: HEADERS", Reset(STREAM_CLOSED), |c| {
            half_closed(c);
            c.send(headers(1, WHOLE, &block(TRAILER)));
        })
        .but(INSTEAD, WHY),
        row("5.1", "half closed: CONTINUATION", Goaway(PROTOCOL_ERROR), |c| {
            half_closed(c);
            c.send(frame(CONTINUATION, END_HEADERS, 1, &block(TRAILER)));
        }),
        row("5.1", "half closed: WINDOW_UPDATE", Alive, |c| {
            half_closed(c);
            c.send(window_update(1, 100));
        }),
        row("5.1", "half closed: PRIORITY", Alive, |c| {
            half_closed(c);
            c.send(priority(1, 0));
        }),
        row("5.1", "half closed: RST_STREAM", Alive, |c| {
            half_closed(c);
            c.send(rst_stream(1, 8));
        }),
    ]
}

fn closed() -> Vec<Row> {
    vec![
        row("5.1", "reset by the client: DATA", Reset(STREAM_CLOSED), |c| {
            c.send([post(1, "/wait"), rst_stream(1, 8), data(1, END_STREAM, b"x")].concat());
        }),
        row("5.1", "reset by the client: HEADERS", Reset(STREAM_CLOSED), |c| {
            reset(c);
            c.send(headers(1, WHOLE, &request("GET", "/evil", &[])));
        })
        .but(INSTEAD, WHY),
        row("5.1", "reset by the client: CONTINUATION", Goaway(PROTOCOL_ERROR), |c| {
            reset(c);
            c.send(frame(CONTINUATION, END_HEADERS, 1, &block(TRAILER)));
        }),
        row("5.1", "reset by the client: PRIORITY", Alive, |c| {
            reset(c);
            c.send(priority(1, 0));
        }),
        row("5.1", "reset by the client: RST_STREAM", Alive, |c| {
            reset(c);
            c.send(rst_stream(1, 8));
        }),
        row("5.1", "reset by the client: WINDOW_UPDATE", Alive, |c| {
            reset(c);
            c.send(window_update(1, 100));
        }),
        row("5.1", "answered: DATA", Reset(STREAM_CLOSED), |c| {
            answered(c);
            c.send(data(1, END_STREAM, b"x"));
        }),
        row("5.1", "answered: HEADERS", Goaway(STREAM_CLOSED), |c| {
            answered(c);
            c.send(headers(1, WHOLE, &request("GET", "/evil", &[])));
        })
        .but(INSTEAD, WHY),
        row("5.1", "answered: CONTINUATION", Goaway(PROTOCOL_ERROR), |c| {
            answered(c);
            c.send(frame(CONTINUATION, END_HEADERS, 1, &block(TRAILER)));
        }),
        row("5.1", "answered: PRIORITY", Alive, |c| {
            answered(c);
            c.send(priority(1, 0));
        }),
        row("5.1", "answered: WINDOW_UPDATE", Alive, |c| {
            answered(c);
            c.send(window_update(1, 100));
        }),
        row("5.1", "answered: RST_STREAM", Alive, |c| {
            answered(c);
            c.send(rst_stream(1, 8));
        }),
        row("5.1", "refused by the router: what was on its way", Alive, |c| {
            let block = request("POST", "/evil", &[("te", "gzip")]);
            c.send([headers(1, END_HEADERS, &block), data(1, 0, b"x"), data(1, END_STREAM, b"y")].concat());
        }),
    ]
}

/// §5.1.1 to §5.4.
fn numbers() -> Vec<Row> {
    vec![
        row("5.1.1", "an even number", Goaway(PROTOCOL_ERROR), |c| c.send(get(2, "/evil"))),
        row("5.1.1", "a number below the last", Goaway(PROTOCOL_ERROR), |c| {
            c.send([get(5, "/wait"), get(3, "/evil")].concat());
        }),
        row("5.1.1", "a number that was passed over", Goaway(PROTOCOL_ERROR), |c| {
            c.send(get(7, "/fine"));
            c.answer(7);
            c.send(get(1, "/evil"));
        }),
        row("5.1.1", "the highest number", Alive, |c| {
            c.send(get(0x7fff_ffff, "/fine"));
            assert_eq!(c.answer(0x7fff_ffff).0, Some(200));
        }),
        row("5.1.2", "one stream more than there may be", Reset(REFUSED_STREAM), |c| {
            for nth in 0..101 {
                c.send(get(2 * nth + 1, "/wait/many"));
            }
        }),
        row("5.3.1", "HEADERS on themselves", Reset(PROTOCOL_ERROR), |c| {
            let block = [&[0, 0, 0, 1, 15][..], &request("GET", "/evil", &[])].concat();
            c.send(headers(1, WHOLE | WITH_PRIORITY, &block));
        }),
        row("5.3.1", "PRIORITY on itself", Reset(PROTOCOL_ERROR), |c| {
            c.send([get(1, "/wait"), priority(1, 1)].concat());
        }),
        row("5.4.1", "GOAWAY names the last stream that was served", Goaway(PROTOCOL_ERROR), |c| {
            c.send(get(3, "/fine"));
            c.answer(3);
            c.send(data(0, 0, b"x"));
        }),
    ]
}
