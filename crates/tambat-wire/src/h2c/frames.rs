//! Frames (RFC 9113 §4), as far as one question and its answer need them.

/// What a client's connection begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The head of a frame.
const HEAD_BYTES: usize = 9;

/// Nobody may send us larger ones: we have not allowed it (`SETTINGS_MAX_FRAME_SIZE`).
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

/// A frame that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'b [u8],
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next<'b> {
    /// Not a whole frame yet.
    Incomplete,
    /// One that is larger than any may be.
    TooLong,
    /// This one, and the bytes behind it.
    Frame(Frame<'b>, &'b [u8]),
}

/// Reads the frame at the beginning of these bytes.
pub(super) fn next(bytes: &[u8]) -> Next<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Next::Incomplete;
    };
    let [a, b, c, kind, flags, stream @ ..] = *head;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if length > PAYLOAD_BYTES_MAX {
        return Next::TooLong;
    }
    match rest.split_at_checked(length) {
        // The highest bit of the stream's number is reserved (RFC 9113 §4.1).
        Some((payload, behind)) => {
            Next::Frame(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload }, behind)
        }
        None => Next::Incomplete,
    }
}

impl<'b> Frame<'b> {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of a `DATA` or `HEADERS` without padding and priority (RFC 9113 §6.1, §6.2); none: there is more of
    /// them than payload.
    pub(super) fn content(&self) -> Option<&'b [u8]> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(PADDED) {
            let (length, behind) = content.split_first()?;
            (padding, content) = (usize::from(*length), behind);
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            content = content.get(5..)?;
        }
        content.get(..content.len().checked_sub(padding)?)
    }

    /// The number that the payload begins with.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        self.payload.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// Appends a frame.
pub(super) fn put(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_is_written_and_no_part_of_it_is_one() {
        let mut wire = Vec::new();
        put(HEADERS, PADDED | PRIORITY, 1, &[2, 0, 0, 0, 0, 9, b'a', 0, 0], &mut wire);
        let Next::Frame(frame, rest) = next(&wire) else { panic!("it is one") };
        assert_eq!((frame.kind, frame.stream, frame.content(), rest), (HEADERS, 1, Some(&b"a"[..]), &[][..]));
        for end in 0..wire.len() {
            assert_eq!(next(&wire[..end]), Next::Incomplete, "{end}");
        }
    }

    #[test]
    fn more_padding_than_payload_is_no_content_and_a_long_one_no_frame() {
        let frame = |flags, payload| Frame { kind: HEADERS, flags, stream: 1, payload };
        assert_eq!(frame(PADDED, &[3, 0, 0]).content(), None);
        assert_eq!(frame(PADDED, &[]).content(), None);
        assert_eq!(frame(PRIORITY, &[0; 4]).content(), None);
        assert_eq!(next(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]), Next::TooLong);
        assert_eq!(next(b"HTTP/1.1 400 Bad"), Next::TooLong);
    }
}
