//! TLS in front of what is routed.

mod exchanges;
mod handshakes;
mod http2;
mod security;
pub(crate) mod words;
