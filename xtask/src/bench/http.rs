//! `cargo xtask bench http`: the router beside nginx and HAProxy, round by round, a thread each.

use std::path::{Path, PathBuf};

use super::{
    Bench, machine,
    process::raise_open_files,
    report::{Bound, Report},
};
use crate::failure::Failure;

use self::{
    comparison::{Comparison, Figure, Judgement},
    config::{Backend, Front},
    contender::Contender,
    load::{Load, Pace},
    request::Shape,
};

pub(super) use self::{
    config::Files,
    contender::Family,
    secure::{certificates, stream as secure_stream},
};

pub(super) mod app;
pub(super) mod backend;
mod comparison;
mod config;
mod contender;
pub(super) mod flood;
pub(super) mod floods;
mod histogram;
mod idle;
pub(super) mod load;
mod measured;
mod offer;
mod reply;
mod request;
#[cfg_attr(not(feature = "tls"), path = "http/insecure.rs")]
mod secure;
mod talk;
pub(super) mod tls;

const ROUNDS: usize = 5;

/// Long enough for a hundred thousand requests, or so, of a proxy with one thread.
const SECONDS: u64 = 2;

/// At a fixed rate fewer requests are seen: 24,000 of them, so that 240 are above the 99th percentile.
const RATE_SECONDS: u64 = 3;

const RATE_A_SECOND: u32 = 8_000;

/// Ratios hold to ± 10 % from run to run: level is what is within it.
const LEVEL_RATIO_MAX: f64 = 1.1;

const NGINX_RATIO_MAX: f64 = 0.65;
const HAPROXY_RATIO_MAX: f64 = 0.55;
const RATE_RATIO_MAX: f64 = 0.75;
const BODY_NGINX_RATIO_MIN: f64 = 1.5;
const BODY_HAPROXY_RATIO_MIN: f64 = 1.2;

const HOSTS_FEW: u32 = 10;
const HOSTS_MANY: u32 = 100_000;

/// Three that go round by round in one table, and what nginx costs when it makes no request id.
const PEERS: &[Contender] = &[Contender::Tambat, Contender::Nginx, Contender::NginxNoId, Contender::Haproxy];

/// What can be selected, in the order of the report.
pub(super) type Measurements<R = Run> = &'static [(&'static str, R)];

/// Of `bench http`.
pub(super) const MEASUREMENTS: Measurements = &[
    ("64", |run, report| saturated(run, report, 64)),
    ("256", |run, report| saturated(run, report, 256)),
    ("1000", |run, report| saturated(run, report, 1_000)),
    ("browser", browser),
    ("log", log),
    ("rate", rate),
    ("9000", many),
    ("idle", idle::measure),
    ("body", body),
    ("websocket", websocket),
    ("hosts", hosts),
];

pub(super) type Run = fn(&Http<'_>, &mut Report) -> Result<(), Failure>;

/// What of it is to be run, and how long.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    only: Vec<String>,
    peers: Vec<Family>,
    rounds: Option<usize>,
    seconds: Option<u64>,
    tambat: Option<PathBuf>,
    nginx: Option<PathBuf>,
}

const OPTIONS: &str = "--only, --peers, --rounds, --seconds, --tambat and --nginx";

impl Selection {
    /// Reads the words behind `bench http`, `bench tls` or `bench stream`.
    ///
    /// # Errors
    ///
    /// When there is no such option, measurement or peer; the failure lists those there are.
    pub(super) fn parse<R>(words: &[&str], measurements: Measurements<R>) -> Result<Self, Failure> {
        let mut selection = Self::default();
        let mut words = words.iter();
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| wrong(option, "it wants a value"))?;
            let number = || value.parse().ok().filter(|number| *number > 0);
            match *option {
                "--only" => {
                    let known = |name| measurement(name, measurements);
                    selection.only = value.split(',').map(known).collect::<Result<_, _>>()?;
                }
                "--peers" => selection.peers = value.split(',').map(Family::named).collect::<Result<_, _>>()?,
                "--rounds" => {
                    let rounds = number().and_then(|rounds| usize::try_from(rounds).ok());
                    selection.rounds = Some(rounds.ok_or_else(|| wrong(value, "it is no number of rounds"))?);
                }
                "--seconds" => {
                    selection.seconds = Some(number().ok_or_else(|| wrong(value, "it is no number of seconds"))?);
                }
                "--tambat" => selection.tambat = Some(PathBuf::from(value)),
                "--nginx" => selection.nginx = Some(PathBuf::from(value)),
                _ => return Err(wrong(option, &format!("the options are {OPTIONS}"))),
            }
        }
        Ok(selection)
    }

    /// Whether the program that is measured is to be built first.
    pub(super) fn builds_tambat(&self) -> bool {
        self.has(Family::Tambat) && self.tambat.is_none()
    }

    /// The program that is measured instead.
    pub(super) fn tambat(&self) -> Option<&Path> {
        self.tambat.as_deref()
    }

    /// Debian's, or another one.
    pub(super) fn nginx(&self) -> &Path {
        self.nginx.as_deref().unwrap_or(Path::new("nginx"))
    }

    /// How many rounds, if that was said.
    pub(super) fn rounds(&self) -> Option<usize> {
        self.rounds
    }

    /// How long each, if that was said.
    pub(super) fn seconds(&self) -> Option<u64> {
        self.seconds
    }

    /// Whether it is among those that were asked for.
    pub(super) fn has(&self, family: Family) -> bool {
        self.peers.is_empty() || self.peers.contains(&family)
    }

    /// The same of a measurement.
    pub(super) fn runs(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn measurement<R>(name: &str, measurements: Measurements<R>) -> Result<String, Failure> {
    let names: Vec<&str> = measurements.iter().map(|(name, _)| *name).collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(wrong(name, &format!("the measurements are {}", names.join(", "))))
}

fn wrong(word: &str, why: &str) -> Failure {
    Failure::new(format!("cannot make sense of `{word}`"), why)
}

/// A run of it.
pub(super) struct Http<'a> {
    bench: &'a Bench,
    selection: &'a Selection,
    front: Front<'a>,
}

impl Http<'_> {
    /// Those of them that were asked for.
    fn chosen(&self, contenders: &[Contender]) -> Vec<Contender> {
        contenders.iter().copied().filter(|contender| self.selection.has(contender.family())).collect()
    }

    fn rounds(&self) -> usize {
        self.selection.rounds.unwrap_or(ROUNDS)
    }

    fn seconds(&self, usual: u64) -> u64 {
        self.selection.seconds.unwrap_or(usual)
    }

    fn load(&self, connections: u32, shape: Shape) -> Load {
        Load { connections, seconds: self.seconds(SECONDS), shape, pace: Pace::Saturated, offer: None }
    }
}

/// Everything that was selected.
pub(super) fn measure(root: &Path, bench: &Bench, selection: &Selection) -> Result<(), Failure> {
    raise_open_files()?;
    run(root, &Http { bench, selection, front: Front::Plain }, MEASUREMENTS)
}

/// Those of them that were selected. What fails does not keep the rest from being measured.
fn run(root: &Path, http: &Http<'_>, measurements: Measurements) -> Result<(), Failure> {
    let (bench, selection) = (http.bench, http.selection);
    let mut report = Report::default();
    let tambat = selection.has(Family::Tambat).then_some(&*bench.tambat);
    let nginx = ["-c", r#"exec "$0" -v 2>&1"#, &bench.nginx.to_string_lossy()];
    let versions = [machine::first_line("haproxy", &["-v"])?, machine::first_line("sh", &nginx)?];
    report.say(&machine::description(root, tambat, &versions)?);
    for (name, run) in measurements.iter().filter(|(name, _)| selection.runs(name)) {
        if let Err(failure) = run(http, &mut report) {
            report.failed(name, &failure);
        }
    }
    report.finish()
}

fn saturated(http: &Http<'_>, report: &mut Report, connections: u32) -> Result<(), Failure> {
    let judge = |versus, bound| Judgement {
        what: format!("processor time per request, {connections} connections"),
        figure: Figure::Processor,
        versus,
        bound: Bound::AtMost(bound),
    };
    Comparison {
        title: format!("{connections} connections, saturated"),
        contenders: PEERS,
        backend: Backend::Small,
        log: false,
        load: http.load(connections, Shape::Plain),
        figures: &[Figure::Processor],
        judgements: vec![judge(&[Contender::Nginx], NGINX_RATIO_MAX), judge(&[Contender::Haproxy], HAPROXY_RATIO_MAX)],
    }
    .run(http, report)
}

fn browser(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: "64 connections, saturated, heads as a browser sends them".to_owned(),
        contenders: PEERS,
        backend: Backend::Small,
        log: false,
        load: http.load(64, Shape::Browser),
        figures: &[Figure::Processor],
        judgements: Vec::new(),
    }
    .run(http, report)
}

fn log(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: "256 connections, saturated, access logs on".to_owned(),
        contenders: &[Contender::Tambat, Contender::Nginx, Contender::NginxLogBuffer, Contender::Haproxy],
        backend: Backend::Small,
        log: true,
        load: http.load(256, Shape::Plain),
        figures: &[Figure::Processor],
        judgements: vec![Judgement {
            what: "processor time per request, access log on".to_owned(),
            figure: Figure::Processor,
            versus: &[Contender::Nginx],
            bound: Bound::AtMost(NGINX_RATIO_MAX),
        }],
    }
    .run(http, report)
}

fn rate(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    let load =
        Load { seconds: http.seconds(RATE_SECONDS), pace: Pace::Rate(RATE_A_SECOND), ..http.load(64, Shape::Plain) };
    Comparison {
        title: format!("{RATE_A_SECOND} requests a second over 64 connections"),
        contenders: PEERS,
        backend: Backend::Small,
        log: false,
        load,
        figures: &[Figure::Processor, Figure::P99],
        judgements: vec![
            Judgement {
                what: format!("processor time per request at {RATE_A_SECOND} a second"),
                figure: Figure::Processor,
                versus: &[Contender::Nginx],
                bound: Bound::AtMost(RATE_RATIO_MAX),
            },
            Judgement {
                what: format!("p99 at {RATE_A_SECOND} a second"),
                figure: Figure::P99,
                versus: &[Contender::Nginx, Contender::Haproxy],
                bound: Bound::AtMost(LEVEL_RATIO_MAX),
            },
        ],
    }
    .run(http, report)
}

/// Two descriptors for each connection: 9,000 are what 20,000 open files allow.
fn many(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: "9,000 connections, saturated".to_owned(),
        contenders: &[Contender::Tambat, Contender::Nginx, Contender::Haproxy],
        backend: Backend::Small,
        log: false,
        load: http.load(9_000, Shape::Plain),
        figures: &[Figure::Processor],
        judgements: Vec::new(),
    }
    .run(http, report)
}

fn body(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    let judge = |versus, bound| Judgement {
        what: "bytes per processor second, bodies of 10 MiB".to_owned(),
        figure: Figure::Bytes,
        versus,
        bound: Bound::AtLeast(bound),
    };
    Comparison {
        title: "Bodies of 10 MiB, 4 connections".to_owned(),
        contenders: &[
            Contender::Tambat,
            Contender::Nginx,
            Contender::NginxBuffers,
            Contender::Haproxy,
            Contender::HaproxySplice,
        ],
        backend: Backend::Large,
        log: false,
        load: http.load(4, Shape::Large),
        figures: &[Figure::Bytes],
        judgements: vec![
            judge(&[Contender::Nginx, Contender::NginxBuffers], BODY_NGINX_RATIO_MIN),
            judge(&[Contender::HaproxySplice], BODY_HAPROXY_RATIO_MIN),
        ],
    }
    .run(http, report)
}

fn websocket(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: "WebSocket, an echo of 128 bytes, 64 connections, saturated".to_owned(),
        contenders: &[Contender::Tambat, Contender::Nginx, Contender::Haproxy],
        backend: Backend::WebSocket,
        log: false,
        load: http.load(64, Shape::WebSocket),
        figures: &[Figure::Processor],
        judgements: vec![Judgement {
            what: "processor time per WebSocket message".to_owned(),
            figure: Figure::Processor,
            versus: &[Contender::Nginx, Contender::Haproxy],
            bound: Bound::AtMost(LEVEL_RATIO_MAX),
        }],
    }
    .run(http, report)
}

fn hosts(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: "64 connections, saturated, each request for another host".to_owned(),
        contenders: &[Contender::TambatHosts(HOSTS_MANY), Contender::TambatHosts(HOSTS_FEW)],
        backend: Backend::Small,
        log: false,
        load: http.load(64, Shape::Plain),
        figures: &[Figure::Processor],
        judgements: vec![Judgement {
            what: format!("processor time per request, {HOSTS_MANY} hostnames"),
            figure: Figure::Processor,
            versus: &[Contender::TambatHosts(HOSTS_FEW)],
            bound: Bound::AtMost(LEVEL_RATIO_MAX),
        }],
    }
    .run(http, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_read_and_nothing_is_guessed() {
        let words = ["--only", "64,idle", "--peers", "nginx", "--rounds", "3", "--seconds", "1"];
        let selection = Selection::parse(&words, MEASUREMENTS).unwrap();
        assert!(selection.runs("idle") && !selection.runs("256"));
        assert!(selection.has(Family::Nginx) && !selection.has(Family::Haproxy) && !selection.builds_tambat());
        assert_eq!((selection.rounds, selection.seconds), (Some(3), Some(1)));
        let all = Selection::parse(&[], MEASUREMENTS).unwrap();
        assert!(all.runs("body") && all.has(Family::Haproxy) && all.builds_tambat());
        assert!(!Selection::parse(&["--tambat", "/x"], MEASUREMENTS).unwrap().builds_tambat());
        for broken in [&["--only"][..], &["--only", "65"], &["--peers", "caddy"], &["--rounds", "0"], &["fast", "1"]] {
            assert!(Selection::parse(broken, MEASUREMENTS).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_wrong_name_lists_the_right_ones() {
        let failure = Selection::parse(&["--only", "sixty"], MEASUREMENTS).unwrap_err().to_string();
        assert!(failure.contains("64, 256, 1000, browser"), "{failure}");
    }
}
