//! The same over HTTP/2 (RFC 8441), each WebSocket a stream of a connection that has others: Python's `h2` and `wsproto`
//! with prior knowledge and through TLS, and a browser, which does so by itself where the server announces it.

use super::{HOST, Kind, LIMITS, Served};
use crate::support::{AppDir, Base, Ca, Routed, finish, most_files, programs};

const CLIENT: &str = include_str!("http2.py");
const PAGE: &str = include_str!("page.py");

/// As many as one connection may have open (`SETTINGS_MAX_CONCURRENT_STREAMS` of the router).
const MANY: &str = "100";

/// How a client comes to the router.
#[derive(Clone, Copy, Debug)]
enum Way {
    PriorKnowledge,
    Tls,
}

/// A router before a server of this kind, at a listener with TLS and one without.
struct Stage {
    routed: Routed,
    _server: Served,
}

impl Stage {
    fn before(kind: Kind) -> Self {
        let (dir, ca) = (kind.dir().file("http2.py", CLIENT), Ca::new("a CA"));
        ca.signs(&[HOST]).write(&dir, "a");
        let dir = dir.file("ca.pem", ca.pem());
        let server = Served::start(kind, &dir);
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n{LIMITS}access_log = \"access.log\"\n[router.tls]\n\
             certificates = [{{ chain = \"a.pem\", key = \"a.key\" }}]\n[routes.shop]\nhosts = [\"{HOST}\"]\n\
             https_redirect = false\ntargets = [\"{}\"]\ntimeouts = {{ first_byte = \"5s\", response_idle = \"1s\" }}\n",
            server.addr
        );
        Self { routed: Routed::start_in(&dir, &toml, &[]), _server: server }
    }

    fn port(&self, way: Way) -> u16 {
        match way {
            Way::PriorKnowledge => self.routed.addr.port(),
            Way::Tls => {
                let line = self.routed.lines(" tls", 1).remove(0);
                line.rsplit(':').next().and_then(|rest| rest.strip_suffix(" tls")).unwrap().parse().unwrap()
            }
        }
    }

    /// A client that does this; it must be content.
    #[track_caller]
    fn client(&self, way: Way, what: &[&str]) {
        let mut command = self.routed.dir().any_command(programs::h2());
        command.arg("http2.py").args([&self.port(way).to_string(), HOST]).args(what);
        if let Way::Tls = way {
            command.env("CA", "ca.pem");
        }
        let output = finish(command, &format!("the client that does {what:?}")).must_be(0);
        assert!(output.stdout.contains("was as it should be"), "{way:?}: {output:?}");
    }

    fn access_log(&self) -> String {
        std::fs::read_to_string(self.routed.dir().path().join("access.log")).unwrap_or_default()
    }
}

fn talks_to(kind: Kind) {
    let mut stage = Stage::before(kind);
    for way in [Way::PriorKnowledge, Way::Tls] {
        for what in ["echo", "close", "ping", "idle", "unknown"] {
            stage.client(way, &[what]);
        }
    }
    assert_eq!(stage.routed.stop(), 0);
    let log = stage.access_log();
    let tunnels: Vec<&str> = log.lines().filter(|line| line.contains("\"status\":101")).collect();
    // As many as the clients have opened, and none of them over HTTP/1.1.
    assert_eq!(tunnels.len(), 2 * 6, "{log}");
    assert!(tunnels.iter().all(|line| line.contains("\"http\":\"2\"")), "{log}");
}

#[test]
fn python_h2_talks_to_python_on_streams_of_one_connection() {
    talks_to(Kind::Python);
}

#[test]
fn python_h2_talks_to_node_on_streams_of_one_connection() {
    talks_to(Kind::Node);
}

#[test]
fn a_hundred_websockets_are_open_on_one_connection() {
    most_files();
    let mut stage = Stage::before(Kind::Python);
    for way in [Way::PriorKnowledge, Way::Tls] {
        stage.client(way, &["many", MANY]);
    }
    assert_eq!(stage.routed.stop(), 0);
    let log = stage.access_log();
    assert_eq!(log.lines().filter(|line| line.contains("\"status\":101")).count(), 200, "{log}");
}

#[test]
fn a_browser_opens_its_websocket_on_the_connection_that_it_has() {
    programs::chromium();
    let app = AppDir::manifest(&format!(
        "[processes.web]\ncommand = \"exec {} page.py\"\nprotocol = \"http\"\n",
        programs::websockets().display()
    ));
    let app = app.file("page.py", PAGE);
    let http = Base::find().0;
    let (names, secure) = (http.to_string(), (http + 1).to_string());
    let mut running = app.start_at(&["-p", "0", "--http-port", &names, "--https-port", &secure]);
    running.ready(&["web"]);
    let mut browser = app.any_command("chromium");
    let profile = format!("--user-data-dir={}", app.path().join("profile").display());
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    // Whom a browser trusts is another test's subject.
    browser.args(["--disable-dev-shm-usage", "--no-proxy-server", "--ignore-certificate-errors", &profile]);
    browser.args(["--dump-dom", &format!("https://shop.localhost:{secure}/")]);
    let shown = finish(browser, "chromium");
    let talked = "talked 5, closed 4001 true, page over h2, via 2.0 tambat";
    assert!(shown.stdout.contains(talked), "{shown:?}");
    assert_eq!(running.stop(), 0);
}
