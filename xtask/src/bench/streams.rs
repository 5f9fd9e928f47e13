//! `cargo xtask bench stream`: what is no HTTP through the router, beside nginx and HAProxy, round by round, a thread
//! each: to a port of its own, by the name in a TLS handshake that passes through, and with TLS ended by the proxy.

use std::{path::Path, time::Duration};

use super::{
    Bench,
    figures::{Table, float, median},
    http::{Family, Files, Selection, certificates},
    machine,
    process::raise_open_files,
    report::{Bar, Bound, Report},
};
use crate::failure::Failure;

use self::{
    config::Front,
    load::Kind,
    peer::{Field, Peer},
    served::Served,
};

mod config;
mod hello;
pub(super) mod load;
mod peer;
mod redis;
mod served;

const ROUNDS: usize = 7;

const SECONDS: u64 = 1;

/// No dearer than the better one. Ratios hold to ± 10 % from run to run, and no bar takes that into account.
const LEVEL_RATIO: f64 = 1.0;

const SPLICE_RATIO_MIN: f64 = 1.3;
const NGINX_RATIO_MIN: f64 = 2.0;
const TLS_RATIO_MIN: f64 = 1.3;

/// So many streams of big messages: each end of the load has a thread for each, and all of them share a core.
const PUMPS: u32 = 4;

const ECHOES: u32 = 64;

/// So many clients, each of which connects again as soon as it was answered.
const NEW_AT_ONCE: u32 = 32;

/// Two descriptors each: what 20,000 open files allow.
const IDLE_CONNECTIONS: u32 = 9_000;

/// Everybody.
const PEERS: &[Peer] = &[Peer::Tambat, Peer::Nginx, Peer::NginxBuffers, Peer::Haproxy, Peer::HaproxySplice];

/// Without those that differ in how they move bytes alone.
const PLAIN_PEERS: &[Peer] = &[Peer::Tambat, Peer::Nginx, Peer::Haproxy];

type Run = fn(&Streams<'_>, &mut Report) -> Result<(), Failure>;

/// What can be selected, in the order of the report.
pub(super) const MEASUREMENTS: &[(&str, Run)] = &[
    ("pump", |streams, report| pump(streams, report, Front::Plain)),
    ("pump-sni", |streams, report| pump(streams, report, Front::Sni)),
    ("pump-tls", pump_tls),
    ("echo", |streams, report| echo(streams, report, Front::Plain)),
    ("echo-sni", |streams, report| echo(streams, report, Front::Sni)),
    ("connect", |streams, report| connect(streams, report, Front::Plain)),
    ("connect-sni", |streams, report| connect(streams, report, Front::Sni)),
    ("redis-1", |streams, report| redis::measure(streams, report, 1)),
    ("redis-16", |streams, report| redis::measure(streams, report, 16)),
    ("idle", idle),
];

/// A run of it.
pub(super) struct Streams<'a> {
    bench: &'a Bench,
    selection: &'a Selection,
    files: Option<&'a Files>,
}

impl Streams<'_> {
    fn rounds(&self) -> usize {
        self.selection.rounds().unwrap_or(ROUNDS)
    }

    fn seconds(&self) -> u64 {
        self.selection.seconds().unwrap_or(SECONDS)
    }

    fn chosen(&self, peers: &[Peer]) -> Vec<Peer> {
        peers.iter().copied().filter(|peer| self.selection.has(peer.family())).collect()
    }
}

/// Everything that was selected. What fails does not keep the rest from being measured.
pub(super) fn measure(root: &Path, bench: &Bench, selection: &Selection) -> Result<(), Failure> {
    raise_open_files()?;
    let files = certificates(&bench.dir).ok();
    let streams = Streams { bench, selection, files: files.as_ref() };
    let mut report = Report::default();
    let tambat = selection.has(Family::Tambat).then_some(&*bench.tambat);
    let nginx = ["-c", r#"exec "$0" -v 2>&1"#, &bench.nginx.to_string_lossy()];
    let versions = [
        machine::first_line("haproxy", &["-v"])?,
        machine::first_line("sh", &nginx)?,
        machine::first_line("redis-server", &["--version"])?,
    ];
    report.say(&machine::description(root, tambat, &versions)?);
    for (name, run) in MEASUREMENTS.iter().filter(|(name, _)| selection.runs(name)) {
        if let Err(failure) = run(&streams, &mut report) {
            report.failed(name, &failure);
        }
    }
    report.finish()
}

/// A figure of one round.
#[derive(Clone, Copy)]
enum Figure {
    /// GB for each second of processor time.
    Bytes,
    /// Processor time for each round trip, µs.
    Micros,
    /// So many for each second of processor time.
    Each,
}

impl Figure {
    fn of(self, served: &Served) -> f64 {
        let seconds = served.used.as_secs_f64();
        match self {
            Self::Bytes => float(served.count) / 1e9 / seconds,
            Self::Micros => seconds * 1e6 / float(served.count),
            Self::Each => float(served.count) / seconds,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Bytes => "GB per processor second of the proxy",
            Self::Micros => "Processor time of the proxy for each, µs",
            Self::Each => "Per processor second of the proxy",
        }
    }

    fn decimals(self) -> usize {
        if matches!(self, Self::Each) { 0 } else { 2 }
    }

    /// The better of two.
    fn better(self, one: f64, other: f64) -> f64 {
        if matches!(self, Self::Micros) { one.min(other) } else { one.max(other) }
    }
}

/// The same load through all of them in turns.
struct Comparison<'a> {
    title: String,
    peers: &'a [Peer],
    front: Front,
    kind: Kind,
    connections: u32,
    figure: Figure,
    /// What is asked of tambat: so much of the best of these.
    bars: Vec<(&'a [Peer], Bound)>,
}

/// A proxy and its rounds.
type Rounds = (Peer, Vec<Served>);

impl Comparison<'_> {
    fn run(self, streams: &Streams<'_>, report: &mut Report) -> Result<(), Failure> {
        let chosen = streams.chosen(self.peers);
        let field = Field::start(streams.bench, &chosen, self.front, self.kind, streams.files)?;
        let mut all: Vec<Rounds> = chosen.into_iter().map(|peer| (peer, Vec::new())).collect();
        for round in 0..streams.rounds() {
            // Who comes first differs from round to round, so that nobody always follows the same one.
            let count = all.len();
            for turn in 0..count {
                let (peer, rounds) = &mut all[(turn + round) % count];
                rounds.push(field.run(*peer, self.connections, Duration::from_secs(streams.seconds()))?);
            }
        }
        field.stop()?;
        let (rounds, seconds) = (streams.rounds(), streams.seconds());
        report.say(&format!("### {}, {rounds} rounds of {seconds} s in turns\n", self.title));
        report.say(&format!("{}.\n\n{}", self.figure.what(), by_round(self.figure, &all)));
        for (versus, bound) in &self.bars {
            if let Some(seen) = ratio(self.figure, versus, &all) {
                let names: Vec<&str> = versus.iter().map(|peer| peer.name()).collect();
                let what = format!("{}, to {}", self.title, names.join(" or "));
                report.judge(Bar { what, bound: *bound, seen, unit: "×" });
            }
        }
        Ok(())
    }
}

/// Of tambat to the best of these, the median over the rounds; none where one of them was not asked for.
fn ratio(figure: Figure, versus: &[Peer], all: &[Rounds]) -> Option<f64> {
    let of = |peer: Peer| all.iter().find(|(other, _)| *other == peer).map(|(_, rounds)| rounds);
    let ours = of(Peer::Tambat)?;
    let theirs = versus.iter().map(|peer| of(*peer)).collect::<Option<Vec<_>>>()?;
    let best = |round: usize| {
        let figures = theirs.iter().map(|rounds| figure.of(&rounds[round]));
        figures.reduce(|one, other| figure.better(one, other)).unwrap_or(f64::NAN)
    };
    Some(median(&ours.iter().enumerate().map(|(round, served)| figure.of(served) / best(round)).collect::<Vec<_>>()))
}

fn by_round(figure: Figure, all: &[Rounds]) -> Table {
    let names: Vec<&str> = all.iter().map(|(peer, _)| peer.name()).collect();
    let mut table = Table::new(&[&["round"], &*names].concat());
    let shown = |value: f64| format!("{value:.*}", figure.decimals());
    let count = all.first().map_or(0, |(_, rounds)| rounds.len());
    for round in 0..count {
        let figures = all.iter().map(|(_, rounds)| shown(figure.of(&rounds[round])));
        table.row([(round + 1).to_string()].into_iter().chain(figures).collect());
    }
    let medians = all.iter().map(|(_, rounds)| shown(median(&rounds.iter().map(|s| figure.of(s)).collect::<Vec<_>>())));
    table.row(["median".to_owned()].into_iter().chain(medians).collect());
    table
}

fn pump(streams: &Streams<'_>, report: &mut Report, front: Front) -> Result<(), Failure> {
    Comparison {
        title: format!("Messages of 64 KiB one way, {PUMPS} streams, {front}"),
        peers: PEERS,
        front,
        kind: Kind::Pump,
        connections: PUMPS,
        figure: Figure::Bytes,
        bars: vec![
            (&[Peer::HaproxySplice], Bound::AtLeast(SPLICE_RATIO_MIN)),
            (&[Peer::Nginx, Peer::NginxBuffers], Bound::AtLeast(NGINX_RATIO_MIN)),
        ],
    }
    .run(streams, report)
}

fn pump_tls(streams: &Streams<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: format!("Messages of 64 KiB one way, {PUMPS} streams, {}", Front::Tls),
        peers: &[Peer::Tambat, Peer::Nginx, Peer::NginxBuffers, Peer::Haproxy],
        front: Front::Tls,
        kind: Kind::Pump,
        connections: PUMPS,
        figure: Figure::Bytes,
        bars: vec![(&[Peer::Nginx, Peer::NginxBuffers, Peer::Haproxy], Bound::AtLeast(TLS_RATIO_MIN))],
    }
    .run(streams, report)
}

fn echo(streams: &Streams<'_>, report: &mut Report, front: Front) -> Result<(), Failure> {
    Comparison {
        title: format!("An echo of 128 bytes, {ECHOES} streams, {front}"),
        peers: &[Peer::Tambat, Peer::Nginx, Peer::Haproxy, Peer::HaproxySplice],
        front,
        kind: Kind::Echo,
        connections: ECHOES,
        figure: Figure::Micros,
        bars: vec![(&[Peer::Nginx, Peer::Haproxy], Bound::AtMost(LEVEL_RATIO))],
    }
    .run(streams, report)
}

fn connect(streams: &Streams<'_>, report: &mut Report, front: Front) -> Result<(), Failure> {
    Comparison {
        title: format!("New connections, {NEW_AT_ONCE} at once, {front}"),
        peers: PLAIN_PEERS,
        front,
        kind: Kind::Greet,
        connections: NEW_AT_ONCE,
        figure: Figure::Each,
        bars: vec![(&[Peer::Nginx, Peer::Haproxy], Bound::AtLeast(LEVEL_RATIO))],
    }
    .run(streams, report)
}

fn idle(streams: &Streams<'_>, report: &mut Report) -> Result<(), Failure> {
    let mut table = Table::new(&["", "streams", "PSS, bytes each", "private and dirty, bytes each"]);
    let mut all = Vec::new();
    for peer in streams.chosen(PLAIN_PEERS) {
        let field = Field::start(streams.bench, &[peer], Front::Plain, Kind::Hold, streams.files)?;
        let grown = field.hold(peer, IDLE_CONNECTIONS)?;
        field.stop()?;
        let [pss, dirty] = grown.map(|kib| float(kib) * 1024.0 / f64::from(IDLE_CONNECTIONS));
        table.row(vec![
            peer.name().to_owned(),
            IDLE_CONNECTIONS.to_string(),
            format!("{pss:.0}"),
            format!("{dirty:.0}"),
        ]);
        all.push((peer, pss));
    }
    report.say(&format!("### Streams that are idle, each after one echo\n\n{table}"));
    let of = |peer: Peer| all.iter().find(|(other, _)| *other == peer).map(|(_, bytes)| *bytes);
    if let (Some(ours), Some(theirs)) = (of(Peer::Tambat), of(Peer::Haproxy)) {
        let what = "memory of an idle stream, to HAProxy".to_owned();
        report.judge(Bar { what, bound: Bound::AtMost(1.0), seen: ours / theirs, unit: "×" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(peer: Peer, micros: &[u64]) -> Rounds {
        let of = |micros: &u64| Served { count: 1_000_000, used: Duration::from_micros(*micros) };
        (peer, micros.iter().map(of).collect())
    }

    #[test]
    fn a_ratio_is_the_median_to_the_better_in_each_round() {
        let all = [
            rounds(Peer::Tambat, &[10, 20, 30]),
            rounds(Peer::Nginx, &[20, 10, 30]),
            rounds(Peer::Haproxy, &[40, 40, 15]),
        ];
        let seen = |figure, versus: &[Peer]| ratio(figure, versus, &all).unwrap();
        assert!((seen(Figure::Micros, &[Peer::Nginx, Peer::Haproxy]) - 2.0).abs() < 1e-9);
        assert!((seen(Figure::Micros, &[Peer::Nginx]) - 1.0).abs() < 1e-9);
        assert!((seen(Figure::Each, &[Peer::Nginx, Peer::Haproxy]) - 0.5).abs() < 1e-9);
        assert_eq!(ratio(Figure::Bytes, &[Peer::HaproxySplice], &all), None);
    }

    #[test]
    fn the_last_row_has_the_medians() {
        let all = [rounds(Peer::Tambat, &[1_000_000, 3_000_000, 2_000_000])];
        let table = by_round(Figure::Micros, &all).to_string();
        assert!(table.lines().last().unwrap().contains("| median | 2.00"), "{table}");
    }
}
