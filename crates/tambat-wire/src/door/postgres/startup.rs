//! What an app says while a session starts, looked at as it goes by.

use super::CancelKey;

/// How much of it is looked at, in bytes. A startup has some 500; tokens of Kerberos may have 64 KiB each.
pub const STARTUP_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A type and a length, which counts itself.
const HEADER_BYTES: usize = 5;

/// A `BackendKeyData` has a pid and a secret of 4 to 256 bytes.
const KEY_BYTES_MAX: usize = 4 + 256;

/// Looks for the key by which the session's queries are cancelled (`BackendKeyData`).
#[derive(Debug, Default)]
pub struct StartupWatch {
    state: State,
    seen: usize,
}

#[derive(Debug)]
enum State {
    /// In a header, of which so much is there.
    Header(Vec<u8>),
    /// So many bytes of a body are still to come.
    Body(usize),
    /// In the body of a `BackendKeyData` of this length, of which so much is there.
    Key(usize, Vec<u8>),
    /// Everything was said.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Header(Vec::new())
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// The key may still come.
    Going,
    /// This is the key; nothing more is looked at.
    Key(CancelKey),
    /// There will be none: the session began without one, was refused, or it is something else that is spoken.
    Over,
}

impl StartupWatch {
    /// For an app that has said nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is seen in the next bytes. Says [`Watch::Over`] for all that comes after the key, too.
    pub fn on(&mut self, mut chunk: &[u8]) -> Watch {
        loop {
            let step = match &mut self.state {
                State::Over => return Watch::Over,
                State::Header(header) => fill(header, HEADER_BYTES, &mut chunk, &mut self.seen).then(|| begun(header)),
                State::Body(left) => {
                    let passed = chunk.len().min(*left);
                    chunk = &chunk[passed..];
                    self.seen += passed;
                    *left -= passed;
                    (*left == 0).then(State::default)
                }
                State::Key(length, body) => {
                    if fill(body, *length, &mut chunk, &mut self.seen) {
                        let key = CancelKey::of(body);
                        self.state = State::Over;
                        return key.map_or(Watch::Over, Watch::Key);
                    }
                    None
                }
            };
            match step {
                Some(state) => self.state = state,
                None if self.seen > STARTUP_ANSWER_BYTES_MAX => self.state = State::Over,
                None => return Watch::Going,
            }
        }
    }
}

/// Takes what is missing; is it whole now?
fn fill(part: &mut Vec<u8>, length: usize, chunk: &mut &[u8], seen: &mut usize) -> bool {
    let (taken, rest) = chunk.split_at(chunk.len().min(length - part.len()));
    part.extend_from_slice(taken);
    *seen += taken.len();
    *chunk = rest;
    part.len() == length
}

/// What follows this header.
fn begun(header: &[u8]) -> State {
    let [kind, length @ ..] = header else { return State::Over };
    let length = length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let Some(body) = length.checked_sub(HEADER_BYTES - 1).filter(|body| *body <= STARTUP_ANSWER_BYTES_MAX) else {
        return State::Over;
    };
    match kind {
        b'K' if body <= KEY_BYTES_MAX => State::Key(body, Vec::new()),
        // Authentication, parameters, notices, the version of the protocol.
        b'R' | b'S' | b'N' | b'v' if body == 0 => State::default(),
        b'R' | b'S' | b'N' | b'v' => State::Body(body),
        // An error, or that it is ready for queries.
        _ => State::Over,
    }
}
