//! What a terminal knows of itself. Whether something is one: [`std::io::IsTerminal`].

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys;

/// A terminal's size in character cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WinSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// The size of the terminal behind `fd`. `None` if it is none, or one that does not know (0 × 0).
pub fn size(fd: impl AsFd) -> Option<WinSize> {
    sys::window_size(fd.as_fd()).ok().filter(|size| size.rows > 0 && size.cols > 0)
}

/// Has whoever reads this pipe or socket gone away? A writer that has nothing to write does not learn it otherwise.
pub fn reader_has_gone(fd: impl AsFd) -> bool {
    let mut asked = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    let answered = poll(&mut asked, PollTimeout::ZERO).is_ok();
    answered && asked[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
}

/// Leaves the terminal: begins a session of its own, so that no hang-up and no Ctrl-C reaches this process. Fails for a
/// process that leads its group.
pub fn leave() -> io::Result<()> {
    nix::unistd::setsid().map(drop).map_err(io::Error::from)
}

/// No program that is started from now on gets any file of ours but standard input, output and error, not even one that
/// this process has inherited itself: a lock, or a pipe whose reader waits for its end.
pub fn keep_other_files() {
    sys::close_on_exec_from(3);
}

/// What is written to standard error from now on goes nowhere, and what it went to is let go.
pub fn silence_stderr() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stderr(null).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_goes_is_seen_by_who_does_not_write() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!reader_has_gone(&writer));
        drop(reader);
        assert!(reader_has_gone(&writer));
    }

    #[test]
    fn only_a_terminal_has_a_size() {
        assert_eq!(size(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
