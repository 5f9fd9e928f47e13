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
