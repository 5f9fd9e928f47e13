//! The frames of a WebSocket (RFC 6455 §5.2), as far as where each of them ends: so that a router can say goodbye between
//! two of them, in the place of a server that it ends.

/// A Close frame of a server that goes away (RFC 6455 §5.5.1, §7.4.1: 1001).
pub const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// The bit of the second byte that says that the payload is masked.
const MASKED: u8 = 0x80;

/// How many bytes a mask has.
const MASK_BYTES: u64 = 4;

/// The opcode of a Close frame, behind which there is no other.
const CLOSE: u8 = 8;

/// Where one side of a WebSocket is, of which all bytes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameEnds(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Between two frames.
    #[default]
    Between,
    /// Behind the first byte of a frame, which is a Close, or is not.
    Begun { is_close: bool },
    /// In its length: so many bytes of it are to come.
    Length { left: u8, length: u64, mask_bytes: u64, is_close: bool },
    /// So many bytes of it are to come.
    Left { bytes: u64, is_close: bool },
    /// The side has said goodbye, or what it says is no frame.
    Over,
}

impl FrameEnds {
    /// It has said this.
    pub fn on(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            bytes = rest;
            self.0 = match self.0 {
                State::Between => State::Begun { is_close: first & 0xf == CLOSE },
                State::Begun { is_close } => begun(*first, is_close),
                State::Length { left, length, mask_bytes, is_close } => {
                    let length = length << 8 | u64::from(*first);
                    match left {
                        0 | 1 => left_of(length.checked_add(mask_bytes), is_close),
                        left => State::Length { left: left - 1, length, mask_bytes, is_close },
                    }
                }
                State::Left { bytes: left, is_close } => {
                    // This one and as many of the others as belong to it.
                    let more = usize::try_from(left - 1).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[more..];
                    left_of((left - 1).checked_sub(more as u64), is_close)
                }
                State::Over => return,
            };
        }
    }

    /// May another frame follow here?
    pub fn is_between(&self) -> bool {
        self.0 == State::Between
    }

    /// From now on nobody knows: bytes have passed that were not shown.
    pub fn lose(&mut self) {
        self.0 = State::Over;
    }
}

/// Behind the second byte.
fn begun(second: u8, is_close: bool) -> State {
    let mask_bytes = if second & MASKED == 0 { 0 } else { MASK_BYTES };
    match second & !MASKED {
        126 => State::Length { left: 2, length: 0, mask_bytes, is_close },
        127 => State::Length { left: 8, length: 0, mask_bytes, is_close },
        length => left_of(Some(u64::from(length) + mask_bytes), is_close),
    }
}

/// So many bytes of the frame are to come; none: it cannot be so long.
fn left_of(bytes: Option<u64>, is_close: bool) -> State {
    match bytes {
        None => State::Over,
        Some(0) if is_close => State::Over,
        Some(0) => State::Between,
        Some(bytes) => State::Left { bytes, is_close },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(bytes: &[u8]) -> FrameEnds {
        let mut ends = FrameEnds::default();
        ends.on(bytes);
        ends
    }

    fn frame(opcode: u8, is_masked: bool, payload: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let mask = if is_masked { MASKED } else { 0 };
        match payload {
            ..126 => frame.push(mask + u8::try_from(payload).unwrap()),
            126..=0xffff => {
                frame.push(mask + 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask + 127);
                frame.extend(u64::try_from(payload).unwrap().to_be_bytes());
            }
        }
        frame.resize(frame.len() + payload + if is_masked { 4 } else { 0 }, 0xff);
        frame
    }

    #[test]
    fn only_where_a_frame_ends_another_may_follow() {
        assert!(FrameEnds::default().is_between());
        for is_masked in [false, true] {
            for payload in [0, 1, 125, 126, 0xffff, 0x1_0000] {
                let frame = frame(1, is_masked, payload);
                for end in (1..frame.len()).filter(|end| *end < 40 || frame.len() - end < 40) {
                    assert!(!after(&frame[..end]).is_between(), "{payload} {end}");
                }
                assert!(after(&frame).is_between(), "{payload}");
            }
        }
    }

    #[test]
    fn behind_a_goodbye_no_frame_follows_and_what_cannot_be_is_none() {
        assert!(!after(&GOING_AWAY).is_between());
        assert!(!after(&[0x88, 0]).is_between());
        assert!(!after(&[&[0x82, 0xff][..], &[0xff; 8], &[0; 100]].concat()).is_between());
        let mut lost = after(&frame(1, false, 5));
        lost.lose();
        lost.on(&frame(1, false, 5));
        assert!(!lost.is_between());
    }

    proptest! {
        #[test]
        fn however_frames_are_cut(
            frames in proptest::collection::vec((0_u8..3, any::<bool>(), 0_usize..70_000), 1..5),
            at_a_time in 1_usize..5_000,
        ) {
            let all: Vec<u8> = frames.iter().flat_map(|(opcode, masked, payload)| frame(*opcode, *masked, *payload)).collect();
            let mut ends = FrameEnds::default();
            let mut bounds: Vec<usize> = Vec::new();
            frames.iter().fold(0, |at, (opcode, masked, payload)| {
                bounds.push(at + frame(*opcode, *masked, *payload).len());
                *bounds.last().unwrap()
            });
            let mut at = 0;
            for piece in all.chunks(at_a_time) {
                ends.on(piece);
                at += piece.len();
                prop_assert_eq!(ends.is_between(), bounds.contains(&at));
            }
        }
    }
}
