//! WebSocket and server-sent events between real clients and real apps: Python's `websockets` and `urllib`, Node's `ws`
//! and `http`, through a router alone and through `tambat start` by hostname.

mod http2;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{AppDir, Base, LIMIT, Routed, finish, most_files, programs};

const PYTHON_SERVER: &str = include_str!("real_websocket/server.py");
const PYTHON_CLIENT: &str = include_str!("real_websocket/client.py");
const NODE_SERVER: &str = include_str!("real_websocket/server.js");
const NODE_CLIENT: &str = include_str!("real_websocket/client.js");
const EVENTS: &str = include_str!("real_websocket/events.py");

/// The name under which `tambat route` serves.
const HOST: &str = "shop.example";

/// At once, through one router.
const MANY: &str = "1000";

/// Limits for requests that a tunnel and a stream outlive: each of both is open for longer than all of these.
const LIMITS: &str = "[router]\ntimeouts = { head = \"2s\", body_idle = \"1s\", keep_alive = \"1s\" }\n";

/// A language, its WebSocket library, and the programs written with both.
#[derive(Clone, Copy)]
enum Kind {
    /// `websockets`.
    Python,
    /// `ws`.
    Node,
    /// Python's own HTTP server and client, for events only.
    Urllib,
}

impl Kind {
    /// A directory with the programs in it, and what their library is found by.
    fn dir(self) -> AppDir {
        let dir = AppDir::new();
        match self {
            Self::Python => dir.file("server.py", PYTHON_SERVER).file("client.py", PYTHON_CLIENT),
            Self::Urllib => dir.file("events.py", EVENTS),
            Self::Node => {
                let modules = programs::ws();
                let dir = dir.file("server.js", NODE_SERVER).file("client.js", NODE_CLIENT);
                dir.env("NODE_PATH", modules.to_str().unwrap())
            }
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Python => programs::websockets(),
            Self::Node => "node".into(),
            Self::Urllib => "/usr/bin/python3".into(),
        }
    }

    /// Where to serve stands in PORT.
    fn server(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["server.py"],
            Self::Node => &["server.js"],
            Self::Urllib => &["events.py", "serve"],
        }
    }

    fn client(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["client.py"],
            Self::Node => &["client.js"],
            Self::Urllib => &["events.py", "read"],
        }
    }

    /// The server as a line of a manifest.
    fn command(self) -> String {
        format!("{} {}", self.program().display(), self.server().join(" "))
    }
}

/// A client that does this, at this port, by this name; it must be content.
#[track_caller]
fn client(kind: Kind, dir: &AppDir, at: u16, host: &str, what: &[&str]) {
    let mut command = dir.any_command(kind.program().to_str().unwrap());
    command.args(kind.client()).args([&at.to_string(), host]).args(what);
    let output = finish(command, &format!("the client that does {what:?}")).must_be(0);
    assert!(output.stdout.contains("was as it should be"), "{output:?}");
}

/// A server that nobody but the test looks after.
struct Served {
    child: Child,
    lines: Receiver<String>,
    addr: SocketAddr,
}

impl Served {
    fn start(kind: Kind, dir: &AppDir) -> Self {
        let mut command: Command = dir.any_command(kind.program().to_str().unwrap());
        let mut child = command.args(kind.server()).env("PORT", "0").stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut served = Self { child, lines, addr: ([127, 0, 0, 1], 0).into() };
        served.addr.set_port(served.line("listening on ").parse().unwrap());
        served
    }

    /// What follows this beginning on the next line that has it.
    #[track_caller]
    fn line(&self, beginning: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("the server never said {beginning:?}"));
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A router before a server of this kind, with limits that its requests keep and its tunnels outlive.
fn routed(kind: Kind) -> (AppDir, Served, Routed) {
    routed_within(kind, LIMITS, "timeouts = { first_byte = \"5s\", response_idle = \"1s\" }\n")
}

/// The same with limits that a thousand clients of one slow machine keep.
fn routed_to_many(kind: Kind) -> (AppDir, Served, Routed) {
    routed_within(kind, "[router]\ntimeouts = { head = \"1m\" }\n", "timeouts = { first_byte = \"1m\" }\n")
}

fn routed_within(kind: Kind, limits: &str, of_route: &str) -> (AppDir, Served, Routed) {
    most_files();
    let dir = kind.dir();
    let server = Served::start(kind, &dir);
    let target = server.addr;
    let router =
        Routed::start(&format!("{limits}[routes.shop]\nhosts = [\"{HOST}\"]\ntargets = [\"{target}\"]\n{of_route}"));
    (dir, server, router)
}

/// Messages of all kinds and sizes, ends, pings, and silence.
fn talks(kind: Kind) {
    let (dir, server, mut router) = routed(kind);
    let at = router.addr.port();
    client(kind, &dir, at, HOST, &["echo"]);
    client(kind, &dir, at, HOST, &["close"]);
    assert_eq!(server.line("closed with 43"), "21 as asked");
    assert_eq!(server.line("closed with 40"), "01 bye now", "the client's code comes through to the app");
    client(kind, &dir, at, HOST, &["ping"]);
    client(kind, &dir, at, HOST, &["idle"]);
    assert_eq!(router.stop(), 0);
}

#[test]
fn python_websockets_through_a_router() {
    talks(Kind::Python);
}

#[test]
fn node_ws_through_a_router() {
    talks(Kind::Node);
}

#[test]
fn clients_of_one_language_talk_to_apps_of_the_other() {
    for (here, there) in [(Kind::Python, Kind::Node), (Kind::Node, Kind::Python)] {
        let (_dir, _server, mut router) = routed(there);
        let dir = here.dir();
        for what in ["echo", "close", "ping"] {
            client(here, &dir, router.addr.port(), HOST, &[what]);
        }
        assert_eq!(router.stop(), 0);
    }
}

#[test]
fn a_thousand_python_websockets_at_once() {
    let (dir, _server, mut router) = routed_to_many(Kind::Python);
    client(Kind::Python, &dir, router.addr.port(), HOST, &["many", MANY]);
    assert_eq!(router.stop(), 0);
}

#[test]
fn a_thousand_node_websockets_at_once() {
    let (dir, _server, mut router) = routed_to_many(Kind::Node);
    client(Kind::Node, &dir, router.addr.port(), HOST, &["many", MANY]);
    assert_eq!(router.stop(), 0);
}

#[test]
fn events_come_one_by_one_through_a_router() {
    // In chunks from Node's server, up to the end of the connection from Python's.
    let (node_dir, _node, mut to_node) = routed(Kind::Node);
    let (python_dir, _python, mut to_python) = routed(Kind::Urllib);
    thread::scope(|scope| {
        for at in [to_node.addr.port(), to_python.addr.port()] {
            let (node_dir, python_dir) = (&node_dir, &python_dir);
            scope.spawn(move || {
                client(Kind::Node, node_dir, at, HOST, &["events"]);
                client(Kind::Urllib, python_dir, at, HOST, &[]);
            });
        }
    });
    assert_eq!((to_node.stop(), to_python.stop()), (0, 0));
}

/// The same through `tambat start`, by the names of this machine.
fn starts(kind: Kind) {
    most_files();
    let manifest = format!("[processes.web]\ncommand = \"{}\"\n", kind.command());
    let (app, names) = (kind.dir().file("tambat.toml", manifest), Base::find().0);
    let mut running = app.start_at(&["-p", "0", "--http-port", &names.to_string()]);
    running.ready(&["web"]);
    for host in ["web.shop.localhost", "shop.localhost"] {
        client(kind, &app, names, host, &["echo"]);
    }
    client(kind, &app, names, "shop.localhost", &["close"]);
    running.out_line("closed with 4321 as asked");
    running.out_line("closed with 4001 bye now");
    client(kind, &app, names, "shop.localhost", &["ping"]);
    client(kind, &app, names, "shop.localhost", &["idle"]);
    client(kind, &app, names, "shop.localhost", &["many", "300"]);
    // At the service port, whatever the name.
    client(kind, &app, app.port("web"), HOST, &["echo"]);
    if let Kind::Node = kind {
        client(kind, &app, names, "shop.localhost", &["events"]);
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn python_websockets_through_a_start_by_hostname() {
    starts(Kind::Python);
}

#[test]
fn node_ws_and_events_through_a_start_by_hostname() {
    starts(Kind::Node);
}
