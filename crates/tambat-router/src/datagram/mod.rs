//! Datagrams: sessions of clients at a socket, each carried to one target and back.
//!
//! ```text
//! socket ── hub ── table (pure: who talks, who is silent, who makes room)
//!            │
//!            ├── place (pure: route, client -> target | wait | nobody)
//!            └── link      a connected socket of its own for each session, so that answers find back
//! ```
//!
//! A session is a client's address, and the address of ours that it has dialled, as long as something moves. All sessions
//! of a socket belong to the worker that reads it; nothing of them is locked. To who sends nothing is ever sent that is
//! longer than what he has sent, but by a target: his address may be somebody else's.

mod allowance;
mod hub;
mod link;
mod place;
mod reception;
mod session;
#[cfg(test)]
mod simulation;
mod table;

use std::net::UdpSocket;

use crate::listener::ListenerKind;

pub(crate) use hub::Hub;
pub(crate) use reception::Reception;

/// An address for datagrams, with the sockets that hold it.
#[derive(Debug)]
pub struct DatagramListener {
    /// What decides where its datagrams go.
    pub kind: ListenerKind,
    /// Bound, as `tambat_os::datagrams::bind` does it: answers from one at the unspecified address come from the address
    /// that was dialled.
    pub sockets: Vec<UdpSocket>,
}
