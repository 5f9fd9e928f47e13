//! What a client's hello asks for. Includes nothing of this crate: a fuzz target includes it.

use rustls::server::ClientHello;

/// The one protocol of a hello that asks for the proof of a challenge (RFC 8737 §3).
pub(crate) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// The name that is asked for, and whether it is asked for the proof of a challenge.
pub(super) fn asked(hello: &ClientHello<'_>) -> (Option<Box<str>>, bool) {
    // In lower case already.
    let name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name).into());
    let acme = hello.alpn().is_some_and(|mut all| all.next() == Some(ACME_PROTOCOL) && all.next().is_none());
    (name, acme)
}
