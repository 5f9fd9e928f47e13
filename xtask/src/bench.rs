//! `cargo xtask bench start`: every figure of BENCHMARKS.md, measured here and now.
//!
//! All of it happens in a network namespace of its own: no port is anybody else's, and the congestion control is cubic or
//! reno, since some others pace even on loopback.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use self::{
    figures::Table,
    machine::Cores,
    proxies::{Place, Proxies},
};
use crate::{failure::Failure, run};

mod boot;
mod figures;
mod idle;
mod machine;
mod process;
mod procfs;
mod proxies;
mod redis;
pub(crate) mod role;
mod stream;
mod tools;

/// What the measuring half is called on the command line.
pub(crate) const INSIDE: &str = "bench-inside";

/// The crate of the program that is measured, and the profile that packages are made with.
const BUILD: [&str; 5] = ["build", "--package", "tambat", "--profile", "dist"];

/// Where it is then, below the folder of all profiles.
const BINARY: &str = "dist/tambat";

const CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Installs what is compared with, builds what is measured, and measures in a network namespace.
///
/// # Errors
///
/// When a program is missing and cannot be installed from here, something that is measured answers wrongly, or a bar is
/// missed; every figure has been printed by then.
pub(crate) fn start(root: &Path) -> Result<(), Failure> {
    tools::ensure(root)?;
    run::shown(run::cargo(root, &BUILD))?;
    let own = own()?;
    let mut inside = Command::new("unshare");
    inside.arg("--net");
    if !run::is_root() {
        inside.arg("--map-root-user");
    }
    inside.arg("--").arg(own).arg(INSIDE).current_dir(root);
    run::shown(inside)
}

/// The measuring half.
pub(crate) fn inside(root: &Path) -> Result<(), Failure> {
    set_up_network()?;
    let scratch = Scratch::new()?;
    let own = own()?;
    let bench = Bench {
        tambat: beside(&own)?,
        honcho: tools::honcho(root),
        own,
        dir: scratch.0.clone(),
        cores: Cores::of_this_process()?,
    };
    let mut report = Report::default();
    report.say(&machine::description(root, &bench)?);
    boot::measure(&bench, &mut report)?;
    idle::measure(&bench, &mut report)?;
    let proxies = Proxies::start(&bench, Place::Pinned(bench.cores))?;
    stream::measure(&proxies, &mut report)?;
    proxies.stop()?;
    let proxies = Proxies::start(&bench, Place::Anywhere)?;
    redis::measure(&proxies, &report)?;
    proxies.stop()?;
    report.finish()
}

/// What every measurement needs to know.
struct Bench {
    /// This program, which plays the small apps, too.
    own: PathBuf,
    tambat: PathBuf,
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

/// One figure and what it must not miss.
struct Bar {
    what: &'static str,
    bound: Bound,
    seen: f64,
    unit: &'static str,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn holds(&self) -> bool {
        match self.bound {
            Bound::AtMost(limit) => self.seen <= limit,
            Bound::AtLeast(limit) => self.seen >= limit,
        }
    }

    fn row(&self) -> Vec<String> {
        let bound = match self.bound {
            Bound::AtMost(limit) => format!("≤ {limit} {}", self.unit),
            Bound::AtLeast(limit) => format!("≥ {limit} {}", self.unit),
        };
        let verdict = if self.holds() { "held" } else { "missed" };
        vec![self.what.to_owned(), bound, format!("{:.2} {}", self.seen, self.unit), verdict.to_owned()]
    }
}

/// What is printed, and what is judged at the end.
#[derive(Default)]
struct Report {
    bars: Vec<Bar>,
}

impl Report {
    /// A reader that has gone is no reason to stop: the verdict is the exit code.
    #[expect(clippy::unused_self, reason = "whoever speaks holds the report")]
    fn say(&self, text: &str) {
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    fn judge(&mut self, bar: Bar) {
        self.bars.push(bar);
    }

    fn finish(self) -> Result<(), Failure> {
        let mut table = Table::new(&["bar", "bound", "seen", ""]);
        self.bars.iter().for_each(|bar| table.row(bar.row()));
        self.say(&format!("## Bars\n\n{table}"));
        let missed: Vec<&str> = self.bars.iter().filter(|bar| !bar.holds()).map(|bar| bar.what).collect();
        if missed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            format!("cannot hold every bar: missed {}", missed.join(", ")),
            "is the machine busy with something else? The figures stand above",
        ))
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
fn beside(own: &Path) -> Result<PathBuf, Failure> {
    let tambat = own.parent().and_then(Path::parent).map(|target| target.join(BINARY));
    tambat.filter(|tambat| tambat.is_file()).ok_or_else(|| {
        Failure::new(
            format!("cannot find {BINARY} in the target folder of {}", own.display()),
            "run `cargo xtask bench start`",
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

    fn bar(bound: Bound, seen: f64) -> Bar {
        Bar { what: "length of rope", bound, seen, unit: "m" }
    }

    #[test]
    fn a_bar_is_held_at_its_bound_and_missed_past_it() {
        assert!(bar(Bound::AtMost(15.0), 15.0).holds() && !bar(Bound::AtMost(15.0), 15.01).holds());
        assert!(bar(Bound::AtLeast(2.0), 2.0).holds() && !bar(Bound::AtLeast(2.0), 1.99).holds());
        assert!(!bar(Bound::AtLeast(2.0), f64::NAN).holds());
        assert_eq!(bar(Bound::AtLeast(2.0), 1.5).row(), ["length of rope", "≥ 2 m", "1.50 m", "missed"]);
    }

    #[test]
    fn a_missed_bar_is_a_failure_that_names_it() {
        let held = Report { bars: vec![bar(Bound::AtMost(1.0), 0.5)] };
        assert!(held.finish().is_ok());
        let missed = Report { bars: vec![bar(Bound::AtMost(1.0), 0.5), bar(Bound::AtMost(1.0), 1.5)] };
        assert!(missed.finish().unwrap_err().to_string().contains("missed length of rope"));
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
