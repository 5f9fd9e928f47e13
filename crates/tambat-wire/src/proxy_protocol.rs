//! The PROXY protocol, versions 1 and 2: a header at the beginning of a connection by which a proxy says for whom it has
//! connected. Sections are those of HAProxy's `proxy-protocol.txt`.
//!
//! Whoever reads one knows beforehand that there must be one: it is never guessed (section 2). What does not begin with
//! a header that is right to the last byte is closed.

mod crc32c;
mod tlv;
mod v1;
mod v2;
mod write;

use std::net::SocketAddr;

pub use tambat_model::ProxyProtocol;
pub use write::{datagram_header, own_header, write};

/// How long a header may be, in bytes. The addresses, a name, an id and what is said of TLS take some hundreds; senders
/// keep it below a segment, so that this is several times of what honest ones send.
pub const HEADER_BYTES_MAX: usize = 4_096;

/// How long the id of a connection may be, in bytes (section 2.2.5).
pub const UNIQUE_ID_BYTES_MAX: usize = 128;

/// What the first bytes of a connection are that has to begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek<'b> {
    /// The beginning of a header, as far as can be seen: more bytes are needed.
    Incomplete,
    /// No header, or a wrong one. More bytes change nothing: the connection has to be closed.
    Refused(Wrong),
    /// A whole header.
    Found(Header<'b>),
}

/// A header that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'b> {
    /// How many bytes it takes; what follows is the client's.
    pub len: usize,
    /// Where the connection comes from.
    pub origin: Origin,
    /// What else is said of it.
    pub notes: Notes<'b>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the sender itself, on nobody's behalf (`LOCAL`): a health check. The ends of the connection are the real ones.
    Sender,
    /// From somebody else, the sender cannot say from whom: a socket of another kind, or `UNKNOWN`.
    Unknown,
    /// From this client.
    Client {
        /// Its address; one of IPv4 in IPv6's clothes is the IPv4 address.
        client: SocketAddr,
        /// The address that it has dialled.
        server: SocketAddr,
    },
}

/// What a header of version 2 may say beside the addresses. In none of it is there anything that has not been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes<'b> {
    /// The name by which the client has called the server: that of TLS' `server_name` (section 2.2.2).
    pub authority: Option<&'b str>,
    /// What is spoken, as TLS' ALPN has it (RFC 7301): `h2`, `http/1.1` (section 2.2.1).
    pub alpn: Option<&'b [u8]>,
    /// The id of the connection, 1 to 128 bytes (section 2.2.5).
    pub unique_id: Option<&'b [u8]>,
    /// The TLS that the client speaks to the sender; none: it speaks none, or nothing is said of it (section 2.2.6).
    pub tls: Option<Tls<'b>>,
}

/// What is said of the client's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tls<'b> {
    /// The version, as OpenSSL writes it: `TLSv1.3`.
    pub version: Option<&'b str>,
    /// Has the client shown a certificate that was verified?
    pub certified: bool,
}

/// Why bytes are not the header that has to be there: the end of a sentence that begins with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The first bytes are something else.
    #[error("does not begin with a PROXY header")]
    Absent,
    /// Longer than any header is, or than is read.
    #[error("has a PROXY header that is too long")]
    TooLong,
    /// Version 1: the line ends with a CR or an LF alone.
    #[error("has a PROXY line that does not end with CR and LF")]
    LineEnd,
    /// Version 1: neither `TCP4` nor `TCP6` nor `UNKNOWN`.
    #[error("has a PROXY line of no known protocol")]
    Protocol,
    /// Version 1: the addresses and ports are not two of each, as they have to be written.
    #[error("has a PROXY line whose addresses are not right")]
    Addresses,
    /// Version 2: another version.
    #[error("has a PROXY header of a version that nobody knows")]
    Version,
    /// Version 2: neither `LOCAL` nor `PROXY`.
    #[error("has a PROXY header with a command that nobody knows")]
    Command,
    /// Version 2: an address family or a transport that is not there.
    #[error("has a PROXY header of an address family that nobody knows")]
    Family,
    /// Version 2: the header ends before its addresses do.
    #[error("has a PROXY header that ends before its addresses do")]
    TooShort,
    /// Version 2: an entry is cut off, is there twice, or is not what it has to be.
    #[error("has a PROXY header with an entry that is not right")]
    Entry,
    /// Version 2: the checksum is that of other bytes.
    #[error("has a PROXY header with a wrong checksum")]
    Checksum,
}

/// Looks at the first bytes of a connection that has to begin with a header. Pure, and whatever it says but
/// [`Peek::Incomplete`] stays so when more bytes follow.
pub fn peek(bytes: &[u8]) -> Peek<'_> {
    match bytes.first() {
        None => Peek::Incomplete,
        Some(b'P') => v1::peek(bytes),
        Some(b'\r') => v2::peek(bytes),
        Some(_) => Peek::Refused(Wrong::Absent),
    }
}

impl Header<'_> {
    /// One that says nothing but this.
    fn of(origin: Origin, len: usize) -> Self {
        Self { len, origin, notes: Notes::default() }
    }
}

#[cfg(test)]
mod tests;
