//! What this was measured on, and with which versions.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use super::CONGESTION_CONTROL;
use crate::{failure::Failure, run};

/// One core for what is measured, another for what loads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    pub(super) proxy: u32,
    pub(super) load: u32,
}

impl Cores {
    /// The first two that this process may run on.
    pub(super) fn of_this_process() -> Result<Self, Failure> {
        let status = read("/proc/self/status");
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        match parse_cores(list.trim())[..] {
            [proxy, load, ..] => Ok(Self { proxy, load }),
            _ => Err(Failure::new(
                format!("cannot measure a proxy beside its load: the cores are {}", list.trim()),
                "two are needed",
            )),
        }
    }

    /// `command`, on this core alone, under the same pid.
    pub(super) fn pinned(core: u32, command: &Command) -> Command {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &core.to_string()]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            pinned.current_dir(dir);
        }
        pinned
    }
}

/// A paragraph about the machine, and a line with each version: tambat's, the compiler's, and these.
pub(super) fn description(root: &Path, tambat: Option<&Path>, others: &[String]) -> Result<String, Failure> {
    let model = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let control = read(CONGESTION_CONTROL);
    let mut text = format!(
        "### Machine\n\n{cores} × {model}, {memory} of memory, Linux {}, TCP {}; load averages at the start: {}\n",
        kernel.trim(),
        control.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    );
    let mut lines = Vec::new();
    if let Some(tambat) = tambat {
        let commit = first_line("git", &["-C", &root.to_string_lossy(), "rev-parse", "--short", "HEAD"]);
        let version = first_line(tambat, &["--version"])?;
        lines.push(format!("{version}, profile `dist`, at {}", commit.unwrap_or_default()));
    }
    lines.push(first_line("rustc", &["--version"])?);
    lines.extend_from_slice(others);
    for line in lines {
        text.push_str("\n- ");
        text.push_str(&line);
    }
    text.push('\n');
    Ok(text)
}

/// The first line that a program prints.
pub(super) fn first_line(program: impl AsRef<OsStr>, args: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(program);
    command.args(args);
    Ok(run::captured(command)?.lines().next().unwrap_or_default().trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What stands behind `name`, any blanks and a colon.
fn value(text: &str, name: &str) -> Option<String> {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    found.map(|value| value.trim().to_owned())
}

/// A list of numbers and ranges: `0-2,5` (`cpuset(7)`).
fn parse_cores(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed_one_by_one() {
        assert_eq!(parse_cores("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_cores("3"), [3]);
        assert!(parse_cores("").is_empty());
    }

    #[test]
    fn a_value_stands_behind_its_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nMemTotal:  24 kB\n";
        assert_eq!(value(text, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(value(text, "MemTotal").as_deref(), Some("24 kB"));
        assert_eq!(value(text, "flags"), None);
    }

    #[test]
    fn a_pinned_command_keeps_its_words_and_its_environment() {
        let mut command = Command::new("redis-server");
        command.args(["--port", "1"]).env("PORT", "1").env_remove("HOST").current_dir("/");
        let pinned = Cores::pinned(3, &command);
        assert_eq!(run::line(&pinned), "taskset -c 3 redis-server --port 1");
        assert_eq!(pinned.get_envs().count(), 2);
        assert_eq!(pinned.get_current_dir(), Some(Path::new("/")));
    }
}
