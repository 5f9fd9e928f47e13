//! Group F: slow clients, big bodies, many connections, full disks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, End, PATIENCE};
use super::memory::resident_kib;
use super::recorder::{Recorder, Then};
use super::stage::{HOST, Setting, Stage, file, must_be_one_of};
use crate::support::{Routed, most_files, pause, until};

/// So many, where the limits allow it.
const SLOW_CLIENTS: u64 = 10_000;

/// What the rest of a test needs of its open files.
const FILES_SPARED: u64 = 500;

/// Requests on connections of their own, one after the other, until it is told to end: how many were answered, and how
/// many were not.
fn good_client(addr: SocketAddr, ended: &AtomicBool) -> (usize, usize) {
    let (mut good, mut bad) = (0, 0);
    while !ended.load(Ordering::Relaxed) {
        let mut client = Client::connect(addr);
        client.send(format!("GET /good/beside HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
        match client.try_answer(false) {
            Ok(answer) if answer.status == 200 => good += 1,
            _ => bad += 1,
        }
    }
    (good, bad)
}

/// Runs this beside a good client, all of whose requests must be answered.
fn beside_a_good_client<T>(addr: SocketAddr, work: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let good = scope.spawn(|| good_client(addr, &ended));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        ended.store(true, Ordering::Relaxed);
        let (good, bad) = good.join().unwrap();
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(good > 0 && bad == 0, "{good} good requests were answered, {bad} were not");
        done
    })
}

/// What the allocator may keep of each, when all of them were answered and lingered at once.
const SLOW_CLIENT_KIB_MAX: u64 = 10;

#[test]
fn f01_ten_thousand_clients_that_send_a_byte_now_and_then() {
    let count = SLOW_CLIENTS.min(most_files() - FILES_SPARED);
    let stage = Stage::set(&Setting { router: "timeouts = { head = \"2s\" }", ..Setting::default() });
    stage.good();
    let before = resident_kib(stage.router.pid());
    let ends = beside_a_good_client(stage.router.addr, || {
        let mut clients: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(stage.router.addr).unwrap()).collect();
        // A byte does not give anybody more time: it is the head that has to be there.
        for byte in b"GET /" {
            for client in &mut clients {
                let _ = client.write_all(&[*byte]);
            }
            pause(Duration::from_millis(300));
        }
        clients.into_iter().map(how_it_ended).collect::<Vec<String>>()
    });
    let unlike: Vec<&String> =
        ends.iter().filter(|text| !(text.is_empty() || text.starts_with("HTTP/1.1 408 "))).collect();
    assert!(unlike.is_empty(), "{} of {count}: {:?}", unlike.len(), unlike.first());
    stage.good();
    let grown = resident_kib(stage.router.pid()).saturating_sub(before);
    assert!(grown < SLOW_CLIENT_KIB_MAX * count, "{grown} KiB for {count} connections that are gone");
    assert!(stage.app.log().requests.iter().all(|request| request.path.starts_with("/good")));
}

/// Everything until the router closes, which it must.
fn how_it_ended(mut client: TcpStream) -> String {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    match client.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => return format!("not closed: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn f01_a_head_that_never_comes() {
    let limits = "timeouts = { head = \"400ms\", keep_alive = \"400ms\" }";
    let stage = Stage::set(&Setting { router: limits, ..Setting::default() });
    for part in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: shop.example\r\n", "\r\n"] {
        let mut client = stage.send(part);
        must_be_one_of(&client.answer(), &[(408, "head-timeout")], part);
        client.must_be_closed(part);
        stage.good();
    }
    // Nothing at all, at the beginning and after an answer: no answer to nothing.
    let mut silent = stage.client();
    silent.must_be_closed("silence");
    let mut idle = stage.send(&format!("GET /good/idle HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(idle.answer().status, 200);
    idle.must_be_closed("idle");
    // Half a head after an answer.
    let mut half = stage.send(&format!("GET /good/half HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /"));
    assert_eq!(half.answer().status, 200);
    must_be_one_of(&half.answer(), &[(408, "head-timeout")], "the second head");
    half.must_be_closed("half");
    stage.good();
    assert_eq!(stage.app.strangers(), Vec::<String>::new());
}

#[test]
fn f02_a_body_that_comes_to_a_standstill() {
    let stage = Stage::set(&Setting { router: "timeouts = { body_idle = \"500ms\" }", ..Setting::default() });
    let framings = [
        ("Content-Length: 100", "hello"),
        ("Content-Length: 100", ""),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhe"),
        ("Transfer-Encoding: chunked", "5"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
    ];
    for (framing, part) in framings {
        let mark = stage.mark();
        let mut client = stage.send(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n{part}"));
        must_be_one_of(&client.answer(), &[(408, "body-timeout")], part);
        client.must_be_closed(part);
        let request = stage.app.request(&mark);
        stage.app.until_closed(request.connection);
        assert!(!stage.app.request(&mark).whole, "{framing} {part:?}");
        stage.good();
    }
    // Slow is not still, although in all it takes longer.
    let stage = Stage::set(&Setting { router: "timeouts = { body_idle = \"2s\" }", ..Setting::default() });
    let mut client = stage.send(&format!("POST /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n"));
    for byte in b"hello" {
        pause(Duration::from_millis(500));
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "saw POST /slow");
    assert_eq!(stage.app.request("/slow").body, b"hello");
    stage.good();
}

#[test]
fn f03_a_client_that_hardly_reads() {
    let poured = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&poured);
    let app = Recorder::playing(move |visit, request| {
        visit.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX / 2));
        let piece = vec![b'x'; 0x10000];
        while visit.send(&piece) {
            counter.fetch_add(piece.len(), Ordering::Relaxed);
        }
        assert!(request.path.contains("endless"));
        Then::Close
    });
    let setting = Setting {
        router: "timeouts = { body_idle = \"1s\" }\naccess_log = \"access.log\"",
        route: "timeouts = { response_idle = \"20s\" }",
        top: "",
    };
    let stage = Stage::of(app, &setting);
    stage.good();
    let before = resident_kib(stage.router.pid());
    let mut client = stage.send(&format!("GET /endless HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let request = stage.app.arrived("/endless");
    // A byte now and then lets nothing more come: the window stays shut.
    let deadline = Instant::now() + PATIENCE;
    let mut byte = [0];
    client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    while !stage.app.log().connections[request.connection].closed && Instant::now() < deadline {
        let _ = client.stream().read(&mut byte);
        pause(Duration::from_millis(100));
    }
    stage.app.until_closed(request.connection);
    let grown = resident_kib(stage.router.pid()).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB for one client; the app sent {} bytes", poured.load(Ordering::Relaxed));
    // What is left of it ends, and not as if it were whole.
    let mut rest = [0; 0x4000];
    let end = loop {
        match client.stream().read(&mut rest) {
            Ok(0) => break End::Closed,
            Ok(_) => {}
            Err(_) => break End::Reset,
        }
    };
    assert_eq!(end, End::Reset);
    let log = stage.router.dir().path().join("access.log");
    until("its line in the access log", || {
        std::fs::read_to_string(&log)
            .ok()?
            .lines()
            .find(|line| line.contains("/endless") && line.contains("client-stalled"))
            .map(drop)
    });
    stage.good();
}

/// Few enough to be used up.
const FILES: &str = "96";

/// Processor time that a process has used so far.
pub(super) fn processor_time(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = text.rsplit_once(')').unwrap().1;
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    // Linux has counted in hundredths of a second towards user space since 2.6.
    Duration::from_millis(ticks * 10)
}

#[test]
fn f05_more_connections_than_files() {
    let stage =
        Stage::set(&Setting { top: "listen = [\"127.0.0.1:0\"]", router: "metrics = \"127.0.0.1:0\"", route: "" });
    let metrics = stage.router.address("metrics ");
    stage.good();
    let pid = stage.router.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={FILES}:{FILES}")]).status().unwrap();
    assert!(limited.success());
    let mut there = stage.send(&format!("GET /good/first HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(there.answer().status, 200);
    let crowd: Vec<Client> = (0..300).map(|_| stage.client()).collect();
    let said = stage.router.err_line("cannot take more connections");
    assert!(said.contains("ulimit -n"), "{said}");
    // It does not spin while it waits for room.
    let (from, used) = (Instant::now(), processor_time(stage.router.pid()));
    pause(Duration::from_secs(2));
    let spent = processor_time(stage.router.pid()).saturating_sub(used);
    let share = spent.as_secs_f64() / from.elapsed().as_secs_f64();
    assert!(share < 0.3, "{:.0} % of a processor for nothing", share * 100.0);
    // Who was there is served on, and over the same connection to the app.
    for nth in 0..20 {
        there.send(format!("GET /good/there/{nth} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(there.answer().text(), format!("saw GET /good/there/{nth}"));
    }
    drop(crowd);
    stage.good();
    assert!(metric(metrics, "tambat_accept_pauses_total") > 0, "the pauses are counted");
}

/// The sum of a metric's series.
pub(super) fn metric(addr: SocketAddr, name: &str) -> u64 {
    let page = metrics_page(addr);
    let lines =
        page.lines().filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn metrics_page(addr: SocketAddr) -> String {
    let mut client = Client::connect(addr);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"));
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text()
}

const CAP: usize = 256;

#[test]
fn f06_one_address_and_its_connections() {
    most_files();
    let top = "listen = [\"127.0.0.1:0\", \"[::1]:0\"]";
    let stage = Stage::set(&Setting { top, router: &format!("max_connections = {CAP}"), route: "" });
    let v6 = stage
        .router
        .lines("listening ", 2)
        .iter()
        .find_map(|line| line.strip_prefix("listening [::1]:").map(str::to_owned));
    let v6: SocketAddr = format!("[::1]:{}", v6.unwrap()).parse().unwrap();
    let (mut served, mut refused, mut kept) = (0, 0, Vec::new());
    for _ in 0..5000 {
        let mut client = stage.client();
        client.send_what_goes(format!("GET /good/crowd HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        match client.try_answer(false) {
            Ok(answer) if answer.status == 200 => {
                served += 1;
                kept.push(client);
            }
            Ok(answer) => {
                must_be_one_of(&answer, &[(429, "too-many-connections")], "beyond the cap");
                assert!(answer.field("retry-after").is_some(), "{answer:?}");
                client.must_be_closed("beyond the cap");
                refused += 1;
            }
            // Closed is as good.
            Err(broken) => {
                assert!(broken.end != End::Open && broken.part.is_empty(), "{broken:?}");
                refused += 1;
            }
        }
        if refused == 1 {
            // Others are as before.
            let mut other = Client::connect(v6);
            other.send(format!("GET /good/other HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
            assert_eq!(other.answer().text(), "saw GET /good/other");
        }
    }
    assert_eq!((served, refused), (CAP, 5000 - CAP));
    assert_eq!(stage.app.requests("/good/crowd").len(), CAP);
    // Those who are there are served on; and when they go, there is room.
    let first = kept.first_mut().unwrap();
    first.send(format!("GET /good/again HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(first.answer().text(), "saw GET /good/again");
    drop(kept);
    until("room for another", || {
        let mut client = stage.client();
        client
            .send_what_goes(format!("GET /good/room HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes());
        client.try_answer(false).ok().filter(|answer| answer.status == 200).map(drop)
    });
    stage.good();
}

#[test]
fn f07_a_body_that_is_too_big() {
    let stage = Stage::set(&Setting { route: "max_body = \"1KiB\"", ..Setting::default() });
    let too_big: &[(u16, &str)] = &[(413, "body-too-big")];
    for expect in ["", "Expect: 100-continue\r\n"] {
        for length in ["1025", "1000000000", "18446744073709551615"] {
            let text = format!("POST /evil HTTP/1.1\r\nHost: {HOST}\r\n{expect}Content-Length: {length}\r\n\r\n");
            let mut client = stage.send(&text);
            must_be_one_of(&client.answer(), too_big, length);
            client.send_what_goes(format!("GET /evil HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
            client.must_be_closed(length);
            stage.good();
            assert_eq!(stage.app.strangers(), Vec::<String>::new(), "before it is passed on");
        }
    }
    // Nobody knows how long a chunked one is before it is there.
    let chunk = format!("100\r\n{}\r\n", "x".repeat(0x100));
    for body in
        [chunk.repeat(5), format!("401\r\n{}\r\n", "x".repeat(0x401)), format!("fffffff\r\n{}", "x".repeat(2000))]
    {
        let mark = stage.mark();
        let mut client = stage.client();
        let text =
            format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n");
        client.send_beside(text.into_bytes());
        must_be_one_of(&client.answer(), too_big, &mark);
        client.must_be_closed(&mark);
        for request in stage.app.requests(&mark) {
            stage.app.until_closed(request.connection);
            let request = stage.app.request(&mark);
            assert!(!request.whole && request.body.len() <= 1024, "{} bytes", request.body.len());
        }
        stage.good();
    }
    // What just fits goes through.
    let body = "x".repeat(1024);
    for framing in [
        format!("Content-Length: 1024\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(4)),
    ] {
        let mark = stage.mark();
        assert_eq!(stage.exchange(&format!("POST /{mark} HTTP/1.1\r\nHost: {HOST}\r\n{framing}")).status, 200);
        assert_eq!(stage.app.request(&mark).body.len(), 1024);
    }
    stage.good();
}

#[test]
fn f08_a_full_disk_under_the_access_log() {
    // Every write to it fails for want of room.
    let stage = Stage::set(&Setting { router: "access_log = \"/dev/full\"", ..Setting::default() });
    for nth in 0..200 {
        let mark = stage.mark();
        let answer = stage.exchange(&format!("GET /{mark} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(answer.text(), format!("saw GET /{mark}"), "{nth}");
    }
    let said = stage.router.err_line("access log");
    assert!(said.contains("No space left"), "{said}");
    stage.good();
    // It is said once, not with every line.
    let words = stage.router.stderr().iter().filter(|line| line.contains("No space left")).count();
    assert_eq!(words, 1, "{:?}", stage.router.stderr());
}

const HOSTNAMES: usize = 100_000;

/// In one segment.
const TOGETHER: usize = 200;

/// Asks for so many names that nobody has asked for before.
fn flood(client: &mut Client, from: usize) {
    let requests: Vec<String> = (from..from + TOGETHER)
        .map(|nth| format!("GET /{nth} HTTP/1.1\r\nHost: h{nth}.random.example\r\n\r\n"))
        .collect();
    client.send(requests.concat());
    let (mut answers, mut line) = (client.reader(), String::new());
    for _ in 0..TOGETHER {
        let (status, body) = Client::quick_answer(&mut answers, &mut line);
        assert!(status == 404 && body.contains("\"no-route\""), "{status} {body}");
    }
}

#[test]
fn f09_a_hundred_thousand_hostnames() {
    let app = Recorder::start();
    let router = Routed::start(&file(app.addr, &Setting { router: "metrics = \"127.0.0.1:0\"", ..Setting::default() }));
    let metrics = router.address("metrics ");
    let mut client = Client::connect(router.addr);
    flood(&mut client, 0);
    client.send(format!("GET /good HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.answer().status, 200);
    let (series, before) = (metrics_page(metrics).lines().count(), resident_kib(router.pid()));
    for from in (TOGETHER..HOSTNAMES).step_by(TOGETHER) {
        flood(&mut client, from);
    }
    let page = metrics_page(metrics);
    assert_eq!(page.lines().count(), series, "as many series as before");
    assert!(!page.contains("random.example"), "{page}");
    assert!(metric(metrics, "tambat_requests_total") >= HOSTNAMES as u64, "all of them are counted, together: {page}");
    let grown = resident_kib(router.pid()).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB for {HOSTNAMES} names");
    // Nothing is said of each of them.
    assert!(router.stderr().len() < 10, "{:?}", router.stderr());
    client.send(format!("GET /good HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.answer().status, 200);
    assert_eq!(app.log().requests.len(), 2);
}
