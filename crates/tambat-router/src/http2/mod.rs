//! HTTP/2 from clients (RFC 9113), on the codec of the `h2` crate: one task for each connection, which serves its
//! streams side by side.
//!
//! ```text
//! serve ── wire       the client's bytes, to and from the codec; its frames are watched on the way
//!   │
//!   └── stream        a virtual client of HTTP/1.1: what is read from it is a request, what is sent to it an answer
//!         └── http    serves it as it serves a socket
//! ```
//!
//! So there is one policy: what a head may hold, where a request goes, how long it waits, what it is answered, how it is
//! logged and counted is decided in one place, whatever it came in. What is here is what HTTP/1.1 has nothing of: many
//! requests side by side, and the limits of that.

mod answers;
mod fields;
mod gathered;
mod limits;
mod ready;
mod serve;
mod served;
mod session;
mod spare;
mod stream;
mod wire;

pub(crate) use fields::KnownFields;
pub(crate) use serve::serve;
pub(crate) use spare::SpareBytes;
pub(crate) use stream::Stream;
