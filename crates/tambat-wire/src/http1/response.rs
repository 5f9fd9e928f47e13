//! The head of a response: what it means for its body and both connections, and how it is sent on.
//!
//! `httparse` finds the lines; the rules are ours, and as strict as those for requests. What is kept is copied in the
//! longest runs of received bytes, so that an ordinary head costs a handful of copies.

use tambat_model::ErrorCode;

use super::facts::{Head, MethodKind, Refusal, Version};
use super::fields::{Coding, Connection, coding, lines, named_by_connection, number, offset, put_number};
use super::limits::{FieldSlots, Limits};

/// What each head of a response begins with; the digit behind it tells 1.0 from 1.1.
const VERSION_BEGINS: &[u8] = b"HTTP/1.";

/// The version's own length, and where the space behind it stands.
const VERSION_BYTES: usize = VERSION_BEGINS.len() + 1;

/// `HTTP/1.1 200`: where the reason phrase begins with its space, or the line ends.
const STATUS_BYTES: usize = VERSION_BYTES + 4;

/// What the responses of one exchange get on their way to the client.
#[derive(Debug, Clone, Copy)]
pub struct ResponseRules<'a> {
    /// Our own pseudonym in `Via`; empty: no `Via` is added.
    pub via: &'a str,
    /// Now (RFC 9110 §5.6.7), for a response that does not say when it was made (§6.6.1); empty: nothing is said.
    pub date: &'a str,
    /// The request's id, in place of what the app says in `X-Request-ID`; empty: none.
    pub request_id: &'a [u8],
    /// Fields that are set in place of the app's; an empty value removes the field. They have been checked: names are
    /// tokens that frame nothing, values hold no line ends.
    pub headers: &'a [(String, String)],
    /// The value of a `Set-Cookie` that is added: the client stays with its target.
    pub set_cookie: Option<&'a [u8]>,
    /// May the client send another request on this connection? Not while the router drains.
    pub keep_alive_allowed: bool,
    /// How large a head may be.
    pub limits: &'a Limits,
}

/// How the body of a response comes from the target (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none, whatever the fields say.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
    /// Whatever comes until the target closes.
    UntilClose,
}

/// What a head says to the client about the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentFraming {
    /// Nothing: there is no body, or it lasts until we close.
    Nothing,
    Length(u64),
    Chunked,
}

/// What a head says to the client about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentConnection {
    /// Nothing: to HTTP/1.1, that it stays.
    Nothing,
    Close,
    KeepAlive,
    Upgrade,
}

/// The head of a response that breaks no rule.
#[derive(Debug)]
pub struct ResponseHead<'b, 's> {
    bytes: &'b [u8],
    fields: &'s [httparse::Header<'b>],
    status: u16,
    version: Version,
    said: Said,
}

/// What the fields say that concern one connection only. Fields are numbered by bits: there are at most 100.
#[derive(Debug, Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    connection: Connection,
    /// What is not sent on.
    dropped: u128,
    /// `Upgrade`, which is sent on with a 101 only.
    upgrades: u128,
    has_date: bool,
}

/// Reads the head at the beginning of `bytes`. Refusals are the target's fault: `bad-response`.
pub fn response_head<'b, 's>(
    bytes: &'b [u8],
    slots: &'s mut FieldSlots<'b>,
    limits: &Limits,
) -> Head<ResponseHead<'b, 's>> {
    let shared = bytes.len().min(VERSION_BEGINS.len());
    if bytes[..shared] != VERSION_BEGINS[..shared] {
        return refused("the target's answer does not begin with HTTP/1.1 or HTTP/1.0");
    }
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, slots.within(limits)) {
        Ok(httparse::Status::Complete(length)) if length <= limits.head_bytes_max => length,
        Ok(httparse::Status::Partial) if bytes.len() < limits.head_bytes_max => return Head::Incomplete,
        Ok(_) => return refused("the head of the target's answer is too long"),
        Err(error) => return refused(parse_cause(error)),
    };
    let head = ResponseHead {
        bytes: &bytes[..length],
        fields: parsed.headers,
        status: parsed.code.unwrap_or_default(),
        version: if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 },
        said: Said::default(),
    };
    match head.checked(limits) {
        Ok(head) => Head::Found(head),
        Err(cause) => refused(cause),
    }
}

const LINE_END: &str = "a line in the head of the target's answer does not end with CR LF";

const BAD_CONNECTION: &str = "the `Connection` of the target's answer is not a list of names";

fn refused<T>(cause: &'static str) -> Head<T> {
    Head::Refused(Refusal { code: ErrorCode::BadResponse, cause })
}

fn parse_cause(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::TooManyHeaders => "the target's answer has too many fields",
        httparse::Error::Version => "the version of the target's answer is not HTTP/1.1 or HTTP/1.0",
        httparse::Error::Status => "the status line of the target's answer is malformed",
        httparse::Error::HeaderName => "the name of a field in the target's answer holds what none may",
        httparse::Error::HeaderValue => "the value of a field in the target's answer holds what none may",
        httparse::Error::NewLine | httparse::Error::Token => LINE_END,
    }
}

impl<'b, 's> ResponseHead<'b, 's> {
    /// How many bytes it takes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a head has a status line at least.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// 100 to 999 (RFC 9110 §15: what is above 599 is passed on, too).
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The target's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Does another head follow (RFC 9110 §15.2)? After 101 none does.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Its fields, as they came.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'b, 's> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// Does it say what the connection becomes (RFC 9110 §7.8)?
    pub fn has_upgrade(&self) -> bool {
        self.said.upgrades != 0
    }

    /// How the body comes, as the answer to such a request (RFC 9112 §6.3).
    pub fn framing(&self, method: MethodKind) -> ResponseFraming {
        if method == MethodKind::Head || matches!(self.status, ..200 | 204 | 304) {
            return ResponseFraming::None;
        }
        match (self.said.chunked, self.said.length) {
            (true, _) => ResponseFraming::Chunked,
            (false, Some(length)) => ResponseFraming::Length(length),
            (false, None) => ResponseFraming::UntilClose,
        }
    }

    /// Will the target take another request on this connection, once the body is over (RFC 9112 §9.3)?
    pub fn keeps_connection(&self) -> bool {
        let keeps = match self.version {
            Version::Http11 => !self.said.connection.close,
            Version::Http10 => self.said.connection.keep_alive && !self.said.connection.close,
        };
        // It announces a body that these never have: who knows what comes behind the head.
        let announces = match self.status {
            204 => self.said.chunked || self.said.length.is_some_and(|length| length > 0),
            304 => self.said.chunked,
            _ => false,
        };
        keeps && !announces
    }

    /// What a head without a body may still say of its length: what a `GET` would have got (RFC 9110 §8.6).
    pub(super) fn length_said(&self) -> SentFraming {
        match self.said.length {
            Some(length) if self.status >= 200 && self.status != 204 => SentFraming::Length(length),
            _ => SentFraming::Nothing,
        }
    }

    /// Appends the head as it is sent to the client: always HTTP/1.1. Interim heads get no fields of the route.
    pub(super) fn write(
        &self,
        framing: SentFraming,
        connection: SentConnection,
        rules: &ResponseRules<'_>,
        out: &mut Vec<u8>,
    ) {
        let route_headers = if self.is_interim() { &[] } else { rules.headers };
        self.write_kept(self.dropped(route_headers), out);
        match framing {
            SentFraming::Nothing => {}
            SentFraming::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                put_number(out, length);
                out.extend_from_slice(b"\r\n");
            }
            SentFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        match connection {
            SentConnection::Nothing => {}
            SentConnection::Close => out.extend_from_slice(b"Connection: close\r\n"),
            SentConnection::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            SentConnection::Upgrade => out.extend_from_slice(b"Connection: Upgrade\r\n"),
        }
        if !rules.via.is_empty() {
            write_line(&["Via: ", self.version.as_str(), " ", rules.via].map(str::as_bytes), out);
        }
        if !self.is_interim() {
            if !self.said.has_date && !rules.date.is_empty() {
                write_line(&[b"Date: ", rules.date.as_bytes()], out);
            }
            write_ours(rules, out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The status line and the fields that stay, in runs.
    fn write_kept(&self, dropped: u128, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1");
        let mut run = VERSION_BYTES;
        if self.bytes[STATUS_BYTES] != b' ' {
            // The space stands even where no reason follows (RFC 9112 §4).
            out.extend_from_slice(&self.bytes[run..STATUS_BYTES]);
            out.push(b' ');
            run = STATUS_BYTES;
        }
        let mut left = dropped;
        while left != 0 {
            let nth = left.trailing_zeros() as usize;
            left &= left - 1;
            out.extend_from_slice(&self.bytes[run..self.line_start(nth)]);
            run = self.line_start(nth + 1);
        }
        out.extend_from_slice(&self.bytes[run..self.bytes.len() - 2]);
    }

    /// Where the line of a field begins; of the one behind the last: the empty line.
    fn line_start(&self, nth: usize) -> usize {
        match self.fields.get(nth) {
            Some(field) => offset(self.bytes, field.name.as_bytes()),
            None => self.bytes.len() - 2,
        }
    }

    /// The head, if every line of it keeps the rules.
    fn checked(mut self, limits: &Limits) -> Result<Self, &'static str> {
        if self.status < 100 {
            return Err("the status of the target's answer is below 100");
        }
        self.check_lines(limits)?;
        self.said = self.read_fields()?;
        match (self.said.chunked, self.said.length, self.version) {
            (true, Some(_), _) => Err("the target's answer has both `Content-Length` and `Transfer-Encoding`"),
            (true, _, Version::Http10) => Err("the target's answer has a `Transfer-Encoding` in HTTP/1.0"),
            _ => Ok(self),
        }
    }

    /// Lines end with CR LF and are not too long.
    fn check_lines(&self, limits: &Limits) -> Result<(), &'static str> {
        let lines = lines(self.bytes, self.fields).ok_or(LINE_END)?;
        if lines.first_bytes > limits.line_bytes_max || lines.field_bytes > limits.field_bytes_max {
            return Err("a line in the head of the target's answer is too long");
        }
        Ok(())
    }

    fn read_fields(&self) -> Result<Said, &'static str> {
        let mut said = Said::default();
        for (nth, field) in self.fields.iter().enumerate() {
            let bit = 1_u128 << nth;
            match Kind::of(field.name) {
                Kind::Other => continue,
                Kind::Date => {
                    said.has_date = true;
                    continue;
                }
                Kind::Upgrade => said.upgrades |= bit,
                Kind::Dropped => {}
                Kind::Connection => said.connection.read(field.value).map_err(|_| BAD_CONNECTION)?,
                Kind::ContentLength => {
                    let length = number(field.value)
                        .ok_or("the `Content-Length` of the target's answer is not a number of bytes")?;
                    if said.length.replace(length).is_some() {
                        return Err("the target's answer has two `Content-Length` fields");
                    }
                }
                Kind::TransferEncoding => {
                    if said.chunked {
                        return Err("the target's answer has two `Transfer-Encoding` fields");
                    }
                    if coding(field.value) != Coding::Chunked {
                        return Err("the `Transfer-Encoding` of the target's answer is not `chunked`");
                    }
                    said.chunked = true;
                }
            }
            said.dropped |= bit;
        }
        if said.connection.names > 0 {
            said.dropped |= self.named_in_connection();
        }
        Ok(said)
    }

    /// The fields that `Connection` names (RFC 9110 §7.6.1).
    fn named_in_connection(&self) -> u128 {
        let mut named = 0;
        for connection in self.fields.iter().filter(|field| Kind::of(field.name) == Kind::Connection) {
            named_by_connection(connection.value).for_each(|name| named |= self.named(name));
        }
        named
    }

    fn named(&self, name: &[u8]) -> u128 {
        let matches = |field: &httparse::Header<'_>| field.name.as_bytes().eq_ignore_ascii_case(name);
        self.fields.iter().enumerate().filter(|(_, field)| matches(field)).fold(0, |bits, (nth, _)| bits | 1 << nth)
    }

    fn dropped(&self, route_headers: &[(String, String)]) -> u128 {
        let mut dropped = self.said.dropped;
        if self.status == 101 {
            dropped &= !self.said.upgrades;
        }
        route_headers.iter().fold(dropped, |bits, (name, _)| bits | self.named(name.as_bytes()))
    }
}

/// What a field is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    Date,
    /// It concerns the target's connection only, or is ours to set.
    Dropped,
    Connection,
    ContentLength,
    TransferEncoding,
    Upgrade,
}

impl Kind {
    /// Told apart by length first: most fields need no comparison.
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is("te") => Self::Dropped,
            4 if is("date") => Self::Date,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::Dropped,
            12 if is("x-request-id") => Self::Dropped,
            14 if is("content-length") => Self::ContentLength,
            16 if is("proxy-connection") => Self::Dropped,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            18 if is("proxy-authenticate") => Self::Dropped,
            25 if is("proxy-authentication-info") => Self::Dropped,
            _ => Self::Other,
        }
    }
}

/// What we say ourselves of a final response.
fn write_ours(rules: &ResponseRules<'_>, out: &mut Vec<u8>) {
    if !rules.request_id.is_empty() {
        write_line(&[b"X-Request-ID: ", rules.request_id], out);
    }
    for (name, value) in rules.headers.iter().filter(|(_, value)| !value.is_empty()) {
        write_line(&[name.as_bytes(), b": ", value.as_bytes()], out);
    }
    if let Some(cookie) = rules.set_cookie {
        write_line(&[b"Set-Cookie: ", cookie], out);
    }
}

fn write_line(parts: &[&[u8]], out: &mut Vec<u8>) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { line_bytes_max: 8192, field_bytes_max: 16_384, head_bytes_max: 65_536, fields_max: 100 };

    fn rules() -> ResponseRules<'static> {
        ResponseRules {
            via: "tambat",
            date: "",
            request_id: b"id-1",
            headers: &[],
            set_cookie: None,
            keep_alive_allowed: true,
            limits: &LIMITS,
        }
    }

    fn read<T>(bytes: &[u8], with: impl FnOnce(&ResponseHead<'_, '_>) -> T) -> Result<Option<T>, &'static str> {
        match response_head(bytes, &mut FieldSlots::new(), &LIMITS) {
            Head::Incomplete => Ok(None),
            Head::Found(head) => Ok(Some(with(&head))),
            Head::Refused(refusal) => {
                assert_eq!(refusal.code, ErrorCode::BadResponse);
                Err(refusal.cause)
            }
        }
    }

    fn sent(head: &str, rules: &ResponseRules<'_>) -> String {
        let mut out = Vec::new();
        read(head.as_bytes(), |head| head.write(SentFraming::Nothing, SentConnection::Nothing, rules, &mut out))
            .unwrap()
            .expect(head);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn is_refused(head: &str) {
        assert!(read(head.as_bytes(), |_| ()).is_err(), "{head:?}");
    }

    #[test]
    fn a_head_is_found_whole_and_no_part_of_it_is() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
        let found = read(wire, |head| {
            (head.len(), head.status(), head.framing(MethodKind::Get), head.keeps_connection(), head.fields().count())
        });
        assert_eq!(found, Ok(Some((wire.len() - 5, 200, ResponseFraming::Length(5), true, 2))));
        for end in 0..wire.len() - 5 {
            assert_eq!(read(&wire[..end], |_| ()), Ok(None), "{end}");
        }
    }

    #[test]
    fn a_response_without_a_date_gets_one() {
        let rules = ResponseRules { via: "", date: "Sun, 06 Nov 1994 08:49:37 GMT", request_id: b"", ..rules() };
        let sent_of = |head: &str| sent(head, &rules);
        assert_eq!(
            sent_of("HTTP/1.1 200 OK\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
        );
        // Its own is as good as any, and an interim one needs none.
        for whole in ["HTTP/1.1 200 OK\r\ndAte: today\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"] {
            assert_eq!(sent_of(whole), whole);
        }
    }

    #[test]
    fn c05_what_is_no_status_line() {
        for line in [
            "HELLO",
            "HTTP/2 200 OK",
            "HTTP/1.2 200 OK",
            "HTTP/0.9 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 099 x",
            "HTTP/1.1\t200 OK",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1 200 a\0b",
            "HTTP/1.1 200 a\rb",
            "HTTP/1.1 +20 OK",
            "HTTP/1.1.1 200 OK",
            "\r\nHTTP/1.1 200 OK",
            "\nHTTP/1.1 200 OK",
            " HTTP/1.1 200 OK",
        ] {
            is_refused(&format!("{line}\r\n\r\n"));
        }
        for head in ["HTTP/1.1 200\n\r\n", "HTTP/1.1 200 OK\n\r\n", "HTTP/1.1 200 OK\r\n\n", "HTTP/1.1 200 OK\n\n"] {
            is_refused(head);
        }
        // Junk is not waited for.
        is_refused("HE");
        is_refused("\r");
    }

    #[test]
    fn c08_lengths_and_codings_are_as_strict_as_in_requests() {
        for fields in [
            "Content-Length: 5, 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: +5",
            "Content-Length: -1",
            "Content-Length:",
            "Content-Length: 0x10",
            "Content-Length: 1_0",
            "Content-Length: 5 5",
            "Content-Length: 5;",
            "Content-Length: 18446744073709551616",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:",
            "Transfer-Encoding: \u{a0}chunked",
        ] {
            is_refused(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
        }
        is_refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let framing = |fields: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            read(head.as_bytes(), |head| head.framing(MethodKind::Get)).unwrap().expect("whole")
        };
        assert_eq!(framing("content-length:\t007 \r\n"), ResponseFraming::Length(7));
        assert_eq!(framing("Content-Length: 18446744073709551615\r\n"), ResponseFraming::Length(u64::MAX));
        assert_eq!(framing("TRANSFER-ENCODING: Chunked\r\n"), ResponseFraming::Chunked);
        assert_eq!(framing(""), ResponseFraming::UntilClose);
    }

    #[test]
    fn c11_some_responses_have_no_body_whatever_they_say() {
        let of = |status: u16, fields: &str, method| {
            let head = format!("HTTP/1.1 {status} X\r\n{fields}\r\n\r\n");
            read(head.as_bytes(), |head| (head.framing(method), head.length_said(), head.keeps_connection()))
                .unwrap()
                .expect("whole")
        };
        let (none, nothing) = (ResponseFraming::None, SentFraming::Nothing);
        assert_eq!(of(200, "Content-Length: 5", MethodKind::Head), (none, SentFraming::Length(5), true));
        assert_eq!(of(200, "Transfer-Encoding: chunked", MethodKind::Head), (none, nothing, true));
        assert_eq!(of(304, "Content-Length: 5", MethodKind::Get), (none, SentFraming::Length(5), true));
        assert_eq!(of(304, "Transfer-Encoding: chunked", MethodKind::Get), (none, nothing, false));
        assert_eq!(of(204, "Content-Length: 0", MethodKind::Get), (none, nothing, true));
        assert_eq!(of(204, "Content-Length: 5", MethodKind::Get), (none, nothing, false));
        assert_eq!(of(204, "Transfer-Encoding: chunked", MethodKind::Get), (none, nothing, false));
        assert_eq!(of(103, "Content-Length: 5", MethodKind::Get), (none, nothing, true));
    }

    #[test]
    fn c14_heads_are_bounded() {
        let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let field = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes - 3));
        assert_eq!(read(head(&field(16_384)).as_bytes(), |_| ()), Ok(Some(())));
        is_refused(&head(&field(16_385)));
        assert_eq!(read(head(&"X: y\r\n".repeat(100)).as_bytes(), |_| ()), Ok(Some(())));
        is_refused(&head(&"X: y\r\n".repeat(101)));
        let whole = |bytes: usize| head(&format!("{}{}", field(16_000).repeat(4), field(bytes - 4 * 16_002 - 19 - 2)));
        assert_eq!(read(whole(65_536).as_bytes(), |head| (head.len(), head.status())), Ok(Some((65_536, 200))));
        is_refused(&whole(65_537));
        // Of ten megabytes without an end no more than the limit is ever asked for.
        assert_eq!(read(&head(&field(65_535)).as_bytes()[..65_535], |_| ()), Ok(None));
        is_refused(&head(&field(10 << 20))[..65_536]);
        assert_eq!(read(format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(8192 - 13)).as_bytes(), |_| ()), Ok(Some(())));
        is_refused(&format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(8192 - 12)));
    }

    #[test]
    fn c15_what_concerns_the_targets_connection_is_not_sent_on() {
        let head = "HTTP/1.1 200 OK\r\nConnection: close, X-Forwarded-Proto\r\nX-Forwarded-Proto: https\r\nA: 1\r\nKeep-Alive: 5\r\n\
            Proxy-Connection: x\r\nUpgrade: h2c\r\nTE: x\r\nProxy-Authenticate: Basic\r\nB:2 \r\nconnection: b2,, a2\r\nTrailer: Z\r\n\
            a2: x\r\nA2: y\r\nX-Request-ID: its own\r\nTransfer-Encoding: chunked\r\nC:\r\n\r\n";
        assert_eq!(
            sent(head, &rules()),
            "HTTP/1.1 200 OK\r\nA: 1\r\nB:2 \r\nTrailer: Z\r\nC:\r\nVia: 1.1 tambat\r\nX-Request-ID: id-1\r\n\r\n"
        );
    }

    #[test]
    fn c16_a_value_cannot_break_out_of_its_line() {
        for fields in [
            "X: a\rb\r\n",
            "X: a\nb\r\n",
            "X: a\0b\r\n",
            "X: a\n",
            "X\r\n",
            "X : a\r\n",
            ": a\r\n",
            " X: a\r\n",
            "X: a\r\n b\r\n",
            "X: \x7f\r\n",
            "X: a\nY: b\r\n",
            "X:\n",
            "X: \n",
            "\u{e9}: a\r\n",
            "X: a\r\r\n",
        ] {
            is_refused(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
            is_refused(&format!("HTTP/1.1 200 OK\r\nA: b\r\n{fields}C: d\r\n\r\n"));
        }
    }

    #[test]
    fn the_status_line_is_ours_but_for_status_and_reason() {
        let bare = ResponseRules { via: "", request_id: b"", ..rules() };
        assert_eq!(sent("HTTP/1.0 404 Not here\r\nA: b\r\n\r\n", &bare), "HTTP/1.1 404 Not here\r\nA: b\r\n\r\n");
        assert_eq!(sent("HTTP/1.1 200\r\nA: b\r\n\r\n", &bare), "HTTP/1.1 200 \r\nA: b\r\n\r\n");
        assert_eq!(sent("HTTP/1.1 200 \r\n\r\n", &bare), "HTTP/1.1 200 \r\n\r\n");
        assert_eq!(
            sent("HTTP/1.0 299\r\nTE: a\r\n\r\n", &rules()),
            "HTTP/1.1 299 \r\nVia: 1.0 tambat\r\nX-Request-ID: id-1\r\n\r\n"
        );
        assert_eq!(sent("HTTP/1.1 999 Nö\r\n\r\n", &bare), "HTTP/1.1 999 Nö\r\n\r\n");
    }

    #[test]
    fn fields_of_the_route_replace_or_remove_the_apps() {
        let headers =
            [("X-Frame-Options", "DENY"), ("Server", ""), ("X-New", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let rules = ResponseRules { headers: &headers, set_cookie: Some(b"tambat=a; Path=/"), ..rules() };
        let fields = "server: x\r\nA: 1\r\nx-frame-options: ALLOW\r\nX-Frame-Options: b\r\nSet-Cookie: own=1\r\n\r\n";
        assert_eq!(
            sent(&format!("HTTP/1.1 200 OK\r\n{fields}"), &rules),
            "HTTP/1.1 200 OK\r\nA: 1\r\nSet-Cookie: own=1\r\nVia: 1.1 tambat\r\nX-Request-ID: id-1\r\nX-Frame-Options: DENY\r\nX-New: 1\r\n\
             Set-Cookie: tambat=a; Path=/\r\n\r\n"
        );
        // Interim heads are the app's own.
        assert_eq!(
            sent(&format!("HTTP/1.1 103 Early Hints\r\n{fields}"), &rules),
            format!("HTTP/1.1 103 Early Hints\r\n{}Via: 1.1 tambat\r\n\r\n", fields.strip_suffix("\r\n").unwrap())
        );
    }

    #[test]
    fn what_is_said_of_body_and_connection() {
        let written = |framing, connection| {
            let mut out = Vec::new();
            let rules = ResponseRules { via: "", request_id: b"", ..rules() };
            let head = b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
            read(head, |head| head.write(framing, connection, &rules, &mut out)).unwrap().expect("whole");
            String::from_utf8(out)
                .unwrap()
                .strip_prefix("HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n")
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            written(SentFraming::Length(0), SentConnection::Close),
            "Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            written(SentFraming::Length(u64::MAX), SentConnection::Nothing),
            format!("Content-Length: {}\r\n\r\n", u64::MAX)
        );
        assert_eq!(
            written(SentFraming::Chunked, SentConnection::KeepAlive),
            "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
        );
        assert_eq!(written(SentFraming::Nothing, SentConnection::Upgrade), "Connection: Upgrade\r\n\r\n");
    }

    #[test]
    fn a_target_keeps_its_connection_as_its_version_says() {
        let keeps = |version: &str, connection: &str| {
            let head = format!("HTTP/{version} 200 OK\r\n{connection}Content-Length: 0\r\n\r\n");
            read(head.as_bytes(), |head| (head.keeps_connection(), head.status())).unwrap().expect("whole").0
        };
        assert!(keeps("1.1", ""));
        assert!(keeps("1.1", "Connection: keep-alive\r\n"));
        assert!(!keeps("1.1", "Connection: foo ,CLOSE\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
        assert!(!keeps("1.0", "Connection: keep-alive\r\nConnection: close\r\n"));
    }

    const NAMES: &[&str] = &[
        "Connection",
        "connection",
        "UPGRADE",
        "Keep-Alive",
        "te",
        "Via",
        "a",
        "B",
        "Set-Cookie",
        "x-request-id",
        "x-y",
    ];

    proptest! {
        #[test]
        fn arbitrary_heads_never_panic(
            start in prop_oneof![Just(""), Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.0 304\r\nConnection: a, b\r\n")],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let wire = [start.as_bytes(), &rest, b"\r\n\r\n"].concat();
            let mut out = Vec::new();
            let _ = read(&wire, |head| head.write(SentFraming::Nothing, SentConnection::Nothing, &rules(), &mut out));
        }

        /// What is sent on is found again, with the same status, and holds no field that concerns one connection.
        #[test]
        fn what_is_sent_is_a_head_again(
            status in 200..600_u16,
            fields in proptest::collection::vec(
                (proptest::sample::select(NAMES), "[ \t]{0,2}", "(close|a|b, close|x-y)?", "[ \t]{0,2}"),
                0..12,
            ),
        ) {
            let lines = fields.iter().fold(String::new(), |lines, (name, a, value, b)| format!("{lines}{name}:{a}{value}{b}\r\n"));
            let head = sent(&format!("HTTP/1.1 {status} X\r\n{lines}\r\n"), &rules());
            let same = read(head.as_bytes(), |again| {
                assert_eq!((again.len(), again.status()), (head.len(), status));
                again.fields().filter(|(name, _)| !matches!(Kind::of(name), Kind::Other)).count()
            });
            // Our own X-Request-ID.
            prop_assert_eq!(same, Ok(Some(1)));
        }
    }
}
