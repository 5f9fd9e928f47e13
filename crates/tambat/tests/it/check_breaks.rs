//! What `tambat check` says of apps that break one clause each (`tests/fixtures/breaks`), and of good ones
//! (`tests/fixtures/keeps`): the clause in the folder's name, and no other.
//!
//! The few fixed ports among them (9303 to 9404) are nobody else's: tests that need ports by number begin at 10000.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{AppDir, programs};

/// What the fixtures need at most: they boot and stop in a fraction of it, on a busy machine, too.
const LIMITS: [&str; 4] = ["--boot", "20s", "--grace", "3s"];

/// The same of those that never boot, for which all of it is waited.
const LIMITS_OF_DOWN: [&str; 4] = ["--boot", "4s", "--grace", "3s"];

/// Those that no app without backing services and dependency files can be judged by.
const ALONE: &[u8] = &[15, 18, 19];

/// Of an app that does not listen where it was told, its end is left to judge; and this is what is not, beside that one
/// among the first three that it breaks.
const DOWN: &[u8] = &[4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16, 17, 18, 19];

/// A fixture in a directory of its own, which every user may read.
fn app(folder: &str) -> AppDir {
    let from = programs::repository().join("tests/fixtures").join(folder);
    let files = fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().path());
    let app = files.fold(AppDir::new(), |app, path| {
        app.file(path.file_name().unwrap().to_str().unwrap(), fs::read(&path).unwrap())
    });
    for folder in [app.path(), &app.home_path()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    app
}

/// The report of the process `web`.
fn report(app: &AppDir, code: i32) -> Value {
    report_within(app, code, &LIMITS)
}

fn report_within(app: &AppDir, code: i32, limits: &[&str]) -> Value {
    let output = app.tambat(&[&["check", "web", "--json"], limits].concat()).must_be(code);
    let [line] = output.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{output:?}") };
    app.has_nothing_left();
    serde_json::from_str(line).unwrap()
}

/// Every clause is kept but for those that cannot be judged, each of which says why, and the one that `expected` is about.
fn judged(report: &Value, expected: Option<(&str, &str)>, unjudged: &[u8]) {
    let mut not_judged = Vec::new();
    let clauses = report["clauses"].as_array().unwrap();
    assert_eq!(clauses.len(), 19, "{report:#}");
    for (number, clause) in (1_u8..).zip(clauses) {
        let id = format!("PB-{number:02}");
        let verdict = clause["verdict"].as_str().unwrap();
        assert_eq!(clause["id"], *id, "{clause:#}");
        assert!(clause["seen"].as_str().is_some_and(|seen| !seen.is_empty()), "{clause:#}");
        match expected {
            Some((broken, wanted)) if broken == id => {
                assert_eq!(verdict, wanted, "{clause:#}");
                assert!(clause["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{clause:#}");
            }
            _ if verdict == "not_judged" => not_judged.push(number),
            _ => assert_eq!(verdict, "kept", "{clause:#}\nof {report:#}"),
        }
    }
    assert_eq!(not_judged, unjudged, "what is not judged of {report:#}");
}

/// This fixture breaks the clause that its name says, and no other.
fn breaks(fixture: &str, seen: &str, unjudged: &[u8]) {
    is_told(&app(&format!("breaks/{fixture}")), fixture, "broken", seen, unjudged);
}

/// This fixture is warned about the clause that its name says, and about no other.
fn is_warned(fixture: &str, seen: &str, unjudged: &[u8]) {
    is_told(&app(&format!("breaks/{fixture}")), fixture, "warned", seen, unjudged);
}

fn is_told(app: &AppDir, fixture: &str, verdict: &str, seen: &str, unjudged: &[u8]) {
    let id = format!("PB-{}", &fixture[2..4]);
    let is_down = DOWN.iter().all(|number| unjudged.contains(number));
    let limits = if is_down { &LIMITS_OF_DOWN } else { &LIMITS };
    let report = report_within(app, i32::from(verdict == "broken"), limits);
    judged(&report, Some((&id, verdict)), unjudged);
    let clause = report["clauses"].as_array().unwrap().iter().find(|clause| clause["id"] == *id).unwrap();
    assert!(clause["seen"].as_str().unwrap().contains(seen), "{clause:#}");
}

fn keeps(fixture: &str, unjudged: &[u8]) {
    judged(&report(&app(&format!("keeps/{fixture}")), 0), None, unjudged);
}

/// A server that is no process of the app.
struct Container(Child);

impl Container {
    fn start(app: &AppDir) -> Self {
        // Without the mark of what the app starts: it is there before and after.
        let mut command = app.any_command("/usr/bin/python3");
        command.arg("container.py").env_remove("TAMBAT_TEST_ID");
        let mut container = Self(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(container.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        container
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is not judged of an app that does not listen where it was told, and breaks this clause.
fn down(broken: u8) -> Vec<u8> {
    let others = (1..=3).filter(|number| *number != broken);
    others.chain(DOWN.iter().copied()).collect()
}

#[test]
fn good_apps_keep_every_clause() {
    keeps("python", ALONE);
    keeps("ruby", ALONE);
}

#[test]
fn an_app_behind_the_proxy_protocol_is_asked_as_the_router_would_connect() {
    keeps("proxy_protocol", ALONE);
    let app = app("keeps/proxy_protocol");
    let manifest = fs::read_to_string(app.path().join("tambat.toml")).unwrap();
    let first = app.clone().file("tambat.toml", manifest.replace("\"v2\"", "\"v1\""));
    judged(&report(&first, 0), None, ALONE);
    // Where nothing promises it a header, nobody gets an answer.
    let none = app.file("tambat.toml", manifest.replace("proxy_protocol", "#"));
    let told = report(&none, 1);
    let broken = told["clauses"].as_array().unwrap().iter().filter(|clause| clause["verdict"] == "broken");
    assert!(broken.map(|clause| &clause["id"]).any(|id| *id == "PB-06"), "{told:#}");
}

#[test]
fn a_good_app_declares_its_server() {
    keeps("node", &[15, 18]);
}

#[test]
fn a_good_app_of_http2_keeps_every_clause_that_one_of_http1_does() {
    keeps("h2c", &[15, 18, 19]);
    // Without its last words to its clients it drops what they have asked.
    let app = app("keeps/h2c");
    let text = fs::read_to_string(app.path().join("app.js")).unwrap();
    let dies = app.file("app.js", text.replace("server.close();", "process.exit(0);"));
    let told = report(&dies, 1);
    let broken = told["clauses"].as_array().unwrap().iter().filter(|clause| clause["verdict"] == "broken");
    assert_eq!(broken.map(|clause| clause["id"].as_str().unwrap()).collect::<Vec<_>>(), ["PB-12"], "{told:#}");
}

#[test]
fn a_good_app_lives_with_its_backing_service_and_without() {
    keeps("backing", &[19]);
}

#[test]
fn pb01_injected() {
    let app = app("breaks/pb01_injected");
    let _container = Container::start(&app);
    is_told(&app, "pb01_injected", "broken", "was not started with the app", &down(1));
}

#[test]
fn pb02_never_binds() {
    breaks("pb02_never_binds", "it did not listen on", &down(2));
}

#[test]
fn pb03_hard_coded_port() {
    breaks("pb03_hard_coded_port", "it listened on 9303 both times", &down(3));
}

#[test]
fn pb03_remembers_its_first_port() {
    breaks("pb03_remembers_its_first_port", "which was its port before", &[4, 8, 9, 10, 15, 17, 18, 19]);
}

#[test]
fn pb04_loopback_only() {
    is_warned("pb04_loopback_only", "it listens on 127.0.0.1 only", ALONE);
}

#[test]
fn pb04_one_family() {
    is_warned("pb04_one_family", "not over IPv6", ALONE);
}

#[test]
fn pb05_undeclared_listener() {
    breaks("pb05_undeclared_listener", "it opened TCP 0.0.0.0:", ALONE);
}

#[test]
fn pb05_undeclared_on_loopback() {
    is_warned("pb05_undeclared_on_loopback", "it opened TCP 127.0.0.1:", ALONE);
}

#[test]
fn pb05_undeclared_udp() {
    breaks("pb05_undeclared_udp", "it opened UDP 0.0.0.0:93", ALONE);
}

#[test]
fn pb06_wrong_protocol() {
    breaks("pb06_wrong_protocol", "SSH-2.0-fixture", &[7, 8, 12, 15, 16, 18, 19]);
}

#[test]
fn pb07_one_at_a_time() {
    breaks("pb07_one_at_a_time", "50 silent connections", ALONE);
}

#[test]
fn pb08_dies_of_rude_clients() {
    breaks("pb08_dies_of_rude_clients", "it ended with code 1", ALONE);
}

#[test]
fn pb09_silent_other_port() {
    breaks("pb09_silent_other_port", "instead", ALONE);
}

#[test]
fn pb09_exits_zero() {
    breaks("pb09_exits_zero", "it ended with code 0", ALONE);
}

#[test]
fn pb10_lock_file() {
    breaks("pb10_lock_file", "alone, it starts", ALONE);
}

#[test]
fn pb11_ignores_term() {
    breaks("pb11_ignores_term", "had to be killed", &[14, 15, 18, 19]);
}

#[test]
fn pb12_drops_in_flight() {
    breaks("pb12_drops_in_flight", "got no answer", ALONE);
}

#[test]
fn pb13_port_lingers() {
    breaks("pb13_port_lingers", "Address already in use", ALONE);
}

#[test]
fn pb14_leaves_a_daemon() {
    breaks("pb14_leaves_a_daemon", "sleep (pid ", ALONE);
}

#[test]
fn pb15_dials_elsewhere() {
    breaks("pb15_dials_elsewhere", "it dialled cache at 127.0.0.1:9315", &[19]);
}

#[test]
fn pb16_leaks_private_port() {
    breaks("pb16_leaks_private_port", "Location: http://localhost:", ALONE);
}

#[test]
fn pb16_leaks_in_a_link() {
    breaks("pb16_leaks_in_a_link", "the link http://localhost:", ALONE);
}

#[test]
fn pb17_needs_root() {
    let app = app("breaks/pb17_needs_root");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Where that user may do everything, it is the app that fails.
        fs::set_permissions(app.path(), fs::Permissions::from_mode(0o777)).unwrap();
        return is_told(&app, "pb17_needs_root", "broken", "/etc/shadow", ALONE);
    }
    // Whoever is not root sees that it does not start at all.
    let report = report(&app, 1);
    let clause = &report["clauses"][1];
    assert_eq!((clause["id"].as_str(), clause["verdict"].as_str()), (Some("PB-02"), Some("broken")), "{report:#}");
}

#[test]
fn pb18_exits_without_backing_service() {
    is_warned("pb18_exits_without_backing_service", "did not come back", &[19]);
}

#[test]
fn pb19_no_library() {
    is_warned("pb19_no_library", "package.json declares none", &[15, 18]);
}
