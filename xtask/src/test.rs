//! `cargo xtask test`: everything that CI runs, in order, up to the first failure.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{deps, failure::Failure, libraries, packages, published, run, tidy};

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What CI runs.
    Whole,
    /// Without Debian packages, fuzz targets and documentation: for the time between two edits.
    Quick,
}

/// One step: what it is called, and what it does.
struct Step {
    heading: &'static str,
    extent: Extent,
    work: fn(&Path) -> Result<(), Failure>,
}

/// In the order of what it costs to learn that something is wrong.
const STEPS: &[Step] = &[
    Step { heading: "tools", extent: Extent::Quick, work: tools },
    Step { heading: "packages: what the real-program tests need", extent: Extent::Whole, work: real_programs },
    Step { heading: "format", extent: Extent::Quick, work: format },
    Step { heading: "tidy: the rules of ARCHITECTURE.md", extent: Extent::Quick, work: held },
    Step { heading: "deps: licences, banned crates, duplicates", extent: Extent::Quick, work: deps::check },
    Step { heading: "clippy", extent: Extent::Quick, work: clippy },
    Step { heading: "build: the programs that black-box tests run", extent: Extent::Quick, work: build },
    Step { heading: "tests", extent: Extent::Quick, work: tests },
    Step { heading: "doc tests", extent: Extent::Quick, work: doc_tests },
    Step { heading: "fuzz targets compile", extent: Extent::Whole, work: fuzz },
    Step { heading: "tambat-app: its API, its Rust, its package", extent: Extent::Whole, work: library },
    Step { heading: "documentation", extent: Extent::Whole, work: documentation },
];

/// Runs every step of this extent; ends at the first that fails.
pub(crate) fn all(root: &Path, extent: Extent) -> Result<(), Failure> {
    let steps: Vec<&Step> = STEPS.iter().filter(|step| runs(step, extent)).collect();
    perform(root, &steps)
}

fn perform(root: &Path, steps: &[&Step]) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut times = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let place = format!("{}/{}", index + 1, steps.len());
        eprintln!("\n== {place} {}", step.heading);
        let from = Instant::now();
        (step.work)(root)
            .map_err(|failure| Failure::new(format!("step {place} failed: {}", step.heading), failure.to_string()))?;
        eprintln!("== {place} took {}", seconds(from.elapsed()));
        times.push((step.heading, from.elapsed()));
    }
    eprintln!();
    for (heading, time) in &times {
        eprintln!("{:>9}  {heading}", seconds(*time));
    }
    eprintln!("{:>9}  all {} steps passed", seconds(begun.elapsed()), times.len());
    Ok(())
}

fn runs(step: &Step, extent: Extent) -> bool {
    extent == Extent::Whole || step.extent == Extent::Quick
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The parts of the toolchain that rustup can leave out.
fn tools(root: &Path) -> Result<(), Failure> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if run::captured(run::cargo(root, &[subcommand, "--version"])).is_err() {
            return Err(Failure::new(
                format!("cannot run `cargo {subcommand}`: the component {component} is not installed"),
                format!("rustup component add {component}"),
            ));
        }
    }
    eprintln!("tests are run by {}", Runner::found(root).name());
    Ok(())
}

/// The libraries come after the programs that install them.
fn real_programs(root: &Path) -> Result<(), Failure> {
    packages::ensure()?;
    libraries::ensure(root)
}

fn format(root: &Path) -> Result<(), Failure> {
    run::shown(run::cargo(root, &["fmt", "--all", "--check"])).map_err(|_| {
        Failure::new("cannot accept the format: what rustfmt would change stands above", "cargo fmt --all")
    })
}

fn held(root: &Path) -> Result<(), Failure> {
    tidy::check(root, tidy::Graph::Held)
}

/// Of this program, which is built without it wherever nothing of TLS is measured. What it takes is part of the router.
const WITH_TLS: &str = "--features=xtask/tls";

fn clippy(root: &Path) -> Result<(), Failure> {
    run::shown(run::cargo(root, &["clippy", "--workspace", "--all-targets", WITH_TLS, "--", "-D", "warnings"]))
}

/// `--tests` as well, so that features are the same as in the next step and nothing is compiled twice.
fn build(root: &Path) -> Result<(), Failure> {
    run::shown(run::cargo(root, &["build", "--workspace", WITH_TLS, "--bins", "--examples", "--tests"]))
}

/// Who runs the tests. Both run the same ones; nextest also ends those that hang, and names what they leave open.
#[derive(Clone, Copy)]
enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    fn found(root: &Path) -> Self {
        let probe = run::captured(run::cargo(root, &["nextest", "--version"]));
        if probe.is_ok() { Self::Nextest } else { Self::Cargo }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nextest => "cargo-nextest, profile `ci` of .config/nextest.toml",
            Self::Cargo => "`cargo test`, since cargo-nextest is not installed: the same tests, each bounded by itself",
        }
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Nextest => &["nextest", "run", "--workspace", WITH_TLS, "--profile", "ci"],
            Self::Cargo => {
                &["test", "--workspace", WITH_TLS, "--no-fail-fast", "--lib", "--bins", "--examples", "--tests"]
            }
        }
    }
}

/// Seeds of the fuzz targets are replayed here too: ordinary tests read them.
fn tests(root: &Path) -> Result<(), Failure> {
    run::shown(run::cargo(root, Runner::found(root).args()))
}

fn doc_tests(root: &Path) -> Result<(), Failure> {
    run::shown(run::cargo(root, &["test", "--doc", "--workspace"]))
}

/// The fuzz targets are a workspace of their own, with their own lock file. `cargo check` links nothing, so the fuzzing
/// engine, which wants a C++ compiler, is named and not built.
fn fuzz(root: &Path) -> Result<(), Failure> {
    if !root.join("fuzz/Cargo.toml").exists() {
        eprintln!("this tree has none");
        return Ok(());
    }
    let mut check = run::cargo(root, &["check", "--manifest-path", "fuzz/Cargo.toml", "--locked"]);
    check
        .env("CARGO_TARGET_DIR", root.join("target/fuzz"))
        .env("CUSTOM_LIBFUZZER_PATH", root.join("target/libfuzzer.a"));
    run::shown(check)
}

/// Without HTTP/2 as well, which no other step compiles.
fn library(root: &Path) -> Result<(), Failure> {
    let lint = ["clippy", "--package", "tambat-app", "--no-default-features", "--", "-D", "warnings"];
    run::shown(run::cargo(root, &lint))?;
    published::check(root)
}

fn documentation(root: &Path) -> Result<(), Failure> {
    let mut doc = run::cargo(root, &["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run::shown(doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_leaves_out_only_what_it_says() {
        let left_out: Vec<_> =
            STEPS.iter().filter(|step| !runs(step, Extent::Quick)).map(|step| step.heading).collect();
        assert_eq!(left_out.len(), 4, "{left_out:?}");
        assert!(left_out[0].starts_with("packages") && left_out[1].starts_with("fuzz"), "{left_out:?}");
        assert!(STEPS.iter().all(|step| runs(step, Extent::Whole)));
    }

    #[test]
    fn the_first_failure_ends_it_and_names_the_step() {
        let fine = Step { heading: "fine", extent: Extent::Quick, work: |_| Ok(()) };
        let broken =
            Step { heading: "broken", extent: Extent::Quick, work: |_| Err(Failure::new("it leaks", "caulk it")) };
        let never = Step { heading: "never", extent: Extent::Quick, work: |_| panic!("ran after a failure") };
        let failure = perform(Path::new("/"), &[&fine, &broken, &never]).unwrap_err().to_string();
        assert_eq!(failure, "step 2/3 failed: broken\n  it leaks\n  caulk it");
        assert!(perform(Path::new("/"), &[&fine, &fine]).is_ok());
    }
}
