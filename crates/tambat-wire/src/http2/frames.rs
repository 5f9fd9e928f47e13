//! The frames of HTTP/2 (RFC 9113 §4, §6, §7), as far as they are looked at here.

/// What a client begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload of a frame that is taken: what every receiver has to take (RFC 9113 §4.2), and no more, for it is
/// kept whole.
pub const FRAME_BYTES_MAX: u16 = 16 * 1024;

/// The head of a frame (RFC 9113 §4.1).
pub(super) const HEAD_BYTES: usize = 9;

/// The types of frames (RFC 9113 §6).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// The flags of frames.
pub(super) mod flag {
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// The settings that are looked at (RFC 9113 §6.5.2).
pub(super) const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;

/// The window of a connection at its beginning (RFC 9113 §6.9.2).
pub(super) const CONNECTION_WINDOW_BYTES: u16 = 65_535;

/// The largest window there is (RFC 9113 §6.9.1).
pub(super) const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// Why a connection is ended (RFC 9113 §7): those that are ours to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A rule was broken.
    ProtocolError,
    /// A window would be larger than there are any.
    FlowControlError,
    /// A frame has a length that it cannot have.
    FrameSizeError,
    /// The client makes more work than its requests are worth.
    EnhanceYourCalm,
}

impl Reason {
    /// As it is sent.
    pub fn code(self) -> u32 {
        match self {
            Self::ProtocolError => 0x1,
            Self::FlowControlError => 0x3,
            Self::FrameSizeError => 0x6,
            Self::EnhanceYourCalm => 0xb,
        }
    }
}

/// What ends a connection that has not begun: no stream was served (RFC 9113 §6.8).
pub fn goaway(reason: Reason) -> [u8; 17] {
    let mut frame = [0; 17];
    frame[2] = 8;
    frame[3] = kind::GOAWAY;
    frame[13..].copy_from_slice(&reason.code().to_be_bytes());
    frame
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) bytes: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) fn read(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            bytes: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            // The first bit says nothing (RFC 9113 §4.1).
            stream: u32::from_be_bytes(stream) & WINDOW_BYTES_MAX,
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_a_goaway_is_one_frame() {
        let frame = goaway(Reason::EnhanceYourCalm);
        let (head, payload) = frame.split_first_chunk::<HEAD_BYTES>().unwrap();
        let head = FrameHead::read(*head);
        assert_eq!(head, FrameHead { bytes: 8, kind: kind::GOAWAY, flags: 0, stream: 0 });
        assert_eq!(payload, [0, 0, 0, 0, 0, 0, 0, 0xb]);
        let reserved = FrameHead::read([1, 0, 2, 1, 0x25, 0x80, 0, 0, 3]);
        assert_eq!((reserved.bytes, reserved.stream), (0x1_0002, 3));
        assert!(reserved.has(flag::PRIORITY) && reserved.has(flag::END_STREAM) && !reserved.has(flag::PADDED));
    }
}
