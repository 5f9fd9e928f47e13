//! Redis `PING` through a service port, beside direct and beside HAProxy. Written down; there is no bar.

use std::process::Command;

use super::{
    figures::{Table, float, median},
    proxies::{Backend, Proxies, Way},
    report::Report,
};
use crate::failure::Failure;

const ROUNDS: usize = 3;

/// How clients behave.
struct Shape {
    what: &'static str,
    clients: u32,
    pipeline: u32,
    /// About a second's worth.
    requests: u32,
}

const SHAPES: [Shape; 4] = [
    Shape { what: "1 client, one by one", clients: 1, pipeline: 1, requests: 20_000 },
    Shape { what: "1 client, pipelines of 16", clients: 1, pipeline: 16, requests: 160_000 },
    Shape { what: "1 client, pipelines of 64", clients: 1, pipeline: 64, requests: 320_000 },
    Shape { what: "50 clients, one by one", clients: 50, pipeline: 1, requests: 40_000 },
];

const WAYS: [Way; 3] = [Way::Direct, Way::Tambat, Way::Haproxy];

/// What one run says.
#[derive(Debug, PartialEq)]
struct Answered {
    requests_a_second: f64,
    median_ms: f64,
}

pub(super) fn measure(proxies: &Proxies, report: &Report) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "",
        "way",
        "requests a second",
        "to direct",
        "median reply, µs",
        "processor time of the proxy, µs a request",
    ]);
    for shape in SHAPES {
        let mut figures = [const { (Vec::new(), Vec::new(), Vec::new()) }; WAYS.len()];
        for _ in 0..ROUNDS {
            for (way, (rates, replies, costs)) in WAYS.into_iter().zip(&mut figures) {
                let (printed, used) = proxies.under(way, shape.command(Backend::Redis.port(way)))?;
                let answered = parse(&printed).ok_or_else(|| {
                    Failure::new(format!("cannot read what redis-benchmark says: `{printed}`"), "run it by hand")
                })?;
                rates.push(answered.requests_a_second);
                replies.push(answered.median_ms * 1e3);
                costs.push(used.as_secs_f64() * 1e6 / f64::from(shape.requests));
            }
        }
        let direct = median(&figures[0].0);
        for (way, (rates, replies, costs)) in WAYS.into_iter().zip(&figures) {
            let cost = if way == Way::Direct { String::new() } else { format!("{:.2}", median(costs)) };
            table.row(vec![
                shape.what.to_owned(),
                way.name().to_owned(),
                format!("{:.0}", median(rates)),
                format!("{:.2}", median(rates) / direct),
                format!("{:.0}", median(replies)),
                cost,
            ]);
        }
    }
    report.say(&format!("### Redis PING, {ROUNDS} rounds in turns, medians\n\n{table}"));
    Ok(())
}

impl Shape {
    fn command(&self, port: u16) -> Command {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "ping_mbulk", "--csv"]);
        command.args(["-c", &self.clients.to_string(), "-P", &self.pipeline.to_string()]);
        command.args(["-n", &self.requests.to_string()]);
        command
    }
}

/// Columns by their names in the first line: `"test","rps",…,"p50_latency_ms",…`.
fn parse(csv: &str) -> Option<Answered> {
    let mut lines = csv.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')).collect::<Vec<_>>());
    let (head, row) = (lines.next()?, lines.next()?);
    let figure = |name| row.get(head.iter().position(|cell| *cell == name)?)?.parse::<f64>().ok();
    let answered = Answered { requests_a_second: figure("rps")?, median_ms: figure("p50_latency_ms")? };
    (answered.requests_a_second > float(0)).then_some(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_the_names_of_their_columns() {
        let csv =
            "\"test\",\"rps\",\"avg_latency_ms\",\"p50_latency_ms\"\n\"PING_MBULK\",\"50000.50\",\"0.5\",\"0.25\"\n";
        assert_eq!(parse(csv), Some(Answered { requests_a_second: 50_000.5, median_ms: 0.25 }));
        for broken in ["", "\"test\",\"rps\"\n", "\"rps\",\"p50_latency_ms\"\n\"x\",\"1\"\n", "\"rps\"\n\"1\"\n"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }
}
