//! What is said inside a connection of TLS.

use std::{io, time::Instant};

use super::{
    super::{
        offer::Offer,
        reply::Reply,
        request::{Requests, Shape},
    },
    shared::Shared,
};

/// A client's side, without a socket.
pub(in super::super) trait Speech: Sized {
    /// Whatever comes first, and one request.
    fn begin(requests: &Requests, offer: Offer, since: Instant, out: &mut Vec<u8>) -> Self;

    /// So many requests more.
    fn ask(&mut self, shared: &mut Shared, count: usize, since: Instant, out: &mut Vec<u8>);

    /// Takes what came. For each answer that is whole now, the moment its request was due.
    ///
    /// # Errors
    ///
    /// When it is not what it must be.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>, answered: &mut Vec<Instant>) -> io::Result<()>;

    /// Some request has no whole answer yet.
    fn waits(&self) -> bool;
}

/// HTTP/1.1, one request at a time.
pub(in super::super) struct Http1 {
    reply: Reply,
    shape: Shape,
    since: Option<Instant>,
}

impl Speech for Http1 {
    fn begin(requests: &Requests, _offer: Offer, since: Instant, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(requests.first());
        let shape = requests.shape();
        Self { reply: Reply::new(shape.first()), shape, since: Some(since) }
    }

    fn ask(&mut self, shared: &mut Shared, _count: usize, since: Instant, out: &mut Vec<u8>) {
        self.since = Some(since);
        self.reply = Reply::new(self.shape.then());
        out.extend_from_slice(shared.requests.next());
    }

    fn feed(&mut self, bytes: &[u8], _out: &mut Vec<u8>, answered: &mut Vec<Instant>) -> io::Result<()> {
        if self.reply.feed(bytes)? {
            answered.push(self.since.take().ok_or_else(|| io::Error::other("it was answered twice"))?);
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        self.since.is_some()
    }
}
