//! Connections that somebody might send, and then changed as somebody might who means no good.

use crate::http1::Random;

/// What stands where nobody expects it.
const WORDS: [&str; 44] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    " ",
    "\t",
    "\0",
    "\x0b",
    "\u{85}",
    "\u{a0}",
    ":",
    ": ",
    ",",
    ";",
    "/",
    "..",
    "%2e",
    "%00",
    "#",
    "\\",
    "?",
    "0\r\n\r\n",
    "5",
    "0x5",
    "+5",
    "-1",
    "chunked",
    "identity",
    "close",
    "keep-alive",
    "upgrade",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/2.0",
    "GET",
    "HEAD",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Host: b\r\n",
    "Expect: 100-continue\r\n",
    "GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
];

const METHODS: [&str; 9] = ["GET", "GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "M-SEARCH"];

const TARGETS: [&str; 12] = [
    "/",
    "/a",
    "/a/../b",
    "/a//b",
    "/%2e%2e/%41%2f",
    "/x?y=/../z&GET",
    "//a",
    "http://a/x",
    "http://A:80/",
    "*",
    "/a|b{}",
    "/;x/..;/",
];

const FIELDS: [&str; 24] = [
    "Accept: text/html",
    "X-Empty:",
    "X-Spaces:  \t a b \t",
    "Cookie: a=b; c=d",
    "cookie: e=f",
    "X_Y: z",
    "Connection: close",
    "Connection: keep-alive, x-gone",
    "X-Gone: 1",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Upgrade: websocket",
    "Connection: upgrade",
    "Via: 1.0 other",
    "X-Forwarded-For: 1.2.3.4",
    "Forwarded: for=1.2.3.4",
    "X-Latin: caf\u{e9} \u{85}\u{a0}",
    "Trailer: X-Sum",
    "Transfer-Encodin: chunked",
    "Content-Lengt: 5",
    "X-Inside: GET /evil HTTP/1.1",
    "Content-Type: a/b",
    "Max-Forwards: 3",
    "From: a@b",
];

/// What bodies are made of: what would be a request or an answer if somebody took it for one.
const BODIES: [&str; 8] = [
    "",
    "hello",
    "0\r\n\r\n",
    "GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n",
    "\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "\0\u{ff}\n\r",
];

impl Random {
    fn of_these<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Up to four requests, one behind the other.
pub(crate) fn client(random: &mut Random) -> Vec<u8> {
    let mut sent = String::new();
    for _ in 0..=random.below(4) {
        let target = random.of_these(&TARGETS);
        let method = if target == "*" { "OPTIONS" } else { random.of_these(&METHODS) };
        let version = if random.one_in(8) { "1.0" } else { "1.1" };
        sent += &format!("{method} {target} HTTP/{version}\r\nHost: a\r\n");
        sent += &fields(random);
        if random.one_in(6) {
            sent += "Expect: 100-continue\r\n";
        }
        let body = if version == "1.1" || random.one_in(2) { framed(random) } else { "\r\n".to_owned() };
        sent += &body;
    }
    latin(&sent)
}

/// An answer, interim ones before it.
pub(crate) fn answer(random: &mut Random) -> Vec<u8> {
    let mut sent = String::new();
    for _ in 0..random.below(3) {
        if random.one_in(3) {
            sent += &format!("HTTP/1.1 {} X\r\n{}\r\n", random.of_these(&["100", "102", "103"]), fields(random));
        }
    }
    let status = random.of_these(&["200 OK", "200 OK", "404 Not Found", "204 No Content", "304 Not Modified", "500 "]);
    let status = if random.one_in(25) { "101 Go\r\nUpgrade: websocket\r\nConnection: upgrade" } else { status };
    let version = if random.one_in(12) { "1.0" } else { "1.1" };
    sent += &format!("HTTP/{version} {status}\r\n{}", fields(random));
    sent += &if random.one_in(5) { format!("\r\n{}", random.of_these(&BODIES)) } else { framed(random) };
    latin(&sent)
}

/// Changes bytes at up to three places.
pub(crate) fn mutated(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(7) {
            0 | 1 => drop(bytes.splice(at..at, latin(random.of_these(&WORDS)))),
            2 => drop(bytes.splice(at..end, latin(random.of_these(&WORDS)))),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            _ if random.one_in(3) => bytes.truncate(at),
            _ => bytes.extend(latin(random.of_these(&WORDS))),
        }
    }
    bytes
}

/// Who speaks when, and how much at a time.
pub(crate) fn schedule(random: &mut Random) -> Vec<u8> {
    (0..random.below(40)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

fn fields(random: &mut Random) -> String {
    let count = if random.one_in(40) { 92 } else { random.below(5) };
    let field = |_| {
        let field = random.of_these(&FIELDS);
        // Names are read in any case.
        if random.one_in(4) { field.to_ascii_uppercase() + "\r\n" } else { field.to_owned() + "\r\n" }
    };
    (0..count).map(field).collect()
}

/// The field that frames a body, the end of the head, and the body.
fn framed(random: &mut Random) -> String {
    let body = random.of_these(&BODIES);
    let bytes = body.chars().count();
    match random.below(4) {
        0 => "\r\n".to_owned(),
        1 | 2 => format!("Content-Length: {bytes}\r\n\r\n{body}"),
        _ => {
            let extension = random.of_these(&["", "", ";a=b", " ; c"]);
            let trailers = random.of_these(&["", "", "X-Sum: 1\r\n", "Content-Length: 9\r\nX-Sum:2\r\nHost: evil\r\n"]);
            let chunk = if bytes == 0 { String::new() } else { format!("{bytes:X}{extension}\r\n{body}\r\n") };
            format!("Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0{extension}\r\n{trailers}\r\n")
        }
    }
}

/// Each character as the byte of its number.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}
