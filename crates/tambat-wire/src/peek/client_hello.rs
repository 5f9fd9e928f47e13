//! TLS' first message, which says whom the client wants (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301). Nothing of it is
//! believed but what is needed to find a route; who ends the handshake judges the rest.

use std::net::{IpAddr, Ipv6Addr};

use tambat_model::HostPattern;

use super::Peek;
use super::cursor::Cursor;

/// How many bytes are looked at for a `ClientHello`, the headers of its records included. One with a post-quantum key
/// share takes two kilobytes, one with a session ticket of a large certificate twenty.
pub const CLIENT_HELLO_BYTES_MAX: usize = 64 * 1024;

/// How many protocols are kept of ALPN: browsers offer two, nobody more than a handful.
pub const ALPN_PROTOCOLS_MAX: usize = 64;

/// A record's header: type, version, length (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// The longest record of plain text (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

/// A handshake message's header: type, length (RFC 8446 §4).
const MESSAGE_HEADER_BYTES: usize = 4;

/// The type of a record with handshake messages (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// The type of a `ClientHello` (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;

/// What a `ClientHello` says of whom the client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name in `server_name`. Of an encrypted `ClientHello` (ECH) it is the outer one.
    pub server_name: ServerName,
    /// The protocols of ALPN in the client's order, the first [`ALPN_PROTOCOLS_MAX`] of them.
    pub alpn: Vec<Box<[u8]>>,
}

/// Whom a client calls the server (RFC 6066 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// It does not say.
    Absent,
    /// An address, which is not allowed there and says nothing that the connection does not say.
    Address,
    /// Something that is no name: empty, longer than names are, with bytes that names have not, or two of them.
    Invalid,
    /// This name: in lower case, without a last dot.
    Name(Box<str>),
}

impl ServerName {
    /// By what a route is to be looked up: the name, or nothing where none was said. None: what was said is no name, and
    /// nobody answers to it.
    pub fn asked(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Absent | Self::Address => Some(""),
            Self::Invalid => None,
        }
    }

    /// What stands in the name's place in the list (RFC 6066 §3).
    fn of(name: &[u8]) -> Self {
        let Ok(name) = std::str::from_utf8(name) else { return Self::Invalid };
        if is_address(name) {
            return Self::Address;
        }
        match name.parse() {
            Ok(HostPattern::Exact(name)) => Self::Name(name),
            Ok(HostPattern::Under(_) | HostPattern::Any) | Err(_) => Self::Invalid,
        }
    }
}

impl ClientHello {
    /// Is this protocol (`h2`, `postgresql`, `xmpp-client`) among those that the client offers?
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.alpn.iter().any(|offered| **offered == *protocol)
    }

    /// None: these bytes are not its body.
    fn of(body: &[u8]) -> Option<Self> {
        /// A version and a random (RFC 8446 §4.1.2).
        const VERSION_AND_RANDOM_BYTES: usize = 2 + 32;
        const SESSION_ID_BYTES_MAX: usize = 32;
        let mut body = Cursor(body);
        body.take(VERSION_AND_RANDOM_BYTES)?;
        let session = body.sized_8()?;
        let suites = body.sized_16()?;
        let compressions = body.sized_8()?;
        let lengths_are_right = session.len() <= SESSION_ID_BYTES_MAX
            && !suites.is_empty()
            && suites.len().is_multiple_of(2)
            && !compressions.is_empty();
        if !lengths_are_right {
            return None;
        }
        let mut hello = Self { server_name: ServerName::Absent, alpn: Vec::new() };
        // Before TLS 1.3 a client may have no extensions at all (RFC 5246 §7.4.1.2).
        if !body.is_empty() {
            hello.read_extensions(Cursor(body.sized_16()?))?;
        }
        body.is_empty().then_some(hello)
    }

    fn read_extensions(&mut self, mut extensions: Cursor<'_>) -> Option<()> {
        const SERVER_NAME: u16 = 0;
        const ALPN: u16 = 16;
        let (mut has_name, mut has_alpn) = (false, false);
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.sized_16()?;
            match kind {
                // No extension may be there twice (RFC 8446 §4.2): one reader would take the first, the next the last.
                SERVER_NAME if has_name => return None,
                ALPN if has_alpn => return None,
                SERVER_NAME => {
                    has_name = true;
                    self.server_name = server_name(content);
                }
                ALPN => {
                    has_alpn = true;
                    self.alpn = alpn(content)?;
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// The `ClientHello` at the beginning of these bytes.
pub fn client_hello(received: &[u8]) -> Peek<ClientHello> {
    HelloScan::default().on(received)
}

/// Reads a `ClientHello` record by record (RFC 8446 §5.1: a message may be cut anywhere), each once.
#[derive(Debug, Default)]
pub(crate) struct HelloScan {
    /// What whole records have of the message; empty while one may have it whole.
    message: Vec<u8>,
    /// Where the next record begins.
    at: usize,
    /// How many bytes must be there before more can be said.
    needs: usize,
}

impl HelloScan {
    /// As [`Peeker::on`](super::Peeker::on).
    pub(crate) fn on(&mut self, received: &[u8]) -> Peek<ClientHello> {
        while received.len() >= self.needs {
            match record(received.get(self.at..).unwrap_or_default(), self.message.is_empty()) {
                Record::Wrong => return Peek::No,
                Record::Needs(length) => self.needs = self.at + length,
                Record::Whole(record) => {
                    self.at += RECORD_HEADER_BYTES + record.len();
                    self.needs = self.at + 1;
                    match self.add(record) {
                        Peek::Incomplete => {}
                        told => return told,
                    }
                }
            }
            if self.needs > CLIENT_HELLO_BYTES_MAX {
                return Peek::No;
            }
        }
        Peek::Incomplete
    }

    /// Judges the message with this record added. One that is whole in its first record is not copied.
    fn add(&mut self, record: &[u8]) -> Peek<ClientHello> {
        if self.message.is_empty() {
            let told = judge(record);
            if told == Peek::Incomplete {
                self.message = record.to_vec();
            }
            return told;
        }
        self.message.extend_from_slice(record);
        judge(&self.message)
    }

    /// As [`Peeker::needs`](super::Peeker::needs).
    pub(crate) fn needs(&self) -> usize {
        self.needs
    }
}

/// What stands where a record begins.
enum Record<'a> {
    /// So many bytes of it must be there to say more.
    Needs(usize),
    /// None that may be there.
    Wrong,
    /// One with this content.
    Whole(&'a [u8]),
}

fn record(bytes: &[u8], is_first: bool) -> Record<'_> {
    match bytes {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] | [HANDSHAKE, 3, _] | [HANDSHAKE, 3, _, _] => Record::Needs(bytes.len() + 1),
        // The minor version says nothing (RFC 8446 §5.1). A record without content is not allowed there.
        [HANDSHAKE, 3, _, high, low, content @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let may_begin = !is_first || matches!(content, [] | [CLIENT_HELLO, ..]);
            if !(1..=RECORD_BYTES_MAX).contains(&length) || !may_begin {
                return Record::Wrong;
            }
            match content.get(..length) {
                Some(record) => Record::Whole(record),
                None if content.is_empty() => Record::Needs(bytes.len() + 1),
                None => Record::Needs(RECORD_HEADER_BYTES + length),
            }
        }
        _ => Record::Wrong,
    }
}

/// What the message says that begins with these bytes. Whatever stands behind it is not looked at.
fn judge(message: &[u8]) -> Peek<ClientHello> {
    let Some((&[kind, high, middle, low], rest)) = message.split_first_chunk::<MESSAGE_HEADER_BYTES>() else {
        return Peek::Incomplete;
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if kind != CLIENT_HELLO || length > CLIENT_HELLO_BYTES_MAX {
        return Peek::No;
    }
    match rest.get(..length) {
        None => Peek::Incomplete,
        Some(body) => ClientHello::of(body).map_or(Peek::No, Peek::Found),
    }
}

/// The content of a `server_name` (RFC 6066 §3).
fn server_name(content: &[u8]) -> ServerName {
    const HOST_NAME: u8 = 0;
    let mut content = Cursor(content);
    let Some(list) = content.sized_16().filter(|_| content.is_empty()) else { return ServerName::Invalid };
    let mut list = Cursor(list);
    let mut found = None;
    while let Some(kind) = list.u8() {
        if kind != HOST_NAME {
            // How long an entry of another kind is, nobody knows: whatever follows is part of it.
            break;
        }
        match list.sized_16() {
            Some(name) if found.is_none() => found = Some(ServerName::of(name)),
            _ => return ServerName::Invalid,
        }
    }
    found.unwrap_or(ServerName::Invalid)
}

/// The content of `application_layer_protocol_negotiation` (RFC 7301 §3.1); none: it is not one.
fn alpn(content: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut content = Cursor(content);
    let mut list = Cursor(content.sized_16().filter(|list| content.is_empty() && !list.is_empty())?);
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.sized_8().filter(|protocol| !protocol.is_empty())?;
        if protocols.len() < ALPN_PROTOCOLS_MAX {
            protocols.push(protocol.into());
        }
    }
    Some(protocols)
}

/// Is it an address, however it is written? Some clients put brackets around those of IPv6.
fn is_address(name: &str) -> bool {
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.parse::<IpAddr>().is_ok() || inside.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests;
