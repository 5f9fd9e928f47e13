//! Bytes through a service port: what they cost the proxy.

use std::time::Duration;

use super::{
    figures::{Table, float, median, range},
    proxies::{Backend, Load, Proxies, Way},
    report::{Bar, Bound, Report},
    role::ECHO_BYTES,
};
use crate::failure::Failure;

const ROUNDS: usize = 9;

const STREAM: Load = Load { role: "load", connections: 1, seconds: 2 };

const ECHO_ROUNDS: usize = 5;

/// With one, a proxy sleeps between any two messages, and what it costs is mostly its waking up.
const ECHO_CONNECTIONS: [u32; 2] = [1, 16];

const ECHO_SECONDS: u64 = 1;

const RATIO_MIN: f64 = 2.0;

const WAYS: [Way; 3] = [Way::Tambat, Way::Haproxy, Way::HaproxySplice];

pub(super) fn measure(proxies: &Proxies, report: &mut Report) -> Result<(), Failure> {
    stream(proxies, report)?;
    echo(proxies, report)
}

fn stream(proxies: &Proxies, report: &mut Report) -> Result<(), Failure> {
    let mut figures = [const { Vec::new() }; WAYS.len()];
    let mut walls = [const { Vec::new() }; WAYS.len()];
    let mut table = Table::new(&["round", WAYS[0].name(), WAYS[1].name(), "ratio", WAYS[2].name(), "ratio"]);
    for round in 1..=ROUNDS {
        for (nth, way) in WAYS.into_iter().enumerate() {
            let (moved, used) = proxies.moved(STREAM, Backend::Sink, way)?;
            figures[nth].push(float(moved.count) / 1e9 / used.as_secs_f64());
            walls[nth].push(float(moved.count) / 1e9 / moved.time.as_secs_f64());
        }
        table.row(row(&round.to_string(), &figures, |figures| figures[round - 1]));
    }
    table.row(row("median", &figures, median));
    report.say(&format!(
        "### A TCP stream one way, messages of 64 KiB, {ROUNDS} rounds of {} s in turns\n\n\
         GB per processor second of the proxy. Ratio: tambat to the column before it.\n\n{table}",
        STREAM.seconds
    ));
    let wall = |nth: usize| format!("{} {:.2}", WAYS[nth].name(), median(&walls[nth]));
    report.say(&format!("On the clock, GB/s, medians: {}, {}, {}\n", wall(0), wall(1), wall(2)));
    let what = "bytes per processor second to HAProxy without splice";
    let seen = median(&ratios(&figures[0], &figures[1]));
    report.judge(Bar { what: what.to_owned(), bound: Bound::AtLeast(RATIO_MIN), seen, unit: "×" });
    Ok(())
}

/// The ratio of a median row is the median of the ratios, round by round.
fn row(name: &str, figures: &[Vec<f64>], of: impl Fn(&[f64]) -> f64) -> Vec<String> {
    let ratio = |nth: usize| format!("{:.2}", of(&ratios(&figures[0], &figures[nth])));
    let figure = |nth: usize| format!("{:.2}", of(&figures[nth]));
    vec![name.to_owned(), figure(0), figure(1), ratio(1), figure(2), ratio(2)]
}

fn ratios(ours: &[f64], others: &[f64]) -> Vec<f64> {
    ours.iter().zip(others).map(|(ours, other)| ours / other).collect()
}

fn echo(proxies: &Proxies, report: &Report) -> Result<(), Failure> {
    let ways = [Way::Direct, Way::Tambat, Way::Haproxy, Way::HaproxySplice];
    let mut table = Table::new(&["connections", "way", "processor time, µs", "least–most", "on the clock, µs"]);
    for connections in ECHO_CONNECTIONS {
        let load = Load { role: "ping", connections, seconds: ECHO_SECONDS };
        let mut figures = [const { (Vec::new(), Vec::new()) }; 4];
        for _ in 0..ECHO_ROUNDS {
            for (way, (costs, walls)) in ways.into_iter().zip(&mut figures) {
                let (moved, used) = proxies.moved(load, Backend::Echo, way)?;
                let each = |time: Duration| time.as_secs_f64() * 1e6 / float(moved.count);
                costs.push(each(used));
                walls.push(each(moved.time) * f64::from(connections));
            }
        }
        for (way, (costs, walls)) in ways.into_iter().zip(&figures) {
            let cost = format!("{:.1}", median(costs));
            let [cost, spread] = if way == Way::Direct { Default::default() } else { [cost, range(costs, 1)] };
            let wall = format!("{:.1}", median(walls));
            table.row(vec![connections.to_string(), way.name().to_owned(), cost, spread, wall]);
        }
    }
    report.say(&format!(
        "### A TCP echo, {ECHO_BYTES} bytes to and fro, {ECHO_ROUNDS} rounds of {ECHO_SECONDS} s in turns\n\n\
         Processor time of the proxy for each round trip, and how long one takes.\n\n{table}"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_row_has_the_median_of_the_ratios() {
        let figures = [vec![4.0, 6.0, 9.0], vec![2.0, 2.0, 9.0], vec![4.0, 4.0, 4.0]];
        assert_eq!(row("1", &figures, |of| of[0]), ["1", "4.00", "2.00", "2.00", "4.00", "1.00"]);
        assert_eq!(row("median", &figures, median), ["median", "6.00", "2.00", "2.00", "4.00", "1.50"]);
    }
}
