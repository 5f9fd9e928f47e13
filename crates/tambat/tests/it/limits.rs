//! Where something runs out, and what it costs to do nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{AppDir, LIMIT, Marked, marked, pause, until};

/// So many wake-ups a second are promised at most while nothing happens.
const WAKE_UPS_PER_S: f64 = 1.0;

/// What a look at the edge of the time adds.
const SLACK_PER_S: f64 = 0.5;

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(3);

/// Few enough that a test uses them up, more than tambat needs for itself.
const FILES: &str = "ulimit -n 64";

/// Each takes two of tambat's files: far more than there are.
const CLIENTS: usize = 50;

fn echo(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"first ").unwrap();
    stream
}

fn echoed(mut stream: TcpStream) -> String {
    stream.write_all(b"second").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn when_descriptors_run_out_those_there_go_on_and_it_recovers() {
    let app = AppDir::manifest("[processes.echo]\ncommand = \"tambat-fixture echo\"\nprotocol = \"tcp\"\n");
    let mut running = app.start_after(FILES, &[]);
    running.ready(&["echo"]);
    let port = app.port("echo");
    let there = echo(port);
    until("it to be carried", || (app.process("echo")["instances"][0]["open"] == 1).then_some(()));
    let crowd: Vec<TcpStream> = (0..CLIENTS).map(|_| echo(port)).collect();
    let said = running.err_line("cannot take more connections");
    assert!(said.contains(&format!("port {port}")) && said.contains("ulimit -n"), "{said}");
    assert_eq!(echoed(there), "first second");
    drop(crowd);
    assert_eq!(echoed(echo(port)), "first second");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_crowd_beyond_the_descriptors_is_served_in_the_end() {
    let app = AppDir::manifest("[processes.echo]\ncommand = \"tambat-fixture echo\"\nprotocol = \"tcp\"\n");
    let mut running = app.start_after(FILES, &[]);
    running.ready(&["echo"]);
    let port = app.port("echo");
    let crowd: Vec<TcpStream> = (0..CLIENTS).map(|_| echo(port)).collect();
    running.err_line("cannot take more connections");
    // Each one that ends makes room for one that has been waiting to be accepted.
    let served = crowd.into_iter().map(echoed).filter(|text| text == "first second").count();
    assert_eq!(served, CLIENTS);
    assert_eq!(running.stop(), 0);
}

/// Times that each of a process's threads went to sleep (`proc_pid_status(5)`).
fn switches(process: &Marked) -> BTreeMap<PathBuf, u64> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.pid)).unwrap().flatten();
    let of_thread = |path: &PathBuf| -> Option<u64> {
        // One that has nothing to do ends after a while.
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some(line.trim().parse().unwrap())
    };
    threads.filter_map(|thread| Some((thread.path(), of_thread(&thread.path())?))).collect()
}

/// tambat, its spawner and its keepers.
fn ours(app: &AppDir) -> Vec<Marked> {
    let mut all = marked(app.mark());
    all.retain(|process| process.name.starts_with("tambat") && process.name != "tambat-fixture");
    all
}

/// How often they woke up while nothing happened.
fn wake_ups_per_s(app: &AppDir) -> f64 {
    let all = || ours(app).iter().flat_map(switches).collect::<BTreeMap<_, _>>();
    let (before, from) = (all(), Instant::now());
    pause(IDLE);
    let after = all();
    // A thread that came or went has done something.
    let changed = before.keys().filter(|path| !after.contains_key(*path)).count();
    let since = |(path, count): (&PathBuf, &u64)| count - before.get(path).copied().unwrap_or_default();
    let total = after.iter().map(since).sum::<u64>() + changed as u64;
    f64::from(u32::try_from(total).unwrap()) / from.elapsed().as_secs_f64()
}

#[test]
fn servers_that_are_ready_wake_nobody_up() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\ninstances = 2\n\
         [processes.admin]\nprotocol = \"http\"\ncommand = \"tambat-fixture serve\"\n\
         [processes.quiet]\nprotocol = \"none\"\ncommand = \"tambat-fixture park\"\n",
    );
    let mut running = app.start(&[]);
    running.ready(&[]);
    until("both", || {
        let process = app.process("web");
        let instances = process["instances"].as_array().unwrap();
        instances.iter().all(|i| i["state"] == "ready").then_some(())
    });
    until("tambat, spawner and a keeper each", || (ours(&app).len() == 1 + 1 + 4).then_some(()));
    // What the last `ps` has stirred up is over with the first look.
    until("it to be idle", || (wake_ups_per_s(&app) <= WAKE_UPS_PER_S).then_some(()));
    assert_eq!(running.stop(), 0);
}

#[test]
fn workers_that_bind_nothing_are_soon_left_alone() {
    let app = AppDir::procfile("clock: tambat-fixture park\njob: tambat-fixture stdin\n");
    let mut running = app.start(&[]);
    running.out_line("reading");
    // They are looked at for a while whether they bind their port.
    until("it to be idle", || (wake_ups_per_s(&app) <= WAKE_UPS_PER_S + SLACK_PER_S).then_some(()));
    assert_eq!(running.stop(), 0);
}
