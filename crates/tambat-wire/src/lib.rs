//! Sans-I/O codecs: bytes in, answers out.
//!
//! A [`Probe`] says what to send to an instance to learn whether it is ready, and judges what comes back; a
//! [`refusal()`] is what a client is told, in its own protocol, when its connection cannot be served. [`peek`]
//! tells how a client begins and whom it wants, and [`door`] what is agreed on with it before its bytes go there. Nothing here
//! opens a socket or looks at a clock: whoever holds the socket also holds the deadline.

mod dns;
pub mod door;
pub mod h2c;
mod http;
pub mod http1;
pub mod http2;
mod mqtt;
mod mysql;
pub mod peek;
mod postgres;
mod printable;
mod probe;
pub mod proxy_protocol;
mod recognise;
mod redis;
mod refusal;
mod servfail;
mod smtp;
mod ssh;
mod tls;
pub mod websocket;
mod xmpp;

pub use postgres::{PostgresOpening, postgres_opening};
pub use probe::{Expect, Judgement, Probe};
pub use recognise::{Question, Recognised, Spoken, recognise};
pub use refusal::{Hearing, hearing, refusal};
pub use servfail::servfail;
