//! What is sent on means the same to hyper and to Python as it does to the engine: as many requests, with the same
//! methods, targets, fields and bodies; and as many answers. Nobody finds a request that was not sent.

use tambat_wire::http1::{MethodKind, Version};

use crate::generate::{answer, client, mutated, schedule};
use crate::http1::Random;
use crate::http1::judge::{got_bytes, judge, sent_bytes};
use crate::http1::play::{Play, Played, Scene, client_first, play};
use crate::http1::reader::{Field, Length, Message, length, text};
use crate::http1::split;
use crate::hyper::Hyper;
use crate::python::Python;
use crate::seeds::{ANSWER, seeds};

/// So many connections are made up for each test.
const MADE_UP: u64 = 2_500;

/// Who asks for what the seeds of responses answer.
const CLIENTS: [&str; 4] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
];

/// A connection of a client, and what is answered.
#[derive(Debug, Default)]
struct Case {
    name: String,
    client: Vec<u8>,
    answers: Vec<Vec<u8>>,
    schedule: Vec<u8>,
    trusts_peer: bool,
}

/// How much was looked at.
#[derive(Debug, Default)]
struct Seen {
    whole: usize,
    not_whole: usize,
    refused: usize,
}

impl Case {
    fn play(&self) -> Play {
        let answers = self.answers.iter().map(Vec::as_slice).collect();
        let Self { client, schedule, trusts_peer, .. } = self;
        play(&Scene { client, answers, schedule, trusts_peer: *trusts_peer, body_bytes_max: None })
    }
}

fn of_seeds() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, client) in seeds("http1_request") {
        for trusts_peer in [false, true] {
            let (name, client, answers) = (name.clone(), client.clone(), vec![ANSWER.to_vec(); 64]);
            cases.push(Case { name, client, answers, trusts_peer, ..Case::default() });
        }
    }
    for (name, answer) in seeds("http1_response") {
        for client in CLIENTS {
            let (name, client, answers) = (name.clone(), client.as_bytes().to_vec(), vec![answer.clone()]);
            cases.push(Case { name, client, answers, ..Case::default() });
        }
    }
    for (name, seed) in seeds("http1_exchange") {
        let mut parts = split(&seed).into_iter().map(<[u8]>::to_vec);
        let (schedule, client) = (parts.next().unwrap(), parts.next().unwrap());
        cases.push(Case { name, client, answers: parts.collect(), schedule, ..Case::default() });
    }
    cases
}

/// Whose bytes are not what an honest one would send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Villain {
    Client,
    Target,
}

fn cases(villain: Villain) -> Vec<Case> {
    let mut cases = of_seeds();
    let seeds = cases.len();
    for seed in 0..MADE_UP {
        let mut random = Random(seed);
        let (mut client, mut answers) = (client(&mut random), (0..4).map(|_| answer(&mut random)).collect::<Vec<_>>());
        let mut schedule = schedule(&mut random);
        if random.below(6) == 0 {
            let from = &cases[random.below(seeds)];
            (client, answers) = (from.client.clone(), from.answers.clone());
        }
        match villain {
            Villain::Client if random.below(4) > 0 => client = mutated(client, &mut random),
            Villain::Client => {}
            Villain::Target => {
                answers = answers.into_iter().map(|answer| spoilt(answer, &mut random)).collect();
                let scene = Scene { client: &client, answers: vec![&[0; 1_000]], ..Scene::default() };
                schedule = client_first(&scene, || u8::try_from(random.below(64)).unwrap());
            }
        }
        let trusts_peer = random.below(3) == 0;
        cases.push(Case { name: format!("made up {seed}"), client, answers, schedule, trusts_peer });
    }
    cases
}

fn spoilt(mut answer: Vec<u8>, random: &mut Random) -> Vec<u8> {
    match random.below(5) {
        0 | 1 => answer,
        2 | 3 => mutated(answer, random),
        _ => {
            // In the body rather than in the head.
            answer.truncate(answer.len() - random.below(answer.len() / 4 + 1));
            answer
        }
    }
}

/// Holds what was sent to the targets against what this reader makes of it.
fn requests(mut read: impl FnMut(&[u8]) -> (Vec<Message>, Option<String>), refuses: impl Fn(&Message) -> bool) {
    let mut seen = Seen::default();
    for case in cases(Villain::Client) {
        let play = case.play();
        seen.refused += usize::from(play.refusal.is_some());
        let (by_connection, _) = judge(&play);
        for (nth, meant) in by_connection.into_iter().enumerate() {
            let (found, broken) = read(sent_bytes(&play, nth));
            let meant: Vec<Message> = meant.into_iter().map(Message::sorted).collect();
            let found: Vec<Message> = found.into_iter().map(Message::sorted).collect();
            let taken = meant.iter().position(&refuses).unwrap_or(meant.len());
            let said = || format!("{}: {:?}\nread as {found:#?} {broken:?}", case.name, text(&case.client));
            assert!(found == meant[..taken], "{}\nbut was meant as {meant:#?}", said());
            if taken == meant.len() && meant.iter().all(|message| message.is_whole) {
                assert_eq!(broken, None, "{}", said());
            }
            seen.whole += found.iter().filter(|message| message.is_whole).count();
            seen.not_whole += found.iter().filter(|message| !message.is_whole).count();
        }
    }
    assert!(seen.whole > 2_000 && seen.not_whole > 100 && seen.refused > 500, "{seen:?}");
}

#[test]
fn hyper_reads_the_requests_that_were_meant() {
    let hyper = Hyper::start();
    requests(|bytes| hyper.requests(bytes), hyper_refuses);
}

/// What hyper does not take, and answers with 400: characters in a path that RFC 3986 would have encoded.
fn hyper_refuses(message: &Message) -> bool {
    let path = message.start.split(['?', ' ']).nth(1).unwrap();
    path.contains(['<', '>', '`']) || is_endless(message)
}

/// The two greatest lengths mean something else to hyper.
fn is_endless(message: &Message) -> bool {
    matches!(length(&message.fields), Length::Bytes(u64::MAX | 0xffff_ffff_ffff_fffe))
}

#[test]
fn python_reads_the_requests_that_were_meant() {
    let mut python = Python::start();
    requests(
        |bytes| {
            let read = python.requests(bytes);
            (read.messages, read.broken)
        },
        |_| false,
    );
}

#[test]
fn hyper_reads_the_answers_that_were_meant() {
    let (hyper, mut seen) = (Hyper::start(), Seen::default());
    for case in cases(Villain::Target) {
        let play = case.play();
        let (_, answers) = judge(&play);
        let mut finals = answers.into_iter().filter(is_final);
        for played in play.exchanges.iter().filter(|played| played.final_status.is_some()) {
            let meant = without_reason(finals.next().unwrap());
            let found = hyper.response(&play.to_client[played.got.clone()], played.facts.method == MethodKind::Head);
            let said = || format!("{}: {played:#?}\nread as {found:#?}\nbut was meant as {meant:#?}", case.name);
            match &found {
                Ok(found) => assert!(is_same(found.clone(), &meant, played), "{}", said()),
                Err(_) => assert!(is_endless(&meant), "{}", said()),
            }
            seen.whole += usize::from(meant.is_whole);
            seen.not_whole += usize::from(!meant.is_whole);
        }
    }
    assert!(seen.whole > 2_000 && seen.not_whole > 100, "{seen:?}");
}

#[test]
fn python_reads_the_answers_that_were_meant() {
    let (mut python, mut seen) = (Python::start(), Seen::default());
    for case in cases(Villain::Target) {
        let play = case.play();
        let (_, answers) = judge(&play);
        // Python passes over each 100 by itself.
        let meant = answers.into_iter().filter(|message| message.status() != 100).map(without_reason);
        let meant: Vec<Message> = meant.map(|message| Message { trailers: Vec::new(), ..message }).collect();
        let are_heads: Vec<bool> =
            play.exchanges.iter().map(|played| played.facts.method == MethodKind::Head).collect();
        let read = python.responses(got_bytes(&play), &are_heads);
        let said = || format!("{}: {play:#?}\nread as {read:#?}\nbut was meant as {meant:#?}", case.name);
        assert_eq!((read.messages.len(), read.left), (meant.len(), 0), "{}", said());
        for (found, meant) in read.messages.iter().zip(&meant) {
            let played = play.exchanges.last().unwrap();
            // What it has read of a chunk that is cut off, it does not tell.
            let is_cut = !meant.is_whole && length(&meant.fields) == Length::Chunks;
            let body = if is_cut { meant.body.clone() } else { found.body.clone() };
            assert!(is_same(Message { body, ..found.clone() }, meant, played), "{}", said());
            seen.whole += usize::from(meant.is_whole);
            seen.not_whole += usize::from(!meant.is_whole);
        }
    }
    assert!(seen.whole > 2_000 && seen.not_whole > 100, "{seen:?}");
}

fn is_final(message: &Message) -> bool {
    message.status() >= 200 || message.status() == 101
}

/// Nobody reads the reason phrase (RFC 9112 §4).
fn without_reason(message: Message) -> Message {
    Message { start: message.start[..12].to_owned(), ..message }.sorted()
}

/// A body that lasts until the connection is closed looks whole when the connection was reset: only then.
fn is_same(found: Message, meant: &Message, played: &Played) -> bool {
    let is_bare = played.facts.version == Version::Http10 && length(&meant.fields) == Length::Unsaid;
    let is_whole = if is_bare { found.is_whole } else { meant.is_whole };
    found.sorted() == Message { is_whole, ..meant.clone() }.sorted()
}

#[test]
fn what_nobody_sent_is_found() {
    // The readers would see a second request if there were one.
    let evil = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n";
    let starts = |found: Vec<Message>| found.into_iter().map(|message| message.start).collect::<Vec<_>>();
    let both = ["GET / HTTP/1.1", "GET /evil HTTP/1.1"];
    assert_eq!(starts(Hyper::start().requests(evil).0), both);
    let mut python = Python::start();
    assert_eq!(starts(python.requests(evil).messages), both);
    // And a body that is cut off, and fields as they are.
    let cut = b"POST / HTTP/1.1\r\nHost: a\r\nX: caf\xe9 \r\nContent-Length: 9\r\n\r\nhel";
    for found in [Hyper::start().requests(cut).0, python.requests(cut).messages] {
        let [message] = &found[..] else { panic!("{found:?}") };
        assert!(!message.is_whole && message.body == b"hel" && message.fields.contains(&Field::new("x", "caf\u{e9}")));
    }
}
