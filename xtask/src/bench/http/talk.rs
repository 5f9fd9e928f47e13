//! One connection of a load: what is asked on it, and what comes back.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    time::Instant,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};

use super::{
    reply::Reply,
    request::{Requests, Shape},
};

/// A client's side of a connection that never blocks.
pub(super) trait Talk: AsFd + Sized {
    /// What all connections of a load have in common.
    type Shared;

    /// Connects, and asks once. The connection is called by this number; another may have had it before.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or the request does not fit in an empty socket.
    fn open(shared: &mut Self::Shared, nth: usize, ends: Ends) -> io::Result<Self>;

    /// So many requests more, due at that moment.
    ///
    /// # Errors
    ///
    /// When the socket does not take them at once.
    fn ask(&mut self, shared: &mut Self::Shared, count: usize, since: Instant) -> io::Result<()>;

    /// One read. For each answer that is whole now, the moment its request was due; how many bytes came.
    ///
    /// # Errors
    ///
    /// When the connection has ended, or an answer is not what it must be.
    fn read(&mut self, scratch: &mut [u8], answered: &mut Vec<Instant>) -> io::Result<u64>;

    /// Some request has no whole answer yet.
    fn waits(&self) -> bool;

    /// Ends it as its protocol wants it ended.
    ///
    /// # Errors
    ///
    /// When it was another kind of connection than it should have been.
    fn end(self) -> io::Result<()>;
}

/// HTTP/1.1 over TCP.
pub(super) struct Plain {
    stream: TcpStream,
    reply: Reply,
    shape: Shape,
    /// Its first request was answered; the others may differ.
    greeted: bool,
    /// When the request that it waits for was due.
    since: Option<Instant>,
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Talk for Plain {
    type Shared = Requests;

    fn open(requests: &mut Requests, _nth: usize, ends: Ends) -> io::Result<Self> {
        let since = Some(Instant::now());
        let stream = connect(ends)?;
        whole((&stream).write(requests.first())?, requests.first())?;
        let shape = requests.shape();
        Ok(Self { stream, reply: Reply::new(shape.first()), shape, greeted: false, since })
    }

    fn ask(&mut self, requests: &mut Requests, _count: usize, since: Instant) -> io::Result<()> {
        self.since = Some(since);
        let request = requests.next();
        whole((&self.stream).write(request)?, request)
    }

    fn read(&mut self, scratch: &mut [u8], answered: &mut Vec<Instant>) -> io::Result<u64> {
        let Some(bytes) = receive(&self.stream, scratch)? else { return Ok(0) };
        if self.reply.feed(bytes)? {
            answered.push(self.since.take().ok_or_else(|| io::Error::other("it was answered twice"))?);
            if !self.greeted {
                self.greeted = true;
                self.reply = Reply::new(self.shape.then());
            }
        }
        Ok(bytes.len() as u64)
    }

    fn waits(&self) -> bool {
        self.since.is_some()
    }

    fn end(self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a client comes from, and where it goes: to this port of 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) from: Ipv4Addr,
    pub(super) port: u16,
}

impl From<u16> for Ends {
    fn from(port: u16) -> Self {
        Self { from: Ipv4Addr::LOCALHOST, port }
    }
}

impl Ends {
    pub(super) fn word(self) -> String {
        format!("{}:{}", self.from, self.port)
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        let (from, port) = word.split_once(':')?;
        Some(Self { from: from.parse().ok()?, port: port.parse().ok()? })
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub(super) fn connect(self) -> io::Result<TcpStream> {
        let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        if self.from != Ipv4Addr::LOCALHOST {
            bind(client.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(self.from, 0)))?;
        }
        nix::sys::socket::connect(
            client.as_raw_fd(),
            &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)),
        )?;
        Ok(client.into())
    }
}

/// A connection between these that does not block.
pub(super) fn connect(ends: Ends) -> io::Result<TcpStream> {
    let stream = ends.connect()?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What has arrived, if anything has.
pub(super) fn receive<'a>(mut stream: &TcpStream, scratch: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    match stream.read(scratch) {
        Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "it was closed")),
        Ok(count) => Ok(Some(&scratch[..count])),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The socket of a connection that waits for nothing has room for a request.
pub(super) fn whole(written: usize, request: &[u8]) -> io::Result<()> {
    if written == request.len() {
        return Ok(());
    }
    Err(io::Error::other("a request did not fit in an empty socket"))
}
