//! The crates that only decide: no runtime, no socket, no file, no clock.

use super::{finding::Finding, tree::Tree};

/// Values in, values out.
const PURE: &[&str] = &["tambat-model", "tambat-wire"];

/// What each of them leaves to its caller.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "a driver awaits; this crate decides"),
    ("TcpStream", "take bytes, give bytes"),
    ("TcpListener", "take bytes, give bytes"),
    ("UdpSocket", "take bytes, give bytes"),
    ("UnixStream", "take bytes, give bytes"),
    ("std::fs", "take the text of the file"),
    ("fs::", "take the text of the file"),
    ("File::", "take the text of the file"),
    ("Instant::now", "take the time as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("std::env", "take the environment as a value"),
    ("env::var", "take the environment as a value"),
    ("std::process", "a driver spawns; this crate decides"),
    ("std::thread", "a driver runs; this crate decides"),
];

pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().iter().filter(|file| PURE.iter().any(|krate| file.is_of(krate))) {
        for (index, line) in file.production() {
            for (word, next) in IMPURE.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(Finding::at(&file.path, index, format!("`{word}` in a crate that only decides"), *next));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_and_a_socket_are_found_where_things_are_decided() {
        let source = "//! No tokio here.\nlet now = Instant::now();\nuse std::net::{IpAddr, TcpStream};\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        let tree = Tree::of(&[("crates/tambat-model/src/a.rs", source), ("crates/tambat-os/src/a.rs", source)]);
        let lines: Vec<String> = findings(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("a.rs:2: `Instant::now`") && lines[1].contains("a.rs:3: `TcpStream`"), "{lines:?}");
    }
}
