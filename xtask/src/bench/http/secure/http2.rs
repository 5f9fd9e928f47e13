//! HTTP/2 (RFC 9113) as this load needs it: so many requests without bodies at once, each answer checked.
//!
//! Fields are compressed as a browser would: the first request writes them into the server's table (RFC 7541 §6.2.1), all
//! others name their places in it (§6.1). Of an answer, the status and the length of the body are read.

use std::{io, time::Instant};

use super::{
    super::{
        offer::Offer,
        reply::Expected,
        request::{PLAIN_FIELDS, Requests},
    },
    shared::Shared,
    speech::Speech,
};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length, type, flags, stream (§4.1).
const HEAD_BYTES: usize = 9;

/// The longest that a server may send to who has not asked for longer ones (§4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// What a server may send on a connection before it is told that it arrived: as much as browsers let it.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// What it is until the first `WINDOW_UPDATE` (§6.9.2).
const WINDOW_BYTES_AT_FIRST: u32 = 65_535;

/// What a server's table of fields holds until it says otherwise (§6.5.2).
const TABLE_BYTES: u32 = 4_096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS, and the first of them also of SETTINGS and PING.
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// `:method: GET` and `:scheme: https` of the static table (RFC 7541, appendix A).
const GET_HTTPS: [u8; 2] = [0x82, 0x87];

/// `:status: 200` there. It has no shorter form, and no server here uses a longer one.
const STATUS_200: u8 = 0x88;

/// Places in the server's table: the last field that was written is in the first one (RFC 7541 §2.3.3).
const TABLE_BEGINS: u8 = 62;

/// One request that is on its way.
struct Open {
    stream: u32,
    since: Instant,
    /// Its status was 200.
    good: bool,
    /// Of its body, so far.
    bytes: u64,
}

/// A client's side of one connection.
pub(in super::super) struct Http2 {
    at_once: u32,
    body_bytes: u64,
    next_stream: u32,
    open: Vec<Open>,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// What came since the server was last told.
    untold_bytes: u32,
}

/// One frame, whole.
#[derive(Clone, Copy)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Speech for Http2 {
    fn begin(requests: &Requests, offer: Offer, since: Instant, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        frame(out, SETTINGS, 0, 0, &[ENABLE_PUSH.to_be_bytes().as_slice(), &0_u32.to_be_bytes()].concat());
        frame(out, WINDOW_UPDATE, 0, 0, &(WINDOW_BYTES - WINDOW_BYTES_AT_FIRST).to_be_bytes());
        let body_bytes = match requests.shape().then() {
            Expected::Body(bytes) => bytes,
            Expected::Switch | Expected::Exactly(_) => 0,
        };
        let at_once = u32::try_from(offer.at_once()).unwrap_or(u32::MAX);
        let (open, partial) = (Vec::new(), Vec::new());
        let mut this = Self { at_once, body_bytes, next_stream: 1, open, partial, untold_bytes: 0 };
        this.ask_one(since, out);
        this
    }

    fn ask(&mut self, _shared: &mut Shared, count: usize, since: Instant, out: &mut Vec<u8>) {
        for _ in 0..count {
            self.ask_one(since, out);
        }
    }

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>, answered: &mut Vec<Instant>) -> io::Result<()> {
        let carried = std::mem::take(&mut self.partial);
        let joined = if carried.is_empty() { Vec::new() } else { [&carried, bytes].concat() };
        let mut rest = if carried.is_empty() { bytes } else { &joined };
        while let Some((frame, behind)) = cut(rest)? {
            self.take(frame, out, answered)?;
            rest = behind;
        }
        self.partial = rest.to_vec();
        if self.untold_bytes > WINDOW_BYTES / 2 {
            frame(out, WINDOW_UPDATE, 0, 0, &self.untold_bytes.to_be_bytes());
            self.untold_bytes = 0;
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Http2 {
    fn ask_one(&mut self, since: Instant, out: &mut Vec<u8>) {
        let block = if self.next_stream == 1 { first_block() } else { next_block() };
        frame(out, HEADERS, END_HEADERS | END_STREAM, self.next_stream, &block);
        self.open.push(Open { stream: self.next_stream, since, good: false, bytes: 0 });
        self.next_stream += 2;
    }

    fn take(&mut self, frame: Frame<'_>, out: &mut Vec<u8>, answered: &mut Vec<Instant>) -> io::Result<()> {
        match frame.kind {
            DATA => {
                self.untold_bytes += u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
                let bytes = unpadded(frame)?.len() as u64;
                self.of_stream(frame, answered, |open| {
                    open.bytes += bytes;
                    Ok(())
                })
            }
            HEADERS => {
                let block = unpadded(frame)?;
                let block = if frame.flags & PRIORITY == 0 { block } else { block.get(5..).unwrap_or_default() };
                let good = first_field(block) == Some(STATUS_200) && frame.flags & END_HEADERS != 0;
                let said = format!("an answer was wrong: it is no 200: {block:02x?}");
                self.of_stream(frame, answered, |open| {
                    open.good = good;
                    if good { Ok(()) } else { Err(io::Error::other(said)) }
                })
            }
            SETTINGS if frame.flags & ACK == 0 => {
                self.agree(frame.payload)?;
                self::frame(out, SETTINGS, ACK, 0, &[]);
                Ok(())
            }
            PING if frame.flags & ACK == 0 => {
                self::frame(out, PING, ACK, 0, frame.payload);
                Ok(())
            }
            SETTINGS | PING | WINDOW_UPDATE => Ok(()),
            kind => Err(io::Error::other(format!(
                "a frame of type {kind} came on stream {}: {:02x?}",
                frame.stream, frame.payload
            ))),
        }
    }

    /// What a frame does to its stream, and to its end.
    fn of_stream(
        &mut self,
        frame: Frame<'_>,
        answered: &mut Vec<Instant>,
        change: impl FnOnce(&mut Open) -> io::Result<()>,
    ) -> io::Result<()> {
        let found = self.open.iter().position(|open| open.stream == frame.stream);
        let nth = found.ok_or_else(|| io::Error::other(format!("nobody asked on stream {}", frame.stream)))?;
        let open = &mut self.open[nth];
        change(open)?;
        if frame.flags & END_STREAM != 0 {
            if !open.good || open.bytes != self.body_bytes {
                let Open { good, bytes, .. } = open;
                return Err(io::Error::other(format!("an answer was wrong: a 200: {good}, bytes: {bytes}")));
            }
            answered.push(self.open.swap_remove(nth).since);
        }
        Ok(())
    }

    /// All that a server may ask for here, but what would make the load another one.
    fn agree(&self, payload: &[u8]) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            let [high, low, value @ ..] = setting else { continue };
            let value = value.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            match u16::from_be_bytes([*high, *low]) {
                HEADER_TABLE_SIZE if value < TABLE_BYTES => {
                    return Err(io::Error::other(format!("its table of fields holds {value} bytes only")));
                }
                MAX_CONCURRENT_STREAMS if value < self.at_once => {
                    return Err(io::Error::other(format!("it takes {value} requests at once only")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The first frame, if it is whole, and what stands behind it.
fn cut(bytes: &[u8]) -> io::Result<Option<(Frame<'_>, &[u8])>> {
    let Some(([high, middle, low, kind, flags, stream @ ..], behind)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame has {length} bytes")));
    }
    let Some((payload, behind)) = behind.split_at_checked(length) else { return Ok(None) };
    let stream = u32::from_be_bytes(*stream) & (u32::MAX >> 1);
    Ok(Some((Frame { kind: *kind, flags: *flags, stream, payload }, behind)))
}

/// Without its padding (§6.1).
fn unpadded(frame: Frame<'_>) -> io::Result<&[u8]> {
    if frame.flags & PADDED == 0 {
        return Ok(frame.payload);
    }
    let cut = frame.payload.split_first().and_then(|(padding, rest)| {
        let length = rest.len().checked_sub(usize::from(*padding))?;
        rest.get(..length)
    });
    cut.ok_or_else(|| io::Error::other("a frame is all padding"))
}

/// Where the fields of a head begin: changes of the size of its table may come first (RFC 7541 §6.3, §5.1).
fn first_field(block: &[u8]) -> Option<u8> {
    let mut bytes = block.iter().copied();
    loop {
        match bytes.next()? {
            0x3f => while bytes.next()? & 0x80 != 0 {},
            0x20..0x3f => {}
            field => return Some(field),
        }
    }
}

/// The fields of a request; all but the first two are written into the server's table.
fn first_block() -> Vec<u8> {
    let mut block = GET_HTTPS.to_vec();
    for (name, value) in PLAIN_FIELDS {
        block.push(0x40 | place(name));
        // Shorter than 127 bytes each, without Huffman's code (RFC 7541 §5.2).
        block.push(u8::try_from(value.len()).unwrap_or_default());
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// The same fields once they are there.
fn next_block() -> Vec<u8> {
    let mut block: Vec<u8> = PLAIN_FIELDS.iter().zip(TABLE_BEGINS..).map(|(_, place)| 0x80 | place).collect();
    block.extend(GET_HTTPS.iter().rev());
    block.reverse();
    block
}

/// Of a name in the static table (RFC 7541, appendix A).
fn place(name: &str) -> u8 {
    match name {
        ":authority" => 1,
        ":path" => 4,
        "accept" => 19,
        "user-agent" => 58,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = &[b'x'; 1024];

    fn begun(at_once: u32) -> (Http2, Vec<u8>) {
        let mut out = Vec::new();
        let requests = Requests::new(super::super::super::request::Shape::Plain);
        (Http2::begin(&requests, Offer::http2(at_once), Instant::now(), &mut out), out)
    }

    fn answer(stream: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, HEADERS, END_HEADERS, stream, &[0x3f, 0xe1, 0x1f, STATUS_200, 0xbf]);
        frame(&mut bytes, DATA, 0, stream, &BODY[..1000]);
        frame(&mut bytes, DATA, END_STREAM, stream, &BODY[1000..]);
        bytes
    }

    #[test]
    fn an_answer_is_whole_wherever_it_is_cut() {
        let bytes = [answer(1), answer(3)].concat();
        for at in 0..bytes.len() {
            let (mut client, mut out) = begun(2);
            client.ask_one(Instant::now(), &mut out);
            let mut answered = Vec::new();
            client.feed(&bytes[..at], &mut out, &mut answered).unwrap();
            assert!(client.waits() && answered.len() < 2, "{at}");
            client.feed(&bytes[at..], &mut out, &mut answered).unwrap();
            assert!(!client.waits() && answered.len() == 2, "{at}");
        }
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        let feed = |bytes: &[u8]| begun(2).0.feed(bytes, &mut Vec::new(), &mut Vec::new());
        let one = |kind, flags, stream, payload: &[u8]| {
            let mut bytes = Vec::new();
            frame(&mut bytes, kind, flags, stream, payload);
            bytes
        };
        assert!(feed(&answer(1)).is_ok() && feed(&answer(3)).is_err(), "nobody asked there");
        assert!(feed(&one(HEADERS, END_HEADERS, 1, &[0x8d])).is_err(), "a 404");
        assert!(feed(&one(HEADERS, END_HEADERS | END_STREAM, 1, &[STATUS_200])).is_err(), "no body");
        assert!(feed(&one(DATA, END_STREAM, 1, BODY)).is_err(), "no head");
        assert!(feed(&one(3, 0, 1, &[0; 4])).is_err() && feed(&one(7, 0, 0, &[0; 8])).is_err(), "reset, gone");
        assert!(feed(&one(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])).is_err(), "one request at once");
        assert!(feed(&one(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).is_err(), "no table");
        assert!(feed(&[0xff; HEAD_BYTES]).is_err(), "a frame too long");
    }

    #[test]
    fn settings_and_pings_are_acknowledged_and_windows_given_back() {
        let (mut client, _) = begun(100);
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        frame(&mut bytes, SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
        frame(&mut bytes, PING, 0, 0, b"12345678");
        frame(&mut bytes, SETTINGS, ACK, 0, &[]);
        client.untold_bytes = WINDOW_BYTES / 2 + 1;
        client.feed(&bytes, &mut out, &mut Vec::new()).unwrap();
        let mut expected = Vec::new();
        frame(&mut expected, SETTINGS, ACK, 0, &[]);
        frame(&mut expected, PING, ACK, 0, b"12345678");
        frame(&mut expected, WINDOW_UPDATE, 0, 0, &(WINDOW_BYTES / 2 + 1).to_be_bytes());
        assert_eq!((out, client.untold_bytes), (expected, 0));
    }

    #[test]
    fn padding_counts_for_the_window_and_not_for_the_body() {
        let (mut client, _) = begun(1);
        let mut bytes = Vec::new();
        frame(&mut bytes, HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &[2, 0, 0, 0, 0, 9, STATUS_200, 0, 0]);
        frame(&mut bytes, DATA, END_STREAM | PADDED, 1, &[&[3], BODY, &[0; 3]].concat());
        let mut answered = Vec::new();
        client.feed(&bytes, &mut Vec::new(), &mut answered).unwrap();
        assert_eq!((answered.len(), client.untold_bytes), (1, 1024 + 4));
    }

    #[test]
    fn a_head_begins_behind_changes_of_its_table() {
        assert_eq!(first_field(&[0x3f, 0xe1, 0x1f, 0x20, 0x3f, 0x00, 0x88, 0x20]), Some(0x88));
        assert_eq!((first_field(&[0x48, 0x88]), first_field(&[0x3f, 0xe1])), (Some(0x48), None));
    }

    #[test]
    fn later_requests_name_what_the_first_one_wrote() {
        let (_, out) = begun(1);
        assert!(out.starts_with(PREFACE));
        let first = first_block();
        assert!(out.ends_with(&first) && first.starts_with(&[0x82, 0x87, 0x44, 9]), "{first:02x?}");
        assert_eq!(next_block(), [0x82, 0x87, 0xc1, 0xc0, 0xbf, 0xbe]);
        assert!(PLAIN_FIELDS.iter().all(|(name, value)| place(name) > 0 && value.len() < 127));
    }
}
