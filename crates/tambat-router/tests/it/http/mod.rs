//! HTTP through the router, over raw sockets.

mod bodies;
mod ends;
mod exchanges;
mod limits;
mod shared;
mod targets;
mod tunnels;
mod waits;
mod words;
