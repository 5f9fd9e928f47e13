//! The request that is written for a target, read back: what of it goes where in a stream of HTTP/2 (RFC 9113 §8.3).

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::http1::{ChunkDecoder, ChunkError, FIELDS_MAX, Limits, Piece, head_may_be_whole};

/// A head is at most so much longer than that of the client from which it was written: the fields that are added name
/// the way of the request and its id, and a trusted proxy's list of addresses at the longest.
const ADDED_BYTES_MAX: usize = 16 * 1024;

/// As many fields as a client may send, and those that are added to them: a dozen or so.
const SLOTS: usize = FIELDS_MAX + 28;

/// Room for the places of a head's fields.
pub struct StreamSlots<'b>([MaybeUninit<httparse::Header<'b>>; SLOTS]);

impl StreamSlots<'_> {
    /// Nothing in them yet.
    pub fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; SLOTS])
    }
}

impl Default for StreamSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StreamSlots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSlots(..)")
    }
}

/// The head of a request, as a stream says it.
#[derive(Debug)]
pub struct StreamHead<'b, 's> {
    /// `:method`.
    pub method: &'b str,
    /// `:path`.
    pub path: &'b str,
    /// `:authority`.
    pub authority: &'b [u8],
    /// How many bytes it took.
    pub len: usize,
    /// How the body behind it comes.
    pub body: BodyReader,
    fields: &'s [httparse::Header<'b>],
}

impl<'b, 's> StreamHead<'b, 's> {
    /// The fields, without those that HTTP/2 says otherwise or not at all (RFC 9113 §8.2.2).
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'b, 's> {
        self.fields.iter().filter(|field| !is_of_http1(field.name)).map(|field| (field.name, field.value))
    }

    /// Is there no body?
    pub fn ends_stream(&self) -> bool {
        self.body.is_over()
    }
}

/// Reads the head at the beginning of `bytes`, of which `seen` were looked at in vain; none: it is not whole.
///
/// # Errors
///
/// When it is no head as [`crate::http1::RequestHead::write`] writes one.
pub fn stream_head<'b, 's>(
    bytes: &'b [u8],
    seen: usize,
    slots: &'s mut StreamSlots<'b>,
) -> Result<Option<StreamHead<'b, 's>>, &'static str> {
    let limits = limits();
    if !head_may_be_whole(bytes, seen.min(bytes.len()), &limits) {
        return Ok(None);
    }
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(bytes, &mut slots.0) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < limits.head_bytes_max => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the head of the request is too long for HTTP/2"),
        Err(_) => return Err("the head of the request cannot be said in HTTP/2"),
    };
    let (Some(method), Some(path)) = (parsed.method, parsed.path) else {
        return Err("the request line is not whole");
    };
    let fields: &'s [httparse::Header<'b>] = parsed.headers;
    let value = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let body = if value("transfer-encoding").is_some() {
        BodyReader(State::Chunked(ChunkDecoder::default()))
    } else {
        let length = value("content-length").map_or(Ok(0), |value| std::str::from_utf8(value).unwrap_or("").parse());
        BodyReader::of_length(length.map_err(|_| "the length of the request is no number")?)
    };
    Ok(Some(StreamHead { method, path, authority: value("host").unwrap_or_default(), len, body, fields }))
}

fn limits() -> Limits {
    let of_client = Limits::default();
    Limits { head_bytes_max: of_client.head_bytes_max + ADDED_BYTES_MAX, ..of_client }
}

fn is_of_http1(name: &str) -> bool {
    ["connection", "host", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
}

/// Reads the body that follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyReader(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Chunked(ChunkDecoder),
    Over,
}

/// What was found next. Its ranges are of the bytes that were brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyPart {
    /// So many bytes are used; the others are to be brought again.
    pub used: usize,
    /// These are of the body.
    pub data: Range<usize>,
    /// The body is over behind them, with these trailers, see [`trailers()`].
    pub end: Option<Range<usize>>,
}

impl BodyReader {
    fn of_length(length: u64) -> Self {
        Self(if length == 0 { State::Over } else { State::Length(length) })
    }

    /// Is the body over?
    pub fn is_over(&self) -> bool {
        self.0 == State::Over
    }

    /// The next bytes of the body, at most `room` of them. When its end is known by then, it is said with them, so that no
    /// empty frame has to follow. Nothing is used: more has to come, or room is needed.
    ///
    /// # Errors
    ///
    /// When these are no chunks.
    pub fn read(&mut self, input: &[u8], room: usize) -> Result<BodyPart, ChunkError> {
        match self.0 {
            State::Over => Ok(BodyPart { used: 0, data: 0..0, end: None }),
            State::Length(left) => {
                let taken = input.len().min(room).min(usize::try_from(left).unwrap_or(usize::MAX));
                *self = Self::of_length(left - taken as u64);
                let end = self.is_over().then_some(taken..taken);
                Ok(BodyPart { used: taken, data: 0..taken, end })
            }
            State::Chunked(decoder) => self.read_chunks(decoder, input, room),
        }
    }

    fn read_chunks(&mut self, before: ChunkDecoder, input: &[u8], room: usize) -> Result<BodyPart, ChunkError> {
        let mut decoder = before;
        let mut decoded = decoder.decode(input)?;
        if let Piece::Data(data) = &decoded.piece
            && data.len() > room
        {
            let cut = &input[..data.start + room];
            decoder = before;
            decoded = decoder.decode(cut)?;
        }
        let mut part = match decoded.piece {
            Piece::Nothing => BodyPart { used: decoded.used, data: 0..0, end: None },
            Piece::Data(data) => BodyPart { used: decoded.used, data, end: None },
            Piece::End(trailers) => BodyPart { used: decoded.used, data: 0..0, end: Some(trailers) },
        };
        if !part.data.is_empty() {
            let mut ahead = decoder;
            let next = ahead.decode(&input[part.used..])?;
            if let Piece::End(trailers) = next.piece {
                part.end = Some(part.used + trailers.start..part.used + trailers.end);
                part.used += next.used;
            }
        }
        self.0 = if part.end.is_some() { State::Over } else { State::Chunked(decoder) };
        Ok(part)
    }
}

/// Hands over the fields of a trailer section, as [`BodyPart::end`] shows it.
pub fn trailers(section: &[u8], mut each: impl FnMut(&str, &[u8])) {
    let mut slots = [httparse::EMPTY_HEADER; FIELDS_MAX];
    // The decoder has read it before; a section that it takes has no more fields than that.
    if let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots) {
        fields.iter().filter(|field| !is_of_http1(field.name)).for_each(|field| each(field.name, field.value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{write_chunk, write_last_chunk};

    fn head(bytes: &[u8]) -> Result<Option<(String, usize, BodyReader)>, &'static str> {
        let mut slots = StreamSlots::new();
        Ok(stream_head(bytes, 0, &mut slots)?.map(|head| {
            let fields = head.fields().fold(String::new(), |fields, (name, value)| {
                format!("{fields}{name}: {}\n", String::from_utf8_lossy(value))
            });
            let authority = String::from_utf8_lossy(head.authority);
            (format!("{} {authority}{}\n{fields}", head.method, head.path), head.len, head.body)
        }))
    }

    #[test]
    fn a_head_is_said_without_what_http2_has_no_use_for() {
        let bytes = b"POST /a.B/C?d HTTP/1.1\r\nHost: h:1\r\nContent-Type: application/grpc\r\nX-Bin: AA\xff\r\n\
            Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: upgrade\r\nUpgrade: websocket\r\nVia: 1.1 x\r\n\r\n0";
        let (said, len, body) = head(bytes).unwrap().unwrap();
        let want = "POST h:1/a.B/C?d\nContent-Type: application/grpc\nX-Bin: AA\u{fffd}\nTE: trailers\nVia: 1.1 x\n";
        assert_eq!((said.as_str(), len), (want, bytes.len() - 1));
        assert_eq!(body, BodyReader(State::Chunked(ChunkDecoder::default())));
        for end in 0..bytes.len() - 1 {
            assert!(head(&bytes[..end]).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn a_length_stays_a_field_and_no_body_ends_the_stream() {
        let (said, _, body) = head(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n").unwrap().unwrap();
        assert_eq!((said.as_str(), body), ("PUT h/\nContent-Length: 7\n", BodyReader(State::Length(7))));
        for none in ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"] {
            assert!(head(none.as_bytes()).unwrap().unwrap().2.is_over(), "{none:?}");
        }
        assert!(head(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n").is_err());
    }

    #[test]
    fn the_end_is_said_with_the_last_bytes() {
        let wire = b"5\r\nhello\r\n0\r\nx-a: b\r\n\r\n";
        let mut reader = BodyReader(State::Chunked(ChunkDecoder::default()));
        let part = reader.read(wire, 100).unwrap();
        assert_eq!((part.used, &wire[part.data]), (wire.len(), &b"hello"[..]));
        let mut seen = Vec::new();
        trailers(&wire[part.end.unwrap()], |name, value| seen.push((name.to_owned(), value.to_owned())));
        assert_eq!(seen, [("x-a".to_owned(), b"b".to_vec())]);
        assert!(reader.is_over());
        let mut reader = BodyReader(State::Length(3));
        assert_eq!(reader.read(b"abcGET", 100).unwrap(), BodyPart { used: 3, data: 0..3, end: Some(3..3) });
    }

    #[test]
    fn without_room_only_what_is_no_data_is_used() {
        let wire = b"5\r\nhello\r\n0\r\n\r\n";
        let mut reader = BodyReader(State::Chunked(ChunkDecoder::default()));
        assert_eq!(reader.read(wire, 0).unwrap(), BodyPart { used: 3, data: 0..0, end: None });
        assert_eq!(reader.read(&wire[3..], 0).unwrap(), BodyPart { used: 0, data: 0..0, end: None });
        assert_eq!(reader.read(&wire[3..], 2).unwrap(), BodyPart { used: 2, data: 0..2, end: None });
        assert!(reader.read(&wire[5..], 3).unwrap().end.is_some());
    }

    proptest! {
        /// However the bytes are cut and whatever room there is, the same body comes out.
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            has_trailers in any::<bool>(),
            steps in proptest::collection::vec((1..30_usize, 0..20_usize), 1..20),
        ) {
            let mut wire = Vec::new();
            chunks.iter().for_each(|chunk| write_chunk(chunk, &mut wire));
            write_last_chunk(if has_trailers { b"x-a: b\r\n\r\n" } else { b"" }, &mut wire);
            let mut reader = BodyReader(State::Chunked(ChunkDecoder::default()));
            let (mut at, mut data, mut ended) = (0, Vec::new(), false);
            let mut steps = steps.into_iter().cycle();
            let mut idle = 0;
            let mut brought = 0;
            while !ended {
                let (more, room) = steps.next().unwrap();
                // What is not used is brought again, with more behind it.
                brought = (brought + more).min(wire.len() - at);
                let room = if idle > 50 { room + 1 } else { room };
                let part = reader.read(&wire[at..at + brought], room).unwrap();
                prop_assert!(part.data.len() <= room);
                data.extend_from_slice(&wire[at..][part.data]);
                ended = part.end.is_some();
                idle = if part.used == 0 { idle + 1 } else { 0 };
                prop_assert!(idle < 1_000);
                at += part.used;
                brought -= part.used;
            }
            prop_assert_eq!((data, at), (chunks.concat(), wire.len()));
        }
    }
}
