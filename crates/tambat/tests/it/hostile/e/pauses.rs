//! Who was closed for a flood comes back slower, and nobody else does.
//!
//! A pause begins after the moment at which its flood began, so that what is served behind so many pauses is served so much
//! later than the first of them: that holds however slow the machine is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::client::{Client, Next, PATIENCE};
use super::frames::{END_HEADERS, ENHANCE_YOUR_CALM, PREFACE, PROTOCOL_ERROR, get, headers, ping, request, settings};
use crate::hostile::f::metric;
use crate::hostile::recorder::Recorder;
use crate::hostile::stage::{HOST, Setting, Stage};
use crate::support::{AppDir, Ca, Routed};

/// The first pauses of an address that goes on, in milliseconds.
const PAUSES_MS: [u64; 5] = [100, 200, 400, 800, 1_600];

/// So many connections of one address may wait.
const WAITING_MAX: usize = 32;

/// With metrics.
fn stage(router: &str) -> (Stage, SocketAddr) {
    let stage = Stage::set(&Setting { router: &format!("metrics = \"127.0.0.1:0\"\n{router}"), ..Setting::default() });
    let metrics = stage.router.address("metrics ");
    (stage, metrics)
}

fn paused(metrics: SocketAddr) -> u64 {
    metric(metrics, "tambat_connections_paused_total")
}

/// Time that must have passed once this many pauses are over.
fn pauses(count: usize) -> Duration {
    Duration::from_millis(PAUSES_MS[..count].iter().sum())
}

/// Begins and floods at once, whenever it may: it is closed for that.
#[track_caller]
fn floods(mut client: Client) {
    client.send([PREFACE, &settings(&[]), &ping(&[7; 8]).repeat(600)].concat());
    assert_eq!(client.goaway("a flood").0, ENHANCE_YOUR_CALM);
    client.must_end("a flood");
}

/// So many times from this address, one behind the other.
#[track_caller]
fn floods_again(stage: &Stage, from: Ipv4Addr, times: usize) {
    (0..times).for_each(|_| floods(Client::raw_from(from, stage.router.addr)));
}

/// A client that has asked without having heard anything.
fn asks(mut client: Client, path: &str) -> Client {
    client.send([PREFACE, &settings(&[]), &get(1, path)].concat());
    client
}

/// Asks others until this one is answered, and so many times at least: that none of them waited says who counts those who do.
#[track_caller]
fn beside(waiting: &mut Client, mut ask: impl FnMut()) {
    const TIMES_MIN: usize = 5;
    let (mut is_answered, mut asked) = (false, 0);
    while !is_answered || asked < TIMES_MIN {
        is_answered = is_answered
            || match waiting.next(Duration::from_millis(1)) {
                Next::Frame(_) => true,
                Next::Nothing => false,
                Next::End => panic!("it was closed"),
            };
        ask();
        asked += 1;
    }
}

#[test]
fn who_floods_is_served_less_and_less_often_and_nobody_else_waits() {
    let (stage, metrics) = stage("");
    let from = stage.stranger();
    let mut there = Client::open_from(from, stage.router.addr);
    let begun = Instant::now();
    floods_again(&stage, from, 4);
    assert!(begun.elapsed() >= pauses(3), "{:?}", begun.elapsed());
    let mut waiting = asks(Client::raw_from(from, stage.router.addr), "/good/waiting");
    let mut nth = 0;
    beside(&mut waiting, || {
        // Who is there already, who comes from elsewhere, and who is there from elsewhere.
        there.send(get(2 * nth + 1, "/good/there"));
        assert_eq!(there.answer(2 * nth + 1).1, b"saw GET /good/there");
        stage.good();
        nth += 1;
    });
    assert!(begun.elapsed() >= pauses(4), "{:?}", begun.elapsed());
    // It has done nothing, and is served as ever.
    assert_eq!(waiting.answer(1).1, b"saw GET /good/waiting");
    waiting.must_be_alive("after its pause");
    assert_eq!(paused(metrics), 4, "three of the floods, and who waited");
    let said = stage.router.err_line("floods HTTP/2");
    assert!(said.contains(&format!("{from} floods HTTP/2: its new connections wait 0.1 s")), "{said}");
}

#[test]
fn so_many_wait_and_the_others_are_closed() {
    let (stage, metrics) = stage("");
    let from = stage.stranger();
    let begun = Instant::now();
    floods_again(&stage, from, PAUSES_MS.len());
    let before = paused(metrics);
    let all: Vec<Client> =
        (0..WAITING_MAX + 8).map(|_| asks(Client::raw_from(from, stage.router.addr), "/good/many")).collect();
    let served = all.into_iter().map(|mut client| match client.next(PATIENCE) {
        Next::Frame(_) => {
            assert_eq!(client.answer(1).1, b"saw GET /good/many");
            true
        }
        Next::End => false,
        Next::Nothing => panic!("it is left alone"),
    });
    let served: Vec<bool> = served.collect();
    assert!(begun.elapsed() >= pauses(PAUSES_MS.len()), "{:?}", begun.elapsed());
    assert_eq!(served.iter().filter(|served| **served).count(), WAITING_MAX, "{served:?}");
    assert!(served[..WAITING_MAX].iter().all(|served| *served), "who comes first: {served:?}");
    assert_eq!(paused(metrics) - before, WAITING_MAX as u64);
    stage.good();
}

#[test]
fn whoever_waits_is_closed_when_the_router_ends() {
    let (mut stage, _) = stage("");
    let from = stage.stranger();
    floods_again(&stage, from, PAUSES_MS.len());
    let mut waiting = asks(Client::raw_from(from, stage.router.addr), "/good/waiting");
    stage.good();
    assert_eq!(stage.router.stop(), 0);
    assert_eq!(waiting.next(PATIENCE), Next::End);
    assert!(stage.app.requests("/good/waiting").is_empty());
}

#[test]
fn many_that_break_rules_are_a_flood_and_some_are_none() {
    let (stage, metrics) = stage("");
    let from = stage.stranger();
    // A request without a path (RFC 9113 §8.3.1) would do; a stream that a client may not open (§5.1.1) ends it all.
    let breaks = || {
        let mut client = Client::raw_from(from, stage.router.addr);
        let opens = headers(2, END_HEADERS, &request("GET", "/evil", &[]));
        client.send([PREFACE, &settings(&[]), &opens].concat());
        assert_eq!(client.goaway("a stream of the server's").0, PROTOCOL_ERROR);
        client.must_end("a stream of the server's");
    };
    (0..50).for_each(|_| breaks());
    assert_eq!(paused(metrics), 0);
    // Until there are more at a time than that: 5 come back a second.
    let mut more = 0;
    while paused(metrics) == 0 {
        breaks();
        more += 1;
        assert!(more < 2_000, "it never pauses");
    }
    assert!(stage.app.requests("evil").is_empty());
    stage.good();
}

#[test]
fn trusted_peers_never_wait() {
    let (stage, metrics) = stage("trusted = \"127.1.0.0/16\"");
    let from = stage.stranger();
    floods_again(&stage, from, 20);
    assert_eq!(paused(metrics), 0);
}

#[test]
fn whom_a_header_names_waits_and_not_its_sender() {
    let (stage, metrics) = stage("proxy_protocol = \"127.1.0.0/16\"");
    let from = stage.stranger();
    let introduced = |client: &str| {
        let mut connection = Client::raw_from(from, stage.router.addr);
        connection.send(format!("PROXY TCP4 {client} 198.51.100.2 4711 8080\r\n"));
        connection
    };
    let begun = Instant::now();
    (0..4).for_each(|_| floods(introduced("192.0.2.7")));
    assert!(begun.elapsed() >= pauses(3), "{:?}", begun.elapsed());
    let mut waiting = asks(introduced("192.0.2.7"), "/good/waiting");
    beside(&mut waiting, || {
        let mut other = asks(introduced("192.0.2.8"), "/good/other");
        assert_eq!(other.answer(1).1, b"saw GET /good/other");
    });
    assert!(begun.elapsed() >= pauses(4), "{:?}", begun.elapsed());
    assert_eq!(waiting.answer(1).1, b"saw GET /good/waiting");
    assert_eq!(paused(metrics), 4);
    assert!(stage.router.err_line("floods HTTP/2").contains("192.0.2.7 floods"));
}

#[test]
fn no_hand_is_shaken_before_the_pause_is_over() {
    let (dir, ca, app) = (AppDir::new(), Ca::new("the CA"), Recorder::start());
    ca.signs(&[HOST]).write(&dir, "a");
    let dir = dir.file("ca.pem", ca.pem());
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n[router]\nmetrics = \"127.0.0.1:0\"\n[router.tls]\n\
         certificates = [{{ chain = \"a.pem\", key = \"a.key\" }}]\n[routes.shop]\nhosts = \"{HOST}\"\nhttps_redirect = false\n\
         targets = \"{}\"\n",
        app.addr
    );
    let stage = Stage::with(Routed::start_in(&dir, &toml, &["--workers", "1"]), app);
    let metrics = stage.router.address("metrics ");
    let line = stage.router.lines(" tls", 1).remove(0);
    let tls: SocketAddr = line.strip_prefix("listening ").unwrap().strip_suffix(" tls").unwrap().parse().unwrap();
    let from = stage.stranger();
    let begun = Instant::now();
    floods_again(&stage, from, 4);
    let to = format!("::127.0.0.1:{}", tls.port());
    let (url, from) = (format!("https://{HOST}/good/tls"), from.to_string());
    let answer = dir.curl(&["--cacert", "ca.pem", "--connect-to", &to, "--interface", &from, &url]).must_be(0);
    assert_eq!(answer.stdout, "saw GET /good/tls");
    assert!(begun.elapsed() >= pauses(4), "{:?}", begun.elapsed());
    assert_eq!((paused(metrics), metric(metrics, "tambat_tls_handshakes_total")), (4, 1));
}
