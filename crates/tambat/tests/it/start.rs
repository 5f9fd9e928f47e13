//! `tambat start`: what is started, and as what.

use crate::support::{AppDir, get, until};

#[test]
fn a_procfile_is_enough() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    assert_eq!(get(app.port("web"), "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_command_needs_no_file_at_all() {
    let app = AppDir::new();
    let mut running = app.start(&["--", "tambat-fixture", "serve"]);
    running.ready(&["web"]);
    assert_eq!(get(app.port("web"), "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn only_what_is_named_is_started_and_its_port_is_by_position() {
    let app = AppDir::procfile("web: tambat-fixture serve\nadmin: tambat-fixture serve\nclock: tambat-fixture park\n");
    let mut running = app.start(&["admin"]);
    running.up().out_line("admin.1 | listening");
    assert_eq!(running.get("admin", "/").body, "admin.1");
    for other in ["web", "clock"] {
        assert_eq!(app.process(other)["state"], "stopped", "{other}");
    }
    assert_eq!(running.stop(), 0);
    assert!(running.stderr().iter().all(|line| !line.contains("web.1") && !line.contains("clock.1")));
}

#[test]
fn what_a_named_process_uses_is_started_too_unless_no_deps_says_otherwise() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"exec tambat-fixture serve\"\nuses = [\"api\"]\n\
         [processes.api]\ncommand = \"exec tambat-fixture serve\"\nprotocol = \"http\"\nuses = [\"cache\"]\n\
         [processes.cache]\ncommand = \"exec tambat-fixture echo\"\nprotocol = \"tcp\"\n\
         [processes.admin]\ncommand = \"exec tambat-fixture serve\"\nprotocol = \"http\"\n",
    );
    for (args, started) in [(&["web"][..], &["web", "api", "cache"][..]), (&["web", "--no-deps"], &["web"])] {
        let mut running = app.start(args);
        running.ready(started);
        for name in ["web", "api", "cache", "admin"] {
            let desired = i32::from(started.contains(&name));
            assert_eq!(app.process(name)["desired"], desired, "{name} with {args:?}");
        }
        // The handle is the same: whoever comes later is found at it.
        let handle = format!("http://127.0.0.1:{}", app.port("api"));
        assert_eq!(app.environment("web")["API_URL"], handle.as_str());
        assert_eq!(running.stop(), 0);
    }
}

#[test]
fn an_instance_sees_its_own_port_and_none_of_tambats_files() {
    let app = AppDir::procfile("web: tambat-fixture serve\n").env("PORT", "1");
    // PORT of the shell is the base: 1 is privileged and may be busy, so -p says another.
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let port = app.port("web");
    let env: serde_json::Value = serde_json::from_str(&get(port, "/env").body).unwrap();
    let own: u16 = env["PORT"].as_str().unwrap().parse().unwrap();
    assert!((20_000..30_000).contains(&own), "{own}");
    assert_eq!(env["PS"], "web.1");
    assert_eq!(env["TAMBAT_URL"], format!("http://localhost:{port}"));
    assert_eq!(env["HOST"], "127.0.0.1");
    // Its listener and this connection: no control socket, no service port. The connection before may be about to end.
    let files = until("two sockets", || {
        let files: Vec<String> = serde_json::from_str(&get(port, "/fds").body).unwrap();
        (files.iter().filter(|file| file.contains("socket:")).count() == 2).then_some(files)
    });
    let of_its_own = |file: &&String| file.contains("socket:") || file.contains("/proc/");
    let inherited: Vec<&String> = files.iter().filter(|file| !of_its_own(file)).collect();
    assert_eq!(inherited.len(), 3, "{files:?}");
    assert!(inherited.iter().all(|file| file.contains("pipe:")), "{files:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn standard_input_is_open_and_empty() {
    let app = AppDir::procfile("watch: tambat-fixture stdin\nweb: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.line("watch.1 | reading");
    // By the time another process has booted and answered, an end of input would long have been said.
    running.ready(&["web"]);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(app.process("watch")["state"], "running");
    assert_eq!(running.stop(), 0);
    assert!(running.stdout().iter().all(|line| !line.contains("end of input")));
}

#[test]
fn an_app_on_ipv6_alone_is_served_at_both_addresses() {
    let app = AppDir::procfile("web: tambat-fixture serve --host ::1\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert!(app.process("web")["instances"][0]["address"].as_str().unwrap().starts_with("[::1]:"));
    assert_eq!(running.stop(), 0);
}
