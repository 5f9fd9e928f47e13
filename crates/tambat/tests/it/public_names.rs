//! Certificates of public names under `tambat serve`, end to end against a CA: pebble, which rejects good nonces and is
//! killed in the middle.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{AppDir, Apps, Base, Output, Pebble, Running, Wanted, finish_within, programs, try_get_at, until};

/// A server's apps, its CA and where it serves.
struct Stage {
    apps: Apps,
    pebble: Pebble,
    http: u16,
    https: u16,
}

/// The client of a flood.
const FLOODER: &str = include_str!("public_names/flood.py");

/// Handshakes are slow where nothing is optimised.
const FLOOD_LIMIT: Duration = Duration::from_mins(2);

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
    let shop = stage.apps.app("shop", &web("\"shop.example\""));
    let blog = stage.apps.app("blog", &web("[\"blog.example\", \"blog.localhost\", \"*.blog.example\"]"));
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
    let told = |dir: &AppDir| dir.variable("web", "TAMBAT_URL")["value"].as_str().unwrap().to_owned();
    assert_eq!(told(&shop), format!("https://shop.example:{}", stage.https));
    assert_eq!(told(&blog), format!("https://blog.example:{}", stage.https));
    assert_eq!(shop.tambat(&["url", "--public"]).must_be(0).stdout, format!("{}\n", told(&shop)));
    let before = stage.certificate("shop.example");
    assert_eq!(running.stop(), 0);
    // What was kept is seen while nobody serves it.
    let seen = stage.finding("certificate shop.example");
    assert_eq!((&seen["verdict"], &seen["seen"]), (&"fine".into(), &"good for 89 days".into()), "{seen}");
    let _again = stage.serve();
    assert_eq!(stage.until_certificate("shop.example"), before.unwrap());
    stage.until_served("blog.example", &root);
    assert_eq!(stage.pebble.orders(), 2);
}

/// A process that speaks no HTTP, at a listener of its own where TLS ends: its name is as public as any.
#[test]
fn a_name_at_a_listener_of_its_own_gets_its_certificate_by_either_proof() {
    programs::redis();
    for (sees_http, more) in [(true, ""), (false, "challenges = [\"tls-alpn-01\"]\n")] {
        let stage = Stage::new(DAYS_90_S, sees_http, more);
        let port = stage.https + 1;
        let cache = stage.apps.app(
            "cache",
            &format!(
                "[processes.store]\ncommand = \"redis-server --port $PORT --bind 127.0.0.1 --save ''\"\n\
                 protocol = \"redis\"\nhosts = \"cache.example\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"terminate\"\n"
            ),
        );
        let mut running = stage.serve();
        let root = stage.pebble.issuer(&stage.apps.dir).display().to_string();
        let port = port.to_string();
        until("PONG over TLS", || {
            let args = ["-p", &port, "--tls", "--cacert", &root, "--sni", "cache.example", "PING"];
            (cache.program("redis-cli", &args).stdout == "PONG\n").then_some(())
        });
        // redis-cli believes any name that the CA has signed.
        let at = format!("127.0.0.1:{port}");
        let args = ["s_client", "-connect", &at, "-servername", "cache.example", "-verify_hostname", "cache.example"];
        let said = cache.program("openssl", &[&args[..], &["-CAfile", &root]].concat());
        assert!(said.stdout.contains("Verify return code: 0 (ok)"), "{said:?}");
        assert_eq!(
            (stage.pebble.orders(), &stage.finding("certificate cache.example")["verdict"]),
            (1, &"fine".into())
        );
        assert_eq!(stage.curl("cache.example", &["-k"]).code, 0, "the shared listener has it, too");
        assert_eq!(running.stop(), 0);
    }
}

#[test]
fn an_app_that_comes_later_gets_its_certificates_and_those_of_one_that_goes_are_not_ordered_again() {
    let stage = Stage::new(DAYS_90_S, true, "");
    let running = stage.serve();
    assert_eq!(stage.pebble.orders(), 0);
    // At a listener of its own, too, where handshakes end that begin with its name.
    let at = Base::find().0;
    let line = format!(
        "[processes.line]\ncommand = \"exec tambat-fixture echo\"\nprotocol = \"tcp\"\nexpose = true\n\
         hosts = \"line.example\"\nlisten = \"127.0.0.1:{at}\"\ntls = \"terminate\"\n"
    );
    let shop = stage.apps.app("shop", &format!("{}{line}", web("\"shop.example\"")));
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.out_line(&format!("listening 127.0.0.1:{at} shop/line"));
    let root = stage.pebble.issuer(&stage.apps.dir);
    stage.until_served("shop.example", &root);
    let told = shop.variable("web", "TAMBAT_URL")["value"].as_str().unwrap().to_owned();
    assert_eq!(told, format!("https://shop.example:{}", stage.https));
    let (root, connect) = (root.display().to_string(), format!("127.0.0.1:{at}"));
    until("line.example with TLS", || {
        let mut command = stage.apps.dir.any_command("openssl");
        command.args(["s_client", "-connect", &connect, "-servername", "line.example", "-CAfile", &root]);
        command.args(["-verify_return_error", "-quiet", "-no_ign_eof"]);
        (crate::support::finish(command, "openssl s_client").code == 0).then_some(())
    });
    fs::remove_dir_all(shop.path()).unwrap();
    running.signal(nix::sys::signal::Signal::SIGHUP);
    running.err_line("shop is not served any more");
    assert_eq!(stage.pebble.orders(), 2);
    stage.apps.app("shop", &web("\"shop.example\""));
    running.signal(nix::sys::signal::Signal::SIGHUP);
    stage.until_served("shop.example", Path::new(&root));
    assert_eq!(stage.pebble.orders(), 2, "what was kept is used again");
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

/// Answers whoever asks about names, and keeps what it was asked: 200 for those that begin so, 404 for others.
fn asked_about(allowed: &'static [&'static str]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(first) = lines.next() else { continue };
            let _ = lines.take_while(|line| !line.is_empty()).count();
            let name = first.split("domain=").nth(1).unwrap_or_default().split(' ').next().unwrap().to_owned();
            let is_allowed = allowed.iter().any(|begin| name.starts_with(begin));
            let status = if is_allowed { "200 OK" } else { "404 Not Found" };
            heard.lock().unwrap().push(name);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (port, asked)
}

/// Names of a flood. It takes seconds, in which one question in a hundred is allowed.
const FLOOD: u32 = 5_000;

/// As in the machine that decides: so many questions at once, and 10 a second; so many orders at once, and one in 36 s.
const ASKS_BURST: u64 = 50;
const ORDERS_BURST: u64 = 20;

/// How many handshakes for so many names of this kind were refused; and how long they took.
fn flood(stage: &Stage, prefix: &str, count: u32) -> (String, Duration) {
    let began = Instant::now();
    let mut command = stage.apps.dir.any_command("/usr/bin/python3");
    command.args(["-c", FLOODER, &stage.https.to_string(), prefix, &count.to_string()]);
    let said = finish_within(command, "a flood of names", FLOOD_LIMIT).must_be(0).stdout;
    (said, began.elapsed())
}

/// Hostile case F10.
#[test]
fn names_that_nobody_allows_get_no_certificate_however_many_ask() {
    let (port, asked) = asked_about(&["good.", "yes"]);
    let asked = || asked.lock().unwrap().clone();
    let stage = Stage::new(DAYS_90_S, true, &format!("ask = \"http://127.0.0.1:{port}/ask\"\n"));
    let shop: AppDir = stage.apps.app("shop", &web("\"*.any.example\""));
    let mut running = stage.serve();
    until("it to run", || (shop.tambat(&["wait", "--timeout", "30s"]).code == 0).then_some(()));
    let root = stage.pebble.issuer(&stage.apps.dir);
    stage.until_served("good.any.example", &root);
    // Thousands of names that are not allowed: each is refused, and whoever decides is asked about few of them, each once.
    let before = asked().len();
    let (said, took) = flood(&stage, "no", FLOOD);
    assert_eq!(said, format!("refused {FLOOD}\n"));
    let most = ASKS_BURST + took.as_secs() * 10 + 20;
    let mut questions = asked().split_off(before);
    let count = questions.len() as u64;
    assert!((ASKS_BURST..=most).contains(&count), "{count} questions in {took:?}, {most} at most");
    questions.sort();
    questions.dedup();
    assert_eq!(questions.len() as u64, count, "none twice");
    assert_eq!(stage.pebble.orders(), 1);
    // The first of them are remembered: the same names again are no questions.
    let remembered =
        questions.iter().filter_map(|name| name.strip_prefix("no")?.split('.').next()?.parse::<u32>().ok());
    let first = (0..).zip(sorted(remembered)).take_while(|(nth, number)| nth == number).count();
    assert!(first as u64 >= ASKS_BURST / 2, "{first}");
    let before = asked().len();
    let (said, _) = flood(&stage, "no", u32::try_from(first).unwrap());
    assert_eq!((said, asked().len()), (format!("refused {first}\n"), before));
    // A flood of names that are allowed is one of orders: those have a limit of their own.
    let (said, took) = flood(&stage, "yes", 60);
    let most = ORDERS_BURST + took.as_secs() / 36 + 1;
    let orders = u64::try_from(stage.pebble.orders()).unwrap() - 1;
    assert!((1..=most).contains(&orders), "{orders} orders in {took:?}: {said}");
    // Whoever has a certificate is served as before.
    stage.until_served("good.any.example", &root);
    assert_eq!(running.stop(), 0);
}

fn sorted(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut all: Vec<u32> = numbers.collect();
    all.sort_unstable();
    all
}
