//! A `tambat route --from FILE` that runs. It is ended and looked after when the test is over, however that comes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::http::{Response, whole};
use super::running::code;
use super::said::{Said, Stream};
use super::{AppDir, LIMIT, until};

/// The name of the file in the app's directory.
const FILE: &str = "routes.toml";

/// A router alone, with the routes of a file.
#[derive(Debug)]
pub(crate) struct Routed {
    /// Where its first listener is.
    pub(crate) addr: SocketAddr,
    dir: AppDir,
    child: Child,
    said: Arc<Said>,
    status: Option<ExitStatus>,
}

impl Routed {
    /// Starts it with this file; returns once it accepts. A file without `listen` gets `127.0.0.1:0`.
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(toml, &[])
    }

    /// The same with more arguments: `--workers 1`.
    pub(crate) fn start_with(toml: &str, args: &[&str]) -> Self {
        Self::start_in(&AppDir::new(), toml, args)
    }

    /// The same in a directory of the test's own.
    pub(crate) fn start_in(dir: &AppDir, toml: &str, args: &[&str]) -> Self {
        let dir = dir.clone().file(FILE, with_listen(toml));
        let mut command = dir.command(&[&["route", "--from", FILE], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Said>::default();
        said.listen(child.stdout.take().unwrap(), Stream::Out);
        said.listen(child.stderr.take().unwrap(), Stream::Err);
        // Whatever fails from here on, it is ended.
        let mut routed = Self { addr: ([127, 0, 0, 1], 0).into(), dir, child, said, status: None };
        routed.addr = routed.address("listening ");
        routed
    }

    /// The address on the first line of standard output that begins so: `listening `, `metrics `.
    pub(crate) fn address(&self, word: &str) -> SocketAddr {
        let line = self.said.first(word, |stream| stream == Stream::Out);
        line.strip_prefix(word)
            .and_then(|addr| addr.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{line:?}"))
    }

    /// Everything said so far on standard output.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.said.all(Stream::Out)
    }

    /// The first line on standard error, said so far or from now on, that contains `part`.
    pub(crate) fn err_line(&self, part: &str) -> String {
        self.said.first(part, |stream| stream == Stream::Err)
    }

    /// Waits until so many lines contain `part`; gives them all.
    pub(crate) fn lines(&self, part: &str, count: usize) -> Vec<String> {
        self.said.count(part, count)
    }

    /// Everything said so far on standard error.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.said.all(Stream::Err)
    }

    /// The directory of its file.
    pub(crate) fn dir(&self) -> &AppDir {
        &self.dir
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Writes the file anew and has it read; returns what is said of it.
    pub(crate) fn reload(&self, toml: &str) -> String {
        let before = self.stderr().iter().filter(|line| is_of_reload(line)).count();
        std::fs::write(self.dir.path().join(FILE), with_listen(toml)).unwrap();
        self.signal(Signal::SIGHUP);
        until("the reload to be said", || self.stderr().into_iter().filter(|line| is_of_reload(line)).nth(before))
    }

    /// A connection to its first listener, bounded in time.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// `GET path` for this host on a connection of its own.
    pub(crate) fn get(&self, host: &str, path: &str) -> Response {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// Sends these bytes on a connection of their own and takes everything that comes until its end.
    pub(crate) fn exchange(&self, request: &str) -> Response {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        whole(&bytes).unwrap()
    }

    /// Waits for its end by itself; the exit code, 128+n for a signal.
    pub(crate) fn ended(&mut self) -> i32 {
        let status = until("the end of tambat route", || self.child.try_wait().unwrap());
        self.status = Some(status);
        code(status)
    }

    /// As Ctrl-C does.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGINT);
        self.ended()
    }
}

#[expect(clippy::print_stderr, reason = "what it said is what one wants to see of a test that failed")]
impl Drop for Routed {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.said.tail());
        }
    }
}

/// A key at the top stands before the first table.
fn with_listen(toml: &str) -> String {
    if toml.lines().any(|line| line.trim_start().starts_with("listen")) {
        return toml.to_owned();
    }
    format!("listen = [\"127.0.0.1:0\"]\n{toml}")
}

fn is_of_reload(line: &str) -> bool {
    line.contains("SIGHUP")
}
