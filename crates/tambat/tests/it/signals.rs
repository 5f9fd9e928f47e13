//! What signals do.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{AppDir, Stopwatch, is_free};

/// Ignores the stop signal; an ignored signal stays ignored over exec(2).
const DEAF: &str = "command = \"trap '' TERM; exec tambat-fixture serve\"\n";

/// The promise is the grace + 1 s (DESIGN §4); this is room for a busy machine, well below the default grace.
const ROOM: Duration = Duration::from_millis(1_500);

fn deaf(grace: &str) -> AppDir {
    AppDir::manifest(&format!("[processes.web]\n{DEAF}stop = {{ grace = \"{grace}\" }}\n"))
}

#[test]
fn what_ignores_term_is_killed_after_its_grace() {
    let app = deaf("300ms");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let (service, asked, watch) = (app.port("web"), Instant::now(), Stopwatch::begin());
    assert_eq!(running.stop(), 0);
    let (took, of_us) = (asked.elapsed(), watch.elapsed());
    assert!(took >= Duration::from_millis(300), "it had its grace: {took:?}");
    assert!(of_us < Duration::from_millis(1_300) + ROOM, "{of_us:?} of {took:?}");
    let line = running.err_line("did not stop within its grace");
    assert!(line.contains("stop.grace"), "{line}");
    assert!(is_free(service));
}

#[test]
fn a_second_signal_kills_at_once() {
    let app = deaf("60s");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    running.signal(Signal::SIGINT);
    running.err_line("SIGINT: stopping");
    running.signal(Signal::SIGINT);
    running.err_line("SIGINT again: killing");
    assert_eq!(running.ended(), 0);
}

#[test]
fn term_and_hup_stop_as_int_does() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let app = AppDir::procfile("web: tambat-fixture serve\n");
        let mut running = app.start(&[]);
        running.ready(&["web"]);
        running.signal(signal);
        assert_eq!(running.ended(), 0);
        running.err_line(&format!("{}: stopping", signal.as_str()));
        running.err_line("ended by SIGTERM");
    }
}

/// Its shell tells it, and then the kernel: whoever stops has its grace all the same.
#[test]
fn a_terminal_that_is_closed_hangs_up_twice_and_kills_nobody() {
    let app = AppDir::manifest(
        "[processes.job]\ncommand = \"trap 'echo asked' TERM; trap 'echo goodbye; exit 0' USR1; echo set; while :; do sleep 0.05; done\"\n\
         stop = { grace = \"60s\" }\n",
    );
    let mut running = app.start(&[]);
    running.out_line("| set");
    running.signal(Signal::SIGHUP);
    running.out_line("| asked");
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGUSR1);
    running.out_line("| goodbye");
    assert_eq!(running.ended(), 0);
    assert!(!running.stderr().iter().any(|line| line.contains("SIGHUP again")), "{:?}", running.stderr());
}

#[test]
fn usr1_and_usr2_are_handed_on() {
    let app = AppDir::procfile(
        "web: trap 'echo got usr1' USR1; trap 'echo got usr2' USR2; (trap '' USR1 USR2; exec tambat-fixture serve) & while :; do wait; done\n",
    );
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    // The whole group gets it: the server in the background ignores it.
    running.signal(Signal::SIGUSR1);
    running.out_line("got usr1");
    running.signal(Signal::SIGUSR2);
    running.out_line("got usr2");
    assert_eq!(running.stop(), 0);
}

#[test]
fn another_stop_signal_is_used_where_the_manifest_says_one() {
    let app = AppDir::manifest(
        "[processes.job]\ncommand = \"trap 'echo quitting; exit 0' HUP; echo set; while :; do tambat-fixture park & wait; done\"\n\
         stop = { signal = \"HUP\" }\n",
    );
    let mut running = app.start(&[]);
    running.out_line("| set");
    assert_eq!(running.stop(), 0);
    running.out_line("quitting");
}

#[test]
fn under_nohup_a_hang_up_ends_nothing() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start_after("trap '' HUP", &[]);
    running.ready(&["web"]);
    running.signal(Signal::SIGHUP);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
    assert!(!running.stderr().iter().any(|line| line.contains("SIGHUP")));
}
