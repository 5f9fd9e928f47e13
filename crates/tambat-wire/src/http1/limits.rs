//! How much of a head is read, and when it is worth reading again.

use std::mem::MaybeUninit;

/// As many fields as there are slots for.
pub const FIELDS_MAX: usize = 100;

/// Longer request lines are answered with 414 (RFC 9112 §3 asks for at least 8,000).
const LINE_BYTES_MAX: usize = 8 << 10;

/// One field with its name; the largest that is met are tickets of single sign-on, below 12 KiB.
const FIELD_BYTES_MAX: usize = 16 << 10;

/// The whole head; a client that has sent so much of it without an end has no honest one.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A method: `UPDATEREDIRECTREF`, the longest that is registered, has 17.
pub(super) const METHOD_BYTES_MAX: usize = 64;

/// A short head is read again with each of its lines, so that a mistake in it is answered at once: at most [`FIELDS_MAX`]
/// times so many bytes.
const SHORT_BYTES_MAX: usize = 2 << 10;

/// How large a head may be. The bytes of lines and fields are counted without their CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The request line, bytes: 8 KiB.
    pub line_bytes_max: usize,
    /// One field line, bytes: 16 KiB.
    pub field_bytes_max: usize,
    /// The head from its first byte to the empty line, bytes: 64 KiB.
    pub head_bytes_max: usize,
    /// How many fields: [`FIELDS_MAX`], and not more.
    pub fields_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes_max: LINE_BYTES_MAX,
            field_bytes_max: FIELD_BYTES_MAX,
            head_bytes_max: HEAD_BYTES_MAX,
            fields_max: FIELDS_MAX,
        }
    }
}

/// Room for the places of a head's fields, on the caller's stack and not written before it is needed.
pub struct FieldSlots<'b>([MaybeUninit<httparse::Header<'b>>; FIELDS_MAX]);

impl<'b> FieldSlots<'b> {
    /// Nothing in them yet.
    #[inline]
    pub fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; FIELDS_MAX])
    }

    /// As many as the limits allow.
    pub(super) fn within<'s>(&'s mut self, limits: &Limits) -> &'s mut [MaybeUninit<httparse::Header<'b>>] {
        &mut self.0[..limits.fields_max.min(FIELDS_MAX)]
    }
}

impl Default for FieldSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Is it worth reading a head again, now that `bytes` has grown, of which the first `already_seen` were read before in
/// vain?
///
/// A sender of single bytes would otherwise have its head read once for each. It is worth it when the new bytes may hold
/// the end of the head or break a limit, with every line of a short head, and each time the bytes have doubled: so all
/// readings together look at a few times the bytes of the head, however it comes.
pub fn head_may_be_whole(bytes: &[u8], already_seen: usize, limits: &Limits) -> bool {
    let crosses = |mark: usize| already_seen < mark && mark <= bytes.len();
    // A line feed ends the head if the one before it is next to it, or a CR away.
    let tail = bytes.get(already_seen.saturating_sub(2)..).unwrap_or_default();
    already_seen == 0
        || already_seen.ilog2() != bytes.len().max(1).ilog2()
        || crosses(limits.line_bytes_max + 1)
        || crosses(limits.head_bytes_max)
        || (bytes.len() <= SHORT_BYTES_MAX && tail.contains(&b'\n'))
        || tail.windows(2).any(|pair| pair == b"\n\n")
        || tail.windows(3).any(|three| three == b"\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are looked at when these segments come one after the other.
    fn looked_at(segments: impl Iterator<Item = usize>) -> usize {
        let limits = Limits::default();
        let (mut bytes, mut seen, mut sum) = (b"GET / HTTP/1.1\r\nX: ".to_vec(), 0, 0);
        for segment in segments {
            bytes.resize(bytes.len() + segment, b'x');
            if head_may_be_whole(&bytes, seen, &limits) {
                sum += bytes.len();
            }
            seen = bytes.len();
        }
        sum
    }

    #[test]
    fn a_head_in_single_bytes_is_read_a_few_times() {
        assert!(looked_at((0..16_000).map(|_| 1)) < 60_000);
        assert!(looked_at((0..160).map(|_| 100)) < 60_000);
    }

    #[test]
    fn a_head_of_single_lines_is_read_a_few_times() {
        let limits = Limits::default();
        let (mut bytes, mut sum) = (b"GET / HTTP/1.1\r\n".to_vec(), 0);
        for _ in 0..100 {
            let seen = bytes.len();
            bytes.extend_from_slice(&[b'x'; 600]);
            bytes.extend_from_slice(b":\r\n");
            sum += if head_may_be_whole(&bytes, seen, &limits) { bytes.len() } else { 0 };
        }
        assert!(sum < 4 * bytes.len(), "{sum} of {}", bytes.len());
    }

    #[test]
    fn the_end_of_a_head_is_seen_wherever_it_is_cut() {
        let limits = Limits::default();
        for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
            let head = format!("GET / HTTP/1.1\r\nX: {}{end}", "x".repeat(3_000));
            for cut in head.len() - 6..head.len() {
                assert!(head_may_be_whole(head.as_bytes(), cut, &limits), "{end:?} at {cut}");
            }
        }
        assert!(!head_may_be_whole(&[b'x'; 3_001], 3_000, &limits));
    }

    #[test]
    fn limits_are_seen_when_they_are_crossed() {
        let limits = Limits { line_bytes_max: 5_000, head_bytes_max: 6_000, ..Limits::default() };
        let worth = |len: usize| head_may_be_whole(&vec![b'x'; len], len - 1, &limits);
        let seen: Vec<_> = (4_097..8_192).filter(|len| worth(*len)).collect();
        assert_eq!(seen, [5_001, 6_000]);
    }
}
