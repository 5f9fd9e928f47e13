//! How a line of the access log is written. Bytes of an attacker stand escaped in it: no line ends early, and no
//! terminal obeys it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tambat_model::ErrorCode;

use crate::calendar::date;
use crate::listener::ListenerKind;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// A terse line for people.
    Text,
}

/// Who ended an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The client: it broke off.
    Client,
    /// The target: its answer was complete, or it broke off.
    Target,
    /// The router: it answered itself, or cut the exchange off.
    Router,
}

impl EndedBy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Target => "target",
            Self::Router => "router",
        }
    }
}

/// One request, when it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// The client's address as the router sees it.
    pub(crate) client: IpAddr,
    pub(crate) method: &'a [u8],
    /// As it was asked for, port included.
    pub(crate) host: &'a [u8],
    /// The request's target as the client wrote it.
    pub(crate) asked: &'a [u8],
    pub(crate) request_id: &'a [u8],
    /// W3C Trace Context, where the request has one.
    pub(crate) traceparent: Option<&'a [u8]>,
    /// The process port; none: no route was found.
    pub(crate) route: Option<&'a str>,
    /// The instance; none: the request was sent to nobody.
    pub(crate) target: Option<&'a str>,
    /// 0: there was no answer.
    pub(crate) status: u16,
    /// From the client, head and body.
    pub(crate) bytes_in: u64,
    /// To the client.
    pub(crate) bytes_out: u64,
    /// From the request's first byte to its end.
    pub(crate) took: Duration,
    /// Until the answer began.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) ended_by: EndedBy,
    pub(crate) code: Option<ErrorCode>,
    pub(crate) retries: u8,
    /// The version of TLS that the client's connection has.
    pub(crate) tls: Option<&'a str>,
    /// It came on a stream of HTTP/2.
    pub(crate) is_http2: bool,
}

/// One stream, when it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamRecord<'a> {
    /// The client's address as the router sees it.
    pub(crate) client: IpAddr,
    /// Where it arrived.
    pub(crate) listener: ListenerKind,
    /// At which port.
    pub(crate) port: u16,
    /// The name that it said: the `server_name` of its TLS, the domain of its XMPP.
    pub(crate) name: Option<&'a str>,
    /// The process port; none: no route was found.
    pub(crate) route: Option<&'a str>,
    /// The instance; none: it came to nobody.
    pub(crate) target: Option<&'a str>,
    /// From the client.
    pub(crate) bytes_in: u64,
    /// From the target.
    pub(crate) bytes_out: u64,
    /// Of a session of datagrams: how many came from the client, and how many from the target.
    pub(crate) datagrams: Option<(u64, u64)>,
    /// From when it was known whom it wants to its end.
    pub(crate) took: Duration,
    pub(crate) ended_by: EndedBy,
    pub(crate) how: How,
    pub(crate) code: Option<ErrorCode>,
    /// The version of TLS that ended here.
    pub(crate) tls: Option<&'a str>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// In order.
    Fin,
    /// One side has broken it off.
    Reset,
    /// Nothing moved on it for too long.
    Idle,
    /// It had its time: its target or the router stopped.
    Drained,
    /// It came to nobody.
    Refused,
    /// Its client went away before it came to somebody.
    Gone,
    /// Others needed its place.
    Displaced,
}

impl How {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Displaced => "displaced",
        }
    }
}

/// Appends one line with its end.
pub(crate) fn write_stream(format: AccessFormat, at: SystemTime, record: &StreamRecord<'_>, out: &mut Vec<u8>) {
    match format {
        AccessFormat::Json => stream_json(at, record, out),
        AccessFormat::Text => stream_text(at, record, out),
    }
}

fn stream_json(at: SystemTime, r: &StreamRecord<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    timestamp(at, out);
    out.extend_from_slice(b"\",\"client\":\"");
    address(r.client, out);
    out.extend_from_slice(b"\",\"listener\":\"");
    out.extend_from_slice(r.listener.label(r.port).as_bytes());
    out.extend_from_slice(b"\",\"bytes_in\":");
    number(r.bytes_in, out);
    out.extend_from_slice(b",\"bytes_out\":");
    number(r.bytes_out, out);
    if let Some((from_client, from_target)) = r.datagrams {
        out.extend_from_slice(b",\"datagrams_in\":");
        number(from_client, out);
        out.extend_from_slice(b",\"datagrams_out\":");
        number(from_target, out);
    }
    out.extend_from_slice(b",\"ms\":");
    milliseconds(r.took, out);
    out.extend_from_slice(b",\"ended_by\":\"");
    out.extend_from_slice(r.ended_by.as_str().as_bytes());
    member(b"end", r.how.as_str().as_bytes(), out);
    let code = r.code.map(ErrorCode::as_str);
    let rest =
        [(&b"name"[..], r.name), (b"process", r.route), (b"target", r.target), (b"error", code), (b"tls", r.tls)];
    for (key, value) in rest {
        if let Some(value) = value {
            member(key, value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\"}\n");
}

fn stream_text(at: SystemTime, r: &StreamRecord<'_>, out: &mut Vec<u8>) {
    timestamp(at, out);
    out.push(b' ');
    address(r.client, out);
    out.extend_from_slice(b" stream ");
    out.extend_from_slice(r.listener.label(r.port).as_bytes());
    if let Some(name) = r.name {
        out.push(b' ');
        escaped(name.as_bytes(), b"\\x", |byte| byte == b' ', out);
    }
    out.push(b' ');
    milliseconds(r.took, out);
    out.extend_from_slice(b"ms ");
    carried(r.bytes_in, r.datagrams.map(|(from_client, _)| from_client), b" in ", out);
    carried(r.bytes_out, r.datagrams.map(|(_, from_target)| from_target), b" out ", out);
    out.extend_from_slice(r.target.or(r.route).unwrap_or("-").as_bytes());
    out.extend_from_slice(b" (");
    if let Some(code) = r.code {
        out.extend_from_slice(code.as_str().as_bytes());
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(r.how.as_str().as_bytes());
    out.extend_from_slice(b" by the ");
    out.extend_from_slice(r.ended_by.as_str().as_bytes());
    out.extend_from_slice(b")\n");
}

/// `14B in `, `14B/2 in ` of two datagrams.
fn carried(bytes: u64, datagrams: Option<u64>, way: &[u8], out: &mut Vec<u8>) {
    number(bytes, out);
    out.push(b'B');
    if let Some(count) = datagrams {
        out.push(b'/');
        number(count, out);
    }
    out.extend_from_slice(way);
}

/// Appends one line with its end.
pub(crate) fn write(format: AccessFormat, at: SystemTime, record: &Record<'_>, out: &mut Vec<u8>) {
    match format {
        AccessFormat::Json => json(at, record, out),
        AccessFormat::Text => text(at, record, out),
    }
}

fn json(at: SystemTime, r: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    timestamp(at, out);
    out.extend_from_slice(b"\",\"client\":\"");
    address(r.client, out);
    for (key, value) in [(&b"method"[..], r.method), (b"host", r.host), (b"path", r.asked)] {
        member(key, value, out);
    }
    out.extend_from_slice(b"\",\"status\":");
    number(r.status.into(), out);
    // The numbers come in a row, so that the strings' ends need no second look.
    for (key, value) in [(&b",\"bytes_in\":"[..], r.bytes_in), (b",\"bytes_out\":", r.bytes_out)] {
        out.extend_from_slice(key);
        number(value, out);
    }
    out.extend_from_slice(b",\"ms\":");
    milliseconds(r.took, out);
    if let Some(first) = r.first_byte {
        out.extend_from_slice(b",\"first_byte_ms\":");
        milliseconds(first, out);
    }
    if r.retries > 0 {
        out.extend_from_slice(b",\"retries\":");
        number(r.retries.into(), out);
    }
    out.extend_from_slice(b",\"ended_by\":\"");
    out.extend_from_slice(r.ended_by.as_str().as_bytes());
    member(b"request_id", r.request_id, out);
    let code = r.code.map(|code| code.as_str().as_bytes());
    let rest = [
        (&b"process"[..], r.route.map(str::as_bytes)),
        (b"target", r.target.map(str::as_bytes)),
        (b"error", code),
        (b"tls", r.tls.map(str::as_bytes)),
        (b"http", r.is_http2.then_some(&b"2"[..])),
        (b"traceparent", r.traceparent),
    ];
    for (key, value) in rest {
        if let Some(value) = value {
            member(key, value, out);
        }
    }
    out.extend_from_slice(b"\"}\n");
}

/// A string member after another, the end of which it writes; its own end is left to what follows.
fn member(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\",\"");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":\"");
    escaped(value, b"\\u00", |byte| byte == b'"' || byte == b'\\', out);
}

fn text(at: SystemTime, r: &Record<'_>, out: &mut Vec<u8>) {
    timestamp(at, out);
    out.push(b' ');
    address(r.client, out);
    for (before, value) in [(b' ', r.method), (b' ', r.host)] {
        out.push(before);
        escaped(value, b"\\x", |byte| byte == b' ', out);
    }
    escaped(r.asked, b"\\x", |byte| byte == b' ', out);
    out.push(b' ');
    number(r.status.into(), out);
    out.push(b' ');
    milliseconds(r.took, out);
    out.extend_from_slice(b"ms ");
    number(r.bytes_out, out);
    out.extend_from_slice(b"B ");
    out.extend_from_slice(r.target.or(r.route).unwrap_or("-").as_bytes());
    if r.is_http2 {
        out.extend_from_slice(b" HTTP/2");
    }
    if let Some(code) = r.code {
        out.extend_from_slice(b" (");
        out.extend_from_slice(code.as_str().as_bytes());
        out.extend_from_slice(b", ended by the ");
        out.extend_from_slice(r.ended_by.as_str().as_bytes());
        out.push(b')');
    }
    out.push(b'\n');
}

/// Printable ASCII as it is, but for what `special` names; every other byte as its number behind `mark`.
fn escaped(value: &[u8], mark: &[u8], special: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| !(b' '..=b'~').contains(byte) || special(*byte)) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(mark);
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 0xf)];
        out.extend_from_slice(&[digit(rest[at] >> 4), digit(rest[at])]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn address(address: IpAddr, out: &mut Vec<u8>) {
    use std::io::Write as _;
    match address {
        IpAddr::V4(v4) => {
            for (nth, octet) in v4.octets().into_iter().enumerate() {
                if nth > 0 {
                    out.push(b'.');
                }
                number(octet.into(), out);
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

fn milliseconds(duration: Duration, out: &mut Vec<u8>) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(us / 1_000, out);
    out.push(b'.');
    digits::<3>(us % 1_000, out);
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The last `N` digits.
fn digits<const N: usize>(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// UTC with milliseconds, as RFC 3339 has it.
fn timestamp(at: SystemTime, out: &mut Vec<u8>) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    digits::<4>(year, out);
    for (before, value) in
        [(b'-', month), (b'-', day), (b'T', second / 3_600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(before);
        digits::<2>(value, out);
    }
    out.push(b'.');
    digits::<3>(since.subsec_millis().into(), out);
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            client: [127, 0, 0, 1].into(),
            method: b"GET",
            host: b"shop.example:7080",
            asked: b"/a b\"\\\x1b[31m\xff?x=1",
            request_id: b"0190-abc",
            traceparent: Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            route: Some("web"),
            target: Some("web.1"),
            status: 504,
            bytes_in: 120,
            bytes_out: 1_024,
            took: Duration::from_micros(1_234_567),
            first_byte: Some(Duration::from_micros(42)),
            ended_by: EndedBy::Router,
            code: Some(ErrorCode::ResponseTimeout),
            retries: 1,
            tls: Some("1.3"),
            is_http2: true,
        }
    }

    fn line(format: AccessFormat, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(format, UNIX_EPOCH + Duration::from_millis(1_795_384_455_042), record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_of_json() {
        let expected = concat!(
            r#"{"time":"2026-11-22T21:54:15.042Z","client":"127.0.0.1","method":"GET","host":"shop.example:7080","#,
            r#""path":"/a b\u0022\u005c\u001b[31m\u00ff?x=1","status":504,"bytes_in":120,"bytes_out":1024,"#,
            r#""ms":1234.567,"first_byte_ms":0.042,"retries":1,"ended_by":"router","request_id":"0190-abc","#,
            r#""process":"web","target":"web.1","error":"response-timeout","tls":"1.3","http":"2","#,
            r#""traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#,
            "\n"
        );
        assert_eq!(line(AccessFormat::Json, &record()), expected);
    }

    #[test]
    fn a_line_for_people() {
        let expected = "2026-11-22T21:54:15.042Z 127.0.0.1 GET shop.example:7080/a\\x20b\"\\\\x1b[31m\\xff?x=1 504 \
                        1234.567ms 1024B web.1 HTTP/2 (response-timeout, ended by the router)\n";
        assert_eq!(line(AccessFormat::Text, &record()), expected);
        let good = Record { code: None, status: 200, asked: b"/", target: None, is_http2: false, ..record() };
        assert!(line(AccessFormat::Text, &good).ends_with(" GET shop.example:7080/ 200 1234.567ms 1024B web\n"));
    }

    fn stream_record() -> StreamRecord<'static> {
        StreamRecord {
            client: [192, 0, 2, 7].into(),
            listener: ListenerKind::Named("0.0.0.0:6379".parse().unwrap()),
            port: 6_379,
            name: Some("a.example"),
            route: Some("cache"),
            target: Some("cache.1"),
            bytes_in: 14,
            bytes_out: 7,
            datagrams: None,
            took: Duration::from_micros(1_234_567),
            ended_by: EndedBy::Client,
            how: How::Fin,
            code: None,
            tls: Some("1.3"),
        }
    }

    fn stream_line(format: AccessFormat, record: &StreamRecord<'_>) -> String {
        let mut out = Vec::new();
        write_stream(format, UNIX_EPOCH + Duration::from_millis(1_795_384_455_042), record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_stream_has_a_line_of_its_own_kind() {
        let carried = stream_record();
        let expected = concat!(
            r#"{"time":"2026-11-22T21:54:15.042Z","client":"192.0.2.7","listener":"0.0.0.0:6379","bytes_in":14,"#,
            r#""bytes_out":7,"ms":1234.567,"ended_by":"client","end":"fin","name":"a.example","process":"cache","#,
            r#""target":"cache.1","tls":"1.3"}"#,
            "\n"
        );
        assert_eq!(stream_line(AccessFormat::Json, &carried), expected);
        let expected = "2026-11-22T21:54:15.042Z 192.0.2.7 stream 0.0.0.0:6379 a.example 1234.567ms 14B in 7B out \
                        cache.1 (fin by the client)\n";
        assert_eq!(stream_line(AccessFormat::Text, &carried), expected);
        let refused = StreamRecord {
            name: Some("a\"b \u{1b}"),
            route: None,
            target: None,
            how: How::Refused,
            ended_by: EndedBy::Router,
            code: Some(ErrorCode::NoRoute),
            tls: None,
            ..carried
        };
        let ends = r#""ended_by":"router","end":"refused","name":"a\u0022b \u001b","error":"no-route"}"#;
        assert!(stream_line(AccessFormat::Json, &refused).ends_with(&format!("{ends}\n")));
        let ends = " a\"b\\x20\\x1b 1234.567ms 14B in 7B out - (no-route, refused by the router)\n";
        assert!(stream_line(AccessFormat::Text, &refused).ends_with(ends));
    }

    #[test]
    fn a_session_of_datagrams_says_how_many_and_a_port_of_the_kernels_choice_is_named() {
        let listener = ListenerKind::Named("127.0.0.1:0".parse().unwrap());
        let session = StreamRecord { listener, port: 4_053, datagrams: Some((2, 1)), name: None, ..stream_record() };
        let part =
            r#""listener":"127.0.0.1:4053","bytes_in":14,"bytes_out":7,"datagrams_in":2,"datagrams_out":1,"ms":"#;
        let line = stream_line(AccessFormat::Json, &session);
        assert!(line.contains(part), "{line}");
        let line = stream_line(AccessFormat::Text, &session);
        assert!(line.contains(" stream 127.0.0.1:4053 1234.567ms 14B/2 in 7B/1 out cache.1 "), "{line}");
    }

    #[test]
    fn every_byte_stays_on_its_line() {
        let all: Vec<u8> = (0..=255).collect();
        for format in [AccessFormat::Json, AccessFormat::Text] {
            let hostile = Record { method: &all, host: &all, asked: &all, request_id: &all, ..record() };
            let line = line(format, &hostile);
            assert!(line.strip_suffix('\n').unwrap().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        }
    }
}
