//! The id of a request: in the access log, in `X-Request-ID` of what is sent on, and of the answer.

use std::fmt;

/// A shorter id says too little to be one (a counter, a `1`).
const KEPT_BYTES_MIN: usize = 20;

/// A longer one is somebody's attempt to fill a log.
const KEPT_BYTES_MAX: usize = 200;

/// A UUID in text.
const UUID_BYTES: u8 = 36;

/// 20 to 200 of `A`–`Z`, `a`–`z`, `0`–`9`, `_` and `-`: made here, or kept from a trusted peer. Nothing allocated.
#[derive(Clone)]
pub struct RequestId {
    len: u8,
    text: [u8; KEPT_BYTES_MAX],
}

impl RequestId {
    /// A UUID of version 7 (RFC 9562 §5.7): milliseconds since 1970, of which 48 bits count, and 74 of the random bits.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        const VERSION: u128 = 0x7 << 76;
        const VARIANT: u128 = 0b10 << 62;
        const RANDOM: u128 = (0xfff << 64) | ((1 << 62) - 1);
        let id = (u128::from(unix_ms) << 80) | VERSION | VARIANT | (random & RANDOM);
        let mut text = [0; KEPT_BYTES_MAX];
        let mut at = 0;
        for (nth, byte) in id.to_be_bytes().into_iter().enumerate() {
            if matches!(nth, 4 | 6 | 8 | 10) {
                text[at] = b'-';
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 0xf)];
            at += 2;
        }
        Self { len: UUID_BYTES, text }
    }

    /// What a client sent, where it can be kept.
    pub fn kept(sent: &[u8]) -> Option<Self> {
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !(KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&sent.len()) || !sent.iter().all(is_plain) {
            return None;
        }
        let mut text = [0; KEPT_BYTES_MAX];
        text[..sent.len()].copy_from_slice(sent);
        Some(Self { len: u8::try_from(sent.len()).ok()?, text })
    }

    /// The text, in bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever put in.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_made_here_is_the_uuid_of_the_standard() {
        // RFC 9562, appendix A.6.
        let random = (0xcc3 << 64) | 0x18c4_dc0c_0c07_398f;
        assert_eq!(RequestId::new(0x017f_22e2_79b0, random).as_str(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn ids_made_later_sort_later() {
        let ids: Vec<_> =
            (0..4).map(|nth| RequestId::new(1_700_000_000_000 + nth, u128::MAX >> nth).to_string()).collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }

    #[test]
    fn d11_only_plain_ids_are_kept() {
        let kept = |sent: &[u8]| RequestId::kept(sent).map(|id| id.to_string());
        assert_eq!(kept(b"0123456789_ABC-abcxyz"), Some("0123456789_ABC-abcxyz".into()));
        assert!(kept(&[b'a'; 20]).is_some() && kept(&[b'a'; 200]).is_some());
        for bad in [
            &b""[..],
            &[b'a'; 19],
            &[b'a'; 201],
            &[b'a'; 10_240],
            b"aaaaaaaaaaaaaaaaaaaa\r\nX: 1",
            b"aaaaaaaaaaaaaaaaaaaa aa",
        ] {
            assert_eq!(kept(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(kept("aaaaaaaaaaaaaaaaaaaa\u{1f600}".as_bytes()), None);
    }

    proptest! {
        #[test]
        fn every_id_made_here_could_be_kept(unix_ms: u64, random: u128) {
            let id = RequestId::new(unix_ms, random);
            prop_assert_eq!(id.as_str().len(), usize::from(UUID_BYTES));
            let kept = RequestId::kept(id.as_bytes()).map(|id| id.to_string());
            prop_assert_eq!(kept.as_deref(), Some(id.as_str()));
            prop_assert_eq!(&id.as_str()[14..15], "7");
            prop_assert!("89ab".contains(&id.as_str()[19..20]));
        }
    }
}
