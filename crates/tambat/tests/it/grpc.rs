//! gRPC end to end: a server and a client of the library `grpcio`, with the router between.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::programs::repository;
use crate::support::{AppDir, Routed, Running, finish, until};

/// An app with a server of gRPC, `api`, and what else its manifest says.
fn app(options: &str) -> AppDir {
    let python = repository().join("target/tools/grpc/bin/python");
    assert!(python.exists(), "cannot find {}: `cargo xtask packages` installs it", python.display());
    let command = format!("exec {} server.py {options}", python.display());
    let manifest = format!("name = \"demo\"\n[processes.api]\ncommand = \"{command}\"\nprotocol = \"h2c\"\n");
    let fixtures = repository().join("tests/fixtures/grpc");
    ["server.py", "client.py"]
        .into_iter()
        .fold(AppDir::manifest(&manifest), |app, name| app.file(name, std::fs::read(fixtures.join(name)).unwrap()))
}

fn started(app: &AppDir) -> Running {
    let running = app.start(&[]);
    running.ready(&["api"]);
    running
}

fn client(app: &AppDir, args: &[&str]) -> std::process::Command {
    let mut command = app.any_command(repository().join("target/tools/grpc/bin/python"));
    command.arg("client.py").args(args).stdin(Stdio::null());
    command
}

/// The client finds everything as it should be.
fn is_well(app: &AppDir, args: &[&str]) {
    let said = finish(client(app, args), &args.join(" ")).must_be(0);
    assert!(said.stdout.ends_with("well\n"), "{args:?}: {} {}", said.stdout, said.stderr);
}

#[test]
fn every_kind_of_call_passes_as_if_nothing_were_between() {
    let app = app("");
    let mut running = started(&app);
    let address = format!("localhost:{}", app.port("api"));
    for scenario in ["echo", "count", "total", "chat", "early", "errors", "large", "parallel", "health"] {
        is_well(&app, &[&address, scenario]);
    }
    // By its name, at the port that all apps share.
    let line = running.err_line("http://api.demo.localhost:");
    let name = line.split("http://").nth(2).unwrap().split_whitespace().next().unwrap();
    let port = name.rsplit(':').next().unwrap();
    is_well(&app, &[&format!("127.0.0.1:{port}"), "chat", name]);
    running.stop();
}

#[test]
fn the_server_hears_of_deadlines_and_of_clients_that_give_up() {
    let app = app("");
    let mut running = started(&app);
    let address = format!("localhost:{}", app.port("api"));
    is_well(&app, &[&address, "deadline"]);
    running.line("hangs deadline, a deadline");
    running.line("hung up deadline");
    let said = File::create(app.path().join("said")).unwrap();
    let mut cancels = client(&app, &[&address, "cancel"]).stdin(Stdio::piped()).stdout(said).spawn().unwrap();
    let mut tell = cancels.stdin.take().unwrap();
    for call in ["cancel", "stream"] {
        running.line(&format!("hangs {call}"));
        tell.write_all(b"now\n").unwrap();
        running.line(&format!("hung up {call}"));
    }
    drop(tell);
    let code = until("the client's end", || cancels.try_wait().unwrap());
    assert!(code.success());
    running.stop();
}

#[test]
fn the_router_alone_speaks_http2_to_targets_that_do() {
    let app = app("");
    let mut running = started(&app);
    let target = format!("127.0.0.1:{}", app.port("api"));
    let toml = format!("listen = \"127.0.0.1:0\"\n[routes.rpc]\nprotocol = \"h2c\"\ntargets = \"{target}\"\n");
    let routed = Routed::start_in(&app, &toml, &[]);
    for scenario in ["echo", "chat", "errors"] {
        is_well(&app, &[&routed.addr.to_string(), scenario]);
    }
    drop(routed);
    running.stop();
}

#[test]
fn a_server_is_ready_when_it_says_that_it_serves() {
    let app = app("--slow");
    let mut running = app.start(&[]);
    running.line("serves");
    assert_ne!(app.process("api")["instances"][0]["state"], "ready");
    let server =
        until("the server", || app.processes().into_iter().find(|process| process.command.contains("server.py")));
    kill(Pid::from_raw(server.pid), Signal::SIGUSR1).unwrap();
    running.ready(&["api"]);
    running.stop();
}

/// A client that goes on until it is told something.
struct Going {
    child: Child,
    tell: Option<ChildStdin>,
    said: std::path::PathBuf,
}

impl Going {
    fn start(app: &AppDir, name: &str, args: &[&str]) -> Self {
        let said = app.path().join(name);
        let output = File::create(&said).unwrap();
        let mut child = client(app, args).stdin(Stdio::piped()).stdout(output).spawn().unwrap();
        let tell = child.stdin.take();
        let going = Self { child, tell, said };
        until("the client's first word", || going.text().contains("asked\n").then_some(()));
        going
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Tells it to come to an end; everything that it said.
    fn ends(mut self) -> String {
        drop(self.tell.take());
        let code = until("the client's end", || self.child.try_wait().unwrap());
        assert!(code.success(), "{}", self.text());
        self.text()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until another process is the ready one, and the one before is gone.
fn replaced(app: &AppDir, before: i64) -> i64 {
    until("another instance", || {
        let process = app.process("api");
        let [instance] = process["instances"].as_array()?.as_slice() else { return None };
        let pid = instance["pid"].as_i64()?;
        (instance["state"] == "ready" && pid != before).then_some(pid)
    })
}

/// Calls, failed calls and servers of a client that went on.
fn counts(said: &str) -> [u32; 3] {
    let line = said.lines().find(|line| line.contains(" calls, ")).unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn no_call_fails_while_the_server_is_replaced() {
    let app = app("");
    let mut running = started(&app);
    let address = format!("localhost:{}", app.port("api"));
    let clients = ["a", "b", "c", "d"].map(|name| Going::start(&app, name, &[&address, "steady"]));
    // Both ways are open on the old one, which may end when it is done with them.
    let across = Going::start(&app, "across", &[&address, "across"]);
    let mut pid = app.pid_of("api");
    app.tambat(&["restart", "api"]).must_be(0);
    until("the new one", || {
        let process = app.process("api");
        let is_ready = |of: &serde_json::Value| of["state"] == "ready" && of["pid"] != pid;
        process["instances"].as_array().unwrap().iter().any(is_ready).then_some(())
    });
    assert!(across.ends().ends_with("well\n"));
    for _ in 0..2 {
        pid = replaced(&app, pid);
        app.tambat(&["restart", "api"]).must_be(0);
    }
    replaced(&app, pid);
    for client in clients {
        let said = client.ends();
        let [calls, failed, servers] = counts(&said);
        assert!(failed == 0 && servers >= 3 && calls > 10, "{said}");
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn of_a_server_that_is_killed_no_more_is_lost_than_what_it_had_in_its_hands() {
    let app = app("");
    let mut running = started(&app);
    let address = format!("localhost:{}", app.port("api"));
    let clients = ["a", "b", "c"].map(|name| Going::start(&app, name, &[&address, "steady"]));
    let before = app.pid_of("api");
    kill(Pid::from_raw(i32::try_from(before).unwrap()), Signal::SIGKILL).unwrap();
    replaced(&app, before);
    for client in clients {
        until("an answer of the new one", || {
            // What is in flight is one call of each.
            (app.process("api")["instances"][0]["state"] == "ready").then_some(())
        });
        let said = client.ends();
        let [calls, failed, _] = counts(&said);
        assert!(failed <= 1 && calls > 0, "{said}");
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_client_of_grpc_is_told_in_its_own_words() {
    let python = repository().join("target/tools/grpc/bin/python");
    let app = app("").file(
        "tambat.toml",
        format!(
            "name = \"demo\"\n[processes.api]\ncommand = \"exec {} server.py\"\nprotocol = \"h2c\"\n\
             [processes.gone]\ncommand = \"exec false\"\nprotocol = \"h2c\"\nrestart = \"never\"\n",
            python.display()
        ),
    );
    let mut running = started(&app);
    let told = |args: &[&str]| {
        let said = finish(client(&app, args), &args.join(" ")).must_be(0);
        said.stdout.strip_suffix("\nwell\n").unwrap_or_else(|| panic!("{said:?}")).to_owned()
    };
    let gone = told(&[&format!("localhost:{}", app.port("gone")), "unavailable"]);
    let why = "no-target: gone cannot be reached: gone.1 exited with code 1 before it was ready; `tambat restart gone`";
    assert!(gone.starts_with(why), "{gone}");
    // A name that nobody has, where all names are served.
    let line = running.err_line("http://api.demo.localhost:");
    let port = line.split("http://api.demo.localhost:").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let nobody = told(&[&format!("127.0.0.1:{port}"), "unimplemented", &format!("nobody.localhost:{port}")]);
    assert!(nobody.starts_with("no-route: no process answers to nobody.localhost/demo.Demo/Echo; "), "{nobody}");
    running.stop();
}

#[test]
fn it_keeps_the_contract() {
    let app = app("");
    let report = app.json(&["check", "api", "--json", "--boot", "20s", "--grace", "10s"]);
    let clauses = report["clauses"].as_array().unwrap();
    let with = |verdict: &str| -> Vec<&str> {
        clauses.iter().filter(|of| of["verdict"] == verdict).map(|of| of["id"].as_str().unwrap()).collect()
    };
    assert_eq!(with("not_judged"), ["PB-12", "PB-15", "PB-16", "PB-18", "PB-19"], "{report:#}");
    assert_eq!(with("kept").len(), 14, "{report:#}");
    assert_eq!(report["facts"]["protocol"], "HTTP/2 without TLS");
}
