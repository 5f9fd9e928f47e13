//! Pseudo-terminals, so that a command believes it talks to a person and keeps its colours.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::WinSize;
use crate::context::cannot;
use crate::sys;

/// Opens a pseudo-terminal of the given size: (master, slave), both close-on-exec, the master nonblocking, neither
/// of them the caller's controlling terminal. Line discipline as the kernel makes it: output lines end in CR LF.
/// A master whose last slave has closed reads as EIO.
pub fn open(size: WinSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags).map_err(|e| cannot("open a pseudo-terminal", e))?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(|e| cannot("unlock a pseudo-terminal", e))?;
    let name = ptsname_r(&master).map_err(|e| cannot("name a pseudo-terminal", e))?;
    // std opens close-on-exec by itself.
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(&name)
        .map_err(|e| cannot(format!("open the pseudo-terminal {name}"), e))?;
    let master = OwnedFd::from(master);
    set_winsize(&master, size)?;
    Ok((master, slave.into()))
}

/// Tells a pseudo-terminal (by its master) its new size; the kernel sends WINCH to its foreground process group.
pub fn set_winsize(fd: impl AsFd, size: WinSize) -> io::Result<()> {
    sys::set_window_size(fd.as_fd(), size).map_err(|e| cannot("set the size of a pseudo-terminal", e))
}

#[cfg(test)]
mod tests {
    use std::io::{IsTerminal, Read, Write};

    use super::*;
    use crate::terminal;

    #[test]
    fn both_ends_are_one_terminal() {
        let (master, slave) = open(WinSize { rows: 24, cols: 80 }).unwrap();
        assert!(slave.is_terminal());
        assert_eq!(terminal::size(&slave), Some(WinSize { rows: 24, cols: 80 }));
        set_winsize(&master, WinSize { rows: 50, cols: 132 }).unwrap();
        assert_eq!(terminal::size(&slave), Some(WinSize { rows: 50, cols: 132 }));

        let (mut master, mut slave) = (std::fs::File::from(master), std::fs::File::from(slave));
        let mut buffer = [0; 64];
        assert_eq!(master.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        slave.write_all(b"hello\n").unwrap();
        let n = master.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"hello\r\n");
        drop(slave);
        assert_eq!(master.read(&mut buffer).unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
