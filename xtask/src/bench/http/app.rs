//! `cargo xtask bench app`: what `tambat-app` costs beside `axum::serve`, and how soon it accepts.

use std::{
    fs, io,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{
        Bench,
        figures::{Table, float, median, range},
        machine::{self, Cores},
        process::{Running, facts, first_200, first_connection, refused},
        procfs,
        report::{Bar, Bound, Report},
        role,
    },
    load::{Load, Pace},
    measured::Measured,
    request::Shape,
};
use crate::failure::Failure;

/// Ratios of single rounds differ by a few percent, and three percent is what is asked: so many more of them.
const ROUNDS: usize = 21;

/// Long enough for tens of thousands of requests.
const SECONDS: u64 = 1;

/// Processor time per request, to `axum::serve`.
const COST_RATIO_MAX: f64 = 1.03;

/// From the first line of `main` to readiness.
const ACCEPTS_MS_MAX: f64 = 5.0;

const STARTS: usize = 41;

/// A program that has not said ready after this never will.
const READY_LIMIT: Duration = Duration::from_secs(10);

const RUNTIMES: [&str; 2] = ["current-thread", "multi-thread"];

/// In the order in which they take turns. `axum::serve` stands there twice: how much the two differ is the noise.
const SERVERS: [(&str, &str); 3] =
    [("tambat-app", "tambat-app"), ("axum", "axum::serve"), ("axum", "axum::serve again")];

const FIRST_PORT: u16 = 7_201;

/// How many rounds the words behind `bench app` ask for.
///
/// # Errors
///
/// When they ask for something else.
pub(in super::super) fn rounds(words: &[&str]) -> Result<usize, Failure> {
    let wrong = || Failure::new(format!("cannot make sense of `{}`", words.join(" ")), "the one option is --rounds N");
    match words {
        [] => Ok(ROUNDS),
        ["--rounds", number] => number.parse().ok().filter(|number| *number > 0).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Both, and the bars.
pub(in super::super) fn measure(root: &Path, bench: &Bench, program: &Path, count: usize) -> Result<(), Failure> {
    let mut report = Report::default();
    report.say(&machine::description(root, None, &[])?);
    for runtime in RUNTIMES {
        for connections in [64, 256] {
            beside_axum(bench, program, (runtime, connections), count, &mut report)?;
        }
    }
    for runtime in RUNTIMES {
        starts(bench, program, runtime, &mut report)?;
    }
    report.finish()
}

fn beside_axum(
    bench: &Bench,
    program: &Path,
    (runtime, connections): (&str, u32),
    count: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut running = Vec::new();
    for ((served_by, _), port) in SERVERS.into_iter().zip(FIRST_PORT..) {
        let command = Cores::pinned(bench.cores.proxy, &command(program, served_by, runtime, port));
        running.push((Running::start(command)?, port));
        first_connection(port)?;
    }
    let load = Load { connections, seconds: SECONDS, shape: Shape::Plain, pace: Pace::Saturated, offer: None };
    let mut rounds = [const { Vec::new() }; SERVERS.len()];
    for round in 0..count {
        for turn in 0..SERVERS.len() {
            // Who comes first differs from round to round, so that nobody always follows the same one.
            let nth = (turn + round) % SERVERS.len();
            let (server, port) = &running[nth];
            rounds[nth].push(measured(bench, server.pid(), *port, load)?);
        }
    }
    for (server, port) in running {
        server.stop()?;
        refused(port)?;
    }
    let ratios = |nth: usize| -> Vec<f64> {
        rounds[nth].iter().zip(&rounds[1]).map(|(one, axum)| micros(one) / micros(axum)).collect()
    };
    report.say(&format!("### {connections} connections, {runtime}, {count} rounds of {SECONDS} s in turns\n"));
    report.say(&table(&rounds, &ratios).to_string());
    let what = format!("processor time per request to axum::serve, {connections} connections, {runtime}");
    report.judge(Bar { what, bound: Bound::AtMost(COST_RATIO_MAX), seen: median(&ratios(0)), unit: "×" });
    Ok(())
}

fn table(rounds: &[Vec<Measured>], ratios: &dyn Fn(usize) -> Vec<f64>) -> Table {
    let mut table =
        Table::new(&["", "requests per processor second", "µs", "user + system, µs", "to axum::serve", "least–most"]);
    for (nth, ((_, name), rounds)) in SERVERS.iter().zip(rounds).enumerate() {
        let of = |figure: &dyn Fn(&Measured) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
        let ratios = ratios(nth);
        table.row(vec![
            (*name).to_owned(),
            format!("{:.0}", of(&|round| 1e6 / micros(round))),
            format!("{:.2}", of(&micros)),
            format!("{:.1} + {:.1}", of(&|r| r.micros(r.used.user)), of(&|r| r.micros(r.used.system))),
            format!("{:.3}", median(&ratios)),
            range(&ratios, 3),
        ]);
    }
    table
}

fn micros(measured: &Measured) -> f64 {
    measured.micros(measured.used.processor)
}

fn measured(bench: &Bench, pid: u32, port: u16, load: Load) -> Result<Measured, Failure> {
    let pids: Vec<u32> = procfs::tree(pid).into_iter().collect();
    let mut command = Command::new(&bench.own);
    command.args([role::WORD, "http-load"]).args(load.words(port.into(), &pids));
    let printed = facts(Cores::pinned(bench.cores.load, &command))?;
    Measured::parse(&printed)
        .ok_or_else(|| Failure::new(format!("cannot read what the load says: `{printed}`"), "run it by hand"))
}

fn command(program: &Path, served_by: &str, runtime: &str, port: u16) -> Command {
    let mut command = Command::new(program);
    for name in ["LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command.envs([("SERVED_BY", served_by), ("RUNTIME", runtime), ("HOST", "127.0.0.1")]).env("PORT", port.to_string());
    command
}

/// The app is started again and again; each time it says when `main` began, and tells the manager when it is ready. A
/// request at that moment must be answered.
fn starts(bench: &Bench, program: &Path, runtime: &str, report: &mut Report) -> Result<(), Failure> {
    let dir = bench.app(&format!("starts-{runtime}"), &[])?;
    let heard_in = dir.join("notify");
    let unheard = |error: io::Error| Failure::new(format!("cannot hear of readiness: {error}"), "run it by hand");
    let manager = UnixDatagram::bind(&heard_in).map_err(unheard)?;
    manager.set_read_timeout(Some(READY_LIMIT)).map_err(unheard)?;
    let mut times = Vec::new();
    for nth in 0..STARTS {
        let words = dir.join(format!("words-{nth}"));
        let mut command = command(program, "tambat-app", runtime, FIRST_PORT);
        command.env("NOTIFY_SOCKET", &heard_in);
        let running = Running::start_into(command, &words)?;
        let ready = heard(&manager, "READY=1").map_err(unheard)?;
        first_200(FIRST_PORT)?;
        running.stop()?;
        heard(&manager, "STOPPING=1").map_err(unheard)?;
        refused(FIRST_PORT)?;
        let begun = fs::read_to_string(&words).ok().and_then(|words| words.trim().parse::<u64>().ok());
        let begun = begun.ok_or_else(|| Failure::new("cannot learn when `main` began", "run it by hand"))?;
        times.push(float(ready.saturating_sub(begun)) / 1e6);
    }
    let seen = median(&times);
    report.say(&format!(
        "From `main` to readiness, {runtime}, {STARTS} starts: median {seen:.2} ms, {} ms\n",
        range(&times, 2)
    ));
    let what = format!("from `main` to accepting, {runtime}");
    report.judge(Bar { what, bound: Bound::AtMost(ACCEPTS_MS_MAX), seen, unit: "ms" });
    Ok(())
}

/// Nanoseconds since 1970 at which this was said.
fn heard(manager: &UnixDatagram, expected: &str) -> io::Result<u64> {
    let mut buffer = [0; 512];
    let count = manager.recv(&mut buffer)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let said = String::from_utf8_lossy(&buffer[..count]);
    if said.lines().next() != Some(expected) {
        return Err(io::Error::other(format!("it said `{said}` and not {expected}")));
    }
    Ok(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_a_number_or_the_usual_ones() {
        assert_eq!(rounds(&[]).unwrap(), ROUNDS);
        assert_eq!(rounds(&["--rounds", "3"]).unwrap(), 3);
        for broken in [&["--rounds"][..], &["--rounds", "0"], &["3"], &["--only", "64"]] {
            assert!(rounds(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn readiness_is_heard_and_nothing_else_passes_for_it() {
        let (app, manager) = UnixDatagram::pair().unwrap();
        app.send(b"READY=1\nSTATUS=listening on 127.0.0.1:5000").unwrap();
        assert!(heard(&manager, "READY=1").unwrap() > 1_600_000_000_000_000_000);
        app.send(b"STOPPING=1").unwrap();
        assert!(heard(&manager, "READY=1").is_err());
    }

    #[test]
    fn a_table_compares_with_the_plain_axum() {
        let of = |micros: u64| {
            let used = procfs::Used { processor: Duration::from_micros(micros), ..procfs::Used::default() };
            vec![Measured { answers: 1, used, ..Measured::default() }]
        };
        let rounds = [of(10), of(20), of(20)];
        let ratios = |nth: usize| vec![micros(&rounds[nth][0]) / micros(&rounds[1][0])];
        let table = table(&rounds, &ratios).to_string();
        let row = table.lines().nth(2).unwrap();
        assert!(row.contains("100000") && row.contains("10.00") && row.contains("0.500"), "{table}");
    }
}
