//! Version 2: a binary header (section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{HEADER_BYTES_MAX, Header, Notes, Origin, Peek, Wrong, tlv};

/// What the header begins with: no text, no TLS, nothing that another protocol would take for its own.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 in the upper bits, `LOCAL` or `PROXY` in the lower ones.
pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;

/// Address families and transports, as they stand in one byte.
pub(super) const UNSPECIFIED: u8 = 0x00;
pub(super) const TCP_OVER_IPV4: u8 = 0x11;
pub(super) const TCP_OVER_IPV6: u8 = 0x21;
pub(super) const UDP_OVER_IPV4: u8 = 0x12;
pub(super) const UDP_OVER_IPV6: u8 = 0x22;

/// The part that every header has: signature, command, family, and the length of the rest in two bytes.
pub(super) const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// Both addresses and both ports.
const IPV4_BYTES: usize = 2 * (4 + 2);
const IPV6_BYTES: usize = 2 * (16 + 2);

/// Both paths.
const UNIX_BYTES: usize = 2 * 108;

pub(super) fn peek(bytes: &[u8]) -> Peek<'_> {
    match look(bytes) {
        Ok(Some(header)) => Peek::Found(header),
        Ok(None) => Peek::Incomplete,
        Err(wrong) => Peek::Refused(wrong),
    }
}

/// None: more bytes are needed.
fn look(bytes: &[u8]) -> Result<Option<Header<'_>>, Wrong> {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(Wrong::Absent);
    }
    let rest = &bytes[seen..];
    let Some(command) = rest.first() else { return Ok(None) };
    let is_local = match *command {
        LOCAL => true,
        PROXY => false,
        other if other & 0xf0 != LOCAL & 0xf0 => return Err(Wrong::Version),
        _ => return Err(Wrong::Command),
    };
    let [_, family, high, low, block @ ..] = rest else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let len = FIXED_BYTES + length;
    if len > HEADER_BYTES_MAX {
        return Err(Wrong::TooLong);
    }
    // Of a connection of the sender itself the rest is thrown away, the family included.
    let addresses = if is_local { Addresses::Ignored } else { Addresses::of(*family)? };
    if length < addresses.bytes() {
        return Err(Wrong::TooShort);
    }
    let Some(block) = block.get(..length) else {
        return Ok(None);
    };
    let notes = match addresses {
        Addresses::Ignored => Ok(Notes::default()),
        Addresses::Tcp4 | Addresses::Tcp6 | Addresses::Skipped(_) => {
            tlv::notes(&bytes[..len], FIXED_BYTES + addresses.bytes())
        }
    };
    let origin = if is_local { Origin::Sender } else { addresses.origin(block) };
    Ok(Some(Header { len, origin, notes: notes? }))
}

/// What the block behind the fixed part begins with.
#[derive(Debug, Clone, Copy)]
enum Addresses {
    Tcp4,
    Tcp6,
    /// Of a kind that says nothing here: so many bytes.
    Skipped(usize),
    /// Of no kind, so that nobody knows where they end: the whole block is.
    Ignored,
}

impl Addresses {
    /// Those of the standard's list. Which say nothing here are as good as none ("falls back to the UNSPEC mode").
    fn of(family: u8) -> Result<Self, Wrong> {
        let (address, transport) = (family >> 4, family & 0xf);
        match (address, transport) {
            (1, 1) => Ok(Self::Tcp4),
            (2, 1) => Ok(Self::Tcp6),
            (1, 2) => Ok(Self::Skipped(IPV4_BYTES)),
            (2, 2) => Ok(Self::Skipped(IPV6_BYTES)),
            (3, 1 | 2) => Ok(Self::Skipped(UNIX_BYTES)),
            (0, 0) => Ok(Self::Ignored),
            _ => Err(Wrong::Family),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Tcp4 => IPV4_BYTES,
            Self::Tcp6 => IPV6_BYTES,
            Self::Skipped(bytes) => bytes,
            Self::Ignored => 0,
        }
    }

    fn origin(self, block: &[u8]) -> Origin {
        let found = match self {
            Self::Tcp4 => ends::<4, Ipv4Addr>(block),
            Self::Tcp6 => ends::<16, Ipv6Addr>(block),
            Self::Skipped(_) | Self::Ignored => None,
        };
        found.map_or(Origin::Unknown, |(client, server)| Origin::Client { client, server })
    }
}

/// The client's address, the server's, the client's port, the server's.
fn ends<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (client, rest) = block.split_first_chunk::<N>()?;
    let (server, rest) = rest.split_first_chunk::<N>()?;
    let (client_port, rest) = rest.split_first_chunk::<2>()?;
    let server_port = rest.first_chunk::<2>()?;
    let end = |address: [u8; N], port: [u8; 2]| {
        SocketAddr::new(A::from(address).into().to_canonical(), u16::from_be_bytes(port))
    };
    Some((end(*client, *client_port), end(*server, *server_port)))
}
