//! What is seen of the router from outside: the access log, metrics, `tambat routes`, and the pages of its own errors.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::support::{AppDir, Backend, Routed, try_get_at, until};

/// A fixed trace, as W3C Trace Context has it.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn route(name: &str, lines: &str, backend: &Backend) -> String {
    format!("[routes.{name}]\n{lines}\ntargets = \"{}\"\n", backend.addr)
}

/// Waits until the log has so many lines, and gives them all.
fn log_lines(path: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", path.display()), || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.ends_with('\n') && text.lines().count() >= count;
        whole.then(|| text.lines().map(str::to_owned).collect())
    })
}

fn json_lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
    log_lines(path, count).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `GET /metrics`.
fn metrics(routed: &Routed) -> String {
    let answer = try_get_at(routed.address("metrics "), "metrics", "/metrics", "").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
    answer.body
}

/// The figure on the line that begins so.
fn figure(page: &str, line: &str) -> u64 {
    let found = page.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in\n{page}"))
}

#[test]
fn each_request_has_its_line_in_the_access_log() {
    let shop = Backend::start("shop");
    let toml = ["[router]\naccess_log = \"access.log\"\n", &route("shop", "hosts = \"shop.example\"", &shop)].concat();
    // One thread, so that lines come in the order of the requests.
    let routed = Routed::start_with(&toml, &["--workers", "1"]);
    let trace = format!("traceparent: {TRACE}\r\n");
    try_get_at(routed.addr, "shop.example", "/a?b=c", &trace).unwrap();
    try_get_at(routed.addr, "nobody.example", "/", "").unwrap();
    routed.exchange("GET / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: x\r\n\r\n");
    let path = routed.dir().path().join("access.log");
    let lines = json_lines(&path, 3);
    let [good, unknown, bad] = &lines[..] else { panic!("{lines:?}") };
    for (key, value) in [
        ("method", "GET"),
        ("host", "shop.example"),
        ("path", "/a?b=c"),
        ("client", "127.0.0.1"),
        ("process", "shop"),
        ("target", &format!("shop/{}", shop.addr)),
        ("ended_by", "target"),
        ("traceparent", TRACE),
    ] {
        assert_eq!(good[key], value, "{key} in {good}");
    }
    assert_eq!((good["status"].as_u64(), good.get("error")), (Some(200), None), "{good}");
    assert!(good["bytes_in"].as_u64() > Some(40) && good["bytes_out"].as_u64() > Some(40), "{good}");
    assert_eq!(good["request_id"].as_str().unwrap().len(), 36);
    assert!(shop.heads()[0].to_lowercase().contains(&format!("traceparent: {TRACE}")), "{:?}", shop.heads());
    assert_eq!((unknown["status"].as_u64(), unknown["error"].as_str()), (Some(404), Some("no-route")), "{unknown}");
    assert_eq!((bad["status"].as_u64(), bad["error"].as_str()), (Some(400), Some("bad-request")), "{bad}");
    assert_eq!(bad["ended_by"], "router");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_client_that_breaks_off_and_hostile_bytes_are_in_the_log_on_one_line_each() {
    let slow = Backend::start("slow");
    slow.takes(Duration::from_secs(5));
    let routed = Routed::start_with(&route("slow", "", &slow), &["--access-log", "log", "--access-log-format", "text"]);
    let mut client = routed.connect();
    client.write_all(b"GET /\"\\x HTTP/1.1\r\nHost: a.example\r\nX-Y: \xff\r\n\r\n").unwrap();
    let refused = String::from_utf8_lossy(&{
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        bytes
    })
    .into_owned();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    let mut client = routed.connect();
    client.write_all(b"GET /|;rm HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    until("the request to arrive", || (slow.heads().len() == 1).then_some(()));
    // Broken off: a mere close would look like a client that has asked everything and waits for the rest.
    let cut = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client, sockopt::Linger, &cut).unwrap();
    drop(client);
    let path = routed.dir().path().join("log");
    let lines = log_lines(&path, 2);
    assert!(lines.iter().all(|line| line.bytes().all(|byte| (b' '..=b'~').contains(&byte))), "{lines:?}");
    let left = lines.iter().find(|line| line.contains("GET a.example/|;rm ")).unwrap();
    assert!(left.ends_with(&format!("slow/{} (client-closed, ended by the client)", slow.addr)), "{left}");
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew() {
    let shop = Backend::start("shop");
    let routed = Routed::start_with(&route("shop", "", &shop), &["--access-log", "access.log"]);
    let (path, moved) = (routed.dir().path().join("access.log"), routed.dir().path().join("access.log.1"));
    routed.get("a.example", "/first");
    json_lines(&path, 1);
    std::fs::rename(&path, &moved).unwrap();
    routed.get("a.example", "/second");
    assert_eq!(json_lines(&path, 1)[0]["path"], "/second");
    assert_eq!(json_lines(&moved, 1)[0]["path"], "/first");
}

#[test]
fn nothing_of_the_log_is_lost_when_the_router_ends() {
    let shop = Backend::start("shop");
    let mut routed = Routed::start_with(&route("shop", "", &shop), &["--access-log", "access.log", "--workers", "2"]);
    for number in 0..20 {
        routed.get("a.example", &format!("/{number}"));
    }
    routed.signal(Signal::SIGTERM);
    assert_eq!(routed.ended(), 0);
    let text = std::fs::read_to_string(routed.dir().path().join("access.log")).unwrap();
    assert_eq!(text.lines().count(), 20, "{text}");
}

#[test]
fn metrics_count_what_happened_and_no_more_than_that() {
    let (shop, blog) = (Backend::start("shop"), Backend::start("blog"));
    let toml = [route("shop", "hosts = \"shop.example\"", &shop), route("blog", "hosts = \"blog.example\"", &blog)];
    let routed = Routed::start_with(&toml.concat(), &["--metrics", "127.0.0.1:0", "--workers", "2"]);
    let before = metrics(&routed).lines().count();
    for number in 0..5 {
        assert_eq!(routed.get("shop.example", "/").status, 200);
        assert_eq!(routed.get(&format!("random-{number}.example"), "/").status, 404);
    }
    shop.answers(500);
    assert_eq!(routed.get("shop.example", "/").status, 500);
    let expected = [
        ("tambat_requests_total{process=\"shop\",class=\"5xx\"}", 1),
        ("tambat_requests_total{process=\"shop\",class=\"2xx\"}", 5),
        ("tambat_requests_total{process=\"blog\",class=\"2xx\"}", 0),
        ("tambat_requests_total{process=\"\",class=\"4xx\"}", 5),
        ("tambat_errors_total{process=\"\",code=\"no-route\"}", 5),
        ("tambat_request_duration_seconds_count{process=\"shop\"}", 6),
        ("tambat_request_duration_seconds_bucket{process=\"shop\",le=\"+Inf\"}", 6),
        ("tambat_requests_in_flight{process=\"shop\"}", 0),
        ("tambat_targets{process=\"shop\",state=\"in\"}", 1),
        ("tambat_connections_total{listener=\"names\"}", 11),
    ];
    // What is counted is counted behind the answer, and each of two workers counts for itself.
    let page = until("the counters to be up to date", || {
        let page = metrics(&routed);
        let wrong = expected.iter().find(|(line, expected)| figure(&page, line) != *expected);
        wrong.is_none().then_some(page)
    });
    assert!(figure(&page, "tambat_sent_bytes_total{process=\"shop\"}") > 100, "{page}");
    // One series for the code that has been seen now, and none for any of the names.
    assert_eq!(page.lines().count(), before + 1, "{page}");
    assert!(!page.contains("random-"), "{page}");
}

#[test]
fn routes_of_a_file_say_why_each_target_is_in_or_out() {
    let (shop, gone) = (Backend::start("shop"), Backend::start("gone"));
    let lines = format!(
        "[routes.shop]\nhosts = \"shop.example\"\ntargets = [\"{}\", \"{}\"]\nhealth = {{ every = \"50ms\", down = 1 }}\n",
        shop.addr, gone.addr
    );
    let routed = Routed::start(&lines);
    let gone_addr = gone.addr;
    drop(gone);
    // A question that was on its way when it went is cut off; the next one is refused.
    let refuses =
        |target: &serde_json::Value| target["reason"].as_str().is_some_and(|reason| reason.contains("refuse"));
    let report = until("one target to be out", || {
        let report = routed.dir().json(&["routes", "--from", "routes.toml", "--json"]);
        let targets = report["routes"][0]["targets"].as_array().unwrap().clone();
        targets.iter().any(|target| target["chosen"] == false && refuses(target)).then_some(report)
    });
    let route = &report["routes"][0];
    assert_eq!((route["process"].as_str(), route["state"].as_str()), (Some("shop"), Some("serves")), "{route}");
    assert_eq!(route["at"][0], "shop.example/");
    let out = route["targets"].as_array().unwrap().iter().find(|target| target["chosen"] == false).unwrap();
    assert_eq!(out["address"], gone_addr.to_string());
    assert!(refuses(out), "{out}");
    let text = routed.dir().tambat(&["routes", "--from", "routes.toml"]).must_be(0).stdout;
    assert!(text.contains("shop (http) serves\n  at shop.example/\n"), "{text}");
    let nobody = routed.dir().clone().file("other.toml", "").tambat(&["routes", "--from", "other.toml"]).must_be(1);
    assert!(nobody.stderr.contains("no router runs with"), "{}", nobody.stderr);
}

#[test]
fn routes_of_an_app_say_where_each_process_is_reached() {
    let app = AppDir::procfile("web: tambat-fixture serve\nworker: tambat-fixture park\n");
    let running = app.start(&[]);
    running.ready(&["web"]);
    let report = app.json(&["routes", "--json"]);
    let web = report["routes"].as_array().unwrap().iter().find(|route| route["process"] == "web").unwrap().clone();
    let port = app.port("web");
    let at: Vec<&str> = web["at"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
    assert!(at.contains(&format!("localhost:{port}").as_str()), "{at:?}");
    assert!(at.iter().any(|at| at.ends_with(".localhost/")), "{at:?}");
    assert_eq!(web["targets"][0]["name"], "web.1", "{web}");
    assert_eq!(
        (web["targets"][0]["chosen"].as_bool(), web["targets"][0]["reason"].as_str()),
        (Some(true), Some("ready"))
    );
}

#[test]
fn a_browser_gets_a_page_and_a_program_a_line_of_json() {
    let shop = Backend::start("shop");
    let routed = Routed::start(&route("shop", "hosts = \"shop.example\"", &shop));
    let [page, line] = ["Accept: text/html,*/*;q=0.8\r\n", "Accept: */*\r\n"]
        .map(|accept| try_get_at(routed.addr, "nobody.example", "/x", accept).unwrap());
    for answer in [&page, &line] {
        assert_eq!(answer.status, 404);
        assert!(answer.head.contains("\r\nTambat-Error: no-route\r\n"), "{}", answer.head);
        assert!(answer.head.contains("\r\nCache-Control: no-store\r\n"), "{}", answer.head);
    }
    assert!(page.head.contains("text/html") && page.body.starts_with("<!doctype html>"), "{page:?}");
    assert!(page.body.contains("Nothing is served here"), "{}", page.body);
    let json: serde_json::Value = serde_json::from_str(&line.body).unwrap();
    assert_eq!((json["error"].as_str(), json["status"].as_u64()), (Some("no-route"), Some(404)), "{json}");
    assert!(json["cause"].as_str().is_some() && json["request_id"].as_str().is_some(), "{json}");
    let script = try_get_at(routed.addr, "nobody.example", "/<script>", "Accept: text/html\r\n").unwrap();
    assert!(script.body.contains("&lt;script&gt;") && !script.body.contains("<script"), "{}", script.body);
}

#[test]
fn a_page_names_the_process_that_ignores_its_port_and_the_mend() {
    let server = "import http.server, os\nhttp.server.HTTPServer(('127.0.0.1', int(os.environ['OTHER'])), \
                  http.server.SimpleHTTPRequestHandler).serve_forever()\n";
    let other = crate::support::Base::find();
    let app = AppDir::manifest("[processes.web]\ncommand = \"python3 server.py\"\n")
        .file("server.py", server)
        .env("OTHER", &other.0.to_string());
    let running = app.start(&[]);
    running.err_line("it ignores PORT");
    let addr = ([127, 0, 0, 1], app.port("web")).into();
    let expected = format!("listens on {}, not on its PORT", other.0);
    // While it is waited for, nobody is answered: once it is stopped, the cause is.
    let status = app.json(&["routes", "--json"]);
    let web = &status["routes"][0];
    assert!(web["cause"].as_str().unwrap().contains(&expected), "{web}");
    assert_eq!(web["mend"], "in server.py use os.environ[\"PORT\"]", "{web}");
    let waiting = std::thread::spawn(move || try_get_at(addr, "localhost", "/", "Accept: text/html\r\n").unwrap());
    until("the request to wait", || {
        let waits = app.process("web")["ports"][0]["waiting"].as_u64();
        (waits == Some(1)).then_some(())
    });
    app.tambat(&["stop", "web"]).must_be(0);
    let page = waiting.join().unwrap();
    assert_eq!(page.status, 503, "{page:?}");
    assert!(page.body.contains("web is not running") && page.body.contains("class=mend"), "{}", page.body);
}
