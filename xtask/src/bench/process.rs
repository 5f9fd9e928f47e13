//! Programs that are measured: started, waited for, ended by their pid.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::procfs;
use crate::{failure::Failure, run};

/// How often a client that waits for its first answer tries again.
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// What has not answered after this never will.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Runners give their apps 5 s.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How many of a failed program's last words are told.
const LAST_WORDS_CHARS_MAX: usize = 2_000;

/// A program that runs. Dropping it ends it.
pub(super) struct Running {
    what: String,
    pid: u32,
    ended: Receiver<io::Result<ExitStatus>>,
    over: bool,
}

impl Running {
    /// Starts a program without a terminal. What it says is passed over.
    pub(super) fn start(mut command: Command) -> Result<Self, Failure> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self::spawn(command)
    }

    /// The same; what it says goes into this file.
    pub(super) fn start_into(mut command: Command, file: &Path) -> Result<Self, Failure> {
        let open = || fs::OpenOptions::new().create(true).append(true).open(file);
        let (out, err) = open()
            .and_then(|out| Ok((out, open()?)))
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display()), "is the disk full?"))?;
        command.stdout(out).stderr(err);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self, Failure> {
        let what = run::line(&command);
        command.stdin(Stdio::null());
        let mut child = command
            .spawn()
            .map_err(|error| Failure::new(format!("cannot run `{what}`: {error}"), "is it installed, and in PATH?"))?;
        let pid = child.id();
        let (end, ended) = channel();
        thread::spawn(move || end.send(child.wait()));
        Ok(Self { what, pid, ended, over: false })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Failure> {
        for signal in ["TERM", "KILL"] {
            if self.over || self.ended.try_recv().is_ok() {
                self.over = true;
                return Ok(());
            }
            if signal == "KILL" {
                // It cannot do that itself any more.
                procfs::tree(self.pid).into_iter().for_each(|pid| kill(signal, pid));
            }
            kill(signal, self.pid);
            if !matches!(self.ended.recv_timeout(STOP_LIMIT), Err(RecvTimeoutError::Timeout)) {
                self.over = true;
                return Ok(());
            }
        }
        Err(Failure::new(format!("cannot end `{}` (pid {})", self.what, self.pid), "end it by hand"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Nothing is lost if it has ended already.
fn kill(signal: &str, pid: u32) {
    let pid = pid.to_string();
    run::succeeds("/bin/sh", &["-c", r#"kill -s "$0" "$1""#, signal, &pid]);
}

/// For this process and all that it starts: as many open files as the machine allows.
pub(super) fn raise_open_files() -> Result<(), Failure> {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    raised.map_err(|error| Failure::new(format!("cannot raise the limit of open files: {error}"), "see `ulimit -Hn`"))
}

/// Time passes on purpose: what is measured is what happens meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "an interval is measured, or a client polls; there is no event to wait for"
)]
pub(super) fn pause(time: Duration) {
    thread::sleep(time);
}

/// Until this port of 127.0.0.1 answers `GET /` with a 200: tried again every millisecond while it refuses.
pub(super) fn first_200(port: u16) -> Result<(), Failure> {
    until(port, |port| {
        let answer = get(port)?;
        Ok(answer.starts_with(b"HTTP/1.1 200 ")).map(|good| good.then_some(())).and_then(|good| {
            good.ok_or_else(|| io::Error::other(format!("it said {:?}", String::from_utf8_lossy(&answer))))
        })
    })
}

/// Until this port of 127.0.0.1 takes connections.
pub(super) fn first_connection(port: u16) -> Result<(), Failure> {
    until(port, |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop))
}

fn until(port: u16, attempt: impl Fn(u16) -> io::Result<()>) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match attempt(port) {
            Ok(()) => return Ok(()),
            Err(_) if begun.elapsed() < ANSWER_LIMIT => pause(TRY_AGAIN),
            Err(error) => {
                return Err(Failure::new(format!("cannot get an answer at port {port}: {error}"), "run it by hand"));
            }
        }
    }
}

/// Until nobody listens there any more.
pub(super) fn refused(port: u16) -> Result<(), Failure> {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
        if begun.elapsed() > STOP_LIMIT {
            return Err(Failure::new(format!("cannot go on: somebody still listens at port {port}"), "end it by hand"));
        }
        pause(TRY_AGAIN);
    }
    Ok(())
}

fn get(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Runs a load to its end for the facts it prints; its last words when it fails.
pub(super) fn facts(command: Command) -> Result<String, Failure> {
    run::captured(command).map_err(|failure| {
        let said: String = failure.to_string().chars().take(LAST_WORDS_CHARS_MAX).collect();
        Failure::new("cannot measure: the load went wrong", said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ended_by_its_pid_and_its_end_is_waited_for() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let running = Running::start(command).unwrap();
        let proc = std::path::PathBuf::from(format!("/proc/{}", running.pid()));
        assert!(proc.exists());
        running.stop().unwrap();
        assert!(!proc.exists());
    }

    #[test]
    fn one_that_has_ended_is_not_signalled() {
        let running = Running::start(Command::new("true")).unwrap();
        let status = running.ended.recv_timeout(STOP_LIMIT).unwrap().unwrap();
        assert!(status.success());
        assert!(Running::start(Command::new("/nonexistent/program")).is_err());
    }
}
