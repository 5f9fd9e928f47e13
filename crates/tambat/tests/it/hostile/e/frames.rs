//! Frames of HTTP/2 as bytes: written one by one, read one by one, and field sections without a table.

/// Types of frames (RFC 9113 §6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags.
pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// A whole request.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Error codes (RFC 9113 §7).
pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const STREAM_CLOSED: u32 = 5;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const COMPRESSION_ERROR: u32 = 9;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The one at the beginning, and how long it is.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let head = bytes.first_chunk::<9>()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = bytes.get(9..9 + length)?.to_vec();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some((Self { kind: head[3], flags: head[4], stream, payload }, 9 + length))
    }

    pub(super) fn is(&self, kind: u8, flag: u8) -> bool {
        self.kind == kind && self.flags & flag == flag
    }

    /// The number at this place of the payload.
    pub(super) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// What this SETTINGS frame says of a setting.
    pub(super) fn setting(&self, id: u16) -> Option<u32> {
        let mut settings = self.payload.chunks_exact(6);
        let value = |setting: &[u8]| u32::from_be_bytes(setting[2..].try_into().unwrap());
        settings.find(|setting| setting[..2] == id.to_be_bytes()).map(value)
    }

    /// The `:status` that a field section begins with: as an entry of the static table, or as digits (RFC 7541 §5.2,
    /// §6.2.1). None: it is an entry of the dynamic table.
    pub(super) fn status(&self) -> Option<u16> {
        const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match *self.payload.first()? {
            indexed @ 0x88..=0x8e => Some(STATIC[usize::from(indexed - 0x88)]),
            0x48 | 0x08 | 0x18 if self.payload[1] & 0x80 != 0 => coded_digits(&self.payload[2..]),
            0x48 | 0x08 | 0x18 => std::str::from_utf8(&self.payload[2..5]).ok()?.parse().ok(),
            _ => None,
        }
    }
}

/// Three digits in the code of RFC 7541, Appendix B: 0, 1 and 2 have five bits, the others six.
fn coded_digits(bytes: &[u8]) -> Option<u16> {
    let byte = |nth: usize| u32::from(bytes.get(nth).copied().unwrap_or_default());
    let bits = byte(0) << 24 | byte(1) << 16 | byte(2) << 8;
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let next = |length: u32| bits << at >> (32 - length);
        let (digit, length) = match next(5) {
            short @ 0..=2 => (short, 5),
            _ => (next(6) - 0x19 + 3, 6),
        };
        number = number * 10 + digit;
        at += length;
    }
    u16::try_from(number).ok()
}

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    with_length(payload.len(), kind, flags, stream, payload)
}

/// One that says that it is so long.
pub(super) fn with_length(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

pub(super) fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

pub(super) fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

pub(super) fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        all.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(super) fn ping(bytes: &[u8]) -> Vec<u8> {
    frame(PING, 0, 0, bytes)
}

pub(super) fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(super) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// On stream `on`, of no weight.
pub(super) fn priority(stream: u32, on: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[&on.to_be_bytes()[..], &[0]].concat())
}

pub(super) fn goaway(stream: u32, last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, stream, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// The newest entry of the dynamic table, as a field (RFC 7541 §2.3.3, §6.1).
pub(super) const NEWEST: u8 = 0xbe;

/// A field section: each field a literal that is put into no table (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(text.len(), 0x7f, 0, &mut out);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// A number with a prefix of these bits (RFC 7541 §5.1).
pub(super) fn length(mut number: usize, prefix: usize, pattern: u8, out: &mut Vec<u8>) {
    if number < prefix {
        out.push(pattern | u8::try_from(number).unwrap());
        return;
    }
    out.push(pattern | u8::try_from(prefix).unwrap());
    number -= prefix;
    while number >= 0x80 {
        out.push(0x80 | u8::try_from(number & 0x7f).unwrap());
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap());
}

/// The host of the route.
pub(super) const HOST: &str = "shop.example";

/// The pseudo-header fields of a request.
pub(super) fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":path", path), (":authority", HOST)]
}

/// A field section with these fields behind those of a request.
pub(super) fn request<'a>(method: &'a str, path: &'a str, fields: &[(&'a str, &'a str)]) -> Vec<u8> {
    block(&[&pseudo(method, path)[..], fields].concat())
}

/// A whole GET.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, WHOLE, &request("GET", path, &[]))
}

/// A POST whose body is to come.
pub(super) fn post(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_HEADERS, &request("POST", path, &[]))
}
