//! What this was measured on, and with which versions.

use std::{fs, path::Path, process::Command};

use super::{Bench, CONGESTION_CONTROL};
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

/// A paragraph about the machine, and a line with each version.
pub(super) fn description(root: &Path, bench: &Bench) -> Result<String, Failure> {
    let model = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let control = read(CONGESTION_CONTROL);
    let mut text = format!(
        "## Machine\n\n{cores} × {model}, {memory} of memory, Linux {}, TCP {}; load averages at the start: {}\n",
        kernel.trim(),
        control.trim(),
        load.split(' ').take(3).collect::<Vec<_>>().join(" "),
    );
    for line in versions(root, bench)? {
        text.push_str("\n- ");
        text.push_str(&line);
    }
    text.push('\n');
    Ok(text)
}

fn versions(root: &Path, bench: &Bench) -> Result<Vec<String>, Failure> {
    let commit = first_line(command("git", &["-C", &root.to_string_lossy(), "rev-parse", "--short", "HEAD"]));
    let first = |program: &Path, args: &[&str]| first_line(command(program, args));
    Ok(vec![
        format!("{}, profile `dist`, at {}", first(&bench.tambat, &["--version"])?, commit.unwrap_or_default()),
        first(Path::new("rustc"), &["--version"])?,
        format!("foreman {}", first(Path::new("foreman"), &["version"])?),
        first(&bench.honcho, &["--version"])?,
        first(Path::new("haproxy"), &["-v"])?,
        first(Path::new("redis-server"), &["--version"])?,
    ])
}

fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn first_line(command: Command) -> Result<String, Failure> {
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
        let mut command = command("redis-server", &["--port", "1"]);
        command.env("PORT", "1").env_remove("HOST").current_dir("/");
        let pinned = Cores::pinned(3, &command);
        assert_eq!(run::line(&pinned), "taskset -c 3 redis-server --port 1");
        assert_eq!(pinned.get_envs().count(), 2);
        assert_eq!(pinned.get_current_dir(), Some(Path::new("/")));
    }
}
