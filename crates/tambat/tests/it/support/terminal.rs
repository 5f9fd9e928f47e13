//! A terminal that a tambat runs in, as in a window on a screen.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::{AppDir, Running};

/// The person's side of it.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: File,
    /// Its name, such as /dev/pts/3.
    name: String,
    closed: Arc<AtomicBool>,
}

impl Terminal {
    /// `tambat start -p 0 ARGS` in a new terminal of this size, which is its controlling one.
    pub(crate) fn start(app: &AppDir, rows: u16, columns: u16, args: &[&str]) -> (Self, Running) {
        Self::run(app, rows, columns, &[&["start", "--http-port", "0", "-p", "0"], args].concat())
    }

    /// `tambat ARGS` in a new terminal of this size, which is its controlling one.
    pub(crate) fn run(app: &AppDir, rows: u16, columns: u16, args: &[&str]) -> (Self, Running) {
        // Close-on-exec from the beginning: a tambat that held the other end of its own terminal would never see it closed.
        let pty = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&pty).unwrap();
        unlockpt(&pty).unwrap();
        let name = ptsname_r(&pty).unwrap();
        let master = File::from(OwnedFd::from(pty));
        let slave = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(&name).unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let terminal = Self { master, name, closed: Arc::clone(&closed) };
        terminal.resize(rows, columns);
        let mut command = app.any_command("setsid");
        command.arg("--ctty").arg(app.tambat_program()).args(args);
        let copy = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(copy()).stdout(copy()).stderr(copy());
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        drop(slave);
        let screen = Screen { master: terminal.master.try_clone().unwrap(), closed };
        let running = Running::start_reading(app, command, screen);
        (terminal, running)
    }

    /// Types.
    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size of the window.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let done = Command::new("stty").args(["-F", &self.name, "rows", &rows, "cols", &columns]).status().unwrap();
        assert!(done.success());
    }

    /// Closes the window.
    pub(crate) fn close(self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// What is shown. Lets go of the terminal when its window is closed.
struct Screen {
    master: File,
    closed: Arc<AtomicBool>,
}

impl Read for Screen {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if self.closed.load(Ordering::Relaxed) {
                return Ok(0);
            }
            let mut files = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            if poll(&mut files, PollTimeout::from(20_u8))? > 0 {
                return self.master.read(buffer);
            }
        }
    }
}
