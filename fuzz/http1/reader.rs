//! A reader of HTTP/1.1 that shares nothing with the router: simple, slow and pedantic. It reads what the router wrote,
//! and panics where that is not exactly as it should be; and it says what bytes mean that the router has accepted.

use std::fmt;

/// One message, as whoever receives it reads it.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) start: String,
    /// In their order.
    pub(crate) fields: Vec<Field>,
    /// Without its chunks.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// Was the end of its body found?
    pub(crate) is_whole: bool,
}

/// A field: its name in lower case, its value without white space at its ends, each byte a character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// How long the body of a message is (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Bytes(u64),
    Chunks,
    /// The fields say nothing of it.
    Unsaid,
}

/// What bytes are as a body in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// All of it, and how many bytes it took.
    Whole { data: Vec<u8>, trailers: Vec<Field>, used: usize },
    /// The beginning of one, as far as this reader looks ahead.
    Partial { data: Vec<u8> },
    /// None, whatever follows.
    Bad { data: Vec<u8> },
}

impl Message {
    /// With its fields in alphabetical order: where they stand says nothing.
    pub(crate) fn sorted(mut self) -> Self {
        self.fields.sort();
        self.trailers.sort();
        self
    }

    /// The values of the fields of this name.
    pub(crate) fn values<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m str> {
        values(&self.fields, name)
    }

    /// Of a status line.
    pub(crate) fn status(&self) -> u16 {
        self.start[9..12].parse().unwrap_or_else(|_| panic!("no status: {self:?}"))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, {}", self.start, if self.is_whole { "whole" } else { "NOT WHOLE" })?;
        for field in &self.fields {
            writeln!(f, "  {field:?}")?;
        }
        writeln!(f, "  body {:?}", text(&self.body))?;
        for field in &self.trailers {
            writeln!(f, "  trailer {field:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.value)
    }
}

impl Field {
    pub(crate) fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

/// Each byte as the character of its number.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The values of the fields of this name.
pub(crate) fn values<'m>(fields: &'m [Field], name: &'m str) -> impl Iterator<Item = &'m str> {
    fields.iter().filter(move |field| field.name == name).map(|field| field.value.as_str())
}

/// A head that was accepted, or that the router wrote: its first line, its fields, and how many bytes it takes.
pub(crate) fn head(bytes: &[u8]) -> (String, Vec<Field>, usize) {
    let end = find(bytes, b"\r\n\r\n").unwrap_or_else(|| panic!("a head has no end: {:?}", text(bytes)));
    let mut lines = split_lines(&bytes[..end]).into_iter();
    let start = text(lines.next().unwrap_or_default());
    (start, lines.map(field).collect(), end + 4)
}

/// How long a body is of which these fields speak.
pub(crate) fn length(fields: &[Field]) -> Length {
    let lengths: Vec<&str> = values(fields, "content-length").collect();
    let codings: Vec<&str> = values(fields, "transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Length::Unsaid,
        ([digits], []) => {
            assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), "a length of {digits:?}");
            Length::Bytes(digits.parse().unwrap_or_else(|_| panic!("a length of {digits}")))
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case("chunked"), "a coding of {coding:?}");
            Length::Chunks
        }
        _ => panic!("more than one field says how long the body is: {fields:?}"),
    }
}

/// The requests that the router wrote on one connection: nothing but requests, and none behind one that is not whole.
pub(crate) fn requests(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (start, fields, taken) = head(bytes);
        let words: Vec<&str> = start.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else { panic!("no request line: {start:?}") };
        assert!(!method.is_empty() && method.bytes().all(is_tchar), "no method: {start:?}");
        assert!(target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()), "no path: {start:?}");
        assert_eq!(values(&fields, "host").count(), 1, "{fields:?}");
        bytes = &bytes[taken..];
        let length = length(&fields);
        let mut message = Message { start, fields, ..Message::default() };
        let used = match length {
            Length::Unsaid => message.take_bytes(bytes, 0),
            Length::Bytes(length) => message.take_bytes(bytes, length),
            Length::Chunks => message.take_chunks(bytes),
        };
        bytes = &bytes[used..];
        found.push(message);
    }
    found
}

/// The messages that the router wrote to a client, interim ones as well; each final one answers the next of these
/// requests: is it a `HEAD`? `is_closed`: no more will come. The second value: the bytes behind a 101.
pub(crate) fn responses(mut bytes: &[u8], are_heads: &[bool], is_closed: bool) -> (Vec<Message>, Vec<u8>) {
    let mut found = Vec::new();
    let mut requests = are_heads.iter();
    while !bytes.is_empty() {
        let (start, fields, taken) = head(bytes);
        bytes = &bytes[taken..];
        assert!(start.starts_with("HTTP/1.1 ") && start.get(12..13) == Some(" "), "no status line: {start:?}");
        let said = length(&fields);
        let mut message = Message { start, fields, is_whole: true, ..Message::default() };
        let status = message.status();
        assert!((100..=999).contains(&status));
        if status < 200 {
            assert_eq!(said, Length::Unsaid, "an interim answer has no body: {message:?}");
            found.push(message);
            if status == 101 {
                return (found, bytes.to_vec());
            }
            continue;
        }
        let is_head = *requests.next().unwrap_or_else(|| panic!("an answer to no request: {message:?}"));
        let used = match said {
            _ if is_head || status == 204 || status == 304 => {
                assert!(status != 204 || said == Length::Unsaid, "a 204 has no length: {message:?}");
                0
            }
            Length::Bytes(length) => message.take_bytes(bytes, length),
            Length::Chunks => message.take_chunks(bytes),
            Length::Unsaid => {
                message.body = bytes.to_vec();
                message.is_whole = is_closed;
                bytes.len()
            }
        };
        bytes = &bytes[used..];
        found.push(message);
    }
    (found, Vec::new())
}

impl Message {
    fn take_bytes(&mut self, bytes: &[u8], length: u64) -> usize {
        let there = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        self.body = bytes[..there].to_vec();
        self.is_whole = there as u64 == length;
        there
    }

    /// What the router writes has no extensions, and each size is as short as it can be.
    fn take_chunks(&mut self, bytes: &[u8]) -> usize {
        let (data, used) = match chunks(bytes) {
            Chunks::Whole { data, trailers, used } => {
                self.trailers = trailers;
                self.is_whole = true;
                (data, used)
            }
            Chunks::Partial { data } => {
                self.is_whole = false;
                (data, bytes.len())
            }
            Chunks::Bad { .. } => panic!("these are no chunks: {:?}", text(bytes)),
        };
        self.body = data;
        let mut at = 0;
        while at < used {
            let line = find(&bytes[at..used], b"\r\n").unwrap_or_else(|| panic!("a cut line: {:?}", text(bytes)));
            let digits = text(&bytes[at..at + line]);
            let size = usize::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("no size: {digits:?}"));
            assert_eq!(format!("{size:x}"), digits);
            if size == 0 {
                break;
            }
            at += line + 2 + size + 2;
        }
        used
    }
}

/// Reads a body in chunks by our grammar (RFC 9112 §7.1, with limits), line by line.
pub(crate) fn chunks(bytes: &[u8]) -> Chunks {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.iter().position(|b| *b == b'\n') else { return Chunks::Partial { data } };
        let Some(size) = rest[..end].strip_suffix(b"\r").and_then(size_line) else { return Chunks::Bad { data } };
        at += end + 1;
        if size == 0 {
            return trailers(&bytes[at..], at, data);
        }
        let rest = &bytes[at..];
        let there = rest.len().min(usize::try_from(size).unwrap_or(usize::MAX));
        data.extend_from_slice(&rest[..there]);
        let behind = &rest[there..];
        match behind {
            [b'\r', b'\n', ..] => at += there + 2,
            [] | [b'\r'] => return Chunks::Partial { data },
            _ => return Chunks::Bad { data },
        }
    }
}

/// The size in a chunk's first line, which stands here without its end.
fn size_line(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    let blanks = extensions.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let is_fine = match &extensions[blanks..] {
        [] => blanks == 0,
        [b';', rest @ ..] => rest.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..)),
        _ => false,
    };
    let is_short = (1..=16).contains(&digits) && extensions.len() <= 4096;
    (is_fine && is_short).then(|| u64::from_str_radix(&text(size), 16).ok())?
}

/// The trailers, which begin at this place, behind these data.
fn trailers(bytes: &[u8], at: usize, data: Vec<u8>) -> Chunks {
    let (mut found, mut used) = (Vec::new(), 0);
    loop {
        let Some(end) = bytes[used..].iter().position(|b| *b == b'\n') else {
            return if bytes.len() >= 16 << 10 { Chunks::Bad { data } } else { Chunks::Partial { data } };
        };
        let line = &bytes[used..used + end];
        used += end + 1;
        let Some(line) = line.strip_suffix(b"\r").filter(|_| used <= 16 << 10) else { return Chunks::Bad { data } };
        if line.is_empty() {
            return Chunks::Whole { data, trailers: found, used: at + used };
        }
        if !is_field(line) || found.len() == 100 {
            return Chunks::Bad { data };
        }
        found.push(field(line));
    }
}

fn field(line: &[u8]) -> Field {
    assert!(is_field(line), "no field: {:?}", text(line));
    let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    let (name, value) = (text(&line[..colon]), text(&line[colon + 1..]));
    Field { name: name.to_ascii_lowercase(), value: value.trim_matches([' ', '\t']).to_owned() }
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|b| *b == b':') else { return false };
    let is_visible = |b: &u8| matches!(b, b'\t' | b' '..=b'~' | 0x80..);
    colon > 0 && line[..colon].iter().copied().all(is_tchar) && line[colon..].iter().all(is_visible)
}

fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    let is_one = |line: &&[u8]| !line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0));
    assert!(lines.iter().all(is_one), "a line end that is none: {:?}", text(bytes));
    lines
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
