//! gRPC end to end: a server and a client of the library `grpcio`, with the router between.

use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;

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
