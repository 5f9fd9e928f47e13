//! Finding everything that a tambat has started, wherever it went: all of it inherits a mark in its environment.

use std::path::PathBuf;

/// The variable that everything under a test's tambat inherits.
pub(crate) const MARK: &str = "TAMBAT_TEST_ID";

/// A process of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Its process id.
    pub(crate) pid: i32,
    /// Its parent's.
    pub(crate) parent: i32,
    /// Its name: `tambat`, `tambat-spawn`, `tambat-keep`, `sh`.
    pub(crate) name: String,
    /// What it was started with, words joined by blanks.
    pub(crate) command: String,
}

/// Every live process that carries this mark. One that has ended and was not waited for yet does not count.
pub(crate) fn marked(mark: &str) -> Vec<Marked> {
    let wanted = format!("{MARK}={mark}");
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let environment = std::fs::read(folder.join("environ")).ok()?;
        environment.split(|b| *b == 0).find(|variable| *variable == wanted.as_bytes())?;
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        // proc_pid_stat(5): the name stands in brackets and may contain anything.
        let (name, rest) = (stat.split_once('(')?.1.rsplit_once(')')?.0, stat.rsplit_once(") ")?.1);
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        let words = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned();
        (!matches!(state, "Z" | "X")).then(|| Marked { pid, parent, name: name.to_owned(), command })
    })
    .collect()
}
