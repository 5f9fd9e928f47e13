//! `cargo xtask bench engine`: instructions that the pure HTTP engine takes for one exchange, counted by callgrind.
//!
//! A count does not depend on what else the machine does, and hardly on the machine: a later change that makes the engine
//! slower is seen anywhere.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    figures::{Table, float},
    machine,
    report::Report,
};
use crate::{failure::Failure, run};

/// Optimised as packages are.
const BUILD: [&str; 8] =
    ["build", "--package", "tambat-wire", "--bench", "engine", "--profile", "dist", "--message-format=json"];

/// One word of the program each.
const SHAPES: [(&str, &str); 2] = [
    ("plain", "a request of 3 fields, an answer of 4"),
    ("browser", "a request as a browser sends it (15 fields), an answer as a framework sends it (10)"),
];

/// Enough that a growing buffer at the start is nothing.
const COUNT: u64 = 2_000;

/// Prints them.
///
/// # Errors
///
/// When the engine does not build, does not pass on a good exchange, or callgrind says no number.
pub(super) fn measure(root: &Path) -> Result<(), Failure> {
    let program = build(root)?;
    let report = Report::default();
    let mut table = Table::new(&["one exchange", "instructions"]);
    for (shape, what) in SHAPES {
        let (once, twice) = (instructions(&program, shape, COUNT)?, instructions(&program, shape, 2 * COUNT)?);
        table.row(vec![what.to_owned(), format!("{:.0}", float(twice.saturating_sub(once)) / float(COUNT))]);
    }
    report.say(&format!(
        "### Instructions of the pure engine\n\n{}, {}\n\n{table}",
        machine::first_line("rustc", &["--version"])?,
        machine::first_line("valgrind", &["--version"])?,
    ));
    report.finish()
}

/// The program that cargo says it has made; what it says to people goes to them.
fn build(root: &Path) -> Result<PathBuf, Failure> {
    let mut cargo = run::cargo(root, &BUILD);
    let line = run::line(&cargo);
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure::new(format!("cannot run `{line}`: {error}"), "is cargo in PATH?"))?;
    let found = executable(&String::from_utf8_lossy(&output.stdout));
    found
        .filter(|_| output.status.success())
        .ok_or_else(|| Failure::new(format!("`{line}` failed: {}", output.status), "its own words stand above"))
}

/// Of the last artifact that can be run.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from)).next_back()
}

fn instructions(program: &Path, shape: &str, count: u64) -> Result<u64, Failure> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([shape, &count.to_string()]);
    let line = run::line(&valgrind);
    let output = valgrind
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("cannot run `{line}`: {error}"), "apt-get install valgrind"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    collected(&said)
        .filter(|_| output.status.success())
        .ok_or_else(|| Failure::new(format!("`{line}` failed: {}", output.status), said.trim().to_owned()))
}

/// `==7== Collected : 1234`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 4711\n==7== \n";
        assert_eq!(collected(said), Some(4_711));
        assert_eq!(collected("==7== Collected :\n"), None);
    }

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnot json\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/engine-1\"}\n{\"success\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/engine-1")));
        assert_eq!(executable("{}"), None);
    }
}
