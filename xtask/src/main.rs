//! The tasks of this repository, as `cargo xtask TASK`.

#![expect(clippy::print_stderr, reason = "a program for people: what it does and finds goes to standard error")]

use std::{env, path::PathBuf, process::ExitCode};

use failure::Failure;

mod bench;
mod deps;
mod failure;
mod libraries;
mod metadata;
mod packages;
mod published;
mod run;
mod test;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--quick]     everything that CI runs; --quick leaves out Debian packages, fuzz targets and documentation
  tidy [--bless]     the rules of ARCHITECTURE.md, checked; --bless rewrites crate-graph.txt
  published          tambat-app: which crates its API shows, which Rust it needs, and its package
  deps               licences, banned crates and duplicate versions of everything that is linked
  bench start        the figures of BENCHMARKS.md: boot, memory, wake-ups, streams; fails where a bar is missed
  bench http [--only NAME,…] [--peers NAME,…] [--rounds N] [--seconds N] [--tambat FILE] [--nginx FILE]
                     the router beside nginx and HAProxy; a wrong name lists the right ones; --tambat measures that
                     program instead of building one, --nginx that one instead of Debian's
  bench tls […]      the same with TLS and HTTP/2 in front
  bench stream […]   the same for what is no HTTP: streams at ports of their own, by SNI, over TLS; Redis
  bench floods [--rounds N] [--tambat FILE]
                     what a good client notices while others flood the router over HTTP/2
  bench app [--rounds N]
                     what tambat-app costs beside axum::serve, and how soon it accepts
  bench engine       instructions that the pure HTTP engine takes for one exchange (callgrind)
  packages           the programs and libraries that the real-program tests need, installed where that is possible
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Test(test::Extent),
    Tidy(tidy::Graph),
    Deps,
    Published,
    Packages,
    BenchStart,
    BenchHttp(Vec<String>),
    BenchTls(Vec<String>),
    BenchStream(Vec<String>),
    BenchFloods(Vec<String>),
    BenchApp(Vec<String>),
    BenchEngine,
    /// The measuring half of these, in a network of its own.
    BenchInside(Vec<String>),
    /// One of the small programs that are measured.
    BenchRole(String, Vec<String>),
    Help,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some(task) = task(&borrowed(&words)) else {
        eprint!("cannot tell the task from `{}`\n\n{USAGE}", words.join(" "));
        return ExitCode::from(2);
    };
    match perform(&task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}

fn task(words: &[&str]) -> Option<Task> {
    match words {
        ["test"] => Some(Task::Test(test::Extent::Whole)),
        ["test", "--quick"] => Some(Task::Test(test::Extent::Quick)),
        ["tidy"] => Some(Task::Tidy(tidy::Graph::Held)),
        ["tidy", "--bless"] => Some(Task::Tidy(tidy::Graph::Blessed)),
        ["deps"] => Some(Task::Deps),
        ["published"] => Some(Task::Published),
        ["packages"] => Some(Task::Packages),
        ["bench", "start"] => Some(Task::BenchStart),
        ["bench", "http", words @ ..] => Some(Task::BenchHttp(owned(words))),
        ["bench", "tls", words @ ..] => Some(Task::BenchTls(owned(words))),
        ["bench", "stream", words @ ..] => Some(Task::BenchStream(owned(words))),
        ["bench", "floods", words @ ..] => Some(Task::BenchFloods(owned(words))),
        ["bench", "app", words @ ..] => Some(Task::BenchApp(owned(words))),
        ["bench", "engine"] => Some(Task::BenchEngine),
        [bench::INSIDE, words @ ..] => Some(Task::BenchInside(owned(words))),
        [bench::role::WORD, role, args @ ..] => Some(Task::BenchRole((*role).to_owned(), owned(args))),
        ["help" | "--help" | "-h"] => Some(Task::Help),
        _ => None,
    }
}

fn perform(task: &Task) -> Result<(), Failure> {
    if let Task::BenchRole(role, args) = task {
        return bench::role::play(role, &borrowed(args));
    }
    let root = root()?;
    match task {
        Task::Test(extent) => test::all(&root, *extent),
        Task::Tidy(graph) => tidy::check(&root, *graph),
        Task::Deps => deps::check(&root),
        Task::Published => published::check(&root),
        Task::Packages => packages::ensure().and_then(|()| libraries::ensure(&root)),
        Task::BenchStart => bench::start(&root),
        Task::BenchHttp(words) => bench::http(&root, &borrowed(words)),
        Task::BenchTls(words) => bench::tls(&root, &borrowed(words)),
        Task::BenchStream(words) => bench::stream(&root, &borrowed(words)),
        Task::BenchFloods(words) => bench::floods(&root, &borrowed(words)),
        Task::BenchApp(words) => bench::app(&root, &borrowed(words)),
        Task::BenchEngine => bench::engine(&root),
        Task::BenchInside(words) => bench::inside(&root, &borrowed(words)),
        Task::BenchRole(..) | Task::Help => {
            eprint!("{USAGE}");
            Ok(())
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// The repository: the folder above this package, which cargo names to what it runs.
fn root() -> Result<PathBuf, Failure> {
    env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .and_then(|package| package.parent().map(PathBuf::from))
        .ok_or_else(|| Failure::new("cannot find the repository: CARGO_MANIFEST_DIR is not set", "run `cargo xtask`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_told_apart_and_nothing_else_is_guessed() {
        assert_eq!(task(&["test", "--quick"]), Some(Task::Test(test::Extent::Quick)));
        assert_eq!(task(&["tidy", "--bless"]), Some(Task::Tidy(tidy::Graph::Blessed)));
        assert_eq!(task(&[]), None);
        assert_eq!(task(&["tests"]), None);
        assert_eq!(task(&["deps", "--quick"]), None);
        assert_eq!(task(&["bench", "start"]), Some(Task::BenchStart));
        assert_eq!(task(&["bench", "http", "--only", "64"]), Some(Task::BenchHttp(owned(&["--only", "64"]))));
        assert_eq!(task(&["bench"]), None);
        let role = Task::BenchRole("load".to_owned(), vec!["7001".to_owned()]);
        assert_eq!(task(&["bench-role", "load", "7001"]), Some(role));
    }
}
