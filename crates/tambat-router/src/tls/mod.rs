//! TLS in front of what a connection speaks.
//!
//! ```text
//! accept ── threads ── handshake (hello ── Certificates ── config) ── worker ── stream: a Transport
//! ```
//!
//! Handshakes have threads of their own, with less of the processor: their arithmetic keeps no request waiting. What has
//! shaken hands goes to a worker, in turn, as any accepted connection does, and is a [`TlsStream`] there: asked no more
//! than a non-blocking socket is. What is known of it then is in [`Secured`].
//!
//! What is absent: where certificates come from ([`Certificates`] says which one a name gets), and their renewal.

mod config;
mod failure;
mod handshake;
mod secured;
mod settings;
mod stream;
#[cfg(test)]
mod testing;
mod threads;

pub(crate) use failure::HandshakeCounters;
pub use failure::HandshakeFailure;
pub(crate) use handshake::Handshaken;
pub(crate) use secured::Secured;
pub use settings::{Certificate, Certificates, ClientAuth, Hello, Lookup, TlsError, TlsSettings};
pub(crate) use stream::TlsStream;
pub(crate) use threads::{HANDSHAKES_MAX, Task, Unshaken, start};
