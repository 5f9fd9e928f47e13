//! What is to be seen of a client in the heads of its frames: floods, and rules that only frames show.
//!
//! Nothing is kept of what goes by. An ordinary frame costs a look at nine bytes. The limits are three purses: one that
//! frames without a purpose of their own are paid from (PING, SETTINGS, `WINDOW_UPDATE`, PRIORITY, empty DATA, what is not
//! known), one that aborted requests are paid from, and one for bodies in crumbs. All fill with time; requests and answers
//! fill the first, whole answers the second, larger pieces of bodies and pieces of answers the third: who gets work done may
//! do much.

use std::time::Duration;

use super::frames::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, FrameHead, HEAD_BYTES, Reason, SETTING_INITIAL_WINDOW_SIZE,
    WINDOW_BYTES_MAX, flag, kind,
};

/// So many frames without a purpose of their own may come at once: far more than any client has reason for, and some
/// hundred microseconds of work.
const IDLE_FRAMES_MAX: u32 = 500;

/// So many of them come back a second: pings, and windows of slow downloads.
const IDLE_FRAMES_PER_S: u32 = 50;

/// What a request is worth: windows for its answer, a change of its priority.
const FRAMES_PER_REQUEST: u32 = 4;

/// What a piece of an answer is worth: a window for its stream, and one for the connection.
const FRAMES_PER_PIECE: u32 = 2;

/// So many requests may be aborted at once: a page with a hundred pictures that is left, twice.
const ABORTS_MAX: u32 = 200;

/// So many of them come back a second.
const ABORTS_PER_S: u32 = 20;

/// A piece of a body that is smaller costs what it lacks: the head of its frame is larger, and so is what is made of it on
/// its way. The smallest message of gRPC lacks 3 bytes, the smallest frame of a WebSocket 1.
const CRUMB_BYTES: u32 = 8;

/// So many bytes may be lacking at once: some 2,300 frames of a single byte.
const CRUMBS_MAX: u32 = 16 * 1024;

/// So many of them come back a second: 1,170 such frames, 2,730 of the smallest messages.
const CRUMBS_PER_S: u32 = 8 * 1024;

/// What a piece of an answer is worth: who is answered has said something, in whatever pieces.
const CRUMBS_PER_PIECE: u32 = 8;

/// What fills with time, up to a limit, and is spent.
#[derive(Debug)]
struct Purse {
    left: u32,
    max: u32,
    per_s: u32,
    /// When it was filled last.
    filled: Duration,
}

impl Purse {
    fn new(max: u32, per_s: u32) -> Self {
        Self { left: max, max, per_s, filled: Duration::ZERO }
    }

    fn earn(&mut self, more: u32) {
        self.left = self.left.saturating_add(more).min(self.max);
    }

    /// Takes so much; the time is asked for when there is less. Was there so much?
    fn spend(&mut self, cost: u32, now: impl FnOnce() -> Duration) -> bool {
        if self.left < cost {
            let now = now();
            let passed_ms = now.saturating_sub(self.filled).as_millis();
            let earned = u32::try_from(passed_ms * u128::from(self.per_s) / 1_000).unwrap_or(u32::MAX);
            if self.left.saturating_add(earned) < cost {
                return false;
            }
            self.filled = now;
            self.earn(earned);
        }
        self.left -= cost;
        true
    }
}

/// What a client did that ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broke {
    /// What it is told.
    pub reason: Reason,
    /// So many bytes of those that were looked at last are good: up to the frame that is not.
    pub good_bytes: usize,
}

/// Looks at a client's frames as they come.
#[derive(Debug)]
pub struct FrameWatch {
    state: State,
    idle: Purse,
    aborts: Purse,
    crumbs: Purse,
    /// The first frame has come (RFC 9113 §3.4).
    has_begun: bool,
    /// The highest stream that was opened.
    opened: u32,
    /// So many bytes of bodies the client takes on this connection, from its beginning on.
    takes: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes of a head have come.
    Head { bytes: [u8; HEAD_BYTES], len: usize },
    /// So many bytes of a payload are still to come, and nobody looks at them.
    Payload { left: usize },
    /// SETTINGS: the beginning of a setting has come.
    Settings { left: usize, bytes: [u8; SETTING_BYTES], len: usize },
    /// A `WINDOW_UPDATE` for the connection: the beginning of its increment has come.
    Window { bytes: [u8; INCREMENT_BYTES], len: usize },
    /// A field section that may be trailers: its beginning is looked at.
    Trailers { left: usize, flags: u8, bytes: [u8; TRAILERS_LOOK_BYTES], len: usize },
}

/// A setting (RFC 9113 §6.5.1).
const SETTING_BYTES: usize = 6;

/// What a `WINDOW_UPDATE` holds (RFC 9113 §6.9).
const INCREMENT_BYTES: usize = 4;

/// The length of the padding, the priority, and three bytes of the first field.
const TRAILERS_LOOK_BYTES: usize = 9;

const NEXT: State = State::Head { bytes: [0; HEAD_BYTES], len: 0 };

impl Default for FrameWatch {
    fn default() -> Self {
        Self {
            state: NEXT,
            idle: Purse::new(IDLE_FRAMES_MAX, IDLE_FRAMES_PER_S),
            aborts: Purse::new(ABORTS_MAX, ABORTS_PER_S),
            crumbs: Purse::new(CRUMBS_MAX, CRUMBS_PER_S),
            has_begun: false,
            opened: 0,
            takes: u64::from(CONNECTION_WINDOW_BYTES),
        }
    }
}

impl FrameWatch {
    /// Looks at bytes behind the preface, each once and in their order. `now`: since some moment, asked for when a purse
    /// is empty.
    pub fn look(&mut self, bytes: &[u8], now: impl Fn() -> Duration) -> Result<(), Broke> {
        let mut at = 0;
        // Where the frame that is being looked at begins, as far as it is among these bytes.
        let mut begins = 0;
        while at < bytes.len() {
            if let State::Head { len: 0, .. } = self.state {
                begins = at;
            }
            at += self.step(&bytes[at..], &now).map_err(|reason| Broke { reason, good_bytes: begins })?;
        }
        Ok(())
    }

    /// A piece of an answer was sent.
    pub fn sent_piece(&mut self) {
        self.idle.earn(FRAMES_PER_PIECE);
        self.crumbs.earn(CRUMBS_PER_PIECE);
    }

    /// An answer was sent to its end.
    pub fn answered(&mut self) {
        self.aborts.earn(1);
    }

    /// How many bytes of bodies the client takes on this connection, all streams together, from its beginning on.
    pub fn takes(&self) -> u64 {
        self.takes
    }

    /// A request was so bad that its stream was reset: that costs as much as one that is aborted.
    pub fn refused(&mut self, now: impl Fn() -> Duration) -> Result<(), Reason> {
        if self.aborts.spend(1, now) { Ok(()) } else { Err(Reason::EnhanceYourCalm) }
    }

    /// Looks at the beginning of `bytes`: how many were used.
    fn step(&mut self, bytes: &[u8], now: &impl Fn() -> Duration) -> Result<usize, Reason> {
        match self.state {
            State::Head { bytes: mut head, mut len } => {
                let used = fill(&mut head, &mut len, bytes, HEAD_BYTES);
                self.state = State::Head { bytes: head, len };
                if len == HEAD_BYTES {
                    self.frame(FrameHead::read(head), now)?;
                }
                Ok(used)
            }
            State::Payload { left } => {
                let used = bytes.len().min(left);
                self.payload(left - used);
                Ok(used)
            }
            State::Settings { left, bytes: mut setting, mut len } => {
                let used = fill(&mut setting, &mut len, bytes, SETTING_BYTES);
                self.state = State::Settings { left, bytes: setting, len };
                if len == SETTING_BYTES {
                    setting_is_fit(setting)?;
                    self.settings(left - SETTING_BYTES);
                }
                Ok(used)
            }
            State::Window { bytes: mut increment, mut len } => {
                let used = fill(&mut increment, &mut len, bytes, INCREMENT_BYTES);
                self.state = State::Window { bytes: increment, len };
                if len == INCREMENT_BYTES {
                    // The first bit says nothing.
                    self.takes += u64::from(u32::from_be_bytes(increment) & WINDOW_BYTES_MAX);
                    self.state = NEXT;
                }
                Ok(used)
            }
            State::Trailers { left, flags, bytes: mut look, mut len } => {
                let wanted = TRAILERS_LOOK_BYTES.min(left);
                let used = fill(&mut look, &mut len, bytes, wanted);
                self.state = State::Trailers { left, flags, bytes: look, len };
                if len == wanted {
                    if begins_with_pseudo(&look[..len], flags) {
                        return Err(Reason::ProtocolError);
                    }
                    self.payload(left - wanted);
                }
                Ok(used)
            }
        }
    }

    fn payload(&mut self, left: usize) {
        self.state = if left == 0 { NEXT } else { State::Payload { left } };
    }

    fn settings(&mut self, left: usize) {
        self.state = if left == 0 { NEXT } else { State::Settings { left, bytes: [0; SETTING_BYTES], len: 0 } };
    }

    /// The head of a frame has come.
    fn frame(&mut self, head: FrameHead, now: &impl Fn() -> Duration) -> Result<(), Reason> {
        if !self.has_begun {
            self.has_begun = true;
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(Reason::ProtocolError);
            }
        }
        size_is_fit(head)?;
        self.pay(head, now)?;
        self.payload(head.bytes);
        match head.kind {
            kind::SETTINGS => self.settings(head.bytes),
            kind::WINDOW_UPDATE if head.stream == 0 => {
                self.state = State::Window { bytes: [0; INCREMENT_BYTES], len: 0 };
            }
            kind::HEADERS if head.stream > self.opened => {
                self.opened = head.stream;
                self.idle.earn(FRAMES_PER_REQUEST);
            }
            // A second field section is that of the trailers (RFC 9113 §8.1).
            kind::HEADERS if head.bytes > 0 => {
                let bytes = [0; TRAILERS_LOOK_BYTES];
                self.state = State::Trailers { left: head.bytes, flags: head.flags, bytes, len: 0 };
            }
            _ => {}
        }
        Ok(())
    }

    fn pay(&mut self, head: FrameHead, now: &impl Fn() -> Duration) -> Result<(), Reason> {
        let is_paid = match head.kind {
            kind::HEADERS => true,
            kind::DATA if head.has(flag::END_STREAM) => true,
            kind::DATA if head.bytes > usize::from(head.has(flag::PADDED)) => self.pay_piece(head.bytes, now),
            kind::CONTINUATION if head.bytes > 0 || head.has(flag::END_HEADERS) => true,
            kind::RST_STREAM => self.aborts.spend(1, now),
            _ => self.idle.spend(1, now),
        };
        if is_paid { Ok(()) } else { Err(Reason::EnhanceYourCalm) }
    }

    /// A piece of a body of so many bytes. Is it paid?
    fn pay_piece(&mut self, bytes: usize, now: &impl Fn() -> Duration) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.crumbs.earn(bytes.saturating_sub(CRUMB_BYTES));
        self.crumbs.spend(CRUMB_BYTES.saturating_sub(bytes), now)
    }
}

/// Takes bytes up to `wanted` of them: how many.
fn fill(into: &mut [u8], len: &mut usize, bytes: &[u8], wanted: usize) -> usize {
    let used = bytes.len().min(wanted - *len);
    into[*len..*len + used].copy_from_slice(&bytes[..used]);
    *len += used;
    used
}

/// Has the frame a length that its kind can have (RFC 9113 §4.2 and §6)?
fn size_is_fit(head: FrameHead) -> Result<(), Reason> {
    let is_fit = match head.kind {
        kind::PRIORITY => head.bytes == 5,
        kind::RST_STREAM | kind::WINDOW_UPDATE => head.bytes == 4,
        kind::SETTINGS if head.has(flag::ACK) => head.bytes == 0,
        kind::SETTINGS => head.bytes.is_multiple_of(SETTING_BYTES),
        kind::PING => head.bytes == 8,
        kind::GOAWAY => head.bytes >= 8,
        _ => true,
    };
    if is_fit && head.bytes <= usize::from(FRAME_BYTES_MAX) { Ok(()) } else { Err(Reason::FrameSizeError) }
}

fn setting_is_fit(setting: [u8; SETTING_BYTES]) -> Result<(), Reason> {
    let [a, b, value @ ..] = setting;
    let is_window = u16::from_be_bytes([a, b]) == SETTING_INITIAL_WINDOW_SIZE;
    if is_window && u32::from_be_bytes(value) > WINDOW_BYTES_MAX { Err(Reason::FlowControlError) } else { Ok(()) }
}

/// Does the field section begin with a pseudo-header field? They stand before all others (RFC 9113 §8.3), so that the
/// first field shows them. One that the client has put into the table of fields (RFC 7541 §2.3.2) is not seen, and is
/// dropped later.
fn begins_with_pseudo(payload: &[u8], flags: u8) -> bool {
    /// The entries of the static table that are pseudo-header fields (RFC 7541, Appendix A).
    const PSEUDO: std::ops::RangeInclusive<u8> = 1..=14;
    /// The first bits of `:` in the code of RFC 7541, Appendix B, which has seven.
    const COLON_CODED: u8 = 0b101_1100;
    let has = |flag: u8| flags & flag != 0;
    let skipped = usize::from(has(flag::PADDED)) + if has(flag::PRIORITY) { 5 } else { 0 };
    match payload.get(skipped..).unwrap_or_default() {
        // An indexed field (RFC 7541 §6.1).
        [first @ 0x80..=0xff, ..] => PSEUDO.contains(&(first & 0x7f)),
        // A literal with its name (§6.2).
        [0x40 | 0x10 | 0x00, length, name, ..] => {
            if length & 0x80 == 0 {
                *name == b':'
            } else {
                name >> 1 == COLON_CODED
            }
        }
        // A literal with the name of an entry.
        [first @ 0x40..=0x7f, ..] => PSEUDO.contains(&(first & 0x3f)),
        [first @ 0..0x20, ..] => PSEUDO.contains(&(first & 0x0f)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn settings() -> Vec<u8> {
        frame(kind::SETTINGS, 0, 0, &[])
    }

    /// What comes of these frames behind the first, in pieces of every size.
    fn look(frames: &[Vec<u8>]) -> Result<(), Reason> {
        let bytes = [settings(), frames.concat()].concat();
        let looked = |piece: usize| {
            let mut watch = FrameWatch::default();
            bytes.chunks(piece).try_for_each(|piece| watch.look(piece, || Duration::ZERO)).map_err(|broke| broke.reason)
        };
        let whole = looked(bytes.len());
        for piece in [1, 2, 5, 9, 10, 64] {
            assert_eq!(looked(piece), whole, "{piece}");
        }
        whole
    }

    fn repeated(frame: Vec<u8>, times: usize) -> Result<(), Reason> {
        look(&vec![frame; times])
    }

    const CALM: Result<(), Reason> = Err(Reason::EnhanceYourCalm);

    #[test]
    fn floods_are_seen() {
        let idle = IDLE_FRAMES_MAX as usize;
        for (frame, max) in [
            (frame(kind::PING, 0, 0, &[0; 8]), idle),
            (frame(kind::PING, flag::ACK, 0, &[0; 8]), idle),
            // The first of them is paid, too.
            (settings(), idle - 1),
            (frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]), idle - 1),
            (frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), idle),
            (frame(kind::PRIORITY, 0, 1, &[0; 5]), idle),
            (frame(kind::DATA, 0, 1, &[]), idle),
            (frame(kind::DATA, flag::PADDED, 1, &[0]), idle),
            (frame(0xfa, 0, 0, b"who knows"), idle),
            (frame(kind::CONTINUATION, 0, 1, &[]), idle),
            (frame(kind::RST_STREAM, 0, 1, &[0; 4]), ABORTS_MAX as usize),
        ] {
            let (kind, max) =
                (frame[3], if frame[3] == kind::SETTINGS || frame[3] == kind::RST_STREAM { max } else { max - 1 });
            assert_eq!(repeated(frame.clone(), max), Ok(()), "{kind}");
            assert_eq!(repeated(frame, max + 1), CALM, "{kind}");
        }
        for frame in [
            frame(kind::DATA, 0, 1, b"eight b."),
            frame(kind::DATA, flag::END_STREAM, 1, &[]),
            frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]),
        ] {
            assert_eq!(repeated(frame, 5_000), Ok(()));
        }
    }

    #[test]
    fn work_and_time_fill_the_purses() {
        let ping = frame(kind::PING, 0, 0, &[0; 8]);
        let mut watch = FrameWatch::default();
        let looks =
            |watch: &mut FrameWatch, frames: &[u8], ms| watch.look(frames, || Duration::from_millis(ms)).is_ok();
        assert!(looks(&mut watch, &settings(), 0));
        for _ in 1..IDLE_FRAMES_MAX {
            assert!(looks(&mut watch, &ping, 0));
        }
        assert!(!looks(&mut watch, &ping, 19));
        let mut watch = FrameWatch { state: NEXT, ..watch };
        assert!(looks(&mut watch, &ping, 20) && !looks(&mut watch, &ping, 39));
        watch.state = NEXT;
        watch.sent_piece();
        assert!(looks(&mut watch, &ping, 39) && looks(&mut watch, &ping, 39) && !looks(&mut watch, &ping, 39));
        watch.state = NEXT;
        assert!(looks(&mut watch, &frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x82]), 39));
        assert!((0..FRAMES_PER_REQUEST).all(|_| looks(&mut watch, &ping, 39)) && !looks(&mut watch, &ping, 39));
        // As many requests may be aborted as are served.
        let mut watch = FrameWatch::default();
        assert!((0..ABORTS_MAX).all(|_| watch.refused(|| Duration::ZERO).is_ok()));
        assert_eq!(watch.refused(|| Duration::ZERO), CALM);
        watch.answered();
        assert!(watch.refused(|| Duration::ZERO).is_ok() && watch.refused(|| Duration::ZERO).is_err());
    }

    #[test]
    fn what_the_connection_takes_is_counted() {
        let more = |stream: u32, bytes: u32| frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
        let bytes = [settings(), more(0, 1), more(1, 1_000), more(0, 0x8001_0000)].concat();
        for piece in [1, 2, 5, bytes.len()] {
            let mut watch = FrameWatch::default();
            assert_eq!(watch.takes(), 65_535);
            assert!(bytes.chunks(piece).all(|piece| watch.look(piece, || Duration::ZERO).is_ok()));
            assert_eq!(watch.takes(), 65_535 + 1 + 0x1_0000, "{piece}");
        }
    }

    #[test]
    fn bodies_in_crumbs_are_seen() {
        let piece = |bytes: usize| frame(kind::DATA, 0, 1, &vec![0; bytes]);
        for (bytes, lacks) in [(1, 7), (5, 3), (7, 1)] {
            let max = CRUMBS_MAX as usize / lacks;
            assert_eq!(repeated(piece(bytes), max), Ok(()), "{bytes}");
            assert_eq!(repeated(piece(bytes), max + 1), CALM, "{bytes}");
        }
        // Padding is what the window pays for, and is taken for bytes.
        assert_eq!(repeated(frame(kind::DATA, flag::PADDED, 1, &[6, 0, 0, 0, 0, 0, 0, 0]), 5_000), Ok(()));
        // Time, larger pieces and answers make up for it.
        let ms = Duration::from_millis;
        let mut watch = FrameWatch::default();
        assert!(watch.look(&settings(), || ms(0)).is_ok());
        let mut spent = |now: u64, earn: &dyn Fn(&mut FrameWatch)| {
            watch.state = NEXT;
            earn(&mut watch);
            (0..10_000).take_while(|_| watch.look(&piece(1), || ms(now)).is_ok()).count()
        };
        assert_eq!(spent(0, &|_| ()), 2_340);
        assert_eq!(spent(0, &|_| ()), 0);
        assert_eq!(spent(1_000, &|_| ()), 1_170);
        assert_eq!(spent(1_000, &|watch| watch.sent_piece()), 2);
        assert_eq!(spent(1_000, &|watch| assert!(watch.look(&piece(78), || ms(0)).is_ok())), 10);
        assert_eq!(spent(60_000, &|_| ()), 2_340);
    }

    #[test]
    fn what_comes_before_a_bad_frame_is_good() {
        let good = [settings(), frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x82])].concat();
        let bytes = [good.clone(), frame(kind::PING, 0, 0, b"short")].concat();
        let mut watch = FrameWatch::default();
        let broke = watch.look(&bytes, || Duration::ZERO);
        assert_eq!(broke, Err(Broke { reason: Reason::FrameSizeError, good_bytes: good.len() }));
    }

    #[test]
    fn the_first_frame_is_settings() {
        for first in [frame(kind::PING, 0, 0, &[0; 8]), frame(kind::SETTINGS, flag::ACK, 0, &[])] {
            let broke = FrameWatch::default().look(&first, || Duration::ZERO);
            assert_eq!(broke, Err(Broke { reason: Reason::ProtocolError, good_bytes: 0 }));
        }
    }

    #[test]
    fn a_setting_without_sense_is_seen_wherever_it_stands() {
        let fine = [0, 4, 0x7f, 0xff, 0xff, 0xff];
        let bad = [0, 4, 0x80, 0, 0, 0];
        let sent = |settings: &[[u8; 6]]| look(&[frame(kind::SETTINGS, 0, 0, &settings.concat())]);
        assert_eq!(sent(&[fine]), Ok(()));
        assert_eq!(sent(&[fine, bad]), Err(Reason::FlowControlError));
        assert_eq!(sent(&[bad]), Err(Reason::FlowControlError));
        assert_eq!(look(&[frame(kind::SETTINGS, 0, 0, &fine), frame(kind::PING, 0, 0, &[0; 8])]), Ok(()));
    }

    #[test]
    fn e16_pseudo_header_fields_in_trailers_are_seen() {
        let opens = frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x82, 0x86, 0x84]);
        let ends = flag::END_HEADERS | flag::END_STREAM;
        let trailers = |flags: u8, payload: &[u8]| look(&[opens.clone(), frame(kind::HEADERS, flags, 1, payload)]);
        let padded = [&[2][..], &[0; 5], &[0x82, 0, 0]].concat();
        for (flags, payload) in [
            (ends, &[0x82][..]),
            (ends, &[0x8e]),
            (ends, b"\x00\x05:path\x01/"),
            (ends, b"\x40\x05:path\x01/"),
            (ends, b"\x10\x05:path\x01/"),
            (ends, b"\x41\x01a"),
            (ends, b"\x04\x01/"),
            (ends, b"\x14\x01/"),
            // `:path` in the code of RFC 7541.
            (ends, b"\x00\x84\xb9\x58\xd3\x3f\x01/"),
            (ends | flag::PADDED | flag::PRIORITY, &padded),
        ] {
            assert_eq!(trailers(flags, payload), Err(Reason::ProtocolError), "{payload:?}");
        }
        for payload in
            [&b"\x00\x05x-sum\x01a"[..], b"\x00\x84\xf2\xb5\xa7\x3f\x01a", b"\x0f\x00\x01a", b"\x90", b"", b"\x00"]
        {
            assert_eq!(trailers(ends, payload), Ok(()), "{payload:?}");
        }
    }
}
