//! Servers of protocols that are no HTTP, each the real one with its real client: ready when it answers and not when it
//! listens, served at its service port, refused in its own words, ended with a session open.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::{AppDir, LIMIT, Running, is_free};

mod mariadb;
mod mosquitto;
mod smtp;
mod ssh;
mod tls;

/// A process that failed at its start, of this protocol, beside a web that keeps tambat going.
fn failed(protocol: &str) -> (AppDir, Running) {
    let app = AppDir::manifest(&format!(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\n\
         [processes.back]\ncommand = \"exit 3\"\nprotocol = \"{protocol}\"\nrestart = \"never\"\n"
    ));
    let running = app.start(&[]);
    running.up();
    app.until_state("back", "ended");
    (app, running)
}

/// What clients of [`failed`] are told.
const WHY: &str = "tambat: back cannot be reached: back.1 exited with code 3";

/// Tells tambat to stop, as a deployment does, while this client is connected: nobody has to be killed for it, nothing is
/// left, and nobody listens then.
fn stop_by_term(app: &AppDir, process: &str, running: &mut Running, client: Option<Client>) {
    let port = app.port(process);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.exit_code(), 0);
    drop(client);
    running.nothing_left(LIMIT);
    let said = [running.stdout(), running.stderr()].concat();
    for trouble in ["did not stop within its grace", "started again", "is not started again"] {
        assert!(said.iter().all(|line| !line.contains(trouble)), "{said:#?}");
    }
    assert!(is_free(port), "{port}");
}

/// What `tambat check` says of how it speaks.
fn spoken(app: &AppDir, process: &str) -> String {
    let judged = app.json(&["check", process, "--only", "PB-06", "--json"]);
    judged["clauses"][0]["seen"].as_str().unwrap().to_owned()
}

/// A client that stays connected, and what it says.
struct Client {
    child: Child,
}

impl Client {
    /// One that has said a line with this in it, after this was said to it.
    fn start(mut command: Command, say: &str, until_it_says: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(say.as_bytes()).unwrap();
        let stdout = BufReader::new(child.stdout.as_mut().unwrap());
        let told = stdout.lines().map_while(Result::ok).any(|line| line.contains(until_it_says));
        assert!(told, "it ended without {until_it_says}");
        Self { child }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
