//! The handshake of a WebSocket (RFC 6455 §4): HTTP/2 has none of its own (RFC 8441 §5), the app behind us has.

/// What is appended to the key (RFC 6455 §1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 bytes in base64.
const KEY_BYTES: usize = 24;

/// 20 bytes in base64.
const ACCEPT_BYTES: usize = 28;

/// A `Sec-WebSocket-Key`: in place of the one that a client over HTTP/2 does not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketKey([u8; KEY_BYTES]);

impl WebSocketKey {
    /// Of 16 bytes that no other request has.
    pub fn new(nonce: [u8; 16]) -> Self {
        let mut text = [b'='; KEY_BYTES];
        base64(&nonce, &mut text);
        Self(text)
    }

    /// As it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What whoever understands it answers.
    pub fn accept(&self) -> Accept {
        let mut text = [b'='; ACCEPT_BYTES];
        let mut both = [0; KEY_BYTES + GUID.len()];
        both[..KEY_BYTES].copy_from_slice(&self.0);
        both[KEY_BYTES..].copy_from_slice(GUID);
        base64(&sha1(&both), &mut text);
        Accept(text)
    }
}

/// The `Sec-WebSocket-Accept` that answers a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept([u8; ACCEPT_BYTES]);

impl Accept {
    /// Is this it?
    pub(super) fn is(&self, value: &[u8]) -> bool {
        value.trim_ascii() == self.0
    }
}

/// Writes `bytes` in base64 (RFC 4648 §4) over padding.
fn base64(bytes: &[u8], padded: &mut [u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (group, text) in bytes.chunks(3).zip(padded.chunks_mut(4)) {
        let bits = group.iter().enumerate().fold(0_usize, |bits, (nth, b)| bits | usize::from(*b) << (16 - 8 * nth));
        for (nth, digit) in text.iter_mut().take(group.len() + 1).enumerate() {
            *digit = DIGITS[bits >> (18 - 6 * nth) & 63];
        }
    }
}

/// SHA-1 (RFC 3174), which the handshake asks for and which protects nothing in it.
fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize((bytes.len() + 9).next_multiple_of(64), 0);
    let ends = padded.len() - 8;
    padded[ends..].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, b| word << 8 | u32::from(*b));
        }
        for nth in 16..80 {
            words[nth] = (words[nth - 3] ^ words[nth - 8] ^ words[nth - 14] ^ words[nth - 16]).rotate_left(1);
        }
        let mut mixed = state;
        for (nth, word) in words.iter().enumerate() {
            let [first, x, y, z, last] = mixed;
            let (choice, constant) = match nth {
                0..20 => (x & y | !x & z, 0x5a82_7999_u32),
                20..40 => (x ^ y ^ z, 0x6ed9_eba1),
                40..60 => (x & y | x & z | y & z, 0x8f1b_bcdc),
                _ => (x ^ y ^ z, 0xca62_c1d6),
            };
            let parts = [choice, last, constant, *word];
            let sum = parts.into_iter().fold(first.rotate_left(5), u32::wrapping_add);
            mixed = [sum, first, x.rotate_left(30), y, z];
        }
        for (sum, word) in state.iter_mut().zip(mixed) {
            *sum = sum.wrapping_add(word);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::new(), |mut text, b| {
            write!(text, "{b:02x}").unwrap();
            text
        })
    }

    #[test]
    fn digests_are_those_of_rfc_3174() {
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&sha1(two_blocks)), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(&sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(&sha1(&[b'a'; 1_000])), "291e9a6c66994949b57ba5e650361e98fc36b1ba");
    }

    #[test]
    fn the_accept_is_that_of_rfc_6455() {
        // §1.3: the key `dGhlIHNhbXBsZSBub25jZQ==`.
        let key = WebSocketKey::new(*b"the sample nonce");
        assert_eq!(key.as_bytes(), b"dGhlIHNhbXBsZSBub25jZQ==");
        assert!(key.accept().is(b" s3pPLMBiTxaQ9kYGzzhZRbK+xOo= "));
        assert!(!key.accept().is(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo"));
    }
}
