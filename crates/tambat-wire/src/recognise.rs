//! What a server speaks, told by its own bytes: a greeting, or its answer to a question of a protocol that it may not know.

use std::fmt;

use crate::printable::quoted;
use crate::{Judgement, http, postgres, redis, tls};

/// Before its greeting or its answer is whole, so much of it is looked at.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What a server was heard to speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1 (RFC 9112), with this minor version.
    Http1(u8),
    /// HTTP/2 without TLS (RFC 9113 §3.3).
    H2c,
    /// The Redis protocol.
    Redis,
    /// The `PostgreSQL` protocol 3.0.
    Postgres,
    /// XMPP (RFC 6120).
    Xmpp,
    /// TLS (RFC 8446).
    Tls,
    /// SMTP (RFC 5321), with what it called itself.
    Smtp(String),
    /// FTP (RFC 959), with what it called itself.
    Ftp(String),
    /// SSH (RFC 4253), with what it called itself.
    Ssh(String),
    /// The protocol of `MySQL`, with the server's version.
    Mysql(String),
}

impl Spoken {
    /// The protocol as a manifest would name it, where it could.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Http1(_) => "http",
            Self::H2c => "h2c",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Xmpp => "xmpp",
            Self::Tls => "tls",
            Self::Smtp(_) => "smtp",
            Self::Ftp(_) => "ftp",
            Self::Ssh(_) => "ssh",
            Self::Mysql(_) => "mysql",
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1(minor) => write!(f, "HTTP/1.{minor}"),
            Self::H2c => f.write_str("HTTP/2 without TLS"),
            Self::Redis => f.write_str("the Redis protocol"),
            Self::Postgres => f.write_str("the PostgreSQL protocol 3.0"),
            Self::Xmpp => f.write_str("XMPP"),
            Self::Tls => f.write_str("TLS"),
            Self::Smtp(greeting) => write!(f, "SMTP ({greeting})"),
            Self::Ftp(greeting) => write!(f, "FTP ({greeting})"),
            Self::Ssh(greeting) => write!(f, "SSH ({greeting})"),
            Self::Mysql(version) => write!(f, "the MySQL protocol (server {version})"),
        }
    }
}

/// What these bytes of a server say so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognised {
    /// Nothing yet: more bytes are needed.
    Incomplete,
    /// None of the protocols known here.
    No,
    /// This one.
    Found(Spoken),
}

/// What is asked of a server that has not said what it speaks; each on a connection of its own, in this order: what
/// most servers speak comes first, and what some of them log as an attack last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Nothing is sent: some servers speak first.
    Silence,
    /// `GET /` over HTTP/1.1.
    Http,
    /// A client's preface of HTTP/2.
    H2c,
    /// A `ClientHello`.
    Tls,
    /// Redis' `PING`.
    Redis,
    /// A startup message of `PostgreSQL`.
    Postgres,
    /// The head of a stream.
    Xmpp,
}

impl Question {
    /// All of them, in the order in which to ask.
    pub const ALL: [Self; 7] =
        [Self::Silence, Self::Http, Self::H2c, Self::Tls, Self::Redis, Self::Postgres, Self::Xmpp];

    /// What to send once the connection stands. `host` is the value of a `Host` field.
    pub fn bytes(self, host: &str) -> Vec<u8> {
        match self {
            Self::Silence => Vec::new(),
            Self::Http => http::probe_request("/", host),
            Self::H2c => [H2C_PREFACE, EMPTY_SETTINGS].concat(),
            Self::Tls => tls::client_hello(None),
            Self::Redis => redis::PING.to_vec(),
            Self::Postgres => postgres::probe_startup(),
            Self::Xmpp => STREAM_HEAD.to_vec(),
        }
    }
}

/// What a server speaks that has sent this, whatever it was asked. Never takes for an answer what is only the echo of a
/// [`Question`]. [`Recognised::Incomplete`] is never returned for more than 4 KiB.
pub fn recognise(received: &[u8]) -> Recognised {
    let cut = received.len() > ANSWER_BYTES_MAX;
    let seen = &received[..received.len().min(ANSWER_BYTES_MAX)];
    let mut is_incomplete = seen.is_empty();
    for peek in PEEKERS {
        match peek(seen) {
            Recognised::Found(spoken) => return Recognised::Found(spoken),
            Recognised::Incomplete => is_incomplete = true,
            Recognised::No => {}
        }
    }
    if is_incomplete && !cut { Recognised::Incomplete } else { Recognised::No }
}

/// Each tells one protocol, or says that more is needed, or that it is none of it.
const PEEKERS: [fn(&[u8]) -> Recognised; 8] =
    [peek_http, peek_h2c, peek_tls, peek_line, peek_redis, peek_postgres, peek_xmpp, peek_mysql];

/// RFC 9113 §3.4.
const H2C_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113 §6.5: no length, type 4, no flags, stream 0.
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// RFC 6120 §4.2.
const STREAM_HEAD: &[u8] = b"<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' \
      xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// `HTTP/1.1 200`.
fn peek_http(bytes: &[u8]) -> Recognised {
    const BEGINNING: &[u8] = b"HTTP/1.";
    match bytes.strip_prefix(BEGINNING) {
        Some([minor @ b'0'..=b'9', b' ', a, b, c, ..]) if [a, b, c].iter().all(|byte| byte.is_ascii_digit()) => {
            Recognised::Found(Spoken::Http1(minor - b'0'))
        }
        Some(rest) if rest.len() < 5 => Recognised::Incomplete,
        Some(_) => Recognised::No,
        None => incomplete_if(BEGINNING.starts_with(bytes)),
    }
}

/// The server's preface is a frame of settings (RFC 9113 §3.4), each of 6 bytes.
fn peek_h2c(bytes: &[u8]) -> Recognised {
    let Some(head) = bytes.first_chunk::<9>() else {
        return incomplete_if(bytes.first() == Some(&0) && bytes.get(3).is_none_or(|kind| *kind == 4));
    };
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = u32::from_be_bytes([0, *a, *b, *c]);
    let is_settings = *kind == 4 && *flags == 0 && *stream == [0; 4] && length.is_multiple_of(6) && length < 1024;
    if is_settings { Recognised::Found(Spoken::H2c) } else { Recognised::No }
}

/// A record of the type alert, or one of the type handshake with a `ServerHello` (RFC 8446 §5.1 and §4).
fn peek_tls(bytes: &[u8]) -> Recognised {
    const SERVER_HELLO: u8 = 2;
    match bytes {
        [0x15, 3, 0..=4, 0, 2, 1 | 2, ..] | [0x16, 3, 0..=4, _, _, SERVER_HELLO, ..] => Recognised::Found(Spoken::Tls),
        [0x15 | 0x16, rest @ ..] => incomplete_if(rest.len() < 5 && rest.first().is_none_or(|major| *major == 3)),
        _ => Recognised::No,
    }
}

/// Servers that greet with a line: SSH (RFC 4253 §4.2), SMTP (RFC 5321 §4.2) and FTP (RFC 959 §5.4).
fn peek_line(bytes: &[u8]) -> Recognised {
    const BEGINNINGS: [&[u8]; 3] = [b"SSH-", b"220 ", b"220-"];
    let Some(beginning) = BEGINNINGS.iter().find(|beginning| bytes.starts_with(beginning)) else {
        return incomplete_if(BEGINNINGS.iter().any(|beginning| beginning.starts_with(bytes)));
    };
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Recognised::Incomplete };
    let line = &bytes[..end];
    let shown = quoted(line).trim_matches('"').to_owned();
    let says_ftp = line.windows(3).any(|word| word.eq_ignore_ascii_case(b"ftp"));
    Recognised::Found(match (beginning, says_ftp) {
        (&b"SSH-", _) => Spoken::Ssh(shown),
        (_, true) => Spoken::Ftp(shown),
        (_, false) => Spoken::Smtp(shown),
    })
}

/// `+PONG`, or an error that begins with a word in capitals (RESP 2, "Simple errors").
fn peek_redis(bytes: &[u8]) -> Recognised {
    const PONG: &[u8] = b"+PONG\r\n";
    const CODE_BYTES_MIN: usize = 3;
    if bytes.starts_with(PONG) {
        return Recognised::Found(Spoken::Redis);
    }
    let Some(error) = bytes.strip_prefix(b"-") else { return incomplete_if(PONG.starts_with(bytes)) };
    let word = error.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match error.get(word) {
        Some(b' ') if word >= CODE_BYTES_MIN && error.windows(2).any(|end| end == b"\r\n") => {
            Recognised::Found(Spoken::Redis)
        }
        Some(b' ') if word >= CODE_BYTES_MIN => Recognised::Incomplete,
        Some(_) => Recognised::No,
        None => Recognised::Incomplete,
    }
}

/// An answer to a startup.
fn peek_postgres(bytes: &[u8]) -> Recognised {
    match postgres::judge(bytes) {
        Judgement::Ready | Judgement::NotYet(_) => Recognised::Found(Spoken::Postgres),
        Judgement::Incomplete => Recognised::Incomplete,
        Judgement::Wrong(_) => Recognised::No,
    }
}

/// The head of a server's stream has an `id` (RFC 6120 §4.7.3), which that of a client has not.
fn peek_xmpp(bytes: &[u8]) -> Recognised {
    const STREAM: &[u8] = b"<stream:stream";
    let text = bytes.trim_ascii_start();
    let begins = |word: &[u8]| text.starts_with(word) || word.starts_with(text);
    if text.is_empty() || !(begins(b"<?xml") || begins(STREAM)) {
        return Recognised::No;
    }
    let Some(at) = text.windows(STREAM.len()).position(|word| word == STREAM) else { return Recognised::Incomplete };
    let Some(end) = text[at..].iter().position(|byte| *byte == b'>') else { return Recognised::Incomplete };
    let has_id = text[at..at + end].windows(4).any(|word| word == b" id=");
    if has_id { Recognised::Found(Spoken::Xmpp) } else { Recognised::No }
}

/// A packet with the number 0 (its length is little-endian), which begins with the version 10 of the protocol and the
/// server's own version as a text that ends with NUL (the packet of protocol version 10 in the manual of `MySQL`'s source).
fn peek_mysql(bytes: &[u8]) -> Recognised {
    const VERSION_BYTES_MAX: usize = 64;
    let [_, _, 0, 0, 10, version @ ..] = bytes else {
        return incomplete_if(matches!(bytes, [] | [_] | [_, _] | [_, _, 0] | [_, _, 0, 0]) && bytes.len() < 5);
    };
    let Some(end) = version.iter().position(|byte| *byte == 0) else {
        return incomplete_if(version.len() < VERSION_BYTES_MAX);
    };
    match version.get(..end) {
        Some(text) if text.first().is_some_and(u8::is_ascii_digit) && text.iter().all(u8::is_ascii_graphic) => {
            Recognised::Found(Spoken::Mysql(quoted(text).trim_matches('"').to_owned()))
        }
        _ => Recognised::No,
    }
}

fn incomplete_if(more_may_tell: bool) -> Recognised {
    if more_may_tell { Recognised::Incomplete } else { Recognised::No }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MYSQL: &[u8] = b"\x4a\0\0\0\x0a8.0.36-debian\0\x08\0\0\0salt";
    const XMPP: &[u8] = b"<?xml version='1.0'?><stream:stream id='17' version='1.0' xml:lang='en' \
          xmlns:stream='http://etherx.jabber.org/streams' from='localhost' xmlns='jabber:client'><stream:features>";

    fn answers() -> Vec<(&'static [u8], Spoken)> {
        vec![
            (b"HTTP/1.1 404 Not Found\r\n", Spoken::Http1(1)),
            (b"HTTP/1.0 200\r\n", Spoken::Http1(0)),
            (&[0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100], Spoken::H2c),
            (EMPTY_SETTINGS, Spoken::H2c),
            (&[0x15, 3, 3, 0, 2, 2, 40], Spoken::Tls),
            (&[0x16, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3], Spoken::Tls),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", Spoken::Ssh("SSH-2.0-OpenSSH_9.2p1 Debian".to_owned())),
            (b"220 mail.example.com ESMTP Postfix\r\n", Spoken::Smtp("220 mail.example.com ESMTP Postfix".to_owned())),
            (b"220-Welcome to Pure-FTPd\r\n220 x\r\n", Spoken::Ftp("220-Welcome to Pure-FTPd".to_owned())),
            (b"+PONG\r\n", Spoken::Redis),
            (b"-ERR wrong number of arguments for 'get' command\r\n", Spoken::Redis),
            (b"-NOAUTH Authentication required.\r\n", Spoken::Redis),
            (b"R\0\0\0\x08\0\0\0\0", Spoken::Postgres),
            (XMPP, Spoken::Xmpp),
            (MYSQL, Spoken::Mysql("8.0.36-debian".to_owned())),
        ]
    }

    #[test]
    fn each_is_recognised_whole_and_no_prefix_is_taken_for_another() {
        for (answer, spoken) in answers() {
            assert_eq!(recognise(answer), Recognised::Found(spoken.clone()), "{}", answer.escape_ascii());
            for end in 0..answer.len() {
                let part = recognise(&answer[..end]);
                let fine = part == Recognised::Incomplete || part == Recognised::Found(spoken.clone());
                assert!(fine, "{}: {part:?}", answer[..end].escape_ascii());
            }
        }
    }

    #[test]
    fn no_question_is_an_answer() {
        for question in Question::ALL {
            let echo = question.bytes("localhost:1");
            assert!(!matches!(recognise(&echo), Recognised::Found(_)), "{question:?}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_none() {
        let others: [&[u8]; 8] = [
            b"hello\n",
            b"ERROR\r\n",
            b"* OK IMAP4rev1\r\n",
            b"HTTP/2 200\r\n",
            b"-oops\r\n",
            b"<html><body>",
            b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
            b"\0\0\0\x0c\0\0\0\x01abcdefgh",
        ];
        for other in others {
            assert_eq!(recognise(other), Recognised::No, "{}", other.escape_ascii());
        }
        assert_eq!(recognise(&[b'<'; ANSWER_BYTES_MAX + 1]), Recognised::No);
    }

    #[test]
    fn a_client_hello_is_framed() {
        let hello = tls::client_hello(None);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
    }

    proptest! {
        #[test]
        fn what_is_found_stays_found_when_more_follows(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), tail in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            if let Recognised::Found(spoken) = recognise(&bytes) {
                prop_assert_eq!(recognise(&[bytes, tail].concat()), Recognised::Found(spoken));
            }
        }

        #[test]
        fn after_each_answer_anything_may_follow(index in 0..15_usize, tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (answer, spoken) = answers()[index].clone();
            prop_assert_eq!(recognise(&[answer, &tail].concat()), Recognised::Found(spoken));
        }
    }
}
