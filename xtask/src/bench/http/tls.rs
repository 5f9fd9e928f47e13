//! `cargo xtask bench tls`: TLS and HTTP/2 in front, beside nginx and HAProxy, round by round, a thread each.
//!
//! One certificate for all (ECDSA, P-256), one version, one cipher: what the load offers is all that there is to choose from.

use std::path::Path;

use super::{
    super::{
        Bench,
        process::raise_open_files,
        report::{Bar, Bound, Report},
    },
    Http, Measurements, SECONDS, Selection,
    comparison::{Comparison, Figure, Judgement},
    config::{Backend, Front},
    contender::Contender,
    idle,
    load::{Load, Pace},
    offer::{Exchange, Offer, Sessions},
    request::Shape,
    run, secure,
};
use crate::failure::Failure;

const HANDSHAKE_RATIO_MIN: f64 = 2.0;
const HTTP2_RATIO_MAX: f64 = 0.8;
const BODY_RATIO_MIN: f64 = 1.4;
const IDLE_RATIO_MAX: f64 = 1.0;

/// So many clients, each of which connects again as soon as it was answered.
const HANDSHAKES_AT_ONCE: u32 = 32;

/// Those that can be compared in everything but bodies.
const PEERS: &[Contender] = &[Contender::Tambat, Contender::Nginx, Contender::Haproxy];

/// What can be selected, in the order of the report.
pub(in super::super) const MEASUREMENTS: Measurements = &[
    ("handshakes", handshakes),
    ("resumed", |http, report| {
        let offer = Offer { sessions: Sessions::Resumed, ..Offer::HTTP1 };
        anew(http, report, "Resumed TLS 1.3 handshakes, X25519", PEERS, offer, Vec::new())
    }),
    ("x25519mlkem768", hybrid),
    ("h2-32x4", |http, report| http2(http, report, 32, 4)),
    ("h2-8x100", |http, report| http2(http, report, 8, 100)),
    ("body", body),
    ("idle", |http, report| idle(http, report, Offer::HTTP1, "HTTP/1.1")),
    ("idle-h2", |http, report| idle(http, report, Offer::http2(1), "HTTP/2")),
];

/// Everything that was selected.
pub(in super::super) fn measure(root: &Path, bench: &Bench, selection: &Selection) -> Result<(), Failure> {
    raise_open_files()?;
    let files = secure::certificates(&bench.dir)?;
    run(root, &Http { bench, selection, front: Front::Tls(&files) }, MEASUREMENTS)
}

fn handshakes(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    let judgements = vec![judge_handshakes(&[Contender::Nginx]), judge_handshakes(&[Contender::Haproxy])];
    anew(http, report, "Full TLS 1.3 handshakes, X25519", PEERS, Offer::HTTP1, judgements)
}

/// Debian 12 has OpenSSL 3.0, which knows nothing of it: tambat is alone, unless another nginx was named.
fn hybrid(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    let able: &[_] = match http.selection.nginx {
        Some(_) => &[Contender::Tambat, Contender::Nginx],
        None => &[Contender::Tambat],
    };
    let offer = Offer { exchange: Exchange::X25519MlKem768, ..Offer::HTTP1 };
    let judgements = vec![judge_handshakes(&[Contender::Nginx])];
    anew(http, report, "Full TLS 1.3 handshakes, X25519MLKEM768", able, offer, judgements)
}

fn judge_handshakes(versus: &[Contender]) -> Judgement<'_> {
    Judgement {
        what: "full TLS 1.3 handshakes per processor second".to_owned(),
        figure: Figure::Answers,
        versus,
        bound: Bound::AtLeast(HANDSHAKE_RATIO_MIN),
    }
}

/// Each request on a connection of its own.
fn anew(
    http: &Http<'_>,
    report: &mut Report,
    title: &str,
    contenders: &[Contender],
    offer: Offer,
    judgements: Vec<Judgement<'_>>,
) -> Result<(), Failure> {
    Comparison {
        title: format!("{title}, one `GET` on each, {HANDSHAKES_AT_ONCE} at once"),
        contenders,
        backend: Backend::Small,
        log: false,
        load: Load { pace: Pace::Anew, ..load(http, HANDSHAKES_AT_ONCE, Shape::Plain, offer) },
        figures: &[Figure::Processor, Figure::Answers],
        judgements,
    }
    .run(http, report)
}

fn http2(http: &Http<'_>, report: &mut Report, connections: u32, streams: u32) -> Result<(), Failure> {
    Comparison {
        title: format!("HTTP/2 over TLS, {connections} connections with {streams} streams each, saturated"),
        contenders: PEERS,
        backend: Backend::Small,
        log: false,
        load: load(http, connections, Shape::Plain, Offer::http2(streams)),
        figures: &[Figure::Processor],
        judgements: vec![Judgement {
            what: format!("processor time per request of HTTP/2, {connections} × {streams} streams"),
            figure: Figure::Processor,
            versus: &[Contender::Nginx, Contender::Haproxy],
            bound: Bound::AtMost(HTTP2_RATIO_MAX),
        }],
    }
    .run(http, report)
}

fn body(http: &Http<'_>, report: &mut Report) -> Result<(), Failure> {
    Comparison {
        title: "Bodies of 10 MiB over TLS, 4 connections".to_owned(),
        contenders: &[Contender::Tambat, Contender::Nginx, Contender::NginxBuffers, Contender::Haproxy],
        backend: Backend::Large,
        log: false,
        load: load(http, 4, Shape::Large, Offer::HTTP1),
        figures: &[Figure::Bytes],
        judgements: vec![Judgement {
            what: "bytes per processor second over TLS, bodies of 10 MiB".to_owned(),
            figure: Figure::Bytes,
            versus: &[Contender::Nginx, Contender::NginxBuffers, Contender::Haproxy],
            bound: Bound::AtLeast(BODY_RATIO_MIN),
        }],
    }
    .run(http, report)
}

/// To the better of the two.
fn idle(http: &Http<'_>, report: &mut Report, offer: Offer, name: &str) -> Result<(), Failure> {
    let all = idle::compare(http, report, Some(offer))?;
    if let Some(seen) = to_the_better(&all) {
        let what = format!("memory for an idle connection of TLS and {name} (PSS), to nginx or HAProxy");
        report.judge(Bar { what, bound: Bound::AtMost(IDLE_RATIO_MAX), seen, unit: "×" });
    }
    Ok(())
}

/// Unless one of them was not asked for.
fn to_the_better(all: &[(Contender, f64)]) -> Option<f64> {
    let of = |contender| all.iter().find(|(other, _)| *other == contender).map(|(_, bytes)| *bytes);
    Some(of(Contender::Tambat)? / of(Contender::Nginx)?.min(of(Contender::Haproxy)?))
}

fn load(http: &Http<'_>, connections: u32, shape: Shape, offer: Offer) -> Load {
    let seconds = http.seconds(SECONDS);
    Load { connections, seconds, shape, pace: Pace::Saturated, offer: Some(offer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_compared_with_the_better_of_two_and_with_nobody_else() {
        let all = [(Contender::Tambat, 9.0), (Contender::Nginx, 20.0), (Contender::Haproxy, 18.0)];
        assert!((to_the_better(&all).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(to_the_better(&all[..2]), None);
    }

    #[test]
    fn its_measurements_are_selected_by_name() {
        assert!(Selection::parse(&["--only", "h2-32x4,idle"], MEASUREMENTS).unwrap().runs("idle"));
        assert!(Selection::parse(&["--only", "64"], MEASUREMENTS).is_err());
    }
}
