//! Connections that come before an instance is ready, or while it is being replaced: they wait, and none is refused.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{AppDir, Running, Stopwatch, get, try_get, until};

/// Clients that keep asking, each time on a new connection, until they are told to stop.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn begin(port: u16, clients: usize) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || {
                let mut failures = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    match try_get(port, "/") {
                        Ok(response) if response.status == 200 && response.body == "web.1" => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failures.push(format!("{other:?}")),
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { over, answered, clients }
    }

    /// Waits until so many more have been answered.
    fn more(&self, count: usize) {
        let target = self.answered.load(Ordering::Relaxed) + count;
        until("answers under load", || (self.answered.load(Ordering::Relaxed) >= target).then_some(()));
    }

    fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

/// An app that boots until [`let_go`], and serves with these options then.
fn held(options: &str, keys: &str) -> AppDir {
    let command = format!("while [ -e {HOLD} ]; do sleep 0.02; done; exec tambat-fixture serve {options}");
    AppDir::manifest(&format!("[processes.web]\ncommand = \"{command}\"\n{keys}\n")).file(HOLD, "")
}

/// What holds an app: a file of this name.
const HOLD: &str = "hold";

fn let_go(app: &AppDir) {
    fs::remove_file(app.path().join(HOLD)).unwrap();
}

fn pid(app: &AppDir) -> i64 {
    app.process("web")["instances"][0]["pid"].as_i64().unwrap_or_default()
}

fn restart(app: &AppDir, running: &Running, nth: usize) {
    let before = pid(app);
    app.tambat(&["restart", "web"]).must_be(0);
    running.lines("web.1  | ready after", nth + 1);
    until("the old one to be gone", || {
        let process = app.process("web");
        let instances = process["instances"].as_array().unwrap();
        (instances.len() == 1 && instances[0]["state"] == "ready" && instances[0]["pid"] != before).then_some(())
    });
}

#[test]
fn early_connections_wait_and_none_is_refused() {
    let app = held("", "");
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let clients: Vec<_> = (0..50).map(|_| thread::spawn(move || try_get(port, "/"))).collect();
    until("all of them to wait", || (app.process("web")["ports"][0]["waiting"] == 50).then_some(()));
    assert!(!running.stdout().iter().any(|line| line.contains("listening")), "it still boots");
    let_go(&app);
    for client in clients {
        assert_eq!(client.join().unwrap().unwrap().body, "web.1");
    }
    assert_eq!(app.process("web")["ports"][0]["refused"], 0);
    assert_eq!(running.stop(), 0);
}

#[test]
fn both_loopback_addresses_are_served() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let port = app.port("web");
    for host in ["127.0.0.1", "::1"] {
        let mut stream = TcpStream::connect((host, port)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("web.1"), "{host}: {answer}");
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn half_close_and_much_data_pass_through() {
    let app = AppDir::manifest("[processes.echo]\ncommand = \"tambat-fixture echo\"\nprotocol = \"tcp\"\n");
    let mut running = app.start(&[]);
    running.ready(&["echo"]);
    let mut stream = TcpStream::connect(("127.0.0.1", app.port("echo"))).unwrap();
    let sent = b"0123456789abcdef".repeat(64 * 1024);
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
    until("the bytes to be counted", || {
        let port = app.process("echo")["ports"][0].clone();
        (port["bytes_in"] == sent.len() && port["bytes_out"] == sent.len() && port["open"] == 0).then_some(())
    });
    assert_eq!(running.stop(), 0);
}

#[test]
fn never_ready_says_that_nothing_listens() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture park\"\nready = { within = \"300ms\" }\nrestart = \"never\"\n",
    );
    let mut running = app.start(&[]);
    let line = running.err_line("was not ready within 300ms");
    assert!(line.contains("nothing listens on its PORT"), "{line}");
    assert_eq!(running.ended(), 124);
}

#[test]
fn never_ready_says_what_it_answered() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve --status 503\"\nready = { within = \"500ms\" }\n",
    );
    let mut running = app.start(&[]);
    // It is tried several times: on a busy machine one of them may not have answered at all.
    let line = running.err_line("503");
    assert!(line.contains("was not ready within 500ms"), "{line}");
    running.stop();
}

#[test]
fn never_ready_names_the_port_it_bound_in_place_of_its_own() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve --other-port\"\nready = { within = \"400ms\" }\n",
    );
    let mut running = app.start(&[]);
    // It is tried several times: on a busy machine one of them may not have listened at all.
    until("a port in place of its own", || {
        let given_up = |line: &String| line.contains("was not ready within 400ms");
        let said = running.stderr().into_iter().filter(given_up);
        running.stdout().iter().find_map(|line| {
            let bound = line.split_once("listening on 127.0.0.1:")?.1;
            said.clone().find(|said| said.contains(&format!("listens on {bound} (tambat-fixture")))
        })
    });
    running.stop();
}

#[test]
fn an_app_on_another_port_is_told_the_line_to_change_while_it_runs() {
    let app = AppDir::procfile("web: tambat-fixture serve --other-port\n");
    let mut running = app.start(&[]);
    let bound = running.out_line("listening on 127.0.0.1:").rsplit_once(':').unwrap().1.to_owned();
    let line = running.err_line("not on its PORT");
    assert!(line.contains(&format!("listens on {bound} (tambat-fixture, pid ")), "{line}");
    assert!(line.contains("$PORT"), "{line}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_status_below_500_is_ready_and_a_path_wants_2xx() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve --status 404\"\n\
         [processes.strict]\nprotocol = \"http\"\ncommand = \"tambat-fixture serve --status 404\"\nready = { path = \"/healthz\" }\n",
    );
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let output = app.tambat(&["wait", "strict", "--timeout", "200ms"]).must_be(124);
    assert!(output.stderr.contains("strict"), "{}", output.stderr);
    assert_eq!(app.process("strict")["state"], "waiting");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_restart_under_load_loses_nothing() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let load = Load::begin(app.port("web"), 4);
    load.more(50);
    for nth in 1..=5 {
        restart(&app, &running, nth);
        load.more(20);
    }
    assert_eq!(load.end(), Vec::<String>::new());
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_request_that_is_answered_slowly_outlives_a_restart() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let port = app.port("web");
    // One that is over before it is seen says nothing.
    let slow = until("it to be open", || {
        let slow = thread::spawn(move || get(port, "/slow?800"));
        let mut is_open = false;
        while !is_open && !slow.is_finished() {
            is_open = app.process("web")["instances"][0]["open"] == 1;
        }
        is_open.then_some(slow)
    });
    app.tambat(&["restart", "web"]).must_be(0);
    running.lines("web.1  | ready after", 2);
    assert_eq!(slow.join().unwrap().body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_stateful_restart_holds_connections_and_never_runs_two() {
    let app = held("--alone data.lock", "stateful = true");
    let_go(&app);
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let port = app.port("web");
    for nth in 2..=4 {
        let app = app.clone().file(HOLD, "");
        app.tambat(&["restart", "web"]).must_be(0);
        until("the old one to be gone", || (app.process("web")["state"] == "waiting").then_some(()));
        let clients: Vec<_> = (0..20).map(|_| thread::spawn(move || get(port, "/").body)).collect();
        until("all of them to wait", || (app.process("web")["ports"][0]["waiting"] == 20).then_some(()));
        let_go(&app);
        assert!(clients.into_iter().all(|client| client.join().unwrap() == "web.1"));
        running.lines("web.1  | ready after", nth);
    }
    assert_eq!(running.stop(), 0);
    assert!(running.stderr().iter().chain(&running.stdout()).all(|line| !line.contains("two at once")));
}

#[test]
fn a_stateful_restart_under_load_loses_nothing() {
    const RESTARTS: usize = 3;
    let app = AppDir::manifest("[processes.web]\ncommand = \"tambat-fixture serve\"\nstateful = true\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let load = Load::begin(app.port("web"), 4);
    load.more(20);
    for nth in 1..=RESTARTS {
        restart(&app, &running, nth);
        load.more(20);
    }
    assert_eq!(load.end(), Vec::<String>::new(), "what was open was finished, what was new waited");
    assert_eq!(running.stop(), 0);
}

#[test]
fn connections_wait_for_a_reloader_that_lets_go_of_its_port() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let (port, pid) = (app.port("web"), running.get("web", "/pid").body);
    for round in 2..=4 {
        let app = app.clone().file(HOLD, "");
        assert_eq!(get(port, &format!("/rebind?{HOLD}")).body, "rebinding");
        let own = own_port(&running);
        until("it to have let go", || TcpStream::connect(("127.0.0.1", own)).is_err().then_some(()));
        let clients: Vec<_> = (0..8).map(|_| thread::spawn(move || get(port, "/pid").body)).collect();
        until("all of them to wait", || (app.process("web")["ports"][0]["waiting"] == 8).then_some(()));
        let_go(&app);
        for client in clients {
            assert_eq!(client.join().unwrap(), pid, "the same process serves again");
        }
        running.lines("listening on", round);
    }
    assert_eq!(app.process("web")["instances"][0]["restarts"], 0);
    assert_eq!(running.stop(), 0);
}

fn own_port(running: &Running) -> u16 {
    running.out_line("listening on").rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn a_worker_that_binds_its_port_is_served_there() {
    let app = AppDir::procfile("web: tambat-fixture serve\nmetrics: tambat-fixture serve --boot 200\n");
    let mut running = app.start(&[]);
    running.up();
    // It says nothing about a port: it counts as running at once, and this connection waits for it all the same.
    assert_eq!(running.get("metrics", "/").body, "metrics.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_refused_client_is_not_held_for_ever_by_ready_within() {
    let app = AppDir::manifest("[processes.web]\ncommand = \"tambat-fixture park\"\nready = { within = \"400ms\" }\n");
    let mut running = app.start(&[]);
    running.up();
    let began = Stopwatch::begin();
    let response = running.get("web", "/");
    assert_eq!(response.status, 503);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(running.stop(), 0);
}
