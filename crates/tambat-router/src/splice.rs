//! Long runs of bytes, moved through a pipe inside the kernel without being copied (splice(2)).

use std::io::{self, PipeReader, PipeWriter, pipe};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How much a pipe holds where the system allows it (pipe(7), `F_SETPIPE_SZ`); 64 KiB otherwise.
pub(crate) const PIPE_BYTES: usize = 1024 * 1024;

/// How many pipes one thread has at most: two file descriptors each. Streams beyond are carried by copying.
const PIPES_MAX: usize = 16;

/// A pipe that bytes of one stream are in, for a moment.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
    held: usize,
    /// Counts it, wherever it is.
    _one: Arc<()>,
}

impl Pipe {
    fn new(one: Arc<()>) -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        // Without permission for a big one a small one will do.
        let _ = i32::try_from(PIPE_BYTES).map(|size| fcntl(&writer, FcntlArg::F_SETPIPE_SZ(size)));
        Ok(Self { reader, writer, held: 0, _one: one })
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

    /// Sends as much as the socket takes.
    pub(crate) fn drain(&mut self, to: &TcpStream) -> io::Result<()> {
        self.held -= to.try_io(Interest::WRITABLE, || Ok(splice(&self.reader, None, to, None, self.held, flags())?))?;
        Ok(())
    }
}

/// The pipes of one thread.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    free: Vec<Pipe>,
    /// Held once here and once by each pipe.
    ones: Arc<()>,
}

impl Pipes {
    /// An empty pipe; none: there are enough of them, or file descriptors have run out.
    pub(crate) fn lend(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if Arc::strong_count(&self.ones) > PIPES_MAX { None } else { Pipe::new(Arc::clone(&self.ones)).ok() }
    }

    /// Gives one back. One that still holds bytes is closed.
    pub(crate) fn give_back(&mut self, pipe: Pipe) {
        if pipe.held == 0 {
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
    fn a_thread_has_so_many_pipes_and_no_more_wherever_they_are() {
        let mut pipes = Pipes::default();
        let mut lent: Vec<Pipe> = (0..PIPES_MAX).map(|_| pipes.lend().unwrap()).collect();
        assert!(pipes.lend().is_none());
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
        lent.extend([pipes.lend().unwrap(), pipes.lend().unwrap()]);
        assert!(pipes.lend().is_none());
    }
}
