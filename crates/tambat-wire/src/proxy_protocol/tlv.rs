//! What follows the addresses of version 2: entries of a type, a length and a value (section 2.2).

use super::crc32c::crc32c;
use super::{Notes, Tls, UNIQUE_ID_BYTES_MAX, Wrong};

/// The types that are read or written here; all others are passed over.
pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const SSL: u8 = 0x20;
pub(super) const SSL_VERSION: u8 = 0x21;

/// In the first byte of [`SSL`]: the client speaks TLS; it has shown a certificate on this connection, or in this session.
pub(super) const CLIENT_SSL: u8 = 0x01;
pub(super) const CLIENT_CERT_CONN: u8 = 0x02;
pub(super) const CLIENT_CERT_SESS: u8 = 0x04;

/// A type, and a length of two bytes.
const HEAD_BYTES: usize = 3;

/// The entries of a whole header, from `start` on. What can be checked is checked: the checksum holds for all of it.
pub(super) fn notes(header: &[u8], start: usize) -> Result<Notes<'_>, Wrong> {
    let (mut notes, mut tls, mut checksum) = (Notes::default(), None, None);
    let mut at = start;
    while at < header.len() {
        let (kind, value) = entry(&header[at..])?;
        let value_at = at + HEAD_BYTES;
        at = value_at + value.len();
        match kind {
            ALPN => once(&mut notes.alpn, some(value)?)?,
            AUTHORITY => once(&mut notes.authority, text(value)?)?,
            UNIQUE_ID if value.len() > UNIQUE_ID_BYTES_MAX => return Err(Wrong::Entry),
            UNIQUE_ID => once(&mut notes.unique_id, some(value)?)?,
            CRC32C => once(&mut checksum, (value_at, value.try_into().map_err(|_| Wrong::Entry)?))?,
            SSL => once(&mut tls, self::tls(value)?)?,
            _ => {}
        }
    }
    match checksum {
        Some((at, sent)) if of_whole(header, at) != u32::from_be_bytes(sent) => Err(Wrong::Checksum),
        // That the client speaks no TLS is said in so many words, too.
        _ => Ok(Notes { tls: tls.flatten(), ..notes }),
    }
}

/// The checksum of a header whose own place is at `at`: that counts as zeros (section 2.2.3).
pub(super) fn of_whole(header: &[u8], at: usize) -> u32 {
    let before = header.get(..at).unwrap_or_default();
    let after = header.get(at + size_of::<u32>()..).unwrap_or_default();
    crc32c([before, &[0; size_of::<u32>()], after])
}

/// Appends an entry. One that is longer than two bytes can say is left out.
pub(super) fn put(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    if let Ok(length) = u16::try_from(value.len()) {
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// The type and the value of the first entry.
fn entry(bytes: &[u8]) -> Result<(u8, &[u8]), Wrong> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(Wrong::Entry)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    Ok((*kind, rest.get(..length).ok_or(Wrong::Entry)?))
}

/// What is said twice is said ambiguously.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Wrong> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Wrong::Entry),
    }
}

fn some(value: &[u8]) -> Result<&[u8], Wrong> {
    if value.is_empty() { Err(Wrong::Entry) } else { Ok(value) }
}

/// Text without control characters: it may end up in a log.
fn text(value: &[u8]) -> Result<&str, Wrong> {
    let text = std::str::from_utf8(some(value)?).map_err(|_| Wrong::Entry)?;
    if text.contains(char::is_control) { Err(Wrong::Entry) } else { Ok(text) }
}

/// Flags, whether a certificate was verified (0) in four bytes, entries (section 2.2.6). None: the client speaks no TLS.
fn tls(value: &[u8]) -> Result<Option<Tls<'_>>, Wrong> {
    let ([flags, verify @ ..], mut rest) = value.split_first_chunk::<5>().ok_or(Wrong::Entry)?;
    let mut version = None;
    while !rest.is_empty() {
        let (kind, value) = entry(rest)?;
        rest = &rest[HEAD_BYTES + value.len()..];
        if kind == SSL_VERSION {
            once(&mut version, text(value)?)?;
        }
    }
    let has_shown_certificate = flags & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) != 0;
    let certified = has_shown_certificate && u32::from_be_bytes(*verify) == 0;
    Ok((flags & CLIENT_SSL != 0).then_some(Tls { version, certified }))
}
