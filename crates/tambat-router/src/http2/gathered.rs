//! Frames of one turn, which leave in one piece: what all streams of a connection have to say costs one record of TLS and
//! one call then.

use super::spare::SpareBytes;

/// So much is gathered at most before it is sent: four of the largest frames, which fill TLS records and a socket's
/// buffer well. A client that takes nothing has so much of our memory, and one frame more.
const FULL_BYTES: usize = 64 * 1024;

/// What is to be sent, and not yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    sent: usize,
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
    pub(super) fn add<'b>(&mut self, pieces: impl Iterator<Item = &'b [u8]>, spare: &SpareBytes) -> usize {
        if self.bytes.capacity() == 0 {
            self.bytes = spare.take();
        }
        let before = self.bytes.len();
        pieces.for_each(|piece| self.bytes.extend_from_slice(piece));
        self.bytes.len() - before
    }

    /// So many bytes were sent.
    pub(super) fn take(&mut self, sent: usize) {
        self.sent += sent;
    }

    /// Everything was sent. A connection keeps no memory for it.
    pub(super) fn clear(&mut self, spare: &SpareBytes) {
        spare.give_back(std::mem::take(self).bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_from_one_that_has_sent_to_the_next() {
        let (spare, piece) = (SpareBytes::default(), [7; 1_000]);
        let (mut one, mut other) = (Gathered::default(), Gathered::default());
        assert_eq!(
            (one.add([&piece[..], &piece].into_iter(), &spare), one.left().map(<[u8]>::len)),
            (2_000, Some(2_000))
        );
        one.take(1_500);
        assert_eq!(one.left().map(<[u8]>::len), Some(500));
        one.take(500);
        let memory = one.bytes.as_ptr();
        one.clear(&spare);
        // One that gathers nothing gives nothing back.
        other.clear(&spare);
        assert!(one.left().is_none() && one.bytes.capacity() == 0);
        other.add([&piece[..]].into_iter(), &spare);
        assert_eq!((other.bytes.as_ptr(), other.left()), (memory, Some(&piece[..])));
    }
}
