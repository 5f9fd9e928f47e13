//! Nothing outlives tambat, however it ends.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{AppDir, Running, is_free, until};

/// Short, so that a test which waits for it is.
const GRACE: &str = "300ms";

/// The grace + 1 s (DESIGN §4), and room for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(1_300 + 2_000);

/// One that is plain, one that is deaf, and one whose server is a grandchild in a session of its own.
fn app() -> AppDir {
    AppDir::manifest(&format!(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nstop = {{ grace = \"{GRACE}\" }}\n\
         [processes.deaf]\nprotocol = \"http\"\ncommand = \"trap '' TERM INT HUP; exec tambat-fixture serve\"\nstop = {{ grace = \"{GRACE}\" }}\n\
         [processes.daemon]\nprotocol = \"http\"\ncommand = \"(setsid tambat-fixture serve &); exec tambat-fixture park\"\nstop = {{ grace = \"{GRACE}\" }}\n"
    ))
}

/// Every port that this app holds: service ports and instance ports.
fn ports(app: &AppDir) -> Vec<u16> {
    let status = app.json(&["ps", "--json"]);
    let mut all = Vec::new();
    for process in status["processes"].as_array().unwrap() {
        all.push(u16::try_from(process["ports"][0]["port"].as_u64().unwrap()).unwrap());
        let address = process["instances"][0]["address"].as_str().unwrap();
        all.push(address.rsplit_once(':').unwrap().1.parse().unwrap());
    }
    assert_eq!(all.len(), 6);
    assert!(!all.iter().any(|port| is_free(*port)), "{all:?}");
    all
}

fn all_free(running: &Running, ports: &[u16]) {
    running.nothing_left(GONE_WITHIN);
    for port in ports {
        assert!(is_free(*port), "port {port} is still taken");
    }
}

#[test]
fn a_grandchild_that_keeps_the_port_is_ended_with_the_rest() {
    let app = app();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let ports = ports(&app);
    assert_eq!(running.get("daemon", "/").body, "daemon.1");
    assert_eq!(running.stop(), 0);
    all_free(&running, &ports);
}

#[test]
fn kill_9_of_tambat_leaves_nothing() {
    let app = app();
    let mut running = app.start(&[]);
    running.ready(&[]);
    let ports = ports(&app);
    running.kill_9();
    all_free(&running, &ports);
    // And nothing that is in the way of the next start.
    let mut next = app.start(&[]);
    next.ready(&[]);
    assert_eq!(next.stop(), 0);
}

#[test]
fn kill_9_of_tambat_while_it_boots_leaves_nothing() {
    let app = AppDir::procfile(
        "web: tambat-fixture serve --boot 60000\njob: (setsid tambat-fixture park &); tambat-fixture park\n",
    );
    let mut running = app.start(&[]);
    running.lines("started with pid", 2);
    running.kill_9();
    running.nothing_left(Duration::from_secs(8));
}

#[test]
fn kill_9_of_a_keeper_takes_its_instance_along_and_it_is_started_again() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let before = running.get("web", "/pid").body;
    let keeper = running.process_named("tambat-keep").pid;
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    running.err_line("started again in");
    until("another process to serve", || (running.get("web", "/pid").body != before).then_some(()));
    assert!(running.processes().iter().all(|p| p.pid.to_string() != before), "{:?}", running.processes());
    assert_eq!(running.stop(), 0);
}

#[test]
fn kill_9_of_the_spawner_is_survived_by_what_runs_and_leaves_nothing_at_the_end() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    kill(Pid::from_raw(running.process_named("tambat-spawn").pid), Signal::SIGKILL).unwrap();
    assert_eq!(running.get("web", "/").body, "web.1");
    // What cannot be started any more is said.
    running.get("web", "/exit?3");
    running.err_line("spawner");
    running.signal(Signal::SIGINT);
    running.ended();
}

#[test]
fn kill_9_of_an_app_is_a_failure_like_any_other() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let pid: i32 = running.get("web", "/pid").body.parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    running.err_line("SIGKILL");
    assert_ne!(running.get("web", "/pid").body, pid.to_string());
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_hides_by_its_environment_is_ended_too() {
    // Its session, its parent and its environment are others: only its ancestors tell where it comes from.
    let app = AppDir::procfile(
        "web: tambat-fixture serve\n\
         job: (setsid env -i PATH=\"$PATH\" sh -c 'echo $$ > hidden; exec tambat-fixture park' &); exec tambat-fixture park\n",
    );
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let hidden = until("the hidden one", || {
        let pid = std::fs::read_to_string(app.path().join("hidden")).ok()?;
        let folder = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
        let command = std::fs::read_to_string(folder.join("cmdline")).ok()?;
        command.starts_with("tambat-fixture").then_some(folder)
    });
    assert!(running.processes().iter().all(|p| !hidden.ends_with(p.pid.to_string())), "no mark finds it");
    running.kill_9();
    running.nothing_left(Duration::from_secs(8));
    assert!(!hidden.exists(), "{}", hidden.display());
}

/// Two instances on one data directory destroy it: what a killed tambat has left is waited for.
#[test]
fn a_start_after_a_kill_waits_for_what_is_left_of_the_last_run() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"trap '' TERM; exec tambat-fixture serve --alone data.lock\"\nstop = { grace = \"700ms\" }\n",
    );
    let mut first = app.start(&[]);
    first.ready(&["web"]);
    first.kill_9();
    let mut second = app.start(&[]);
    second.err_line("the last run of shop is still stopping");
    second.ready(&["web"]);
    assert_eq!(second.stop(), 0);
    assert!(second.stderr().iter().chain(&second.stdout()).all(|line| !line.contains("two at once")));
}
