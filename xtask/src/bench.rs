//! `cargo xtask bench …`: every figure of BENCHMARKS.md, measured here and now.
//!
//! All of it happens in a network namespace of its own: no port is anybody else's, and the congestion control is cubic or
//! reno, since some others pace even on loopback.

use std::{
    env, fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use self::{
    http::{Measurements, Selection},
    machine::Cores,
};
use crate::{failure::Failure, run};

mod boot;
mod engine;
mod figures;
mod http;
mod idle;
mod machine;
mod process;
mod procfs;
mod proxies;
mod redis;
mod report;
pub(crate) mod role;
mod start;
mod stream;
mod streams;
mod tools;

/// What the measuring half is called on the command line.
pub(crate) const INSIDE: &str = "bench-inside";

/// The crate of the program that is measured, and the profile that packages are made with.
const BUILD: [&str; 5] = ["build", "--package", "tambat", "--profile", "dist"];

/// Where it is then, below the folder of all profiles.
const BINARY: &str = "dist/tambat";

/// An app that serves itself in two ways.
const BUILD_APP: [&str; 7] = ["build", "--package", "tambat-app", "--profile", "dist", "--example", "beside_axum"];

const APP_BINARY: &str = "dist/examples/beside_axum";

/// A load that is slower than what it loads measures itself: this program, optimised.
const BUILD_LOAD: [&str; 4] = ["build", "--package", "xtask", "--release"];

/// With what it needs for TLS, which takes longer.
const BUILD_TLS_LOAD: [&str; 6] = ["build", "--package", "xtask", "--release", "--features", "tls"];

const LOAD_BINARY: &str = "release/xtask";

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// What this namespace takes local ports from. All that listen here do so below.
const LOCAL_PORTS: (&str, &str) = ("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000");

/// Installs what tambat is compared with, builds it, and measures boot, memory and streams in a network namespace.
///
/// # Errors
///
/// When a program is missing and cannot be installed from here, something that is measured answers wrongly, or a bar is
/// missed; every figure has been printed by then.
pub(crate) fn start(root: &Path) -> Result<(), Failure> {
    tools::ensure(root)?;
    run::shown(run::cargo(root, &BUILD))?;
    enter_network(root, &own()?, &["start"])
}

/// The same for HTTP; `words` select what of it.
///
/// # Errors
///
/// As above, and when the words make no selection.
pub(crate) fn http(root: &Path, words: &[&str]) -> Result<(), Failure> {
    beside_proxies(root, ("http", words), http::MEASUREMENTS, &BUILD_LOAD)
}

/// The same for TLS and HTTP/2.
///
/// # Errors
///
/// As above.
pub(crate) fn tls(root: &Path, words: &[&str]) -> Result<(), Failure> {
    beside_proxies(root, ("tls", words), http::tls::MEASUREMENTS, &BUILD_TLS_LOAD)
}

/// The same for streams of any protocol.
///
/// # Errors
///
/// As above.
pub(crate) fn stream(root: &Path, words: &[&str]) -> Result<(), Failure> {
    tools::ensure_stream()?;
    beside_proxies(root, ("stream", words), streams::MEASUREMENTS, &BUILD_TLS_LOAD)
}

fn beside_proxies<R>(
    root: &Path,
    (bench, words): (&str, &[&str]),
    measurements: Measurements<R>,
    load: &[&str],
) -> Result<(), Failure> {
    let selection = Selection::parse(words, measurements)?;
    tools::ensure_http()?;
    if selection.builds_tambat() {
        run::shown(run::cargo(root, &BUILD))?;
    }
    run::shown(run::cargo(root, load))?;
    enter_network(root, &beside(&own()?, LOAD_BINARY)?, &[&[bench], words].concat())
}

/// `tambat-app` beside `axum::serve`, and how soon it accepts.
///
/// # Errors
///
/// As above, and when the words are not a number of rounds.
pub(crate) fn app(root: &Path, words: &[&str]) -> Result<(), Failure> {
    http::app::rounds(words)?;
    tools::ensure_app()?;
    run::shown(run::cargo(root, &BUILD_APP))?;
    run::shown(run::cargo(root, &BUILD_LOAD))?;
    enter_network(root, &beside(&own()?, LOAD_BINARY)?, &[&["app"], words].concat())
}

/// What a good client notices of floods.
///
/// # Errors
///
/// As above, and when the words ask for something else.
pub(crate) fn floods(root: &Path, words: &[&str]) -> Result<(), Failure> {
    let wanted = http::floods::wanted(words)?;
    tools::ensure_http()?;
    if wanted.tambat.is_none() {
        run::shown(run::cargo(root, &BUILD))?;
    }
    run::shown(run::cargo(root, &BUILD_TLS_LOAD))?;
    enter_network(root, &beside(&own()?, LOAD_BINARY)?, &[&["floods"], words].concat())
}

/// Counts the instructions of the pure engine.
///
/// # Errors
///
/// When valgrind is missing and cannot be installed from here, or the engine does not build.
pub(crate) fn engine(root: &Path) -> Result<(), Failure> {
    tools::ensure_engine()?;
    engine::measure(root)
}

fn enter_network(root: &Path, program: &Path, words: &[&str]) -> Result<(), Failure> {
    let mut inside = Command::new("unshare");
    inside.arg("--net");
    if !run::is_root() {
        inside.arg("--map-root-user");
    }
    inside.arg("--").arg(program).arg(INSIDE).args(words).current_dir(root);
    run::shown(inside)
}

/// The measuring half of each.
///
/// # Errors
///
/// As above.
pub(crate) fn inside(root: &Path, words: &[&str]) -> Result<(), Failure> {
    set_up_network()?;
    let scratch = Scratch::new()?;
    let own = own()?;
    let bench = |tambat: PathBuf, nginx: &Path| {
        let (own, honcho, dir, nginx) = (own.clone(), tools::honcho(root), scratch.0.clone(), nginx.to_owned());
        Ok(Bench { own, tambat, nginx, honcho, dir, cores: Cores::of_this_process()? })
    };
    let beside_proxies = |selection: Selection| {
        let tambat = match selection.tambat() {
            Some(tambat) => tambat.to_owned(),
            None if selection.builds_tambat() => beside(&own, BINARY)?,
            None => PathBuf::new(),
        };
        Ok((bench(tambat, selection.nginx())?, selection))
    };
    match words {
        ["http", words @ ..] => {
            let (bench, selection) = beside_proxies(Selection::parse(words, http::MEASUREMENTS)?)?;
            http::measure(root, &bench, &selection)
        }
        ["tls", words @ ..] => {
            let (bench, selection) = beside_proxies(Selection::parse(words, http::tls::MEASUREMENTS)?)?;
            http::tls::measure(root, &bench, &selection)
        }
        ["stream", words @ ..] => {
            let (bench, selection) = beside_proxies(Selection::parse(words, streams::MEASUREMENTS)?)?;
            streams::measure(root, &bench, &selection)
        }
        ["floods", words @ ..] => {
            let wanted = http::floods::wanted(words)?;
            let tambat = wanted.tambat.clone().map_or_else(|| beside(&own, BINARY), Ok)?;
            http::floods::measure(root, &bench(tambat, Path::new("nginx"))?, &wanted)
        }
        ["app", words @ ..] => http::app::measure(
            root,
            &bench(PathBuf::new(), Path::new(""))?,
            &beside(&own, APP_BINARY)?,
            http::app::rounds(words)?,
        ),
        _ => start::measure(root, &bench(beside(&own, BINARY)?, Path::new(""))?),
    }
}

/// What every measurement needs to know.
struct Bench {
    /// This program, which plays the small apps, too.
    own: PathBuf,
    tambat: PathBuf,
    nginx: PathBuf,
    honcho: PathBuf,
    /// For apps, configurations and state.
    dir: PathBuf,
    cores: Cores,
}

impl Bench {
    /// `tambat start` of the app in `dir`. Nothing of the user's own state is read or written.
    fn tambat_start(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.tambat);
        command.args(["start", "-d"]).arg(dir);
        self.clean(&mut command);
        command
    }

    fn clean(&self, command: &mut Command) {
        command.env_remove("PORT");
        for (name, below) in [("XDG_RUNTIME_DIR", "runtime"), ("XDG_STATE_HOME", "state")] {
            command.env(name, self.dir.join(below));
        }
    }

    /// A role of this program.
    fn role(&self, role: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.own);
        command.arg(role::WORD).arg(role).args(args);
        command
    }

    /// The same as a line of a Procfile.
    fn role_line(&self, role: &str) -> String {
        format!("{} {} {role}", quoted(&self.own), role::WORD)
    }

    /// A folder of an app, with these files.
    fn app(&self, name: &str, files: &[(&str, &str)]) -> Result<PathBuf, Failure> {
        let dir = self.dir.join(name);
        make_dir(&dir)?;
        for (file, text) in files {
            write(&dir.join(file), text)?;
        }
        Ok(dir)
    }
}

/// The folder of this run, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    /// In the folder for temporary files: the path of a unix socket has no more than 107 bytes.
    fn new() -> Result<Self, Failure> {
        let dir = env::temp_dir().join(format!("tambat-bench-{}", std::process::id()));
        make_dir(&dir)?;
        let scratch = Self(dir);
        make_dir(&scratch.0.join("runtime"))?;
        make_dir(&scratch.0.join("state"))?;
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Beside the profile that this program was built with: `target/debug/xtask`, `target/dist/tambat`.
fn beside(own: &Path, binary: &str) -> Result<PathBuf, Failure> {
    let path = own.parent().and_then(Path::parent).map(|target| target.join(binary));
    path.filter(|path| path.is_file()).ok_or_else(|| {
        Failure::new(
            format!("cannot find {binary} in the target folder of {}", own.display()),
            "run it as `cargo xtask bench …`, which builds it",
        )
    })
}

fn own() -> Result<PathBuf, Failure> {
    env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find this program itself: {error}"), "run `cargo xtask`"))
}

fn set_up_network() -> Result<(), Failure> {
    let mut up = Command::new("ip");
    up.args(["link", "set", "lo", "up"]);
    run::captured(up)?;
    let (file, range) = LOCAL_PORTS;
    fs::write(file, range)
        .map_err(|error| Failure::new(format!("cannot write {file}: {error}"), "is this a namespace of its own?"))?;
    // Which ones a namespace may take, the machine decides. Without losses, as here, the two do the same.
    let set = |name: &str| fs::write(CONGESTION_CONTROL, name);
    set("cubic").or_else(|_| set("reno")).map_err(|error| {
        Failure::new(
            format!("cannot set the congestion control of the namespace to cubic or reno: {error}"),
            "see what net.ipv4.tcp_allowed_congestion_control says",
        )
    })
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", dir.display()), "is the disk full?"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display()), "is the disk full?"))
}

/// A path as a word of a shell's line.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
