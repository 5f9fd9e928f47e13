//! Redis behind each proxy, asked by `redis-benchmark`.

use std::process::Command;

use super::{
    super::{
        figures::{Table, float, median},
        report::{Bar, Bound, Report},
    },
    Front, Kind, LEVEL_RATIO, PLAIN_PEERS, Streams,
    peer::{Field, Peer},
};
use crate::failure::Failure;

const CLIENTS: u32 = 50;

/// What is asked, one after the other.
const COMMANDS: &str = "set,get";
const COMMANDS_COUNT: u64 = 2;

/// About half a second's worth for each command, without a pipeline.
const REQUESTS: u64 = 20_000;

/// Of one proxy, a figure a round.
#[derive(Default)]
struct Rounds {
    /// Requests for each second of processor time of the proxy.
    each: Vec<f64>,
    /// Requests a second on the clock, the lesser of the commands.
    clock: Vec<f64>,
}

pub(super) fn measure(streams: &Streams<'_>, report: &mut Report, pipeline: u64) -> Result<(), Failure> {
    let chosen = streams.chosen(PLAIN_PEERS);
    let field = Field::start(streams.bench, &chosen, Front::Plain, Kind::Redis, streams.files)?;
    let requests = REQUESTS * if pipeline == 1 { 1 } else { pipeline / 2 };
    let mut all: Vec<(Peer, Rounds)> = chosen.into_iter().map(|peer| (peer, Rounds::default())).collect();
    for _ in 0..streams.rounds() {
        for (peer, rounds) in &mut all {
            let (printed, used) = field.under(*peer, |port| command(port, pipeline, requests))?;
            let clock = slowest(&printed).ok_or_else(|| {
                Failure::new(format!("cannot read what redis-benchmark says: `{printed}`"), "run it by hand")
            })?;
            rounds.each.push(float(requests * COMMANDS_COUNT) / used.as_secs_f64());
            rounds.clock.push(clock);
        }
    }
    field.stop()?;
    let mut table = Table::new(&["", "requests per processor second of the proxy", "a second on the clock"]);
    for (peer, rounds) in &all {
        let shown = |figures: &[f64]| format!("{:.0}", median(figures));
        table.row(vec![peer.name().to_owned(), shown(&rounds.each), shown(&rounds.clock)]);
    }
    let title = format!("Redis GET and SET, {CLIENTS} clients, pipelines of {pipeline}");
    report.say(&format!("### {title}, {} rounds in turns, medians\n\n{table}", streams.rounds()));
    let of = |peer: Peer| all.iter().find(|(other, _)| *other == peer).map(|(_, rounds)| rounds);
    if let (Some(ours), Some(theirs)) = (of(Peer::Tambat), of(Peer::Haproxy)) {
        let ratios: Vec<f64> = ours.each.iter().zip(&theirs.each).map(|(ours, theirs)| ours / theirs).collect();
        let (what, bound) = (format!("{title}, to HAProxy"), Bound::AtLeast(LEVEL_RATIO));
        report.judge(Bar { what, bound, seen: median(&ratios), unit: "×" });
    }
    Ok(())
}

fn command(port: u16, pipeline: u64, requests: u64) -> Command {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", COMMANDS, "--csv"]);
    command.args(["-c", &CLIENTS.to_string(), "-P", &pipeline.to_string(), "-n", &requests.to_string()]);
    command
}

/// Requests a second of the slowest command, by the names of the columns in the first line.
fn slowest(csv: &str) -> Option<f64> {
    let mut lines = csv.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')).collect::<Vec<_>>());
    let head = lines.next()?;
    let column = head.iter().position(|cell| *cell == "rps")?;
    let figures: Vec<f64> = lines.map(|row| row.get(column)?.parse().ok()).collect::<Option<_>>()?;
    figures.into_iter().reduce(f64::min).filter(|slowest| *slowest > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_command_is_found_by_the_name_of_its_column() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"50000.50\",\"0.5\"\n\"GET\",\"40000.25\",\"0.5\"\n";
        assert_eq!(slowest(csv), Some(40_000.25));
        for broken in ["", "\"test\",\"rps\"\n", "\"rps\"\n\"x\"\n", "\"rps\"\n\"0\"\n", "\"test\"\n\"1\"\n"] {
            assert_eq!(slowest(broken), None, "{broken}");
        }
    }
}
