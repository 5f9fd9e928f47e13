//! What is to be seen in the frames that are sent to a client: what it was refused, whoever did so. The codec says nothing
//! of what it refuses by itself.

use super::frames::{FrameHead, HEAD_BYTES, kind};

/// What floods are told.
const CALM: &str = "ENHANCE_YOUR_CALM";

/// The codes by which a client is refused something (RFC 9113 §7), and their names. The others say that a request was
/// given up on another's account, or that all is well.
const REFUSALS: [(u32, &str); 8] = [
    (0x1, "PROTOCOL_ERROR"),
    (0x3, "FLOW_CONTROL_ERROR"),
    (0x5, "STREAM_CLOSED"),
    (0x6, "FRAME_SIZE_ERROR"),
    (0x7, "REFUSED_STREAM"),
    (0x9, "COMPRESSION_ERROR"),
    (0xb, CALM),
    (0xd, "HTTP_1_1_REQUIRED"),
];

/// What a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A request: its stream was reset, for this reason as RFC 9113 calls it.
    Stream(&'static str),
    /// Everything: the connection is closed, for this reason.
    Connection(&'static str),
}

impl Refused {
    /// Is the connection closed for a flood?
    pub fn is_flood(self) -> bool {
        self == Self::Connection(CALM)
    }
}

/// Looks at frames as they are sent.
#[derive(Debug, Default)]
pub struct SentWatch {
    /// The beginning of a frame, as far as it is looked at.
    bytes: [u8; LOOK_BYTES],
    len: usize,
    /// So many bytes of the frame are still to come, and nobody looks at them.
    left: usize,
    /// Bytes of bodies.
    data: u64,
}

/// A head, and what stands behind it up to the code of a GOAWAY.
const LOOK_BYTES: usize = HEAD_BYTES + 8;

impl SentWatch {
    /// Looks at bytes, each once and in their order.
    pub fn look(&mut self, mut bytes: &[u8], mut see: impl FnMut(Refused)) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let wanted = self.wanted();
            let used = bytes.len().min(wanted - self.len);
            self.bytes[self.len..self.len + used].copy_from_slice(&bytes[..used]);
            self.len += used;
            bytes = &bytes[used..];
            // What is wanted is more where the head says so.
            if self.len == self.wanted() {
                self.end(&mut see);
            }
        }
    }

    /// How many bytes of bodies were sent, all streams together, up to the frame that is on its way.
    pub fn data(&self) -> u64 {
        self.data
    }

    /// How many bytes at the beginning of a frame are looked at.
    fn wanted(&self) -> usize {
        match self.head() {
            Some(head) => HEAD_BYTES + code_ends(head),
            None => HEAD_BYTES,
        }
    }

    fn head(&self) -> Option<FrameHead> {
        let head = self.bytes.first_chunk::<HEAD_BYTES>()?;
        (self.len >= HEAD_BYTES).then(|| FrameHead::read(*head))
    }

    /// All that is looked at of a frame has come.
    fn end(&mut self, see: &mut impl FnMut(Refused)) {
        let Some(head) = self.head() else {
            return;
        };
        let looked = code_ends(head);
        if let Some((_, code)) = self.bytes[HEAD_BYTES..HEAD_BYTES + looked].split_last_chunk::<4>() {
            let code = u32::from_be_bytes(*code);
            if let Some((_, name)) = REFUSALS.iter().find(|(known, _)| *known == code) {
                see(if head.kind == kind::GOAWAY { Refused::Connection(name) } else { Refused::Stream(name) });
            }
        }
        if head.kind == kind::DATA {
            self.data += head.bytes as u64;
        }
        (self.len, self.left) = (0, head.bytes - looked);
    }
}

/// So many bytes of the payload are looked at: up to the end of the code (RFC 9113 §6.4, §6.8), where there is one.
fn code_ends(head: FrameHead) -> usize {
    match head.kind {
        kind::RST_STREAM if head.bytes >= 4 => 4,
        kind::GOAWAY if head.bytes >= 8 => 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::{Reason, goaway};
    use super::*;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, stream], payload].concat()
    }

    fn seen(frames: &[Vec<u8>]) -> Vec<Refused> {
        let bytes = frames.concat();
        let looked = |piece: usize| {
            let (mut watch, mut seen) = (SentWatch::default(), Vec::new());
            bytes.chunks(piece).for_each(|piece| watch.look(piece, |refused| seen.push(refused)));
            seen
        };
        let whole = looked(bytes.len());
        for piece in [1, 2, 5, 9, 13, 17, 64] {
            assert_eq!(looked(piece), whole, "{piece}");
        }
        whole
    }

    #[test]
    fn bytes_of_bodies_are_counted() {
        let data = |payload: &[u8]| frame(kind::DATA, 1, payload);
        let bytes = [data(&[7; 100]), frame(kind::HEADERS, 1, &[0x88; 50]), data(&[]), data(&[1])].concat();
        for piece in [1, 8, 9, 64, bytes.len()] {
            let mut watch = SentWatch::default();
            bytes.chunks(piece).for_each(|piece| watch.look(piece, |_| ()));
            assert_eq!(watch.data(), 101, "{piece}");
        }
    }

    #[test]
    fn refusals_are_seen_and_nothing_else() {
        let rst = |code: u8| frame(kind::RST_STREAM, 3, &[0, 0, 0, code]);
        let ordinary = [
            frame(kind::SETTINGS, 0, &[0, 3, 0, 0, 0, 1]),
            frame(kind::SETTINGS, 0, &[]),
            frame(kind::HEADERS, 1, &[0x88]),
            // What is in it is no frame.
            frame(kind::DATA, 1, &rst(1)),
            frame(kind::DATA, 1, &[]),
        ];
        assert_eq!(seen(&ordinary), []);
        // NO_ERROR, INTERNAL_ERROR and CANCEL refuse nothing.
        assert_eq!(seen(&[rst(0), rst(2), rst(8), frame(kind::GOAWAY, 0, &[0; 8])]), []);
        let with_words = frame(kind::GOAWAY, 0, &[&[0, 0, 0, 5, 0, 0, 0, 0xb][..], b"too_many_resets"].concat());
        let all = [&ordinary[..], &[rst(7), with_words, rst(1), goaway(Reason::ProtocolError).to_vec()]].concat();
        assert_eq!(
            seen(&all),
            [
                Refused::Stream("REFUSED_STREAM"),
                Refused::Connection("ENHANCE_YOUR_CALM"),
                Refused::Stream("PROTOCOL_ERROR"),
                Refused::Connection("PROTOCOL_ERROR"),
            ]
        );
    }
}
