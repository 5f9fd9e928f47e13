//! An app's directory, in a home that no other test shares.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::marks::{MARK, Marked};
use super::running::Running;
use super::wait::{LIMIT, pause};
use super::{fixture, marked};

/// A home: runtime folder, state folder and a mark by which everything started from here is found.
#[derive(Debug)]
struct Home {
    folder: TempDir,
    mark: String,
}

/// An app's directory. Nothing of the environment the tests run in gets through but `PATH`, which begins with
/// the folder of tambat and its fixture.
#[derive(Debug, Clone)]
pub(crate) struct AppDir {
    home: Arc<Home>,
    dir: PathBuf,
    env: Vec<(String, String)>,
    /// The tambat that an unprivileged user runs, where the tests are root's.
    unprivileged: Option<PathBuf>,
}

/// Nobody's user and group on Linux.
const NOBODY: &str = "65534";

/// What a verb said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its exit code; 128+n for a signal, as a shell has it.
    pub(crate) code: i32,
    /// The facts.
    pub(crate) stdout: String,
    /// The words to people.
    pub(crate) stderr: String,
}

impl AppDir {
    /// An empty directory named `shop`.
    pub(crate) fn new() -> Self {
        // Below /tmp whatever TMPDIR says: the path of a unix socket has 108 bytes (unix(7)).
        let folder = tempfile::Builder::new().prefix("tambat-it-").tempdir_in("/tmp").unwrap();
        let mark = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        for name in ["run", "state", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self::in_home(Arc::new(Home { folder, mark }), "shop")
    }

    /// With this Procfile.
    pub(crate) fn procfile(text: &str) -> Self {
        Self::new().file("Procfile", text)
    }

    /// With this `tambat.toml`.
    pub(crate) fn manifest(text: &str) -> Self {
        Self::new().file("tambat.toml", text)
    }

    /// Another app of the same user.
    pub(crate) fn neighbour(&self, name: &str) -> Self {
        Self::in_home(Arc::clone(&self.home), name)
    }

    fn in_home(home: Arc<Home>, name: &str) -> Self {
        let dir = home.folder.path().join(name);
        fs::create_dir(&dir).unwrap();
        Self { home, dir, env: Vec::new(), unprivileged: None }
    }

    /// Adds a file, and the folders it lies in.
    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Adds a variable to the shell's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same home, given to a user without privileges, who runs everything from now on, with a copy of tambat that is
    /// there to be read. Where the tests have no privileges themselves, nothing changes.
    pub(crate) fn unprivileged(mut self) -> Self {
        if nix::unistd::geteuid().is_root() {
            let home = self.home.folder.path();
            let tambat = home.join("tambat");
            fs::copy(fixture::TAMBAT, &tambat).unwrap();
            self.program("chown", &["-R", &format!("{NOBODY}:{NOBODY}"), home.to_str().unwrap()]).must_be(0);
            self.unprivileged = Some(tambat);
        }
        self
    }

    /// The tambat that is tested.
    pub(crate) fn tambat_program(&self) -> &Path {
        self.unprivileged.as_deref().unwrap_or(Path::new(fixture::TAMBAT))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The mark of everything that was started from this home.
    pub(crate) fn mark(&self) -> &str {
        &self.home.mark
    }

    /// Every process of this home that lives.
    pub(crate) fn processes(&self) -> Vec<Marked> {
        marked(&self.home.mark)
    }

    /// tambat with these arguments, not started yet, in the app's directory. A start has a port for names of its own,
    /// unless it is told another: tests run beside each other.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.any_command(self.tambat_program());
        match args {
            [verb @ ("start" | "up"), rest @ ..] if !rest.contains(&"--http-port") => {
                command.args([verb, "--http-port", "0"]).args(rest)
            }
            _ => command.args(args),
        };
        command
    }

    /// Any program, as if typed in the app's directory.
    pub(crate) fn any_command(&self, program: impl AsRef<OsStr>) -> Command {
        let home = self.home.folder.path();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", fixture::folder().display());
        let mut command = self.as_user(program.as_ref());
        command
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", path)
            .env("LANG", "C.UTF-8")
            .env("HOME", home.join("home"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env(MARK, &self.home.mark)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn as_user(&self, program: &OsStr) -> Command {
        if self.unprivileged.is_none() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
        command
    }

    /// Runs `tambat ARGS` to its end, which must come within [`LIMIT`]; a check is made of many starts.
    pub(crate) fn tambat(&self, args: &[&str]) -> Output {
        let limit = if args.first() == Some(&"check") { 2 * LIMIT } else { LIMIT };
        finish_within(self.command(args), &format!("tambat {}", args.join(" ")), limit)
    }

    /// The facts of `tambat ARGS` as JSON; it must end with 0.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.tambat(args).must_be(0);
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// `tambat start -p 0 ARGS`: the kernel chooses the service ports.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self, self.command(&[&["start", "-p", "0"], args].concat()))
    }

    /// `tambat start ARGS`, the base of the service ports included.
    pub(crate) fn start_at(&self, args: &[&str]) -> Running {
        Running::start(self, self.command(&[&["start"], args].concat()))
    }

    /// `SETUP; exec tambat start -p 0 ARGS` in a shell, such as `ulimit -n 64`.
    pub(crate) fn start_after(&self, setup: &str, args: &[&str]) -> Running {
        let mut shell = self.any_command("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("{setup}; exec \"$0\" start --http-port 0 -p 0 \"$@\""))
            .arg(fixture::TAMBAT)
            .args(args);
        Running::start(self, shell)
    }

    /// The service port of a process (`web`), or of a named port of it (`chat:admin`).
    pub(crate) fn port(&self, process: &str) -> u16 {
        let port = self.json(&["url", "--json", process])["port"].as_u64().unwrap();
        u16::try_from(port).unwrap()
    }

    /// What `tambat ps --json` says of a process.
    pub(crate) fn process(&self, name: &str) -> serde_json::Value {
        let status = self.json(&["ps", "--json"]);
        let processes = status["processes"].as_array().unwrap();
        processes.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name} in {status}")).clone()
    }
}

impl Output {
    /// Goes on with an output that ended with this code.
    #[track_caller]
    pub(crate) fn must_be(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: Command, what: &str) -> Output {
    finish_within(command, what, LIMIT)
}

/// The same for one that may take longer than a test's steps do.
pub(crate) fn finish_within(mut command: Command, what: &str, limit: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (stdout, stderr) = (thread::spawn(|| text(stdout)), thread::spawn(|| text(stderr)));
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("`{what}` did not end within {limit:?}; it said {:?} {:?}", stdout.join(), stderr.join());
        }
        pause(std::time::Duration::from_millis(2));
    };
    Output { code: super::running::code(status), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn text(mut from: impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
