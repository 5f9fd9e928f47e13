//! `cargo xtask bench floods`: what a good client of the router notices while hostile ones flood it over HTTP/2.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    super::{
        Bench,
        figures::{Table, float, median, range},
        machine::{self, Cores},
        process::{Running, facts, first_200, first_connection, pause},
        procfs,
        report::{Bar, Bound, Report},
        role, write,
    },
    flood::{Flooded, Kind},
    load::{Load, Pace},
    measured::Measured,
    request::Shape,
};
use crate::{failure::Failure, run};

const ROUNDS: usize = 7;

/// Latencies of one round: a hundredth of them is ten.
const RATE: u32 = 1_000;
const SECONDS: u64 = 1;

/// Of the good client.
const CONNECTIONS: u32 = 4;

/// Of the flood.
const FLOODERS: &str = "4";

/// A flood begins before what is measured, its warm-up included, and ends after it.
const FLOOD_MILLIS: &str = "1900";
const AHEAD: Duration = Duration::from_millis(150);

/// The good client's 99th percentile with the flood, to that without.
const P99_RATIO_MAX: f64 = 2.0;

const BACKEND_PORT: u16 = 7_301;
const PORT: u16 = 7_302;

/// What the words behind `bench floods` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Wanted {
    rounds: usize,
    /// What is measured in place of what is built here.
    pub(in super::super) tambat: Option<PathBuf>,
}

/// Reads them.
///
/// # Errors
///
/// When they ask for something else.
pub(in super::super) fn wanted(words: &[&str]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { rounds: ROUNDS, tambat: None };
    let wrong = || {
        let options = "the options are --rounds N and --tambat FILE";
        Failure::new(format!("cannot make sense of `{}`", words.join(" ")), options)
    };
    let mut rest = words;
    while let [option, value, behind @ ..] = rest {
        match *option {
            "--rounds" => wanted.rounds = value.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?,
            "--tambat" => wanted.tambat = Some(value.into()),
            _ => return Err(wrong()),
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(wanted) } else { Err(wrong()) }
}

/// What one flood did in each round.
struct Seen {
    kind: Kind,
    p99: Vec<f64>,
    ratios: Vec<f64>,
    closed: Vec<f64>,
    megabytes: Vec<f64>,
}

/// All floods in turns, each beside a round without one.
pub(in super::super) fn measure(root: &Path, bench: &Bench, wanted: &Wanted) -> Result<(), Failure> {
    let count = wanted.rounds;
    let mut report = Report::default();
    report.say(&machine::description(root, Some(&bench.tambat), &[])?);
    let (backend, router) = start(bench)?;
    let mut quiet = Vec::new();
    let mut seen = Kind::ALL.map(|kind| Seen {
        kind,
        p99: Vec::new(),
        ratios: Vec::new(),
        closed: Vec::new(),
        megabytes: Vec::new(),
    });
    for _ in 0..count {
        for one in &mut seen {
            let without = micros(&load(bench, router.pid())?);
            let (with, flooded) = flooded(bench, router.pid(), one.kind)?;
            quiet.push(without);
            one.p99.push(micros(&with));
            one.ratios.push(micros(&with) / without);
            one.closed.push(float(flooded.closed));
            one.megabytes.push(float(flooded.bytes) / 1e6);
        }
    }
    router.stop()?;
    backend.stop()?;
    report.say(&format!(
        "### A good client beside floods: {RATE} requests a second over {CONNECTIONS} connections, {count} rounds of {SECONDS} s \
         in turns\n"
    ));
    report.say(&table(&quiet, &seen).to_string());
    for one in seen.iter().filter(|one| one.kind != Kind::Honest) {
        let what = format!("p99 of a good client beside {}, to that without", one.kind.word());
        report.judge(Bar { what, bound: Bound::AtMost(P99_RATIO_MAX), seen: median(&one.ratios), unit: "×" });
    }
    report.finish()
}

fn table(quiet: &[f64], seen: &[Seen]) -> Table {
    let mut table =
        Table::new(&["beside", "p99, µs", "to without", "least–most", "connections closed", "sent by the flood, MB"]);
    let none = || "–".to_owned();
    table.row(vec!["nothing".to_owned(), format!("{:.0}", median(quiet)), none(), none(), none(), none()]);
    for one in seen {
        let name = match one.kind {
            Kind::Honest => "4 honest clients, as fast as they can".to_owned(),
            kind => kind.word().to_owned(),
        };
        let closed = if one.kind == Kind::Honest { none() } else { format!("{:.0}", median(&one.closed)) };
        table.row(vec![
            name,
            format!("{:.0}", median(&one.p99)),
            format!("{:.2}", median(&one.ratios)),
            range(&one.ratios, 2),
            closed,
            format!("{:.1}", median(&one.megabytes)),
        ]);
    }
    table
}

fn micros(measured: &Measured) -> f64 {
    measured.p99.as_secs_f64() * 1e6
}

/// A backend beside the loads, and the router on its own core, with one worker: whoever is flooded serves the good client.
fn start(bench: &Bench) -> Result<(Running, Running), Failure> {
    let mut backend = bench.role("http-backend", &["small"]);
    backend.env("PORT", BACKEND_PORT.to_string());
    let backend = Running::start(Cores::pinned(bench.cores.load, &backend))?;
    first_connection(BACKEND_PORT)?;
    let file = bench.dir.join("floods.toml");
    let routes = format!("listen = \"127.0.0.1:{PORT}\"\n[routes.web]\ntargets = [\"127.0.0.1:{BACKEND_PORT}\"]\n");
    write(&file, &routes)?;
    let mut router = Command::new(&bench.tambat);
    router.args(["route", "--workers", "1", "--from"]).arg(&file);
    bench.clean(&mut router);
    let router = Running::start(Cores::pinned(bench.cores.proxy, &router))?;
    first_200(PORT)?;
    Ok((backend, router))
}

/// The good client, and beside it the flood, which has what the client leaves of their core.
fn flooded(bench: &Bench, router: u32, kind: Kind) -> Result<(Measured, Flooded), Failure> {
    let mut flood = Command::new("nice");
    flood.args(["-n", "19"]).arg(&bench.own).args([role::WORD, "http-flood", kind.word()]);
    flood.args([&PORT.to_string(), FLOODERS, FLOOD_MILLIS]);
    let mut flood = Cores::pinned(bench.cores.load, &flood);
    let cannot = |error: std::io::Error| Failure::new(format!("cannot flood: {error}"), "run it by hand");
    let child = flood.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
    pause(AHEAD);
    let measured = load(bench, router);
    let output = child.wait_with_output().map_err(cannot)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let flooded = Flooded::parse(&printed).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Failure::new(format!("cannot read what the flood {} says", kind.word()), said)
    })?;
    Ok((measured?, flooded))
}

fn load(bench: &Bench, router: u32) -> Result<Measured, Failure> {
    let pids: Vec<u32> = procfs::tree(router).into_iter().collect();
    let load =
        Load { connections: CONNECTIONS, seconds: SECONDS, shape: Shape::Plain, pace: Pace::Rate(RATE), offer: None };
    let mut command = Command::new(&bench.own);
    command.args([role::WORD, "http-load"]).args(load.words(PORT, &pids));
    let printed = facts(Cores::pinned(bench.cores.load, &command))?;
    Measured::parse(&printed)
        .ok_or_else(|| Failure::new(format!("cannot read what the load says: `{printed}`"), run::line(&command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_how_often_and_of_what() {
        assert_eq!(wanted(&[]).unwrap(), Wanted { rounds: ROUNDS, tambat: None });
        let both = wanted(&["--tambat", "/a/tambat", "--rounds", "3"]).unwrap();
        assert_eq!(both, Wanted { rounds: 3, tambat: Some("/a/tambat".into()) });
        for words in [&["--rounds"][..], &["--rounds", "0"], &["--rounds", "x"], &["3"], &["--peers", "a"]] {
            assert!(wanted(words).is_err(), "{words:?}");
        }
    }
}
