//! What is promised of the frames of a WebSocket, whoever sends them: where one ends does not depend on the pieces in which
//! they come, and is where a reader finds it who has all of them at hand. Called by a fuzz target, and by the ordinary tests
//! of `tambat-wire` with every seed.

use tambat_wire::websocket::FrameEnds;

/// What one side has said.
pub(crate) fn websocket_frames(data: &[u8]) {
    let mut at_once = FrameEnds::default();
    at_once.on(data);
    let mut one_by_one = FrameEnds::default();
    data.iter().for_each(|byte| one_by_one.on(std::slice::from_ref(byte)));
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.is_between(), ends_with_a_frame(data));
}

/// Read frame by frame (RFC 6455 §5.2): is the last one whole, and no Close?
fn ends_with_a_frame(mut rest: &[u8]) -> bool {
    while let [first, second, behind @ ..] = rest {
        let length = match second & 0x7f {
            126 => behind.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest)),
            127 => behind.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest)),
            length => Some((u64::from(length), behind)),
        };
        let Some((length, behind)) = length else { return false };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        let end = length.checked_add(mask_bytes).and_then(|bytes| usize::try_from(bytes).ok());
        match end.and_then(|end| behind.get(end..)) {
            Some(after) if first & 0xf != 8 => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}
