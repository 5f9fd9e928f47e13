//! Memory that goes from one stream or connection of a worker to the next.

use std::cell::RefCell;

/// More than this is given back to the system: what is gathered at most before it is sent, as a vector grows.
const MUCH_BYTES_MAX: usize = 128 * 1024;

/// Room for the head of an ordinary request, and for a short answer.
pub(super) const LITTLE_BYTES: usize = 2 * 1024;

/// So much of it is kept in pieces at most: 64 KiB. What streams need of it they need for one turn of their connection as a
/// rule.
const LITTLE_KEPT: usize = 32;

/// The memory of one worker that nobody needs now.
#[derive(Debug, Default)]
pub(crate) struct SpareBytes {
    /// For what a connection sends. One is enough as a rule: what was gathered in a turn is sent at its end.
    much: RefCell<Vec<u8>>,
    little: RefCell<Vec<Vec<u8>>>,
}

impl SpareBytes {
    /// For a turn of a connection.
    pub(super) fn take_much(&self) -> Vec<u8> {
        self.much.take()
    }

    pub(super) fn give_much(&self, mut bytes: Vec<u8>) {
        if (1..=MUCH_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            self.much.replace(bytes);
        }
    }

    /// For so many bytes of a stream, or some more.
    pub(super) fn take_little(&self, bytes: usize) -> Vec<u8> {
        if bytes > LITTLE_BYTES {
            return Vec::with_capacity(bytes);
        }
        self.little.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(LITTLE_BYTES))
    }

    pub(super) fn give_little(&self, mut bytes: Vec<u8>) {
        let mut little = self.little.borrow_mut();
        if bytes.capacity() == LITTLE_BYTES && little.len() < LITTLE_KEPT {
            bytes.clear();
            little.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_empty() {
        let spare = SpareBytes::default();
        spare.give_much(vec![7; MUCH_BYTES_MAX]);
        spare.give_much(Vec::new());
        spare.give_much(vec![7; MUCH_BYTES_MAX + 1]);
        let much = spare.take_much();
        assert_eq!((much.len(), much.capacity(), spare.take_much().capacity()), (0, MUCH_BYTES_MAX, 0));
        let mut little: Vec<_> = (0..2 * LITTLE_KEPT).map(|_| spare.take_little(10)).collect();
        little.iter_mut().for_each(|bytes| bytes.extend_from_slice(b"secret"));
        little.push(Vec::new());
        little.push(spare.take_little(LITTLE_BYTES + 1));
        little.into_iter().for_each(|bytes| spare.give_little(bytes));
        let kept = spare.little.borrow();
        assert_eq!(kept.len(), LITTLE_KEPT);
        assert!(kept.iter().all(|bytes| bytes.is_empty() && bytes.capacity() == LITTLE_BYTES));
    }
}
