//! The verbs that change a running app: restart, stop, scale, pause, resume, wait; and `start --detach`.

use std::thread;

use crate::support::{AppDir, Running, get, until};

const SHOP: &str = r#"
[processes.web]
command = "exec tambat-fixture serve"

[processes.api]
command = "exec tambat-fixture serve"
protocol = "http"

[processes.db]
command = "exec tambat-fixture serve --alone db.lock"
protocol = "http"
stateful = true
"#;

fn shop() -> (AppDir, Running) {
    let app = AppDir::manifest(SHOP);
    let running = app.start(&[]);
    running.ready(&[]);
    (app, running)
}

#[test]
fn restart_is_for_one_process_and_nobody_is_refused() {
    let (app, mut running) = shop();
    let [web, api] = ["web", "api"].map(|name| app.pid_of(name));
    let port = app.port("web");
    app.tambat(&["restart", "web"]).must_be(0);
    let answers = until("another web", || {
        let body = get(port, "/pid").body;
        (body.parse::<i64>().unwrap() != web).then_some(body)
    });
    assert_eq!(answers, app.pid_after("web", web).to_string());
    assert_eq!(app.pid_of("api"), api);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_stateful_process_is_never_there_twice() {
    let (app, mut running) = shop();
    let db = app.pid_of("db");
    let port = app.port("db");
    app.tambat(&["restart", "db"]).must_be(0);
    app.pid_after("db", db);
    assert_eq!(get(port, "/").body, "db.1");
    assert_eq!(app.process("db")["instances"][0]["restarts"], 0);
    let said = app.tambat(&["scale", "db=2"]).must_be(2);
    assert!(said.stderr.contains("it is stateful"), "{}", said.stderr);
    assert_eq!(running.stop(), 0);
    assert!(!running.stderr().iter().chain(&running.stdout()).any(|line| line.contains("two at once")));
}

#[test]
fn stop_and_restart_a_process() {
    let (app, mut running) = shop();
    app.tambat(&["stop", "api"]).must_be(0);
    app.until_state("api", "stopped");
    let told = get(app.port("api"), "/");
    assert_eq!(told.status, 503);
    assert!(told.body.contains("`tambat restart api` starts it"), "{}", told.body);
    app.tambat(&["restart", "api"]).must_be(0);
    app.until_state("api", "ready");
    assert_eq!(get(app.port("api"), "/").body, "api.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn stop_without_a_name_returns_when_nothing_is_left() {
    let (app, mut running) = shop();
    let port = app.port("web");
    let said = app.tambat(&["stop"]).must_be(0);
    assert!(said.stderr.contains("shop has stopped"), "{}", said.stderr);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(running.ended(), 0);
    app.tambat(&["stop"]).must_be(1);
}

#[test]
fn scale_up_down_and_to_nothing() {
    let (app, mut running) = shop();
    let ready = |count: usize| {
        until(&format!("{count} of web"), || {
            let instances = app.process("web")["instances"].as_array().unwrap().clone();
            let ready = instances.iter().filter(|i| i["state"] == "ready").count();
            let alive = instances.iter().filter(|i| !i["pid"].is_null()).count();
            (ready == count && alive == count).then_some(())
        });
    };
    app.tambat(&["scale", "web=3"]).must_be(0);
    ready(3);
    app.tambat(&["scale", "web=1", "api=2"]).must_be(0);
    ready(1);
    app.tambat(&["scale", "web=0"]).must_be(0);
    ready(0);
    app.until_state("web", "stopped");
    app.tambat(&["scale", "web=1"]).must_be(0);
    ready(1);
    assert_eq!(get(app.port("web"), "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn scale_changes_nothing_when_one_word_is_wrong() {
    let (app, mut running) = shop();
    for words in [&["web=2", "nobody=2"][..], &["web=2", "api"], &["web=2", "api=many"], &["web=2", "api=70000"]] {
        app.tambat(&[&["scale"], words].concat()).must_be(2);
    }
    assert_eq!(app.process("web")["desired"], 1);
    assert_eq!(running.stop(), 0);
}

#[test]
fn pause_holds_connections_and_resume_lets_them_through() {
    let (app, mut running) = shop();
    let port = app.port("web");
    app.tambat(&["pause", "web"]).must_be(0);
    app.until_state("web", "paused");
    assert!(app.tambat(&["ps"]).stdout.lines().any(|line| line.starts_with("web.1") && line.contains("paused")));
    let waits = thread::spawn(move || get(port, "/").body);
    until("the connection to wait", || (app.process("web")["ports"][0]["waiting"] == 1).then_some(()));
    assert!(!waits.is_finished());
    app.tambat(&["resume", "web"]).must_be(0);
    assert_eq!(waits.join().unwrap(), "web.1");
    app.until_state("web", "ready");
    assert_eq!(running.stop(), 0);
}

#[test]
fn wait_ends_when_it_is_so_when_it_cannot_be_and_when_it_takes_too_long() {
    let app = AppDir::manifest(
        r#"
        [processes.web]
        command = "read line < gate; exec tambat-fixture serve"
        [processes.never]
        command = "exec tambat-fixture park"
        protocol = "http"
        [processes.broken]
        command = "exit 9"
        protocol = "http"
        restart = "never"
        "#,
    );
    let gate = app.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut running = app.start(&[]);
    running.up();
    let waits = thread::spawn({
        let app = app.clone();
        move || (app.tambat(&["wait", "web"]).must_be(0), app.process("web")["state"].clone())
    });
    until("somebody to wait", || {
        app.processes().iter().any(|process| process.command.ends_with("tambat wait web")).then_some(())
    });
    assert!(!waits.is_finished(), "it is not ready yet");
    std::fs::write(gate, "go\n").unwrap();
    assert_eq!(waits.join().unwrap().1, "ready");
    let broken = app.tambat(&["wait", "broken"]).must_be(1);
    assert!(broken.stderr.contains("broken has ended: ") && broken.stderr.contains("code 9"), "{}", broken.stderr);
    let late = app.tambat(&["wait", "never", "--timeout", "200ms"]).must_be(124);
    assert!(late.stderr.contains("after 200ms: never is waiting"), "{}", late.stderr);
    app.tambat(&["wait", "nobody"]).must_be(2);
    running.stop();
}

#[test]
fn wait_ends_when_the_app_does() {
    let app = AppDir::manifest("[processes.web]\ncommand = \"exec tambat-fixture park\"\n");
    let mut running = app.start(&[]);
    running.up();
    let waiting = thread::spawn({
        let app = app.clone();
        move || app.tambat(&["wait"])
    });
    running.line("web.1");
    assert_eq!(running.stop(), 0);
    let said = waiting.join().unwrap().must_be(1);
    assert!(said.stderr.starts_with("tambat: "), "{}", said.stderr);
}

/// A detached tambat has no parent here that ends it, so `stop` is tried whatever comes.
struct Detached(AppDir);

impl Drop for Detached {
    fn drop(&mut self) {
        if !self.0.processes().is_empty() {
            self.0.tambat(&["stop"]);
        }
        if !thread::panicking() {
            self.0.has_nothing_left();
        }
    }
}

#[test]
fn detach_returns_when_everything_is_ready_and_leaves_the_terminal() {
    let app = AppDir::manifest(&SHOP.replace("serve\"\n\n[processes.api]", "serve --boot 200\"\n\n[processes.api]"));
    let guard = Detached(app.clone());
    let said = app.tambat(&["start", "-p", "0", "--detach"]).must_be(0);
    assert_eq!(app.process("web")["state"], "ready");
    let status = app.json(&["ps", "--json"]);
    let pid = status["pid"].as_i64().unwrap();
    assert!(said.stderr.contains(&format!("shop runs in the background as pid {pid}")), "{}", said.stderr);
    assert!(said.stderr.contains(&format!("http://localhost:{}", app.port("web"))), "{}", said.stderr);
    // proc_pid_stat(5): the session, and the terminal, which is none.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!((fields[3], fields[4]), (pid.to_string().as_str(), "0"), "{stat}");
    let again = app.tambat(&["start", "-p", "0", "--detach"]).must_be(1);
    assert!(again.stderr.contains("shop already runs"), "{}", again.stderr);
    assert!(app.tambat(&["logs"]).must_be(0).stdout.contains("listening on"));
    app.tambat(&["stop"]).must_be(0);
    drop(guard);
}

/// A lock, or a pipe whose reader waits for its end: what the shell has open is not the detached tambat's to keep.
#[test]
fn a_detached_tambat_keeps_no_file_of_whoever_started_it() {
    let app = AppDir::procfile("web: exec tambat-fixture serve\n");
    let guard = Detached(app.clone());
    let start = "( flock -n 9 || exit 9; exec tambat start --http-port 0 -p 0 --detach ) 9>my.lock";
    app.shell(&format!("{start} && flock -n my.lock true")).must_be(0);
    let pid = app.json(&["ps", "--json"])["pid"].as_i64().unwrap();
    let file = |number: i32| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap();
    // Its first words were for whoever waited: they are not kept for ever in a file without a name.
    until("standard error to be let go", || (file(2) == std::path::Path::new("/dev/null")).then_some(()));
    app.tambat(&["stop"]).must_be(0);
    drop(guard);
}

#[test]
fn detach_of_an_app_that_fails_says_why() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture say no-database; exit 5\"\nrestart = \"never\"\n\
         [processes.worker]\ncommand = \"exec tambat-fixture park\"\n",
    );
    let guard = Detached(app.clone());
    let said = app.tambat(&["start", "-p", "0", "--detach"]).must_be(1);
    assert!(said.stderr.contains("web has ended: "), "{}", said.stderr);
    assert!(said.stderr.contains("no-database"), "{}", said.stderr);
    assert!(said.stderr.contains("`tambat stop` stops it"), "{}", said.stderr);
    app.tambat(&["stop"]).must_be(0);
    drop(guard);
}

#[test]
fn detach_of_an_app_whose_build_fails_says_so() {
    let app = AppDir::manifest("build = \"sleep 0.3; exit 3\"\n[processes.web]\ncommand = \"tambat-fixture serve\"\n");
    let said = app.tambat(&["start", "-p", "0", "--detach"]).must_be(1).stderr;
    assert!(said.contains("the build `sleep 0.3; exit 3` failed with code 3: nothing was started"), "{said}");
    assert_eq!(app.processes(), []);
}

#[test]
fn detach_of_an_app_without_exporters_names_no_url() {
    let app = AppDir::procfile("job: exec tambat-fixture park\n");
    let guard = Detached(app.clone());
    let said = app.tambat(&["start", "-p", "0", "--detach"]).must_be(0).stderr;
    let pid = app.json(&["ps", "--json"])["pid"].clone();
    assert_eq!(said.lines().next_back(), Some(&*format!("shop runs in the background as pid {pid}")));
    app.tambat(&["stop"]).must_be(0);
    drop(guard);
}

#[test]
fn detach_of_an_app_that_cannot_start_says_why_and_leaves_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let app = AppDir::manifest(&format!("[processes.web]\ncommand = \"exec tambat-fixture serve\"\nport = {port}\n"));
    let said = app.tambat(&["start", "--detach"]).must_be(1);
    assert!(said.stderr.contains(&format!("cannot serve web at port {port}")), "{}", said.stderr);
    app.has_nothing_left();
    let app = AppDir::procfile("web: exec tambat-fixture park\n");
    let guard = Detached(app.clone());
    let late = app.tambat(&["start", "-p", "0", "--detach", "--timeout", "300ms"]).must_be(124);
    assert!(late.stderr.contains("web is waiting"), "{}", late.stderr);
    app.tambat(&["stop"]).must_be(0);
    drop(guard);
}
