//! Long runs of bytes, moved through a pipe inside the kernel without being copied (splice(2)).

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use tambat_os::arrivals;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::socket::is_something_there;

/// How much a pipe is to hold (pipe(7), `F_SETPIPE_SZ`).
pub(crate) const PIPE_BYTES: usize = 1024 * 1024;

/// One that holds less is not worth its system calls. A user who has many pipes gets those of two pages from the kernel
/// (`pipe-user-pages-soft`).
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// How many pipes a router has at most: two file descriptors each, and half of the pages that the kernel gives a user
/// without privilege (`pipe-user-pages-soft`), whose apps have pipes, too. Streams beyond are carried by copying.
const PIPES_MAX: usize = 32;

/// So many pipes a thread keeps while no stream has them.
const FREE_MAX: usize = 4;

/// What came into a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// So many, at least one.
    Bytes(usize),
    /// The other side has ended its direction.
    End,
    /// What stands there is urgent: no pipe takes it, and it looks as if nothing had come, or nothing more.
    Urgent,
}

/// A pipe that bytes of one stream are in, for a moment.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
    held: usize,
    /// The socket it is filled from says nothing of what arrives.
    is_hushed: bool,
    _one: One,
}

/// Counts a pipe, wherever it is.
#[derive(Debug)]
struct One(Arc<AtomicUsize>);

impl One {
    fn of(all: &Arc<AtomicUsize>) -> Option<Self> {
        let one = Self(Arc::clone(all));
        (all.fetch_add(1, Ordering::Relaxed) < PIPES_MAX).then_some(one)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pipe {
    fn new(one: One) -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        // Without permission for a big one it is as big as it came.
        let _ = i32::try_from(PIPE_BYTES).map(|size| fcntl(&writer, FcntlArg::F_SETPIPE_SZ(size)));
        let bytes = usize::try_from(fcntl(&writer, FcntlArg::F_GETPIPE_SZ)?).unwrap_or_default();
        if bytes < PIPE_BYTES_MIN {
            return Err(io::Error::other("the pipe is too small"));
        }
        Ok(Self { reader, writer, held: 0, is_hushed: false, _one: one })
    }

    /// How many bytes are in it.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes what has arrived, `most` bytes at most; 0: the peer has ended its direction. Only an empty pipe may be
    /// filled: a full one would look like a socket from which nothing has arrived.
    pub(crate) fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let most = most.min(PIPE_BYTES);
        self.held = from.try_io(Interest::READABLE, || Ok(splice(from, None, &self.writer, None, most, flags())?))?;
        Ok(self.held)
    }

    /// The same of a stream that may have urgent data in it.
    pub(crate) fn fill_all(&mut self, from: &TcpStream) -> io::Result<Filled> {
        match self.fill(from, PIPE_BYTES)? {
            0 if is_something_there(from) => Ok(Filled::Urgent),
            0 => Ok(Filled::End),
            filled => Ok(Filled::Bytes(filled)),
        }
    }

    /// The same, whatever is known of the socket's readiness, which stays as it is. What is there and does not come then is
    /// urgent: no event would tell of it.
    pub(crate) fn look(&mut self, from: &TcpStream) -> io::Result<Filled> {
        let mut filled = self.fill_unasked(from);
        if !matches!(filled, Ok(1..)) && is_something_there(from) {
            // Or it has come in this moment.
            filled = self.fill_unasked(from);
            if !matches!(filled, Ok(1..)) {
                return Ok(Filled::Urgent);
            }
        }
        Ok(match filled? {
            0 => Filled::End,
            filled => Filled::Bytes(filled),
        })
    }

    fn fill_unasked(&mut self, from: &TcpStream) -> io::Result<usize> {
        self.held = splice(from, None, &self.writer, None, PIPE_BYTES, flags())?;
        Ok(self.held)
    }

    /// Sends as much as the socket takes. As long as that is not all, `from`, which it was filled from, is hushed: nobody
    /// reads there now, and each arrival would wake the thread for nothing, a hundred times for a buffer that fills up.
    pub(crate) fn drain(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let taken = to.try_io(Interest::WRITABLE, || Ok(splice(&self.reader, None, to, None, self.held, flags())?))?;
        self.held -= taken;
        if self.held == 0 {
            self.unhush(from);
        } else if !self.is_hushed {
            self.is_hushed = arrivals::hush(from).is_ok();
        }
        Ok(())
    }

    /// `from` tells of arrivals again, and of what has come meanwhile. Needed where a pipe is given up that holds bytes.
    pub(crate) fn unhush(&mut self, from: &TcpStream) {
        if std::mem::take(&mut self.is_hushed) {
            let _ = arrivals::announce(from);
        }
    }
}

/// The pipes of one thread.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    /// How many there are, with those of the router's other threads.
    all: Arc<AtomicUsize>,
}

impl Pipes {
    /// One thread's, counted with those of others.
    pub(crate) fn new(all: &Arc<AtomicUsize>) -> Self {
        Self { free: Vec::new(), all: Arc::clone(all) }
    }

    /// An empty pipe; none: there are enough of them, or file descriptors have run out.
    pub(crate) fn lend(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        Pipe::new(One::of(&self.all)?).ok()
    }

    /// Gives one back. One that still holds bytes is closed.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        if pipe.held == 0 && self.free.len() < FREE_MAX {
            self.free.push(pipe);
        }
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_has_so_many_pipes_and_no_more_wherever_they_are() {
        let all = Arc::default();
        let (mut pipes, mut others) = (Pipes::new(&all), Pipes::new(&all));
        let mut lent: Vec<Pipe> = (0..PIPES_MAX).map(|_| pipes.lend().unwrap()).collect();
        assert!(pipes.lend().is_none() && others.lend().is_none());
        assert_eq!(all.load(Ordering::Relaxed), PIPES_MAX);
        pipes.give_back(lent.pop().unwrap());
        lent.push(pipes.lend().unwrap());
        assert!(pipes.lend().is_none());
        // Dropped with its stream.
        drop(lent.pop());
        // Given back with bytes of a stream in it.
        let mut soiled = lent.pop().unwrap();
        soiled.held = 1;
        pipes.give_back(soiled);
        assert_eq!(pipes.free.len(), 0);
        lent.extend([pipes.lend().unwrap(), others.lend().unwrap()]);
        assert!(pipes.lend().is_none());
        // Few are kept for nobody.
        lent.drain(..).for_each(|pipe| pipes.give_back(pipe));
        assert_eq!((pipes.free.len(), all.load(Ordering::Relaxed)), (FREE_MAX, FREE_MAX));
    }
}
