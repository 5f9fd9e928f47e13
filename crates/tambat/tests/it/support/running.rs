//! A `tambat start` that runs. It is ended and looked after when the test is over, however that comes.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::marks::Marked;
use super::said::{Said, Stream};
use super::wait::{Stopwatch, pause, until};
use super::{AppDir, Response, get, marked};

/// What a killed tambat leaves is gone within the grace + 1 s (DESIGN §4); the rest is room for a busy machine.
const CLEANUP_LIMIT: Duration = Duration::from_secs(20);

/// A `tambat start` that runs.
#[derive(Debug)]
pub(crate) struct Running {
    app: AppDir,
    child: Child,
    said: Arc<Said>,
    status: Option<ExitStatus>,
    /// What others of this home had running before.
    before: Vec<i32>,
}

impl Running {
    /// Starts it, with its output captured.
    pub(crate) fn start(app: &AppDir, mut command: Command) -> Self {
        let before = app.processes().iter().map(|p| p.pid).collect();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Said>::default();
        said.listen(child.stdout.take().unwrap(), Stream::Out);
        said.listen(child.stderr.take().unwrap(), Stream::Err);
        Self { app: app.clone(), child, said, status: None, before }
    }

    /// Starts it where its output goes elsewhere, such as to a terminal; `from` is where it can be read.
    pub(crate) fn start_reading(app: &AppDir, mut command: Command, from: impl Read + Send + 'static) -> Self {
        let before = app.processes().iter().map(|p| p.pid).collect();
        let child = command.spawn().unwrap();
        let said = Arc::<Said>::default();
        said.listen(from, Stream::Out);
        Self { app: app.clone(), child, said, status: None, before }
    }

    /// tambat's process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for the first line: from then on the service ports are held, and the verbs find it.
    pub(crate) fn up(&self) -> &Self {
        self.line(&format!(", in {}", self.app.path().display()));
        self
    }

    /// Waits until these processes are ready (none named: all that export a port).
    pub(crate) fn ready(&self, processes: &[&str]) -> &Self {
        self.up();
        self.app.tambat(&[&["wait", "--timeout", "55s"], processes].concat()).must_be(0);
        self
    }

    /// The first line, of those said so far or from now on, that contains `part`; on either stream.
    pub(crate) fn line(&self, part: &str) -> String {
        self.said.first(part, |_| true)
    }

    /// The same among the app's own lines.
    pub(crate) fn out_line(&self, part: &str) -> String {
        self.said.first(part, |stream| stream == Stream::Out)
    }

    /// The same among tambat's own lines.
    pub(crate) fn err_line(&self, part: &str) -> String {
        self.said.first(part, |stream| stream == Stream::Err)
    }

    /// Waits until so many lines contain `part`; gives them all.
    pub(crate) fn lines(&self, part: &str, count: usize) -> Vec<String> {
        self.said.count(part, count)
    }

    /// Everything said so far on standard output.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.said.all(Stream::Out)
    }

    /// Everything said so far on standard error.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.said.all(Stream::Err)
    }

    /// GET at the service port of `process`.
    pub(crate) fn get(&self, process: &str, path: &str) -> Response {
        get(self.app.port(process), path)
    }

    /// Sends tambat a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end by itself; the exit code, 128+n for a signal. Nothing of the app may be left.
    pub(crate) fn ended(&mut self) -> i32 {
        let code = self.exit_code();
        self.nothing_left(CLEANUP_LIMIT);
        code
    }

    /// Waits for its end by itself, and leaves it open what else is still there.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let status = until("the end of tambat", || self.child.try_wait().unwrap());
        self.status = Some(status);
        code(status)
    }

    /// As Ctrl-C does.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGINT);
        self.ended()
    }

    /// As the kernel does when memory is short.
    pub(crate) fn kill_9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.exit_code();
    }

    /// The one process of this start with this name: `tambat-spawn`, `tambat-keep`.
    pub(crate) fn process_named(&self, name: &str) -> Marked {
        let mut found = self.processes();
        found.retain(|p| p.name == name);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found.remove(0)
    }

    /// Every process of this start that lives: tambat, spawner, keepers, and the app.
    pub(crate) fn processes(&self) -> Vec<Marked> {
        let mut all = marked(self.app.mark());
        all.retain(|p| !self.before.contains(&p.pid));
        all
    }

    /// Waits until nothing of this start is left; panics with what is there after `limit`.
    pub(crate) fn nothing_left(&self, limit: Duration) {
        let watch = Stopwatch::begin();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(watch.elapsed() < limit, "after {limit:?} there are still {left:#?}\n{}", self.said.tail());
            pause(Duration::from_millis(10));
        }
    }
}

#[expect(clippy::print_stderr, reason = "what it said is what one wants to see of a test that failed")]
impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.said.tail());
        }
        let deadline = Instant::now() + CLEANUP_LIMIT;
        while !self.processes().is_empty() && Instant::now() < deadline {
            pause(Duration::from_millis(10));
        }
        let left = self.processes();
        for process in &left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        assert!(left.is_empty() || thread::panicking(), "left behind: {left:#?}");
    }
}

/// As a shell has it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}
