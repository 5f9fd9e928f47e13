//! RFC 9113 §8: requests.

use super::super::client::Client;
use super::super::frames::{
    END_HEADERS, END_STREAM, HOST, PROTOCOL_ERROR, WHOLE, block, data, get, headers, post, request,
};
use super::{Row, Want, row};
use Want::{Answer, Goaway, Reset};

/// So many of these rows are answered otherwise than their section says.
pub(in super::super) const OTHERWISE: usize = 0;

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/evil");
const AUTHORITY: (&str, &str) = (":authority", HOST);

/// A GET that must not come through, with these fields.
fn evil(c: &mut Client, fields: &[(&str, &str)]) {
    c.send(headers(1, WHOLE, &request("GET", "/evil", fields)));
}

/// One of these fields alone.
fn only(c: &mut Client, fields: &[(&str, &str)]) {
    c.send(headers(1, WHOLE, &block(fields)));
}

/// A POST with a body of so many bytes, says its length.
fn of_length(c: &mut Client, length: &str, flags: u8) {
    c.send(headers(1, flags, &request("POST", "/half", &[("content-length", length)])));
}

const MALFORMED: Want = Reset(PROTOCOL_ERROR);

pub(in super::super) fn rows() -> Vec<Row> {
    [sequence(), lengths(), names_and_values(), of_connections(), pseudo(), hosts(), connects()]
        .into_iter()
        .flatten()
        .collect()
}

/// §8.1.
fn sequence() -> Vec<Row> {
    vec![
        row("8.1", "a second field section that does not end the stream", MALFORMED, |c| {
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, END_HEADERS, &block(&[("x-sum", "1")]))].concat());
        }),
        row("8.1", "trailers", Answer(200), |c| {
            c.send([post(1, "/fine"), data(1, 0, b"x"), headers(1, WHOLE, &block(&[("x-sum", "1")]))].concat());
        }),
        row("8.1", "trailers without a body", Answer(200), |c| {
            c.send([post(1, "/fine"), headers(1, WHOLE, &block(&[("x-sum", "1")]))].concat());
        }),
        row("8.1", "a pseudo-header field in trailers", MALFORMED, |c| {
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, WHOLE, &block(&[(":path", "/evil")]))].concat());
        }),
        row("8.1", "an indexed pseudo-header field in trailers", MALFORMED, |c| {
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, WHOLE, &[0x82])].concat());
        }),
        row("8.1", "a pseudo-header field behind another in trailers", MALFORMED, |c| {
            let trailers = block(&[("x-sum", "1"), (":path", "/evil")]);
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, WHOLE, &trailers)].concat());
        }),
        row("8.1", "an upper-case name in trailers", Goaway(PROTOCOL_ERROR), |c| {
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, WHOLE, &block(&[("X-Sum", "1")]))].concat());
        }),
        row("8.1", "a blank at the end of a trailer", MALFORMED, |c| {
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, WHOLE, &block(&[("x-sum", "1 ")]))].concat());
        }),
        row("8.1", "a field of connections in trailers", MALFORMED, |c| {
            let trailers = block(&[("transfer-encoding", "chunked")]);
            c.send([post(1, "/half"), data(1, 0, b"x"), headers(1, WHOLE, &trailers)].concat());
        }),
    ]
}

/// §8.1.1.
fn lengths() -> Vec<Row> {
    vec![
        row("8.1.1", "a body as long as it says", Answer(200), |c| {
            c.send(headers(1, END_HEADERS, &request("POST", "/fine", &[("content-length", "4")])));
            c.send([data(1, 0, b"bo"), data(1, END_STREAM, b"dy")].concat());
        }),
        row("8.1.1", "a body that is longer", MALFORMED, |c| {
            of_length(c, "1", END_HEADERS);
            c.send(data(1, END_STREAM, b"body"));
        }),
        row("8.1.1", "a body that is longer, in pieces", MALFORMED, |c| {
            of_length(c, "3", END_HEADERS);
            c.send([data(1, 0, b"bo"), data(1, END_STREAM, b"dy")].concat());
        }),
        row("8.1.1", "a body that is shorter", MALFORMED, |c| {
            of_length(c, "5", END_HEADERS);
            c.send(data(1, END_STREAM, b"body"));
        }),
        row("8.1.1", "a body that is shorter, in pieces", MALFORMED, |c| {
            of_length(c, "5", END_HEADERS);
            c.send([data(1, 0, b"bo"), data(1, END_STREAM, b"dy")].concat());
        }),
        row("8.1.1", "a body that ends with trailers before it is whole", MALFORMED, |c| {
            of_length(c, "5", END_HEADERS);
            c.send([data(1, 0, b"body"), headers(1, WHOLE, &block(&[("x-sum", "1")]))].concat());
        }),
        row("8.1.1", "a length and no body", MALFORMED, |c| of_length(c, "5", WHOLE)),
        row("8.1.1", "a length of 0 and no body", Answer(200), |c| {
            c.send(headers(1, WHOLE, &request("POST", "/fine", &[("content-length", "0")])));
        }),
        row("8.1.1", "a length that is no number", MALFORMED, |c| of_length(c, "x", END_HEADERS)),
        row("8.1.1", "a negative length", MALFORMED, |c| of_length(c, "-1", END_HEADERS)),
        row("8.1.1", "a length beyond 64 bits", MALFORMED, |c| of_length(c, "18446744073709551616", END_HEADERS)),
        row("8.1.1", "two lengths that differ", MALFORMED, |c| {
            let lengths = [("content-length", "1"), ("content-length", "2")];
            c.send(headers(1, END_HEADERS, &request("POST", "/evil", &lengths)));
        }),
        row("8.1.1", "the same length twice", Answer(400), |c| {
            let lengths = [("content-length", "0"), ("content-length", "0")];
            c.send(headers(1, WHOLE, &request("POST", "/evil", &lengths)));
        }),
    ]
}

/// §8.2.1.
fn names_and_values() -> Vec<Row> {
    vec![
        row("8.2.1", "an upper-case name", MALFORMED, |c| evil(c, &[("X-Test", "1")])),
        row("8.2.1", "a space in a name", MALFORMED, |c| evil(c, &[("x test", "1")])),
        row("8.2.1", "a colon in a name", MALFORMED, |c| evil(c, &[("x:test", "1")])),
        row("8.2.1", "an empty name", MALFORMED, |c| evil(c, &[("", "1")])),
        row("8.2.1", "a byte beyond ASCII in a name", MALFORMED, |c| evil(c, &[("x-é", "1")])),
        row("8.2.1", "CR LF in a name", MALFORMED, |c| evil(c, &[("x\r\ny", "1")])),
        row("8.2.1", "NUL in a value", MALFORMED, |c| evil(c, &[("x", "a\0b")])),
        row("8.2.1", "CR in a value", MALFORMED, |c| evil(c, &[("x", "a\rb")])),
        row("8.2.1", "LF in a value", MALFORMED, |c| evil(c, &[("x", "a\nb")])),
        row("8.2.1", "CR LF and a field in a value", MALFORMED, |c| evil(c, &[("x", "a\r\nhost: evil")])),
        row("8.2.1", "a space before a value", MALFORMED, |c| evil(c, &[("x", " a")])),
        row("8.2.1", "a space behind a value", MALFORMED, |c| evil(c, &[("x", "a ")])),
        row("8.2.1", "a tab before a value", MALFORMED, |c| evil(c, &[("x", "\ta")])),
        row("8.2.1", "an empty value", Answer(200), |c| {
            c.send(headers(1, WHOLE, &request("GET", "/fine", &[("x", "")])));
        }),
    ]
}

/// §8.2.2 and §8.2.3.
fn of_connections() -> Vec<Row> {
    vec![
        row("8.2.2", "`connection`", MALFORMED, |c| evil(c, &[("connection", "keep-alive")])),
        row("8.2.2", "`keep-alive`", MALFORMED, |c| evil(c, &[("keep-alive", "timeout=5")])),
        row("8.2.2", "`proxy-connection`", MALFORMED, |c| evil(c, &[("proxy-connection", "keep-alive")])),
        row("8.2.2", "`transfer-encoding`", MALFORMED, |c| evil(c, &[("transfer-encoding", "chunked")])),
        row("8.2.2", "`upgrade`", MALFORMED, |c| evil(c, &[("upgrade", "websocket")])),
        row("8.2.2", "`te` for a coding", MALFORMED, |c| evil(c, &[("te", "trailers, deflate;q=0.5")])),
        row("8.2.2", "`te` for trailers", Answer(200), |c| {
            c.send(headers(1, WHOLE, &request("GET", "/fine", &[("te", "trailers")])));
        }),
        row("8.2.3", "crumbs of cookies", Answer(200), |c| {
            c.send(headers(1, WHOLE, &request("GET", "/fine", &[("cookie", "a=b"), ("cookie", "c=d")])));
        }),
    ]
}

/// §8.3 and §8.3.1.
fn pseudo() -> Vec<Row> {
    vec![
        row("8.3", "a pseudo-header field that is not known", MALFORMED, |c| evil(c, &[(":test", "1")])),
        row("8.3", "one that is not known, first", MALFORMED, |c| {
            only(c, &[(":test", "1"), METHOD, SCHEME, PATH, AUTHORITY]);
        }),
        row("8.3", "`:status` in a request", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, PATH, AUTHORITY, (":status", "200")]);
        }),
        row("8.3", "a pseudo-header field behind another field", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH]);
        }),
        row("8.3.1", "no `:method`", MALFORMED, |c| only(c, &[SCHEME, PATH, AUTHORITY])),
        row("8.3.1", "no `:scheme`", MALFORMED, |c| only(c, &[METHOD, PATH, AUTHORITY])),
        row("8.3.1", "no `:path`", MALFORMED, |c| only(c, &[METHOD, SCHEME, AUTHORITY])),
        row("8.3.1", "no `:path`, and `host`", MALFORMED, |c| only(c, &[METHOD, SCHEME, ("host", HOST)])),
        row("8.3.1", "`:method` twice", MALFORMED, |c| only(c, &[METHOD, METHOD, SCHEME, PATH, AUTHORITY])),
        row("8.3.1", "`:scheme` twice", MALFORMED, |c| only(c, &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY])),
        row("8.3.1", "`:path` twice", MALFORMED, |c| only(c, &[METHOD, SCHEME, PATH, PATH, AUTHORITY])),
        row("8.3.1", "`:authority` twice", MALFORMED, |c| only(c, &[METHOD, SCHEME, PATH, AUTHORITY, AUTHORITY])),
        row("8.3.1", "an empty `:path`", MALFORMED, |c| only(c, &[METHOD, SCHEME, (":path", ""), AUTHORITY])),
        row("8.3.1", "a `:path` without a slash", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, (":path", "evil"), AUTHORITY]);
        }),
        row("8.3.1", "`*` for a GET", MALFORMED, |c| only(c, &[METHOD, SCHEME, (":path", "*"), AUTHORITY])),
        row("8.3.1", "`*` for OPTIONS", Answer(204), |c| {
            only(c, &[(":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY]);
        }),
        row("8.3.1", "a space in `:path`", MALFORMED, |c| only(c, &[METHOD, SCHEME, (":path", "/evil x"), AUTHORITY])),
        row("8.3.1", "CR LF in `:path`", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, (":path", "/evil HTTP/1.1\r\nx: y"), AUTHORITY]);
        }),
        row("8.3.1", "NUL in `:path`", MALFORMED, |c| only(c, &[METHOD, SCHEME, (":path", "/evil\0"), AUTHORITY])),
        row("8.3.1", "a URL in `:path`", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, (":path", "http://shop.example/evil"), AUTHORITY]);
        }),
        row("8.3.1", "`%00` in `:path`", Answer(400), |c| only(c, &[METHOD, SCHEME, (":path", "/evil%00"), AUTHORITY])),
        row("8.3.1", "a space in `:method`", MALFORMED, |c| only(c, &[(":method", "GE T"), SCHEME, PATH, AUTHORITY])),
        row("8.3.1", "CR LF in `:method`", MALFORMED, |c| {
            only(c, &[(":method", "GET /evil HTTP/1.1\r\nx: y\r\n\r\n"), SCHEME, PATH, AUTHORITY]);
        }),
        row("8.3.1", "an empty `:method`", MALFORMED, |c| only(c, &[(":method", ""), SCHEME, PATH, AUTHORITY])),
        row("8.3.1", "TRACE", Answer(405), |c| only(c, &[(":method", "TRACE"), SCHEME, PATH, AUTHORITY])),
        row("8.3.1", "a `:scheme` of another kind", MALFORMED, |c| {
            only(c, &[METHOD, (":scheme", "ftp"), PATH, AUTHORITY]);
        }),
        row("8.3.1", "a `:scheme` that is none", MALFORMED, |c| {
            only(c, &[METHOD, (":scheme", "ht tp"), PATH, AUTHORITY]);
        }),
    ]
}

/// §8.3.1: whom it is for.
fn hosts() -> Vec<Row> {
    vec![
        row("8.3.1", "neither `:authority` nor `host`", Answer(400), |c| only(c, &[METHOD, SCHEME, PATH])),
        row("8.3.1", "`host` alone", Answer(200), |c| only(c, &[METHOD, SCHEME, (":path", "/fine"), ("host", HOST)])),
        row("8.3.1", "`:authority` and the same `host`", Answer(200), |c| {
            only(c, &[METHOD, SCHEME, (":path", "/fine"), AUTHORITY, ("host", HOST)]);
        }),
        row("8.3.1", "`:authority` and another `host`", MALFORMED, |c| evil(c, &[("host", "other.example")])),
        row("8.3.1", "`:authority` and another port in `host`", MALFORMED, |c| evil(c, &[("host", "shop.example:81")])),
        row("8.3.1", "two `host` fields", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, PATH, ("host", HOST), ("host", HOST)]);
        }),
        row("8.3.1", "CR LF in `:authority`", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, PATH, (":authority", "shop.example\r\nx: y")]);
        }),
        row("8.3.1", "a space in `:authority`", MALFORMED, |c| {
            only(c, &[METHOD, SCHEME, PATH, (":authority", "shop.example x")]);
        }),
        row("8.3.1", "a user in `:authority`", Answer(400), |c| {
            only(c, &[METHOD, SCHEME, PATH, (":authority", "user@shop.example")]);
        }),
        row("8.3.1", "port 0 in `:authority`", Answer(400), |c| {
            only(c, &[METHOD, SCHEME, PATH, (":authority", "shop.example:0")]);
        }),
        row("8.3.1", "an `:authority` that nobody answers to", Answer(404), |c| {
            only(c, &[METHOD, SCHEME, PATH, (":authority", "other.example")]);
        }),
    ]
}

/// §8.4, §8.5.
fn connects() -> Vec<Row> {
    const CONNECT: (&str, &str) = (":method", "CONNECT");
    vec![
        row("8.5", "CONNECT", Answer(405), |c| only(c, &[CONNECT, (":authority", "shop.example:443")])),
        row("8.5", "CONNECT with a `:path`", MALFORMED, |c| only(c, &[CONNECT, PATH, AUTHORITY])),
        row("8.5", "CONNECT with a `:scheme`", MALFORMED, |c| only(c, &[CONNECT, SCHEME, AUTHORITY])),
        row("8.5", "CONNECT without an `:authority`", Answer(405), |c| only(c, &[CONNECT])),
        row("8.1", "a HEAD has no body in its answer", Answer(200), |c| {
            c.send(headers(1, WHOLE, &request("HEAD", "/fine", &[])));
        }),
        row("8.1", "requests one after the other", Answer(200), |c| {
            for stream in [1, 3, 5] {
                c.send(get(stream, "/fine"));
            }
        }),
    ]
}
