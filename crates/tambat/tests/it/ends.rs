//! How processes end by themselves, and what tambat makes of it.

use std::thread;

use crate::support::{AppDir, try_get, until};

#[test]
fn a_command_that_does_not_exist_is_explained() {
    let app = AppDir::manifest("[processes.web]\ncommand = \"no-such-program --now\"\nrestart = \"never\"\n");
    let mut running = app.start(&[]);
    let line = running.err_line("exited with code 127");
    assert!(line.contains("a command that was not found") && line.contains("no-such-program"), "{line}");
    assert_eq!(running.ended(), 127);
}

#[test]
fn a_server_that_ends_with_0_at_once_is_told_to_stay() {
    let mut running = AppDir::procfile("web: true\n").start(&[]);
    let line = running.err_line("exited with code 0 before it was ready");
    assert!(line.contains("stays in the foreground"), "{line}");
    assert_eq!(running.ended(), 0);
}

#[test]
fn five_failures_make_it_failed_and_tambat_ends_with_its_code() {
    let app = AppDir::procfile("web: tambat-fixture stderr 'no database'; exit 1\n");
    let mut running = app.start(&[]);
    let line = running.err_line("it failed 5 times within a minute");
    assert!(line.contains("exited with code 1") && line.contains("no database"), "{line}");
    assert!(line.contains("tambat restart"), "{line}");
    assert_eq!(running.ended(), 1);
    let starts = running.stderr().iter().filter(|line| line.contains("web.1  | started with pid")).count();
    assert_eq!(starts, 5);
}

#[test]
fn a_failed_process_leaves_the_others_running_and_answers_at_once_with_the_cause() {
    let app = AppDir::procfile("web: tambat-fixture stderr 'no database'; exit 1\nadmin: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let waiting = thread::spawn(move || try_get(port, "/").unwrap());
    running.err_line("it failed 5 times within a minute");
    // The one that has waited, and one that comes later.
    for response in [waiting.join().unwrap(), try_get(port, "/").unwrap()] {
        assert_eq!(response.status, 503, "{response:?}");
        assert!(response.body.contains("exited with code 1"), "{response:?}");
    }
    assert_eq!(app.process("web")["state"], "failed");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_connection_that_waits_for_the_last_process_is_answered_before_tambat_ends() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"while [ -e hold ]; do sleep 0.02; done; exec tambat-fixture serve --host 192.0.2.1\"\n\
         restart = \"never\"\n",
    )
    .file("hold", "");
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let waiting = thread::spawn(move || try_get(port, "/").unwrap());
    until("it to wait", || (app.process("web")["ports"][0]["waiting"] == 1).then_some(()));
    std::fs::remove_file(app.path().join("hold")).unwrap();
    assert_eq!(running.ended(), 70);
    let response = waiting.join().unwrap();
    assert_eq!(response.status, 503, "{response:?}");
    assert!(response.body.contains("exited with code 70"), "{response:?}");
}

#[test]
fn a_restart_after_failure_serves_again() {
    let app = AppDir::procfile("web: tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let first = running.get("web", "/pid").body;
    running.get("web", "/exit?3");
    running.err_line("exited with code 3");
    // Waits for the new one.
    let second = running.get("web", "/pid").body;
    assert_ne!(first, second);
    assert_eq!(app.process("web")["instances"][0]["restarts"], 1);
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_forks_to_the_background_is_named_and_stopped() {
    let app = AppDir::procfile("web: tambat-fixture background serve\n");
    let mut running = app.start(&[]);
    let background = running.out_line("in the background as pid");
    let pid = background.rsplit(' ').next().unwrap();
    let line = running.err_line("it went to the background");
    assert!(line.contains(&format!("tambat-fixture, pid {pid}")), "{line}");
    assert!(line.contains("foreground"), "{line}");
    assert_eq!(running.ended(), 0);
}

#[test]
fn a_signal_that_ends_the_last_process_is_in_the_exit_code() {
    let app = AppDir::manifest("[processes.job]\ncommand = \"kill -SEGV $$\"\nrestart = \"never\"\n");
    let mut running = app.start(&[]);
    running.err_line("SIGSEGV");
    assert_eq!(running.ended(), 128 + 11);
}

#[test]
fn it_ends_when_all_have_with_the_first_code_that_is_not_0() {
    let app = AppDir::manifest(
        "[processes.a]\ncommand = \"exit 0\"\n[processes.b]\ncommand = \"exit 7\"\nrestart = \"never\"\n\
         [processes.c]\ncommand = \"exit 0\"\n",
    );
    let mut running = app.start(&[]);
    assert_eq!(running.ended(), 7);
    running.err_line("every process has ended");
}

#[test]
fn exit_on_end_ends_everything_with_the_first_end() {
    let app = AppDir::procfile("web: tambat-fixture serve\njob: exit 5\n");
    let mut running = app.start(&["--exit-on-end"]);
    assert_eq!(running.ended(), 5);
}

#[test]
fn exit_on_end_counts_a_good_end_too() {
    let app = AppDir::procfile("web: tambat-fixture serve\njob: exit 0\n");
    let mut running = app.start(&["--exit-on-end"]);
    assert_eq!(running.ended(), 0);
}

#[test]
fn what_has_ended_is_tried_anew_by_restart() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"test -e fixed || exit 1; exec tambat-fixture serve\"\nrestart = \"never\"\n\
         [processes.job]\ncommand = \"tambat-fixture park\"\n",
    );
    let mut running = app.start(&[]);
    running.up();
    until("its end", || (app.process("web")["state"] == "ended").then_some(()));
    let app = app.file("fixed", "");
    app.tambat(&["restart", "web"]).must_be(0);
    assert_eq!(running.get("web", "/").body, "web.1");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_restart_whose_new_one_fails_leaves_the_old_one_serving() {
    let app = AppDir::procfile("web: test ! -e broken || exit 1; exec tambat-fixture serve\n");
    let mut running = app.start(&[]);
    running.ready(&["web"]);
    let before = running.get("web", "/pid").body;
    let app = app.file("broken", "");
    app.tambat(&["restart", "web"]).must_be(0);
    running.err_line("exited with code 1");
    until("one instance", || (app.process("web")["instances"].as_array().unwrap().len() == 1).then_some(()));
    assert_eq!(running.get("web", "/pid").body, before);
    assert_eq!(running.stop(), 0);
}

/// Ctrl-C hurries what is left; the end that everything ends with has come already.
#[test]
fn the_code_of_the_first_end_outlives_a_ctrl_c() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"tambat-fixture serve\"\nrestart = \"never\"\n\
         [processes.deaf]\nprotocol = \"http\"\nstop = { grace = \"30s\" }\n\
         command = \"trap '' TERM; exec tambat-fixture serve\"\n",
    );
    let mut running = app.start(&["--exit-on-end"]);
    running.ready(&["web", "deaf"]);
    running.get("web", "/exit?3");
    running.err_line("exited with code 3");
    running.signal(nix::sys::signal::Signal::SIGINT);
    running.line("SIGINT: stopping");
    running.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(running.ended(), 3);
}

/// A last line may be anything, and everybody who asks is told the cause.
#[test]
fn a_last_line_tells_no_password_and_other_machines_are_not_told_it_at_all() {
    let app = AppDir::manifest(
        "[processes.web]\ncommand = \"echo 'no answer from redis://:hunter4@h:1'; exit 3\"\nrestart = \"never\"\n\
         [processes.admin]\ncommand = \"tambat-fixture park\"\n",
    );
    for (args, is_told) in [(&[][..], true), (&["--host", "0.0.0.0"][..], false)] {
        let mut running = app.start(args);
        running.up();
        let web = app.until_state("web", "ended");
        let cause = web["cause"].as_str().unwrap();
        assert!(cause.ends_with("its last line: no answer from redis://:***@h:1"), "{cause}");
        let answer = running.get("web", "/");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("exited with code 3") && !answer.body.contains("hunter4"), "{answer:?}");
        assert_eq!(answer.body.contains("no answer from"), is_told, "{answer:?}");
        assert_eq!(running.stop(), 0);
    }
}
