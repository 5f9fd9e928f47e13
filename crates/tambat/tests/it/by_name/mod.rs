//! Apps behind one address, told apart by what their clients begin with: real servers and real clients.

mod peek;
mod sockets;
mod streams;
mod xmpp;
