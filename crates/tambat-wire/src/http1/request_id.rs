//! The id of a request: in the access log, in `X-Request-ID` of what is sent on, and of the answer.

use std::fmt;

/// A shorter id says too little to be one (a counter, a `1`).
const KEPT_BYTES_MIN: usize = 20;

/// A longer one is somebody's attempt to fill a log.
const KEPT_BYTES_MAX: usize = 200;

/// A UUID in text.
const UUID_BYTES: u8 = 36;

/// As many bytes are kept in place: a UUID, and nearly every id that others make.
const SHORT_BYTES_MAX: usize = 63;

/// 20 to 200 of `A`–`Z`, `a`–`z`, `0`–`9`, `_` and `-`: made here, or kept from a trusted peer. Nothing is allocated for
/// one of at most 63.
#[derive(Clone)]
pub struct RequestId(Text);

#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Box<[u8]>),
}

impl RequestId {
    /// A UUID of version 7 (RFC 9562 §5.7): milliseconds since 1970, of which 48 bits count, and 74 of the random bits.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        const VERSION: u128 = 0x7 << 76;
        const VARIANT: u128 = 0b10 << 62;
        const RANDOM: u128 = (0xfff << 64) | ((1 << 62) - 1);
        // Where each byte stands in the text.
        const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let id = (u128::from(unix_ms) << 80) | VERSION | VARIANT | (random & RANDOM);
        let mut bytes = [b'-'; SHORT_BYTES_MAX];
        for (at, byte) in AT.into_iter().zip(id.to_be_bytes()) {
            bytes[at] = HEX[usize::from(byte >> 4)];
            bytes[at + 1] = HEX[usize::from(byte & 0xf)];
        }
        Self(Text::Short { len: UUID_BYTES, bytes })
    }

    /// What a client sent, where it can be kept.
    pub fn kept(sent: &[u8]) -> Option<Self> {
        let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !(KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&sent.len()) || !sent.iter().all(is_plain) {
            return None;
        }
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (bytes.get_mut(..sent.len()), u8::try_from(sent.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(sent);
                Some(Self(Text::Short { len, bytes }))
            }
            _ => Some(Self(Text::Long(sent.into()))),
        }
    }

    /// The text, in bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => &bytes[..usize::from(*len)],
            Text::Long(bytes) => bytes,
        }
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
        for len in [20, 63, 64, 200] {
            assert_eq!(kept(&vec![b'a'; len]), Some("a".repeat(len)));
        }
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
