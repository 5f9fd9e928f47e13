//! HTTP/1.1 on the sockets of a worker: one task for each client connection, driving the engine of `tambat-wire`.
//!
//! ```text
//! connection ── head      read a request's head, find its route, write what the target gets
//!      │         ├── balance (pure) ── pool         a kept connection, in the same turn, or else
//!      │         └── seek     dial, wait, queue     (boxed: few requests come to this)
//!      ├── pump ── flow       bytes both ways until the exchange is over; back-pressure, splice, limits, the retry
//!      ├── reply              what the router itself answers
//!      ├── security           what depends on TLS: misdirected requests, https redirects, ACME challenges
//!      └── end                counters, access log; a tunnel; a lingering close
//! ```
//!
//! A request that finds a kept connection costs two receives and two sends, no allocation and no lock. Its state is in a
//! box ([`Active`](active::Active)) that goes on to the next request, of whatever connection; the task of an idle connection has none.

mod active;
mod clock;
mod connection;
mod end;
mod flow;
mod head;
mod inbox;
mod pump;
mod reply;
mod security;
mod seek;

pub(crate) use active::Spare;
pub(crate) use clock::{Clock, Pseudonyms, router_number};
pub(crate) use connection::serve;
pub(crate) use flow::WINDOW_BYTES;
pub(crate) use reply::too_many_connections;
