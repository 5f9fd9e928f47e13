//! The build step: before anything starts, seen, counted against no boot limit.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::support::{AppDir, LIMIT, Running, Stopwatch, Terminal, try_get, until};

/// Much shorter than a build may take.
const WITHIN: Duration = Duration::from_millis(300);

/// An app whose build goes on until [`let_go`].
fn held(build: &str) -> AppDir {
    let app = AppDir::manifest(&format!(
        "build = '''{build}'''\n[processes.web]\ncommand = \"tambat-fixture serve\"\nready = {{ within = \"{WITHIN:?}\" }}\n"
    ));
    nix::unistd::mkfifo(&app.path().join("gate"), Mode::S_IRWXU).unwrap();
    app
}

/// Lets the build that reads `gate` go on.
fn let_go(app: &AppDir) {
    let mut gate = OpenOptions::new();
    gate.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    // Without a reader it cannot be opened (fifo(7)).
    let mut gate = until("a build at its gate", || gate.open(app.path().join("gate")).ok());
    gate.write_all(b"go\n").unwrap();
}

fn nothing_was_started(running: &Running) {
    assert!(running.stderr().iter().all(|line| !line.contains("started with pid")), "{:?}", running.stderr());
}

#[test]
fn a_connection_that_arrives_while_building_waits_longer_than_ready_within() {
    let app = held("echo half; read line < gate; echo whole >&2");
    let mut running = app.start(&[]);
    running.err_line("building: echo half");
    assert_eq!(running.out_line("half").split_once("| ").unwrap().1, "half");
    assert_eq!(app.process("web")["state"], "building");
    let port = app.port("web");
    let mut early = TcpStream::connect(("127.0.0.1", port)).unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    early.set_read_timeout(Some(3 * WITHIN)).unwrap();
    let error = early.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "it waits: {error}");
    nothing_was_started(&running);

    let_go(&app);
    early.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("web.1"), "{answer}");
    assert!(running.line("| whole").contains("build"));
    running.err_line("built in ");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_build_has_the_directory_and_the_environment_of_the_app_and_no_port() {
    let app = AppDir::manifest(
        "build = 'pwd; echo \"$GREETING from $NAME, ${PORT-no port}\"'\n[processes.web]\ncommand = \"tambat-fixture serve\"\n",
    )
    .file(".env", "GREETING=hello\n")
    .env("NAME", "the shell");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    running.out_line("hello from the shell, no port");
    running.out_line(app.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_build_that_fails_starts_nothing() {
    let app = AppDir::manifest(
        "build = \"echo 'no such crate' >&2; exit 3\"\n[processes.web]\ncommand = \"tambat-fixture serve\"\n",
    );
    let mut running = app.start(&[]);
    assert_eq!(running.ended(), 1);
    running.line("no such crate");
    let line = running.err_line("failed with code 3");
    assert!(line.contains("nothing was started"), "{line}");
    nothing_was_started(&running);
}

#[test]
fn a_build_that_is_killed_starts_nothing() {
    let app = AppDir::manifest("build = 'kill -KILL $$'\n[processes.web]\ncommand = \"tambat-fixture serve\"\n");
    let mut running = app.start(&[]);
    assert_eq!(running.ended(), 1);
    let line = running.err_line("was ended by SIGKILL");
    assert!(line.contains("nothing was started"), "{line}");
    nothing_was_started(&running);
}

#[test]
fn the_failure_of_a_build_frees_the_connections_that_waited() {
    let app = held("echo half; read line < gate; exit 4");
    let mut running = app.start(&[]);
    running.out_line("half");
    let port = app.port("web");
    let waiting = std::thread::spawn(move || try_get(port, "/"));
    until("a connection that waits", || (app.process("web")["ports"][0]["waiting"] == 1).then_some(()));
    let_go(&app);
    assert_eq!(running.ended(), 1);
    // Answered or cut off: it never hangs.
    if let Ok(response) = waiting.join().unwrap() {
        assert_eq!(response.status, 503, "{response:?}");
    }
}

#[test]
fn ctrl_c_ends_a_build_with_all_it_started() {
    let app = held("setsid tambat-fixture park & echo half; read line < gate; echo whole");
    let mut running = app.start(&[]);
    running.out_line("half");
    let asked = Stopwatch::begin();
    assert_eq!(running.stop(), 0);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}: TERM is enough", asked.elapsed());
    running.err_line("SIGINT");
    nothing_was_started(&running);
    assert!(running.stdout().iter().all(|line| !line.contains("whole")));
}

#[test]
fn a_killed_tambat_leaves_nothing_of_its_build() {
    let app = held("echo half; read line < gate");
    let mut running = app.start(&[]);
    running.out_line("half");
    running.kill_9();
    running.nothing_left(LIMIT);
}

#[test]
fn stop_and_signals_reach_a_build() {
    let app = held("echo half; read line < gate");
    let mut running = app.start(&[]);
    running.out_line("half");
    app.tambat(&["stop"]).must_be(0);
    assert_eq!(running.ended(), 0);

    let mut running = app.start(&[]);
    running.out_line("half");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.ended(), 0);
}

/// Hears no TERM, nor does what it has started.
const DEAF: &str = "trap '' TERM; echo deaf; tambat-fixture park & wait";

#[test]
fn a_deaf_build_keeps_tambat_until_the_second_ctrl_c_kills_it() {
    let app = held(DEAF);
    let mut running = app.start(&[]);
    running.out_line("deaf");
    running.signal(Signal::SIGINT);
    running.err_line("SIGINT: stopping the build (once more kills)");
    // It is still there: nobody else may start the app, and the verbs find it.
    let second = app.tambat(&["start", "-p", "0"]).must_be(1);
    assert!(second.stderr.contains("already runs as pid"), "{}", second.stderr);
    assert_eq!(app.process("web")["state"], "building");
    let asked = Stopwatch::begin();
    running.signal(Signal::SIGINT);
    assert_eq!(running.exit_code(), 0);
    assert_eq!(running.processes().iter().filter(|p| !p.name.starts_with("tambat-s")).count(), 0, "with tambat itself");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}: less than its grace", asked.elapsed());
    running.err_line("SIGINT again: killing what is left of the build");
    nothing_was_started(&running);
}

#[test]
fn stop_returns_when_a_deaf_build_has_ended() {
    let app = held(DEAF);
    let mut running = app.start(&[]);
    running.out_line("deaf");
    let stop = std::thread::spawn({
        let app = app.clone();
        move || (app.tambat(&["stop"]).must_be(0), app.processes())
    });
    // The grace is the build's own; a signal after the order is the second one, and kills.
    until("the order", || app.tambat(&["logs"]).stdout.contains("stopping").then_some(()));
    running.signal(Signal::SIGINT);
    let (said, left) = stop.join().unwrap();
    assert!(said.stderr.contains("has stopped"), "{}", said.stderr);
    assert!(left.iter().all(|p| p.name != "sh" && p.name != "tambat-fixture"), "{left:#?}");
    assert_eq!(running.ended(), 0);
    nothing_was_started(&running);
}

#[test]
fn a_resized_window_is_handed_on_to_a_build_and_to_what_follows() {
    let app = AppDir::manifest(
        "build = 'stty size; until [ \"$(stty size)\" = \"50 122\" ]; do sleep 0.02; done'\n\
         [processes.job]\ncommand = \"echo now $(stty size); exec tambat-fixture park\"\n",
    );
    let (terminal, mut running) = Terminal::start(&app, 30, 100, &[]);
    running.line("30 82");
    terminal.resize(50, 140);
    running.line("built in ");
    running.line("now 50 122");
    assert_eq!(running.stop(), 0);
}
