//! How clients of the `PostgreSQL` protocol begin ("Message Formats" and "SSL Session Encryption" in the `PostgreSQL` manual).
//! Direct TLS begins with a `ClientHello`: see [`client_hello`](super::client_hello()).

use std::fmt;

use super::Peek;

/// The longest startup that servers read (`MAX_STARTUP_PACKET_LENGTH` in their source), the length itself included.
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// A length and a code: before that nothing can be told.
const HEADER_BYTES: usize = 8;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// A `CancelRequest` without its key.
const CANCEL_BYTES: usize = 12;

/// The key has 4 bytes; with version 3.2 of the protocol up to 256.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// What a client has sent first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// The wish for TLS.
    SslRequest,
    /// The wish for encryption by Kerberos.
    GssEncRequest,
    /// The wish that what another session does be given up.
    Cancel(CancelRequest),
    /// The startup of a session without encryption; it takes so many bytes, which need not be there yet.
    Startup {
        /// The length of the message, bytes.
        len: usize,
    },
}

/// The wish that what a session does be given up. It is never answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CancelRequest {
    /// Of which session.
    pub key: CancelKey,
}

/// By what a session is known to those who may cancel what it does.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The process that serves it.
    pub pid: u32,
    /// What only its client and its server know: 4 to 256 bytes.
    pub secret: Box<[u8]>,
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl CancelKey {
    /// The body of a `BackendKeyData`, or what follows the code of a `CancelRequest`; none: it is not one.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let (pid, secret) = body.split_first_chunk()?;
        let is_secret = SECRET_BYTES.contains(&secret.len());
        is_secret.then(|| Self { pid: u32::from_be_bytes(*pid), secret: secret.into() })
    }
}

impl CancelRequest {
    /// As it is sent, in clear.
    pub fn bytes(&self) -> Vec<u8> {
        let length = CANCEL_BYTES + self.key.secret.len();
        let mut bytes = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
        bytes.extend_from_slice(&self.key.pid.to_be_bytes());
        bytes.extend_from_slice(&self.key.secret);
        bytes
    }
}

/// What a client has sent first. A `CancelRequest` is found when it is whole, everything else by its first 8 bytes.
pub fn opening(received: &[u8]) -> Peek<Opening> {
    let (length, code) = match header(received) {
        Peek::Found(header) => header,
        Peek::Incomplete => return Peek::Incomplete,
        Peek::No => return Peek::No,
    };
    match code {
        SSL_REQUEST => Peek::Found(Opening::SslRequest),
        GSSENC_REQUEST => Peek::Found(Opening::GssEncRequest),
        CANCEL_REQUEST => match received.get(HEADER_BYTES..length) {
            None => Peek::Incomplete,
            Some(body) => {
                CancelKey::of(body).map_or(Peek::No, |key| Peek::Found(Opening::Cancel(CancelRequest { key })))
            }
        },
        _ => Peek::Found(Opening::Startup { len: length }),
    }
}

/// Does it begin like one of them?
pub(super) fn begins(received: &[u8]) -> Peek<()> {
    header(received).map(|_| ())
}

/// The length and the code, where both are of a message that may come first.
fn header(received: &[u8]) -> Peek<(usize, u32)> {
    /// Major versions of the protocol: servers answer the old ones with an error.
    const MAJOR_VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;
    let Some((length, code)) = received.first_chunk().zip(received.get(4..).and_then(<[u8]>::first_chunk)) else {
        let may_be = received.iter().take(2).all(|high| *high == 0);
        return if may_be { Peek::Incomplete } else { Peek::No };
    };
    let length = u32::from_be_bytes(*length) as usize;
    let code = u32::from_be_bytes(*code);
    let is_right = match code {
        SSL_REQUEST | GSSENC_REQUEST => length == HEADER_BYTES,
        CANCEL_REQUEST => length.checked_sub(CANCEL_BYTES).is_some_and(|secret| SECRET_BYTES.contains(&secret)),
        version => MAJOR_VERSIONS.contains(&(version >> 16)) && (HEADER_BYTES..=STARTUP_BYTES_MAX).contains(&length),
    };
    if is_right { Peek::Found((length, code)) } else { Peek::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
    const CANCEL: [u8; 16] = [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 48, 57, 1, 2, 3, 4];

    fn cancel(secret: &[u8]) -> CancelRequest {
        CancelRequest { key: CancelKey { pid: 12_345, secret: secret.into() } }
    }

    #[test]
    fn each_is_told_whole_and_no_prefix_is_told_otherwise() {
        let startup = crate::postgres::probe_startup();
        let startup_len = startup.len();
        let long = cancel(&[7; 256]);
        for (whole, expected, at) in [
            (SSL.to_vec(), Opening::SslRequest, 8),
            (GSS.to_vec(), Opening::GssEncRequest, 8),
            (CANCEL.to_vec(), Opening::Cancel(cancel(&[1, 2, 3, 4])), 16),
            (long.bytes(), Opening::Cancel(long), 268),
            (startup, Opening::Startup { len: startup_len }, 8),
        ] {
            for end in 0..=whole.len() {
                let expected = if end < at { Peek::Incomplete } else { Peek::Found(expected.clone()) };
                assert_eq!(opening(&whole[..end]), expected, "{end} bytes");
            }
        }
    }

    #[test]
    fn what_is_none_of_them_is_known_at_once_or_by_the_eighth_byte() {
        let first: [&[u8]; 5] = [b"\x16\x03\x01", b"GET / HTTP/1.1", b"<", b"SSH-", b"\0\x01"];
        for other in first {
            assert_eq!(opening(other), Peek::No, "{}", other.escape_ascii());
        }
        for (length, code) in [
            (7, SSL_REQUEST),
            (9, SSL_REQUEST),
            (16, GSSENC_REQUEST),
            (12, CANCEL_REQUEST),
            (15, CANCEL_REQUEST),
            (269, CANCEL_REQUEST),
            (0, 3 << 16),
            (7, 3 << 16),
            (10_001, 3 << 16),
            (8, 4 << 16),
            (8, 0),
            (8, 80_877_101),
            (8, 80_877_105),
        ] {
            let bytes = [u32::to_be_bytes(length), u32::to_be_bytes(code)].concat();
            assert_eq!(opening(&bytes), Peek::No, "{length} {code}");
            assert_eq!(opening(&bytes[..7]), Peek::Incomplete, "{length} {code}");
        }
        for version in [1 << 16, 2 << 16, 3 << 16, (3 << 16) + 2, (3 << 16) + 9_999] {
            let bytes = [u32::to_be_bytes(10_000), u32::to_be_bytes(version)].concat();
            assert_eq!(opening(&bytes), Peek::Found(Opening::Startup { len: 10_000 }));
        }
    }

    #[test]
    fn a_cancel_is_sent_as_it_came_and_its_secret_is_not_shown() {
        assert_eq!(cancel(&[1, 2, 3, 4]).bytes(), CANCEL);
        assert_eq!(format!("{:?}", cancel(&[1, 2, 3, 4])), "CancelRequest { key: CancelKey { pid: 12345, .. } }");
    }
}
