//! A terminal that a tambat runs in, as in a window on a screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

use super::{AppDir, Running, fixture};

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
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let name = nix::unistd::ttyname(&pty.slave).unwrap().display().to_string();
        let copy = |fd: &OwnedFd| fd.try_clone().unwrap();
        let mut command = app.any_command("setsid");
        command.arg("--ctty").arg(fixture::TAMBAT).args(["start", "-p", "0"]).args(args);
        command.stdin(Stdio::from(copy(&pty.slave))).stdout(copy(&pty.slave)).stderr(copy(&pty.slave));
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        drop(pty.slave);
        let closed = Arc::new(AtomicBool::new(false));
        let screen = Screen { master: File::from(copy(&pty.master)), closed: Arc::clone(&closed) };
        let running = Running::start_reading(app, command, screen);
        (Self { master: File::from(pty.master), name, closed }, running)
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
