//! The `PostgreSQL` protocol before a session: encryption on the client's side, encryption on ours towards an app that ends TLS
//! itself, and what the app says while a session starts ("Message Flow" in the `PostgreSQL` manual).

mod client;
mod refusal;
mod startup;

use crate::peek::Peek;
pub use crate::peek::postgres::{CancelKey, CancelRequest};
use crate::peek::postgres::{Opening, opening};
use crate::printable::quoted;
pub use client::{Door, Step};
pub use refusal::Refusal;
pub use startup::{STARTUP_ANSWER_BYTES_MAX, StartupWatch, Watch};

/// Our own wish for TLS, towards an app that ends it itself: before the client's handshake is passed on.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What an app says to [`SSL_REQUEST`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SslAnswer {
    /// Nothing yet.
    Incomplete,
    /// The handshake may begin.
    Yes,
    /// It has no TLS: the end of a sentence that begins with the app.
    No(String),
    /// It has said something else: the end of such a sentence.
    Else(String),
}

/// What this answer to [`SSL_REQUEST`] says. It is one byte: whatever stands behind it was not said by whom the handshake
/// is with.
pub fn ssl_answer(received: &[u8]) -> SslAnswer {
    match received {
        [] => SslAnswer::Incomplete,
        [b'S'] => SslAnswer::Yes,
        [b'S', ..] => SslAnswer::Else("sent more than its answer before TLS".to_owned()),
        [b'N', ..] => {
            SslAnswer::No("does not speak TLS: set `ssl = on` there, or `tls = \"terminate\"` here".to_owned())
        }
        other => SslAnswer::Else(format!("answered {} when asked for TLS", quoted(other))),
    }
}

/// Is what a client says first inside of TLS a cancel? [`Peek::No`]: it is for the app, as it is.
pub fn inside(received: &[u8]) -> Peek<CancelRequest> {
    match opening(received) {
        Peek::Incomplete => Peek::Incomplete,
        Peek::Found(Opening::Cancel(request)) => Peek::Found(request),
        Peek::Found(_) | Peek::No => Peek::No,
    }
}

#[cfg(test)]
mod tests;
