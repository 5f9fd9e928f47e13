//! An example that runs, and those who talk to it.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What takes longer than this has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a client that waits looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What decides where an example listens, and whom it tells.
pub(crate) const OWN_VARIABLES: [&str; 6] =
    ["PORT", "HOST", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"];

/// Where cargo puts examples: beside the folder of the tests.
pub(crate) fn program(example: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a file");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(example);
    assert!(program.exists(), "{} is not built: cargo build --examples -p tambat-app", program.display());
    program
}

/// The example, with nothing in its environment that decides where it listens.
pub(crate) fn command(example: &str) -> Command {
    let mut command = Command::new(program(example));
    for variable in OWN_VARIABLES {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A program that runs. Dropping it kills it.
pub(crate) struct App {
    child: Child,
    pub(crate) port: u16,
}

impl App {
    /// The example on a port of its own, once it takes connections.
    pub(crate) fn start(example: &str, environment: &[(&str, &str)]) -> Self {
        loop {
            let port = free_port();
            let mut command = command(example);
            command.env("PORT", port.to_string()).envs(environment.iter().copied());
            if let Some(app) = Self::listening(command, port) {
                return app;
            }
        }
    }

    /// The program, once it takes connections at this port; none when somebody else has taken the port meanwhile.
    pub(crate) fn listening(mut command: Command, port: u16) -> Option<Self> {
        let mut app = Self { child: command.spawn().expect("it can be run"), port };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if app.child.try_wait().expect("it is ours").is_some() {
                let said = app.last_words();
                assert!(said.contains("another program listens there"), "{said}");
                return None;
            }
            if listens(app.child.id(), port) {
                return Some(app);
            }
            assert!(Instant::now() < deadline, "it does not listen at {port}");
            pause();
        }
    }

    /// One that was started by other means, and takes connections already.
    pub(crate) fn running(child: Child, port: u16) -> Self {
        Self { child, port }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("it runs");
    }

    /// How it ended, in time.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            pause();
        }
    }

    /// TERM, and its exit code; then nobody has the port any more.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("the port is free again");
        status.code()
    }

    /// Until it accepts nothing more: it has begun to drain.
    pub(crate) fn refuses(&self) {
        let deadline = Instant::now() + PATIENCE;
        while listens(self.child.id(), self.port) {
            assert!(Instant::now() < deadline, "it still listens");
            pause();
        }
    }

    /// All that it said on standard error, once it has ended.
    pub(crate) fn last_words(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).expect("text");
        }
        said
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How the example ends that cannot start: its exit code, and what it says.
pub(crate) fn refusal(mut command: Command) -> (Option<i32>, String) {
    let mut app = App::running(command.spawn().expect("it can be run"), 0);
    let status = app.ended();
    (status.code(), app.last_words())
}

/// Whether one of its sockets listens there, by either family: `/proc/net/tcp` names the inode, `/proc/PID/fd` whose it is.
/// No connection is made.
fn listens(pid: u32, port: u16) -> bool {
    let inodes: Vec<String> = ["tcp", "tcp6"].iter().flat_map(|table| listening_inodes(table, port)).collect();
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.any(|target| inodes.iter().any(|inode| target.to_string_lossy() == format!("socket:[{inode}]")))
}

/// State 0A is `LISTEN`; the tenth field is the inode (`proc_net_tcp(5)`).
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let rows = text.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[3] == "0A" && row[1].ends_with(&format!(":{port:04X}")))
        .map(|row| row[9].to_owned())
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "another process is watched, which has no event for us")]
pub(crate) fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// The answer to a request after which the connection is closed.
pub(crate) fn ask(port: u16, request: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(request.as_bytes()).expect("sent");
    read_to_end(&mut stream)
}

pub(crate) fn get(port: u16, path: &str) -> String {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"))
}

pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("closed with FIN, in time");
    answer
}

/// What curl prints.
pub(crate) fn curl(args: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(args);
    let output = command.output().expect("curl is installed by `cargo xtask packages`");
    let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "curl {args:?}: {why}");
    said.into_owned()
}
