//! Several instances of one process: turns, scaling, pausing.

use std::thread;

use crate::support::{AppDir, get, until};

fn ready_instances(app: &AppDir, process: &str, count: usize) {
    until(&format!("{count} ready instances of {process}"), || {
        let process = app.process(process);
        let instances = process["instances"].as_array().unwrap();
        (instances.len() == count && instances.iter().all(|i| i["state"] == "ready")).then_some(())
    });
}

#[test]
fn connections_go_round_exactly() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&["web=2"]);
    running.up();
    ready_instances(&app, "web", 2);
    let port = app.port("web");
    let who: Vec<String> = (0..20).map(|_| get(port, "/").body).collect();
    assert_eq!(who.iter().filter(|name| *name == "web.1").count(), 10, "{who:?}");
    assert!(who.windows(2).all(|pair| pair[0] != pair[1]), "{who:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn foremans_formation_is_understood() {
    let app = AppDir::procfile("web: tambat-fixture serve\njob: tambat-fixture park\n");
    let mut running = app.start(&["-m", "all=1,web=3"]);
    running.up();
    ready_instances(&app, "web", 3);
    assert_eq!(app.process("job")["instances"].as_array().unwrap().len(), 1);
    assert_eq!(running.stop(), 0);
}

#[test]
fn scaling_up_and_down_serves_all_the_time() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let port = app.port("web");
    app.tambat(&["scale", "web=3"]).must_be(0);
    ready_instances(&app, "web", 3);
    let mut who: Vec<String> = (0..3).map(|_| get(port, "/").body).collect();
    who.sort();
    assert_eq!(who, ["web.1", "web.2", "web.3"]);
    app.tambat(&["scale", "web=1"]).must_be(0);
    ready_instances(&app, "web", 1);
    assert!((0..6).all(|_| get(port, "/").body == "web.1"));
    assert_eq!(running.stop(), 0);
}

#[test]
fn scaled_to_nothing_it_waits_for_the_next_one() {
    let app = AppDir::procfile("web: tambat-fixture serve\nadmin: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    app.tambat(&["scale", "web=0"]).must_be(0);
    ready_instances(&app, "web", 0);
    app.tambat(&["scale", "web=1"]).must_be(0);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_stateful_process_is_not_scaled() {
    let app = AppDir::manifest("[processes.web]\ncommand = \"tambat-fixture serve\"\nstateful = true\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let output = app.tambat(&["scale", "web=2"]).must_be(2);
    assert!(output.stderr.contains("stateful"), "{}", output.stderr);
    assert_eq!(running.stop(), 0);
}

#[test]
fn paused_connections_wait_and_go_on_when_resumed() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let port = app.port("web");
    app.tambat(&["pause", "web"]).must_be(0);
    until("the pause", || (app.process("web")["state"] == "paused").then_some(()));
    let clients: Vec<_> = (0..5).map(|_| thread::spawn(move || get(port, "/"))).collect();
    until("all of them to wait", || (app.process("web")["ports"][0]["waiting"] == 5).then_some(()));
    app.tambat(&["resume", "web"]).must_be(0);
    for client in clients {
        assert_eq!(client.join().unwrap().body, "web.1");
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_stopped_process_stays_stopped_until_it_is_restarted() {
    let app = AppDir::procfile("web: tambat-fixture serve\nadmin: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    app.tambat(&["stop", "web"]).must_be(0);
    until("its end", || (app.process("web")["state"] == "stopped").then_some(()));
    assert_eq!(running.get("admin", "/").body, "admin.1");
    app.tambat(&["restart", "web"]).must_be(0);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}
