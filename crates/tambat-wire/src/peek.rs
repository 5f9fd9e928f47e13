//! How a client begins, told from its first bytes, and whom it wants where they say so: TLS by `server_name`, XMPP by
//! `to`, `PostgreSQL` by what it asks for first.
//!
//! Everything here is bounded, never panics on any bytes, and looks at each byte once however they are cut: see
//! [`Peeker`]. Clients that wait for the server's greeting (`MySQL`, SMTP) begin in no way at all; whoever holds the socket
//! also holds the deadline after which they are taken for that.

mod client_hello;
mod cursor;
pub mod postgres;
mod words;
pub mod xmpp;

pub(crate) use client_hello::HelloScan;
pub use client_hello::{ALPN_PROTOCOLS_MAX, CLIENT_HELLO_BYTES_MAX, ClientHello, ServerName, client_hello};
use tambat_model::Opening;
pub use words::{http_request, ssh};
use xmpp::{HeaderScan, StreamError, StreamHeader};

/// So many bytes are enough to tell any opening.
pub const OPENING_BYTES_MAX: usize = CLIENT_HELLO_BYTES_MAX;

/// What first bytes say. What is not [`Peek::Incomplete`] stays so when more bytes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek<T> {
    /// More bytes are needed to say.
    Incomplete,
    /// It is something else, whatever follows.
    No,
    /// It is this.
    Found(T),
}

impl<T> Peek<T> {
    /// The same with what was found made into something else.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Peek<U> {
        match self {
            Self::Incomplete => Peek::Incomplete,
            Self::No => Peek::No,
            Self::Found(found) => Peek::Found(into(found)),
        }
    }
}

/// How a client has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// With a TLS handshake.
    Tls(ClientHello),
    /// With a request of HTTP.
    Http,
    /// With a version of SSH.
    Ssh,
    /// With an XMPP stream, or with what is one but for the error with which it has to be answered.
    Xmpp(Result<StreamHeader, StreamError>),
    /// With a message of the `PostgreSQL` protocol: [`door::postgres`](crate::door::postgres) goes on from its first byte.
    Postgres,
}

/// Tells how one connection begins, of the ways that a listener expects.
///
/// However the bytes are cut, each is looked at once; only the first few dozen are looked at again.
#[derive(Debug)]
pub struct Peeker {
    /// Those that may still be it, in the order in which they were given.
    left: Vec<Ear>,
    needs: usize,
}

/// Listens for one opening.
#[derive(Debug)]
enum Ear {
    Tls(HelloScan),
    Http,
    Ssh,
    Xmpp(HeaderScan),
    Postgres,
}

impl Peeker {
    /// For a connection of which nothing was read, at a listener that tells these openings.
    pub fn new(openings: &[Opening]) -> Self {
        Self { left: openings.iter().map(|opening| Ear::new(*opening)).collect(), needs: 1 }
    }

    /// How the connection begins, by everything received since it stands: the same bytes as the last time, and more.
    /// [`Peek::No`]: in none of the ways. It is not asked again once it has said either. Never [`Peek::Incomplete`] for more than [`OPENING_BYTES_MAX`] bytes.
    pub fn on(&mut self, received: &[u8]) -> Peek<Told> {
        if received.len() < self.needs && !self.left.is_empty() {
            return Peek::Incomplete;
        }
        let mut found = None;
        self.left.retain_mut(|ear| match ear.on(received) {
            Peek::Incomplete => true,
            Peek::No => false,
            Peek::Found(told) => {
                found.get_or_insert(told);
                true
            }
        });
        if let Some(told) = found {
            return Peek::Found(told);
        }
        self.needs = self.left.iter().map(|ear| ear.needs(received.len())).min().unwrap_or_default();
        if self.left.is_empty() { Peek::No } else { Peek::Incomplete }
    }

    /// Has it begun so, as far as it has said anything, without being told yet?
    pub fn may_be(&self, opening: Opening) -> bool {
        self.left.iter().any(|ear| ear.opening() == opening)
    }

    /// How many bytes must have been received, in all, before [`Self::on`] can say more.
    pub fn needs(&self) -> usize {
        self.needs
    }
}

impl Ear {
    fn new(opening: Opening) -> Self {
        match opening {
            Opening::Tls => Self::Tls(HelloScan::default()),
            Opening::Http => Self::Http,
            Opening::Ssh => Self::Ssh,
            Opening::Xmpp => Self::Xmpp(HeaderScan::default()),
            Opening::Postgres => Self::Postgres,
        }
    }

    fn opening(&self) -> Opening {
        match self {
            Self::Tls(_) => Opening::Tls,
            Self::Http => Opening::Http,
            Self::Ssh => Opening::Ssh,
            Self::Xmpp(_) => Opening::Xmpp,
            Self::Postgres => Opening::Postgres,
        }
    }

    fn on(&mut self, received: &[u8]) -> Peek<Told> {
        match self {
            Self::Tls(scan) => scan.on(received).map(Told::Tls),
            Self::Http => http_request(received).map(|()| Told::Http),
            Self::Ssh => ssh(received).map(|()| Told::Ssh),
            Self::Xmpp(scan) => scan.on(received).map(Told::Xmpp),
            Self::Postgres => postgres::begins(received).map(|()| Told::Postgres),
        }
    }

    fn needs(&self, received: usize) -> usize {
        match self {
            Self::Tls(scan) => scan.needs().max(received + 1),
            _ => received + 1,
        }
    }
}

#[cfg(test)]
mod tests;
