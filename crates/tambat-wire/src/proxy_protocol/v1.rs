//! Version 1: a line of text (section 2.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Header, Origin, Peek, Wrong};

/// What the line begins with.
pub(super) const PREFIX: &[u8] = b"PROXY ";

/// The longest line, CR and LF included (section 2.1).
const LINE_BYTES_MAX: usize = 107;

pub(super) fn peek(bytes: &[u8]) -> Peek<'_> {
    let seen = bytes.len().min(PREFIX.len());
    if bytes[..seen] != PREFIX[..seen] {
        return Peek::Refused(Wrong::Absent);
    }
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let is_full = window.len() == LINE_BYTES_MAX;
    match window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None if is_full => Peek::Refused(Wrong::TooLong),
        None => Peek::Incomplete,
        Some(end) => match window[end..] {
            [b'\r', b'\n', ..] => match origin(&window[PREFIX.len()..end]) {
                Ok(origin) => Peek::Found(Header::of(origin, end + b"\r\n".len())),
                Err(wrong) => Peek::Refused(wrong),
            },
            [b'\r'] if is_full => Peek::Refused(Wrong::TooLong),
            [b'\r'] => Peek::Incomplete,
            _ => Peek::Refused(Wrong::LineEnd),
        },
    }
}

/// What stands between the prefix and the end of the line.
fn origin(line: &[u8]) -> Result<Origin, Wrong> {
    let mut words = line.split(|byte| *byte == b' ');
    let found = match words.next() {
        // Whatever follows is to be ignored.
        Some(b"UNKNOWN") => return Ok(Origin::Unknown),
        Some(b"TCP4") => addresses::<Ipv4Addr>(words),
        Some(b"TCP6") => addresses::<Ipv6Addr>(words),
        _ => return Err(Wrong::Protocol),
    };
    let (client, server) = found.ok_or(Wrong::Addresses)?;
    Ok(Origin::Client { client, server })
}

/// The client's address, the server's, the client's port, the server's, and nothing more.
fn addresses<'b, A: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'b [u8]>,
) -> Option<(SocketAddr, SocketAddr)> {
    let mut next = || std::str::from_utf8(words.next()?).ok();
    // The standard library takes no leading zeros in IPv4 addresses, either.
    let mut address = || Some(next()?.parse::<A>().ok()?.into().to_canonical());
    let (client, server) = (address()?, address()?);
    let (client_port, server_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some((SocketAddr::new(client, client_port), SocketAddr::new(server, server_port)))
}

/// 0 to 65535, without leading zeros or signs.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}
