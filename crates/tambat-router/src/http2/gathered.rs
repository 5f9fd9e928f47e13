//! Frames of one turn, which leave in one piece: what all streams of a connection have to say costs one record of TLS and
//! one call then.

use std::task::Context;

/// So much is gathered at most before it is sent: four of the largest frames, which fill TLS records and a socket's
/// buffer well. A client that takes nothing has so much of our memory, and one frame more.
const FULL_BYTES: usize = 64 * 1024;

/// What is to be sent, and not yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    sent: usize,
    /// Those who are ready now have had their turn since the first of them came.
    is_due: bool,
}

impl Gathered {
    /// What is left; none: nothing.
    pub(super) fn left(&self) -> Option<&[u8]> {
        Some(&self.bytes[self.sent..]).filter(|left| !left.is_empty())
    }

    /// Must something be sent before more is added?
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() - self.sent >= FULL_BYTES
    }

    /// Adds bytes: how many.
    pub(super) fn add<'b>(&mut self, pieces: impl Iterator<Item = &'b [u8]>) -> usize {
        let before = self.bytes.len();
        pieces.for_each(|piece| self.bytes.extend_from_slice(piece));
        self.bytes.len() - before
    }

    /// So many bytes were sent.
    pub(super) fn take(&mut self, sent: usize) {
        self.sent += sent;
    }

    /// Everything was sent. An idle connection keeps no memory for it.
    pub(super) fn clear(&mut self, is_idle: bool) {
        let bytes =
            if is_idle || self.bytes.capacity() > FULL_BYTES { Vec::new() } else { std::mem::take(&mut self.bytes) };
        *self = Self { bytes, ..Self::default() };
        self.bytes.clear();
    }

    /// Is something to be sent now? If it is to be sent when others have had their turn, the task is woken then.
    pub(super) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        if self.left().is_none() {
            return false;
        }
        if !self.is_due && !self.is_full() {
            self.is_due = true;
            cx.waker().wake_by_ref();
            return false;
        }
        true
    }
}
