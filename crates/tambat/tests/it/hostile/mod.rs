//! Hostile clients, misbehaving apps and floods, sent as bytes through `tambat route` to an app that writes down every
//! byte it is sent. Each test is named after its case: groups `a` (framing), `b` (request line and fields), `c` (the app
//! misbehaves), `d` (upgrades, expectations, trust), `e` (HTTP/2), `f` (slow, big, many) and `g` (what comes before the
//! first request: PROXY headers and TLS). Each asserts three things: what the client got, what the app saw, and that the
//! next good request on a new connection is answered.
//!
//! `vectors` holds the bytes of groups `a` and `b`, for the tests of each case, for the smuggling harness (`smuggling`),
//! which sends every one of them on connections that are kept alive, and for the test of the memory they leave (`memory`).

mod a;
mod b;
mod c;
mod client;
mod d;
mod e;
mod f;
mod g_proxy;
mod g_tls;
mod memory;
mod recorder;
mod smuggling;
mod stage;
mod vectors;
