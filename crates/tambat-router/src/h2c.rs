//! HTTP/2 to targets, without TLS and by prior knowledge (RFC 9113 §3.3): gRPC and whatever else speaks it.
//!
//! ```text
//! exchange ── Transport::H2c ── Stream      bytes of HTTP/1.1 in, a stream of HTTP/2 out, and back
//!                                 │
//!                               Link        one connection, many streams; its frames are moved by a task of their own
//!                                 │
//!                               Links       a worker's connections, by target: chosen, dialled, closed when idle
//! ```
//!
//! Who moves an exchange knows nothing of this: its limits, its faults and its retries are those of HTTP/1.1. What a body
//! is moved by is the flow control of the stream: nothing is taken from the client for which the target has no room, and
//! the target gets no room before the client has taken what came.

mod link;
mod links;
mod stream;

pub(crate) use links::Links;
pub(crate) use stream::Stream;
