//! TLS in front of what is routed.

mod exchanges;
mod handshakes;
mod security;
mod words;
