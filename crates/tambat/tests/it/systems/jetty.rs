//! Jetty, in a `main()` on the JVM.

use super::{example, form, run_by_nobody, stop_in_the_middle_of};
use crate::support::{AppDir, get, programs};

const NOON: &str = "{\"at\":\"2026-01-31T12:00:00Z\",\"height_m\":-0.113}\n";

fn tide() -> AppDir {
    programs::jetty();
    example("jetty")
}

#[test]
fn jetty_is_built_serves_who_came_meanwhile_and_finishes_on_term() {
    let app = tide();
    let mut running = app.start(&[]);
    running.up();
    let port = app.port("web");
    let noon = get(port, "/tide?at=2026-01-31T12:00:00Z");
    assert_eq!((noon.status, &*noon.body), (200, NOON));
    running.err_line("built in ");
    let page = get(port, "/");
    assert!(page.status == 200 && page.body.contains("<svg ") && page.body.contains(" m</h1>"), "{page:?}");
    assert_eq!((get(port, "/tide?at=noon").status, get(port, "/x").status), (400, 404));
    let answer = stop_in_the_middle_of(&form("/tide", "at=2026-01-31T12:00:00Z"), &app, "web", &mut running);
    assert_eq!((answer.status, &*answer.body), (200, NOON));
    // How the JVM says that TERM ended it: no failure, and tambat ends with 0.
    running.line("exited with code 143");
}

#[test]
fn jetty_needs_no_privilege_and_ends_with_ctrl_c() {
    run_by_nobody(tide(), |app, _, _| {
        let address = format!("http://localhost:{}/tide?at=2026-01-31T12:00:00Z", app.port("web"));
        assert_eq!(app.curl(&["--fail", &address]).must_be(0).stdout, NOON);
    });
}
