//! `tambat check`: apps that keep the contract and apps that break one clause of it, each format, each exit code, and that
//! nothing is left.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{AppDir, Backend, Base, Output, Stopwatch, finish, programs, until};

/// A good app. What stands in `{...}` is left out, or filled in by a test that breaks it.
const APP: &str = r#"
import http.server, os, signal, socket, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 10
    def do_GET(self):
        {get}
        self.answer(b"hello\n")
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = False
    request_queue_size = 128
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()
    def handle_error(self, *_):
        pass

port = int(os.environ["PORT"])
host = {"127.0.0.1": "::ffff:127.0.0.1"}.get(os.environ.get("HOST"), "::")
{before}
server = Server((host, port), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
"#;

/// One process, which runs the good app.
const WEB: &str = "[processes.web]\ncommand = \"exec /usr/bin/python3 app.py\"\n";

/// The app with these lines in its handler of `GET`, and before it listens.
fn app(get: &str, before: &str) -> AppDir {
    let text = APP.replace("{get}", if get.is_empty() { "pass" } else { get }).replace("{before}", before);
    AppDir::manifest(WEB).file("app.py", text)
}

fn good() -> AppDir {
    app("", "")
}

/// The report of its one process.
fn report(output: &Output) -> Value {
    let mut lines = output.stdout.lines();
    let line = lines.next().unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(lines.next(), None, "{output:?}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The clauses with this verdict.
fn with(report: &Value, verdict: &str) -> Vec<String> {
    let clauses = report["clauses"].as_array().unwrap().iter().filter(|clause| clause["verdict"] == verdict);
    clauses.map(|clause| clause["id"].as_str().unwrap().to_owned()).collect()
}

/// What was seen for one clause.
fn seen<'a>(report: &'a Value, id: &str) -> &'a str {
    let clause = report["clauses"].as_array().unwrap().iter().find(|clause| clause["id"] == id).unwrap();
    clause["seen"].as_str().unwrap()
}

/// Breaks this clause and no other; the report.
#[track_caller]
fn breaks(app: &AppDir, args: &[&str], id: &str) -> Value {
    let output = app.tambat(&[&["check", "--json"], args].concat()).must_be(1);
    let report = report(&output);
    assert_eq!(with(&report, "broken"), [id], "{report:#}");
    app.has_nothing_left();
    report
}

#[test]
fn a_good_app_keeps_every_clause_that_concerns_it() {
    let app = good().file("requirements.txt", "tornado==6.2\n");
    let began = Stopwatch::begin();
    let report = report(&app.tambat(&["check", "--json"]).must_be(0));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(with(&report, "not_judged"), ["PB-15", "PB-18"], "{report:#}");
    assert_eq!(with(&report, "kept").len(), 17, "{report:#}");
    assert_eq!((&report["app"], &report["process"]), (&"shop".into(), &"web".into()));
    assert_eq!(report["command"], "exec /usr/bin/python3 app.py");
    let facts = &report["facts"];
    assert_eq!((&facts["protocol"], &facts["processes"]), (&"HTTP/1.0".into(), &1.into()));
    // So many, or what a slow machine answers in the time that there is for them.
    assert!((1..=1_000).contains(&facts["requests"].as_u64().unwrap()), "{facts}");
    for fact in ["boot_ms", "memory_bytes", "memory_bytes_later", "stop_ms"] {
        assert!(facts[fact].as_u64().unwrap() > 0, "{fact}: {facts}");
    }
    assert!(facts["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:2"), "{facts}");
    app.has_nothing_left();
}

/// PB-03
#[test]
fn a_port_in_the_code_is_named_with_the_line_to_write() {
    let fixed = Base::find().text();
    let report = breaks(&app("", &format!("port = {fixed}")), &["--boot", "5s"], "PB-03");
    assert!(seen(&report, "PB-03").contains(&format!("it listened on {fixed} both times")), "{report:#}");
    let clause = report["clauses"].as_array().unwrap().iter().find(|c| c["id"] == "PB-03").unwrap();
    assert_eq!(clause["mend"], "in app.py use os.environ[\"PORT\"]");
    assert!(seen(&report, "PB-02").contains("PB-03"), "one cause has one verdict: {report:#}");
}

/// PB-02
#[test]
fn an_app_that_never_listens_says_why_in_its_own_words() {
    let report = breaks(&app("", "sys.exit('no database')"), &[], "PB-02");
    let seen = seen(&report, "PB-02");
    assert!(seen.starts_with("it ended with code 1 after ") && seen.ends_with("its last words: no database"), "{seen}");
}

/// PB-05
#[test]
fn an_undeclared_port_is_named_with_its_owner() {
    let other = "other = socket.create_server(('0.0.0.0', 0))";
    let report = breaks(&app("", other), &[], "PB-05");
    assert!(
        seen(&report, "PB-05").contains("TCP 0.0.0.0:") && seen(&report, "PB-05").contains("python3 (pid "),
        "{report:#}"
    );
}

/// PB-07
#[test]
fn a_server_that_serves_one_at_a_time_is_found_out() {
    let one = good();
    let text = std::fs::read_to_string(one.path().join("app.py")).unwrap();
    let text = text.replace("http.server.ThreadingHTTPServer", "http.server.HTTPServer");
    breaks(&one.file("app.py", text), &[], "PB-07");
}

/// PB-11
#[test]
fn one_that_is_deaf_is_killed_and_said_so() {
    let deaf = "signal.signal = lambda *_: None\nimport _signal; _signal.signal(15, _signal.SIG_IGN)";
    let report = breaks(&app("", deaf), &["--grace", "1s"], "PB-11");
    assert!(seen(&report, "PB-11").contains("still ran 1 s after SIGTERM"), "{report:#}");
}

/// PB-12
#[test]
fn a_slow_page_that_is_cut_off_is_lost() {
    let slow = "import time; self.path == '/slow' and time.sleep(1)";
    let kept = report(&app(slow, "").tambat(&["check", "--json", "--slow", "/slow", "--only", "PB-12"]).must_be(0));
    assert_eq!(with(&kept, "kept"), ["PB-12"], "{kept:#}");
    let dies = app(slow, "signal.signal = lambda *_: None");
    breaks(&dies, &["--slow", "/slow"], "PB-12");
}

/// PB-14
#[test]
fn a_daemon_that_stays_is_named() {
    let daemon = "os.spawnvp(os.P_NOWAIT, 'setsid', ['setsid', 'sleep', '60'])";
    let report = breaks(&app("", daemon), &[], "PB-14");
    assert!(seen(&report, "PB-14").contains("sleep (pid "), "{report:#}");
}

/// PB-16
#[test]
fn a_private_port_in_a_redirect_is_quoted() {
    let leak = "self.send_response(302); self.send_header('Location', f'http://localhost:{port}/x'); \
                self.send_header('Content-Length', '0'); self.end_headers(); return";
    let report = breaks(&app(leak, ""), &[], "PB-16");
    assert!(seen(&report, "PB-16").contains("has Location: http://localhost:2"), "{report:#}");
}

/// PB-04
#[test]
fn a_warning_is_a_failure_only_where_that_is_asked_for() {
    let loopback = app("", "host = '::1'");
    let only = ["check", "--json", "--only", "PB-04,PB-06"];
    let report = report(&loopback.tambat(&only).must_be(0));
    assert_eq!((with(&report, "warned"), with(&report, "kept")), (vec!["PB-04".to_owned()], vec!["PB-06".to_owned()]));
    loopback.tambat(&[&only[..], &["--strict"]].concat()).must_be(1);
    let skipped = loopback.tambat(&["check", "--json", "--skip", "4", "--strict"]).must_be(0);
    assert!(!skipped.stdout.contains("PB-04"), "{skipped:?}");
}

#[test]
fn each_format_has_the_same_verdicts() {
    let app = good();
    let of = |format: &str| app.tambat(&["check", "--only", "PB-03,PB-18", "--format", format]).must_be(0).stdout;
    let text = of("text");
    assert!(text.starts_with("web of shop: exec /usr/bin/python3 app.py\n"), "{text}");
    assert!(text.contains("  PB-03  kept        obeys PORT") && text.ends_with("1 kept, 1 not judged\n"), "{text}");
    assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let junit = of("junit");
    assert!(junit.starts_with("<?xml") && junit.contains("tests=\"2\" failures=\"0\" skipped=\"1\""), "{junit}");
    let markdown = of("markdown");
    assert!(markdown.contains("| PB-03 | obeys PORT, whatever number it says | kept |"), "{markdown}");
    let json: Value = serde_json::from_str(&of("json")).unwrap();
    assert_eq!((with(&json, "kept").len(), with(&json, "not_judged").len()), (1, 1));
}

#[test]
fn a_terminal_sees_what_is_being_done_and_colours() {
    let app = good();
    let on_terminal = |no_color: &str| {
        let mut script = app.any_command("script");
        script.args(["-qec", "tambat check --only PB-02", "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
        finish(script, "tambat check on a terminal").must_be(0).stdout
    };
    let shown = on_terminal("");
    assert!(shown.contains("\r\u{1b}[Kchecking web: starting it..."), "{shown:?}");
    assert!(shown.contains("PB-02  \u{1b}[32mkept      \u{1b}[0m  binds its port"), "{shown:?}");
    assert!(!on_terminal("1").contains("\u{1b}[32m"));
}

#[test]
fn any_command_is_judged_without_a_file_and_its_protocol_recognised() {
    programs::redis();
    let command = "redis-server --port $PORT --bind 127.0.0.1 --save '' --appendonly no";
    let report = report(&AppDir::new().tambat(&["check", "--json", "--", command]).must_be(0));
    assert_eq!(report["facts"]["protocol"], "the Redis protocol");
    assert_eq!(with(&report, "broken"), [""; 0], "{report:#}");
    for id in ["PB-06", "PB-07", "PB-08", "PB-09", "PB-13"] {
        assert!(with(&report, "kept").contains(&id.to_owned()), "{report:#}");
    }
}

/// PB-15, PB-18
#[test]
fn a_stateful_provider_runs_in_a_copy_and_its_handle_leads_through_a_recorder() {
    programs::redis();
    let ask = "import urllib.parse; u = urllib.parse.urlsplit(os.environ['CACHE_URL']); \
               s = socket.create_connection((u.hostname, u.port), 5); s.sendall(b'SET a b\\r\\n'); s.recv(99); s.close()";
    let manifest = format!(
        "{WEB}uses = [\"cache\"]\n[processes.cache]\nprotocol = \"redis\"\n\
         command = \"exec redis-server --port $PORT --bind 127.0.0.1 --appendonly yes\"\n"
    );
    let app = app(ask, "").file("tambat.toml", manifest);
    let report = report(&app.tambat(&["check", "web", "--json"]).must_be(0));
    assert_eq!(with(&report, "not_judged"), ["PB-19"], "{report:#}");
    assert!(seen(&report, "PB-15").contains("it dialled cache by CACHE_URL"), "{report:#}");
    let mut names: Vec<_> = std::fs::read_dir(app.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["app.py", "tambat.toml"], "the directory itself was not touched");
    app.has_nothing_left();
}

/// Only what is stateful runs in the copy.
#[test]
fn what_lies_beside_the_directory_is_still_there() {
    programs::redis();
    let ask = "import urllib.parse; u = urllib.parse.urlsplit(os.environ['API_URL']); \
               s = socket.create_connection((u.hostname, u.port), 5); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); s.recv(9); s.close()";
    let manifest = format!(
        "{WEB}uses = [\"api\"]\n[processes.api]\nprotocol = \"http\"\nuses = [\"cache\"]\n\
         command = \"exec ../beside/serve\"\n[processes.cache]\nprotocol = \"redis\"\n\
         command = \"exec redis-server --port $PORT --bind 127.0.0.1 --appendonly yes\"\n"
    );
    let app = app(ask, "").file("tambat.toml", manifest);
    let beside = app.neighbour("beside").file("serve", "#!/bin/sh\nexec tambat-fixture serve\n");
    let script = beside.path().join("serve");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let report = report(&app.tambat(&["check", "web", "--json", "--only", "PB-15"]).must_be(0));
    assert_eq!(with(&report, "kept"), ["PB-15"], "{report:#}");
    assert!(!app.path().join("appendonlydir").exists(), "the data stayed in the copy");
}

#[test]
fn a_provider_in_another_app_is_used_as_it_runs() {
    let manifest = format!("{WEB}uses = [\"billing/api\"]\n");
    let app =
        app("", "assert os.environ['BILLING_API_URL'].startswith('http://127.0.0.1:')").file("tambat.toml", manifest);
    let api = "[processes.api]\nprotocol = \"http\"\ncommand = \"exec tambat-fixture serve\"\n";
    let billing = app.neighbour("billing").file("tambat.toml", api);
    let absent = app.tambat(&["check"]).must_be(1);
    assert!(absent.stderr.contains("cannot judge web: billing/api does not run"), "{absent:?}");
    let mut running = billing.start(&[]);
    running.ready(&["api"]);
    let report = report(&app.tambat(&["check", "--json", "--only", "PB-02"]).must_be(0));
    assert_eq!(with(&report, "kept"), ["PB-02"], "{report:#}");
    assert_eq!(running.stop(), 0);
}

/// PB-15
#[test]
fn a_provider_that_is_dialled_elsewhere_is_found_out() {
    let usual = Base::find().text();
    let ask = format!(
        "s = socket.create_connection(('127.0.0.1', {usual}), 5); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); s.recv(9); s.close()"
    );
    let manifest = format!(
        "{WEB}uses = [\"api\"]\n[processes.api]\nprotocol = \"http\"\nport = {usual}\ncommand = \"exec tambat-fixture serve\"\n"
    );
    let app = app(&ask, "").file("tambat.toml", manifest);
    let output = app.tambat(&["check", "web", "--json", "--skip", "PB-18"]).must_be(1);
    let report = report(&output);
    assert_eq!(with(&report, "broken"), ["PB-15"], "{report:#}");
    let seen = seen(&report, "PB-15");
    assert_eq!(seen, format!("it dialled api at 127.0.0.1:{usual}, not where API_URL says"));
}

/// PB-15
#[test]
fn who_dials_without_any_handle_is_told_what_it_dialled() {
    let backend = Backend::start("there");
    let port = backend.addr.port();
    // Long enough to be seen.
    let dial = format!("self.server.dialled = socket.create_connection(('127.0.0.1', {port}), 5)");
    let report = report(&app(&dial, "").tambat(&["check", "--json", "--only", "PB-15"]).must_be(0));
    assert_eq!(with(&report, "not_judged"), ["PB-15"], "{report:#}");
    let expected = format!(
        "it uses no backing service that is started here, and dialled 127.0.0.1:{port}; what `uses` names is judged"
    );
    assert_eq!(seen(&report, "PB-15"), expected);
}

#[test]
fn what_is_used_and_never_ready_ends_the_check() {
    let manifest = format!(
        "{WEB}uses = [\"api\"]\n[processes.api]\nprotocol = \"http\"\ncommand = \"exec tambat-fixture park\"\n\
         ready = {{ within = \"1s\" }}\nrestart = \"never\"\n"
    );
    let app = good().file("tambat.toml", manifest);
    let output = app.tambat(&["check", "web"]).must_be(124);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("cannot judge what uses `api`"), "{output:?}");
    app.has_nothing_left();
}

#[test]
fn a_mistake_on_the_command_line_is_told() {
    let app = good();
    for (args, said) in [
        (&["check", "nobody"][..], "there is no process `nobody` in shop; it has web"),
        (&["check", "--only", "PB-33"], "`PB-33` is no clause"),
        (&["check", "--url", "localhost"], "it names no port"),
        (&["check", "--format", "xml"], "invalid value 'xml'"),
    ] {
        let output = app.tambat(args).must_be(2);
        assert!(output.stderr.contains(said), "{output:?}");
    }
    let nothing = AppDir::procfile("job: sleep 60\n").tambat(&["check"]).must_be(2);
    assert!(nothing.stderr.contains("job is not judged") && nothing.stderr.contains("nothing to judge"), "{nothing:?}");
}

#[test]
fn what_runs_already_is_judged_by_its_url() {
    let backend = Backend::start("there");
    let url = format!("http://{}", backend.addr);
    let report = report(&AppDir::new().tambat(&["check", "--json", "--url", &url]).must_be(0));
    assert_eq!(with(&report, "broken"), [""; 0], "{report:#}");
    // Whose it is, what else it has open and how it started was not seen.
    assert_eq!(with(&report, "kept"), ["PB-06", "PB-07", "PB-08", "PB-16"], "{report:#}");
    assert_eq!(seen(&report, "PB-01"), "it ran already: only a start shows that");
    let addr = backend.dies();
    let gone = AppDir::new().tambat(&["check", "--url", &addr.to_string()]).must_be(1);
    assert!(gone.stderr.contains(&format!("cannot connect to {addr}")), "{gone:?}");
}

/// The app of an interrupted check, once its first start is there, and the check itself.
fn interrupted(app: &AppDir, signal: Signal) -> Option<i32> {
    let mut check = app.command(&["check"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let runs = |app: &AppDir| app.processes().iter().any(|process| process.name == "python3");
    until("a start of the app", || runs(app).then_some(()));
    kill(Pid::from_raw(i32::try_from(check.id()).unwrap()), signal).unwrap();
    let status = until("the end of the check", || check.try_wait().unwrap());
    status.code()
}

#[test]
fn ctrl_c_leaves_nothing() {
    // Deaf to TERM, so that it has to be killed.
    let app = app("", "import _signal; signal.signal = lambda *_: _signal.signal(15, _signal.SIG_IGN)");
    assert_eq!(interrupted(&app, Signal::SIGINT), Some(130));
    app.has_nothing_left();
    assert_eq!(interrupted(&app, Signal::SIGTERM), Some(143));
    app.has_nothing_left();
}

#[test]
fn a_sigkill_leaves_nothing() {
    let app = good();
    assert_eq!(interrupted(&app, Signal::SIGKILL), None);
    until("everything to be gone", || app.processes().is_empty().then_some(()));
}

#[test]
fn the_contract_stands_in_the_manual_and_in_its_pages() {
    let manual = AppDir::new().tambat(&["man"]).must_be(0).stdout;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contract");
    for number in 1..=19 {
        let id = format!("PB-{number:02}");
        assert!(manual.contains(&format!("\\fB{id}\\fR")), "{id}");
        let page = std::fs::read_to_string(folder.join(format!("{id}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {id}: the app ")), "{page}");
    }
}
