//! Every key of `tambat.toml`, in one table: the check for unknown keys and the manual are made from it.

use std::fmt::Write as _;

/// A key of `tambat.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub table: KeyTable,
    /// As it is written.
    pub name: &'static str,
    /// What its value is, in words: the end of "expected …".
    pub kind: &'static str,
    /// What it says, in one line.
    pub doc: &'static str,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyTable {
    /// At the top.
    App,
    /// `[processes.NAME]`.
    Process,
    /// One entry of a process's `ports`, where it is a table.
    Port,
    /// A process's `ready`.
    Ready,
    /// A process's `stop`.
    Stop,
    /// A process's `timeouts`.
    Timeouts,
    /// `[resources.NAME]`.
    Resource,
}

impl KeyTable {
    /// Where that is, in words.
    pub fn place(self) -> &'static str {
        match self {
            Self::App => "at the top",
            Self::Process => "in `[processes.NAME]`",
            Self::Port => "in an entry of `ports`",
            Self::Ready => "in `ready`",
            Self::Stop => "in `stop`",
            Self::Timeouts => "in `timeouts`",
            Self::Resource => "in `[resources.NAME]`",
        }
    }

    /// The keys that may stand here.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(move |key| key.table == self)
    }
}

const fn key(table: KeyTable, name: &'static str, kind: &'static str, doc: &'static str) -> Key {
    Key { table, name, kind, doc }
}

/// Every key that is read, in the order of the manual.
pub const KEYS: &[Key] = &[
    key(KeyTable::App, "name", "a string", "the app's name, a hostname label; the directory's unless said"),
    key(KeyTable::App, "build", "a string", "a command that is run to its end before anything starts"),
    key(KeyTable::App, "processes", "a table", "the processes by name, beside those of the Procfile"),
    key(KeyTable::App, "resources", "a table", "backing services that are not run here, by name"),
    key(KeyTable::Process, "command", "a string", "the command line, for `/bin/sh -c`; the Procfile's unless said"),
    key(KeyTable::Process, "protocol", "a string", "what it speaks on its `PORT`: http, redis, postgres, tcp, none"),
    key(KeyTable::Process, "port", "a number from 1 to 65535", "its service port; by its position unless said"),
    key(KeyTable::Process, "ports", "a table", "named ports: name = protocol, or name = { protocol, port }"),
    key(KeyTable::Process, "instances", "a number from 0 to 1000", "how many are run; 1 unless said"),
    key(KeyTable::Process, "uses", "a list of strings or a table", "its backing services, or VARIABLE = service"),
    key(KeyTable::Process, "env", "a table", "its part of the environment: VARIABLE = \"value\""),
    key(KeyTable::Process, "url", "a string", "how its handle is written, with {host} and {port}"),
    key(KeyTable::Process, "ready", "a table", "when it is ready; as its protocol has it unless said"),
    key(KeyTable::Process, "stop", "a table", "how it is stopped"),
    key(KeyTable::Process, "restart", "a string", "after its end: \"on-failure\" (unless said), \"always\", \"never\""),
    key(
        KeyTable::Process,
        "stateful",
        "true or false",
        "one instance at a time; true for redis and postgres unless said",
    ),
    key(KeyTable::Process, "owner", "a string", "who may listen on its port: \"tree\" (unless said) or \"any\""),
    key(KeyTable::Process, "expose", "true or false", "may be reached from other machines without seeing who calls"),
    key(KeyTable::Process, "timeouts", "a table", "limits on its connections"),
    key(KeyTable::Port, "protocol", "a string", "what is spoken there"),
    key(KeyTable::Port, "port", "a number from 1 to 65535", "its service port; by its place unless said"),
    key(KeyTable::Ready, "path", "a string", "an http path that must answer 2xx"),
    key(KeyTable::Ready, "within", "a duration such as \"60s\"", "the limit for becoming ready; 60s unless said"),
    key(KeyTable::Stop, "signal", "a string", "what asks it to stop; TERM unless said"),
    key(
        KeyTable::Stop,
        "grace",
        "a duration such as \"5s\"",
        "how long it may take before it is killed; 5s unless said",
    ),
    key(
        KeyTable::Timeouts,
        "idle",
        "a duration such as \"15m\"",
        "a stream on which nothing moves for so long is closed",
    ),
    key(KeyTable::Resource, "url", "a string", "its URL: scheme://user:password@host:port/path"),
];

/// The table of the manual, in Markdown.
pub fn keys_as_markdown() -> String {
    let mut out = String::from("| where | key | value | what it says |\n|---|---|---|---|\n");
    for key in KEYS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| {} | `{}` | {} | {} |", key.table.place(), key.name, key.kind, key.doc);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once() {
        for (nth, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..nth].iter().all(|k| (k.table, k.name) != (key.table, key.name)), "{}", key.name);
        }
    }

    #[test]
    fn the_manual_has_every_key() {
        let manual = keys_as_markdown();
        assert_eq!(manual.lines().count(), KEYS.len() + 2);
        assert!(manual.contains("| in `stop` | `grace` | a duration such as \"5s\" | how long it may take"));
    }
}
