//! Service ports by number: who gets which, and what happens when it is taken.

use std::net::TcpListener;

use crate::support::{AppDir, Base, get};

/// Holds a port as another program would; its name and pid are ours.
fn hold(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

fn is_named(line: &str, port: u16) -> bool {
    line.contains(&format!("port {port}")) && line.contains(&format!("(pid {})", std::process::id()))
}

#[test]
fn ports_are_100_apart_by_position() {
    let app = AppDir::procfile("web: tambat-fixture serve\njob: tambat-fixture park\nadmin: tambat-fixture serve\n");
    let base = Base::find();
    let mut running = app.start_at(&["-p", &base.text(), "web", "admin"]);
    running.ready(&["web"]);
    assert_eq!((app.port("web"), app.port("admin")), (base.0, base.0 + 200));
    assert_eq!(get(base.0, "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_base_is_taken_from_the_command_line_then_env_file_then_shell() {
    let (one, two, three) = (Base::find(), Base::find().0 + 1, Base::find().0 + 2);
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("PORT", &three.to_string());
    let port_of = |args: &[&str]| {
        let mut running = app.start_at(args);
        running.ready(&["web"]);
        let port = app.port("web");
        assert_eq!(running.stop(), 0);
        port
    };
    assert_eq!(port_of(&[]), three);
    let app = app.clone().file(".env", format!("PORT={two}\n"));
    assert_eq!(port_of(&[]), two);
    assert_eq!(port_of(&["-p", &one.text()]), one.0);
    drop(app);
}

#[test]
fn two_apps_do_not_collide_and_the_second_names_the_holder() {
    let shop = AppDir::procfile("web: tambat-fixture serve\n");
    let billing = shop.neighbour("billing").file("Procfile", "web: tambat-fixture serve\n");
    let base = Base::find();
    let mut first = shop.start_at(&["-p", &base.text()]);
    first.ready(&["web"]);
    let mut second = billing.start_at(&["-p", &base.text()]);
    second.ready(&["web"]);
    assert_eq!((shop.port("web"), billing.port("web")), (base.0, base.0 + 100));
    let line = second.err_line(&format!("port {} for web is taken by", base.0));
    assert!(line.contains(&format!("tambat (pid {})", first.pid())), "{line}");
    second.err_line(&format!("service ports begin at {} in place of {}", base.0 + 100, base.0));
    assert_eq!(second.stop(), 0);
    assert_eq!(get(base.0, "/").body, "web.1");
    assert_eq!(first.stop(), 0);
}

#[test]
fn a_second_start_of_the_same_app_points_at_the_first() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut first = app.start(&[]);
    first.ready(&["web"]);
    let output = app.tambat(&["start", "-p", "0"]).must_be(1);
    assert!(output.stderr.contains(&format!("already runs as pid {}", first.pid())), "{}", output.stderr);
    assert!(output.stderr.contains(&format!("http://localhost:{}", app.port("web"))), "{}", output.stderr);
    // The first has not noticed.
    assert_eq!(first.get("web", "/").body, "web.1");
    assert_eq!(first.stop(), 0);
}

#[test]
fn a_base_that_was_found_is_remembered_until_p_says_another() {
    let base = Base::find();
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("PORT", &base.text());
    let port_of = |args: &[&str]| {
        let mut running = app.start_at(args);
        running.ready(&["web"]);
        let port = app.port("web");
        assert_eq!(running.stop(), 0);
        port
    };
    let holder = hold(base.0);
    assert_eq!(port_of(&[]), base.0 + 100);
    drop(holder);
    assert_eq!(port_of(&[]), base.0 + 100, "bookmarks stay true");
    assert_eq!(port_of(&["-p", &base.text()]), base.0);
    assert_eq!(port_of(&[]), base.0, "and the choice of -p ends the memory");
}

#[test]
fn a_remembered_base_that_is_busy_itself_moves_on() {
    let base = Base::find();
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("PORT", &base.text());
    let _first = hold(base.0);
    let mut running = app.start_at(&[]);
    running.ready(&["web"]);
    assert_eq!(running.stop(), 0);
    let _second = hold(base.0 + 100);
    let mut running = app.start_at(&[]);
    running.ready(&["web"]);
    assert_eq!(app.port("web"), base.0 + 200);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_later_process_whose_port_is_busy_moves_all() {
    let base = Base::find();
    let app = AppDir::procfile("web: tambat-fixture serve\nadmin: tambat-fixture serve\n");
    let _holder = hold(base.0 + 100);
    let mut running = app.start_at(&["-p", &base.text()]);
    running.ready(&["web"]);
    assert_eq!((app.port("web"), app.port("admin")), (base.0 + 200, base.0 + 300));
    assert_eq!(running.stop(), 0);
}

#[test]
fn strict_port_makes_a_busy_port_an_error() {
    let base = Base::find();
    let _holder = hold(base.0);
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let output = app.tambat(&["start", "-p", &base.text(), "--strict-port"]).must_be(1);
    assert!(is_named(&output.stderr, base.0), "{}", output.stderr);
    assert!(output.stderr.contains("--strict-port"), "{}", output.stderr);
}

/// A block that was found in place of a busy one is not the one that is asked for.
#[test]
fn strict_port_takes_nothing_remembered_for_the_port() {
    let base = Base::find();
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("PORT", &base.text());
    let holder = hold(base.0);
    let mut running = app.start_at(&[]);
    running.ready(&["web"]);
    assert_eq!((app.port("web"), running.stop()), (base.0 + 100, 0));
    let output = app.tambat(&["start", "--strict-port"]).must_be(1);
    assert!(is_named(&output.stderr, base.0), "{}", output.stderr);
    drop(holder);
    let mut running = app.start_at(&["--strict-port"]);
    running.ready(&["web"]);
    assert_eq!((app.port("web"), running.stop()), (base.0, 0));
}

#[test]
fn an_explicit_port_that_is_busy_is_an_error() {
    let base = Base::find();
    let _holder = hold(base.0);
    let app = AppDir::manifest(&format!("[processes.web]\ncommand = \"tambat-fixture serve\"\nport = {}\n", base.0));
    let output = app.tambat(&["start"]).must_be(1);
    assert!(is_named(&output.stderr, base.0), "{}", output.stderr);
    assert!(output.stderr.contains("tambat.toml asks for"), "{}", output.stderr);
}

#[test]
fn a_port_is_busy_when_only_its_ipv6_side_is() {
    let base = Base::find();
    let _holder = TcpListener::bind(("::1", base.0)).unwrap();
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start_at(&["-p", &base.text()]);
    running.ready(&["web"]);
    assert_eq!(app.port("web"), base.0 + 100);
    assert_eq!(running.stop(), 0);
}
