//! Certificates of public names under `tambat serve`, end to end against a CA: pebble, which rejects good nonces and is
//! killed in the middle.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{AppDir, Apps, Base, Output, Pebble, Running, Wanted, try_get_at, until};

/// A server's apps, its CA and where it serves.
struct Stage {
    apps: Apps,
    pebble: Pebble,
    http: u16,
    https: u16,
}

const DAYS_90_S: u64 = 90 * 24 * 3_600;

/// `web` at these hosts.
fn web(hosts: &str) -> String {
    format!("[processes.web]\ncommand = \"tambat-fixture serve\"\nhosts = {hosts}\n")
}

impl Stage {
    /// A CA that answers like this, and whatever else the server's file says.
    fn new(lifetime_s: u64, sees_http: bool, more: &str) -> Self {
        let apps = Apps::new();
        let (http, https) = (Base::find().0, Base::find().0 + 1);
        // Nobody listens at port 1.
        let wanted = Wanted { http: if sees_http { http } else { 1 }, tls: https, lifetime_s };
        let pebble = Pebble::start(&apps.dir, wanted);
        let file = apps.dir.home_path().join("serve.toml");
        fs::write(file, format!("{}{more}", pebble.acme())).unwrap();
        Self { apps, pebble, http, https }
    }

    fn serve(&self) -> Running {
        let (http, https) = (self.http.to_string(), self.https.to_string());
        let args = ["serve", "--apps", ".", "--address", "127.0.0.1", "-p", "0"];
        let ports = ["--http-port", &http, "--https-port", &https, "--metrics", "127.0.0.1:0"];
        let running = Running::start(&self.apps.dir, self.apps.dir.command(&[&args[..], &ports[..]].concat()));
        running.out_line(&format!("listening 127.0.0.1:{https} tls"));
        running
    }

    /// curl of this host with TLS, its certificate by this root.
    fn curl(&self, host: &str, more: &[&str]) -> Output {
        let (url, resolve) = (format!("https://{host}:{}/", self.https), format!("{host}:{}:127.0.0.1", self.https));
        let mut command = self.apps.dir.any_command("curl");
        command.args(["-sS", "--max-time", "20", "--resolve", &resolve]).args(more).arg(url);
        crate::support::finish(command, host)
    }

    /// The certificate that this host has now, as PEM; none: none.
    fn certificate(&self, host: &str) -> Option<String> {
        let output = self.curl(host, &["-k", "-o", "/dev/null", "-w", "%{certs}"]);
        let end = "-----END CERTIFICATE-----";
        (output.code == 0).then(|| output.stdout.split_once(end).unwrap().0.to_owned())
    }

    /// Once it has one.
    fn until_certificate(&self, host: &str) -> String {
        until(&format!("a certificate for {host}"), || self.certificate(host))
    }

    /// Once the app serves by TLS what this root vouches for.
    fn until_served(&self, host: &str, root: &Path) {
        let root = root.display().to_string();
        until(&format!("{host} with TLS"), || {
            let output = self.curl(host, &["--cacert", &root]);
            (output.code == 0 && output.stdout == "web.1").then_some(())
        });
    }

    fn finding(&self, id: &str) -> serde_json::Value {
        let output = self.apps.dir.tambat(&["doctor", "--apps", ".", "--json"]);
        let findings: Vec<serde_json::Value> = serde_json::from_str(&output.stdout).unwrap();
        findings.into_iter().find(|finding| finding["id"] == id).unwrap_or_default()
    }
}

fn metrics(running: &Running) -> String {
    let addr = running.out_line("metrics ").strip_prefix("metrics ").unwrap().parse().unwrap();
    try_get_at(addr, "m", "/metrics", "").unwrap().body
}

/// Every file below.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The app answers to every path itself, `/.well-known/` included: the challenge wins (hostile case H15).
#[test]
fn every_name_gets_its_certificate_by_http_and_keeps_it_over_a_restart() {
    let stage = Stage::new(DAYS_90_S, true, "");
    stage.apps.app("shop", &web("\"shop.example\""));
    stage.apps.app("blog", &web("[\"blog.example\", \"blog.localhost\", \"*.blog.example\"]"));
    let mut running = stage.serve();
    let root = stage.pebble.issuer(&stage.apps.dir);
    stage.until_served("shop.example", &root);
    stage.until_served("blog.example", &root);
    for host in ["other.example", "x.blog.example", "blog.localhost"] {
        assert_eq!(stage.curl(host, &["-k"]).code, 35, "{host} has no certificate");
    }
    assert_eq!(stage.pebble.orders(), 2, "one for each name, and none for what no CA signs");
    let redirect = try_get_at(([127, 0, 0, 1], stage.http).into(), "shop.example", "/a?b=c", "").unwrap();
    assert_eq!(redirect.status, 308);
    let location = format!("Location: https://shop.example:{}/a?b=c", stage.https);
    assert!(redirect.head.contains(&location), "{}", redirect.head);
    let page = metrics(&running);
    assert!(page.contains("tambat_certificate_expiry_seconds{name=\"shop.example\"} "), "{page}");
    assert!(page.contains("tambat_certificate_renewal_failures_total{name=\"shop.example\"} 0"), "{page}");
    assert_eq!(stage.finding("certificate shop.example")["verdict"], "fine");
    let state = stage.apps.dir.home_path().join("state");
    for file in files(&state) {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "others may read {}", file.display());
    }
    let before = stage.certificate("shop.example");
    assert_eq!(running.stop(), 0);
    let _again = stage.serve();
    assert_eq!(stage.until_certificate("shop.example"), before.unwrap());
    stage.until_served("blog.example", &root);
    assert_eq!(stage.pebble.orders(), 2);
}

#[test]
fn where_nobody_reaches_port_80_a_handshake_proves_the_name() {
    let stage = Stage::new(DAYS_90_S, false, "challenges = [\"tls-alpn-01\"]\n");
    stage.apps.app("shop", &web("\"shop.example\""));
    let _running = stage.serve();
    stage.until_served("shop.example", &stage.pebble.issuer(&stage.apps.dir));
}

/// Hostile case H14.
#[test]
fn while_the_ca_is_away_the_certificate_goes_on_and_is_renewed_when_it_is_back() {
    let mut stage = Stage::new(16, true, "");
    stage.apps.app("shop", &web("\"shop.example\""));
    let mut first = stage.serve();
    let before = stage.until_certificate("shop.example");
    assert_eq!(first.stop(), 0);
    stage.pebble.kill();
    let running = stage.serve();
    running.err_line("cannot get certificates from https://localhost:");
    assert_eq!(stage.until_certificate("shop.example"), before);
    assert!(metrics(&running).contains("tambat_certificate_ca_away 1"));
    assert_eq!(stage.finding("ca")["verdict"], "note");
    stage.pebble.restart();
    running.err_line("shop.example has a new certificate");
    running.err_line(" is back; it was away since ");
    let after = until("another certificate", || stage.certificate("shop.example").filter(|now| *now != before));
    assert_ne!(after, before);
    assert!(metrics(&running).contains("tambat_certificate_ca_away 0"));
}

/// Answers whoever asks about names, and keeps what it was asked: 200 for this one, 404 for others.
fn asked_about(allowed: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            let _ = lines.take_while(|line| !line.is_empty()).count();
            let name = first.split("domain=").nth(1).unwrap_or_default().split(' ').next().unwrap().to_owned();
            let status = if name == allowed { "200 OK" } else { "404 Not Found" };
            heard.lock().unwrap().push(name);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (port, asked)
}

/// Hostile case F10.
#[test]
fn names_that_nobody_allows_get_no_certificate_however_many_ask() {
    let (port, asked) = asked_about("good.any.example");
    let stage = Stage::new(DAYS_90_S, true, &format!("ask = \"http://127.0.0.1:{port}/ask\"\n"));
    let shop: AppDir = stage.apps.app("shop", &web("\"*.any.example\""));
    let _running = stage.serve();
    until("it to run", || (shop.tambat(&["wait", "--timeout", "30s"]).code == 0).then_some(()));
    for nth in 0..20 {
        assert_eq!(stage.curl(&format!("r{nth}.any.example"), &["-k"]).code, 35);
        assert_eq!(stage.curl("r0.any.example", &["-k"]).code, 35, "what was denied is remembered");
    }
    stage.until_served("good.any.example", &stage.pebble.issuer(&stage.apps.dir));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|name| *name == "r0.any.example").count(), 1, "{asked:?}");
    assert_eq!(stage.pebble.orders(), 1, "{asked:?}");
}
