//! Group A: where a request ends.

use super::{BAD, BAD_OR_CODING, BAD_OR_HEAD, CODING, Vector, broken, evil_text, get, latin1, passed, post, refused};
use crate::hostile::stage::HOST;

const MIB: usize = 1024 * 1024;

pub(super) fn all() -> Vec<(&'static str, Vec<Vector>)> {
    vec![
        ("a01", a01()),
        ("a02", a02()),
        ("a03", a03()),
        ("a04", a04()),
        ("a05", a05()),
        ("a06", a06()),
        ("a07", a07()),
        ("a07", a07_passed()),
        ("a08", a08()),
        ("a09", a09()),
        ("a10", a10()),
        ("a11", a11()),
        ("a12", a12()),
        ("a13", a13()),
        ("a14", a14()),
    ]
}

/// Whatever reads only one of the two takes the rest for the next request, one way or the other.
pub(in crate::hostile) fn a01() -> Vec<Vector> {
    let hidden = format!("0\r\n\r\n{}", evil_text());
    let length = hidden.len();
    let both = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        format!("content-length:{length}\r\ntransfer-encoding:chunked\r\n"),
        format!("CONTENT-LENGTH: {length}\r\nTRANSFER-ENCODING: chunked\r\n"),
        format!("Transfer-Encoding:\tchunked\r\nX: y\r\nContent-Length:\t{length}\r\n"),
        format!("Transfer-Encoding: chunked  \r\nContent-Length: {length}  \r\n"),
        format!("Connection: Content-Length\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        format!("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        format!("Connection: close\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!(
            "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n"
        ),
        format!("Expect: 100-continue\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
    ];
    let mut bytes: Vec<Vec<u8>> = both.iter().map(|lines| post(lines, &hidden)).collect();
    bytes.push([get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), b"0\r\n\r\n".to_vec()].concat());
    refused(bytes, BAD)
}

fn with_lengths(lines: &[&str]) -> Vec<Vector> {
    refused(lines.iter().map(|lines| post(lines, &format!("hello{}", evil_text()))), BAD)
}

pub(in crate::hostile) fn a02() -> Vec<Vector> {
    with_lengths(&[
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 6\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\ncontent-length: 50\r\n",
        "CONTENT-LENGTH: 5\r\nX: y\r\nContent-length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 05\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length:\r\nContent-Length: 5\r\n",
        "Connection: Content-Length\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
    ])
}

pub(in crate::hostile) fn a03() -> Vec<Vector> {
    with_lengths(&[
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 5 ,5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: ,5\r\n",
        "Content-Length: 5,,5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\nCONTENT-LENGTH: 5\r\n",
    ])
}

pub(in crate::hostile) fn a04() -> Vec<Vector> {
    let values = [
        "", " ", "+5", "-1", "-0", "+0", "0x5", "0x10", "1_0", " 5 5", "5;", "5;x=y", "5.0", "5e0", "5 6", "five",
        "5a", "a5", "5h", "0b101", "0o5", "\"5\"", "'5'", "(5)", "5\u{b}", "\u{c}5", "5\0", "\u{a0}5", "5\u{85}",
        "\u{b2}", "5-5", "5/5", "5:5", "NaN", "5\t5", "1,000", "%35",
    ];
    let lines: Vec<String> = values.iter().map(|value| format!("Content-Length: {value}\r\n")).collect();
    with_lengths(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(in crate::hostile) fn a05() -> Vec<Vector> {
    with_lengths(&[
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 340282366920938463463374607431768211461\r\n",
        "Content-Length: 100000000000000000000000000000000000000000000000000000000000000000000000000000005\r\n",
    ])
}

/// Whoever ignores the coding sees a request without a body, and the next one in it.
fn with_coding(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|lines| post(lines, &format!("0\r\n\r\n{}", evil_text()))).collect()
}

pub(in crate::hostile) fn a06() -> Vec<Vector> {
    let unknown = ["gzip", "xchunked", "identity", "deflate", "chunked1", "chunk", "x-chunked", "chunked-x", "br"];
    let unknown: Vec<String> = unknown.iter().map(|coding| format!("Transfer-Encoding: {coding}\r\n")).collect();
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    let not_last = with_coding(&[
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: chunked,gzip\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: chunked; a=b\r\n",
    ]);
    [refused(with_coding(&unknown), CODING), refused(not_last, BAD_OR_CODING)].concat()
}

pub(in crate::hostile) fn a07() -> Vec<Vector> {
    let bad = with_coding(&[
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: chunked, \r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: ,\r\n",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{b}\r\n",
        "Transfer-Encoding: \u{c}chunked\r\n",
        "Transfer-Encoding: \u{8}chunked\r\n",
        "Transfer-Encoding: \u{7f}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding:\n chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
    ]);
    let unknown = with_coding(&[
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \u{a0}chunked\r\n",
        "Transfer-Encoding: chunked\u{a0}\r\n",
        "Transfer-Encoding: \u{ff}chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: 'chunked'\r\n",
        "Transfer-Encoding: chunked chunked\r\n",
        "Transfer-Encoding: x chunked\r\n",
        "Transfer-Encoding: chunked x\r\n",
        "Transfer-Encoding: [chunked]\r\n",
    ]);
    [refused(bad, BAD), refused(unknown, BAD_OR_CODING)].concat()
}

/// Names of codings have no case (RFC 9112 §7), and blanks around a value are not part of it.
pub(in crate::hostile) fn a07_passed() -> Vec<Vector> {
    let lines =
        ["Transfer-Encoding:chunked\r\n", "transfer-encoding: \t chunked \t \r\n", "Transfer-Encoding: Chunked\r\n"];
    passed(lines.map(|lines| post(lines, "5\r\nhello\r\n0\r\n\r\n")))
}

pub(in crate::hostile) fn a08() -> Vec<Vector> {
    let fields = [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
        "transfer-encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding, keep-alive\r\n",
    ];
    let lines = fields.map(|fields| {
        let head = format!("POST /MARK HTTP/1.0\r\nHost: {HOST}\r\n{fields}\r\n");
        latin1(&format!("{head}5\r\nhello\r\n0\r\n\r\n{}", evil_text()))
    });
    let mut vectors = refused(lines, BAD);
    // Without a host: the same rules.
    let bare = latin1("POST /MARK HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    vectors.extend(refused([bare], BAD));
    vectors
}

/// A chunked request with these bytes after a good chunk.
fn chunked(rest: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", &format!("3\r\nabc\r\n{rest}"))
}

pub(in crate::hostile) fn a09() -> Vec<Vector> {
    let sizes = [
        "0x5",
        "+5",
        "-0",
        "-5",
        "5_0",
        "",
        " 5",
        "\t5",
        "5 ",
        "5\t",
        "00000000000000005",
        "FFFFFFFFFFFFFFFFF",
        "10000000000000005",
        "g",
        "5g",
        "5h",
        "5\0",
        "\"5\"",
        "5,5",
        "5 5",
        "5.",
        "\u{b}5",
        "5\u{a0}",
        "0X5",
        "0x",
        "#5",
        "five",
        ";",
        ";a=b",
    ];
    let bodies = sizes.iter().map(|size| chunked(&format!("{size}\r\nAFTER\r\n0\r\n\r\n{}", evil_text())));
    let mut vectors = broken(bodies, BAD);
    let first = post("Transfer-Encoding: chunked\r\n", "0x5\r\nAFTER\r\n0\r\n\r\n");
    let empty = post("Transfer-Encoding: chunked\r\n", "\r\n5\r\nAFTER\r\n0\r\n\r\n");
    vectors.extend(broken([first, empty], BAD));
    vectors
}

pub(in crate::hostile) fn a10() -> Vec<Vector> {
    let long = |bytes: usize| format!("5;{}\r\nAFTER\r\n0\r\n\r\n{}", "a".repeat(bytes), evil_text());
    let mut bodies = vec![long(MIB), long(5000), format!("5;a=\"{}", "b".repeat(MIB))];
    let lines = [
        "5;a\nb\r\n",
        "5;\n\r\n",
        "5;a=\r\r\n",
        "5\r\r;\r\n",
        "5\r;\r\n",
        "5;a=b\n",
        "5\n",
        "5\n\r\n",
        "5\r\r\n",
        "5;\0\r\n",
        "5;a\u{b}b\r\n",
        "5;a\u{7f}\r\n",
        "5;a=\"\n\"\r\n",
        "5;a=\"\r\"\r\n",
        "5\r",
        "5;a\r",
    ];
    bodies.extend(lines.iter().map(|line| format!("{line}AFTER\r\n0\r\n\r\n{}", evil_text())));
    // The last chunk, too.
    let lasts = ["0;a\n\r\n", "0\n\r\n", "0;\r\r\n\r\n", "0\r\r\n"];
    bodies.extend(lasts.iter().map(|last| format!("{last}AFTER{}", evil_text())));
    broken(bodies.iter().map(|body| chunked(body)), BAD_OR_HEAD)
}

pub(in crate::hostile) fn a11() -> Vec<Vector> {
    let bodies = [
        "5\r\nhelloXX5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello\r\r\n5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello\n5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello\rX5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello\n\r5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello \r\n5\r\nAFTER\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\nAFTER",
        "5\r\nhello\r0\r\n\r\nAFTER",
        "5\r\nhello\0\n5\r\nAFTER\r\n0\r\n\r\n",
        "0\r\nX\r\nAFTER",
        "0\r\n\nAFTER",
        "0\r\n\rAFTER",
        "0\r\n\r\r\nAFTER",
        "0\n\nAFTER",
    ];
    broken(bodies.iter().map(|body| chunked(&format!("{body}{}", evil_text()))), BAD)
}

/// Fields that must never count when they come after the body.
pub(in crate::hostile) fn a12() -> Vec<Vector> {
    let forbidden = [
        "Content-Length: 100",
        "content-length: 0",
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: gzip",
        "Host: evil.example",
        "Connection: close",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=6.6.6.6",
        "Upgrade: websocket",
        "Authorization: Basic ZXZpbA==",
        "Cookie: evil=1",
        "TE: trailers",
        "Trailer: Host",
        "Keep-Alive: timeout=1000",
        "Proxy-Authorization: Basic ZXZpbA==",
    ];
    let body = |trailers: &str| {
        let head = "Trailer: X-Checksum\r\nTransfer-Encoding: chunked\r\n";
        post(head, &format!("5\r\nhello\r\n0\r\n{trailers}X-Checksum: 907060870\r\n\r\n"))
    };
    let mut bytes: Vec<Vec<u8>> = forbidden.iter().map(|line| body(&format!("{line}\r\n"))).collect();
    bytes.push(body(&forbidden.map(|line| format!("{line}\r\n")).concat()));
    passed(bytes)
}

pub(in crate::hostile) fn a13() -> Vec<Vector> {
    let many = format!("0\r\n{}\r\n{}", "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(MIB / 40), evil_text());
    let one = format!("0\r\nX-Filler: {}\r\n\r\n{}", "a".repeat(MIB), evil_text());
    let name = format!("0\r\n{}: a\r\n\r\n{}", "X".repeat(MIB), evil_text());
    let endless = format!("0\r\n{}", "a".repeat(MIB));
    let mut vectors = broken([many, one, name, endless].map(|body| chunked(&body)), BAD_OR_HEAD);
    // What is no field is none after a body either.
    let lines = ["no colon", ": x", "X : y", " folded", "X: a\r\n folded", "X: a\nb", "X: \0", "X\u{ff}: y", "X: a\rb"];
    let bodies = lines.map(|line| chunked(&format!("0\r\n{line}\r\n\r\nAFTER{}", evil_text())));
    vectors.extend(broken(bodies, BAD));
    vectors
}

/// A GET may have a body; it is never the next request.
pub(in crate::hostile) fn a14() -> Vec<Vector> {
    let evil = evil_text();
    let marked = evil.len() - super::MARK.len();
    let request = |method: &str, fields: &str, body: &str| {
        latin1(&format!("{method} /MARK HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n{body}"))
    };
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    // The body that looks like a request has no mark in it, so that its length is known here.
    let plain = evil.replace(super::MARK, "");
    assert_eq!(plain.len(), marked);
    let mut bytes = Vec::new();
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "PROPFIND"] {
        bytes.push(request(method, &format!("Content-Length: {}", plain.len()), &plain));
        bytes.push(request(method, "Transfer-Encoding: chunked", &chunk(&plain)));
    }
    passed(bytes)
}
