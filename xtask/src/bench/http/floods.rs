//! `cargo xtask bench floods`: what a good client notices while hostile ones flood the router over HTTP/2, or shake hands
//! with it as fast as they can; and what those of nginx and HAProxy do.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    super::{
        Bench,
        figures::{Table, float, median, range},
        machine::{self, Cores},
        process::raise_open_files,
        report::{Bar, Bound, Report},
        role,
    },
    config::{Backend, Front},
    contender::{Contender, Family, Field, Setup},
    flood::{Flood, Flooded, Kind},
    load::{Load, Pace},
    measured::Measured,
    offer::Offer,
    request::Shape,
    secure,
    talk::Ends,
};
use crate::failure::Failure;

const ROUNDS: usize = 2;

/// Latencies of one round: a hundredth of them is ten.
const RATE: u32 = 1_000;
const SECONDS: u64 = 1;

/// Of the good client.
const CONNECTIONS: u32 = 4;

/// Of the flood.
const FLOODERS: u16 = 4;

/// A flood begins when the good client has warmed up, so that its first moments are among what is measured, and ends with
/// it.
const FLOOD_AFTER: Duration = Duration::from_millis(350);
const FLOOD_LASTS: Duration = Duration::from_millis(1_100);

/// So many clients that shake hands.
const HANDSHAKERS: [u32; 2] = [4, 32];

/// They begin before what is measured, and end after it.
const HANDSHAKES_S: u64 = 2;

/// Every so many floods the good client is measured alone again.
const QUIET_EVERY: usize = 3;

/// The good client's 99th percentile with the flood, to that without.
const P99_RATIO_MAX: f64 = 2.0;

/// Each flood comes from an address that has done nothing yet.
const FIRST_STRANGER: Ipv4Addr = Ipv4Addr::new(127, 2, 0, 1);

const PEERS: [Contender; 3] = [Contender::Tambat, Contender::NginxHttp2, Contender::Haproxy];

/// What the words behind `bench floods` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Wanted {
    rounds: usize,
    /// What is measured in place of what is built here.
    pub(in super::super) tambat: Option<PathBuf>,
    peers: Vec<Contender>,
}

/// Reads them.
///
/// # Errors
///
/// When they ask for something else.
pub(in super::super) fn wanted(words: &[&str]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { rounds: ROUNDS, tambat: None, peers: PEERS.to_vec() };
    let wrong = || {
        let options = "the options are --rounds N, --tambat FILE and --peers tambat,nginx,haproxy";
        Failure::new(format!("cannot make sense of `{}`", words.join(" ")), options)
    };
    let mut rest = words;
    while let [option, value, behind @ ..] = rest {
        match *option {
            "--rounds" => wanted.rounds = value.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?,
            "--tambat" => wanted.tambat = Some(value.into()),
            "--peers" => {
                let families: Vec<Family> = value.split(',').map(Family::named).collect::<Result<_, _>>()?;
                wanted.peers.retain(|peer| families.contains(&peer.family()));
            }
            _ => return Err(wrong()),
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(wanted) } else { Err(wrong()) }
}

/// What the good client has beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// A flood from an address of its own.
    Flood(Kind),
    /// One from the good client's.
    FloodFromThere(Kind),
    Handshakes(u32),
}

impl Beside {
    fn name(self) -> String {
        match self {
            Self::Flood(Kind::Honest) | Self::FloodFromThere(Kind::Honest) => {
                format!("{FLOODERS} honest clients, as fast as they can")
            }
            Self::Flood(kind) => kind.word().to_owned(),
            Self::FloodFromThere(kind) => format!("{}, from the good client's address", kind.word()),
            Self::Handshakes(count) => format!("{count} clients that shake hands"),
        }
    }

    /// All floods of a contender.
    fn floods(contender: Contender) -> Vec<Self> {
        let own = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Honest).map(Self::FloodFromThere);
        let all = Kind::ALL.into_iter().map(Self::Flood);
        // The others know nothing of addresses.
        if contender.family() == Family::Tambat { all.chain(own).collect() } else { all.collect() }
    }

    fn has_bar(self) -> bool {
        self != Self::Flood(Kind::Honest)
    }
}

/// What a contender's good client noticed of one of these in each round.
struct Seen {
    contender: Contender,
    beside: Beside,
    p99: Vec<f64>,
    ratios: Vec<f64>,
    flooded: Vec<Flooded>,
}

/// A field and what was seen of it.
struct Rounds<'a> {
    bench: &'a Bench,
    field: Field<'a>,
    /// Of the good client.
    load: Load,
    quiet: Vec<(Contender, f64)>,
    seen: Vec<Seen>,
    strangers: u32,
}

/// Everything, each thing beside a round without one.
pub(in super::super) fn measure(root: &Path, bench: &Bench, wanted: &Wanted) -> Result<(), Failure> {
    raise_open_files()?;
    let mut report = Report::default();
    report.say(&machine::description(root, Some(&bench.tambat), &[])?);
    let good =
        Load { connections: CONNECTIONS, seconds: SECONDS, shape: Shape::Plain, pace: Pace::Rate(RATE), offer: None };
    let title = format!(
        "{RATE} requests a second over {CONNECTIONS} connections, {} rounds of {SECONDS} s in turns",
        wanted.rounds
    );
    let mut floods = Rounds::start(bench, &wanted.peers, Front::Plain, good)?;
    for _ in 0..wanted.rounds {
        for contender in &wanted.peers {
            floods.round(*contender, &Beside::floods(*contender))?;
        }
    }
    floods.end(&format!("A good client beside floods: {title}"), &mut report)?;
    let files = secure::certificates(&bench.dir)?;
    let good = Load { offer: Some(Offer::HTTP1), ..good };
    let mut handshakes = Rounds::start(bench, &wanted.peers, Front::Tls(&files), good)?;
    for _ in 0..wanted.rounds {
        for contender in &wanted.peers {
            handshakes.round(*contender, &HANDSHAKERS.map(Beside::Handshakes))?;
        }
    }
    handshakes.end(&format!("A good client over TLS beside full TLS 1.3 handshakes: {title}"), &mut report)?;
    report.finish()
}

impl<'a> Rounds<'a> {
    fn start(bench: &'a Bench, peers: &[Contender], front: Front<'a>, load: Load) -> Result<Self, Failure> {
        let field = Field::start(bench, peers, Setup { backend: Backend::Small, front, log: false })?;
        Ok(Self { bench, field, load, quiet: Vec::new(), seen: Vec::new(), strangers: 0 })
    }

    fn round(&mut self, contender: Contender, all: &[Beside]) -> Result<(), Failure> {
        let mut without = 0.0;
        for (nth, beside) in all.iter().enumerate() {
            if nth.is_multiple_of(QUIET_EVERY) {
                without = micros(&self.field.measure(contender, self.load)?);
                self.quiet.push((contender, without));
            }
            let (with, flooded) = match beside {
                Beside::Flood(kind) => self.flooded(contender, *kind, false)?,
                Beside::FloodFromThere(kind) => self.flooded(contender, *kind, true)?,
                Beside::Handshakes(count) => self.shaken(contender, *count)?,
            };
            let with = micros(&with);
            let seen = self.seen(contender, *beside);
            seen.p99.push(with);
            seen.ratios.push(with / without);
            seen.flooded.push(flooded);
        }
        Ok(())
    }

    fn seen(&mut self, contender: Contender, beside: Beside) -> &mut Seen {
        let found = self.seen.iter().position(|seen| (seen.contender, seen.beside) == (contender, beside));
        let at = found.unwrap_or_else(|| {
            let (p99, ratios, flooded) = (Vec::new(), Vec::new(), Vec::new());
            self.seen.push(Seen { contender, beside, p99, ratios, flooded });
            self.seen.len() - 1
        });
        &mut self.seen[at]
    }

    /// The good client, and the flood, which has what the good client leaves of their core.
    fn flooded(
        &mut self,
        contender: Contender,
        kind: Kind,
        is_from_there: bool,
    ) -> Result<(Measured, Flooded), Failure> {
        let stranger = Ipv4Addr::from_bits(FIRST_STRANGER.to_bits() + self.strangers);
        self.strangers += 1;
        let port = self.field.port(contender)?;
        let port = if kind == Kind::Honest { port } else { contender.http2_port(port) };
        let ends = Ends { from: stranger, port };
        let flood = Flood { kind, ends, connections: FLOODERS, after: FLOOD_AFTER, lasts: FLOOD_LASTS };
        let mut command = self.bench.role("http-flood", &[]);
        command.args(flood.words());
        let from = if is_from_there { stranger } else { Ipv4Addr::LOCALHOST };
        let (measured, printed) = self.beside(from, contender, &command)?;
        let flooded = Flooded::parse(&printed).ok_or_else(|| unread(&kind.word(), &printed))?;
        Ok((measured, flooded))
    }

    /// The good client, and those that shake hands.
    fn shaken(&self, contender: Contender, count: u32) -> Result<(Measured, Flooded), Failure> {
        let anew = Load { connections: count, seconds: HANDSHAKES_S, pace: Pace::Anew, ..self.load };
        let command = self.field.command(Ipv4Addr::LOCALHOST, contender, anew)?;
        let (measured, printed) = self.beside(Ipv4Addr::LOCALHOST, contender, &command)?;
        let shaken = Measured::parse(&printed).ok_or_else(|| unread(&"clients that shake hands", &printed))?;
        let a_second = shaken.answers / HANDSHAKES_S;
        Ok((measured, Flooded { opened: a_second, closed: a_second, bytes: shaken.bytes }))
    }

    /// What the good client measured, and what this printed, which ran beside it at the lowest priority: what is seen is to be
    /// the proxy, and not a core that two programs want.
    fn beside(&self, from: Ipv4Addr, contender: Contender, other: &Command) -> Result<(Measured, String), Failure> {
        let mut nice = Command::new("nice");
        nice.args(["-n", "19"]).arg(other.get_program()).args(other.get_args());
        let mut nice = Cores::pinned(self.bench.cores.load, &nice);
        let what = role::WORD;
        let cannot = |error: std::io::Error| Failure::new(format!("cannot run {what}: {error}"), "run it by hand");
        let child = nice.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
        let printed = self.field.run_from(from, contender, self.load);
        let output = child.wait_with_output().map_err(cannot)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new("cannot measure beside what has failed", said));
        }
        let printed = printed?;
        let measured = Measured::parse(&printed).ok_or_else(|| unread(&"the load", &printed))?;
        Ok((measured, String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Stops all, tells what was seen, and judges tambat.
    fn end(self, title: &str, report: &mut Report) -> Result<(), Failure> {
        self.field.stop()?;
        report.say(&format!("### {title}\n"));
        report.say(&table(&self.quiet, &self.seen).to_string());
        for one in self.seen.iter().filter(|one| one.contender.family() == Family::Tambat && one.beside.has_bar()) {
            let what = format!("p99 of a good client beside {}, to that without", one.beside.name());
            report.judge(Bar { what, bound: Bound::AtMost(P99_RATIO_MAX), seen: median(&one.ratios), unit: "×" });
        }
        Ok(())
    }
}

fn unread(whom: &dyn std::fmt::Display, printed: &str) -> Failure {
    Failure::new(format!("cannot read what {whom} says: `{printed}`"), "run it by hand")
}

fn table(quiet: &[(Contender, f64)], seen: &[Seen]) -> Table {
    let mut table = Table::new(&[
        "proxy",
        "beside",
        "p99, µs",
        "to without",
        "least–most",
        "connections",
        "of these closed",
        "sent, MB",
    ]);
    let mut named = Vec::new();
    for one in seen {
        if !named.contains(&one.contender) {
            named.push(one.contender);
            let quiet: Vec<f64> =
                quiet.iter().filter(|(contender, _)| *contender == one.contender).map(|(_, p99)| *p99).collect();
            let mut row = vec![one.contender.name(), "nothing".to_owned(), format!("{:.0}", median(&quiet))];
            row.extend(["–"; 5].map(str::to_owned));
            table.row(row);
        }
        let of =
            |figure: fn(&Flooded) -> u64| median(&one.flooded.iter().map(|all| float(figure(all))).collect::<Vec<_>>());
        let is_flood = matches!(one.beside, Beside::Flood(kind) | Beside::FloodFromThere(kind) if kind != Kind::Honest);
        let closed = if is_flood { format!("{:.0}", of(|all| all.closed)) } else { "–".to_owned() };
        let opened = match one.beside {
            Beside::Handshakes(_) => format!("{:.0} a second", of(|all| all.opened)),
            _ => format!("{:.0}", of(|all| all.opened)),
        };
        table.row(vec![
            one.contender.name(),
            one.beside.name(),
            format!("{:.0}", median(&one.p99)),
            format!("{:.2}", median(&one.ratios)),
            range(&one.ratios, 2),
            opened,
            closed,
            format!("{:.1}", of(|all| all.bytes) / 1e6),
        ]);
    }
    table
}

fn micros(measured: &Measured) -> f64 {
    measured.p99.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_how_often_of_what_and_beside_whom() {
        let all = Wanted { rounds: ROUNDS, tambat: None, peers: PEERS.to_vec() };
        assert_eq!(wanted(&[]).unwrap(), all);
        let some = wanted(&["--tambat", "/a/tambat", "--rounds", "3", "--peers", "tambat"]).unwrap();
        assert_eq!(some, Wanted { rounds: 3, tambat: Some("/a/tambat".into()), peers: vec![Contender::Tambat] });
        for words in [&["--rounds"][..], &["--rounds", "0"], &["--rounds", "x"], &["3"], &["--peers", "a"]] {
            assert!(wanted(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn all_floods_have_bars_and_only_tambat_knows_addresses() {
        let of = |contender| Beside::floods(contender).iter().filter(|beside| beside.has_bar()).count();
        assert_eq!((of(Contender::Tambat), of(Contender::NginxHttp2), of(Contender::Haproxy)), (16, 8, 8));
    }
}
