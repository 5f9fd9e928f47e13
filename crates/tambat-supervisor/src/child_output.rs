//! What a child writes, line by line: from a pipe or from the master of a pty.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;

use tambat_os::WinSize;
use tokio::io::unix::AsyncFd;

use crate::line::Lines;

/// How much of a child's output is read at once.
const CHUNK_BYTES: usize = 8 * 1024;

/// One output of a child.
#[derive(Debug)]
pub struct ChildStream {
    fd: AsyncFd<File>,
}

/// Reads a [`ChildStream`] to its end.
#[derive(Debug, Default)]
pub struct LineReader {
    lines: Lines,
    chunk: Vec<u8>,
    ended: bool,
}

impl LineReader {
    /// What is left without its line end, where nobody is going to read on.
    pub(crate) fn rest(&mut self) -> Option<String> {
        let mut rest = None;
        self.lines.end(|text| rest = Some(text));
        rest
    }
}

impl ChildStream {
    /// Takes the descriptor, which must be nonblocking. Fails where the reactor takes no more descriptors.
    pub fn new(fd: OwnedFd) -> std::io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its replacement is unsafe to call; a File keeps its descriptor, which is what that asks for"
        )]
        let fd = AsyncFd::new(File::from(fd))?;
        Ok(Self { fd })
    }

    /// The terminal behind it, if it is one, has another size now.
    pub fn resize(&self, size: WinSize) {
        // A pipe has no size.
        let _ = tambat_os::pty::set_winsize(self.fd.get_ref(), size);
    }

    /// The next lines, at least one; `None` at the end. Cancel safe: no byte is lost.
    pub async fn next(&self, reader: &mut LineReader) -> Option<Vec<String>> {
        let mut complete = Vec::new();
        reader.chunk.resize(CHUNK_BYTES, 0);
        while complete.is_empty() && !reader.ended {
            let Ok(mut ready) = self.fd.readable().await else { break };
            match ready.try_io(|fd| fd.get_ref().read(&mut reader.chunk)) {
                Err(_would_block) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                // A pty whose last process has gone answers EIO: that is its end of file.
                Ok(Ok(0) | Err(_)) => {
                    reader.ended = true;
                    reader.lines.end(|text| complete.push(text));
                }
                Ok(Ok(read)) => reader.lines.push(&reader.chunk[..read], |text| complete.push(text)),
            }
        }
        (!complete.is_empty()).then_some(complete)
    }
}
