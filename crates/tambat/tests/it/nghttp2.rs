//! nghttp2's own clients, `nghttp` and `h2load`, at the listeners of `tambat route`: with prior knowledge and over TLS.

use std::net::SocketAddr;

use crate::support::{AppDir, Backend, Ca, Routed, programs};

const HOST: &str = "a.example";

/// Requests of a load, connections, and streams of each.
const LOAD: [&str; 6] = ["-n", "2000", "-c", "8", "-m", "25"];

/// A router with TLS and without, and the app behind it.
struct Stage {
    routed: Routed,
    tls: SocketAddr,
    app: Backend,
}

impl Stage {
    fn start() -> Self {
        programs::nghttp2();
        let (dir, ca, app) = (AppDir::new(), Ca::new("a CA"), Backend::start("shop"));
        ca.signs(&[HOST]).write(&dir, "a");
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nlisten_tls = \"127.0.0.1:0\"\n[router.tls]\n\
             certificates = [{{ chain = \"a.pem\", key = \"a.key\" }}]\n[routes.shop]\nhosts = [\"{HOST}\"]\n\
             https_redirect = false\nmax_body = \"1MiB\"\ntargets = \"{}\"\n",
            app.addr
        );
        let routed = Routed::start_in(&dir.file("body", "x".repeat(100_000)), &toml, &[]);
        let line = routed.lines(" tls", 1).remove(0);
        let tls = line.strip_prefix("listening ").and_then(|rest| rest.strip_suffix(" tls")).unwrap().parse().unwrap();
        Self { routed, tls, app }
    }

    /// Both ways in.
    fn bases(&self) -> [String; 2] {
        [format!("http://{}", self.routed.addr), format!("https://{}", self.tls)]
    }

    /// The statuses and sizes of what `nghttp` got.
    fn nghttp(&self, args: &[&str], url: &str) -> Vec<(u16, u64)> {
        let authority = format!(":authority: {HOST}");
        let all = [&["-n", "-s", "--no-verify-peer", "-t", "30", "-H", &authority], args, &[url]].concat();
        let said = self.routed.dir().program("nghttp", &all).must_be(0).stdout;
        let row = |line: &str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [_, end, _, _, status, size, _] = *columns else { return None };
            end.starts_with('+').then(|| (status.parse().unwrap(), size.parse().unwrap()))
        };
        let rows: Vec<_> = said.lines().filter_map(row).collect();
        assert!(!rows.is_empty(), "{args:?}: {said}");
        rows
    }

    /// What `h2load` says of statuses and of failures.
    fn load(&self, host: &str, args: &[&str], url: &str) -> [String; 2] {
        let authority = format!(":authority: {host}");
        let all = [&LOAD[..], &["-H", &authority], args, &[url]].concat();
        let said = self.routed.dir().program("h2load", &all).must_be(0).stdout;
        let line = |begin: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(begin));
            found.unwrap_or_else(|| panic!("no {begin} in {said}")).trim().to_owned()
        };
        [line("status codes:"), line("requests:")]
    }
}

#[test]
fn nghttp_is_answered_whatever_it_asks() {
    let mut stage = Stage::start();
    for base in stage.bases() {
        let (root, none) = (format!("{base}/x"), format!("{base}/a%00b"));
        assert_eq!(stage.nghttp(&[], &root), [(200, 7)], "{base}");
        assert_eq!(stage.nghttp(&["-m", "60"], &root), [(200, 7); 60], "{base}");
        assert_eq!(stage.nghttp(&["-d", "body"], &root), [(200, 7)], "{base}");
        assert_eq!(stage.nghttp(&["-d", "body", "--trailer", "x-sum: 1"], &root), [(200, 7)], "{base}");
        assert_eq!(stage.nghttp(&["-d", "body", "--expect-continue"], &root), [(200, 7)], "{base}");
        assert_eq!(stage.nghttp(&["-d", "body", "--no-content-length"], &root), [(200, 7)], "{base}");
        assert_eq!(stage.nghttp(&["-H", ":method: DELETE", "--no-dep"], &root), [(200, 7)], "{base}");
        assert_eq!(stage.nghttp(&["-w", "1", "-W", "16", "-b", "4096"], &root), [(200, 7)], "a window of one byte");
        // Over TLS the connection was opened for another name.
        let other = if base.starts_with("https") { 421 } else { 404 };
        for (args, url, status) in [
            (&[][..], &none, 400),
            (&["-H", "expect: tea"], &root, 417),
            (&["-H", ":method: TRACE"], &root, 405),
            (&["-H", ":authority: b.example"], &root, other),
        ] {
            assert_eq!(stage.nghttp(args, url)[0].0, status, "{base} {args:?}");
        }
        let seen = stage.app.heads();
        stage.app.answers(500);
        assert_eq!(stage.nghttp(&[], &root)[0].0, 500);
        stage.app.answers(200);
        assert!(seen.iter().all(|head| head.contains("\r\nVia: 2.0 tambat-")), "{seen:?}");
    }
    // An upgrade to h2c is not taken up (RFC 9113 §3.1 has done away with it): it is a request like any other.
    let before = stage.app.heads().len();
    let url = format!("http://{}/up", stage.routed.addr);
    let args = ["-n", "-u", "-t", "10", "-H", ":authority: a.example", &url];
    let said = stage.routed.dir().program("nghttp", &args);
    let head = stage.app.heads()[before..].concat();
    assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head} {said:?}");
    assert_eq!(stage.routed.stop(), 0);
}

#[test]
fn h2load_counts_every_answer_as_what_it_is() {
    let mut stage = Stage::start();
    let all = "2000 total, 2000 started, 2000 done";
    for base in stage.bases() {
        let url = format!("{base}/x");
        let [codes, requests] = stage.load(HOST, &[], &url);
        assert_eq!(codes, "2000 2xx, 0 3xx, 0 4xx, 0 5xx", "{base}");
        assert_eq!(requests, format!("{all}, 2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{base}");
        // 2,000 of 100,000 bytes each would be minutes of an unoptimised router.
        let [codes, _] = stage.load(HOST, &["-n", "300", "-d", "body"], &url);
        assert_eq!(codes, "300 2xx, 0 3xx, 0 4xx, 0 5xx", "{base}");
        let [codes, requests] = stage.load("b.example", &[], &url);
        assert_eq!(codes, "0 2xx, 0 3xx, 2000 4xx, 0 5xx", "{base}");
        assert_eq!(requests, format!("{all}, 0 succeeded, 2000 failed, 0 errored, 0 timeout"), "{base}");
    }
    let asked = stage.app.heads().len();
    assert_eq!(asked, 2 * 2_300, "each is asked once");
    stage.app.answers(503);
    let [codes, _] = stage.load(HOST, &[], &stage.bases()[1]);
    assert_eq!(codes, "0 2xx, 0 3xx, 0 4xx, 2000 5xx");
    assert_eq!(stage.routed.stop(), 0);
}
