//! Instances through a real spawner and real keepers: how they start, what they see, how they end.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{FIXTURE, LIMIT, Stage, pid};
use tambat_os::{Signal, ports, signals};

/// A command whose children would outlive it everywhere else: forked twice, in a session of its own.
const DAEMON: &str = "(setsid {fixture} listen 127.0.0.1:0 &)";

/// What is asked of everything after a grace: DESIGN §4 with room for a busy machine.
const AFTER_GRACE: Duration = Duration::from_secs(10);

fn daemon_and(rest: &str) -> String {
    format!("{DAEMON}; {rest}")
}

#[test]
fn exit_codes_and_signals_are_reported() {
    for (script, report) in [
        ("exit 0", "code 0 killed=false left:"),
        ("exit 255", "code 255 killed=false left:"),
        ("kill -SEGV $$", "signal SEGV killed=false left:"),
    ] {
        let mut stage = Stage::script(&[], script);
        stage.started();
        assert_eq!(stage.hear("exited "), report, "{script}");
        stage.hear("closed");
        stage.hear("over");
        stage.nothing_left(LIMIT);
    }
}

#[test]
fn ends_are_seen_even_where_sigchld_was_ignored() {
    // Some daemons start everything so; the kernel then reaps children by itself, without a word.
    let launcher = ["env", "--ignore-signal=CHLD"];
    let mut stage = Stage::start_by(&launcher, &["--", "sh", "-c", "exit 9"]);
    assert_eq!(stage.hear("exited "), "code 9 killed=false left:");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn output_written_just_before_the_end_arrives() {
    let mut stage = Stage::script(&[], "echo one; echo two >&2; echo three");
    stage.hear("out: one");
    stage.hear("err: two");
    stage.hear("out: three");
    stage.hear("over");
}

#[test]
fn a_command_on_pipes_starts_clean() {
    let mut stage = Stage::start(&["--dir", "/usr", "--", "{fixture}", "describe"]);
    assert_eq!(stage.hear("out: open "), "[0, 1, 2]");
    assert_eq!(stage.hear("out: SigBlk: "), "0000000000000000");
    assert_eq!(stage.hear("out: SigIgn: "), "0000000000001000", "Rust's own runtime ignores PIPE, and nobody else");
    assert_eq!(stage.hear("out: leads "), "group true session true");
    assert_eq!(stage.hear("out: terminals "), "false false false");
    assert_eq!(stage.hear("out: controlling terminal "), "false");
    assert_eq!(stage.hear("out: dir "), "/usr");
    assert_eq!(stage.hear("out: stdin "), "open and empty");
    assert_eq!(stage.hear("exited "), "code 0 killed=false left:");
}

#[test]
fn ignored_signals_are_not_inherited() {
    // A shell changes nothing by itself, unlike Rust's runtime.
    let mut stage = Stage::script(&[], "grep -E 'SigBlk|SigIgn' /proc/self/status");
    assert_eq!(stage.hear("out: SigBlk:").trim(), "0000000000000000");
    assert_eq!(stage.hear("out: SigIgn:").trim(), "0000000000000000");
}

#[test]
fn a_command_on_a_pty_has_a_terminal_of_its_own() {
    let mut stage = Stage::start(&["--pty", "--", "{fixture}", "describe"]);
    assert_eq!(stage.hear("pty: open "), "[0, 1, 2]");
    assert_eq!(stage.hear("pty: leads "), "group true session true");
    assert_eq!(stage.hear("pty: terminals "), "true true true");
    assert_eq!(stage.hear("pty: controlling terminal "), "true");
    assert_eq!(stage.hear("pty: size "), "Some(WinSize { rows: 33, cols: 101 })");
    assert_eq!(stage.hear("pty: stdin "), "open and empty");
    assert_eq!(stage.hear("exited "), "code 0 killed=false left:");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn an_environment_of_a_mebibyte_and_none_at_all() {
    let mut big = Stage::start(&["--big-env", "--", "{fixture}", "describe"]);
    let line = big.hear("out: env ");
    let bytes: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(bytes > 1 << 20, "{line}");
    big.hear("over");

    let mut none = Stage::start(&["--no-env", "--", "{fixture}", "describe"]);
    assert_eq!(none.hear("out: env "), "0 variables 0 bytes");
    none.hear("over");
}

#[test]
fn what_cannot_start_says_at_which_step_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let (script, plain) = (script.to_str().unwrap(), dir.path().join("plain"));
    std::fs::write(&plain, "").unwrap();
    let plain = plain.to_str().unwrap();
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (words, said) in [
        (vec!["--", "no-such-program"], "find the program no-such-program in PATH: No such file".to_owned()),
        (vec!["--", "/no/such/program"], "execute /no/such/program: No such file".to_owned()),
        (vec!["--", script], format!("execute {script}: the interpreter that it names: No such file")),
        (vec!["--", plain], format!("execute {plain}: Permission denied")),
        (vec!["--dir", "/no/such/dir", "--", "true"], "enter the directory /no/such/dir: No such file".to_owned()),
    ] {
        let mut stage = Stage::start(&words);
        let cannot = stage.hear("cannot ");
        assert!(cannot.starts_with(&said), "{words:?}: {cannot}");
        stage.hear("closed");
        stage.hear("over");
        stage.nothing_left(LIMIT);
    }
}

#[test]
fn a_stop_is_asked_once_and_waited_for() {
    let mut stage = Stage::start(&["--", "{fixture}", "hear", "app", "TERM:7"]);
    stage.hear("out: app ready");
    stage.tell("stop TERM 60000");
    stage.hear("out: app hears TERM");
    assert_eq!(stage.hear("exited "), "code 7 killed=false left:");
    stage.hear("over");
}

#[test]
fn a_group_that_is_slower_than_its_leader_is_not_asked_twice() {
    // One in the group, which ends by its own will; one in another session, which is asked when the command has
    // ended, and so shows that the keeper has got that far.
    let script = "trap 'exit 0' TERM; setsid {fixture} hear elsewhere TERM:0 & {fixture} hear slow TERM: USR2:0 & \
                  while :; do wait; done";
    let mut stage = Stage::script(&[], script);
    stage.hear("out: elsewhere ready");
    let slow = pid(&stage.hear("out: slow ready "));
    stage.tell("stop TERM 60000");
    stage.hear("out: slow hears TERM");
    stage.hear("out: elsewhere hears TERM");
    signals::send(slow, Signal::USR2).unwrap();
    assert_eq!(stage.hear("exited "), "code 0 killed=false left: tambat-os-fixtu tambat-os-fixtu");
    assert!(stage.rest().iter().all(|line| line != "out: slow hears TERM"));
}

fn mkfifo(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_command_that_ignores_the_signal_is_killed_after_the_grace() {
    let mut stage = Stage::script(&[], "trap '' TERM; echo ready; exec {fixture} park");
    stage.hear("out: ready");
    let began = Instant::now();
    stage.tell("stop TERM 300");
    assert_eq!(stage.hear("exited "), "signal KILL killed=true left:");
    assert!(began.elapsed() >= Duration::from_millis(300), "not before the grace");
    assert!(began.elapsed() < AFTER_GRACE);
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn the_second_stop_kills_at_once_and_so_does_kill() {
    for orders in [&["stop TERM 600000", "stop TERM 600000"][..], &["kill"]] {
        let mut stage = Stage::script(&[], "trap '' TERM; echo ready; exec {fixture} park");
        stage.hear("out: ready");
        for order in orders {
            stage.tell(order);
        }
        assert_eq!(stage.hear("exited "), "signal KILL killed=true left:", "{orders:?}");
    }
}

#[test]
fn a_stopped_command_hears_that_it_shall_end() {
    let mut stage = Stage::start(&["--", "{fixture}", "hear", "app", "TERM:4"]);
    let app = pid(&stage.hear("out: app ready "));
    signals::send(app, Signal::STOP).unwrap();
    stage.tell("stop TERM 600000");
    assert_eq!(stage.hear("exited "), "code 4 killed=false left:");
}

#[test]
fn signals_reach_the_whole_group() {
    let script = "{fixture} hear inner USR1:0 & exec {fixture} hear outer USR1: TERM:0";
    let mut stage = Stage::script(&[], script);
    for name in ["inner", "outer"] {
        stage.hear(&format!("out: {name} ready"));
    }
    stage.tell("signal USR1");
    for name in ["inner", "outer"] {
        stage.hear(&format!("out: {name} hears USR1"));
    }
    stage.tell("stop TERM 600000");
    assert!(stage.hear("exited ").starts_with("code 0 killed=false"));
}

#[test]
fn a_command_that_went_to_the_background_is_ended_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("said");
    mkfifo(&fifo);
    let fifo = fifo.display();
    let script = format!("(setsid {{fixture}} listen 127.0.0.1:0 >{fifo} &); read said <{fifo}; exit 3");
    let mut stage = Stage::script(&[], &script);
    assert_eq!(stage.hear("exited "), "code 3 killed=false left: tambat-os-fixtu");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn a_background_process_that_ignores_the_signal_is_killed() {
    let script = "(trap '' TERM; setsid {fixture} listen 127.0.0.1:0 &); echo done";
    let mut stage = Stage::script(&["--grace-ms", "200"], script);
    let report = stage.hear("exited ");
    assert!(report.starts_with("code 0 killed=true left:"), "{report}");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn a_tree_that_forks_all_the_time_is_caught() {
    let script = "trap '' TERM; echo ready; while :; do (setsid sh -c ': & : & :' &) ; done";
    let mut stage = Stage::script(&[], script);
    stage.hear("out: ready");
    stage.tell("stop TERM 100");
    let report = stage.hear("exited ");
    assert!(report.starts_with("signal KILL killed=true"), "{report}");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn a_daemon_ends_when_tambats_socket_closes() {
    let mut stage = Stage::script(&["--grace-ms", "60000"], &daemon_and("exec {fixture} park"));
    let (port, daemon) = stage.listening();
    stage.started();
    assert!(!ports::is_free(port));
    stage.tell("drop");
    assert!(signals::wait_for_end(daemon, AFTER_GRACE), "both end at TERM, long before the grace");
    assert!(ports::is_free(port));
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn after_a_sigkill_of_tambat_nothing_is_left_and_the_port_is_free() {
    // Both ignore TERM: the whole way through the grace to KILL.
    let script = format!("trap '' TERM; {}", daemon_and("exec {fixture} park"));
    let mut stage = Stage::script(&["--grace-ms", "300"], &script);
    let spawner = stage.spawner();
    let started = stage.started();
    let (port, _) = stage.listening();
    let began = Instant::now();
    stage.kill_tambat();
    stage.nothing_left(AFTER_GRACE);
    assert!(began.elapsed() >= Duration::from_millis(300), "the grace is kept for a dead tambat too");
    assert!(ports::is_free(port));
    for ended in [spawner, started.keeper, started.command] {
        assert!(!signals::is_alive(ended));
    }
}

#[test]
fn after_a_sigkill_of_a_keeper_nothing_is_left() {
    let script = format!("trap '' TERM; {}", daemon_and("exec {fixture} park"));
    let mut stage = Stage::script(&[], &script);
    let started = stage.started();
    let (port, daemon) = stage.listening();
    signals::send(started.keeper, Signal::KILL).unwrap();
    stage.hear("closed");
    for ended in [started.command, daemon] {
        assert!(signals::wait_for_end(ended, LIMIT));
    }
    assert!(ports::is_free(port));
    let rest = stage.rest();
    assert!(rest.iter().all(|line| !line.starts_with("exited")), "nobody could report: {rest:?}");
    stage.nothing_left(LIMIT);
}

#[test]
fn an_instance_outlives_the_spawner_but_not_tambat() {
    let mut stage = Stage::script(&["--grace-ms", "100"], &daemon_and("exec {fixture} park"));
    let spawner = stage.spawner();
    let started = stage.started();
    let (port, _) = stage.listening();
    signals::send(spawner, Signal::KILL).unwrap();
    assert!(signals::wait_for_end(spawner, LIMIT));
    assert!(signals::is_alive(started.command));
    stage.kill_tambat();
    stage.nothing_left(AFTER_GRACE);
    assert!(ports::is_free(port));
}

#[test]
fn spawner_and_keepers_are_deaf_to_the_terminal() {
    let mut stage = Stage::start(&["--", "{fixture}", "park"]);
    let spawner = stage.spawner();
    let started = stage.started();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::PIPE, Signal::USR1] {
        signals::send(spawner, signal).unwrap();
        signals::send(started.keeper, signal).unwrap();
    }
    // They answer afterwards, so they have lived through it.
    stage.tell("stop TERM 60000");
    assert_eq!(stage.hear("exited "), "signal TERM killed=false left:");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn a_listener_of_a_grandchild_in_another_session_is_ours() {
    let mut stage = Stage::script(&[], &daemon_and("exec {fixture} park"));
    let (port, daemon) = stage.listening();
    let keeper = stage.started().keeper;
    stage.tell(&format!("owner {port} {keeper}"));
    let ours = format!("Some(Ours {{ pid: {daemon:?}, addrs: [127.0.0.1:{port}] }})");
    assert_eq!(stage.hear("owner "), ours);
    stage.tell(&format!("listeners {keeper}"));
    let listener = format!("[OwnedListener {{ pid: {daemon:?}, name: \"tambat-os-fixtu\", addr: 127.0.0.1:{port} }}]");
    assert_eq!(stage.hear("listeners "), listener);

    let strangers = TcpListener::bind("[::1]:0").unwrap();
    let port = strangers.local_addr().unwrap().port();
    stage.tell(&format!("owner {port} {keeper}"));
    let stranger = stage.hear("owner ");
    let us = pid(&std::process::id().to_string());
    assert!(stranger.starts_with(&format!("Some(Stranger(Some(ProcessInfo {{ pid: {us:?}")), "{stranger}");

    drop(strangers);
    stage.tell(&format!("owner {port} {keeper}"));
    assert_eq!(stage.hear("owner "), "None");
    stage.tell("kill");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}

#[test]
fn a_keeper_holds_little_and_is_small() {
    /// Measured: about a third of this, unoptimised; 50 of them must not matter beside one app.
    const PRIVATE_KIB_MAX: u64 = 512;
    let mut stage = Stage::start(&["--big-env", "--", FIXTURE, "park"]);
    let keeper = stage.started().keeper;
    assert_eq!(tambat_os::process_info(keeper).unwrap().name, "tambat-keep");
    assert_eq!(tambat_os::process_info(stage.spawner()).unwrap().name, "tambat-spawn");
    let mut open: Vec<String> = std::fs::read_dir(format!("/proc/{keeper}/fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .map(|target| target.split(':').next().unwrap().to_owned())
        .collect();
    open.sort();
    assert_eq!(open, ["/dev/null", "/dev/null", "/dev/null", "anon_inode", "pipe", "socket"]);
    let rollup = std::fs::read_to_string(format!("/proc/{keeper}/smaps_rollup")).unwrap();
    let private: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_Dirty") || line.starts_with("Private_Clean"))
        .map(|line| line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    println!("{rollup}");
    assert!(private < PRIVATE_KIB_MAX, "{private} KiB\n{rollup}");
    stage.tell("kill");
    stage.hear("over");
}

#[test]
fn what_a_command_leaves_behind_may_go_by_itself() {
    // It ends by itself a moment after the command, as the port programs of an Erlang machine do.
    let mut stage = Stage::script(&["--linger-ms", "60000", "--grace-ms", "60000"], "(setsid sleep 0.3 &)");
    stage.started();
    assert_eq!(stage.hear("exited "), "code 0 killed=false left:");
    // It is a shell yet for a moment: who is left is known by name only after that.
    let script = "setsid sleep 60 & until [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done";
    let mut asked = Stage::script(&["--linger-ms", "1"], script);
    asked.started();
    let report = asked.hear("exited ");
    assert!(report.starts_with("code 0 killed=false left:") && report.contains("sleep"), "{report}");
    asked.nothing_left(LIMIT);
}

#[test]
fn a_command_runs_as_the_user_that_was_said() {
    if tambat_os::runtime_dir::uid() != 0 {
        let mut refused = Stage::script(&["--user", "65534"], "true");
        assert!(refused.hear("cannot ").contains("become the user 65534"));
        return;
    }
    // A daemon of another user is the instance's all the same, and its standard error can be opened anew.
    let script = format!("{DAEMON}; id -u >/dev/stderr; id -G; exec sleep 60");
    let mut stage = Stage::script(&["--dir", "/", "--user", "65534"], &script);
    stage.started();
    assert_eq!(stage.hear("err: "), "65534");
    stage.tell("kill");
    stage.hear("over");
    stage.nothing_left(LIMIT);
}
