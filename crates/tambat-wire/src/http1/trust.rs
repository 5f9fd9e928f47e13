//! The client's connection as the request finds it, and whose word counts on it.

use std::net::IpAddr;

pub use tambat_model::Scheme;
use tambat_model::Trusted;

/// What frames the requests of a client. Their heads are those of HTTP/1.1 in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientFraming {
    /// The version is the one that the head says.
    #[default]
    Http1,
    /// Streams of HTTP/2: the head was translated.
    Http2,
}

/// What the client's connection says of every request on it.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// Who is connected.
    pub peer: IpAddr,
    /// The listener's port.
    pub port: u16,
    /// How.
    pub scheme: Scheme,
    /// In what the request came.
    pub framing: ClientFraming,
    /// Is the peer's word taken: is it in `trusted`, or another tambat that proved itself?
    pub trusts_peer: bool,
    /// Whose addresses are passed over when the client is looked for, from the right (RFC 7239 §7.4).
    pub trusted: &'a Trusted,
    /// The router's own pseudonym in `Via` (RFC 9110 §7.6.3): a token.
    pub via: &'a str,
}
