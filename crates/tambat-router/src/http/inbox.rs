//! What a client has sent and nobody has used yet: the beginning of a head, or requests before their turn.

/// The bytes of a client that nobody has used yet. Without any it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// So many at the beginning have been used.
    used: usize,
    /// So many behind those were looked at in vain.
    seen: usize,
    /// No more will come.
    has_ended: bool,
}

/// So many used bytes at the beginning are worth moving the others for.
const SHIFT_BYTES_MIN: usize = 16 * 1024;

impl Inbox {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.used
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Are there bytes that were not looked at in vain?
    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.len() > self.seen
    }

    /// How many were looked at in vain.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// What is there now is no use without more behind it.
    pub(super) fn mark_seen(&mut self) {
        self.seen = self.len();
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        // Many small requests at once are taken one by one: moving the rest each time would be far more work.
        if self.used >= SHIFT_BYTES_MIN.max(self.len()) {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// So many have been used; the others are worth another look.
    pub(super) fn take(&mut self, used: usize) {
        self.used += used;
        self.seen = 0;
        if self.is_empty() {
            (self.bytes, self.used) = (Vec::new(), 0);
        }
    }

    /// No more will come.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// All that is left, for whoever the connection belongs to now.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.used);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_leave_nothing() {
        let mut inbox = Inbox::default();
        inbox.push(b"first second");
        assert!(inbox.has_news());
        inbox.take(6);
        inbox.mark_seen();
        assert!(!inbox.has_news() && inbox.bytes() == b"second");
        inbox.push(b" third");
        assert!(inbox.has_news() && inbox.seen() == 6);
        inbox.take(7);
        assert_eq!((inbox.bytes(), inbox.len(), inbox.seen()), (&b"third"[..], 5, 0));
        inbox.take(5);
        assert!(inbox.is_empty() && inbox.bytes.capacity() == 0);
    }

    #[test]
    fn used_bytes_are_dropped_now_and_then() {
        let mut inbox = Inbox::default();
        for _ in 0..1_000 {
            inbox.push(&[b'x'; 1_000]);
            inbox.take(990);
        }
        assert_eq!(inbox.len(), 10_000);
        assert!(inbox.bytes.len() < 4 * SHIFT_BYTES_MIN, "{}", inbox.bytes.len());
        assert_eq!(inbox.into_bytes(), [b'x'; 10_000]);
    }
}
