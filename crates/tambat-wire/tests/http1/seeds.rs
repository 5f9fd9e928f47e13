//! Every seed of the fuzz targets keeps the promises that the fuzzer looks for breaches of, and what becomes of each
//! stands in a snapshot.

use std::fmt::Write as _;
use std::path::Path;

use insta::assert_snapshot;
use tambat_wire::http1::{ChunkDecoder, Framing, Piece};

use crate::http1::play::{Play, Scene, play};
use crate::http1::{http1_chunks, http1_exchange, http1_request, http1_response, split};
use crate::http2::http2_request;

/// The seeds of a target with their names, in alphabetical order.
pub(crate) fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut seeds: Vec<_> = files.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect();
    seeds.sort();
    assert!(seeds.len() >= 10, "{}: {} seeds", folder.display(), seeds.len());
    seeds
}

/// One answer for every request that could come.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_keep_their_meaning() {
    seeds("http1_request").iter().for_each(|(_, seed)| http1_request(seed));
}

#[test]
fn requests_of_http2_keep_their_meaning() {
    seeds("http2_request").iter().for_each(|(_, seed)| http2_request(seed));
}

/// The seeds with each byte changed, one at a time: what a fuzzer does first.
#[test]
fn requests_of_http2_that_are_a_byte_off_keep_their_meaning() {
    for (_, seed) in seeds("http2_request") {
        for at in 0..seed.len() {
            for byte in [0, b'\r', b'\n', b' ', b':', b'A', 0x7f, 0xff, seed[at] ^ 1, seed[at].wrapping_add(1)] {
                let mut changed = seed.clone();
                changed[at] = byte;
                http2_request(&changed);
            }
        }
    }
}

#[test]
fn responses_keep_their_meaning() {
    seeds("http1_response").iter().for_each(|(_, seed)| http1_response(seed));
}

#[test]
fn chunks_keep_their_meaning() {
    seeds("http1_chunks").iter().for_each(|(_, seed)| http1_chunks(seed));
}

#[test]
fn exchanges_keep_their_meaning() {
    seeds("http1_exchange").iter().for_each(|(_, seed)| http1_exchange(seed));
}

#[test]
fn what_becomes_of_each_request() {
    assert_snapshot!(table("http1_request", |seed| {
        let answers = vec![ANSWER; 64];
        let play = play(&Scene { client: seed, answers, ..Scene::default() });
        said(&play, |played| {
            let body = match played.facts.framing {
                Framing::None => String::new(),
                Framing::Length(bytes) => format!(" +{bytes}"),
                Framing::Chunked => " +chunks".to_owned(),
            };
            let path: String = played.path.chars().take(40).collect();
            format!("{} {path}{body}", played.method)
        })
    }));
}

#[test]
fn what_becomes_of_each_response() {
    let client = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_snapshot!(table("http1_response", |seed| {
        let play = play(&Scene { client, answers: vec![seed], ..Scene::default() });
        said(&play, |played| played.final_status.map_or("-".to_owned(), |status| status.to_string()))
    }));
}

#[test]
fn what_becomes_of_each_exchange() {
    assert_snapshot!(table("http1_exchange", |seed| {
        let mut parts = split(seed).into_iter();
        let (schedule, client) = (parts.next().unwrap(), parts.next().unwrap());
        let play = play(&Scene { client, answers: parts.collect(), schedule, ..Scene::default() });
        said(&play, |played| {
            let status = played.final_status.map_or("-".to_owned(), |status| status.to_string());
            format!("{} {} {status} at target {}", played.method, played.path, played.target)
        })
    }));
}

#[test]
fn what_becomes_of_each_body() {
    assert_snapshot!(table("http1_chunks", |seed| {
        let (mut decoder, mut at, mut bytes) = (ChunkDecoder::default(), 0, 0);
        loop {
            match decoder.decode(&seed[at..]) {
                Err(error) => return format!("{bytes} bytes, then: {error}"),
                Ok(decoded) => {
                    at += decoded.used;
                    match decoded.piece {
                        Piece::Data(data) => bytes += data.len(),
                        Piece::Nothing => return format!("{bytes} bytes, then more has to come"),
                        Piece::End(trailers) => return format!("{bytes} bytes, {} of trailers", trailers.len()),
                    }
                }
            }
        }
    }));
}

fn table(target: &str, what: impl Fn(&[u8]) -> String) -> String {
    seeds(target).iter().fold(String::new(), |mut table, (name, seed)| {
        writeln!(table, "{name}: {}", what(seed)).unwrap();
        table
    })
}

/// What became of a client's connection; what is said of several requests in a row in the same words is said once.
fn said(play: &Play, exchange: impl Fn(&crate::http1::play::Played) -> String) -> String {
    let mut parts: Vec<(String, usize)> = Vec::new();
    let endings = play.exchanges.iter().map(|played| match played.outcome {
        Ok(over) => format!("{} ({:?}, {:?})", exchange(played), over.client, over.target),
        Err(fault) => format!("{} ({}: {})", exchange(played), fault.code, fault.cause),
    });
    let refusal = play.refusal.map(|refusal| format!("REFUSED {}: {}", refusal.code, refusal.cause));
    for part in endings.chain(refusal) {
        match parts.last_mut() {
            Some((last, times)) if *last == part => *times += 1,
            _ => parts.push((part, 1)),
        }
    }
    if parts.is_empty() {
        return "nothing".to_owned();
    }
    let parts = parts.into_iter().map(|(part, times)| if times > 1 { format!("{times} x {part}") } else { part });
    parts.collect::<Vec<_>>().join(" | ")
}
