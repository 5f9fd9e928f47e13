//! Memory that goes from one connection of a worker to the next.

use std::cell::RefCell;

/// More than this is given back to the system: what is gathered at most before it is sent, as a vector grows.
const BYTES_MAX: usize = 128 * 1024;

/// For what a connection sends, while none of the worker's needs it. One is enough as a rule: what was gathered in a turn is
/// sent at its end.
#[derive(Debug, Default)]
pub(crate) struct SpareBytes(RefCell<Vec<u8>>);

impl SpareBytes {
    /// Empty; with memory, if there is some.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.take()
    }

    pub(super) fn give_back(&self, mut bytes: Vec<u8>) {
        if (1..=BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            self.0.replace(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_empty() {
        let spare = SpareBytes::default();
        spare.give_back(vec![7; BYTES_MAX]);
        spare.give_back(Vec::new());
        spare.give_back(vec![7; BYTES_MAX + 1]);
        let bytes = spare.take();
        assert_eq!((bytes.len(), bytes.capacity(), spare.take().capacity()), (0, BYTES_MAX, 0));
    }
}
