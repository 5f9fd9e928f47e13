//! The bodies of messages: so many bytes, or chunks (RFC 9112 §7.1).
//!
//! The decoder is strict: what two readers could take differently is a fault. It owns no buffer: what it cannot use yet
//! stays with the caller, who brings it again with more behind it.

use std::fmt;
use std::ops::Range;

use httparse::Header;

use super::limits::{Limits, head_may_be_whole};

/// How many digits a chunk's size may have: what fits 64 bits. Zeros in front count, so that the line stays short.
const SIZE_DIGITS_MAX: u8 = 16;

/// How long the extensions of one chunk may be: nobody uses them, and they are dropped; 4 KiB is what a line of a head
/// gets elsewhere.
const EXTENSION_BYTES_MAX: u16 = 4 * 1024;

/// How long the trailer section may be, its last line end included: as long as one field of a head.
pub const TRAILERS_BYTES_MAX: usize = 16 * 1024;

/// How many trailers there may be: as many as a head has fields.
const TRAILERS_MAX: usize = 100;

/// When trailers are worth reading again: by the rule for heads.
const TRAILERS: Limits = Limits {
    line_bytes_max: TRAILERS_BYTES_MAX,
    field_bytes_max: TRAILERS_BYTES_MAX,
    head_bytes_max: TRAILERS_BYTES_MAX,
    fields_max: TRAILERS_MAX,
};

/// The last chunk with no trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is left of a body of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    left: u64,
}

impl Length {
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: bytes }
    }

    pub(super) fn left(self) -> u64 {
        self.left
    }

    /// Takes what there is of it, at most `available` bytes: how many.
    pub(super) fn take(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        taken
    }

    /// `bytes` of it went by without being looked at.
    pub(super) fn pass(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.left, "{bytes} bytes passed of a body of which {} were left", self.left);
        self.left = self.left.saturating_sub(bytes);
    }
}

/// Reads a body in chunks (RFC 9112 §7.1), however it is cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkDecoder {
    state: State,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind the size, before its line end; `named`: a semicolon came, so that blanks may stand anywhere.
    Extension {
        bytes: u16,
        named: bool,
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    /// So many bytes of them were looked at without finding their end.
    Trailers {
        seen: usize,
    },
    Over,
}

/// What one call of [`ChunkDecoder::decode`] found. Its ranges are of that call's input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes were used up; the rest is to be brought again, with more behind it where nothing was found.
    pub used: usize,
    /// What they were.
    pub piece: Piece,
}

/// A piece of a body in chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Nothing until more has come.
    Nothing,
    /// Bytes of the body; never empty.
    Data(Range<usize>),
    /// The body is over. These are its trailers, each a whole line, and the empty line.
    End(Range<usize>),
}

/// How a body in chunks broke the rules (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// Not `1*HEXDIG`, or more of them than 64 bits hold.
    Size,
    /// A control character, or something before the first semicolon.
    Extension,
    /// More than 4 KiB of them.
    ExtensionTooLong,
    /// Something other than CR LF behind the data.
    DataEnd,
    /// Not a field line that ends with CR LF.
    Trailer,
    /// More than [`TRAILERS_BYTES_MAX`], or more than 100.
    TrailersTooLong,
}

impl ChunkError {
    /// As it is told.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Size => "the size of a chunk is not a hexadecimal number of at most 16 digits",
            Self::Extension => "the line of a chunk's size holds what none may, or does not end with CR LF",
            Self::ExtensionTooLong => "the extensions of a chunk are longer than 4 KiB",
            Self::DataEnd => "the data of a chunk is not followed by CR LF",
            Self::Trailer => "a trailer is not a field, or does not end with CR LF",
            Self::TrailersTooLong => "the trailers are longer than 16 KiB, or more than 100",
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.cause())
    }
}

impl std::error::Error for ChunkError {}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self { state: State::Size { digits: 0, size: 0 } }
    }
}

impl ChunkDecoder {
    /// Reads on until there is a piece of the body, its end, or nothing more to read. Ends are found whatever the cuts;
    /// only how the data is divided depends on them. After an error, or after the end, it must not be asked again: it
    /// would find nothing.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, ChunkError> {
        let mut used = 0;
        while let Some(byte) = input.get(used).copied() {
            match self.state {
                State::Data { left } => return Ok(self.data(used, input.len() - used, left)),
                State::Trailers { seen } => return self.trailers(input, used, seen),
                State::Over => break,
                State::Size { digits, size } => self.state = size_digit(byte, digits, size)?,
                State::Extension { bytes, named, size } => self.state = extension(byte, bytes, named, size)?,
                State::SizeLineFeed { size } => self.state = size_line_end(byte, size)?,
                State::DataReturn if byte == b'\r' => self.state = State::DataLineFeed,
                State::DataLineFeed if byte == b'\n' => self.state = State::Size { digits: 0, size: 0 },
                State::DataReturn | State::DataLineFeed => return Err(ChunkError::DataEnd),
            }
            used += 1;
        }
        Ok(Decoded { used, piece: Piece::Nothing })
    }

    fn data(&mut self, at: usize, available: usize, left: u64) -> Decoded {
        let mut length = Length::new(left);
        let end = at + length.take(available);
        self.state = match length.left() {
            0 => State::DataReturn,
            left => State::Data { left },
        };
        Decoded { used: end, piece: Piece::Data(at..end) }
    }

    /// The trailer section is taken whole: until it is there, nothing of the end may be passed on.
    fn trailers(&mut self, input: &[u8], at: usize, seen: usize) -> Result<Decoded, ChunkError> {
        let bytes = &input[at..];
        let is_worth_it = head_may_be_whole(bytes, seen.min(bytes.len()), &TRAILERS);
        if let Some(length) = if is_worth_it { trailer_section(bytes)? } else { None } {
            self.state = State::Over;
            return Ok(Decoded { used: at + length, piece: Piece::End(at..at + length) });
        }
        self.state = State::Trailers { seen: bytes.len() };
        Ok(Decoded { used: at, piece: Piece::Nothing })
    }
}

fn size_digit(byte: u8, digits: u8, size: u64) -> Result<State, ChunkError> {
    if let Some(value) = char::from(byte).to_digit(16) {
        return match digits {
            SIZE_DIGITS_MAX.. => Err(ChunkError::Size),
            // Sixteen digits fit.
            _ => Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(value) }),
        };
    }
    match (byte, digits) {
        (_, 0) => Err(ChunkError::Size),
        (b'\r', _) => Ok(State::SizeLineFeed { size }),
        (b';', _) => Ok(State::Extension { bytes: 1, named: true, size }),
        (b' ' | b'\t', _) => Ok(State::Extension { bytes: 1, named: false, size }),
        _ => Err(ChunkError::Size),
    }
}

/// Extensions are dropped, so only their end matters: a CR is one only before an LF, and no LF stands alone. Before
/// the first semicolon only blanks may stand (RFC 9112 §7.1.1).
fn extension(byte: u8, bytes: u16, named: bool, size: u64) -> Result<State, ChunkError> {
    let named = match byte {
        b'\r' if named => return Ok(State::SizeLineFeed { size }),
        b';' => true,
        b' ' | b'\t' => named,
        0x21..=0x7e | 0x80.. if named => true,
        _ => return Err(ChunkError::Extension),
    };
    if bytes >= EXTENSION_BYTES_MAX {
        return Err(ChunkError::ExtensionTooLong);
    }
    Ok(State::Extension { bytes: bytes + 1, named, size })
}

fn size_line_end(byte: u8, size: u64) -> Result<State, ChunkError> {
    match (byte, size) {
        (b'\n', 0) => Ok(State::Trailers { seen: 0 }),
        (b'\n', left) => Ok(State::Data { left }),
        _ => Err(ChunkError::Extension),
    }
}

/// How long the trailer section at the start of `bytes` is, its empty line included; none: it is not whole yet.
fn trailer_section(bytes: &[u8]) -> Result<Option<usize>, ChunkError> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let mut slots = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    match httparse::parse_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete((length, _))) if length > TRAILERS_BYTES_MAX => Err(ChunkError::TrailersTooLong),
        Ok(httparse::Status::Complete((length, _))) if every_line_ends_with_crlf(&bytes[..length]) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() >= TRAILERS_BYTES_MAX => Err(ChunkError::TrailersTooLong),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(ChunkError::TrailersTooLong),
        Ok(httparse::Status::Complete(_)) | Err(_) => Err(ChunkError::Trailer),
    }
}

fn every_line_ends_with_crlf(section: &[u8]) -> bool {
    section.split_inclusive(|byte| *byte == b'\n').all(|line| line.ends_with(b"\r\n"))
}

/// Appends `data` as one chunk; nothing when there is none, for an empty chunk would be the last.
pub fn write_chunk(data: &[u8], out: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    // Two digits a byte.
    let mut line = [0; 2 * size_of::<usize>()];
    let mut start = line.len();
    let mut left = data.len();
    while left > 0 {
        start -= 1;
        line[start] = b"0123456789abcdef"[left & 0xf];
        left >>= 4;
    }
    out.reserve(line.len() + data.len() + 4);
    out.extend_from_slice(&line[start..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and those of `trailers` ([`Piece::End`], or nothing) that may be passed on.
pub fn write_last_chunk(trailers: &[u8], out: &mut Vec<u8>) {
    if trailers.len() <= 2 {
        out.extend_from_slice(LAST_CHUNK);
        return;
    }
    out.extend_from_slice(b"0\r\n");
    let mut slots = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    // The decoder found these lines well-formed with the same parser; were they not, the body would end without them.
    if let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(trailers, &mut slots) {
        fields.iter().filter(|field| may_be_trailer(field.name)).for_each(|field| write_field(field, out));
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(field: &Header<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(field.value);
    out.extend_from_slice(b"\r\n");
}

/// A trailer must not frame, route, authenticate or modify a message, nor say how it is to be handled (RFC 9110
/// §6.5.1): some recipient may merge it into the head, where we have just set or checked those fields.
fn may_be_trailer(name: &str) -> bool {
    const NEVER: [&str; 42] = [
        "accept-encoding",
        "age",
        "allow",
        "authorization",
        "cache-control",
        "connection",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-range",
        "content-security-policy",
        "content-type",
        "cookie",
        "date",
        "expect",
        "expires",
        "forwarded",
        "host",
        "keep-alive",
        "location",
        "max-forwards",
        "origin",
        "pragma",
        "range",
        "referer",
        "retry-after",
        "set-cookie",
        "strict-transport-security",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "warning",
        "www-authenticate",
        "x-real-ip",
        "x-request-id",
    ];
    // Families: conditions; what is for proxies; who the client is; what routers say to each other.
    const NEVER_BEGINS: [&str; 6] = ["if-", "proxy-", "x-forwarded-", "tambat-", "access-control-", "sec-"];

    // Some recipients read `_` as `-`.
    !name.contains('_')
        && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
        && !NEVER_BEGINS
            .iter()
            .any(|begin| name.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A whole body, its trailer section, and how many bytes both took.
    type Whole = Option<(Vec<u8>, Vec<u8>, usize)>;

    /// The whole body and its trailer section, or why not; `None`: it is not whole. `cuts` are the sizes of the pieces
    /// that arrive, the last one again and again. What was not used is brought again, as the contract says.
    fn decode(wire: &[u8], cuts: &[usize]) -> Result<Whole, ChunkError> {
        let (mut decoder, mut data) = (ChunkDecoder::default(), Vec::new());
        let (mut start, mut end, mut nth) = (0, 0, 0);
        while end < wire.len() {
            end = (end + cuts[nth.min(cuts.len() - 1)].max(1)).min(wire.len());
            nth += 1;
            loop {
                let Decoded { used, piece } = decoder.decode(&wire[start..end])?;
                match piece {
                    Piece::Nothing => {
                        start += used;
                        break;
                    }
                    Piece::Data(range) => {
                        assert!(!range.is_empty() && range.end == used, "{range:?} of {used}");
                        data.extend_from_slice(&wire[start..end][range]);
                    }
                    Piece::End(range) => {
                        let trailers = wire[start..end][range].to_vec();
                        return Ok(Some((data, trailers, start + used)));
                    }
                }
                start += used;
            }
        }
        Ok(None)
    }

    fn whole(wire: &[u8]) -> Result<Whole, ChunkError> {
        let whole = decode(wire, &[wire.len()]);
        assert_eq!(decode(wire, &[1]), whole, "{:?}", String::from_utf8_lossy(wire));
        whole
    }

    #[test]
    fn trailers_that_come_slowly_are_not_read_again_with_each_byte() {
        let mut decoder = ChunkDecoder::default();
        let nothing = |used| Ok(Decoded { used, piece: Piece::Nothing });
        assert_eq!(decoder.decode(b"0\r\nX: yyyyy"), nothing(3));
        // Bytes that no trailer may hold would be found if they were looked at.
        assert_eq!(decoder.decode(b"X: yyyyy\0"), nothing(0));
        assert_eq!(decoder.decode(b"X: yyyyy\0\n"), Err(ChunkError::Trailer));
    }

    #[test]
    fn a_body_is_read_with_and_without_extensions_and_trailers() {
        for (wire, body, trailers) in [
            ("0\r\n\r\n", "", "\r\n"),
            ("3\r\nabc\r\n0\r\n\r\n", "abc", "\r\n"),
            ("A\r\n0123456789\r\n00\r\n\r\n", "0123456789", "\r\n"),
            ("a;x=y;z=\"q r\"\r\n0123456789\r\n0;last\r\n\r\n", "0123456789", "\r\n"),
            ("1 \t; x = y \r\na\r\n0\r\n\r\n", "a", "\r\n"),
            ("2\r\n\r\n\r\n0\r\nX: y\r\nEmpty:\r\n\r\n", "\r\n", "X: y\r\nEmpty:\r\n\r\n"),
            ("0000000000000001\r\na\r\n0\r\n\r\n", "a", "\r\n"),
        ] {
            let found = whole(wire.as_bytes()).unwrap().expect(wire);
            assert_eq!(found, (body.into(), trailers.into(), wire.len()), "{wire:?}");
            // What follows is not touched, and no part of it is whole.
            let followed = [wire.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(whole(&followed).unwrap().expect(wire).2, wire.len(), "{wire:?}");
            for end in 0..wire.len() {
                assert_eq!(whole(&wire.as_bytes()[..end]), Ok(None), "{:?}", &wire[..end]);
            }
        }
    }

    #[test]
    fn a09_what_is_no_chunk_size() {
        let sizes =
            ["0x5", "+5", "-0", "5_0", "", " 5", "\t5", "10000000000000000", "5g", "5\u{b}", "5 ", "5\t", "\u{661}"];
        for size in sizes {
            let wire = format!("{size}\r\nabcde\r\n0\r\n\r\n");
            assert!(whole(wire.as_bytes()).is_err(), "{size:?}");
        }
        assert_eq!(whole(b"00000000000000005\r\nabcde"), Err(ChunkError::Size));
        assert_eq!(whole(b"ffffffffffffffff\r\nabcde"), Ok(None));
        assert_eq!(whole(b"\r\n0\r\n\r\n"), Err(ChunkError::Size));
        assert_eq!(whole(b"5\n"), Err(ChunkError::Size));
    }

    #[test]
    fn a10_extensions_are_bounded_and_end_with_crlf_only() {
        for wire in [
            "5;a\nabcde",
            "5;a\rb\r\n",
            "5\r\r;a\r\n",
            "5;a\0\r\n",
            "5;\x7f\r\n",
            "5\r;a\r\n",
            "5 a\r\n",
            "5 \r\n",
            "5;a=\"\n\"\r\n",
            "5\rabcde",
        ] {
            assert_eq!(whole(wire.as_bytes()), Err(ChunkError::Extension), "{wire:?}");
        }
        let longest = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(usize::from(EXTENSION_BYTES_MAX) - 1));
        assert!(whole(longest.as_bytes()).unwrap().is_some());
        let longer = format!("1;{}", "x".repeat(usize::from(EXTENSION_BYTES_MAX)));
        assert_eq!(whole(longer.as_bytes()), Err(ChunkError::ExtensionTooLong));
        let blanks = format!("1{}", " ".repeat(usize::from(EXTENSION_BYTES_MAX) + 1));
        assert_eq!(whole(blanks.as_bytes()), Err(ChunkError::ExtensionTooLong));
    }

    #[test]
    fn a11_data_ends_with_crlf() {
        for wire in ["3\r\nabcd\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc\r0", "3\r\nabc0\r\n\r\n", "3\r\nabc\r\r\n"] {
            assert_eq!(whole(wire.as_bytes()), Err(ChunkError::DataEnd), "{wire:?}");
        }
    }

    #[test]
    fn a12_trailers_that_decide_anything_are_dropped() {
        let dropped = [
            "Content-Length: 5",
            "transfer-encoding: chunked",
            "Host: evil",
            "Connection: close",
            "TE: x",
            "X-Forwarded-For: 1.2.3.4",
            "X_Forwarded_For: 1.2.3.4",
            "forwarded: for=1",
            "Authorization: b",
            "cookie: a=b",
            "Set-Cookie: a=b",
            "If-Match: *",
            "Content-Type: text/html",
            "Trailer: x",
            "proxy-authorization: x",
            "Tambat-Hop: x",
            "Via: 1.1 x",
            "X-Request-ID: 1",
            "Upgrade: h2c",
            "x-forwarded-anything: 1",
        ];
        let section = format!("Grpc-Status: 0\r\n{}\r\nServer-Timing: a;dur=1\r\n\r\n", dropped.join("\r\n"));
        let wire = format!("1\r\na\r\n0\r\n{section}");
        let (data, trailers, _) = whole(wire.as_bytes()).unwrap().expect("the section is whole");
        assert_eq!((data.as_slice(), trailers.as_slice()), (b"a".as_slice(), section.as_bytes()));
        let mut out = Vec::new();
        write_last_chunk(&trailers, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "0\r\nGrpc-Status: 0\r\nServer-Timing: a;dur=1\r\n\r\n");
    }

    #[test]
    fn a12_a_trailer_must_be_a_field_line() {
        for section in [
            "X: y\n\r\n",
            "X: y\r\n\n",
            "\n",
            "X\r\n\r\n",
            ": y\r\n\r\n",
            "X : y\r\n\r\n",
            " X: y\r\n\r\n",
            "X: a\r\n b\r\n\r\n",
            "X: a\rb\r\n\r\n",
            "X: \0\r\n\r\n",
            "\rX: y\r\n\r\n",
        ] {
            let wire = format!("0\r\n{section}");
            assert_eq!(whole(wire.as_bytes()), Err(ChunkError::Trailer), "{section:?}");
        }
    }

    #[test]
    fn a13_the_trailer_section_is_bounded() {
        let field = |bytes: usize| format!("X: {}\r\n\r\n", "y".repeat(bytes - "X: \r\n\r\n".len()));
        let of = |section: &str| decode(format!("0\r\n{section}").as_bytes(), &[1000]);
        assert!(of(&field(TRAILERS_BYTES_MAX)).unwrap().is_some());
        assert_eq!(of(&field(TRAILERS_BYTES_MAX + 1)), Err(ChunkError::TrailersTooLong));
        assert_eq!(of(&"X: y\r\n".repeat(1_000_000 / 6)), Err(ChunkError::TrailersTooLong));
        assert_eq!(of(&"X".repeat(1_000_000)), Err(ChunkError::TrailersTooLong));
        assert!(of(&format!("{}\r\n", "X: y\r\n".repeat(TRAILERS_MAX))).unwrap().is_some());
        assert_eq!(of(&format!("{}\r\n", "X: y\r\n".repeat(TRAILERS_MAX + 1))), Err(ChunkError::TrailersTooLong));
        // Whatever drips in, the decoder never asks its caller to keep more than that.
        let mut decoder = ChunkDecoder::default();
        let kept = format!("0\r\n{}", "X".repeat(TRAILERS_BYTES_MAX - 1));
        let decoded = decoder.decode(kept.as_bytes()).unwrap();
        assert_eq!(decoded, Decoded { used: 3, piece: Piece::Nothing });
    }

    #[test]
    fn a_length_is_taken_and_passed_to_its_end() {
        let mut length = Length::new(10);
        assert_eq!((length.take(4), length.left()), (4, 6));
        length.pass(5);
        assert_eq!((length.take(7), length.left(), length.take(7)), (1, 0, 0));
        assert_eq!(Length::new(u64::MAX).take(usize::MAX), usize::MAX);
    }

    #[test]
    fn an_empty_chunk_is_never_written() {
        let mut out = Vec::new();
        write_chunk(b"", &mut out);
        assert!(out.is_empty());
        write_chunk(&[b'x'; 0x1a0], &mut out);
        assert!(out.starts_with(b"1a0\r\nxx") && out.ends_with(b"x\r\n") && out.len() == 5 + 0x1a0 + 2);
    }

    /// Wire bytes near the grammar, so that most of its edges are met.
    fn nearly_chunked() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            4 => Just(b"\r\n".to_vec()),
            4 => "[0-9a-f]{1,2}".prop_map(String::into_bytes),
            2 => Just(b"0\r\n".to_vec()),
            1 => Just(b"3\r\nabc\r\n".to_vec()),
            1 => Just(b";a=b".to_vec()),
            1 => Just(b"X: y\r\n".to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
    }

    fn cuts() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(1..9_usize, 1..20)
    }

    proptest! {
        #[test]
        fn the_cuts_change_nothing(wire in nearly_chunked(), cuts in cuts()) {
            prop_assert_eq!(decode(&wire, &cuts), decode(&wire, &[wire.len().max(1)]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(wire in proptest::collection::vec(any::<u8>(), 0..300), cuts in cuts()) {
            let _ = decode(&wire, &cuts);
        }

        #[test]
        fn what_was_encoded_is_decoded(
            runs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8), cuts in cuts(),
        ) {
            let mut wire = Vec::new();
            runs.iter().for_each(|run| write_chunk(run, &mut wire));
            write_last_chunk(b"Grpc-Status: 0\r\n\r\n", &mut wire);
            let expected = Some((runs.concat(), b"Grpc-Status: 0\r\n\r\n".to_vec(), wire.len()));
            prop_assert_eq!(decode(&wire, &cuts), Ok(expected));
        }

        /// Whatever was accepted, written again, means the same and is accepted again.
        #[test]
        fn what_was_decoded_is_encoded_with_the_same_meaning(wire in nearly_chunked()) {
            if let Ok(Some((data, trailers, _))) = decode(&wire, &[wire.len().max(1)]) {
                let mut again = Vec::new();
                write_chunk(&data, &mut again);
                write_last_chunk(&trailers, &mut again);
                let (same, _, used) = decode(&again, &[again.len()]).unwrap().expect("it is whole");
                prop_assert_eq!((same, used), (data, again.len()));
            }
        }
    }
}
