//! HTTP through the router, over raw sockets.

pub(crate) mod access;
mod bodies;
mod ends;
mod exchanges;
mod frames;
mod h2c;
mod limits;
mod progress;
mod reuse;
mod shared;
mod targets;
mod tunnels;
mod waits;
pub(crate) mod words;
