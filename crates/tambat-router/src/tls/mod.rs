//! TLS in front of what a connection speaks.
//!
//! ```text
//! accept ── here, or threads ── handshake (hello ── Certificates ── config) ── worker: its end ── stream: a Transport
//! ```
//!
//! Handshakes have threads of their own, with less of the processor: their arithmetic keeps no request waiting. One in
//! each turn, a short one, a worker does itself. What is left once the arithmetic is done, in TLS 1.3 the client's last
//! word, a worker does as well: connections are dealt out in turn, as any accepted one is, and each is a [`TlsStream`]
//! then, asked no more than a non-blocking socket is. What is known of it is in [`Secured`].
//!
//! What is absent: where certificates come from ([`Certificates`] says which one a name gets), and their renewal.

mod asked;
mod config;
mod failure;
mod handshake;
mod here;
mod line;
mod secured;
mod settings;
mod stream;
#[cfg(test)]
mod testing;
mod threads;
mod under_way;

pub(crate) use asked::ACME_PROTOCOL;
pub(crate) use config::Alpn;
pub(crate) use failure::HandshakeCounters;
pub use failure::HandshakeFailure;
pub(crate) use handshake::{Told, alerts};
pub(crate) use here::{Here, shake_here};
pub(crate) use secured::Secured;
pub use settings::{Certificate, Certificates, ClientAuth, Hello, Lookup, TlsError, TlsSettings};
pub(crate) use stream::TlsStream;
pub(crate) use threads::{HANDSHAKES_MAX, Task, Unshaken, start};
pub(crate) use under_way::Handshake;
