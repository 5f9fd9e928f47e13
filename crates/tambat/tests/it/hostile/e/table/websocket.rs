//! RFC 8441: `WebSockets` on streams.

use super::super::client::Client;
use super::super::frames::{
    DATA, ENABLE_CONNECT_PROTOCOL, END_HEADERS, END_STREAM, HOST, PROTOCOL_ERROR, RST_STREAM, WHOLE, block, data,
    headers, rst_stream,
};
use super::{Row, Want, row};
use crate::hostile::recorder::{Request, Then, Visit};
use Want::{Alive, Answer, Reset};

/// So many of these rows are answered otherwise than their section says.
pub(in super::super) const OTHERWISE: usize = 0;

const CONNECT: (&str, &str) = (":method", "CONNECT");
const WEBSOCKET: (&str, &str) = (":protocol", "websocket");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", HOST);

/// The app's side: it agrees (for `/fine…`), or claims to, or does not; then it sends back what it gets. For `/ends` it has
/// nothing to say, and listens.
pub(in super::super) fn switch(visit: &mut Visit, request: &Request) -> Then {
    if request.path == "/refused" {
        visit.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        return Then::Close;
    }
    let key = request.field("sec-websocket-key").unwrap_or_default();
    let accept = if request.path == "/claims" { "AAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned() } else { accept(key) };
    visit.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
    if request.path == "/ends" {
        visit.stream().shutdown(std::net::Shutdown::Write).unwrap();
        visit.until_closed();
    }
    while let Some(bytes) = visit.more() {
        if !visit.send(bytes) {
            break;
        }
    }
    Then::Close
}

/// The `Sec-WebSocket-Accept` of a key (RFC 6455 §4.2.2), by the tool that everybody has.
fn accept(key: &str) -> String {
    let script = "import base64,hashlib,sys;print(base64.b64encode(hashlib.sha1((sys.argv[1]+\
        '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode())";
    let output = std::process::Command::new("python3").args(["-c", script, key]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(in super::super) fn open(c: &mut Client, path: &str) {
    let fields = [CONNECT, WEBSOCKET, SCHEME, (":path", path), AUTHORITY, ("sec-websocket-version", "13")];
    c.send(headers(1, END_HEADERS, &block(&fields)));
}

fn opened(c: &mut Client) {
    open(c, "/fine");
    let head = c.until("the answer", |frame| frame.stream == 1);
    assert_eq!((head.status(), head.is(head.kind, END_STREAM)), (Some(200), false), "{head:?}");
}

/// What comes back is what was sent.
fn echoes(c: &mut Client, bytes: &[u8]) {
    c.send(data(1, 0, bytes));
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        got.extend(c.until("what was sent", |frame| frame.kind == DATA && frame.stream == 1).payload);
    }
    assert_eq!(got, bytes);
}

pub(in super::super) fn rows() -> Vec<Row> {
    vec![
        row("WebSocket 3", "it is offered", Alive, |c| {
            let offered = c.settings.as_ref().and_then(|settings| settings.setting(ENABLE_CONNECT_PROTOCOL));
            assert_eq!(offered, Some(1));
        }),
        row("WebSocket 4", "`:protocol` without CONNECT", Reset(PROTOCOL_ERROR), |c| {
            let fields = [(":method", "GET"), WEBSOCKET, SCHEME, (":path", "/evil"), AUTHORITY];
            c.send(headers(1, WHOLE, &block(&fields)));
        }),
        row("WebSocket 4", "without a `:path`", Reset(PROTOCOL_ERROR), |c| {
            c.send(headers(1, END_HEADERS, &block(&[CONNECT, WEBSOCKET, SCHEME, AUTHORITY])));
        }),
        row("WebSocket 4", "without a `:scheme`", Reset(PROTOCOL_ERROR), |c| {
            c.send(headers(1, END_HEADERS, &block(&[CONNECT, WEBSOCKET, (":path", "/evil"), AUTHORITY])));
        }),
        row("WebSocket 4", "`:protocol` twice", Reset(PROTOCOL_ERROR), |c| {
            let fields = [CONNECT, WEBSOCKET, WEBSOCKET, SCHEME, (":path", "/evil"), AUTHORITY];
            c.send(headers(1, END_HEADERS, &block(&fields)));
        }),
        row("WebSocket 4", "a protocol that is not known", Answer(501), |c| {
            let fields = [CONNECT, (":protocol", "connect-udp"), SCHEME, (":path", "/evil"), AUTHORITY];
            c.send(headers(1, END_HEADERS, &block(&fields)));
        }),
        row("WebSocket 5", "one that ends before it begins", Reset(PROTOCOL_ERROR), |c| {
            c.send(headers(1, WHOLE, &block(&[CONNECT, WEBSOCKET, SCHEME, (":path", "/evil"), AUTHORITY])));
        }),
        row("WebSocket 5", "with `upgrade`", Reset(PROTOCOL_ERROR), |c| {
            let fields = [CONNECT, WEBSOCKET, SCHEME, (":path", "/evil"), AUTHORITY, ("upgrade", "websocket")];
            c.send(headers(1, END_HEADERS, &block(&fields)));
        }),
        row("WebSocket 5", "bytes both ways", Alive, |c| {
            opened(c);
            echoes(c, b"hello");
            echoes(c, &[7; 10_000]);
        }),
        row("WebSocket 5", "bytes that come before the answer", Alive, |c| {
            open(c, "/fine");
            echoes(c, b"early");
        }),
        row("WebSocket 5", "its end is passed on both ways", Alive, |c| {
            opened(c);
            echoes(c, b"last");
            c.send(data(1, END_STREAM, b""));
            c.until("the end", |frame| frame.is(DATA, END_STREAM) && frame.stream == 1);
        }),
        row("WebSocket 5", "it is reset by the client", Alive, |c| {
            opened(c);
            c.send(rst_stream(1, 8));
        }),
        row("WebSocket 5", "the app does not want it", Answer(403), |c| open(c, "/refused")),
        row("WebSocket 5", "the app claims to have understood", Alive, |c| {
            open(c, "/claims");
            c.until("that it is reset", |frame| frame.kind == RST_STREAM && frame.stream == 1);
        }),
        row("WebSocket 5", "nobody answers to its host", Answer(404), |c| {
            let fields = [CONNECT, WEBSOCKET, SCHEME, (":path", "/evil"), (":authority", "other.example")];
            c.send(headers(1, END_HEADERS, &block(&fields)));
        }),
    ]
}
