//! The bytes of groups A and B, by case: a list for each, with what must come of them.

mod framing;
mod head;

pub(super) use framing::*;
pub(super) use head::*;

use super::stage::HOST;

/// Stands in the bytes where each sending puts a word of its own.
pub(super) const MARK: &str = "MARK";

/// A status and a name in `Tambat-Error`.
pub(super) type Code = (u16, &'static str);

const BAD: &[Code] = &[(400, "bad-request")];
const CODING: &[Code] = &[(501, "coding-unknown")];
/// Where two rules are broken at once.
const BAD_OR_CODING: &[Code] = &[(400, "bad-request"), (501, "coding-unknown")];
const METHOD: &[Code] = &[(405, "method-refused")];
const LINE: &[Code] = &[(414, "line-too-long")];
const HEAD: &[Code] = &[(431, "head-too-big")];
const BAD_OR_HEAD: &[Code] = &[(400, "bad-request"), (431, "head-too-big")];
const VERSION: &[Code] = &[(505, "version-unknown")];
const BAD_OR_VERSION: &[Code] = &[(400, "bad-request"), (505, "version-unknown")];

/// What must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// The router answers so and closes; the app sees no byte.
    Refused(&'static [Code]),
    /// The same, but its head has been good and the app may have seen it, and its body up to the break.
    Broken(&'static [Code]),
    /// It is one good request; the app answers it.
    Passed,
}

/// One request, or what looks like one.
#[derive(Debug, Clone)]
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) outcome: Outcome,
}

/// All of them, with the case they belong to.
pub(super) fn all() -> Vec<(&'static str, Vec<Vector>)> {
    let mut all = framing::all();
    all.extend(head::all());
    all
}

/// A request that nobody has sent: whoever serves it has been smuggled to.
pub(super) fn evil(mark: &str) -> Vec<u8> {
    format!("GET /evil/{mark} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()
}

fn vector(bytes: Vec<u8>, outcome: Outcome) -> Vector {
    let mut name: String = bytes.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    name.truncate(300);
    Vector { name, bytes, outcome }
}

fn refused(bytes: impl IntoIterator<Item = Vec<u8>>, codes: &'static [Code]) -> Vec<Vector> {
    bytes.into_iter().map(|bytes| vector(bytes, Outcome::Refused(codes))).collect()
}

fn broken(bytes: impl IntoIterator<Item = Vec<u8>>, codes: &'static [Code]) -> Vec<Vector> {
    bytes.into_iter().map(|bytes| vector(bytes, Outcome::Broken(codes))).collect()
}

fn passed(bytes: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vector> {
    bytes.into_iter().map(|bytes| vector(bytes, Outcome::Passed)).collect()
}

/// A character up to U+00FF is that byte, so that `"\u{ff}"` is one.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect()
}

/// A POST with these lines after Host, each with its end, and this body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    latin1(&format!("POST /MARK HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{body}"))
}

/// A GET with these lines after Host, each with its end.
fn get(lines: &str) -> Vec<u8> {
    latin1(&format!("GET /MARK HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"))
}

/// This request line, and no field but Host.
fn line(line: &str) -> Vec<u8> {
    latin1(&format!("{line}\r\nHost: {HOST}\r\n\r\n"))
}

/// As text, for the bodies that carry it.
fn evil_text() -> String {
    String::from_utf8(evil(MARK)).unwrap()
}
