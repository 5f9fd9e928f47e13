//! Tomcat, twice: in a `main()`, and as a container that is the app's own.

use super::{example, form, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, get, programs};

const FULL: &str = "/?at=2026-01-03T10:00:00Z";

fn spell() -> AppDir {
    programs::tomcat_embedded();
    example("tomcat-embedded")
}

fn moon() -> AppDir {
    programs::tomcat();
    example("tomcat-war")
}

#[test]
fn embedded_tomcat_is_built_serves_who_came_meanwhile_and_finishes_on_term() {
    let app = spell();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let spelt = get(port, "/spell?word=tambat");
    assert_eq!((spelt.status, spelt.body.trim_end()), (200, "Tango Alfa Mike Bravo Alfa Tango"));
    let page = get(port, "/?word=%3C7%22%3E");
    assert!(page.body.contains("<h1>Setteseven</h1>") && page.body.contains("value=\"&lt;7&quot;>\""), "{page:?}");
    assert_eq!(get(port, "/x").status, 404);
    let answer = stop_in_the_middle_of(&form("/spell", "word=ship"), &app, "web", &mut running);
    assert!(answer.status == 200 && answer.body.contains("Sierra Hotel India Papa"), "{answer:?}");
    running.line("exited with code 143");
}

#[test]
fn embedded_tomcat_needs_no_privilege_and_ends_with_ctrl_c() {
    run_by_nobody(spell(), |app, _, _| {
        let address = format!("http://localhost:{}/spell?word=a1", app.port("web"));
        assert_eq!(app.curl(&["--fail", &address]).must_be(0).stdout.trim_end(), "Alfa Unaone");
    });
}

#[test]
fn a_war_answers_who_came_before_its_first_page_was_compiled_and_finishes_on_term() {
    let app = moon();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    // Tomcat accepts long before it answers. Whoever asks now waits for both, and sees no error.
    let full = get(port, FULL);
    assert!(full.status == 200 && full.body.contains("<h1>Full moon</h1><p>100 % lit.</p>"), "{full:?}");
    running.err_line("built in ");
    let took = app.process("web")["instances"][0]["ready_after_ms"].as_u64().unwrap();
    let started = running.line("Server startup in [");
    let accepts: u64 =
        started.split_once("startup in [").unwrap().1.split_once(']').unwrap().0.replace(',', "").parse().unwrap();
    assert!(took > accepts, "ready after {took} ms; it accepts {accepts} ms after its classes are loaded");
    assert_eq!((get(port, "/?at=now").status, get(port, "/x").status), (400, 404));
    let answer = stop_in_the_middle_of(&form("/", "at=2026-01-18T20:00:00Z"), &app, "web", &mut running);
    assert!(answer.status == 200 && answer.body.contains("<h1>New moon</h1>"), "{answer:?}");
    running.line("exited with code 143");
}

#[test]
fn a_war_needs_no_privilege_and_ends_with_ctrl_c() {
    run_by_nobody(moon(), |app, _, _| {
        let address = format!("http://localhost:{}{FULL}", app.port("web"));
        assert!(app.curl(&["--fail", &address]).must_be(0).stdout.contains("Full moon"));
        assert!(app.path().join("webapps/ROOT.war").exists());
    });
}
