//! What the keeper of public certificates has to say to those who come without TLS.

use std::fmt;

/// What the keeper of public certificates has to say at shared listeners without TLS. Asked on the threads that carry
/// requests: it must not block.
pub trait Challenges: fmt::Debug + Send + Sync {
    /// What an ACME CA is answered that asks `host` for the proof named by this token (HTTP-01, RFC 8555 §8.3), whatever
    /// route the request would have had; none: there is no such proof, and the request goes its way.
    fn answer(&self, host: &str, token: &str) -> Option<String>;

    /// Is there a certificate for this name that everybody trusts?
    fn is_public(&self, host: &str) -> bool;
}
